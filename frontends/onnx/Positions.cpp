//===- Positions.cpp - Importers of biases and rotations by position ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Biases
//===----------------------------------------------------------------------===//

/// Which bucket a distance is of: near ones have their own, farther ones share one with more and more others. Source:
/// Raffel et al., Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer (2019).
Value buckets(Compose &c, Value distance, int64_t count, int64_t farthest, bool bidirectional) {
  Node &node = c.node;
  Type i64 = node.builder.getI64Type(), f32 = node.builder.getF32Type();
  Value base = node.scalar(i64, 0);
  if (bidirectional) { // half of them are for what follows
    count /= 2;
    base = c.mul(node.cast(c.compare(Comparison::gt, distance, 0.0), i64), static_cast<double>(count));
    distance = c.unary<AbsOp>(distance);
  } else {
    distance = c.max(c.unary<NegOp>(distance), node.scalar(i64, 0));
  }
  int64_t near = count / 2;
  double first = static_cast<double>(near);
  Value ratio = c.div(c.max(node.cast(distance, f32), node.scalar(f32, first)), first);
  double scale = static_cast<double>(count - near) / std::log(static_cast<double>(farthest) / first);
  Value far = c.add(node.cast(c.mul(c.unary<LogOp>(ratio), scale), i64), first);
  far = c.min(far, node.scalar(i64, static_cast<double>(count - 1)));
  return c.add(base, c.select(c.compare(Comparison::lt, distance, first), distance, far));
}

LogicalResult importRelativePositionBias(Node &node) {
  Compose c(node);
  Value table = node.input(0);
  int64_t farthest = node.intAttr("max_distance", 0);
  bool bidirectional = node.intAttr("is_bidirectional", 0);
  if (!c.areFloats({table}) || !c.hasRank(table, {2}, "a table of biases"))
    return failure();
  int64_t count = Node::type(table).getDimSize(0);
  if (ShapedType::isDynamic(count))
    return node.unsupported("a number of buckets that is not static is not supported");
  if (int64_t near = count / (bidirectional ? 4 : 2); near < 1 || farthest <= near || count > INT32_MAX)
    return node.invalid("expects max_distance above half of the buckets of a direction, got " + Twine(farthest) +
                        " for " + Twine(count) + " buckets");
  std::optional<SmallVector<Value>> queries = node.indices(node.input(1), "values of query_length");
  std::optional<SmallVector<Value>> keys = queries ? node.indices(node.input(2), "values of key_length") : std::nullopt;
  if (!keys)
    return failure();
  if (queries->size() != 1 || keys->size() != 1)
    return node.invalid("expects one query_length and one key_length");
  Value distance = c.sub(c.iota(keys->front(), 1, 2), c.iota(queries->front(), 0, 2));
  // The elements of the table lie column by column.
  Value byHead = node.reshape(table, {node.dim(table, 1), node.dim(table, 0)});
  return node.result(c.unsqueeze(c.gather(byHead, buckets(c, distance, count, farthest, bidirectional), 1), {0}));
}

/// Source: Chi et al., XLM-E: Cross-lingual Language Model Pre-training via ELECTRA (2021).
LogicalResult importGatedRelativePositionBias(Node &node) {
  Compose c(node);
  Value query = node.input(0), bias = node.input(1), positions = node.input(2), weight = node.input(3);
  Value gateBias = node.input(4), factor = node.input(5);
  if (node.input(6))
    return node.unsupported("token_offset is not supported");
  if (!c.areFloats({query, bias, positions, weight, gateBias, factor}) || !c.hasRank(query, {3}, "a query") ||
      !c.hasRank(bias, {1}, "query_bias") || !c.hasRank(positions, {4}, "rel_pos") ||
      !c.hasRank(weight, {2}, "a weight") || !c.hasRank(gateBias, {1}, "a bias") || !c.hasRank(factor, {4}, "eco_a"))
    return failure();
  int64_t width = Node::type(weight).getDimSize(1);
  if (ShapedType::isDynamic(width) || width % 2)
    return node.unsupported("a weight whose number of columns is not static and even is not supported");
  Value heads = splitHeads(c, c.add(query, bias), node.intAttr("num_heads", 0));
  Value gates = c.add(c.matmul(heads, weight), gateBias);
  if (!gates)
    return failure();
  SmallVector<Value> dims = node.dims(gates);
  dims.back() = node.index(2);
  dims.push_back(node.index(width / 2));
  Value opened = c.unary<SigmoidOp>(c.reduce(Reduction::sum, node.reshape(gates, dims), {4}, /*keepDims=*/false));
  Value u = c.slice(opened, 3, 0, 1), r = c.slice(opened, 3, 1, 2);
  Value gate = c.add(c.mul(u, c.add(c.mul(r, factor), -1.0)), 2.0);
  return node.result(c.mul(gate, positions));
}

//===----------------------------------------------------------------------===//
// Rotations
//===----------------------------------------------------------------------===//

