//===- ChannelsLast.cpp - Importers of convolutions, pools and norms of com.microsoft -===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// ONNX's operators with something before or behind them: images whose channels are last, a residual, an activation,
// quantized values. They are imported by ONNX's own importers on inputs that are changed for them.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include "frontends/onnx/Quantization.h"
#include "frontends/onnx/Windows.h"

using namespace mlir;

namespace lathe::frontend {

Value turnChannels(Compose &c, Value x, bool back) {
  if (!x)
    return {};
  int64_t rank = Node::rank(x);
  if (rank < 3)
    return Compose::none(c.node.invalid("expects an image of rank 3 or more, got rank " + Twine(rank)));
  Ints permutation = sequence(0, rank);
  if (back) // [n, c, s…] to [n, s…, c]
    std::rotate(permutation.begin() + 1, permutation.begin() + 2, permutation.end());
  else
    std::rotate(permutation.begin() + 1, permutation.end() - 1, permutation.end());
  return c.transpose(x, permutation);
}

Value fusedActivation(Compose &c, Value x, StringRef name, double alpha, double beta) {
  Node &node = c.node;
  if (!x || name.empty())
    return x;
  if (!isa<FloatType>(Node::element(x)))
    return Compose::none(node.invalid("expects floats"));
  Type type = Node::element(x);
  if (name == "Relu")
    return c.unary<ReluOp>(x);
  if (name == "Tanh")
    return c.unary<TanhOp>(x);
  if (name == "Sigmoid")
    return c.unary<SigmoidOp>(x);
  if (name == "LeakyRelu")
    return c.select(c.compare(Comparison::lt, x, 0.0), c.mul(x, alpha), x);
  if (name == "HardSigmoid")
    return c.max(c.min(c.add(c.mul(x, alpha), beta), node.scalar(type, 1)), node.scalar(type, 0));
  if (name == "Clip")
    return c.min(c.max(x, node.scalar(type, alpha)), node.scalar(type, beta));
  return Compose::none(node.unsupported(
      "activation '" + name + "' is not supported, only Relu, Tanh, Sigmoid, LeakyRelu, HardSigmoid and Clip"));
}

namespace {

/// What `name` without parameters has.
std::pair<double, double> defaultParameters(StringRef name) {
  if (name == "HardSigmoid")
    return {static_cast<double>(0.2f), 0.5};
  return {static_cast<double>(0.01f), 0};
}

/// With a residual behind the product, then an activation.
template <bool channelsLast> LogicalResult importFusedConv(Node &node) {
  Compose c(node);
  Value residual = node.input(3);
  std::string name = node.stringAttr("activation", "");
  auto [alpha, beta] = defaultParameters(name);
  if (const onnx::AttributeProto *given = node.attribute("activation_params")) {
    if ((name == "Clip" || name == "HardSigmoid") && given->floats_size() != 2)
      return node.invalid("expects two activation_params, got " + Twine(given->floats_size()));
    if (given->floats_size() > 0)
      alpha = static_cast<double>(given->floats(0));
    if (given->floats_size() > 1)
      beta = static_cast<double>(given->floats(1));
  } else if (name == "Clip") {
    return node.invalid("expects activation_params with Clip");
  }
  if (channelsLast)
    node.inputs[0] = turnChannels(c, node.inputs[0], /*back=*/false);
  if (!node.inputs[0] || failed(importConv(node)))
    return failure();
  Value result = channelsLast ? turnChannels(c, node.results[0], /*back=*/true) : node.results[0];
  if (residual) {
    Value sum = c.add(result, residual);
    if (sum && Node::rank(sum) != Node::rank(result))
      return node.invalid("expects a residual of the result's shape");
    result = sum;
  }
  return node.result(fusedActivation(c, result, name, alpha, beta));
}

LogicalResult importNhwcMaxPool(Node &node) {
  Compose c(node);
  node.inputs[0] = turnChannels(c, node.inputs[0], /*back=*/false);
  if (!node.inputs[0] || failed(importMaxPool(node)))
    return failure();
  return node.result(turnChannels(c, node.results[0], /*back=*/true));
}

/// The importer of a quantized operator, on images whose channels are last where the attribute says so.
LogicalResult withChannels(Node &node, LogicalResult (*import)(Node &)) {
  Compose c(node);
  bool last = node.intAttr("channels_last", 0);
  if (last)
    node.inputs[0] = turnChannels(c, node.inputs[0], /*back=*/false);
  if (!node.inputs[0] || failed(import(node)))
    return failure();
  return node.result(last ? turnChannels(c, node.results[0], /*back=*/true) : node.results[0]);
}

LogicalResult importQLinearConvContrib(Node &node) { return withChannels(node, importQLinearConv); }

LogicalResult averagePoolOfQuantized(Node &node) {
  Value yScale = node.input(3), yZero = node.input(4), x = node.inputs[0];
  Value values = dequantizedInput(node, 0);
  if (!yScale || !values)
    return yScale ? failure() : node.invalid("expects a scale of the result");
  node.inputs[0] = values;
  if (failed(importAveragePool(node)))
    return failure();
  Value zero = yZero ? yZero : node.scalar(Node::element(x), 0);
  return node.result(requantize(node, node.results[0], yScale, zero));
}

LogicalResult importQLinearAveragePool(Node &node) { return withChannels(node, averagePoolOfQuantized); }

/// Of a sum of two images and a vector where `skips`.
template <bool skips> LogicalResult importGroupNorm(Node &node) {
  Compose c(node);
  Value x = node.input(0), gamma = node.input(1), beta = node.input(2), bias = skips ? node.input(4) : Value();
  bool last = node.intAttr("channels_last", 1);
  int64_t groups = node.intAttr("groups", 0), activation = node.intAttr("activation", 0), rank = Node::rank(x);
  if (!c.areFloats({x, skips ? node.input(3) : Value(), bias}) || !c.areFloats({gamma, beta}) ||
      !c.hasRank(gamma, {1}, "gamma") || !c.hasRank(beta, {1}, "beta") || (bias && !c.hasRank(bias, {1}, "a bias")))
    return failure();
  if (rank < 3)
    return node.invalid("expects an image of rank 3 or more, got rank " + Twine(rank));
  if (activation != 0 && activation != 1)
    return node.invalid("expects activation to be 0 or 1, got " + Twine(activation));
  int64_t axis = last ? rank - 1 : 1, channels = Node::type(x).getDimSize(axis);
  if (groups < 1 || (!ShapedType::isDynamic(channels) && channels % groups != 0))
    return node.invalid("expects groups that divide the channels, got " + Twine(groups));
  auto byChannel = [&](Value vector) { return node.alongAxis(vector, axis, rank); };
  if (skips) {
    Value skip = node.input(3);
    if (Node::rank(skip) == 2) { // one value an image and channel
      SmallVector<Value> dims(rank, node.index(1));
      dims[0] = node.dim(skip, 0);
      dims[axis] = node.dim(skip, 1);
      skip = node.reshape(skip, dims);
    }
    x = c.add(x, skip);
    if (bias)
      x = c.add(x, byChannel(bias));
    if (!x || Node::rank(x) != rank)
      return x ? node.invalid("expects skip and bias that broadcast to the input") : failure();
    if (node.wantsOutput(1) && failed(node.result(x, 1)))
      return failure();
  }
  if (last)
    x = turnChannels(c, x, /*back=*/false);
  Value normal = x ? normalizeGroups(node, x, groups) : Value();
  if (last)
    normal = turnChannels(c, normal, /*back=*/true);
  if (!normal)
    return failure();
  // Gamma and beta may have a wider type.
  Type type = Node::element(normal);
  Value result = c.add(c.mul(normal, byChannel(node.cast(gamma, type))), byChannel(node.cast(beta, type)));
  return node.result(activation ? c.mul(result, c.unary<SigmoidOp>(result)) : result);
}

/// A convolution of each channel with what came before, of which the last elements are carried from call to call.
LogicalResult importCausalConv(Node &node) {
  Compose c(node);
  Value x = node.input(0), weight = node.input(1), bias = node.input(2), past = node.input(3);
  std::string activation = node.stringAttr("activation", "none");
  int64_t dilation = node.intAttr("dilation", 1), axes = node.intAttr("ndim", 1);
  if (axes != 1 || node.intAttr("state_window", 0) || node.intAttr("channels_last", 0))
    return node.unsupported("one axis with the channels before it, and one state, is supported only");
  if (!c.areFloats({x, weight, bias, past}) || !c.hasRank(x, {3}, "an input") || !c.hasRank(weight, {3}, "a weight") ||
      (bias && !c.hasRank(bias, {1}, "a bias")) || (past && !c.hasRank(past, {3}, "past_state")))
    return failure();
  if (!llvm::is_contained({"none", "silu", "swish"}, activation))
    return node.invalid("expects activation to be none, silu or swish, got '" + activation + "'");
  int64_t kernel = Node::type(weight).getDimSize(2);
  if (ShapedType::isDynamic(kernel))
    return node.unsupported("a kernel whose size is not static is not supported");
  if (kernel < 1 || kernel > INT16_MAX || dilation < 1 || dilation > INT16_MAX)
    return node.invalid("expects a kernel and a dilation from 1 to " + Twine(INT16_MAX));
  Type type = Node::element(x), wide = type.getIntOrFloatBitWidth() < 32 ? node.builder.getF32Type() : type;
  int64_t carried = (kernel - 1) * dilation;
  Value rows = x;
  if (!past)
    past = node.broadcast(node.scalar(type, 0), {node.dim(x, 0), node.dim(x, 1), node.index(carried)});
  else if (int64_t given = Node::type(past).getDimSize(2); given != carried && !ShapedType::isDynamic(given))
    return node.invalid("expects a past_state of " + Twine(carried) + " elements, got " + Twine(given));
  rows = c.concat({past, x}, 2);
  if (!rows)
    return failure();
  Value read = node.make<WindowsOp>(wide, node.cast(rows, wide), SmallVector<Value>{node.index(kernel)},
                                    SmallVector<Value>{node.index(0)}, SmallVector<Value>{node.dim(x, 2)}, Ints{1},
                                    Ints{dilation}, Ints{1}, APFloat(0.0));
  Value taps = node.reshape(node.cast(weight, wide), {node.dim(weight, 0), node.index(1), node.index(kernel)});
  Value sum = c.reduce(Reduction::sum, c.mul(read, taps), {3}, /*keepDims=*/false);
  if (bias)
    sum = c.add(sum, node.alongAxis(node.cast(bias, wide), 1, 3));
  if (activation != "none")
    sum = c.mul(sum, c.unary<SigmoidOp>(sum));
  // The end of what was read is the length of the new part further on than the past's.
  Value present = node.slice(rows, 2, node.dim(x, 2), node.dim(rows, 2));
  return failed(node.result(present, 1)) ? failure() : node.result(node.cast(sum, type));
}

} // namespace

ArrayRef<Operator> contribImageOperators() {
  static constexpr Operator table[] = {
      {"FusedConv", 1, 2, 4, 1,
       "activation:s activation_params:F auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I",
       importFusedConv</*channelsLast=*/false>},
      {"NhwcFusedConv", 1, 2, 4, 1,
       "activation:s activation_params:F auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I",
       importFusedConv</*channelsLast=*/true>},
      {"NhwcConv", 1, 2, 3, 1, "auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I",
       importFusedConv</*channelsLast=*/true>},
      {"NhwcMaxPool", 1, 1, 1, 1, "auto_pad:s ceil_mode:i dilations:I kernel_shape:I pads:I strides:I",
       importNhwcMaxPool},
      {"QLinearConv", 1, 8, 9, 1, "auto_pad:s channels_last:i dilations:I group:i kernel_shape:I pads:I strides:I",
       importQLinearConvContrib},
      {"QLinearAveragePool", 1, 2, 5, 1,
       "auto_pad:s ceil_mode:i channels_last:i count_include_pad:i kernel_shape:I pads:I strides:I",
       importQLinearAveragePool},
      {"CausalConvWithState", 1, 2, 4, 2, "activation:s channels_last:i dilation:i ndim:i state_window:i",
       importCausalConv},
      {"GroupNorm", 1, 3, 3, 1, "activation:i channels_last:i epsilon:f groups:i", importGroupNorm</*skips=*/false>},
      {"SkipGroupNorm", 1, 4, 5, 2, "activation:i channels_last:i epsilon:f groups:i", importGroupNorm</*skips=*/true>},
  };
  return table;
}

} // namespace lathe::frontend
