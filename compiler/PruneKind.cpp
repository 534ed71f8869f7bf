//===- PruneKind.cpp - Steps that make weights zero -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/PruneStep.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"
#include "passes/pruning/methods/Pattern.h"
#include <algorithm>
#include <cmath>

using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

using pruning::Pattern;
using pruning::PatternKind;

/// Of what is not said.
constexpr double kSparsity = 0.5;

std::string text(double number) { return ordered_json(number).dump(); }

/// A share below 1. Who writes 50 means a half.
Field sparsityField() {
  return {"sparsity",
          [](const ordered_json &value, RecipeStep &step) -> std::string {
            step.pruning.sparsity.reset();
            if (value.is_null())
              return "";
            const std::string expected = "expects a number from 0 up to, without, 1, got " + shown(value);
            if (!value.is_number())
              return expected;
            double share = value.get<double>();
            if (share >= 0 && share < 1) {
              step.pruning.sparsity = share;
              return "";
            }
            double nearest = share > 1 && share < 100 ? share / 100 : share < 0 ? 0 : 0.99;
            return expected + "; did you mean " + text(nearest) + "?";
          },
          [](const RecipeStep &step) {
            return step.pruning.sparsity ? ordered_json(*step.pruning.sparsity) : ordered_json();
          }};
}

Field patternField() {
  return {"pattern",
          [](const ordered_json &value, RecipeStep &step) -> std::string {
            if (!value.is_string())
              return "expects unstructured, N:M or block:RxC, got " + shown(value);
            step.pruning.pattern = value.get<std::string>();
            Pattern pattern;
            return pruning::parsePattern(step.pruning.pattern, pattern);
          },
          [](const RecipeStep &step) { return ordered_json(step.pruning.pattern); }};
}

/// Groups N:M say how many weights stay, and what is compared.
std::string finishGroups(const ordered_json &entry, Pruning &step, const Pattern &pattern) {
  if (step.threshold)
    return "field 'threshold': pattern '" + step.pattern + "' says how many weights stay, and has none";
  double own = pattern.ownSparsity();
  if (step.sparsity && std::abs(*step.sparsity - own) > 1e-9) {
    Pattern near = pattern;
    near.kept =
        std::clamp<int64_t>(std::llround((1 - *step.sparsity) * static_cast<double>(pattern.of)), 1, pattern.of - 1);
    return "field 'sparsity': pattern '" + step.pattern + "' has " + text(own) + ", got " + text(*step.sparsity) +
           (near.kept != pattern.kept ? "; did you mean pattern '" + near.name() + "'?" : "");
  }
  if (entry.contains("scope") && step.scope != "output")
    return "field 'scope': pattern '" + step.pattern + "' has 'output', as groups are of an output's inputs, got '" +
           step.scope + "'";
  step.sparsity = own;
  step.scope = "output";
  return "";
}

std::string finishPrune(const ordered_json &entry, RecipeStep &whole) {
  Pruning &step = whole.pruning;
  Pattern pattern;
  pruning::parsePattern(step.pattern, pattern); // which is right, as its field was read
  if (pattern.kind == PatternKind::NofM)
    return finishGroups(entry, step, pattern);
  if (step.threshold && step.sparsity)
    return "field 'threshold': takes the place of 'sparsity', got both";
  if (step.threshold && entry.contains("scope") && step.scope != "layer")
    return "field 'scope': a threshold is compared with each score by itself: expects 'layer', got '" + step.scope +
           "'";
  if (!step.sparsity && !step.threshold)
    step.sparsity = kSparsity;
  // As in the paper: inputs of an output are compared. Blocks have none of their own.
  if (!entry.contains("scope") && step.method == "wanda" && pattern.kind == PatternKind::Unstructured &&
      !step.threshold)
    step.scope = "output";
  return "";
}

std::string needsData(const RecipeStep &step) {
  const Pruning &own = step.pruning;
  return own.method != "magnitude" ? "method '" + own.method + "'" : own.refinements > 0 ? "refining" : "";
}

bool prune(StepRun &run) {
  std::vector<compression::Layer> chosen;
  if (!run.chooseLayers(chosen))
    return false;
  LayerStatistics statistics;
  // Without need for them, they tell the error of outputs.
  if (run.compression.data && !run.gather(chosen, statistics))
    return false;
  return pruneLayers(run.compression, run.step, chosen, statistics, run.pool, run.report, run.error);
}

} // namespace

StepKind pruneKind() {
  using S = RecipeStep;
  using P = Pruning;
  StepKind kind{"prune",
                {
                    choice("method", at(&S::pruning, &P::method), {"magnitude", "wanda", "sparsegpt"}),
                    patternField(),
                    sparsityField(),
                    optionalNumber("threshold", at(&S::pruning, &P::threshold), 0, 1e30),
                    choice("scope", at(&S::pruning, &P::scope), {"global", "layer", "output", "input"}),
                    choice("norm", at(&S::pruning, &P::norm), {"l1", "l2"}),
                    optionalNumber("weight_clip", at(&S::pruning, &P::weightClip), 1e-6, 1),
                    number("damping", at(&S::damping), 1e-6, 1),
                    flag("act_order", at(&S::pruning, &P::actOrder)),
                    wholeNumber("block_size", at(&S::pruning, &P::blockSize), 1, 1 << 20),
                    wholeNumber("refinements", at(&S::pruning, &P::refinements), 0, 1000),
                    globs("tensors", at(&S::tensors)),
                    globs("exclude", at(&S::exclude)),
                },
                finishPrune};
  kind.carryOut = prune;
  kind.needsData = needsData;
  kind.usesData = [](const RecipeStep &) { return true; };
  kind.timedAs = [](const RecipeStep &step) { // by zeros that are as many
    RecipeStep own = step;
    own.pruning.method = "magnitude";
    own.pruning.refinements = 0;
    return own;
  };
  kind.storesWeights = true;
  kind.makesZeros = true;
  kind.keepsSize = true;
  return kind;
}

} // namespace lathe::recipe
