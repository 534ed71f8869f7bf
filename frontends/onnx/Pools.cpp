//===- Pools.cpp - Importers of pools -------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Pools are reductions of windows.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Windows.h"
#include <cmath>
#include <limits>

using namespace mlir;

namespace lathe::frontend {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The axes of windows of x that stand for the places within a window.
Ints windowAxes(Value x) {
  int64_t rank = Node::rank(x);
  return sequence(rank, 2 * rank - 2);
}

/// (sum of |x|^p)^(1/p) over axes.
Value norm(Node &node, Value x, int64_t p, ArrayRef<int64_t> axes, bool keepDims) {
  if (!x || p == 1 || p == 2)
    return node.reduce(p == 1 ? Reduction::l1 : Reduction::l2, x, axes, keepDims);
  Type type = Node::element(x);
  auto power = static_cast<double>(p);
  Value powers = node.make<PowOp>(type, node.make<AbsOp>(type, x), node.scalar(type, power));
  return node.make<PowOp>(type, node.reduce(Reduction::sum, powers, axes, keepDims), node.scalar(type, 1 / power));
}

std::optional<int64_t> normPower(Node &node) {
  int64_t p = node.intAttr("p", 2);
  if (!isa<FloatType>(Node::element(node.input(0)))) {
    (void)node.invalid("expects floats");
    return std::nullopt;
  }
  if (p < 1) {
    (void)node.invalid("expects p of at least 1, got " + Twine(p));
    return std::nullopt;
  }
  return p;
}

/// 0, 1, … along an axis of `extent` elements that stands `before` the last, times `stride`.
Value steps(Node &node, const SymExpr &extent, int64_t before, const SymExpr &stride) {
  Type type = node.builder.getI64Type();
  SmallVector<Value> dims(before + 1, node.index(1));
  dims.front() = node.index(extent);
  Value range = node.make<RangeOp>(type, node.index(0), node.index(extent), node.index(1));
  return node.make<MulOp>(type, node.reshape(range, dims), node.indexScalar(stride));
}

/// A place within images of these extents that is counted row by row, counted column by column.
Value countedByColumns(Node &node, Value place, ArrayRef<SymExpr> extents) {
  Type type = node.builder.getI64Type();
  Value result;
  for (size_t i = extents.size(); i-- > 0;) {
    SymExpr after = 1;
    for (const SymExpr &extent : extents.drop_front(i + 1))
      after = after * extent;
    SymExpr before = 1;
    for (const SymExpr &extent : extents.take_front(i))
      before = before * extent;
    Value along = node.make<ModOp>(type, node.make<DivOp>(type, place, node.indexScalar(after)),
                                   node.indexScalar(extents[i]), false);
    Value part = node.make<MulOp>(type, along, node.indexScalar(before));
    result = result ? node.make<AddOp>(type, result, part) : part;
  }
  return result;
}

/// Where in x, as a vector of all its elements, the first of the largest elements of each window lies.
Value placesOfMaxima(Node &node, Value read, Value maxima, const WindowAttributes &a,
                     const WindowPlacement &placement) {
  Value x = node.input(0);
  Type type = node.builder.getI64Type(), boolean = node.builder.getI1Type();
  int64_t rank = Node::rank(x), spatial = rank - 2;
  Exprs extents;
  for (int64_t axis = 2; axis < rank; ++axis)
    extents.push_back(node.dimExpr(x, axis));
  SymExpr area = 1;
  Value place;
  for (int64_t i = spatial - 1; i >= 0; --i) {
    Value part = steps(node, extents[i], spatial - 1 - i, area);
    place = place ? node.make<AddOp>(type, place, part) : part;
    area = area * extents[i];
  }
  if (!place || !maxima)
    return {};
  SmallVector<Value> dims = node.dims(place);
  dims.insert(dims.begin(), 2, node.index(1));
  // Pads lie behind everything else.
  Value places = windows(node, node.reshape(place, dims), a, placement, kInfinity);
  SmallVector<Value> aligned = node.dims(maxima);
  aligned.append(spatial, node.index(1));
  // A window that holds a NaN, which is its maximum, has no smaller element.
  Value smaller = node.make<CompareOp>(boolean, Comparison::lt, read, node.reshape(maxima, aligned));
  Value behind = node.make<SelectOp>(type, smaller, node.indexScalar(INT64_MAX), places);
  Value within = node.reduce(Reduction::min, behind, windowAxes(x), false);
  if (node.intAttr("storage_order", 0))
    within = countedByColumns(node, within, extents);
  SymExpr channels = node.dimExpr(x, 1);
  Value image = node.make<AddOp>(type, steps(node, node.dimExpr(x, 0), rank - 1, channels * area),
                                 steps(node, channels, rank - 2, area));
  return node.make<AddOp>(type, within, image);
}

} // namespace

