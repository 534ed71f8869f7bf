//===- SymExprDetail.h - What expressions are made with ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Not for use outside of this folder: atoms made here are not folded with what is known of symbols; ShapeContext's
// arithmetic is.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_SYMEXPRDETAIL_H
#define LATHE_DIALECTS_LATHE_SYMEXPRDETAIL_H

#include "dialects/lathe/SymbolicShape.h"

namespace lathe::detail {

/// The operation `op` of `args`, as an atom alone.
SymExpr makeAtom(SymOp op, std::vector<SymExpr> args);

/// The polynomial q with q * b == a, if there is one: long division by leading terms, in the order of degree and then
/// of the atoms' keys (graded lexicographic, so that a product's leading term is that of its factors).
std::optional<SymExpr> divideExactly(const SymExpr &a, const SymExpr &b);

/// Element of a float tensor that is computed from constants and static extents alone.
std::optional<double> floatElement(ShapeContext &context, mlir::Value tensor, int64_t position);

/// Counts calls that follow chains of operations. Long ones are not followed to the end of the stack: producers of
/// tensors are asked first then, and what is deep all the same is taken to be data.
struct Nesting {
  /// Above it calls are those that a call too deep makes for its producers.
  static constexpr int kProducers = 1 << 16;
  explicit Nesting(int &depth) : depth(++depth) {}
  ~Nesting() { --depth; }
  bool tooDeep() const { return depth % kProducers > 256; }
  bool ofProducers() const { return depth >= kProducers; }
  int &depth;
};

} // namespace lathe::detail

#endif // LATHE_DIALECTS_LATHE_SYMEXPRDETAIL_H
