//===- Layers.h - The weights that compression works on ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_LAYERS_H
#define LATHE_PASSES_QUANTIZATION_LAYERS_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <map>
#include <string>
#include <vector>

namespace lathe::compression {

/// Where the bytes of a weight lie: what programs that share it have in common.
using Place = std::pair<std::string, uint64_t>;

/// A matrix of f32, as it is in its file or widened, that products read as their right side, or that rows are looked up in, with what reads it in all programs.
struct Layer {
  std::string name; ///< of the initializer
  std::string node; ///< the model's name of the first operation that reads it
  Place place;
  int64_t inputs = 0, outputs = 0; ///< of a product: it sums over `inputs`. Of a table: numbers of a row, and rows
  bool transposed = false;         ///< it lies as [outputs, inputs]
  mlir::Type stored;               ///< what its file has: f32, or f16 or bf16 that are widened
  std::vector<mlir::Value> values; ///< the matrix of f32 in each program
  std::vector<MatmulOp> products;  ///< whose right side it is
  std::vector<GatherOp> lookups;   ///< of its rows
  bool isMatmul() const { return !products.empty(); }
  bool isTable() const { return !lookups.empty(); }
  /// Whether the last axis of what a product reads, or each of them, is what it sums over.
  bool readsRows(MatmulOp product) const {
    auto type = llvm::cast<mlir::RankedTensorType>(product->getOperand(0).getType());
    return !product.getTransposeLhs() && type.getShape().back() == inputs;
  }
  bool readsRows() const {
    return llvm::all_of(products, [this](MatmulOp product) { return readsRows(product); });
  }
  uint64_t elements() const { return static_cast<uint64_t>(inputs) * static_cast<uint64_t>(outputs); }
};

/// The layers of programs, in the order of the first one that has them. A weight that anything else reads, or products in one
/// and the other orientation, is none.
std::vector<Layer> findLayers(llvm::ArrayRef<mlir::func::FuncOp> programs);

/// The model's name of an operation: the first in its location; empty for none.
std::string nodeOf(mlir::Operation *op);

} // namespace lathe::compression

#endif // LATHE_PASSES_QUANTIZATION_LAYERS_H