LogicalResult importMaxPool(Node &node) {
  Value x = node.input(0);
  std::optional<WindowAttributes> attributes = windowAttributes(node);
  std::optional<WindowPlacement> placement = attributes ? placeWindows(node, x, *attributes) : std::nullopt;
  if (!placement)
    return failure();
  Value read = windows(node, x, *attributes, *placement, -kInfinity);
  Value maxima = node.reduce(Reduction::max, read, windowAxes(x), false);
  if (node.wantsOutput(1) && failed(node.result(placesOfMaxima(node, read, maxima, *attributes, *placement), 1)))
    return failure();
  return node.result(maxima);
}

namespace {

LogicalResult importMaxUnpool(Node &node) {
  Value x = node.input(0), places = node.input(1);
  int64_t rank = Node::rank(x);
  if (!isa<IntegerType>(Node::element(places)) || Node::rank(places) != rank)
    return node.invalid("expects indices of integers, of the input's rank " + Twine(rank));
  std::optional<WindowAttributes> attributes = windowAttributes(node);
  if (!attributes)
    return failure();
  SmallVector<Value> dims{node.dim(x, 0), node.dim(x, 1)};
  for (int64_t i = 0; i < rank - 2; ++i) {
    SymExpr extent = (node.dimExpr(x, 2 + i) - 1) * attributes->strides[i] + attributes->kernel[i] -
                     attributes->begins[i] - attributes->ends[i];
    if (node.context.atMost(extent, -1))
      return node.invalid("expects pads that leave something of the output, got an extent of " + extent.str() +
                          " at spatial axis " + Twine(i));
    dims.push_back(node.index(node.context.max(extent, 0)));
  }
  Type type = Node::element(x);
  Value zero = node.scalar(type, 0), room = node.broadcast(zero, {node.product(dims)});
  Value count = node.product(node.dims(x)), updates = node.reshape(x, {count}), flat = node.reshape(places, {count});
  if (!room || !updates || !flat)
    return failure();
  Value result = node.make<ScatterElementsOp>(type, ScatterKind::assign, room, flat, updates, int64_t(0));
  result = node.reshape(result, dims);
  if (!node.input(2))
    return node.result(result);
  // Places are those of an output without surplus; this one has more behind it.
  std::optional<SmallVector<Value>> shape = node.indices(node.input(2), "output_shape");
  if (!shape)
    return failure();
  if (static_cast<int64_t>(shape->size()) != rank)
    return node.invalid("expects " + Twine(rank) + " values of output_shape, got " + Twine(shape->size()));
  return node.result(node.make<PadOp>(type, result, zero, SmallVector<Value>(rank, node.index(0)), *shape));
}

LogicalResult importLpPool(Node &node) {
  Value x = node.input(0);
  std::optional<int64_t> p = normPower(node);
  std::optional<WindowAttributes> attributes = p ? windowAttributes(node) : std::nullopt;
  std::optional<WindowPlacement> placement = attributes ? placeWindows(node, x, *attributes) : std::nullopt;
  if (!placement)
    return failure();
  return node.result(norm(node, windows(node, x, *attributes, *placement, 0), *p, windowAxes(x), false));
}

/// How many elements of each window count, by axis: those of x, and of the pads that the attributes give under
/// `padsCount`. What rounding up adds never counts.
Value countElements(Node &node, Value x, const WindowAttributes &a, const WindowPlacement &placement, bool padsCount) {
  Type type = node.builder.getF32Type();
  Value count = node.scalar(type, 1);
  int64_t spatial = Node::rank(x) - 2;
  for (int64_t i = 0; i < spatial; ++i) {
    SymExpr extent = node.dimExpr(x, 2 + i), low = placement.low[i];
    if (padsCount && !a.isSame()) {
      extent = extent + a.begins[i] + a.ends[i];
      low = 0;
    }
    WindowAttributes own;
    own.kernel = {a.kernel[i]};
    own.strides = {a.strides[i]};
    own.dilations = {a.dilations[i]};
    Value ones = node.broadcast(node.scalar(type, 1), {node.index(extent)});
    Value along = node.reduce(Reduction::sum, windows(node, ones, own, {{low}, {placement.extents[i]}}, 0), {1}, false);
    SmallVector<Value> dims(spatial - i, node.index(1));
    dims.front() = node.dim(along, 0);
    count = node.make<MulOp>(type, count, node.reshape(along, dims));
  }
  return count;
}

} // namespace

