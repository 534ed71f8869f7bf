//===- PruneStep.h - A recipe's step that prunes ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PRUNESTEP_H
#define LATHE_COMPILER_PRUNESTEP_H

#include "compiler/LayerStatistics.h"

namespace lathe {

/// Replaces the weights of layers by ones with zeros, of the same type and shape, and appends what became of each to
/// the report. False with `error` set.
bool pruneLayers(const Compression &compression, const RecipeStep &step, const std::vector<compression::Layer> &layers,
                 const LayerStatistics &statistics, runtime::ThreadPool &pool, CompressionReport &report,
                 std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_PRUNESTEP_H
