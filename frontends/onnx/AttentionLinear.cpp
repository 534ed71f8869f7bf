//===- AttentionLinear.cpp - Importers of linear attention ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A state of [keys, values] for each head, to which every token adds the product of its key and its value.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/AttentionContrib.h"
#include "frontends/onnx/Formula.h"
#include "frontends/onnx/Loops.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

class LinearImporter {
public:
  explicit LinearImporter(Node &node)
      : node(node), c(node), queries(node.intAttr("q_num_heads", 0)), count(node.intAttr("kv_num_heads", 0)),
        window(node.intAttr("state_window", 0)) {}
  LogicalResult run();

private:
  bool check();
  bool readTokens();
  Value firstState();
  std::optional<LoopStep> token(Value number, Value state);
  Value presentState(const LoopResults &loop);
  /// [batch, tokens, heads * size] as [tokens, batch, heads, size], in f32 at least.
  Value split(Value x, int64_t heads) {
    if (!x || !c.hasRank(x, {3}, "packed heads"))
      return {};
    Value headed = splitHeads(c, x, heads); // [batch, heads, tokens, size]
    return node.cast(c.transpose(headed, {2, 0, 1, 3}), type);
  }

  Node &node;
  Compose c;
  int64_t queries, count, window;
  bool decays = false, corrects = false; ///< what the rule has beside the sum
  Type type;                             ///< that states are computed in
  Value q, k, v, decay, beta;            ///< [tokens, batch, heads, size]
  Value batch;
};

bool LinearImporter::check() {
  std::string rule = node.stringAttr("update_rule", "gated_delta");
  if (rule != "linear" && rule != "gated" && rule != "delta" && rule != "gated_delta")
    return refuse(node.invalid("expects update_rule linear, gated, delta or gated_delta, got '" + rule + "'"));
  decays = rule == "gated" || rule == "gated_delta";
  corrects = rule == "delta" || rule == "gated_delta";
  if (queries < 1 || count < 1 || (queries % count != 0 && count % queries != 0))
    return refuse(node.invalid("expects q_num_heads and kv_num_heads of which one divides the other, got " +
                               Twine(queries) + " and " + Twine(count)));
  if (window < 0 || window > 8)
    return refuse(node.invalid("expects a state_window from 0 to 8, got " + Twine(window)));
  for (size_t i : {0, 1, 2})
    if (!node.input(i))
      return refuse(node.invalid("expects input " + Twine(i) + ", got none"));
  if (decays && !node.input(4))
    return refuse(node.invalid("expects decay with the update rule '" + rule + "'"));
  if (corrects && !node.input(5))
    return refuse(node.invalid("expects beta with the update rule '" + rule + "'"));
  return c.areFloats({node.input(0), node.input(1), node.input(2), node.input(4), node.input(5)}) &&
         c.areFloats({node.input(3)});
}

bool LinearImporter::readTokens() {
  Type element = Node::element(node.input(0));
  type = element.getIntOrFloatBitWidth() < 32 ? node.builder.getF32Type() : element;
  q = split(node.input(0), queries);
  k = split(node.input(1), count);
  v = split(node.input(2), count);
  if (!q || !k || !v)
    return false;
  batch = node.dim(q, 1);
  q = scaledQuery(c, q, /*zeroIsDefault=*/true);
  // One token's queries beside the states: as many of them as share a state, or each of them for several.
  SmallVector<Value> tokens{node.dim(q, 0), batch};
  if (queries >= count) {
    q = node.reshape(q, {tokens[0], batch, node.index(count), node.index(queries / count), node.dim(q, 3)});
  } else {
    Value extent = node.dim(q, 3), times = node.index(count / queries);
    q = node.broadcast(c.unsqueeze(q, {3}), {tokens[0], batch, node.index(queries), times, extent});
    q = node.reshape(q, {tokens[0], batch, node.index(count), node.index(1), extent});
  }
  if (decays)
    decay = c.unary<ExpOp>(split(node.input(4), count));
  // One rate for all heads, or one for each.
  if (corrects)
    beta = split(node.input(5), Node::type(node.input(5)).getShape().back() == 1 ? 1 : count);
  if (beta && !ShapedType::isDynamic(Node::type(beta).getDimSize(3)) && Node::type(beta).getDimSize(3) != 1)
    return refuse(node.invalid("expects beta of one number for each of " + Twine(count) + " heads, or of one for all"));
  return q && (!decays || decay) && (!corrects || beta);
}

