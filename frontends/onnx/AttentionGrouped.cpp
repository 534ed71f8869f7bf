//===- AttentionGrouped.cpp - Attentions over caches of a capacity --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// New keys and values stand behind the past ones of their row, in caches that may have room for more.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/AttentionContrib.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Grouped queries
//===----------------------------------------------------------------------===//

class GroupedImporter {
public:
  explicit GroupedImporter(Node &node)
      : node(node), c(node), count(node.intAttr("num_heads", 0)), kvCount(node.intAttr("kv_num_heads", 0)) {}
  LogicalResult run();
  /// Of blocks of `size` tokens, which those of a query attend to, one layout after the other to the heads in turn:
  /// `rows` [layouts, blocks + 1] are where the columns of a row of blocks begin among `columns` [layouts, places].
  bool readLayouts(Value rows, Value columns, int64_t size);

private:
  bool check();
  bool readHeads();
  bool readLengths();
  bool rotateHeads();
  bool updateCache();
  Value cached(Value past, Value added, Value source, Value written);
  Value masked(Value scores);
  Value allowedByLayout();
  Value probabilities(Value scores);

  Node &node;
  Compose c;
  int64_t count, kvCount;
  Heads heads;
  Value sequence;  ///< index: new tokens
  Value total;     ///< index: extent of the present
  Value pastSizes; ///< tokens of each row before the new ones, [batch]
  Value layouts;   ///< [heads, blocks, blocks]: not 0 where attended to; null where all are
  int64_t blockSize = 1;
};

bool GroupedImporter::check() {
  for (size_t i : {0, 5, 6})
    if (!node.input(i))
      return refuse(node.invalid("expects input " + Twine(i) + ", got none"));
  for (size_t i : {12, 13})
    if (node.input(i))
      return refuse(node.unsupported("quantized caches are not supported"));
  for (size_t i : {14, 15})
    if (node.input(i))
      return refuse(node.unsupported("norms of queries and keys are not supported"));
  for (StringRef name : {"k_quant_type", "v_quant_type"})
    if (node.stringAttr(name, "NONE") != "NONE")
      return refuse(node.unsupported("quantized caches are not supported"));
  if (node.intAttr("kv_cache_bit_width", 0) || node.intAttr("sliding_window_cache", 0))
    return refuse(node.unsupported("quantized caches and caches of a window are not supported"));
  if (node.wantsOutput(3) || node.intAttr("qk_output", 0))
    return refuse(node.unsupported("the scores as an output are not supported",
                                   "export without the attention weights as outputs (output_attentions=False)"));
  if (count <= 0 || kvCount <= 0 || count % kvCount != 0)
    return refuse(
        node.invalid("expects kv_num_heads that divide num_heads, got " + Twine(kvCount) + " and " + Twine(count)));
  return c.hasRank(node.input(0), {3}, "a query") && c.hasRank(node.input(5), {1}, "seqlens_k") &&
         c.areFloats(
             {node.input(0), node.input(1), node.input(2), node.input(3), node.input(4), node.input(7), node.input(8)});
}

bool GroupedImporter::readHeads() {
  Value query = node.input(0), key = node.input(1), value = node.input(2);
  if (!key != !value)
    return refuse(node.invalid("expects a key and a value together"));
  if (!key) {
    int64_t hidden = Node::type(query).getDimSize(2), all = count + 2 * kvCount;
    if (ShapedType::isDynamic(hidden))
      return refuse(node.unsupported("packed queries, keys and values of a size that is not static are not supported",
                                     hints::kStatic));
    if (hidden % all != 0)
      return refuse(node.invalid("expects a size that " + Twine(all) + " heads divide, got " + Twine(hidden)));
    int64_t size = hidden / all, first = count * size, second = first + kvCount * size;
    key = c.slice(query, 2, first, second);
    value = c.slice(query, 2, second, hidden);
    query = c.slice(query, 2, 0, first);
  }
  if (!key || !value || !c.hasRank(key, {3}, "a key") || !c.hasRank(value, {3}, "a value"))
    return false;
  heads = {splitHeads(c, query, count), splitHeads(c, key, kvCount), splitHeads(c, value, kvCount)};
  sequence = node.dim(node.input(0), 1);
  return heads.q && heads.k && heads.v;
}