LogicalResult importAveragePool(Node &node) {
  Value x = node.input(0);
  Type type = Node::element(x);
  if (!isa<FloatType>(type))
    return node.invalid("expects floats");
  std::optional<WindowAttributes> attributes = windowAttributes(node);
  std::optional<WindowPlacement> placement = attributes ? placeWindows(node, x, *attributes) : std::nullopt;
  if (!placement)
    return failure();
  Value read = windows(node, x, *attributes, *placement, 0);
  bool padsCount = node.intAttr("count_include_pad", 0);
  if (!attributes->ceilMode && (padsCount || !attributes->hasPads()))
    return node.result(node.reduce(Reduction::mean, read, windowAxes(x), false));
  Value count = node.cast(countElements(node, x, *attributes, *placement, padsCount), type);
  return node.result(node.make<DivOp>(type, node.reduce(Reduction::sum, read, windowAxes(x), false), count));
}

namespace {

std::optional<Ints> spatialAxes(Node &node) {
  int64_t rank = Node::rank(node.input(0));
  if (rank < 2) {
    (void)node.invalid("expects an input of rank 2 or more, got rank " + Twine(rank));
    return std::nullopt;
  }
  return sequence(2, rank);
}

template <Reduction kind> LogicalResult importGlobalPool(Node &node) {
  std::optional<Ints> axes = spatialAxes(node);
  return axes ? node.result(node.reduce(kind, node.input(0), *axes, true)) : failure();
}

LogicalResult importGlobalLpPool(Node &node) {
  std::optional<Ints> axes = spatialAxes(node);
  std::optional<int64_t> p = axes ? normPower(node) : std::nullopt;
  return p ? node.result(norm(node, node.input(0), *p, *axes, true)) : failure();
}

} // namespace

ArrayRef<Operator> poolOperators() {
  static constexpr Operator table[] = {
      {"MaxPool", 12, 1, 1, 2, "auto_pad:s ceil_mode:i dilations:I kernel_shape:I pads:I storage_order:i strides:I",
       importMaxPool},
      {"MaxUnpool", 11, 2, 3, 1, "kernel_shape:I pads:I strides:I", importMaxUnpool},
      {"AveragePool", 11, 1, 1, 1,
       "auto_pad:s ceil_mode:i count_include_pad:i dilations:I kernel_shape:I pads:I strides:I", importAveragePool},
      {"LpPool", 11, 1, 1, 1, "auto_pad:s ceil_mode:i dilations:I kernel_shape:I p:i pads:I strides:I", importLpPool},
      {"GlobalAveragePool", 1, 1, 1, 1, "", importGlobalPool<Reduction::mean>},
      {"GlobalMaxPool", 1, 1, 1, 1, "", importGlobalPool<Reduction::max>},
      {"GlobalLpPool", 2, 1, 1, 1, "p:i", importGlobalLpPool},
  };
  return table;
}

} // namespace lathe::frontend
