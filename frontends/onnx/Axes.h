//===- Axes.h - Axes that a tensor of integers gives ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_AXES_H
#define LATHE_FRONTENDS_ONNX_AXES_H

#include "frontends/onnx/Node.h"

namespace lathe::frontend {

/// Distinct axes of a tensor of some rank, as many as are known when the model is imported. Which ones they are may be
/// known only when it runs: what depends on that is then an expression, and of every axis there is one that says
/// whether it is meant.
class Axes {
public:
  /// The elements of an integer tensor of rank 0 or 1, counted from the end where negative; nullopt after a failure.
  /// What is not known to be within the rank and distinct is tested by the run.
  static std::optional<Axes> read(Node &node, mlir::Value tensor, int64_t rank);
  /// The one axis that a tensor of one element gives.
  static std::optional<Axes> readOne(Node &node, mlir::Value tensor, int64_t rank);
  /// Constants, which are within the rank.
  static Axes of(Node &node, llvm::ArrayRef<int64_t> axes, int64_t rank);

  size_t size() const { return values.size(); }
  /// The axes, where all of them are known.
  std::optional<llvm::SmallVector<int64_t>> constants() const;
  const SymExpr &operator[](size_t i) const { return values[i]; }

  /// 1 where the axis is one of them, else 0.
  SymExpr contains(int64_t axis) const;
  /// The value that belongs to an axis, `otherwise` where the axis is none of them.
  SymExpr choose(llvm::ArrayRef<SymExpr> ofAxes, int64_t axis, const SymExpr &otherwise) const;
  /// The dimensions of a tensor of the rank without these axes.
  SymShape removedFrom(llvm::ArrayRef<SymExpr> dims) const;
  /// The dimensions of a tensor of the rank that has extents of 1 at these axes, and `dims` elsewhere.
  SymShape insertedInto(llvm::ArrayRef<SymExpr> dims) const;

private:
  Axes(Node &node, llvm::SmallVector<SymExpr> values, int64_t rank)
      : node(&node), values(std::move(values)), rank(rank) {}
  /// How many of them are below an axis.
  SymExpr countBelow(int64_t axis) const;

  Node *node;
  llvm::SmallVector<SymExpr> values;
  int64_t rank;
};

/// A tensor seen as three axes [outer, extent, inner], of which the middle one is an axis that the run chooses.
struct MiddleAxis {
  SymExpr outer, extent, inner;
  /// The last `trailing` axes stay as they are, behind these three; the axis is none of them.
  static MiddleAxis of(Node &node, mlir::Value x, const Axes &axis, int64_t trailing = 0);
};

/// The dimensions of a tensor, as expressions.
SymShape dimExprs(Node &node, mlir::Value tensor);

/// lathe.reduce over axes that the run may choose.
mlir::Value reduce(Node &node, Reduction kind, mlir::Value x, const Axes &axes, bool keepDims);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_AXES_H
