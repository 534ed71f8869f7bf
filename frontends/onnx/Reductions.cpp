//===- Reductions.cpp - Importers of reductions, softmax and norms --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Axes.h"

using namespace mlir;

namespace lathe::frontend {

/// The axes as an attribute or as the second input; all of them where none are given.
static std::optional<Axes> reducedAxes(Node &node) {
  int64_t rank = Node::rank(node.input(0));
  std::optional<Axes> axes;
  if (node.input(1)) {
    axes = Axes::read(node, node.input(1), rank);
  } else {
    std::optional<SmallVector<int64_t>> given = node.axes(node.intsAttr("axes").value_or(SmallVector<int64_t>{}), rank);
    if (given)
      axes = Axes::of(node, *given, rank);
  }
  if (axes && axes->size() == 0 && !node.intAttr("noop_with_empty_axes", 0))
    return Axes::of(node, llvm::to_vector(llvm::seq<int64_t>(rank)), rank);
  return axes;
}

static Value reduce(Node &node, Reduction kind, Value x, ArrayRef<int64_t> axes, bool keepDims) {
  if (!x)
    return {};
  return node.make<ReduceOp>(Node::element(x), kind, x, SmallVector<int64_t>(axes), keepDims);
}

static bool isBool(Value x) { return Node::element(x).isInteger(1); }

template <Reduction kind> static LogicalResult importReduce(Node &node) {
  Value x = node.input(0);
  std::optional<Axes> axes = reducedAxes(node);
  if (!axes)
    return failure();
  if (isBool(x) && kind != Reduction::max && kind != Reduction::min)
    return node.unsupported("reductions of booleans are not supported", "cast to INT32 before the node and back after it");
  // Over no axes these three still take absolute values or squares of the elements; the others change nothing.
  bool transforms = kind == Reduction::l1 || kind == Reduction::l2 || kind == Reduction::sum_square;
  if (axes->size() == 0 && !transforms)
    return node.result(x);
  return node.result(reduce(node, kind, x, *axes, node.intAttr("keepdims", 1)));
}

/// What the logarithm of elements is computed in.
static Type floatType(Node &node, Value x) {
  Type type = Node::element(x);
  if (!isa<FloatType>(type))
    return node.builder.getF64Type();
  return type.getIntOrFloatBitWidth() < 32 ? node.builder.getF32Type() : type;
}

static LogicalResult importReduceLogSum(Node &node) {
  std::optional<Axes> axes = reducedAxes(node);
  if (!axes)
    return failure();
  Value x = node.input(0), sum = reduce(node, Reduction::sum, x, *axes, node.intAttr("keepdims", 1));
  Type type = Node::element(x), wide = floatType(node, x);
  return node.result(node.cast(node.make<LogOp>(wide, node.cast(sum, wide)), type));
}

static LogicalResult importReduceLogSumExp(Node &node) {
  std::optional<Axes> axes = reducedAxes(node);
  if (!axes)
    return failure();
  Type type = Node::element(node.input(0)), wide = floatType(node, node.input(0));
  Value x = node.cast(node.input(0), wide), zero = node.scalar(wide, 0);
  bool keep = node.intAttr("keepdims", 1);
  // Where the largest is infinite, it is the result, which differences would lose.
  auto largest = [&](bool keepDims) {
    Value value = reduce(node, Reduction::max, x, *axes, keepDims);
    return node.make<SelectOp>(wide, node.make<IsInfOp>(node.builder.getI1Type(), value), zero, value);
  };
  Value base = largest(true);
  if (!axes->constants()) // which extents are 1 is known when the model runs
    base = node.broadcast(base, node.dims(x));
  Value powers = node.make<ExpOp>(wide, node.make<SubOp>(wide, x, base));
  Value sum = node.make<LogOp>(wide, reduce(node, Reduction::sum, powers, *axes, keep));
  return node.result(node.cast(node.make<AddOp>(wide, sum, largest(keep)), type));
}

static LogicalResult importSoftmax(Node &node) {
  Value x = node.input(0);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(x));
  if (!axis)
    return failure();
  return node.result(node.make<SoftmaxOp>(Node::element(x), x, *axis));
}

static LogicalResult importLogSoftmax(Node &node) {
  Value x = node.input(0);
  Type type = Node::element(x);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(x));
  if (!axis)
    return failure();
  // Not the logarithm of a softmax: that is minus infinity where the softmax underflows.
  Value shifted = node.make<SubOp>(type, x, reduce(node, Reduction::max, x, {*axis}, true));
  Value sum = reduce(node, Reduction::sum, node.make<ExpOp>(type, shifted), {*axis}, true);
  return node.result(node.make<SubOp>(type, shifted, node.make<LogOp>(type, sum)));
}