Value LinearImporter::firstState() {
  Value past = node.input(3);
  SmallVector<Value> dims{batch, node.index(count), node.dim(k, 3), node.dim(v, 3)};
  if (!past)
    return node.broadcast(node.scalar(type, 0), dims);
  if (!c.hasRank(past, {window ? 5 : 4}, "past_state"))
    return {};
  if (window)
    past = entryAt(node, past, node.index(window - 1), 0);
  return node.reshape(node.cast(past, type), dims);
}

std::optional<LoopStep> LinearImporter::token(Value number, Value state) {
  auto now = [&](Value x) { return x ? entryAt(node, x, number, 0) : Value(); };
  Value key = c.unsqueeze(now(k), {2}), value = c.unsqueeze(now(v), {2}); // rows
  if (decays)
    state = c.mul(state, c.unsqueeze(now(decay), {3}));
  if (corrects) // what the state has for the key already makes way
    value = c.mul(c.sub(value, c.matmul(key, state)), c.unsqueeze(now(beta), {2}));
  state = c.add(state, c.matmul(key, value, /*transposeA=*/true));
  Value output = c.matmul(now(q), state);
  if (!output)
    return std::nullopt;
  LoopStep step{node.index(1), {state}, {output}};
  if (window)
    step.scanned.push_back(state);
  return step;
}

/// The last states, zeros before the first of this call.
Value LinearImporter::presentState(const LoopResults &loop) {
  if (!window)
    return loop.state[0];
  Value states = loop.scanned[1];
  SmallVector<Value> dims = node.dims(states);
  Value tokens = dims[0];
  dims[0] = node.index(window);
  Value all = c.concat({node.broadcast(node.scalar(type, 0), dims), states}, 0);
  return all ? node.slice(all, 0, tokens, c.addIndex(tokens, node.index(window))) : all;
}

LogicalResult LinearImporter::run() {
  if (!check() || !readTokens())
    return failure();
  Value start = firstState();
  if (!start)
    return failure();
  constexpr int64_t kOperations = 16;
  std::optional<LoopResults> loop =
      forEach(node, node.dim(q, 0), {start}, kOperations,
              [&](Value number, ArrayRef<Value> state) { return token(number, state[0]); });
  if (!loop)
    return failure();
  // [tokens, batch, heads, group, size]
  Value output = node.cast(c.transpose(loop->scanned[0], {1, 0, 2, 3, 4}), Node::element(node.input(0)));
  Value sizes = node.product({node.index(std::max(queries, count)), node.dim(v, 3)});
  if (failed(node.result(node.reshape(output, {batch, node.dim(q, 0), sizes}))))
    return failure();
  Type stateType = node.input(3) ? Node::element(node.input(3)) : Node::element(node.input(0));
  return node.wantsOutput(1) ? node.result(node.cast(presentState(*loop), stateType), 1) : success();
}

LogicalResult importLinearAttention(Node &node) { return LinearImporter(node).run(); }

/// The decay of a state, and how much of a new value it takes.
LogicalResult importLinearAttentionGate(Node &node) {
  Compose c(node);
  Value a = node.input(0), bias = node.input(1), scale = node.input(2), b = node.input(3);
  if (!c.areFloats({a, b}) || !c.areFloats({bias, scale}) || !c.hasRank(bias, {1}, "dt_bias") ||
      !c.hasRank(scale, {1}, "decay_scale"))
    return failure();
  Type type = Node::element(bias);
  Formula f{node, type};
  Value decay = c.mul(f.softplus(c.add(node.cast(a, type), bias)), scale);
  if (failed(node.result(node.cast(decay, Node::element(a)))))
    return failure();
  if (!node.wantsOutput(1))
    return success();
  if (!b)
    return node.invalid("expects an input b for the output beta");
  return node.result(node.cast(c.unary<SigmoidOp>(node.cast(b, type)), Node::element(b)), 1);
}

} // namespace

ArrayRef<Operator> contribLinearAttentionOperators() {
  static constexpr Operator table[] = {
      {"LinearAttention", 1, 3, 6, 2, "chunk_size:i kv_num_heads:i q_num_heads:i scale:f state_window:i update_rule:s",
       importLinearAttention},
      {"LinearAttentionGate", 1, 3, 4, 2, "", importLinearAttentionGate},
  };
  return table;
}

} // namespace lathe::frontend
