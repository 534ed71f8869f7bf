//===- LinearAlgebra.cpp - Importers of determinants and inverses ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Elimination with the largest pivot of each column, one round a row: written out where rows are few, and else a loop.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Loops.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

constexpr int64_t kRoundSize = 16; // operations of a round, about

/// The matrices [b, n, n] of a tensor of any rank of 2 or more, in f32 at least; the size n as an index value, or null
/// after a failure.
Value squareMatrices(Compose &c, Value &x) {
  Node &node = c.node;
  if (!c.areFloats({x}))
    return {};
  int64_t rank = Node::rank(x);
  if (rank < 2)
    return Compose::none(node.invalid("expects matrices, got rank " + Twine(rank)));
  SymExpr rows = node.dimExpr(x, rank - 2), n = node.dimExpr(x, rank - 1);
  if (failed(node.require(node.context.eq(rows, n), "expects square matrices", {rows, n})))
    return {};
  if (rows.constant())
    n = rows;
  SmallVector<Value> dims = node.dims(x);
  if (Node::element(x).getIntOrFloatBitWidth() < 32)
    x = node.cast(x, node.builder.getF32Type());
  Value size = node.index(n);
  x = node.reshape(x, {node.product(ArrayRef(dims).drop_back(2)), size, size});
  return x ? size : Value();
}

/// Column `k` (an index value) of [b, m, w], as [b, m, 1].
Value column(Node &node, Value matrices, Value k) {
  Value entries = entryAt(node, matrices, k, 2);
  return entries ? node.reshape(entries, {node.dim(matrices, 0), node.dim(matrices, 1), node.index(1)}) : Value();
}

/// A round of [b, n, w]: which row from `k` on has the largest element of column `k` (i64, [b, 1, 1]), that row,
/// [b, 1, w], and the rows after the exchange of both.
struct Round {
  Value numbers, own; ///< of rows, i64, [1, n, 1]; and k as a scalar
  Value place, row, swapped;

  Round(Compose &c, Value rows, Value k) {
    Node &node = c.node;
    Type type = Node::element(rows), i64 = node.builder.getI64Type();
    numbers = c.iota(node.dim(rows, 1), 1, 3);
    own = c.fromIndex(k);
    // Rows above have been pivots.
    Value size =
        c.select(c.compare(Comparison::ge, numbers, own), c.unary<AbsOp>(column(node, rows, k)), node.scalar(type, -1));
    place = size ? node.make<TopKOp>(i64, size, node.index(1), int64_t(1), false) : Value();
    if (!place)
      return;
    Value tuple = node.reshape(place, {node.dim(rows, 0), node.index(1), node.index(1)});
    row = tuple ? node.make<GatherNDOp>(type, rows, tuple, node.builder.getI64IntegerAttr(1)) : Value();
    Value first = c.unsqueeze(entryAt(node, rows, k, 1), {1});
    Value isPivot = c.compare(Comparison::eq, numbers, place);
    swapped = c.select(c.compare(Comparison::eq, numbers, own), row, c.select(isPivot, first, rows));
  }
};

LogicalResult importDet(Node &node) {
  Compose c(node);
  Value x = node.input(0), rows = x, n = squareMatrices(c, rows);
  if (!n)
    return failure();
  Type type = Node::element(rows);
  Value one = node.scalar(type, 1);
  Value start = node.broadcast(one, {node.dim(rows, 0), node.index(1), node.index(1)});
  auto round = [&](Value k, ArrayRef<Value> state) -> std::optional<LoopStep> {
    Round r(c, state[0], k);
    if (!r.row || !r.swapped)
      return std::nullopt;
    Value pivot = column(node, r.row, k), isZero = c.compare(Comparison::eq, pivot, 0.0);
    // An exchange of rows changes the sign.
    Value isFirst = c.compare(Comparison::eq, r.place, r.own);
    Value product = c.mul(state[1], c.select(isFirst, pivot, c.unary<NegOp>(pivot)));
    // Without a pivot the result is 0, whatever the rows become.
    Value factor = c.div(column(node, r.swapped, k), c.select(isZero, one, pivot));
    Value isBelow = c.compare(Comparison::gt, r.numbers, r.own);
    Value reduced = c.select(isBelow, c.sub(r.swapped, c.mul(factor, r.row)), r.swapped);
    return LoopStep{node.index(1), {reduced, product}, {}};
  };
  std::optional<LoopResults> loop = forEach(node, n, {rows, start}, kRoundSize, round);
  SmallVector<Value> dims = node.dims(x);
  return loop ? node.result(node.cast(node.reshape(loop->state[1], ArrayRef(dims).drop_back(2)), Node::element(x)))
              : failure();
}

LogicalResult importInverse(Node &node) {
  Compose c(node);
  Value x = node.input(0), matrices = x, n = squareMatrices(c, matrices);
  if (!n)
    return failure();
  Type type = Node::element(matrices);
  Value identity = node.cast(c.compare(Comparison::eq, c.iota(n, 1, 3), c.iota(n, 2, 3)), type);
  identity = node.broadcast(identity, node.dims(matrices));
  auto round = [&](Value k, ArrayRef<Value> state) -> std::optional<LoopStep> {
    Round r(c, state[0], k);
    if (!r.row || !r.swapped)
      return std::nullopt;
    Value scaled = c.div(r.row, column(node, r.row, k));
    Value reduced = c.sub(r.swapped, c.mul(column(node, r.swapped, k), scaled));
    return LoopStep{node.index(1), {c.select(c.compare(Comparison::eq, r.numbers, r.own), scaled, reduced)}, {}};
  };
  std::optional<LoopResults> loop = forEach(node, n, {c.concat({matrices, identity}, 2)}, kRoundSize, round);
  if (!loop)
    return failure();
  Value right = node.slice(loop->state[0], 2, n, c.addIndex(n, n));
  return node.result(node.cast(node.reshape(right, node.dims(x)), Node::element(x)));
}

} // namespace

ArrayRef<Operator> linearAlgebraOperators() {
  static constexpr Operator table[] = {{"Det", 11, 1, 1, 1, "", importDet}};
  return table;
}

ArrayRef<Operator> contribLinearAlgebraOperators() {
  static constexpr Operator table[] = {{"Inverse", 1, 1, 1, 1, "", importInverse}};
  return table;
}

} // namespace lathe::frontend
