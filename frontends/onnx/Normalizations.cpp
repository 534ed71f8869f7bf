//===- Normalizations.cpp - Importers of normalizations by channel --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Windows.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Whether a parameter is a vector of `extent` elements; records what is wrong.
bool isVector(Node &node, Value parameter, const SymExpr &extent, StringRef name) {
  if (Node::rank(parameter) == 1) {
    SymExpr difference = node.dimExpr(parameter, 0) - extent;
    if (difference.constant().value_or(0) == 0)
      return true;
  }
  (void)node.invalid("expects " + name + " to be a vector of " + extent.str() + " elements");
  return false;
}

bool isFloatImage(Node &node, int64_t rank) {
  if (Node::rank(node.input(0)) >= rank && isa<FloatType>(Node::element(node.input(0))))
    return true;
  (void)node.invalid("expects floats of rank " + Twine(rank) + " or more");
  return false;
}

/// x * scale + bias by channel; both in the type of x.
Value scaleChannels(Node &node, Value x, Value scale, Value bias) {
  if (!x)
    return {};
  Type type = Node::element(x);
  int64_t rank = Node::rank(x);
  Value scaled = node.make<MulOp>(type, x, node.alongAxis(node.cast(scale, type), 1, rank));
  return node.make<AddOp>(type, scaled, node.alongAxis(node.cast(bias, type), 1, rank));
}

} // namespace

Value normalizeGroups(Node &node, Value x, const SymExpr &groups) {
  SmallVector<Value> dims = node.dims(x);
  SmallVector<Value> factors(dims.begin() + 2, dims.end());
  factors.insert(factors.begin(), node.index(node.context.floorDiv(node.dimExpr(x, 1), groups)));
  Type type = Node::element(x);
  Value rows = node.reshape(x, {dims[0], node.index(groups), node.product(factors)});
  double epsilon = node.floatAttr("epsilon", static_cast<double>(1e-5f));
  Value normal = node.make<LayerNormOp>(type, rows, node.scalar(type, 1), OptionalOperand{},
                                        node.builder.getI64IntegerAttr(2), node.builder.getF64FloatAttr(epsilon));
  return node.reshape(normal, dims);
}

