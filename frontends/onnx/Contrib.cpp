//===- Contrib.cpp - Importers of what ONNX Runtime's optimizer writes ----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Each stands for a few operations, which it is taken apart into: what is fused is decided later, and not by an exporter.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Norms
//===----------------------------------------------------------------------===//

LogicalResult noStatistics(Node &node) {
  if (node.wantsOutput(1) || node.wantsOutput(2))
    return node.unsupported("mean and inverse deviation as outputs are not supported");
  return success();
}

Value lastAxisNorm(Node &node, Value x, Value scale, Value bias, bool simplified, double epsilon) {
  if (!x)
    return {};
  if (Node::rank(x) == 0)
    return Compose::none(node.invalid("expects an input of rank 1 or more"));
  IntegerAttr axis = node.builder.getI64IntegerAttr(Node::rank(x) - 1);
  FloatAttr eps = node.builder.getF64FloatAttr(node.floatAttr("epsilon", epsilon));
  if (simplified)
    return node.make<RmsNormOp>(Node::element(x), x, scale, axis, eps);
  return node.make<LayerNormOp>(Node::element(x), x, scale, OptionalOperand{bias}, axis, eps);
}

template <bool simplified> LogicalResult importSkipNorm(Node &node) {
  Compose c(node);
  Value x = node.input(0), skip = node.input(1), bias = node.input(simplified ? 3 : 4);
  if (failed(noStatistics(node)) || !c.areFloats({x, skip, bias}))
    return failure();
  Value sum = c.add(x, skip);
  if (bias)
    sum = c.add(sum, bias);
  if (sum && Node::type(sum).getRank() != Node::rank(x))
    return node.invalid("expects skip and bias that broadcast to the input");
  if (node.wantsOutput(3) && failed(node.result(sum, 3)))
    return failure();
  Value beta = simplified ? Value() : node.input(3);
  return node.result(lastAxisNorm(node, sum, node.input(2), beta, simplified, static_cast<double>(1e-12f)));
}

LogicalResult importSimplifiedNorm(Node &node) {
  Value x = node.input(0);
  if (node.wantsOutput(1))
    return node.unsupported("the inverse deviation as an output is not supported");
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(x));
  if (!axis)
    return failure();
  if (int64_t stash = node.intAttr("stash_type", 1); stash != 1)
    return node.unsupported("stash_type " + Twine(stash) + " is not supported, only 1 (f32)");
  Type scaleType = Node::element(node.input(1));
  Value scale = node.cast(node.input(1), Node::element(x));
  Value result = node.make<RmsNormOp>(
      Node::element(x), x, scale, node.builder.getI64IntegerAttr(*axis),
      node.builder.getF64FloatAttr(node.floatAttr("epsilon", static_cast<double>(1e-5f))));
  return node.result(node.cast(result, scaleType));
}

/// Where the ones of each row of a mask end, or 0 without a mask.
Value maskEnds(Compose &c, Value mask, Value batch) {
  Node &node = c.node;
  Type i32 = node.builder.getI32Type();
  if (!mask)
    return node.broadcast(node.scalar(i32, 0), {batch});
  return c.reduce(Reduction::sum, node.cast(mask, i32), {1}, /*keepDims=*/false);
}

LogicalResult importEmbedLayerNorm(Node &node) {
  Compose c(node);
  Value ids = node.input(0), segments = node.input(1), segmentTable = node.input(4), mask = node.input(7);
  Value positions = node.input(8), positionTable = node.input(3);
  for (size_t i : {2, 3, 5, 6})
    if (!node.input(i))
      return node.invalid("expects input " + Twine(i) + ", got none");
  if (!c.hasRank(ids, {2}, "input_ids") || !c.hasRank(node.input(2), {2}, "word_embedding") ||
      !c.hasRank(positionTable, {2}, "position_embedding") || (mask && !c.hasRank(mask, {2}, "a mask")))
    return failure();
  if (!segments != !segmentTable)
    return node.invalid("expects segment_ids and segment_embedding together");
  Value sum = c.gather(node.input(2), ids, 0);
  sum = c.add(sum, c.gather(positionTable, positions ? positions : c.iota(node.dim(ids, 1)), 0));
  if (segments)
    sum = c.add(sum, c.gather(segmentTable, segments, 0));
  if (node.wantsOutput(1) && failed(node.result(maskEnds(c, mask, node.dim(ids, 0)), 1)))
    return failure();
  if (failed(node.result(sum, 2)))
    return failure();
  return node.result(lastAxisNorm(node, sum, node.input(5), node.input(6), /*simplified=*/false,
                                  static_cast<double>(1e-12f)));
}

