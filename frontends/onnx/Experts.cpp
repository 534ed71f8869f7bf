//===- Experts.cpp - Importers of mixtures of experts ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Each token goes to the k experts that its router prefers. Routes (a token and one of its experts) are put in the
// order of the experts, so that each expert is a few products over consecutive rows, as many as there are routes to it:
// nothing is computed for an expert that a token doesn't go to.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include "frontends/onnx/Tensors.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// A linear layer of every expert.
struct Projection {
  Value weight; ///< [experts, out, in], or [experts, out, bytes] of values of `bits` bits
  Value bias;   ///< [experts, out], or null
  Value scale;  ///< null where the weight is not quantized; [experts, out] or [experts, out, blocks]
  Value zero;   ///< null for the middle of the range
  int64_t bits = 0;
};

class ExpertsImporter {
public:
  ExpertsImporter(Node &node, bool quantized) : node(node), c(node), quantized(quantized) {}
  LogicalResult run();

private:
  bool check();
  bool checkProjection(const Projection &p, StringRef what);
  bool route();
  Value ownTokens(int64_t expert);
  Value part(Value x, int64_t expert);
  Value matrix(const Projection &p, int64_t expert);
  Value dequantized(const Projection &p, Value bytes, int64_t expert);
  Value apply(const Projection &p, Value rows, int64_t expert);
  Value activated(Value first, Value third);
  Value gated(Value gate, Value linear);

  Node &node;
  Compose c;
  bool quantized;
  Projection first, second, third;
  int64_t experts = 0, perToken = 0, fusion = 0;
  std::string activation;
  Value rows;    ///< [tokens, hidden]
  Value place;   ///< of each route in the order of the experts, [tokens * k]
  Value tokens;  ///< of each place, [tokens * k]
  Value begins;  ///< the first place of each expert, [experts]
  Value counts;  ///< how many routes there are to each expert, [experts]
  Value weights; ///< of each route, [tokens * k, 1]
};

bool ExpertsImporter::checkProjection(const Projection &p, StringRef what) {
  if (!c.hasRank(p.weight, {3}, (what + "'s weights").str()) ||
      (p.bias && !c.hasRank(p.bias, {2}, (what + "'s bias").str())))
    return false;
  if (Node::type(p.weight).getDimSize(0) != experts)
    return (void)node.invalid("expects " + what + " to have weights of " + Twine(experts) + " experts"), false;
  if (!quantized)
    return true;
  if (!p.scale || !c.hasRank(p.scale, {2, 3}, (what + "'s scales").str()))
    return (void)node.invalid("expects scales of " + what), false;
  if (p.bits != 2 && p.bits != 4 && p.bits != 8)
    return (void)node.unsupported("weights of " + Twine(p.bits) + " bits are not supported, only of 2, 4 and 8"), false;
  for (Value x : {p.weight, p.zero})
    if (x && (!Node::element(x).isUnsignedInteger(8) || !Node::type(x).hasStaticShape()))
      return (void)node.invalid("expects quantized weights and zero points of " + what + " that are u8 and static"),
             false;
  return true;
}