bool GroupedImporter::readLengths() {
  Type i64 = node.builder.getI64Type();
  std::optional<SmallVector<Value>> given = node.indices(node.input(6), "values of total_sequence_length");
  if (!given)
    return false;
  if (given->size() != 1)
    return refuse(node.invalid("expects one value for total_sequence_length, got " + Twine(given->size())));
  Value all = given->front();
  // The first tokens of all start at 0, even those of rows that are shorter.
  Value isFirst = c.compare(Comparison::eq, c.fromIndex(all), c.fromIndex(sequence));
  Value before = c.sub(c.add(node.cast(node.input(5), i64), 1.0), c.fromIndex(sequence));
  pastSizes = c.select(isFirst, node.scalar(i64, 0), before);
  total = all;
  if (Value past = node.input(3)) {
    if (!c.hasRank(past, {4}, "past_key") || !node.input(4) || !c.hasRank(node.input(4), {4}, "past_value"))
      return refuse(node.invalid("expects past_key and past_value together, of rank 4"));
    SymExpr extent = node.context.max(node.context.indexValue(all), node.context.indexValue(node.dim(past, 2)));
    total = materialize(node.builder, node.loc, extent);
  } else if (node.input(4)) {
    return refuse(node.invalid("expects past_key and past_value together"));
  }
  return pastSizes && total;
}

bool GroupedImporter::rotateHeads() {
  if (!node.intAttr("do_rotary", 0))
    return true;
  Value cos = node.input(7), sin = node.input(8), positions = node.input(9);
  if (!cos || !sin)
    return refuse(node.invalid("expects cos_cache and sin_cache with do_rotary"));
  if (!c.hasRank(cos, {2}, "cos_cache") || !c.hasRank(sin, {2}, "sin_cache") ||
      (positions && !c.hasRank(positions, {2}, "position_ids")))
    return false;
  if (!positions)
    positions = c.add(c.unsqueeze(pastSizes, {1}), c.iota(sequence, 1, 2));
  for (Value *table : {&cos, &sin})
    *table = c.unsqueeze(c.gather(*table, positions, 0), {1});
  if (!cos || !sin)
    return false;
  int64_t half = Node::type(cos).getDimSize(3);
  if (ShapedType::isDynamic(half))
    return refuse(
        node.unsupported("tables of rotations of a shape that is not static are not supported", hints::kStatic));
  for (Value *part : {&heads.q, &heads.k})
    *part = rotate(c, *part, cos, sin, 2 * half, node.intAttr("rotary_interleaved", 0));
  return heads.q && heads.k;
}

/// Rows of the past, then `added`, by places in both; zeros behind what is written.
Value GroupedImporter::cached(Value past, Value added, Value source, Value written) {
  SmallVector<Value> dims = node.dims(added);
  dims[2] = total;
  Value rows = past ? c.concat({past, added}, 2) : added;
  if (!rows)
    return {};
  Value result = node.make<GatherElementsOp>(Node::element(rows), rows, node.broadcast(source, dims), int64_t(2));
  return c.select(written, result, node.scalar(Node::element(added), 0));
}

