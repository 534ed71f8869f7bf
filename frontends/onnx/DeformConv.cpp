//===- DeformConv.cpp - Importer of deformable convolutions ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The elements of a window are read at places that are moved by offsets, between four elements of the image; the rest
// is a matrix product. Source: Dai et al., Deformable Convolutional Networks (2017).
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Arithmetic.h"
#include "frontends/onnx/Compose.h"
#include "frontends/onnx/Windows.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

class DeformImporter {
public:
  explicit DeformImporter(Node &node) : node(node), c(node), floats{node, Type()} {}
  LogicalResult run();

private:
  bool check();
  Value places(int64_t axis);
  Value read();

  Node &node;
  Compose c;
  Arithmetic floats; ///< of places
  Value x, weight, offset, bias, mask;
  int64_t groups = 1, offsetGroups = 1;
  WindowAttributes attributes;
  WindowPlacement placement;
  SmallVector<Value> window; ///< index values: [n, offset groups, kernel, oh, ow]
  SymExpr kernelSize, channels;
};

bool DeformImporter::check() {
  x = node.input(0);
  weight = node.input(1);
  offset = node.input(2);
  bias = node.input(3);
  mask = node.input(4);
  if (!c.areFloats({x, weight, offset, bias, mask}))
    return false;
  if (Node::rank(x) != 4)
    return (void)node.unsupported("expects images of two spatial axes, got rank " + Twine(Node::rank(x))), false;
  if (!c.hasRank(weight, {4}, "a weight") || !c.hasRank(offset, {4}, "offsets") ||
      (bias && !c.hasRank(bias, {1}, "a bias")) || (mask && !c.hasRank(mask, {4}, "a mask")))
    return false;
  groups = node.intAttr("group", 1);
  offsetGroups = node.intAttr("offset_group", 1);
  SymExpr outputs = node.dimExpr(weight, 0);
  channels = node.dimExpr(x, 1);
  for (auto [count, of] : {std::pair(groups, outputs), std::pair(groups, channels), std::pair(offsetGroups, channels)})
    if (count < 1 || count > INT32_MAX || of.constant().value_or(0) % count != 0)
      return (void)node.invalid("expects group and offset_group that divide the channels, got " + Twine(groups) +
                                " and " + Twine(offsetGroups)),
             false;
  SymExpr given = node.dimExpr(weight, 1) * groups;
  if ((given - channels).constant().value_or(0) != 0)
    return (void)node.invalid("expects an input of " + given.str() + " channels, got " + channels.str()), false;
  std::optional<WindowAttributes> own = windowAttributes(node, Exprs{node.dimExpr(weight, 2), node.dimExpr(weight, 3)});
  std::optional<WindowPlacement> placed = own ? placeWindows(node, x, *own) : std::nullopt;
  if (!placed)
    return false;
  attributes = *own;
  placement = *placed;
  kernelSize = attributes.kernel[0] * attributes.kernel[1];
  window = {node.dim(x, 0), node.index(offsetGroups), node.index(kernelSize), node.index(placement.extents[0]),
            node.index(placement.extents[1])};
  bool wide = Node::element(x).isF64();
  floats.type = wide ? node.builder.getF64Type() : node.builder.getF32Type();
  return true;
}

/// Where along an axis each element of the windows is read, [n, offset groups, kernel, oh, ow].
Value DeformImporter::places(int64_t axis) {
  SmallVector<Value> dims{window[0], window[1], window[2], node.index(2), window[3], window[4]};
  Value moved = node.reshape(c.slice(node.reshape(offset, dims), 3, axis, axis + 1), window);
  // Element k of a window is in row k / width and column k % width.
  Value number = node.make<RangeOp>(node.builder.getI64Type(), node.index(0), window[2], node.index(1));
  Value width = node.indexScalar(attributes.kernel[1]);
  Value row = axis == 0 ? c.div(number, width) : node.make<ModOp>(node.builder.getI64Type(), number, width, false);
  auto constant = [&](int64_t value) { return floats.number(static_cast<double>(value)); };
  Value within = floats.mul(floats.along(node.cast(row, floats.type), 2, 5), constant(attributes.dilations[axis]));
  Value start =
      floats.mul(floats.along(floats.range(placement.extents[axis]), 3 + axis, 5), constant(attributes.strides[axis]));
  return floats.add(floats.add(floats.sub(start, floats.of(placement.low[axis])), within),
                    node.cast(moved, floats.type));
}

