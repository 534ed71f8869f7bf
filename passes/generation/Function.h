//===- Function.h - What is left of a program -------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_GENERATION_FUNCTION_H
#define LATHE_PASSES_GENERATION_FUNCTION_H

#include "dialects/lathe/Lathe.h"

namespace lathe::generation {

/// Makes the function return `results`, removes what only others needed, and then the arguments that `drops` tells, which
/// nothing uses.
void reduceTo(mlir::func::FuncOp function, llvm::ArrayRef<mlir::Value> results,
              llvm::ArrayRef<mlir::DictionaryAttr> resultAttrs, llvm::function_ref<bool(mlir::BlockArgument)> drops);

} // namespace lathe::generation

#endif // LATHE_PASSES_GENERATION_FUNCTION_H
