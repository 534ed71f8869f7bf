//===- DropLayers.h - A recipe's step that takes layers away ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_DROPLAYERS_H
#define LATHE_COMPILER_DROPLAYERS_H

#include "compiler/StructuredStep.h"

namespace lathe {

/// Takes whole layers of residual streams out of all programs: those that change their stream least. As pruneParts().
bool pruneResidualLayers(const Compression &compression, const RecipeStep &step,
                         const std::function<bool(const std::string &, const std::string &)> &covers,
                         CompressionReport &report, bool &isUsage, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_DROPLAYERS_H
