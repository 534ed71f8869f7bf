//===- Windows.cpp - Windows of convolutions and pools --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Windows.h"

using namespace mlir;

namespace lathe::frontend {

/// So that no extent overflows.
static constexpr int64_t kLargest = INT32_MAX;

bool WindowAttributes::hasPads() const {
  auto isPad = [](int64_t pad) { return pad != 0; };
  return isSame() || llvm::any_of(begins, isPad) || llvm::any_of(ends, isPad);
}

std::optional<Ints> intList(Node &node, StringRef name, size_t count, int64_t otherwise, int64_t lowest) {
  Ints values = node.intsAttr(name).value_or(Ints(count, otherwise));
  if (values.size() != count) {
    (void)node.invalid("expects " + Twine(count) + " values of " + name + ", got " + Twine(values.size()));
    return std::nullopt;
  }
  for (int64_t value : values)
    if (value < lowest || value > kLargest) {
      (void)node.invalid("expects " + name + " from " + Twine(lowest) + " to " + Twine(kLargest) + ", got " +
                         Twine(value));
      return std::nullopt;
    }
  return values;
}

/// The kernel's shape: the attribute, which a weight's shape must not contradict.
static std::optional<Exprs> kernelShape(Node &node, const std::optional<Exprs> &weight, size_t count) {
  if (!node.attribute("kernel_shape")) {
    if (!weight)
      (void)node.invalid("expects an attribute 'kernel_shape'");
    return weight;
  }
  std::optional<Ints> given = intList(node, "kernel_shape", count, 1, 1);
  if (!given)
    return std::nullopt;
  for (size_t i = 0; weight && i < count; ++i)
    if ((*weight)[i].constant().value_or((*given)[i]) != (*given)[i]) {
      (void)node.invalid("expects kernel_shape to be that of the weight, got " + Twine((*given)[i]) + " for " +
                         (*weight)[i].str() + " at spatial axis " + Twine(i));
      return std::nullopt;
    }
  return Exprs(given->begin(), given->end());
}

std::optional<WindowAttributes> windowAttributes(Node &node, std::optional<Exprs> kernel) {
  int64_t spatial = Node::rank(node.input(0)) - 2;
  if (spatial < 1) {
    (void)node.invalid("expects an input of rank 3 or more, got rank " + Twine(spatial + 2));
    return std::nullopt;
  }
  auto count = static_cast<size_t>(spatial);
  std::optional<Exprs> shape = kernelShape(node, kernel, count);
  if (!shape)
    return std::nullopt;
  std::optional<Ints> strides = intList(node, "strides", count, 1, 1),
                      dilations = intList(node, "dilations", count, 1, 1);
  std::optional<Ints> pads = intList(node, "pads", 2 * count, 0, 0);
  if (!strides || !dilations || !pads)
    return std::nullopt;
  for (const SymExpr &size : *shape)
    if (std::optional<int64_t> constant = size.constant(); constant && (*constant < 1 || *constant > kLargest)) {
      (void)node.invalid("expects kernel sizes from 1 to " + Twine(kLargest) + ", got " + Twine(*constant));
      return std::nullopt;
    }
  WindowAttributes result;
  result.autoPad = node.stringAttr("auto_pad", "NOTSET");
  if (!llvm::is_contained({"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}, result.autoPad)) {
    (void)node.invalid("expects auto_pad to be NOTSET, VALID, SAME_UPPER or SAME_LOWER, got '" + result.autoPad + "'");
    return std::nullopt;
  }
  if (result.autoPad != "NOTSET")
    pads->assign(2 * count, 0);
  result.begins.assign(pads->begin(), pads->begin() + spatial);
  result.ends.assign(pads->begin() + spatial, pads->end());
  result.kernel = *shape;
  result.strides = *strides;
  result.dilations = *dilations;
  result.ceilMode = node.intAttr("ceil_mode", 0);
  return result;
}

SymExpr leadingPad(Node &node, const SymExpr &total, bool upper) {
  SymExpr half = node.context.floorDiv(total, 2);
  return upper ? half : total - half;
}

std::optional<WindowPlacement> placeWindows(Node &node, Value x, const WindowAttributes &attributes) {
  WindowPlacement result;
  ShapeContext &context = node.context;
  for (size_t i = 0; i < attributes.kernel.size(); ++i) {
    SymExpr in = node.dimExpr(x, 2 + static_cast<int64_t>(i)), span = attributes.span(i);
    int64_t stride = attributes.strides[i], begin = attributes.begins[i];
    if (attributes.isSame()) {
      SymExpr extent = context.ceilDiv(in, stride);
      SymExpr total = context.max((extent - 1) * stride + span - in, 0);
      result.low.push_back(leadingPad(node, total, attributes.autoPad == "SAME_UPPER"));
      result.extents.push_back(extent);
      continue;
    }
    SymExpr room = in + begin + attributes.ends[i] - span;
    if (context.atMost(room, -1)) {
      (void)node.invalid("expects windows to fit into the padded input, got a window of " + span.str() + " on " +
                         (room + span).str() + " at spatial axis " + Twine(i));
      return std::nullopt;
    }
    // floor(room / stride) + 1, written such that no negative number is divided where none needs to be.
    SymExpr extent = context.floorDiv(room + stride, stride);
    if (attributes.ceilMode) {
      // A last window that would begin in the trailing pad is left out.
      SymExpr starts = context.floorDiv(in + begin + (stride - 1), stride);
      extent = context.min(context.floorDiv(room + (2 * stride - 1), stride), starts);
    }
    result.low.push_back(begin);
    result.extents.push_back(context.max(extent, 0));
  }
  return result;
}

Value windows(Node &node, Value x, const WindowAttributes &attributes, const WindowPlacement &placement,
              double padding) {
  return x ? node.make<WindowsOp>(Node::element(x), x, node.indices(attributes.kernel), node.indices(placement.low),
                                  node.indices(placement.extents), attributes.strides, attributes.dilations,
                                  Ints(attributes.kernel.size(), 1), APFloat(padding))
           : Value();
}

} // namespace lathe::frontend
