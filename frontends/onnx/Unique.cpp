//===- Unique.cpp - Importers of what a tensor holds once -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Every slice is compared with every other one: then each knows the first that is equal to it, its leader, and how many
// leaders come before that. The run counts the leaders.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// How slices compare; [n, n].
struct Comparisons {
  Value equal, less; ///< i with j
};

/// Of [n, c], the first difference decides.
Comparisons compareRows(Compose &c, Value rows) {
  Node &node = c.node;
  Type i64 = node.builder.getI64Type(), boolean = node.builder.getI1Type();
  if (!rows)
    return {};
  if (Node::element(rows).isInteger(1))
    rows = node.cast(rows, node.builder.getIntegerType(8, /*isSigned=*/false));
  Value a = c.unsqueeze(rows, {1}), b = c.unsqueeze(rows, {0});
  Value less = c.compare(Comparison::lt, a, b), greater = c.compare(Comparison::gt, a, b);
  if (isa<FloatType>(Node::element(rows)) && less && greater) { // NaN equals itself and is larger than any number
    Value aIsNan = node.make<IsNanOp>(boolean, a), bIsNan = node.make<IsNanOp>(boolean, b);
    less = c.binary<OrOp>(less, c.logicalAnd(bIsNan, c.logicalNot(aIsNan)));
    greater = c.binary<OrOp>(greater, c.logicalAnd(aIsNan, c.logicalNot(bIsNan)));
  }
  // Twice the column, and one more where greater: the smallest is of the first difference.
  Value column = c.mul(c.iota(node.dim(rows, 1), 2, 3), 2.0), none = c.integer(INT64_MAX);
  Value key = c.select(less, column, c.select(greater, c.add(column, 1.0), none));
  Value first = c.reduce(Reduction::min, key, {2}, /*keepDims=*/false);
  if (!first)
    return {};
  Value two = node.scalar(i64, 2);
  Value isEven = c.compare(Comparison::eq, node.make<ModOp>(i64, first, two, false), 0.0);
  return {c.compare(Comparison::eq, first, none), isEven};
}

/// The results, by slices along the first axis of `rows`, [n, c].
struct UniqueSlices {
  Value first;   ///< where each one is first, [count]
  Value inverse; ///< the number of each slice's own among them, [n]
  Value counts;  ///< [count]
};

UniqueSlices uniqueSlices(Compose &c, Value rows, bool sorted) {
  Node &node = c.node;
  Type i64 = node.builder.getI64Type();
  Comparisons by = compareRows(c, rows);
  if (!by.equal || !by.less)
    return {};
  Value extent = node.dim(rows, 0), numbers = c.iota(extent);
  Value leader = c.reduce(Reduction::min, c.select(by.equal, c.iota(extent, 1, 2), c.fromIndex(extent)), {1}, false);
  Value leads = c.compare(Comparison::eq, leader, numbers);
  Value total = c.reduce(Reduction::sum, node.cast(leads, i64), {0}, false);
  if (!total)
    return {};
  Value count = node.builder.create<ToIndexOp>(node.loc, node.builder.getIndexType(), total, uint64_t(0));
  // j comes before i.
  Value before = sorted ? c.transpose(by.less, {1, 0})
                        : c.compare(Comparison::lt, c.unsqueeze(numbers, {0}), c.unsqueeze(leader, {1}));
  Value earlier = c.logicalAnd(before, c.unsqueeze(leads, {0}));
  UniqueSlices result;
  result.inverse = c.reduce(Reduction::sum, node.cast(earlier, i64), {1}, false);
  // What does not lead goes to one more place, behind the others.
  Value place = c.select(leads, result.inverse, c.fromIndex(extent));
  Value room = node.broadcast(c.integer(0), {c.addIndex(extent, node.index(1))});
  if (!place || !room)
    return {};
  Value all = node.make<ScatterElementsOp>(i64, ScatterKind::assign, room, place, numbers, int64_t(0));
  result.first = node.slice(all, 0, node.index(0), count);
  Value same = c.compare(Comparison::eq, c.unsqueeze(result.inverse, {0}), c.iota(count, 0, 2));
  result.counts = c.reduce(Reduction::sum, node.cast(same, i64), {1}, false);
  return result;
}

LogicalResult importUnique(Node &node) {
  Compose c(node);
  Value x = node.input(0), rows = x;
  int64_t given = node.intAttr("sorted", 1);
  if (given != 0 && given != 1)
    return node.invalid("expects sorted to be 0 or 1, got " + Twine(given));
  SmallVector<Value> dims = node.dims(x);
  int64_t axis = 0;
  if (node.attribute("axis")) {
    std::optional<int64_t> own = node.axis(node.intAttr("axis", 0), Node::rank(x));
    if (!own)
      return failure();
    axis = *own;
    SmallVector<int64_t> permutation = llvm::to_vector(llvm::seq<int64_t>(Node::rank(x)));
    std::rotate(permutation.begin(), permutation.begin() + axis, permutation.begin() + axis + 1);
    rows = c.transpose(x, permutation);
    SmallVector<Value> others(dims);
    others.erase(others.begin() + axis);
    rows = node.reshape(rows, {dims[axis], node.product(others)});
  } else {
    x = node.reshape(x, {node.product(dims)});
    rows = node.reshape(x, {node.product(dims), node.index(1)});
  }
  UniqueSlices found = uniqueSlices(c, rows, given);
  Value values = c.gather(x, found.first, axis);
  if (failed(node.result(values, 0)) || failed(node.result(found.first, 1)) || failed(node.result(found.inverse, 2)))
    return failure();
  return node.result(found.counts, 3);
}

/// Of a vector, in the order of where they are first.
LogicalResult importContribUnique(Node &node) {
  Compose c(node);
  Value x = node.input(0);
  if (!c.hasRank(x, {1}, "an input"))
    return failure();
  UniqueSlices found = uniqueSlices(c, node.reshape(x, {node.dim(x, 0), node.index(1)}), /*sorted=*/false);
  if (failed(node.result(c.gather(x, found.first, 0), 0)) || failed(node.result(found.inverse, 1)))
    return failure();
  return node.result(found.counts, 2);
}

} // namespace

ArrayRef<Operator> uniqueOperators() {
  static constexpr Operator table[] = {{"Unique", 11, 1, 1, 4, "axis:i sorted:i", importUnique}};
  return table;
}

ArrayRef<Operator> contribUniqueOperators() {
  static constexpr Operator table[] = {{"Unique", 1, 1, 1, 3, "", importContribUnique}};
  return table;
}

} // namespace lathe::frontend
