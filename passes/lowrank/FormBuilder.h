//===- FormBuilder.h - Operations that tensor forms are made of -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_FORMBUILDER_H
#define LATHE_PASSES_LOWRANK_FORMBUILDER_H

#include "dialects/lathe/Lathe.h"

namespace lathe::lowrank {

/// Makes operations whose shapes follow from their operands, at the builder's insertion point. What is given a null
/// value gives one; one is made where a shape is none that symbols say, and nothing else fails.
class FormBuilder {
public:
  FormBuilder(mlir::OpBuilder &builder, mlir::Location loc, ShapeContext &shapes)
      : b(builder), loc(loc), shapes(shapes) {}

  SymShape shape(mlir::Value tensor);
  /// The extents that `tensor` has but for its last `count` ones, then `inner`.
  SymShape shapeWith(mlir::Value tensor, size_t count, llvm::ArrayRef<int64_t> inner);
  mlir::Value reshape(mlir::Value tensor, const SymShape &to);
  mlir::Value reshapeTo(mlir::Value tensor, llvm::ArrayRef<int64_t> to);
  mlir::Value transpose(mlir::Value tensor, llvm::ArrayRef<int64_t> permutation);
  mlir::Value matmul(mlir::Value lhs, mlir::Value rhs, bool transposeRhs = false);
  mlir::Value gather(mlir::Value tensor, mlir::Value indices, int64_t axis);
  /// A number of the type of an integer tensor.
  mlir::Value number(mlir::Value like, int64_t value);
  /// An operation on tensors of one type.
  template <typename OpTy> mlir::Value binary(mlir::Value lhs, mlir::Value rhs) {
    if (!lhs || !rhs)
      return {};
    auto op = createInferred<OpTy>(b, loc, shapes, elementOf(lhs), lhs, rhs);
    return mlir::succeeded(op) ? op->getResult() : mlir::Value();
  }
  /// lhs < rhs ? a : c.
  mlir::Value selectBelow(mlir::Value lhs, mlir::Value rhs, mlir::Value a, mlir::Value c);

  mlir::OpBuilder &b;
  mlir::Location loc;
  ShapeContext &shapes;

private:
  static mlir::Type elementOf(mlir::Value value) {
    return llvm::cast<mlir::RankedTensorType>(value.getType()).getElementType();
  }
};

/// Gives a value to all that read `old`, where both have one shape, which types may tell in different detail; erases
/// nothing.
void replaceUses(mlir::Value old, mlir::Value by);

/// Erases the operations that make values, and those that only they read, where nothing reads them.
void eraseDead(llvm::ArrayRef<mlir::Value> values);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_FORMBUILDER_H
