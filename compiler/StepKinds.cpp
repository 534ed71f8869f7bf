//===- StepKinds.cpp - What kinds of steps recipes have -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/StepKinds.h"
#include "compiler/AttentionStep.h"
#include "llvm/ADT/STLExtras.h"

using nlohmann::ordered_json;

namespace lathe {
namespace recipe {

const std::vector<StepKind> &stepKinds() {
  static const std::vector<StepKind> all = {attentionsKind(), cachesKind(), quantizeKind(), structuredKind(), pruneKind(), lowRankKind(),
                                            rotateKind(), equalizeKind(), sparsifyKind(),   chooseKind()};
  return all;
}

const StepKind &kindOf(const std::string &name, const ordered_json &mode, const ordered_json &pattern) {
  return *llvm::find_if(stepKinds(), [&](const StepKind &kind) {
    return kind.name == name && (kind.mode.empty() || mode == kind.mode) &&
           (kind.patterns.empty() ||
            llvm::any_of(kind.patterns, [&](const std::string &own) { return pattern == own; }));
  });
}

const StepKind &kindOf(const RecipeStep &step) { return kindOf(step.step, step.mode, step.parts.pattern); }

} // namespace recipe

std::string whatNeedsCalibration(const RecipeStep &step) {
  const recipe::StepKind &kind = recipe::kindOf(step);
  return kind.needsData ? kind.needsData(step) : "";
}

bool needsCalibration(const RecipeStep &step) { return !whatNeedsCalibration(step).empty(); }

bool usesCalibration(const RecipeStep &step) {
  const recipe::StepKind &kind = recipe::kindOf(step);
  return needsCalibration(step) || (kind.usesData && kind.usesData(step));
}

bool prefersSpeed(const Recipe &whole, const RecipeStep &step, bool isPortable) {
  const std::string &prefer = step.prefer != "auto" ? step.prefer : whole.prefer;
  const recipe::StepKind &kind = recipe::kindOf(step);
  return prefer == "speed" || (prefer == "auto" && !isPortable && kind.isForSpeed && kind.isForSpeed(step));
}

} // namespace lathe
