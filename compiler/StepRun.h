//===- StepRun.h - One step of a recipe, carried out ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_STEPRUN_H
#define LATHE_COMPILER_STEPRUN_H

#include "compiler/Compress.h"
#include "compiler/LayerStatistics.h"
#include "passes/quantization/Layers.h"
#include "runtime/ThreadPool.h"

namespace lathe {

/// One step of a recipe, as it is carried out. What fails sets `error`; `isUsage` where the recipe or the data are
/// wrong.
struct StepRun {
  const Compression &compression;
  const RecipeStep &step;
  std::string where; ///< such as "recipe: step 2: "
  runtime::ThreadPool &pool;
  CompressionReport &report;
  bool &isUsage;
  std::string &error;
  RecipeStep resolved = step;           ///< what repeats what was done, whatever times are elsewhere
  std::vector<RecipeStep> further = {}; ///< behind that
  bool isResolved = false;              ///< whether that differs from the step
  Recipe chosen = Recipe();             ///< by `choose`: what is to be carried out in its place

  bool wrongRecipe(const std::string &what);
  /// Whether the step names a weight, by its initializer, or the stack that it is one matrix of, or the node that reads
  /// it.
  bool isNamed(const std::string &weight, const std::string &node) const;
  /// Whether what the step does to a weight, a cache or an attention of that name is not to be left out (StepAction).
  bool mayChange(const std::string &name) const;
  /// Whether the step applies to a weight, by the names of its initializer and of the node that reads it.
  bool isMeant(const std::string &weight, const std::string &node) const;
  /// The layers that the step applies to, of all programs.
  std::vector<compression::Layer> coveredLayers() const;
  /// False where a pattern of the field `tensors` fits no layer.
  bool checkNames();
  /// Both.
  bool chooseLayers(std::vector<compression::Layer> &chosen);
  /// Runs the model on the calibration data for what these layers get.
  bool gather(const std::vector<compression::Layer> &layers, LayerStatistics &statistics);
};

} // namespace lathe

#endif // LATHE_COMPILER_STEPRUN_H
