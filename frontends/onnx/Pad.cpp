//===- Pad.cpp - Importer of pads -----------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Axes.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Pads of every axis and the extents that they lead to.
struct Pads {
  SmallVector<SymExpr> low, extents;
  SmallVector<bool> given; ///< neither is known to be 0
};

std::optional<Pads> readPads(Node &node) {
  constexpr int64_t kLargest = INT32_MAX; // so that no extent overflows
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  std::optional<Axes> axes = Axes::of(node, llvm::to_vector(llvm::seq<int64_t>(rank)), rank);
  if (node.input(3))
    axes = Axes::read(node, node.input(3), rank);
  std::optional<SmallVector<Value>> values = axes ? node.indices(node.input(1), "pads") : std::nullopt;
  if (!values)
    return std::nullopt;
  if (values->size() != 2 * axes->size()) {
    (void)node.invalid("expects 2 pads for each of " + Twine(axes->size()) + " axes, got " + Twine(values->size()));
    return std::nullopt;
  }
  SmallVector<SymExpr> pads;
  for (Value value : *values)
    pads.push_back(node.context.indexValue(value));
  Pads result;
  result.given.assign(rank, false);
  for (int64_t axis = 0; axis < rank; ++axis) {
    SymExpr low = axes->choose(ArrayRef(pads).take_front(axes->size()), axis, 0);
    SymExpr high = axes->choose(ArrayRef(pads).drop_front(axes->size()), axis, 0);
    for (const SymExpr &pad : {low, high})
      if (std::abs(pad.constant().value_or(0)) > kLargest) {
        (void)node.invalid("expects pads from " + Twine(-kLargest) + " to " + Twine(kLargest) + ", got " + pad.str());
        return std::nullopt;
      }
    SymExpr extent = node.dimExpr(x, axis) + low + high;
    if (node.context.atMost(extent, -1)) {
      (void)node.invalid("expects pads that leave something of the input, got an extent of " + extent.str() +
                         " at axis " + Twine(axis));
      return std::nullopt;
    }
    result.given[axis] = !low.isConstant(0) || !high.isConstant(0);
    result.low.push_back(low);
    result.extents.push_back(node.context.max(extent, 0));
  }
  return result;
}

LogicalResult padWithConstant(Node &node, const Pads &pads) {
  Value x = node.input(0), value = node.input(2);
  Type type = Node::element(x);
  if (!value)
    value = node.scalar(type, 0);
  if (Node::element(value) != type || Node::type(value).getNumDynamicDims() || Node::type(value).getNumElements() != 1)
    return node.invalid("expects one value to pad with, of the input's element type");
  if (Node::rank(value) > 0)
    value = node.reshape(value, {});
  return node.result(node.make<PadOp>(type, x, value, node.indices(pads.low), node.indices(pads.extents)));
}

/// The positions in the input, an axis of `extent` elements, that the result takes.
Value positions(Node &node, StringRef mode, const SymExpr &extent, const SymExpr &low, const SymExpr &length) {
  Type type = node.builder.getI64Type();
  Value range = node.make<RangeOp>(type, node.index(SymExpr(0) - low), node.index(length - low), node.index(1));
  if (mode == "wrap")
    return node.make<ModOp>(type, range, node.indexScalar(extent), false);
  Value last = node.indexScalar(extent - 1);
  if (mode == "edge")
    return node.make<MaxOp>(type, node.make<MinOp>(type, range, last), node.scalar(type, 0));
  // Up to the last element and back again, and so on; a single element is its own mirror image.
  Value period = node.indexScalar(node.context.max((extent - 1) * 2, 1));
  Value offset = node.make<SubOp>(type, node.make<ModOp>(type, range, period, false), last);
  return node.make<SubOp>(type, last, node.make<AbsOp>(type, offset));
}

LogicalResult importPad(Node &node) {
  std::string mode = node.stringAttr("mode", "constant");
  if (!llvm::is_contained({"constant", "edge", "reflect", "wrap"}, mode))
    return node.invalid("expects mode to be constant, edge, reflect or wrap, got '" + mode + "'");
  std::optional<Pads> pads = readPads(node);
  if (!pads)
    return failure();
  Value x = node.input(0);
  if (!llvm::is_contained(pads->given, true))
    return node.result(x);
  if (mode == "constant")
    return padWithConstant(node, *pads);
  for (int64_t axis = 0; axis < Node::rank(node.input(0)) && x; ++axis) {
    if (!pads->given[axis])
      continue;
    SymExpr extent = node.dimExpr(x, axis);
    if (extent.isConstant(0) && !pads->extents[axis].isConstant(0))
      return node.invalid("expects at least one element to repeat at axis " + Twine(axis));
    x = node.make<GatherOp>(Node::element(x), x, positions(node, mode, extent, pads->low[axis], pads->extents[axis]),
                            axis);
  }
  return node.result(x);
}

LogicalResult importCenterCropPad(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  std::optional<SmallVector<int64_t>> axes =
      node.axes(node.intsAttr("axes").value_or(llvm::to_vector(llvm::seq<int64_t>(rank))), rank);
  std::optional<SmallVector<Value>> sizes = axes ? node.indices(node.input(1), "sizes") : std::nullopt;
  if (!sizes)
    return failure();
  if (sizes->size() != axes->size())
    return node.invalid("expects a size for each of " + Twine(axes->size()) + " axes, got " + Twine(sizes->size()));
  SmallVector<Value> low(rank, node.index(0)), extents = node.dims(x);
  ShapeContext &context = node.context;
  for (auto [axis, value] : llvm::zip(*axes, *sizes)) {
    SymExpr size = context.indexValue(value), extent = node.dimExpr(x, axis);
    // What is odd is cut or padded behind.
    SymExpr cut = context.floorDiv(extent - size, 2), pad = context.floorDiv(size - extent, 2);
    low[axis] = node.index(context.select(context.lt(size, extent), SymExpr(0) - cut, pad));
    extents[axis] = value;
  }
  Type type = Node::element(x);
  return node.result(node.make<PadOp>(type, x, node.scalar(type, 0), low, extents));
}

} // namespace

ArrayRef<Operator> padOperators() {
  static constexpr Operator table[] = {
      {"Pad", 13, 2, 4, 1, "mode:s", importPad},
      {"CenterCropPad", 18, 2, 2, 1, "axes:I", importCenterCropPad},
  };
  return table;
}

} // namespace lathe::frontend
