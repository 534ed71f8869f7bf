//===- Axes.cpp - Axes that a tensor of integers gives --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Axes.h"

using namespace mlir;

namespace lathe::frontend {

SymShape dimExprs(Node &node, Value tensor) {
  FailureOr<SymShape> shape = tensor ? node.context.shapeOf(tensor) : FailureOr<SymShape>(failure());
  return succeeded(shape) ? *shape : SymShape();
}

Axes Axes::of(Node &node, ArrayRef<int64_t> axes, int64_t rank) {
  return Axes(node, SmallVector<SymExpr>(axes.begin(), axes.end()), rank);
}

std::optional<Axes> Axes::read(Node &node, Value tensor, int64_t rank) {
  std::optional<SmallVector<Value>> given = node.indices(tensor, "axes");
  if (!given)
    return std::nullopt;
  ShapeContext &context = node.context;
  SmallVector<SymExpr> elements, values;
  SmallVector<int64_t> known;
  for (Value value : *given) {
    SymExpr element = context.indexValue(value);
    elements.push_back(element);
    if (std::optional<int64_t> constant = element.constant())
      known.push_back(*constant);
    values.push_back(context.select(context.lt(element, 0), element + rank, element));
  }
  if (known.size() == values.size()) {
    std::optional<SmallVector<int64_t>> normal = node.axes(known, rank);
    return normal ? std::optional(of(node, *normal, rank)) : std::nullopt;
  }
  Axes result(node, std::move(values), rank);
  // As many axes are meant as there are given: none lies outside, and none is given twice.
  SymExpr meant;
  for (int64_t axis = 0; axis < rank; ++axis)
    meant = meant + context.min(result.contains(axis), 1);
  auto count = static_cast<int64_t>(result.size());
  if (failed(node.require(context.eq(meant, count),
                          (count == 1 ? "expects an axis within rank " : "expects distinct axes within rank ") +
                              Twine(rank),
                          elements)))
    return std::nullopt;
  return result;
}

std::optional<Axes> Axes::readOne(Node &node, Value tensor, int64_t rank) {
  std::optional<Axes> axes = read(node, tensor, rank);
  if (axes && axes->size() != 1) {
    (void)node.invalid("expects one axis, got " + Twine(axes->size()));
    return std::nullopt;
  }
  return axes;
}

std::optional<SmallVector<int64_t>> Axes::constants() const {
  SmallVector<int64_t> result;
  for (const SymExpr &value : values) {
    std::optional<int64_t> constant = value.constant();
    if (!constant)
      return std::nullopt;
    result.push_back(*constant);
  }
  return result;
}

SymExpr Axes::contains(int64_t axis) const {
  SymExpr count;
  for (const SymExpr &value : values)
    count = count + node->context.eq(value, axis);
  return count;
}

SymExpr Axes::choose(ArrayRef<SymExpr> ofAxes, int64_t axis, const SymExpr &otherwise) const {
  SymExpr result = otherwise;
  for (auto [value, own] : llvm::zip(values, ofAxes))
    result = node->context.select(node->context.eq(value, axis), own, result);
  return result;
}

SymExpr Axes::countBelow(int64_t axis) const {
  SymExpr count;
  for (const SymExpr &value : values)
    count = count + node->context.lt(value, axis);
  return count;
}

SymShape Axes::removedFrom(ArrayRef<SymExpr> dims) const {
  ShapeContext &context = node->context;
  auto count = static_cast<int64_t>(values.size());
  SymShape result;
  for (int64_t position = 0; position + count < rank; ++position) {
    // The first dimension up to which no more are left out than would move this one there.
    SymExpr dim = dims[position + count];
    for (int64_t skipped = count; skipped-- > 0;)
      dim = context.select(context.lt(countBelow(position + skipped + 1), skipped + 1), dims[position + skipped], dim);
    result.push_back(dim);
  }
  return result;
}

SymShape Axes::insertedInto(ArrayRef<SymExpr> dims) const {
  ShapeContext &context = node->context;
  SymShape result;
  for (int64_t axis = 0; axis < rank; ++axis) {
    SymExpr below = countBelow(axis), dim = 1;
    for (int64_t skipped = 0; skipped <= static_cast<int64_t>(values.size()); ++skipped)
      if (int64_t from = axis - skipped; from >= 0 && from < static_cast<int64_t>(dims.size()))
        dim = context.select(context.eq(below, skipped), dims[from], dim);
    result.push_back(context.select(contains(axis), 1, dim));
  }
  return result;
}

MiddleAxis MiddleAxis::of(Node &node, Value x, const Axes &axis, int64_t trailing) {
  ShapeContext &context = node.context;
  MiddleAxis result{1, 0, 1};
  int64_t rank = Node::rank(x) - trailing;
  for (int64_t i = 0; i < rank; ++i) {
    SymExpr dim = node.dimExpr(x, i);
    result.extent = result.extent + context.eq(axis[0], i) * dim;
    if (i + 1 < rank)
      result.outer = result.outer * context.select(context.lt(i, axis[0]), dim, 1);
    if (i > 0)
      result.inner = result.inner * context.select(context.lt(axis[0], i), dim, 1);
  }
  return result;
}

Value reduce(Node &node, Reduction kind, Value x, const Axes &axes, bool keepDims) {
  if (!x)
    return {};
  if (std::optional<SmallVector<int64_t>> constants = axes.constants()) {
    llvm::sort(*constants);
    return node.reduce(kind, x, *constants, keepDims);
  }
  ShapeContext &context = node.context;
  SymShape dims = dimExprs(node, x), kept, windows;
  for (auto [axis, dim] : llvm::enumerate(dims)) {
    SymExpr reduced = axes.contains(static_cast<int64_t>(axis));
    kept.push_back(context.select(reduced, 1, dim));
    windows.push_back(context.select(reduced, dim, 1));
  }
  Value result;
  if (axes.size() == 1) {
    MiddleAxis parts = MiddleAxis::of(node, x, axes);
    result = node.reshape(x, node.indices({parts.outer, parts.extent, parts.inner}));
    result = node.reduce(kind, result, {1}, /*keepDims=*/true);
  } else {
    // A window over each reduced axis, and one of a single element over each other one.
    auto rank = static_cast<int64_t>(dims.size());
    SmallVector<int64_t> ones(rank, 1);
    result = node.make<WindowsOp>(Node::element(x), x, node.indices(windows), SmallVector<Value>(rank, node.index(0)),
                                  node.indices(kept), ones, ones, ones, APFloat(0.0));
    result = node.reduce(kind, result, llvm::to_vector(llvm::seq<int64_t>(rank, 2 * rank)), /*keepDims=*/false);
    if (keepDims)
      return result;
  }
  return node.reshape(result, node.indices(keepDims ? kept : axes.removedFrom(dims)));
}

} // namespace lathe::frontend
