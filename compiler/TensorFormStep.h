//===- TensorFormStep.h - A recipe's step for tensor forms ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TENSORFORMSTEP_H
#define LATHE_COMPILER_TENSORFORMSTEP_H

#include "compiler/LayerStatistics.h"
#include "compiler/TensorForms.h"

namespace lathe {

/// Replaces layers by trains, circulant blocks, or the parts of convolutions, which later steps find as layers, and
/// appends what became of each to the report. Layers that there are statistics of are fitted to their outputs, where
/// the method has that. `resolved` becomes the step that does the same whatever times are elsewhere, where
/// `isResolved`. False with `error` set.
bool formLayers(const Compression &compression, const RecipeStep &step, const std::vector<compression::Layer> &layers,
                const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report,
                RecipeStep &resolved, bool &isResolved, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_TENSORFORMSTEP_H
