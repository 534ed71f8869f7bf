//===- AttentionPacked.cpp - Attentions of sequences without padding ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The tokens of all rows lie one behind the other, [tokens, …]. token_offset [batch, sequence] says where each of them
// is among those with padding, whose places follow; cumulative lengths [batch + 1] say where the rows begin.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/AttentionContrib.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Packing
//===----------------------------------------------------------------------===//

bool areIntegers(Node &node, ArrayRef<Value> values) {
  return llvm::all_of(values, [](Value x) { return isa<IntegerType>(Node::element(x)); }) ||
         refuse(node.invalid("expects offsets and lengths of integers"));
}

/// The places of `count` tokens among [batch * sequence].
Value placesOf(Compose &c, Value offsets, Value count) {
  Node &node = c.node;
  Value flat = node.reshape(node.cast(offsets, node.builder.getI64Type()), {node.product(node.dims(offsets))});
  return flat ? node.slice(flat, 0, node.index(0), count) : flat;
}

/// How tokens are packed.
struct Packing {
  Value batch, sequence; ///< index
  Value source;          ///< which token is at a place, [batch, sequence]; any where that is padding
  Value kept;            ///< where it is not, as integers, [batch, sequence]
  Value places;          ///< of each token among [batch * sequence]

  /// Null members after a failure; `tokens` [tokens, …].
  Packing(Compose &c, Value tokens, Value offsets, Value cumulative) {
    Node &node = c.node;
    if (!areIntegers(node, {offsets, cumulative}) || !c.hasRank(offsets, {2}, "token_offset") ||
        !c.hasRank(cumulative, {1}, "cumulative_sequence_length"))
      return;
    Type i64 = node.builder.getI64Type();
    batch = node.dim(offsets, 0);
    sequence = node.dim(offsets, 1);
    cumulative = node.cast(cumulative, i64);
    Value starts = c.unsqueeze(node.slice(cumulative, 0, node.index(0), batch), {1});
    Value ends = c.unsqueeze(node.slice(cumulative, 0, node.index(1), c.addIndex(batch, node.index(1))), {1});
    Value place = c.add(starts, c.iota(sequence, 1, 2));
    Value last = c.fromIndex(c.subIndex(node.dim(tokens, 0), node.index(1)));
    source = c.min(place, last);
    kept = node.cast(c.compare(Comparison::lt, place, ends), i64);
    places = placesOf(c, offsets, node.dim(tokens, 0));
  }

  explicit operator bool() const { return source && kept && places; }
  /// [batch, sequence, …] of [tokens, …].
  Value unpack(Compose &c, Value x) const { return c.gather(x, source, 0); }
  /// [tokens, size] of [batch, sequence, size].
  Value pack(Compose &c, Value x) const {
    if (!x)
      return {};
    Value flat = c.node.reshape(x, {c.node.product({batch, sequence}), c.node.dim(x, 2)});
    return c.gather(flat, places, 0);
  }
};

LogicalResult importRemovePadding(Node &node) {
  Compose c(node);
  Value x = node.input(0), counts = node.input(1);
  if (!areIntegers(node, {counts}) || !c.hasRank(x, {3}, "an input") || !c.hasRank(counts, {1}, "sequence_token_count"))
    return failure();
  Type i64 = node.builder.getI64Type(), type = Node::element(counts);
  Value batch = node.dim(x, 0), sequence = node.dim(x, 1), all = node.product({batch, sequence});
  counts = node.cast(counts, i64);
  Value isToken = c.compare(Comparison::lt, c.iota(sequence, 1, 2), c.unsqueeze(counts, {1}));
  isToken = node.reshape(isToken, {all});
  if (!isToken)
    return failure();
  Value places = positionsOfTrue(c, isToken), rest = positionsOfTrue(c, c.logicalNot(isToken));
  Value sums = counts ? node.make<CumSumOp>(i64, counts, int64_t(0), false, false) : Value();
  sums = c.concat({node.broadcast(c.integer(0), {node.index(1)}), sums}, 0);
  Value longest = c.reduce(Reduction::max, counts, {0}, /*keepDims=*/true);
  Value results[] = {c.gather(node.reshape(x, {all, node.dim(x, 2)}), places, 0),
                     node.cast(node.reshape(c.concat({places, rest}, 0), {batch, sequence}), type),
                     node.cast(sums, type), node.cast(longest, type)};
  for (auto [i, result] : llvm::enumerate(results))
    if (node.wantsOutput(i) && failed(node.result(result, i)))
      return failure();
  return success();
}

