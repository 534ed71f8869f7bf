//===- ChooseFields.cpp - The fields of steps that choose -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ChooseFields.h"
#include "compiler/Sizes.h"
#include "compiler/StructuredStep.h"

using nlohmann::ordered_json;

namespace lathe::recipe {
namespace {

/// What an alternative of one layer is no step for, or nothing.
std::string whyNoAlternative(const ordered_json &entry, const RecipeStep &step) {
  for (const char *field : {"tensors", "exclude"})
    if (entry.contains(field))
      return "field '" + std::string(field) + "': what layers get it is chosen: expects it beside 'from'";
  if (step.step == "choose" || step.step == "rotate" || step.step == "equalize")
    return "step '" + step.step + "' is not of single layers";
  if (isStructuredStep(step))
    return "pattern '" + step.parts.pattern + "' of step 'prune' is not of single layers";
  return step.mode == "kv-cache" ? "mode 'kv-cache' is not of layers" : "";
}

std::string readAlternatives(const ordered_json &value, RecipeStep &step) {
  if (!value.is_array() || value.empty())
    return "expects a list of steps, or of lists of steps, got " + value.dump();
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
        problem = whyNoAlternative(entry, own);
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
  return "expects a size such as \"25MiB\" or a part of the weights such as 0.3, got " + value.dump();
}

/// What is tried where a recipe names nothing: integers, as small as they are of use.
std::string finishChoose(const ordered_json &entry, RecipeStep &step) {
  if (step.targetSize.empty() && !step.maxDrop)
    return "expects a budget: a field 'target_size' or 'max_drop'";
  if (entry.contains("from"))
    return "";
  constexpr int64_t kGroup = 32;
  for (int64_t bits : {8, 4, 3, 2}) {
    RecipeStep own;
    own.bits = bits;
    own.groupSize = bits == 8 ? 0 : kGroup;
    own.method = bits == 8 ? "rtn" : "gptq";
    step.from.push_back({own});
  }
  return "";
}

} // namespace

StepKind chooseKind() {
  using S = RecipeStep;
  return {"choose",
          {
              {"from", readAlternatives, writeAlternatives},
              {"target_size", readTargetSize,
               [](const S &step) { return step.targetSize.empty() ? ordered_json() : ordered_json(step.targetSize); }},
              optionalNumber("max_drop", at(&S::maxDrop), 0, 1e6),
              wholeNumber("samples", at(&S::sensitivitySamples), 1, int64_t(1) << 53),
              optionalNumber("time_budget", at(&S::timeBudget), 0, 1e9),
              globs("tensors", at(&S::tensors)),
              globs("exclude", at(&S::exclude)),
          },
          finishChoose};
}

} // namespace lathe::recipe
