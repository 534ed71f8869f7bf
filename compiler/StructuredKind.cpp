//===- StructuredKind.cpp - Steps that take parts away --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"
#include "compiler/StructuredStep.h"

using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

const std::vector<std::string> kPatterns = {"heads", "neurons", "channels", "layers"};

/// What fields say together that no one of them is wrong for.
std::string finish(const ordered_json &entry, RecipeStep &whole) {
  StructuredPruning &step = whole.parts;
  if (step.sparsity <= 0 || step.sparsity >= 1)
    return "field 'sparsity': expects a share between 0 and 1, without either, got " +
           ordered_json(step.sparsity).dump() +
           (step.sparsity > 1 && step.sparsity < 100
                ? "; did you mean " + ordered_json(step.sparsity / 100).dump() + "?"
                : "");
  bool isLayers = step.pattern == "layers";
  if (isLayers && !entry.contains("method"))
    step.method = "distance";
  if (isLayers != (step.method == "distance"))
    return "field 'method': pattern '" + step.pattern + "' has " +
           (isLayers ? "'distance'" : "magnitude, activation, reconstruction, taylor") + ", got '" + step.method + "'";
  if (isLayers && step.refit)
    return "field 'refit': is of heads, neurons and channels, got pattern 'layers'";
  if (isLayers && entry.contains("scope") && step.scope != "global")
    return "field 'scope': layers are compared with each other: expects 'global', got '" + step.scope + "'";
  if (isLayers)
    step.scope = "global";
  if (step.multiple != 0 && (isLayers || step.pattern == "heads"))
    return "field 'multiple': is of neurons and channels, got pattern '" + step.pattern + "'";
  if (step.groupedQueries != "alone" && step.pattern != "heads")
    return "field 'grouped_queries': is of heads, got pattern '" + step.pattern + "'";
  return "";
}

std::string needsData(const RecipeStep &step) {
  const std::string &method = step.parts.method;
  return step.parts.refit ? "refitting" : method != "magnitude" && method != "taylor" ? "method '" + method + "'" : "";
}

bool check(StepRun &run, llvm::ArrayRef<RecipeStep>) {
  return run.step.parts.method != "taylor" || run.compression.gradients ||
         run.wrongRecipe("method 'taylor' needs gradients of a loss by the weights: give --gradients");
}

/// Heads and neurons are of few layers, which get such an alternative together.
std::string whyNoAlternative(const RecipeStep &step) {
  const StructuredPruning &own = step.parts;
  if (own.pattern != "heads" && own.pattern != "neurons")
    return "pattern '" + own.pattern + "' of step 'prune' is not of single layers: expects 'heads' or 'neurons'";
  return own.scope == "layer"
             ? ""
             : "field 'scope': what each layer loses is chosen: expects 'layer', got '" + own.scope + "'";
}

bool takeAway(StepRun &run) {
  auto covers = [&](const std::string &weight, const std::string &node) { return run.isMeant(weight, node); };
  if (!run.checkNames())
    return false;
  bool isDone = pruneParts(run.compression, run.step, covers, run.pool, run.report, run.resolved, run.isResolved,
                           run.isUsage, run.error);
  return isDone || (run.isUsage ? run.wrongRecipe(run.error) : false);
}

} // namespace

StepKind structuredKind() {
  using S = RecipeStep;
  using P = StructuredPruning;
  StepKind kind{"prune",
                {
                    choice("pattern", at(&S::parts, &P::pattern), kPatterns),
                    choice("method", at(&S::parts, &P::method),
                           {"magnitude", "activation", "reconstruction", "taylor", "distance"}),
                    number("sparsity", at(&S::parts, &P::sparsity), -1e300, 1e300),
                    choice("scope", at(&S::parts, &P::scope), {"layer", "global"}),
                    wholeNumber("multiple", at(&S::parts, &P::multiple), 0, 1 << 20),
                    choice("grouped_queries", at(&S::parts, &P::groupedQueries), {"alone", "together"}),
                    flag("refit", at(&S::parts, &P::refit)),
                    number("damping", at(&S::damping), 1e-6, 1),
                    choice("prefer", at(&S::prefer), {"auto", "speed", "size"}),
                    globs("tensors", at(&S::tensors)),
                    globs("exclude", at(&S::exclude)),
                },
                finish};
  kind.patterns = kPatterns;
  kind.carryOut = takeAway;
  kind.needsData = needsData;
  kind.check = check;
  kind.whyNoAlternative = whyNoAlternative;
  kind.isFirstAlternative = true;
  kind.keepsSize = true;
  return kind;
}

} // namespace lathe::recipe