bool ExpertsImporter::check() {
  Value x = node.input(0), router = node.input(1);
  auto linear = [&](size_t at) {
    if (!quantized)
      return Projection{node.input(at), node.input(at + 1), {}, {}, 0};
    size_t number = (at - 2) / 3;
    int64_t bits =
        node.intAttr(("fc" + Twine(number + 1) + "_expert_weight_bits").str(), node.intAttr("expert_weight_bits", 4));
    return Projection{node.input(at), node.input(at + 2), node.input(at + 1), node.input(11 + number), bits};
  };
  size_t step = quantized ? 3 : 2;
  first = linear(2);
  second = linear(2 + step);
  third = linear(2 + 2 * step);
  activation = node.stringAttr("activation_type", "relu");
  perToken = node.intAttr("k", 1);
  fusion = node.intAttr("swiglu_fusion", 0);
  if (node.intAttr("use_sparse_mixer", 0))
    return (void)node.unsupported("use_sparse_mixer is not supported"), false;
  if (std::string type = node.stringAttr("quant_type", "int"); type != "int")
    return (void)node.unsupported("quant_type '" + type + "' is not supported, only int"), false;
  if (node.intAttr("weights_prepacked", -1) == 1)
    return (void)node.unsupported("weights that are packed for a device are not supported"), false;
  for (size_t i = 15; i < node.numInputs(); ++i)
    if (node.input(i))
      return (void)node.unsupported("input " + Twine(i) + ", which belongs to weights of floats, is not supported"),
             false;
  if (!c.areFloats({x, router, first.bias, second.bias, third.bias}) || !c.hasRank(x, {2, 3}, "an input") ||
      !c.hasRank(router, {2}, "router_probs"))
    return false;
  if (!first.weight || !second.weight)
    return (void)node.invalid("expects weights of fc1 and fc2"), false;
  experts = Node::rank(first.weight) == 3 ? Node::type(first.weight).getDimSize(0) : 0;
  if (ShapedType::isDynamic(experts))
    return (void)node.unsupported("a number of experts that is not static is not supported"), false;
  if (perToken < 1 || perToken > experts)
    return (void)node.invalid("expects k from 1 to the number of experts " + Twine(experts) + ", got " +
                              Twine(perToken)),
           false;
  if (int64_t given = Node::type(router).getDimSize(1); given != experts && !ShapedType::isDynamic(given))
    return (void)node.invalid("expects router_probs of " + Twine(experts) + " columns, got " + Twine(given)), false;
  if (!llvm::is_contained({"relu", "gelu", "silu", "swiglu", "identity"}, activation))
    return (void)node.invalid("expects activation_type to be relu, gelu, silu, swiglu or identity, got '" + activation +
                              "'"),
           false;
  if (fusion < 0 || fusion > 2)
    return (void)node.invalid("expects swiglu_fusion from 0 to 2, got " + Twine(fusion)), false;
  if (activation == "swiglu" && (fusion == 0) != static_cast<bool>(third.weight))
    return (void)node.invalid("expects fc3 with swiglu where it is not fused, and only there"), false;
  return checkProjection(first, "fc1") && checkProjection(second, "fc2") &&
         (!third.weight || checkProjection(third, "fc3"));
}

/// Which routes there are, and where.
bool ExpertsImporter::route() {
  Type type = Node::element(node.input(0)), i64 = node.builder.getI64Type(), f32 = node.builder.getF32Type();
  Value x = node.input(0), given = quantized ? node.input(14) : Value();
  SmallVector<Value> dims = node.dims(x);
  Value count = node.product(ArrayRef(dims).drop_back());
  rows = node.reshape(x, {count, dims.back()});
  Value scores = node.cast(node.input(1), type.isF64() ? type : f32);
  // The quantized operator's probabilities are among the chosen ones.
  bool ofChosen = quantized && !given;
  if (!quantized)
    scores = c.softmax(scores);
  Value chosen = scores ? node.make<TopKOp>(i64, scores, node.index(perToken), int64_t(1), false) : Value();
  Value from = given ? node.cast(given, type.isF64() ? type : f32) : scores;
  if (!chosen || !from)
    return false;
  Value picked = node.make<GatherElementsOp>(Node::element(from), from, chosen, int64_t(1));
  if (ofChosen)
    picked = c.softmax(picked);
  else if (node.intAttr("normalize_routing_weights", 0))
    picked = c.div(picked, c.reduce(Reduction::sum, picked, {1}, /*keepDims=*/true));
  Value total = node.product({count, node.index(perToken)});
  weights = node.reshape(picked, {total, node.index(1)});
  Value flat = node.reshape(chosen, {total}), numbers = c.iota(total);
  // As many places come before a route's as there are routes to experts before its own, or earlier ones to the same.
  Value keys = c.add(c.mul(flat, c.fromIndex(total)), numbers);
  Value earlier = c.compare(Comparison::lt, c.unsqueeze(keys, {0}), c.unsqueeze(keys, {1}));
  place = c.reduce(Reduction::sum, node.cast(earlier, i64), {1}, false);
  Value expert = c.iota(node.index(experts), 0, 2), own = c.unsqueeze(flat, {0});
  auto countOf = [&](Comparison which) {
    return c.reduce(Reduction::sum, node.cast(c.compare(which, own, expert), i64), {1}, false);
  };
  begins = countOf(Comparison::lt);
  counts = countOf(Comparison::eq);
  Value room = node.broadcast(c.integer(0), {total});
  if (!place || !begins || !counts || !room || !weights || !rows)
    return false;
  Value order = node.make<ScatterElementsOp>(i64, ScatterKind::assign, room, place, numbers, int64_t(0));
  tokens = order ? c.div(order, c.integer(perToken)) : Value();
  return static_cast<bool>(tokens);
}