/// The elements of the windows, [n, offset groups, kernel, oh, ow, channels of a group].
Value DeformImporter::read() {
  Type type = Node::element(x), i64 = node.builder.getI64Type();
  SymExpr own = node.context.floorDiv(channels, offsetGroups);
  SmallVector<Value> dims{node.dim(x, 0), node.index(offsetGroups), node.index(own), node.dim(x, 2), node.dim(x, 3)};
  Value image = node.transpose(node.reshape(x, dims), {0, 1, 3, 4, 2});
  SmallVector<Value> lows, fractions;
  for (int64_t axis : {0, 1}) {
    Value place = places(axis), low = floats.floor(place);
    lows.push_back(low);
    fractions.push_back(floats.sub(place, low));
  }
  if (!image || llvm::is_contained(fractions, Value()))
    return {};
  Value sum, one = floats.number(1), zero = floats.number(0);
  for (int64_t corner = 0; corner < 4; ++corner) {
    Value factor;
    SmallVector<Value> indices;
    for (int64_t axis : {0, 1}) {
      bool high = axis == 0 ? corner / 2 : corner % 2;
      Value place = high ? floats.add(lows[axis], one) : lows[axis];
      Value share = high ? fractions[axis] : floats.sub(one, fractions[axis]);
      Value clamped = floats.clamp(place, zero, floats.of(node.dimExpr(x, 2 + axis) - 1));
      share = floats.select(floats.compare(Comparison::eq, clamped, place), share, zero); // nothing is outside
      factor = factor ? floats.mul(factor, share) : share;
      indices.push_back(c.unsqueeze(node.cast(clamped, i64), {5}));
    }
    Value tuples = c.concat(indices, 5);
    Value element = tuples ? node.make<GatherNDOp>(type, image, tuples, node.builder.getI64IntegerAttr(2)) : Value();
    Value term = c.mul(node.cast(element, floats.type), c.unsqueeze(factor, {5}));
    sum = sum ? c.add(sum, term) : term;
  }
  if (mask)
    sum = c.mul(sum, c.unsqueeze(node.cast(node.reshape(mask, window), floats.type), {5}));
  return node.cast(sum, type);
}

LogicalResult DeformImporter::run() {
  if (!check())
    return failure();
  // The channels of the offset groups, behind each other, are those of the groups.
  Value elements = c.transpose(read(), {0, 1, 5, 2, 3, 4});
  Value area = node.product({window[3], window[4]}), count = node.index(groups);
  SymExpr perGroup = node.context.floorDiv(channels, groups) * kernelSize;
  SymExpr outputs = node.context.floorDiv(node.dimExpr(weight, 0), groups);
  Value columns = node.reshape(elements, {window[0], count, node.index(perGroup), area});
  Value matrix = node.reshape(weight, {count, node.index(outputs), node.index(perGroup)});
  Value product = c.matmul(matrix, columns);
  Value result = node.reshape(product, {window[0], node.index(outputs * groups), window[3], window[4]});
  return node.result(bias ? c.add(result, node.alongAxis(bias, 1, 4)) : result);
}

LogicalResult importDeformConv(Node &node) { return DeformImporter(node).run(); }

} // namespace

ArrayRef<Operator> deformConvOperators() {
  static constexpr Operator table[] = {
      {"DeformConv", 19, 3, 5, 1, "dilations:I group:i kernel_shape:I offset_group:i pads:I strides:I",
       importDeformConv},
  };
  return table;
}

} // namespace lathe::frontend
