//===- ProductRows.h - How many rows products have --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PRODUCTROWS_H
#define LATHE_COMPILER_PRODUCTROWS_H

#include "dialects/lathe/SymbolicShape.h"
#include "passes/quantization/Layers.h"
#include <set>
#include <string>

namespace lathe {

/// Names of the dimensions that count the samples of a batch: the first of several dimensions of inputs.
std::set<std::string> batchSymbols(llvm::ArrayRef<mlir::func::FuncOp> programs, ShapeContext &shapes);

/// Rows of the left sides of products for a batch of one: as the model says, where all is told by its other dimensions,
/// and with `open` for each dimension that inputs bring, such as the length of a sequence. Where no product
/// would have more than one row, as in models of nothing but batches, these are `open`, too.
class ProductRows {
public:
  ProductRows(llvm::ArrayRef<mlir::func::FuncOp> programs, llvm::ArrayRef<compression::Layer> layers, int64_t open);
  /// Of the first product of a layer, which has one; at least 1.
  int64_t of(const compression::Layer &layer);

private:
  int64_t count(const compression::Layer &layer);

  ShapeContext shapes;
  std::set<std::string> batches;
  int64_t open, batch = 1;
};

/// The value of an expression where symbols have those that `valueOf` gives; nullopt for what depends on data.
std::optional<int64_t> evaluate(const SymExpr &expression, llvm::function_ref<int64_t(llvm::StringRef symbol)> valueOf);

} // namespace lathe

#endif // LATHE_COMPILER_PRODUCTROWS_H