/// New rows stand behind the past ones of their batch, which may be fewer than the cache has room for.
bool GroupedImporter::updateCache() {
  Value pastKey = node.input(3), pastValue = node.input(4);
  Value place = c.iota(total, 2, 4), past = c.unsqueeze(pastSizes, {1, 2, 3}), added = c.fromIndex(sequence);
  Value relative = c.sub(place, past), zero = node.scalar(node.builder.getI64Type(), 0);
  Value capacity = pastKey ? c.fromIndex(node.dim(pastKey, 2)) : zero;
  Value isNew = c.compare(Comparison::ge, relative, 0), written = c.compare(Comparison::lt, relative, added);
  // Rows that nothing is written to read any that exists.
  Value source = c.select(isNew, c.add(c.min(relative, c.add(added, -1.0)), capacity), place);
  source = c.max(source, zero);
  heads.k = cached(pastKey, heads.k, source, written);
  heads.v = cached(pastValue, heads.v, source, written);
  return heads.k && heads.v && succeeded(node.result(heads.k, 1)) && succeeded(node.result(heads.v, 2));
}

Value GroupedImporter::masked(Value scores) {
  if (Value bias = node.input(10))
    scores = c.add(scores, bias);
  Value allowed;
  if (node.intAttr("causal", 1)) {
    Value distance = queryMinusKey(c, sequence, total, pastSizes);
    allowed = c.compare(Comparison::ge, distance, 0);
    if (int64_t window = node.intAttr("local_window_size", -1); window > 0)
      allowed = c.logicalAnd(allowed, c.compare(Comparison::lt, distance, c.integer(window)));
  } else {
    Value lengths = c.unsqueeze(c.add(node.cast(node.input(5), node.builder.getI64Type()), 1.0), {1, 2, 3});
    allowed = c.compare(Comparison::lt, c.iota(total, 3, 4), lengths);
  }
  if (layouts)
    allowed = c.logicalAnd(allowed, allowedByLayout());
  return scores ? c.select(allowed, scores, c.lowest(Node::element(scores))) : scores;
}

bool GroupedImporter::readLayouts(Value rows, Value columns, int64_t size) {
  Type i64 = node.builder.getI64Type();
  if (size < 1)
    return refuse(node.invalid("expects a sparse_block_size of at least 1, got " + Twine(size)));
  if (!isa<IntegerType>(Node::element(rows)) || !isa<IntegerType>(Node::element(columns)))
    return refuse(node.invalid("expects block indices of integers"));
  if (!c.hasRank(rows, {2}, "block_row_indices") || !c.hasRank(columns, {2}, "block_col_indices"))
    return false;
  blockSize = size;
  Value count = node.dim(rows, 0), places = node.dim(columns, 1);
  Value blocks = c.subIndex(node.dim(rows, 1), node.index(1));
  Value area = node.product({blocks, blocks}), behind = c.fromIndex(area);
  columns = node.cast(columns, i64);
  // The row of a place is how many rows end at or before it.
  Value ends = c.unsqueeze(node.slice(node.cast(rows, i64), 1, node.index(1), node.dim(rows, 1)), {2});
  Value ended = node.cast(c.compare(Comparison::le, ends, c.iota(places, 2, 3)), i64);
  Value row = c.reduce(Reduction::sum, ended, {1}, /*keepDims=*/false);
  // Of layouts with fewer columns than another one, places are left over: they go to one more block behind the others.
  Value isUsed =
      c.logicalAnd(c.compare(Comparison::lt, row, c.fromIndex(blocks)), c.compare(Comparison::ge, columns, 0));
  Value block = c.select(isUsed, c.add(c.mul(row, c.fromIndex(blocks)), columns), behind);
  Value room = node.broadcast(c.integer(0), {count, c.addIndex(area, node.index(1))});
  Value ones = node.broadcast(c.integer(1), {count, places});
  if (!block || !room || !ones)
    return false;
  Value all = node.make<ScatterElementsOp>(i64, ScatterKind::assign, room, block, ones, int64_t(1));
  layouts = node.reshape(node.slice(all, 1, node.index(0), area), {count, blocks, blocks});
  Value heads = c.iota(node.index(this->count));
  Value own = layouts && heads ? node.make<ModOp>(i64, heads, c.fromIndex(count), false) : Value();
  layouts = c.gather(layouts, own, 0);
  return static_cast<bool>(layouts);
}