LogicalResult importRestorePadding(Node &node) {
  Compose c(node);
  Value x = node.input(0), offsets = node.input(1);
  if (!areIntegers(node, {offsets}) || !c.hasRank(x, {2}, "an input") || !c.hasRank(offsets, {2}, "token_offset"))
    return failure();
  Type type = Node::element(x);
  Value all = node.product(node.dims(offsets)), size = node.dim(x, 1), places = placesOf(c, offsets, node.dim(x, 0));
  Value tuples = places ? c.unsqueeze(places, {1}) : Value(), room = node.broadcast(node.scalar(type, 0), {all, size});
  if (!tuples || !room)
    return failure();
  Value padded = node.make<ScatterNDOp>(type, ScatterKind::assign, room, tuples, x);
  return node.result(node.reshape(padded, {node.dim(offsets, 0), node.dim(offsets, 1), size}));
}

//===----------------------------------------------------------------------===//
// Attentions
//===----------------------------------------------------------------------===//

LogicalResult importPackedAttention(Node &node) {
  Compose c(node);
  Value x = node.input(0), weights = node.input(1), bias = node.input(2);
  int64_t count = node.intAttr("num_heads", 0);
  if (!c.areFloats({x, weights, bias, node.input(5)}) || !c.hasRank(x, {2}, "an input") ||
      !c.hasRank(weights, {2}, "weights"))
    return failure();
  SmallVector<int64_t> sizes = projectionSizes(node, weights);
  if (sizes.empty())
    return failure();
  Packing packing(c, x, node.input(3), node.input(4));
  Value projected = c.matmul(x, weights);
  if (bias)
    projected = c.add(projected, bias);
  if (!packing || !projected)
    return failure();
  SmallVector<Value> parts;
  int64_t start = 0;
  for (int64_t size : sizes) {
    parts.push_back(splitHeads(c, packing.unpack(c, c.slice(projected, 1, start, start + size)), count));
    start += size;
  }
  if (llvm::is_contained(parts, Value()))
    return failure();
  return node.result(packing.pack(c, attend(c, {parts[0], parts[1], parts[2]}, {packing.kept, node.input(5)})));
}

LogicalResult importPackedMultiHeadAttention(Node &node) {
  Compose c(node);
  Value parts[] = {node.input(0), node.input(1), node.input(2)}, bias = node.input(3);
  int64_t count = node.intAttr("num_heads", 0);
  if (count < 1)
    return node.invalid("expects an attribute 'num_heads' of at least 1, got " + Twine(count));
  if (!node.input(4) || !node.input(5))
    return node.invalid("expects token_offset and cumulative_sequence_length");
  if (!parts[1] != !parts[2])
    return node.invalid("expects a key and a value together");
  if (!c.areFloats({parts[0], parts[1], parts[2], bias, node.input(6)}))
    return failure();
  if (!parts[1]) { // [tokens, heads, 3, size]
    Value packed = parts[0];
    if (!c.hasRank(packed, {4}, "packed queries, keys and values"))
      return failure();
    Value size = node.product({node.dim(packed, 1), node.dim(packed, 3)});
    for (int64_t i : {0, 1, 2})
      parts[i] = node.reshape(c.slice(packed, 2, i, i + 1), {node.dim(packed, 0), size});
  }
  Packing packing(c, parts[0] ? parts[0] : node.input(0), node.input(4), node.input(5));
  Value start = node.index(0);
  for (Value &part : parts) {
    if (!part || !packing || !c.hasRank(part, {2}, "queries, keys and values"))
      return failure();
    if (bias) {
      Value end = c.addIndex(start, node.dim(part, 1));
      part = c.add(part, node.slice(bias, 0, start, end));
      start = end;
    }
    part = splitHeads(c, packing.unpack(c, part), count);
  }
  if (llvm::is_contained(parts, Value()))
    return failure();
  return node.result(packing.pack(c, attend(c, {parts[0], parts[1], parts[2]}, {packing.kept, node.input(6)})));
}