/// Which of the three positions of a token each column of the tables is of.
std::optional<SmallVector<int64_t>> streams(Node &node, int64_t half) {
  SmallVector<int64_t> sections = node.intsAttr("mrope_section").value_or(SmallVector<int64_t>{}), result;
  int64_t layout = node.intAttr("mrope_layout", 0), sum = 0;
  for (int64_t section : sections)
    sum = section < 0 || section > half ? half + 1 : sum + section;
  if (sections.size() != 3 || sum != half) {
    (void)node.invalid("expects three sections in mrope_section, which sum up to the " + Twine(half) +
                       " columns of the tables");
    return std::nullopt;
  }
  if (layout != 0 && layout != 1) {
    (void)node.invalid("expects mrope_layout to be 0 or 1, got " + Twine(layout));
    return std::nullopt;
  }
  for (int64_t i = 0; i < half; ++i) {
    if (layout == 0)
      result.push_back(i < sections[0] ? 0 : i < sections[0] + sections[1] ? 1 : 2);
    else
      result.push_back(i % 3 != 0 && i < 3 * sections[i % 3] ? i % 3 : 0);
  }
  return result;
}

LogicalResult importMRotaryEmbedding(Node &node) {
  Compose c(node);
  Value x = node.input(0), positions = node.input(1), tables[] = {node.input(2), node.input(3)};
  if (node.intAttr("is_packed_batching", 0))
    return node.unsupported("is_packed_batching is not supported");
  if (double scale = node.floatAttr("scale", 1); scale != 1)
    return node.unsupported("a scale other than 1 is not supported");
  if (!c.areFloats({x, tables[0], tables[1]}) || !c.hasRank(x, {3, 4}, "an input") ||
      !c.hasRank(positions, {3}, "position_ids") || !c.hasRank(tables[0], {2}, "cos_cache") ||
      !c.hasRank(tables[1], {2}, "sin_cache"))
    return failure();
  int64_t half = Node::type(tables[0]).getDimSize(1), heads = node.intAttr("num_heads", 0);
  if (ShapedType::isDynamic(half) || half < 1)
    return node.unsupported("tables of rotations of a shape that is not static are not supported");
  if (int64_t given = Node::type(positions).getDimSize(0); given != 3)
    return node.unsupported("expects three positions for each token, along the first axis");
  std::optional<SmallVector<int64_t>> stream = streams(node, half);
  if (!stream)
    return failure();
  bool folded = Node::rank(x) == 3;
  Value headed = x;
  if (folded) {
    Value size = heads ? c.divideIndex(node.dim(x, 2), heads) : node.index(2 * half);
    Value number = heads ? node.index(heads) : c.divideIndex(node.dim(x, 2), 2 * half);
    headed = node.reshape(x, {node.dim(x, 0), node.dim(x, 1), number, size});
  }
  for (Value &table : tables) {
    Value all = c.gather(table, positions, 0), chosen; // [3, batch, sequence, half]
    for (int64_t s = 0; s < 3 && all; ++s) {
      SmallVector<Value> dims = node.dims(all);
      Value own = node.reshape(c.slice(all, 0, s, s + 1), ArrayRef(dims).drop_front());
      SmallVector<bool> mask;
      for (int64_t of : *stream)
        mask.push_back(of == s);
      auto type = RankedTensorType::get({half}, node.builder.getI1Type());
      chosen = chosen ? c.select(node.constant(DenseElementsAttr::get(type, mask)), own, chosen) : own;
    }
    table = c.unsqueeze(chosen, {folded ? 2 : 1});
  }
  int64_t dim = node.intAttr("rotary_embedding_dim", 0);
  Value rotated = rotate(c, headed, tables[0], tables[1], dim ? dim : 2 * half, node.intAttr("interleaved", 0));
  return node.result(folded ? node.reshape(rotated, node.dims(x)) : rotated);
}

/// Queries and keys, and both of them with their halves exchanged, turned by angles.
LogicalResult importGemmaRotaryEmbedding(Node &node) {
  Compose c(node);
  Value angles = node.input(0);
  if (!c.areFloats({angles}) || !c.areFloats({node.input(1), node.input(2), node.input(3), node.input(4)}) ||
      !c.hasRank(angles, {3}, "an embedding"))
    return failure();
  Type type = Node::element(node.input(1));
  Value cos = c.unsqueeze(node.cast(c.unary<CosOp>(angles), type), {1});
  Value sin = c.unsqueeze(node.cast(c.unary<SinOp>(angles), type), {1});
  auto turned = [&](size_t i) { return c.add(c.mul(node.input(i), cos), c.mul(node.input(i + 1), sin)); };
  return success(succeeded(node.result(turned(1), 0)) && succeeded(node.result(turned(3), 1)));
}

} // namespace

ArrayRef<Operator> contribPositionOperators() {
  static constexpr Operator table[] = {
      {"RelativePositionBias", 1, 3, 3, 1, "is_bidirectional:i max_distance:i", importRelativePositionBias},
      {"GatedRelativePositionBias", 1, 6, 7, 1, "num_heads:i", importGatedRelativePositionBias},
      {"MRotaryEmbedding", 1, 4, 4, 1,
       "interleaved:i is_packed_batching:i mrope_layout:i mrope_section:I num_heads:i rotary_embedding_dim:i scale:f",
       importMRotaryEmbedding},
      {"GemmaRotaryEmbedding", 1, 5, 5, 2, "", importGemmaRotaryEmbedding},
  };
  return table;
}

} // namespace lathe::frontend
