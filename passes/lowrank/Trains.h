//===- Trains.h - Weights as trains of small tensors ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_TRAINS_H
#define LATHE_PASSES_LOWRANK_TRAINS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "passes/lowrank/methods/TensorTrain.h"
#include "passes/quantization/Expressions.h"

namespace lathe::lowrank {

/// Replaces a matrix of f32, [outputs, inputs] where `transposed`, else [inputs, outputs], by the expression of a
/// train: products of its cores and one transpose. Cores are stored as `stored`, as products read them, or where
/// `isTable` as lookups of rows do. False after a failure of `make`.
bool replaceByTrain(mlir::Value weight, llvm::StringRef name, bool transposed, bool isTable, mlir::Type stored,
                    const TensorTrain &train, const compression::MakeConstant &make);

/// Names of the constants of the cores.
std::vector<std::string> trainNames(llvm::StringRef name, size_t cores);

/// What order-matrix-chains does to trains: products and lookups of rows of a matrix that is the expression of one
/// multiply by its cores, one after another, where that takes fewer multiplications for each row.
void orderTrains(mlir::func::FuncOp program);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_TRAINS_H