/// The tokens of the routes to an expert, as many as the run counts. Not a slice, whose extent would say more than that.
Value ExpertsImporter::ownTokens(int64_t expert) {
  auto element = [&](Value x) -> Value {
    return node.builder.create<ToIndexOp>(node.loc, node.builder.getIndexType(), x, static_cast<uint64_t>(expert));
  };
  Value low = node.index(SymExpr(0) - node.context.indexValue(element(begins)));
  return node.make<PadOp>(Node::element(tokens), tokens, node.scalar(Node::element(tokens), 0), SmallVector<Value>{low},
                          SmallVector<Value>{element(counts)});
}

/// One expert's own, without the first axis.
Value ExpertsImporter::part(Value x, int64_t expert) {
  SmallVector<Value> dims = node.dims(x);
  return node.reshape(c.slice(x, 0, expert, expert + 1), ArrayRef(dims).drop_front());
}

Value ExpertsImporter::dequantized(const Projection &p, Value bytes, int64_t expert) {
  int64_t out = Node::type(bytes).getDimSize(0), in = Node::type(bytes).getDimSize(1) * 8 / p.bits;
  IntegerType element = node.builder.getIntegerType(static_cast<unsigned>(p.bits), /*isSigned=*/false);
  auto unpack = [&](Value x, int64_t count) { // along the last axis, of which the surplus is cut off
    if (x && p.bits < 8)
      x = unpackBits(node.builder, node.loc, node.context, x, element);
    int64_t axis = x ? Node::rank(x) - 1 : 0;
    return x && Node::type(x).getDimSize(axis) != count ? c.slice(x, axis, 0, count) : x;
  };
  Value values = unpack(bytes, in), scale = part(p.scale, expert), zero = p.zero ? part(p.zero, expert) : Value();
  if (!values || !scale || (p.zero && !zero))
    return {};
  bool byBlock = Node::rank(scale) == 2;
  int64_t blocks = byBlock ? Node::type(scale).getDimSize(1) : 1, block = node.intAttr("block_size", 0);
  if (ShapedType::isDynamic(blocks) || blocks < 1)
    return Compose::none(node.unsupported("scales of a shape that is not static are not supported"));
  if (block <= 0 || blocks == 1)
    block = llvm::divideCeil(in, blocks);
  scale = node.reshape(scale, {node.index(out), node.index(blocks)});
  if (zero)
    zero = node.reshape(unpack(zero, byBlock ? blocks : out), {node.index(out), node.index(blocks)});
  else
    zero = node.broadcast(node.scalar(element, static_cast<double>(int64_t(1) << (p.bits - 1))),
                          {node.index(out), node.index(blocks)});
  if (!scale || !zero)
    return {};
  return node.make<DequantizeOp>(Node::element(node.input(0)), values, scale, OptionalOperand{zero},
                                 node.builder.getI64IntegerAttr(1), node.builder.getI64IntegerAttr(block));
}

Value ExpertsImporter::matrix(const Projection &p, int64_t expert) {
  Value own = part(p.weight, expert);
  if (!own)
    return {};
  if (p.scale)
    return dequantized(p, own, expert);
  return node.cast(own, Node::element(node.input(0)));
}

