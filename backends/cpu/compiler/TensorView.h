//===- TensorView.h - Tensors read through strides --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_TENSORVIEW_H
#define LATHE_BACKENDS_CPU_COMPILER_TENSORVIEW_H

#include "dialects/lathe/Lathe.h"

namespace lathe::cpu {

/// An operand as strided elements of a tensor that is stored.
struct TensorView {
  mlir::Value tensor;
  SymExpr offset;                           ///< in elements
  llvm::SmallVector<SymExpr, 5> strides;    ///< of the operand's axes
  llvm::SmallVector<mlir::Operation *> ops; ///< that need not be computed, since the view does what they do
};

/// Looks from an operand through transposes, slices, broadcasts and reshapes that split axes, while nothing else reads
/// them, they stand in `block`, and `mayTake` says so of each.
TensorView viewOperand(mlir::Value operand, mlir::Block &block, ShapeContext &shapes,
                       llvm::function_ref<bool(mlir::Operation *)> mayTake);

/// Strides of a dense tensor of a shape.
llvm::SmallVector<SymExpr, 5> denseStrides(llvm::ArrayRef<SymExpr> shape);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_TENSORVIEW_H
