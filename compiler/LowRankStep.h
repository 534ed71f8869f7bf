//===- LowRankStep.h - A recipe's step that factorizes ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_LOWRANKSTEP_H
#define LATHE_COMPILER_LOWRANKSTEP_H

#include "compiler/LayerStatistics.h"

namespace lathe {

/// Why the step's rank saves nothing at any of these layers, with the largest that does; empty where it does somewhere,
/// or the step has none.
std::string whyNoRank(const RecipeStep &step, llvm::ArrayRef<compression::Layer> layers);

/// Replaces layers by products of thin factors, which later steps find as layers, and appends what became of each to
/// the report. Statistics are needed for methods other than 'svd'; layers without any are done by that one. `resolved`
/// becomes the step that does the same whatever times are elsewhere, where `isResolved`. False with `error` set.
bool factorizeLayers(const Compression &compression, const RecipeStep &step,
                     const std::vector<compression::Layer> &layers, const LayerStatistics &statistics,
                     runtime::ThreadPool &pool, CompressionReport &report, RecipeStep &resolved, bool &isResolved,
                     std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_LOWRANKSTEP_H