namespace {

LogicalResult importInstanceNormalization(Node &node) {
  Value x = node.input(0);
  if (!isFloatImage(node, 2))
    return failure();
  SymExpr channels = node.dimExpr(x, 1);
  if (!isVector(node, node.input(1), channels, "scale") || !isVector(node, node.input(2), channels, "bias"))
    return failure();
  return node.result(scaleChannels(node, normalizeGroups(node, x, channels), node.input(1), node.input(2)));
}

LogicalResult importGroupNormalization(Node &node) {
  Value x = node.input(0), scale = node.input(1), bias = node.input(2);
  if (!isFloatImage(node, 2))
    return failure();
  int64_t groups = node.intAttr("num_groups", 0), stash = node.intAttr("stash_type", 1);
  if (stash != 1)
    return node.unsupported("stash_type " + Twine(stash) + " is not supported, only 1 (f32)");
  SymExpr channels = node.dimExpr(x, 1);
  std::optional<int64_t> constant = channels.constant();
  if (groups < 1 || (constant && *constant % groups != 0))
    return node.invalid("expects num_groups to divide the " + channels.str() + " channels, got " + Twine(groups));
  // Up to operator set 20 scale and bias are given by group.
  bool byGroup = node.opset < 21;
  SymExpr extent = byGroup ? SymExpr(groups) : channels;
  if (!isVector(node, scale, extent, "scale") || !isVector(node, bias, extent, "bias"))
    return failure();
  if (byGroup) {
    SymExpr size = node.context.floorDiv(channels, groups);
    auto repeated = [&](Value parameter) {
      Value column = node.reshape(parameter, {node.index(groups), node.index(1)});
      return node.reshape(node.broadcast(column, {node.index(groups), node.index(size)}), {node.index(size * groups)});
    };
    scale = repeated(scale);
    bias = repeated(bias);
  }
  return node.result(scaleChannels(node, normalizeGroups(node, x, groups), scale, bias));
}

LogicalResult importBatchNormalization(Node &node) {
  for (size_t i = 1; i < node.results.size(); ++i)
    if (node.wantsOutput(i))
      return node.unsupported("training is not supported: only the first output is", hints::kInference);
  if (node.intAttr("training_mode", 0))
    return node.unsupported("training is not supported", hints::kInference);
  if (!isFloatImage(node, 2))
    return failure();
  Value x = node.input(0);
  static constexpr const char *names[] = {"", "scale", "bias", "mean", "variance"};
  for (size_t i = 1; i < 5; ++i)
    if (!isVector(node, node.input(i), node.dimExpr(x, 1), names[i]))
      return failure();
  // Mean and variance may have a wider type than the rest.
  Type type = Node::element(x), wide = Node::element(node.input(3));
  for (Value value : node.inputs)
    if (Node::element(value).getIntOrFloatBitWidth() > wide.getIntOrFloatBitWidth())
      wide = Node::element(value);
  auto parameter = [&](size_t i) { return node.cast(node.input(i), wide); };
  double epsilon = node.floatAttr("epsilon", static_cast<double>(1e-5f));
  Value deviation = node.make<SqrtOp>(wide, node.make<AddOp>(wide, parameter(4), node.scalar(wide, epsilon)));
  Value factor = node.make<DivOp>(wide, parameter(1), deviation);
  Value centered = node.make<SubOp>(wide, node.cast(x, wide), node.alongAxis(parameter(3), 1, Node::rank(x)));
  return node.result(node.cast(scaleChannels(node, centered, factor, parameter(2)), type));
}

LogicalResult importLRN(Node &node) {
  int64_t size = node.intAttr("size", 0);
  if (size < 1 || size > INT32_MAX)
    return node.invalid("expects size from 1 to 2^31 - 1, got " + Twine(size));
  if (!isFloatImage(node, 2))
    return failure();
  Value x = node.input(0);
  Type type = Node::element(x);
  SmallVector<Value> dims = node.dims(x);
  Value rows = node.reshape(x, {dims[0], dims[1], node.product(ArrayRef(dims).drop_front(2))});
  // The sum of squares over `size` neighbouring channels.
  using Ints = SmallVector<int64_t>;
  SmallVector<Value> kernel{node.index(size), node.index(1)}, low{node.index((size - 1) / 2), node.index(0)};
  SmallVector<Value> extents{dims[1], node.dim(rows, 2)};
  Value squares = node.make<WindowsOp>(type, node.make<MulOp>(type, rows, rows), kernel, low, extents, Ints{1, 1},
                                       Ints{1, 1}, Ints{1, 1}, APFloat(0.0));
  Value sum = node.reduce(Reduction::sum, squares, {3, 4}, false);
  double alpha = node.floatAttr("alpha", static_cast<double>(1e-4f)), beta = node.floatAttr("beta", 0.75);
  Value scaled = node.make<MulOp>(type, sum, node.scalar(type, alpha / static_cast<double>(size)));
  Value base = node.make<AddOp>(type, scaled, node.scalar(type, node.floatAttr("bias", 1)));
  Value divisor = node.make<PowOp>(type, base, node.scalar(type, beta));
  return node.result(node.reshape(node.make<DivOp>(type, rows, divisor), dims));
}

LogicalResult importMeanVarianceNormalization(Node &node) {
  Value x = node.input(0);
  if (!isFloatImage(node, 1))
    return failure();
  std::optional<SmallVector<int64_t>> axes =
      node.axes(node.intsAttr("axes").value_or(SmallVector<int64_t>{0, 2, 3}), Node::rank(x));
  if (!axes)
    return failure();
  llvm::sort(*axes);
  Type type = Node::element(x);
  Value centered = node.make<SubOp>(type, x, node.reduce(Reduction::mean, x, *axes, true));
  Value squares = node.make<MulOp>(type, centered, centered);
  Value deviation = node.make<SqrtOp>(type, node.reduce(Reduction::mean, squares, *axes, true));
  return node.result(node.make<DivOp>(type, centered, node.make<AddOp>(type, deviation, node.scalar(type, 1e-9))));
}

LogicalResult importLpNormalization(Node &node) {
  Value x = node.input(0);
  if (!isFloatImage(node, 1))
    return failure();
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(x));
  int64_t p = node.intAttr("p", 2);
  if (!axis)
    return failure();
  if (p != 1 && p != 2)
    return node.invalid("expects p to be 1 or 2, got " + Twine(p));
  Type type = Node::element(x);
  Value norm = node.reduce(p == 1 ? Reduction::l1 : Reduction::l2, x, {*axis}, true);
  // Zeros stay zeros.
  Value isZero = node.make<CompareOp>(node.builder.getI1Type(), Comparison::eq, norm, node.scalar(type, 0));
  return node.result(node.make<DivOp>(type, x, node.make<SelectOp>(type, isZero, node.scalar(type, 1), norm)));
}

} // namespace

ArrayRef<Operator> normalizationOperators() {
  static constexpr Operator table[] = {
      {"BatchNormalization", 9, 5, 5, 5, "epsilon:f momentum:f training_mode:i", importBatchNormalization},
      {"GroupNormalization", 18, 3, 3, 1, "epsilon:f num_groups:i stash_type:i", importGroupNormalization},
      {"InstanceNormalization", 6, 3, 3, 1, "epsilon:f", importInstanceNormalization},
      {"LRN", 1, 1, 1, 1, "alpha:f beta:f bias:f size:i", importLRN},
      {"LpNormalization", 1, 1, 1, 1, "axis:i p:i", importLpNormalization},
      {"MeanVarianceNormalization", 9, 1, 1, 1, "axes:I", importMeanVarianceNormalization},
  };
  return table;
}

} // namespace lathe::frontend
