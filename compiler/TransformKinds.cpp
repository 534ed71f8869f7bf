//===- TransformKinds.cpp - Steps that keep the function ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/EqualizeStep.h"
#include "compiler/RotateStep.h"
#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"

namespace lathe::recipe {
namespace {

std::string whyNoAlternative(const RecipeStep &step) { return "step '" + step.step + "' is not of single layers"; }

bool rotate(StepRun &run) { return rotateStreams(run.compression, run.step, run.pool, run.report, run.error); }

bool equalize(StepRun &run) {
  auto covers = [&](const std::string &weight, const std::string &node) { return run.isMeant(weight, node); };
  return run.checkNames() && equalizeLayers(run.compression, covers, run.report, run.error);
}

} // namespace

StepKind rotateKind() {
  StepKind kind{"rotate", {wholeNumber("seed", at(&RecipeStep::seed), 0, int64_t(1) << 53)}, nullptr};
  kind.carryOut = rotate;
  kind.whyNoAlternative = whyNoAlternative;
  kind.keepsSize = true;
  return kind;
}

StepKind equalizeKind() {
  StepKind kind{
      "equalize", {globs("tensors", at(&RecipeStep::tensors)), globs("exclude", at(&RecipeStep::exclude))}, nullptr};
  kind.carryOut = equalize;
  kind.whyNoAlternative = whyNoAlternative;
  kind.keepsSize = true;
  return kind;
}

} // namespace lathe::recipe
