//===- ChooseKind.cpp - Steps that choose ---------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ChooseStep.h"
#include "compiler/LayerTimes.h"
#include "compiler/Sizes.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"

using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

/// What an alternative of one layer is no step for, or nothing.
std::string whyNoAlternative(const ordered_json &entry, const RecipeStep &step, bool isFirst) {
  for (const char *field : {"tensors", "exclude"})
    if (entry.contains(field))
      return "field '" + std::string(field) + "': what layers get it is chosen: expects it beside 'from'";
  const StepKind &kind = kindOf(step);
  if (kind.isFirstAlternative && !isFirst)
    return "step '" + step.step + "' of pattern '" + step.parts.pattern +
           "' comes before other steps of an alternative";
  return kind.whyNoAlternative ? kind.whyNoAlternative(step) : "";
}

std::string readAlternatives(const ordered_json &value, RecipeStep &step) {
  if (!value.is_array() || value.empty())
    return "expects a list of steps, or of lists of steps, got " + shown(value);
  step.from.clear();
  for (const ordered_json &alternative : value) {
    std::string where = "alternative " + std::to_string(step.from.size() + 1) + ": ";
    ordered_json entries = alternative.is_array() ? alternative : ordered_json::array({alternative});
    if (entries.empty())
      return where + "expects a step, got an empty list";
    step.from.emplace_back();
    for (const ordered_json &entry : entries) {
      RecipeStep own;
      std::string problem = read(entry, own);
      if (problem.empty())
        problem = whyNoAlternative(entry, own, step.from.back().empty());
      if (!problem.empty())
        return where + problem;
      step.from.back().push_back(std::move(own));
    }
  }
  return "";
}

ordered_json writeAlternatives(const RecipeStep &step) {
  ordered_json list = ordered_json::array();
  for (const std::vector<RecipeStep> &alternative : step.from) {
    ordered_json entries = ordered_json::array();
    for (const RecipeStep &own : alternative) {
      entries.push_back(write(own));
      for (const char *field : {"tensors", "exclude"})
        entries.back().erase(field);
    }
    list.push_back(entries.size() == 1 ? entries.front() : entries);
  }
  return list;
}

std::string readTargetSize(const ordered_json &value, RecipeStep &step) {
  step.targetSize = value.is_string() ? value.get<std::string>() : value.is_number() ? value.dump() : "";
  if (value.is_null() || parseSizeOf(step.targetSize, 1 << 20))
    return "";
  return "expects a size such as \"25MiB\" or a part of the weights such as 0.3, got " + shown(value);
}

/// What is tried where a recipe names nothing: integers, as small as they are of use.
std::string finishChoose(const ordered_json &entry, RecipeStep &step) {
  if (step.targetSize.empty() && !step.targetSpeedup && !step.maxDrop)
    return "expects a budget: a field 'target_size', 'target_speedup' or 'max_drop'";
  if (entry.contains("from"))
    return "";
  // Scales of small groups are half a bit for each weight, which is worth more bits in some layers and not in others.
  for (auto [bits, group] : {std::pair(8, 0), {4, 32}, {4, 128}, {3, 32}, {3, 128}, {2, 32}, {2, 64}}) {
    RecipeStep own;
    own.bits = bits;
    own.groupSize = group;
    own.method = bits == 8 ? "rtn" : "gptq";
    step.from.push_back({own});
  }
  return "";
}

bool check(StepRun &run, llvm::ArrayRef<RecipeStep>) {
  if (!run.step.targetSpeedup)
    return true;
  std::string why = run.compression.isPortable ? "other runtimes run what is written, expects a .lathe file"
                                               : whyNotTimed(run.compression);
  return why.empty() || run.wrongRecipe("field 'target_speedup': nothing can be timed: " + why);
}

bool choose(StepRun &run) {
  std::vector<compression::Layer> layers;
  if (!run.chooseLayers(layers))
    return false;
  CarryOut trial = [&run](const Compression &changed, const RecipeStep &own, CompressionReport &report, bool &isWrong,
                          std::string &problem) {
    StepRun one{changed, own, run.where + "field 'from': ", run.pool, report, isWrong, problem};
    return kindOf(own).carryOut(one);
  };
  bool isDone = chooseAlternatives(run.compression, run.step, layers, trial, run.pool, run.report, run.chosen,
                                   run.isUsage, run.error);
  if (!isDone && run.isUsage && run.error.rfind(run.where, 0) != 0)
    run.wrongRecipe(run.error);
  return isDone;
}

} // namespace

StepKind chooseKind() {
  using S = RecipeStep;
  StepKind kind{
      "choose",
      {
          {"from", readAlternatives, writeAlternatives},
          {"target_size", readTargetSize,
           [](const S &step) { return step.targetSize.empty() ? ordered_json() : ordered_json(step.targetSize); }},
          optionalNumber("target_speedup", at(&S::targetSpeedup), 1, 1000),
          optionalNumber("max_drop", at(&S::maxDrop), 0, 1e6),
          wholeNumber("samples", at(&S::sensitivitySamples), 1, int64_t(1) << 53),
          optionalNumber("time_budget", at(&S::timeBudget), 0, 1e9),
          globs("tensors", at(&S::tensors)),
          globs("exclude", at(&S::exclude)),
      },
      finishChoose};
  kind.carryOut = choose;
  kind.check = check;
  kind.needsData = [](const RecipeStep &) { return "to choose"; };
  kind.whyNoAlternative = [](const RecipeStep &step) { return "step '" + step.step + "' is not of single layers"; };
  return kind;
}

} // namespace lathe::recipe
