//===- LinearAlgebra.cpp - Importers of determinants and inverses ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Elimination with the largest pivot of each column, one round a row: matrices are small, and of a size that is known.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

constexpr int64_t kLargest = 64; // each row is a handful of operations

/// The matrices [b, n, n] of a tensor of any rank of 2 or more, in f32 at least; the size n, or nullopt after a
/// failure.
std::optional<int64_t> squareMatrices(Compose &c, Value &x) {
  Node &node = c.node;
  if (!c.areFloats({x}))
    return std::nullopt;
  int64_t rank = Node::rank(x), n = rank ? Node::type(x).getDimSize(rank - 1) : 0;
  if (rank < 2 || (!ShapedType::isDynamic(n) && !ShapedType::isDynamic(Node::type(x).getDimSize(rank - 2)) &&
                   Node::type(x).getDimSize(rank - 2) != n)) {
    (void)node.invalid("expects square matrices");
    return std::nullopt;
  }
  if (ShapedType::isDynamic(n))
    n = Node::type(x).getDimSize(rank - 2);
  if (ShapedType::isDynamic(n) || n > kLargest) {
    (void)node.unsupported("matrices are supported up to a size of " + Twine(kLargest) + ", which is static");
    return std::nullopt;
  }
  SmallVector<Value> dims = node.dims(x);
  Type type = Node::element(x);
  if (type.getIntOrFloatBitWidth() < 32)
    x = node.cast(x, node.builder.getF32Type());
  x = node.reshape(x, {node.product(ArrayRef(dims).drop_back(2)), node.index(n), node.index(n)});
  return x ? std::optional(n) : std::nullopt;
}

/// One round: which row of [b, m, w] has the largest element of column `column` (i64, [b, 1, 1]), and that row, [b, 1,
/// w].
std::pair<Value, Value> pivotRow(Compose &c, Value rows, int64_t column, int64_t firstRow) {
  Node &node = c.node;
  Type i64 = node.builder.getI64Type();
  Value size = c.unary<AbsOp>(c.slice(rows, 2, column, column + 1));
  if (size && firstRow) // of those that have not been a pivot yet
    size = c.select(c.compare(Comparison::ge, c.iota(node.dim(rows, 1), 1, 3), static_cast<double>(firstRow)), size,
                    node.scalar(Node::element(rows), -1));
  Value place = size ? node.make<TopKOp>(i64, size, node.index(1), int64_t(1), false) : Value();
  if (!place)
    return {};
  Value tuple = node.reshape(place, {node.dim(rows, 0), node.index(1), node.index(1)});
  Value row =
      tuple ? node.make<GatherNDOp>(Node::element(rows), rows, tuple, node.builder.getI64IntegerAttr(1)) : Value();
  return {place, row};
}

LogicalResult importDet(Node &node) {
  Compose c(node);
  Value x = node.input(0), rows = x;
  std::optional<int64_t> n = squareMatrices(c, rows);
  if (!n)
    return failure();
  Type type = Node::element(rows);
  Value result = node.broadcast(node.scalar(type, 1), {node.dim(rows, 0), node.index(1), node.index(1)});
  for (int64_t m = *n; m > 0 && result; --m) {
    auto [place, row] = pivotRow(c, rows, 0, 0);
    Value pivot = c.slice(row, 2, 0, 1), isFirst = place ? c.compare(Comparison::eq, place, 0.0) : Value();
    // An exchange of rows changes the sign.
    result = c.mul(result, c.select(isFirst, pivot, c.unary<NegOp>(pivot)));
    if (m == 1 || !result)
      break;
    // The first row takes the place of the pivot's.
    Value isPivot = c.compare(Comparison::eq, c.iota(node.index(m - 1), 1, 3), c.add(place, -1.0));
    Value rest = c.select(isPivot, c.slice(rows, 1, 0, 1), c.slice(rows, 1, 1, m));
    Value isZero = c.compare(Comparison::eq, pivot, 0.0), one = node.scalar(type, 1);
    Value factor = c.div(c.slice(rest, 2, 0, 1), c.select(isZero, one, pivot));
    rows = c.sub(c.slice(rest, 2, 1, m), c.mul(factor, c.slice(row, 2, 1, m)));
  }
  SmallVector<Value> dims = node.dims(x);
  return node.result(node.cast(node.reshape(result, ArrayRef(dims).drop_back(2)), Node::element(x)));
}

LogicalResult importInverse(Node &node) {
  Compose c(node);
  Value x = node.input(0), matrices = x;
  std::optional<int64_t> n = squareMatrices(c, matrices);
  if (!n)
    return failure();
  if (*n == 0)
    return node.result(x);
  Type type = Node::element(matrices);
  Value numbers = c.iota(node.index(*n), 1, 3);
  Value identity = node.cast(c.compare(Comparison::eq, numbers, c.iota(node.index(*n), 2, 3)), type);
  identity = node.broadcast(identity, node.dims(matrices));
  Value rows = c.concat({matrices, identity}, 2);
  for (int64_t k = 0; k < *n && rows; ++k) {
    auto [place, row] = pivotRow(c, rows, k, k);
    if (!place || !row)
      return failure();
    Value scaled = c.div(row, c.slice(row, 2, k, k + 1));
    Value isPivot = c.compare(Comparison::eq, numbers, place);
    Value isOwn = c.compare(Comparison::eq, numbers, static_cast<double>(k));
    Value swapped = c.select(isPivot, c.slice(rows, 1, k, k + 1), rows);
    Value reduced = c.sub(swapped, c.mul(c.slice(swapped, 2, k, k + 1), scaled));
    rows = c.select(isOwn, scaled, reduced);
  }
  return node.result(node.cast(node.reshape(c.slice(rows, 2, *n, 2 * *n), node.dims(x)), Node::element(x)));
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
