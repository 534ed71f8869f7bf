//===- Slice.cpp - Importer of slices -------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Axes.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Every step-th element from start up to end along one axis, where the step is known when the model runs.
Value sliceByData(Node &node, Value x, int64_t axis, const SymExpr &start, const SymExpr &end, const SymExpr &given) {
  constexpr int64_t kLongest = int64_t(1) << 48; // no tensor is as long as this step
  ShapeContext &context = node.context;
  SymExpr extent = node.dimExpr(x, axis), step = context.max(context.min(given, kLongest), -kLongest);
  SymExpr back = context.lt(step, 0);
  // Going backwards, positions run from the last one down to -1, which is exclusive.
  SymExpr first = context.select(back, context.min(context.clampedIndex(start, extent, 0, -1), extent - 1),
                                 context.clampedIndex(start, extent));
  SymExpr limit = context.select(back, context.clampedIndex(end, extent, -1, -1), context.clampedIndex(end, extent));
  Value positions =
      node.make<RangeOp>(node.builder.getI64Type(), node.index(first), node.index(limit), node.index(step));
  return x && positions ? node.make<GatherOp>(Node::element(x), x, positions, axis) : Value();
}

LogicalResult importSlice(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  std::optional<SmallVector<Value>> starts = node.indices(node.input(1), "starts"), ends;
  if (starts)
    ends = node.indices(node.input(2), "ends");
  if (!ends)
    return failure();
  size_t count = starts->size();
  SmallVector<Value> steps(count, node.index(1));
  if (node.input(4)) {
    std::optional<SmallVector<Value>> given = node.indices(node.input(4), "steps");
    if (!given)
      return failure();
    steps = *given;
  }
  if (!node.input(3) && static_cast<int64_t>(count) > rank)
    return node.invalid("expects at most " + Twine(rank) + " starts, got " + Twine(count));
  std::optional<Axes> axes =
      node.input(3) ? Axes::read(node, node.input(3), rank)
                    : Axes::of(node, llvm::to_vector(llvm::seq<int64_t>(static_cast<int64_t>(count))), rank);
  if (!axes)
    return failure();
  if (ends->size() != count || axes->size() != count || steps.size() != count)
    return node.invalid("expects an end, an axis and a step for each of " + Twine(count) + " starts, got " +
                        Twine(ends->size()) + ", " + Twine(axes->size()) + " and " + Twine(steps.size()));

  SmallVector<SymExpr> from, to, by;
  SmallVector<int64_t> knownSteps;
  for (size_t i = 0; i < count; ++i) {
    from.push_back(node.context.indexValue((*starts)[i]));
    to.push_back(node.context.indexValue((*ends)[i]));
    by.push_back(node.context.indexValue(steps[i]));
    if (std::optional<int64_t> step = by.back().constant()) {
      if (*step == INT64_MIN)
        return node.unsupported("a step of -2^63 is not supported");
      knownSteps.push_back(*step);
    }
    if (failed(node.require(SymExpr(1) - node.context.eq(by.back(), 0), "expects steps other than 0", by.back())))
      return failure();
  }
  std::optional<SmallVector<int64_t>> knownAxes = axes->constants();
  bool stepsKnown = knownSteps.size() == count;
  if (knownAxes && stepsKnown)
    return node.result(node.make<SliceOp>(Node::element(x), x, *starts, *ends, *knownAxes, knownSteps));
  if (stepsKnown && llvm::all_of(knownSteps, [](int64_t step) { return step == 1; })) {
    SmallVector<Value> first, last;
    for (int64_t axis = 0; axis < rank; ++axis) {
      first.push_back(node.index(axes->choose(from, axis, 0)));
      last.push_back(node.index(axes->choose(to, axis, INT64_MAX)));
    }
    return node.result(node.make<SliceOp>(Node::element(x), x, first, last, llvm::to_vector(llvm::seq<int64_t>(rank)),
                                          SmallVector<int64_t>(rank, 1)));
  }
  for (int64_t axis = 0; axis < rank && x; ++axis)
    if (!axes->contains(axis).isConstant(0))
      x = sliceByData(node, x, axis, axes->choose(from, axis, 0), axes->choose(to, axis, INT64_MAX),
                      axes->choose(by, axis, 1));
  return node.result(x);
}

} // namespace

ArrayRef<Operator> sliceOperators() {
  static constexpr Operator table[] = {{"Slice", 13, 3, 5, 1, "", importSlice}};
  return table;
}

} // namespace lathe::frontend
