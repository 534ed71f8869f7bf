//===- Attention.cpp - Attention as nodes ---------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Compute.h"
#include <limits>

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Heads of keys or values, each for as many heads of queries as share it.
Name repeatHeads(Emitter &e, Value value, Value query) {
  std::optional<SymShape> own = e.shapeOf(value), queries = e.shapeOf(query);
  int64_t rank = Emitter::rank(value), axis = rank - 3;
  if (axis < 0 || Emitter::rank(query) < 3)
    return e.of(value);
  const SymExpr &heads = (*own)[axis], &wanted = (*queries)[queries->size() - 3];
  if (heads == wanted || heads.isConstant(1))
    return e.of(value);
  Name name = e.of(value), more = e.extent(e.of(query), Emitter::rank(query) - 3), count = e.extent(name, axis);
  Name each = e.binary("Div", more, count), one = e.ints({1});
  Names ones(rank + 1, one);
  ones[axis + 1] = each;
  Name repeated = e.node("Expand", {e.unsqueeze(name, {axis + 1}), e.concat(ones, 0)});
  Names dims;
  for (int64_t i = 0; i < rank; ++i)
    dims.push_back(i == axis ? e.binary("Mul", count, each) : e.extent(name, i));
  return e.node("Reshape", {repeated, e.concat(dims, 0)}, {{"allowzero", int64_t(1)}});
}

} // namespace

LogicalResult Emitter::emitAttention(AttentionOp op) {
  Type type = element(op.getResult()), wide = computedType(type, true);
  if (!shapeOf(op.getQuery()) || !shapeOf(op.getKey()) || !shapeOf(op.getValue()))
    return fail(op, "its shapes are not known");
  auto in = [&](const Name &name) { return cast(name, type, wide); };
  int64_t keyRank = rank(op.getKey());
  Name query = in(of(op.getQuery())), key = in(repeatHeads(*this, op.getKey(), op.getQuery()));
  Name value = in(repeatHeads(*this, op.getValue(), op.getQuery()));
  double scale = op.getScale().convertToDouble();
  if (scale != 1)
    query = binary("Mul", query, number(wide, scale));
  Name scores = node("MatMul", {query, swapLast(key, keyRank)});
  if (op.getSoftcap()) {
    Name cap = number(wide, op.getSoftcap()->convertToDouble());
    scores = binary("Mul", node("Tanh", {binary("Div", scores, cap)}), cap);
  }
  for (Value bias : op.getBiases())
    scores = binary("Add", scores, in(of(bias)));
  Name lowest = number(wide, -std::numeric_limits<double>::infinity());
  if (op.getPositions()) {
    // [B, 1, S, 1] and [T]
    Name last = unsqueeze(of(op.getPositions()), {1, 3});
    Name keys = node("Range", {integer(0), squeeze(extent(of(op.getKey()), keyRank - 2)), integer(1)});
    Name hidden = binary("Greater", keys, last);
    if (op.getWindow())
      hidden = binary("Or", hidden, binary("LessOrEqual", keys, binary("Sub", last, integer(static_cast<int64_t>(*op.getWindow())))));
    scores = where(hidden, lowest, scores);
  }
  auto resultRank = rank(op.getResult());
  Name weights = node("Softmax", {scores}, {{"axis", int64_t(-1)}}), zero = number(wide, 0);
  if (op.getZeroNan()) {
    weights = where(node("IsNaN", {weights}), zero, weights);
  } else if (op.getZeroMasked()) {
    Name largest = reduce(Reduction::max, scores, {resultRank - 1}, true);
    weights = where(binary("Equal", largest, lowest), zero, weights);
  }
  define(op.getResult(), cast(node("MatMul", {weights, value}), wide, type));
  return success();
}

} // namespace lathe::frontend