//===----------------------------------------------------------------------===//
// Attention to a neighbourhood and to chosen tokens. Source: Beltagy et al., Longformer: The Long-Document Transformer
// (2020)
//===----------------------------------------------------------------------===//

/// Queries, keys and values of all heads from merged weights.
std::optional<Heads> projectedHeads(Compose &c, Value x, Value weights, Value bias) {
  Node &node = c.node;
  if (!c.hasRank(weights, {2}, "weights") || !c.hasRank(bias, {1}, "a bias"))
    return std::nullopt;
  SmallVector<int64_t> sizes = projectionSizes(node, weights);
  Value projected = sizes.empty() ? Value() : c.add(c.matmul(x, weights), bias);
  SmallVector<Value> parts;
  int64_t start = 0;
  for (int64_t size : sizes) {
    parts.push_back(splitHeads(c, c.slice(projected, 2, start, start + size), node.intAttr("num_heads", 0)));
    start += size;
  }
  if (parts.empty() || llvm::is_contained(parts, Value()))
    return std::nullopt;
  return Heads{parts[0], parts[1], parts[2]};
}

LogicalResult importLongformerAttention(Node &node) {
  Compose c(node);
  Value x = node.input(0), mask = node.input(3), flags = node.input(6);
  int64_t window = node.intAttr("window", 0);
  if (window < 1)
    return node.invalid("expects a window of at least 1, got " + Twine(window));
  if (!c.areFloats({x, node.input(1), node.input(2), mask, node.input(4), node.input(5)}) ||
      !areIntegers(node, {flags}) || !c.hasRank(x, {3}, "an input") || !c.hasRank(mask, {2}, "a mask") ||
      !c.hasRank(flags, {2}, "global flags"))
    return failure();
  std::optional<Heads> local = projectedHeads(c, x, node.input(1), node.input(2));
  std::optional<Heads> global = projectedHeads(c, x, node.input(4), node.input(5));
  if (!local || !global)
    return failure();
  Type type = Node::element(x);
  Value sequence = node.dim(x, 1), isGlobal = c.compare(Comparison::ne, flags, 0);
  Value distance = c.unary<AbsOp>(queryMinusKey(c, sequence, sequence, {}));
  Value isNear = c.compare(Comparison::le, distance, static_cast<double>(window));
  Value seen =
      isNear && isGlobal ? node.make<OrOp>(node.builder.getI1Type(), isNear, c.unsqueeze(isGlobal, {1, 2})) : Value();
  Value bias = c.unsqueeze(mask, {1, 2}), lowest = c.lowest(type);
  // A token that is not seen has no share, also of a query whose keys are all masked.
  auto output = [&](const Heads &heads, Value allowed) {
    Value scores = c.add(attentionScores(c, scaledQuery(c, heads.q), heads.k), bias);
    if (allowed)
      scores = c.select(allowed, scores, lowest);
    return mergeHeads(c, attentionValues(c, c.softmax(scores), heads.v));
  };
  Value near = seen ? output(*local, seen) : Value(), everywhere = output(*global, {});
  return node.result(c.select(c.unsqueeze(isGlobal, {2}), everywhere, near));
}

} // namespace

ArrayRef<Operator> contribPackedAttentionOperators() {
  static constexpr Operator table[] = {
      {"RemovePadding", 1, 2, 2, 4, "", importRemovePadding},
      {"RestorePadding", 1, 2, 2, 1, "", importRestorePadding},
      {"PackedAttention", 1, 5, 6, 1, "num_heads:i qkv_hidden_sizes:I scale:f", importPackedAttention},
      {"PackedMultiHeadAttention", 1, 1, 7, 1, "mask_filter_value:f num_heads:i scale:f",
       importPackedMultiHeadAttention},
      {"LongformerAttention", 1, 7, 7, 1, "num_heads:i window:i", importLongformerAttention},
  };
  return table;
}

} // namespace lathe::frontend