//===----------------------------------------------------------------------===//
// Activations
//===----------------------------------------------------------------------===//

Value gelu(Compose &c, Value x, GeluApproximation kind) { return c.unary<GeluOp>(x, kind); }

/// Gelu of a sum of one or two inputs.
template <GeluApproximation kind> LogicalResult importBiasGelu(Node &node) {
  Compose c(node);
  if (!c.areFloats({node.input(0), node.input(1)}))
    return failure();
  return node.result(gelu(c, node.input(1) ? c.add(node.input(0), node.input(1)) : node.input(0), kind));
}

LogicalResult importQuickGelu(Node &node) {
  Compose c(node);
  Value x = node.input(0);
  if (!c.areFloats({x}))
    return failure();
  return node.result(c.mul(x, c.unary<SigmoidOp>(c.mul(x, node.floatAttr("alpha", static_cast<double>(1.702f))))));
}

LogicalResult importBiasSplitGelu(Node &node) {
  Compose c(node);
  Value x = node.input(0), bias = node.input(1);
  if (!c.areFloats({x, bias}) || !c.hasRank(x, {3}, "an input"))
    return failure();
  int64_t extent = Node::type(x).getDimSize(2);
  if (ShapedType::isDynamic(extent) || extent % 2 != 0)
    return node.unsupported("a last dimension that is not static and even is not supported", hints::kStatic);
  Value sum = c.add(x, bias);
  Value left = c.slice(sum, 2, 0, extent / 2), right = c.slice(sum, 2, extent / 2, extent);
  return node.result(c.mul(left, gelu(c, right, GeluApproximation::erf)));
}

LogicalResult importBiasAdd(Node &node) {
  Compose c(node);
  return node.result(c.add(c.add(node.input(0), node.input(1)), node.input(2)));
}

LogicalResult importBiasSoftmax(Node &node) {
  Compose c(node);
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 1), rank);
  if (!axis || !c.areFloats({x, node.input(1)}))
    return failure();
  Value sum = c.add(x, node.input(1));
  if (!sum || Node::rank(sum) != rank)
    return sum ? node.invalid("expects a bias that broadcasts to the input") : failure();
  if (*axis == rank - 1)
    return node.result(c.softmax(sum));
  // The axes from `axis` on count as one.
  SmallVector<Value> dims = node.dims(sum);
  SmallVector<Value> folded(ArrayRef(dims).take_front(*axis));
  folded.push_back(node.product(ArrayRef(dims).drop_front(*axis)));
  return node.result(node.reshape(c.softmax(node.reshape(sum, folded)), dims));
}

//===----------------------------------------------------------------------===//
// Matrix products
//===----------------------------------------------------------------------===//

/// The first axis becomes the second last one.
Value batchesSwapped(Compose &c, Value x) {
  int64_t rank = Node::rank(x);
  if (rank < 3)
    return x;
  SmallVector<int64_t> permutation = llvm::to_vector(llvm::seq<int64_t>(1, rank));
  permutation.insert(permutation.end() - 1, 0);
  return c.transpose(x, permutation);
}

Value fusedMatMul(Compose &c) {
  Node &node = c.node;
  Value a = node.input(0), b = node.input(1);
  if (node.intAttr("transBatchA", 0))
    a = batchesSwapped(c, a);
  if (node.intAttr("transBatchB", 0))
    b = batchesSwapped(c, b);
  Value product = productOfAny(c, a, b, node.intAttr("transA", 0), node.intAttr("transB", 0));
  return c.mul(product, node.floatAttr("alpha", 1));
}

