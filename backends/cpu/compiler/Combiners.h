//===- Combiners.h - Sums, maxima and the like of loops ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_COMBINERS_H
#define LATHE_BACKENDS_CPU_COMPILER_COMBINERS_H

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace lathe::cpu {

/// Whether the values that an operation combines may come in any order.
bool isCombiner(mlir::Operation *op);

/// The number that a combiner leaves others of a type as they are with. That of one which ignores NaN is minus infinity.
mlir::TypedAttr neutralOf(mlir::Operation *combiner, mlir::Type type);

/// Combines two values, or vectors of them, as the operation combines its own.
mlir::Value combine(mlir::OpBuilder &b, mlir::Location loc, mlir::Operation *combiner, mlir::Value first, mlir::Value second);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_COMBINERS_H