Value GroupedImporter::allowedByLayout() {
  // Rows of padding, and what a cache has room for, may be behind the last block.
  auto blockOf = [&](Value position, int64_t axis) {
    Value last = c.fromIndex(c.subIndex(node.dim(layouts, axis), node.index(1)));
    return c.min(c.div(position, c.integer(blockSize)), last);
  };
  Value queries = c.add(c.unsqueeze(pastSizes, {1}), c.iota(sequence, 1, 2));
  Value rows = c.gather(layouts, blockOf(queries, 1), 1); // [heads, batch, sequence, blocks]
  Value allowed = c.gather(rows, blockOf(c.iota(total), 2), 3);
  return c.compare(Comparison::ne, c.transpose(allowed, {1, 0, 2, 3}), 0);
}

/// With a sink, or a smooth softmax, a query may attend to nothing: to one key more, without a value.
Value GroupedImporter::probabilities(Value scores) {
  Value sink = node.input(11);
  if (!scores || (!sink && node.intAttr("smooth_softmax", 0) <= 0))
    return c.softmax(scores);
  SmallVector<Value> dims = node.dims(scores);
  dims[3] = node.index(1);
  if (sink && !c.hasRank(sink, {1}, "head_sink"))
    return {};
  sink = sink ? c.unsqueeze(node.cast(sink, Node::element(scores)), {0, 2, 3}) : node.scalar(Node::element(scores), 0);
  Value extended = c.softmax(c.concat({scores, node.broadcast(sink, dims)}, 3));
  return extended ? node.slice(extended, 3, node.index(0), node.dim(scores, 3)) : extended;
}

LogicalResult GroupedImporter::run() {
  if (!check() || !readHeads() || !readLengths() || !rotateHeads() || !updateCache())
    return failure();
  Value scores = attentionScores(c, scaledQuery(c, heads.q, /*zeroIsDefault=*/true), heads.k);
  if (double softcap = node.floatAttr("softcap", 0); softcap != 0)
    scores = c.mul(c.unary<TanhOp>(c.div(scores, softcap)), softcap);
  return node.result(mergeHeads(c, attentionValues(c, probabilities(masked(scores)), heads.v)));
}

LogicalResult importGroupQueryAttention(Node &node) { return GroupedImporter(node).run(); }

LogicalResult importSparseAttention(Node &node) {
  Compose c(node);
  for (size_t i : {0, 3, 4, 5, 6, 7, 8})
    if (!node.input(i))
      return node.invalid("expects input " + Twine(i) + ", got none");
  Value rows = node.input(5), columns = node.input(6), total = node.input(7), lengths = node.input(8);
  Value cos = node.input(9), sin = node.input(10);
  if (!isa<IntegerType>(Node::element(lengths)))
    return node.invalid("expects key_total_sequence_lengths of integers");
  // The other operator counts the keys of a row without its last one.
  node.inputs = {
      node.input(0), node.input(1), node.input(2), node.input(3), node.input(4), c.add(lengths, -1.0), total, cos, sin};
  GroupedImporter importer(node);
  if (!node.input(5) || !importer.readLayouts(rows, columns, node.intAttr("sparse_block_size", 0)))
    return failure();
  return importer.run();
}

} // namespace

ArrayRef<Operator> contribGroupedAttentionOperators() {
  static constexpr Operator table[] = {
      {"GroupQueryAttention", 1, 1, 16, 4,
       "causal:i do_rotary:i k_quant_type:s kv_cache_bit_width:i kv_num_heads:i local_window_size:i num_heads:i "
       "qk_norm_epsilon:f qk_output:i rotary_interleaved:i scale:f sliding_window_cache:i smooth_softmax:i softcap:f "
       "v_quant_type:s",
       importGroupQueryAttention},
      {"SparseAttention", 1, 9, 11, 3,
       "do_rotary:i kv_num_heads:i num_heads:i rotary_interleaved:i scale:f sparse_block_size:i",
       importSparseAttention},
  };
  return table;
}

} // namespace lathe::frontend
