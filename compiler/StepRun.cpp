//===- StepRun.cpp - One step of a recipe, carried out --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/StepRun.h"
#include "compiler/StepAction.h"
#include "passes/quantization/Stacks.h"

namespace lathe {

using namespace mlir;
using compression::Layer;

static bool covers(const std::vector<std::string> &patterns, const std::string &weight, const std::string &node) {
  std::string stack = compression::stackName(weight);
  return llvm::any_of(patterns, [&](const std::string &pattern) {
    return matchesGlob(pattern, weight) || matchesGlob(pattern, node) ||
           (!stack.empty() && matchesGlob(pattern, stack));
  });
}

bool StepRun::wrongRecipe(const std::string &what) {
  isUsage = true;
  error = where + what;
  return false;
}

bool StepRun::isNamed(const std::string &weight, const std::string &node) const {
  return covers(step.tensors, weight, node) && !covers(step.exclude, weight, node);
}

bool StepRun::mayChange(const std::string &name) const {
  bool allowed = false;
  ModuleOp main = compression.main;
  main->getContext()->executeAction<StepAction>([&] { allowed = true; }, {main.getOperation()}, where, step.step, name);
  return allowed;
}

bool StepRun::isMeant(const std::string &weight, const std::string &node) const {
  return isNamed(weight, node) && mayChange(weight);
}

std::vector<Layer> StepRun::coveredLayers() const {
  std::vector<Layer> layers = compression::findLayers(compression.programs);
  llvm::erase_if(layers, [&](const Layer &layer) { return !isMeant(layer.name, layer.node); });
  return layers;
}

bool StepRun::checkNames() {
  std::vector<Layer> layers = compression::findLayers(compression.programs);
  for (const std::string &pattern : step.tensors)
    if (pattern != "*" &&
        llvm::none_of(layers, [&](const Layer &layer) { return covers({pattern}, layer.name, layer.node); }))
      return wrongRecipe("field 'tensors': no weight of a matrix product or lookup has a name like '" + pattern + "'");
  return true;
}

bool StepRun::chooseLayers(std::vector<Layer> &chosen) {
  if (!checkNames())
    return false;
  chosen = coveredLayers();
  return true;
}

bool StepRun::gather(const std::vector<Layer> &layers, LayerStatistics &statistics) {
  if (!statistics.gather(compression, layers, pool, error))
    return false;
  report.samples = compression.data->samples();
  return true;
}

} // namespace lathe
