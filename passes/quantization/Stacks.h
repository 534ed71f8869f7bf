//===- Stacks.h - Matrices that are stored together -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_STACKS_H
#define LATHE_PASSES_QUANTIZATION_STACKS_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <string>

namespace lathe::compression {

/// Whether a matrix is wanted, by its name and that of the node that multiplies its stack.
using IsMeant = llvm::function_ref<bool(llvm::StringRef matrix, llvm::StringRef node)>;

/// Splits products with a constant stack of matrices, [e, k, n], such as the experts of a mixture or the groups of a
/// convolution, into a product for each matrix, and puts what these give together: each matrix is a weight then, or an
/// expression, as any other. That of an initializer W is called W[i:i+1]. Stacks stay whole in all programs where one
/// reads them in another way; and so do those of matrices that are too small for products of their own, and those of
/// which no matrix is meant.
void splitStacks(llvm::ArrayRef<mlir::func::FuncOp> programs, IsMeant isMeant);

/// As splitStacks(), of stacks that are expressions alone.
void splitStackExpressions(llvm::ArrayRef<mlir::func::FuncOp> programs);

/// The name of the stack that a matrix of this name is one of; empty for none.
std::string stackName(llvm::StringRef matrix);

/// The name of a matrix of a stack.
std::string matrixName(llvm::StringRef stack, int64_t number);

} // namespace lathe::compression

#endif // LATHE_PASSES_QUANTIZATION_STACKS_H