LogicalResult importFusedMatMul(Node &node) {
  Compose c(node);
  return node.result(fusedMatMul(c));
}

Value activatedProduct(Compose &c, Value x) {
  Node &node = c.node;
  std::string activation = node.stringAttr("activation", "");
  if (activation.empty())
    return Compose::none(node.invalid("expects an attribute 'activation'"));
  bool isHard = activation == "HardSigmoid";
  return fusedActivation(c, x, activation,
                         node.floatAttr("activation_alpha", static_cast<double>(isHard ? 0.2f : 0.01f)),
                         node.floatAttr("activation_beta", isHard ? 0.5 : 0));
}

LogicalResult importFusedMatMulActivation(Node &node) {
  Compose c(node);
  return node.result(activatedProduct(c, fusedMatMul(c)));
}

LogicalResult importFusedGemm(Node &node) {
  Compose c(node);
  return node.result(activatedProduct(c, generalProduct(c)));
}

LogicalResult importGemmFastGelu(Node &node) {
  Compose c(node);
  Value product = productOfAny(c, node.input(0), node.input(1));
  if (Value bias = node.input(2))
    product = c.add(product, bias);
  return node.result(gelu(c, product, GeluApproximation::tanh));
}

} // namespace

ArrayRef<Operator> contribOperators() {
  static constexpr llvm::StringLiteral norm = "axis:i epsilon:f stash_type:i";
  static constexpr Operator table[] = {
      {"SkipLayerNormalization", 1, 3, 5, 4, "epsilon:f", importSkipNorm</*simplified=*/false>},
      {"SkipSimplifiedLayerNormalization", 1, 3, 4, 4, "epsilon:f", importSkipNorm</*simplified=*/true>},
      {"SimplifiedLayerNormalization", 1, 2, 2, 2, norm, importSimplifiedNorm},
      {"EmbedLayerNormalization", 1, 1, 9, 3, "epsilon:f mask_index_type:i", importEmbedLayerNorm},
      {"Gelu", 1, 1, 1, 1, "", importBiasGelu<GeluApproximation::erf>},
      {"BiasGelu", 1, 2, 2, 1, "", importBiasGelu<GeluApproximation::erf>},
      {"FastGelu", 1, 1, 2, 1, "", importBiasGelu<GeluApproximation::tanh>},
      {"QuickGelu", 1, 1, 1, 1, "alpha:f", importQuickGelu},
      {"BiasSplitGelu", 1, 2, 2, 1, "", importBiasSplitGelu},
      {"BiasAdd", 1, 3, 3, 1, "", importBiasAdd},
      {"BiasSoftmax", 1, 2, 2, 1, "axis:i is_inner_broadcast:i", importBiasSoftmax},
      {"FusedMatMul", 1, 2, 2, 1, "alpha:f transA:i transB:i transBatchA:i transBatchB:i", importFusedMatMul},
      {"FusedMatMulActivation", 1, 2, 2, 1,
       "activation:s activation_alpha:f activation_axis:i activation_beta:f activation_gamma:f alpha:f transA:i transB:i "
       "transBatchA:i transBatchB:i",
       importFusedMatMulActivation},
      {"TransposeMatMul", 1, 2, 2, 1, "alpha:f transA:i transB:i", importFusedMatMul},
      {"FusedGemm", 1, 2, 3, 1,
       "activation:s activation_alpha:f activation_beta:f activation_gamma:f alpha:f beta:f transA:i transB:i",
       importFusedGemm},
      {"GemmFastGelu", 1, 2, 3, 1, "", importGemmFastGelu},
  };
  return table;
}

ArrayRef<Operator> contribOnnxOperators() {
  static constexpr Operator table[] = {
      {"SimplifiedLayerNormalization", 1, 2, 2, 2, "axis:i epsilon:f stash_type:i", importSimplifiedNorm},
  };
  return table;
}

} // namespace lathe::frontend