/// Axis and epsilon of a norm as attributes.
static std::optional<std::pair<IntegerAttr, FloatAttr>> normAttributes(Node &node) {
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(node.input(0)));
  if (!axis)
    return std::nullopt;
  if (int64_t stash = node.intAttr("stash_type", 1); stash != 1) {
    (void)node.unsupported("stash_type " + Twine(stash) + " is not supported, only 1 (f32)");
    return std::nullopt;
  }
  return std::pair(node.builder.getI64IntegerAttr(*axis),
                   node.builder.getF64FloatAttr(node.floatAttr("epsilon", static_cast<double>(1e-5f))));
}

/// The mean and the reciprocal deviation that layer normalization may also give, in f32 at least.
static LogicalResult giveStatistics(Node &node, int64_t axis, double epsilon) {
  Value x = node.input(0);
  Type type = Node::element(x).isF64() ? Node::element(x) : node.builder.getF32Type();
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(axis, Node::rank(x)));
  Value wide = node.cast(x, type), mean = reduce(node, Reduction::mean, wide, axes, true);
  if (node.wantsOutput(1) && failed(node.result(mean, 1)))
    return failure();
  if (!node.wantsOutput(2))
    return success();
  Value centered = node.make<SubOp>(type, wide, mean);
  Value variance = reduce(node, Reduction::mean, node.make<MulOp>(type, centered, centered), axes, true);
  return node.result(node.make<RsqrtOp>(type, node.make<AddOp>(type, variance, node.scalar(type, epsilon))), 2);
}

static LogicalResult importLayerNormalization(Node &node) {
  auto attributes = normAttributes(node);
  if (!attributes)
    return failure();
  auto [axis, epsilon] = *attributes;
  if ((node.wantsOutput(1) || node.wantsOutput(2)) &&
      failed(giveStatistics(node, axis.getInt(), epsilon.getValueAsDouble())))
    return failure();
  Value x = node.input(0);
  return node.result(
      node.make<LayerNormOp>(Node::element(x), x, node.input(1), OptionalOperand{node.input(2)}, axis, epsilon));
}

static LogicalResult importRMSNormalization(Node &node) {
  auto attributes = normAttributes(node);
  if (!attributes)
    return failure();
  Value x = node.input(0);
  Type type = Node::element(x), scaleType = Node::element(node.input(1));
  Value scale = node.cast(node.input(1), type);
  Value result = node.make<RmsNormOp>(type, x, scale, attributes->first, attributes->second);
  return node.result(node.cast(result, scaleType));
}

static LogicalResult importCumSum(Node &node) {
  Value x = node.input(0);
  std::optional<Axes> given = Axes::readOne(node, node.input(1), Node::rank(x));
  if (!given)
    return failure();
  auto sums = [&](Value value, int64_t axis) {
    return value ? node.make<CumSumOp>(Node::element(value), value, axis, node.intAttr("exclusive", 0) != 0,
                                       node.intAttr("reverse", 0) != 0)
                 : Value();
  };
  if (std::optional<int64_t> axis = (*given)[0].constant())
    return node.result(sums(x, *axis));
  MiddleAxis parts = MiddleAxis::of(node, x, *given);
  Value middle = node.reshape(x, node.indices({parts.outer, parts.extent, parts.inner}));
  return node.result(node.reshape(sums(middle, 1), node.dims(x)));
}

ArrayRef<Operator> reductionOperators() {
  static constexpr llvm::StringLiteral attributes = "axes:I keepdims:i noop_with_empty_axes:i";
  static constexpr Operator table[] = {
      {"ReduceSum", 13, 1, 2, 1, "keepdims:i noop_with_empty_axes:i", importReduce<Reduction::sum>},
      {"ReduceMean", 13, 1, 2, 1, attributes, importReduce<Reduction::mean>},
      {"ReduceMax", 13, 1, 2, 1, attributes, importReduce<Reduction::max>},
      {"ReduceMin", 13, 1, 2, 1, attributes, importReduce<Reduction::min>},
      {"ReduceProd", 13, 1, 2, 1, attributes, importReduce<Reduction::prod>},
      {"ReduceL1", 13, 1, 2, 1, attributes, importReduce<Reduction::l1>},
      {"ReduceL2", 13, 1, 2, 1, attributes, importReduce<Reduction::l2>},
      {"ReduceSumSquare", 13, 1, 2, 1, attributes, importReduce<Reduction::sum_square>},
      {"ReduceLogSum", 13, 1, 2, 1, attributes, importReduceLogSum},
      {"ReduceLogSumExp", 13, 1, 2, 1, attributes, importReduceLogSumExp},
      {"Softmax", 13, 1, 1, 1, "axis:i", importSoftmax},
      {"LogSoftmax", 13, 1, 1, 1, "axis:i", importLogSoftmax},
      {"LayerNormalization", 17, 2, 3, 3, "axis:i epsilon:f stash_type:i", importLayerNormalization},
      {"RMSNormalization", 23, 2, 2, 1, "axis:i epsilon:f stash_type:i", importRMSNormalization},
      {"CumSum", 13, 2, 2, 1, "exclusive:i reverse:i", importCumSum},
  };
  return table;
}

} // namespace lathe::frontend
