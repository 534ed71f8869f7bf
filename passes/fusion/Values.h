//===- Values.h - Constants and parameters of a program ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_FUSION_VALUES_H
#define LATHE_PASSES_FUSION_VALUES_H

#include "dialects/lathe/Lathe.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::fusion {

/// The number that all elements of a constant are, whatever its shape and however it is cast and broadcast.
std::optional<double> numberOf(mlir::Value value);

/// How much two products of a few constants of the type may differ, relative to them, and be meant to be equal.
double tolerance(mlir::Type type);
bool isNear(double value, double expected, mlir::Type type);

/// Number as a message tells it.
std::string text(double value);

/// Computed from weights and constants alone.
bool isParameter(mlir::Value value);

/// The value before casts that keep all that it says.
mlir::Value withoutWidening(mlir::Value value);

/// The operations that compute `root` from `inputs`, parameters and constants not among them, in the order of the
/// program. The root's is, also where it is a parameter because all inputs are.
llvm::SmallVector<mlir::Operation *> operationsBetween(mlir::ValueRange inputs, mlir::Value root);

} // namespace lathe::fusion

#endif // LATHE_PASSES_FUSION_VALUES_H
