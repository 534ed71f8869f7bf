//===- CacheStep.h - A recipe's step that rounds caches ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CACHESTEP_H
#define LATHE_COMPILER_CACHESTEP_H

#include "compiler/CompressionReport.h"
#include "compiler/Recipe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe {

/// Whether a step is of caches, not of weights.
bool isCacheStep(const RecipeStep &step);

/// What is wrong with a step of caches for these programs, none of which need have a cache: `whyNone` says why not.
/// Empty where nothing is.
std::string checkCacheStep(const RecipeStep &step, llvm::ArrayRef<mlir::func::FuncOp> programs,
                           const std::string &whyNone);

/// Rounds the rows of the caches that the step covers and no step before has rounded, of those that `mayChange`, which
/// is asked once for each name.
void quantizeCaches(const RecipeStep &step, llvm::ArrayRef<mlir::func::FuncOp> programs,
                    llvm::function_ref<bool(const std::string &name)> mayChange, CompressionReport &report);

} // namespace lathe

#endif // LATHE_COMPILER_CACHESTEP_H