Value ExpertsImporter::apply(const Projection &p, Value x, int64_t expert) {
  Value product = c.matmul(x, matrix(p, expert), false, /*transposeB=*/true);
  return p.bias ? c.add(product, part(p.bias, expert)) : product;
}

/// Source: Shazeer, GLU Variants Improve Transformer (2020).
Value ExpertsImporter::gated(Value gate, Value linear) {
  if (!gate || !linear)
    return {};
  Type type = Node::element(gate);
  if (node.attribute("swiglu_limit")) {
    double limit = node.floatAttr("swiglu_limit", 0);
    gate = c.min(gate, node.scalar(type, limit));
    linear = c.max(c.min(linear, node.scalar(type, limit)), node.scalar(type, -limit));
  }
  Value opened = c.mul(gate, c.unary<SigmoidOp>(c.mul(gate, node.floatAttr("activation_alpha", 1))));
  return c.mul(opened, c.add(linear, node.floatAttr("activation_beta", 0)));
}

Value ExpertsImporter::activated(Value first, Value third) {
  if (!first)
    return {};
  if (activation == "swiglu") {
    int64_t extent = Node::type(first).getDimSize(1);
    if (fusion == 0)
      return gated(first, third);
    if (ShapedType::isDynamic(extent) || extent % 2 != 0)
      return Compose::none(node.unsupported("fused layers of a size that is not static and even are not supported"));
    if (fusion == 1)
      return gated(c.slice(first, 1, 0, extent, 2), c.slice(first, 1, 1, extent, 2));
    return gated(c.slice(first, 1, 0, extent / 2), c.slice(first, 1, extent / 2, extent));
  }
  Value result = activation == "relu"   ? c.unary<ReluOp>(first)
                 : activation == "gelu" ? c.unary<GeluOp>(first, GeluApproximation::tanh)
                 : activation == "silu" ? c.mul(first, c.unary<SigmoidOp>(first))
                                        : first;
  return third ? c.mul(result, third) : result;
}

LogicalResult ExpertsImporter::run() {
  if (!check() || !route())
    return failure();
  Type type = Node::element(rows);
  SmallVector<Value> parts;
  for (int64_t expert = 0; expert < experts; ++expert) {
    Value x = c.gather(rows, ownTokens(expert), 0);
    Value hidden = activated(apply(first, x, expert), third.weight ? apply(third, x, expert) : Value());
    parts.push_back(apply(second, hidden, expert));
    if (!parts.back())
      return failure();
  }
  Value routed = c.mul(c.gather(c.concat(parts, 0), place, 0), node.cast(weights, type));
  if (!routed)
    return failure();
  Value split = node.reshape(routed, {node.dim(rows, 0), node.index(perToken), node.dim(routed, 1)});
  return node.result(node.reshape(c.reduce(Reduction::sum, split, {1}, false), node.dims(node.input(0))));
}

template <bool quantized> LogicalResult importExperts(Node &node) { return ExpertsImporter(node, quantized).run(); }

} // namespace

ArrayRef<Operator> contribExpertOperators() {
  static constexpr Operator table[] = {
      {"MoE", 1, 3, 8, 1,
       "activation_alpha:f activation_beta:f activation_type:s k:i normalize_routing_weights:i swiglu_fusion:i "
       "swiglu_limit:f use_sparse_mixer:i",
       importExperts</*quantized=*/false>},
      {"QMoE", 1, 3, 21, 1,
       "accuracy_level:i activation_alpha:f activation_beta:f activation_type:s block_size:i expert_weight_bits:i "
       "fc1_expert_weight_bits:i fc2_expert_weight_bits:i fc3_expert_weight_bits:i k:i normalize_routing_weights:i "
       "quant_type:s swiglu_fusion:i swiglu_limit:f use_sparse_mixer:i weights_prepacked:i",
       importExperts</*quantized=*/true>},
  };
  return table;
}

} // namespace lathe::frontend
