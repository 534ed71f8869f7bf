//===- AttentionContrib.cpp - Importers of ONNX Runtime's attentions ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/AttentionContrib.h"
#include "frontends/onnx/Quantization.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Inputs of a search with several beams, which share a cache.
bool noBeams(Node &node, std::initializer_list<size_t> inputs) {
  for (size_t i : inputs)
    if (node.input(i))
      return refuse(
          node.unsupported("input " + Twine(i) + ", which belongs to beams that share a cache, is not supported",
                           "export the decoder without beams, and search outside of it"));
  return true;
}

/// What the operators have of the past. A cache of a fixed capacity holds `length` tokens (index), any other one as
/// many as it has room for, and `length` is null.
struct Past {
  Value key, value, length;

  /// Reads the length from an input where caches share a buffer with what they become.
  bool readLength(Node &node, size_t input) {
    if (!node.input(input))
      return refuse(node.invalid("expects input " + Twine(input) + ", the length of the past, got none"));
    std::optional<SmallVector<Value>> values = node.indices(node.input(input), "lengths of the past");
    if (values && values->size() != 1)
      return refuse(node.invalid("expects one length of the past, got " + Twine(values->size())));
    if (values)
      length = values->front();
    return values.has_value();
  }
};

/// Puts keys or values behind those of the past, and gives what is kept for the next call.
bool appendOne(Compose &c, Value &added, Value past, Value length, Value &present) {
  Node &node = c.node;
  if (!length) {
    present = added = c.concat({past, added}, 2);
    return static_cast<bool>(added);
  }
  Value end = c.addIndex(length, node.dim(added, 2)), capacity = node.dim(past, 2);
  SymExpr last = node.context.indexValue(end), room = node.context.indexValue(capacity);
  if (failed(node.require(SymExpr(1) - node.context.lt(room, last), "expects a cache with room for all tokens",
                          {last, room})))
    return false;
  added = c.concat({node.slice(past, 2, node.index(0), length), added}, 2);
  present = node.reshape(c.concat({added, node.slice(past, 2, end, capacity)}, 2), node.dims(past));
  return added && present;
}

/// Keys and values behind those of the past.
bool appendTo(Compose &c, Heads &heads, const Past &past, Heads &present) {
  Node &node = c.node;
  if (!past.key != !past.value)
    return refuse(node.invalid("expects past_key and past_value together"));
  present = heads;
  if (!past.key)
    return true;
  if (!c.hasRank(past.key, {4}, "past_key") || !c.hasRank(past.value, {4}, "past_value"))
    return false;
  return appendOne(c, heads.k, past.key, past.length, present.k) &&
         appendOne(c, heads.v, past.value, past.length, present.v);
}

/// Which keys take part, as integers that are not 0, of a shape that broadcasts to [batch, heads, sequence, total];
/// null after a failure.
Value keptKeys(Compose &c, Value mask, Value q, Value total) {
  Node &node = c.node;
  if (!isa<IntegerType>(Node::element(mask)))
    return Compose::none(node.invalid("expects a mask of integers"));
  FailureOr<SymShape> shape = node.context.shapeOf(mask), queries = node.context.shapeOf(q);
  if (failed(shape) || failed(queries))
    return {};
  switch (shape->size()) {
  case 1: {
    // Where each row's keys end and, in a second part, where they start.
    SymExpr batch = (*queries)[0], count = (*shape)[0];
    bool both = count == batch + batch;
    if (count != batch && !both)
      return Compose::none(
          node.unsupported("a mask of rank 1 is supported with as many elements as the batch, or twice as "
                           "many, got " +
                           count.str()));
    Value place = c.iota(total, 3, 4);
    mask = node.cast(mask, node.builder.getI64Type());
    Value ends = both ? node.slice(mask, 0, node.index(0), node.dim(q, 0)) : mask;
    Value kept = c.compare(Comparison::lt, place, c.unsqueeze(ends, {1, 2, 3}));
    if (both) {
      Value starts = node.slice(mask, 0, node.dim(q, 0), node.dim(mask, 0));
      kept = c.logicalAnd(kept, c.compare(Comparison::ge, place, c.unsqueeze(starts, {1, 2, 3})));
    }
    return kept;
  }
  case 2:
    return c.compare(Comparison::ne, c.unsqueeze(mask, {1, 2}), 0);
  case 3:
    return c.compare(Comparison::ne, c.unsqueeze(mask, {1}), 0);
  default:
    return Compose::none(node.unsupported("a mask of rank 1, 2 or 3 is supported, got rank " + Twine(shape->size())));
  }
}

} // namespace

Value attend(Compose &c, const Heads &heads, const Masks &masks) {
  Node &node = c.node;
  Value scores = attentionScores(c, scaledQuery(c, heads.q, /*zeroIsDefault=*/true), heads.k);
  if (!scores)
    return {};
  Type type = Node::element(scores);
  auto plain = Node::type(scores);
  Value total = node.dim(heads.k, 2);
  if (masks.kept) {
    // Not minus infinity: of a row without any key, the other masks still choose.
    Value kept = keptKeys(c, masks.kept, heads.q, total);
    Value filter = node.scalar(type, node.floatAttr("mask_filter_value", -10000));
    scores = c.add(scores, c.select(kept, node.scalar(type, 0), filter));
  }
  if (masks.bias)
    scores = c.add(scores, masks.bias);
  if (!scores || Node::type(scores).getRank() != plain.getRank())
    return scores ? Compose::none(node.invalid("expects masks that broadcast to the scores")) : Value();
  if (masks.causal) {
    Value sequence = node.dim(heads.q, 2);
    Value past = c.fromIndex(c.subIndex(total, sequence));
    Value allowed = c.compare(Comparison::ge, queryMinusKey(c, sequence, total, past), 0);
    scores = c.select(allowed, scores, c.lowest(type));
  }
  return mergeHeads(c, attentionValues(c, c.softmax(scores), heads.v));
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

SmallVector<int64_t> projectionSizes(Node &node, Value weights) {
  int64_t columns = Node::type(weights).getDimSize(1);
  if (ShapedType::isDynamic(columns))
    return (void)node.unsupported("weights of a shape that is not static are not supported", hints::kFold),
           SmallVector<int64_t>{};
  SmallVector<int64_t> sizes = node.intsAttr("qkv_hidden_sizes").value_or(SmallVector<int64_t>{});
  if (sizes.empty())
    sizes.assign(3, columns / 3);
  if (sizes.size() != 3 || sizes[0] != sizes[1] || llvm::any_of(sizes, [](int64_t size) { return size <= 0; }) ||
      sizes[0] + sizes[1] + sizes[2] != columns)
    return (void)node.invalid("expects weights whose " + Twine(columns) +
                              " columns are those of queries, keys and values"),
           SmallVector<int64_t>{};
  return sizes;
}

namespace {

/// Attention of queries, keys and values that lie beside each other in the last axis.
LogicalResult attendProjected(Compose &c, Value projected, ArrayRef<int64_t> sizes, Value past, Value mask, Value bias,
                              Value length = {}) {
  Node &node = c.node;
  SmallVector<Value> parts;
  int64_t start = 0, count = node.intAttr("num_heads", 0);
  for (int64_t size : sizes) {
    parts.push_back(splitHeads(c, c.slice(projected, 2, start, start + size), count));
    start += size;
  }
  if (llvm::is_contained(parts, Value()))
    return failure();
  Heads heads{parts[0], parts[1], parts[2]}, present = heads;
  if (past) {
    if (!c.hasRank(past, {5}, "a past"))
      return failure();
    auto part = [&](int64_t i) {
      SmallVector<Value> dims = node.dims(past);
      return node.reshape(c.slice(past, 0, i, i + 1), ArrayRef(dims).drop_front());
    };
    if (!appendTo(c, heads, {part(0), part(1), length}, present))
      return failure();
  }
  if (node.wantsOutput(1) &&
      failed(node.result(c.concat({c.unsqueeze(present.k, {0}), c.unsqueeze(present.v, {0})}, 0), 1)))
    return failure();
  return node.result(attend(c, heads, {mask, bias, node.intAttr("unidirectional", 0) != 0}));
}

LogicalResult importAttention(Node &node) {
  Compose c(node);
  Value x = node.input(0), weights = node.input(1), bias = node.input(2), past = node.input(4);
  if (node.intAttr("do_rotary", 0))
    return node.unsupported("do_rotary is not supported");
  Past held;
  if (node.intAttr("past_present_share_buffer", 0) && !held.readLength(node, 6))
    return failure();
  if (!noBeams(node, {7, 8}) || !c.areFloats({x, weights, bias, past}) || !c.hasRank(x, {3}, "an input") ||
      !c.hasRank(weights, {2}, "weights"))
    return failure();
  SmallVector<int64_t> sizes = projectionSizes(node, weights);
  if (sizes.empty())
    return failure();
  Value projected = c.matmul(x, weights);
  if (bias)
    projected = c.add(projected, bias);
  return attendProjected(c, projected, sizes, past, node.input(3), node.input(5), held.length);
}

LogicalResult importQAttention(Node &node) {
  Compose c(node);
  Value x = node.input(0), weights = node.input(1), bias = node.input(2), past = node.input(8);
  if (node.intAttr("do_rotary", 0))
    return node.unsupported("do_rotary is not supported");
  if (node.intAttr("past_present_share_buffer", 0))
    return node.unsupported("past_present_share_buffer is not supported here, only a present that is a new tensor",
                            "build the model without shared buffers");
  if (!c.areFloats({bias, node.input(3), node.input(4), past}) || !c.hasRank(x, {3}, "an input") ||
      !c.hasRank(weights, {2}, "weights") || !c.hasRank(bias, {1}, "a bias"))
    return failure();
  SmallVector<int64_t> sizes = projectionSizes(node, weights);
  if (sizes.empty())
    return failure();
  Type type = Node::element(bias), f32 = node.builder.getF32Type();
  Value scale = c.mul(node.cast(scalarLike(node, node.input(3)), f32), node.cast(scalarLike(node, node.input(4)), f32));
  Value product = integerProduct(node, x, node.input(6), weights, node.input(7));
  Value projected = c.add(node.cast(c.mul(node.cast(product, f32), scale), type), bias);
  return attendProjected(c, projected, sizes, past, node.input(5), {});
}

//===----------------------------------------------------------------------===//
// Multi-head attention
//===----------------------------------------------------------------------===//

} // namespace

Value packedPart(Compose &c, Value packed, int64_t i) {
  Node &node = c.node;
  Value part = c.slice(packed, 3, i, i + 1);
  if (!part)
    return {};
  SmallVector<Value> dims{node.dim(packed, 0), node.dim(packed, 1), node.dim(packed, 2), node.dim(packed, 4)};
  return c.transpose(node.reshape(part, dims), {0, 2, 1, 3});
}

namespace {

class MultiHeadImporter {
public:
  explicit MultiHeadImporter(Node &node) : node(node), c(node), count(node.intAttr("num_heads", 0)) {}
  LogicalResult run();

private:
  bool readHeads();
  bool addBias();

  Node &node;
  Compose c;
  int64_t count;
  Heads heads;
  bool ready = false; ///< keys and values come from elsewhere, without a bias
};

bool MultiHeadImporter::readHeads() {
  Value query = node.input(0), key = node.input(1), value = node.input(2);
  if (count <= 0)
    return refuse(node.invalid("expects an attribute 'num_heads' of at least 1, got " + Twine(count)));
  if (!key && !value) {
    if (!c.hasRank(query, {5}, "packed queries, keys and values"))
      return false;
    heads = {packedPart(c, query, 0), packedPart(c, query, 1), packedPart(c, query, 2)};
  } else if (key && !value) {
    if (!c.hasRank(query, {3}, "a query") || !c.hasRank(key, {5}, "packed keys and values"))
      return false;
    heads = {splitHeads(c, query, count), packedPart(c, key, 0), packedPart(c, key, 1)};
  } else {
    if (!key)
      return refuse(node.invalid("expects a key with a value"));
    if (!c.hasRank(query, {3}, "a query") || !c.hasRank(key, {3, 4}, "a key") ||
        !c.hasRank(value, {Node::rank(key)}, "a value"))
      return false;
    ready = Node::rank(key) == 4;
    heads = {splitHeads(c, query, count), ready ? key : splitHeads(c, key, count),
             ready ? value : splitHeads(c, value, count)};
  }
  return heads.q && heads.k && heads.v;
}

/// The bias is that of all three projections.
bool MultiHeadImporter::addBias() {
  Value bias = node.input(3);
  if (!bias)
    return true;
  int64_t start = 0;
  for (Value *part : {&heads.q, &heads.k, &heads.v}) {
    int64_t size = Node::type(*part).getDimSize(3);
    if (ShapedType::isDynamic(size) || !c.hasRank(bias, {1}, "a bias"))
      return refuse(node.unsupported("a bias with a head size that is not static is not supported", hints::kStatic));
    Value own = c.slice(bias, 0, start, start + count * size);
    own = own ? node.reshape(own, {node.index(count), node.index(1), node.index(size)}) : own;
    if (part == &heads.q || !ready)
      *part = c.add(*part, own);
    start += count * size;
    if (!*part)
      return false;
  }
  return true;
}

LogicalResult MultiHeadImporter::run() {
  if (node.wantsOutput(3))
    return node.unsupported("the scores as an output are not supported",
                            "export without the attention weights as outputs (output_attentions=False)");
  Past past{node.input(6), node.input(7), {}};
  Heads present;
  if (node.input(8) && !past.readLength(node, 8))
    return failure();
  if (!noBeams(node, {9}) ||
      !c.areFloats({node.input(0), node.input(1), node.input(2), node.input(3), past.key, past.value}) ||
      !readHeads() || !addBias() || !appendTo(c, heads, past, present) || failed(node.result(present.k, 1)) ||
      failed(node.result(present.v, 2)))
    return failure();
  return node.result(attend(c, heads, {node.input(4), node.input(5), node.intAttr("unidirectional", 0) != 0}));
}

LogicalResult importMultiHeadAttention(Node &node) { return MultiHeadImporter(node).run(); }

/// Of one new token at a time, with the inputs in another order; packed ones are beside each other.
LogicalResult importDecoderMaskedMultiHeadAttention(Node &node) {
  Compose c(node);
  if (node.wantsOutput(3) || node.intAttr("output_qk", 0))
    return node.unsupported("the scores as an output are not supported");
  if (!noBeams(node, {8, 9}))
    return failure();
  bool shares = node.intAttr("past_present_share_buffer", 0);
  if (shares && !node.input(7))
    return node.invalid("expects input 7, the length of the past, got none");
  Value query = node.input(0), key = node.input(1), value = node.input(2);
  if (!key && !value) {
    if (!c.hasRank(query, {3}, "a query"))
      return failure();
    int64_t all = Node::type(query).getDimSize(2), size = all / 3;
    if (Value past = node.input(6); past && Node::rank(past) == 4) // whose heads tell what is left for queries and keys
      if (int64_t own = Node::type(past).getDimSize(3); !ShapedType::isDynamic(own))
        size = (all - own * node.intAttr("num_heads", 0)) / 2;
    if (ShapedType::isDynamic(all) || size < 1)
      return node.unsupported("packed queries, keys and values of a size that is not static are not supported");
    key = c.slice(query, 2, size, 2 * size);
    value = c.slice(query, 2, 2 * size, all);
    query = c.slice(query, 2, 0, size);
    if (!query || !key || !value)
      return failure();
  }
  node.inputs = {query,          key,           value,
                 node.input(10), node.input(3), node.input(4),
                 node.input(5),  node.input(6), shares ? node.input(7) : Value()};
  return importMultiHeadAttention(node);
}

//===----------------------------------------------------------------------===//
// Rotary embedding
//===----------------------------------------------------------------------===//

LogicalResult importRotaryEmbedding(Node &node) {
  Compose c(node);
  Value x = node.input(0), positions = node.input(1), cos = node.input(2), sin = node.input(3);
  if (node.intAttr("is_packed_batching", 0))
    return node.unsupported("is_packed_batching is not supported");
  if (double scale = node.floatAttr("scale", 1); scale != 1)
    return node.unsupported("a scale other than 1 is not supported");
  if (!c.areFloats({x, cos, sin}) || !c.hasRank(x, {3, 4}, "an input") ||
      !c.hasRank(positions, {1, 2}, "position_ids") || !c.hasRank(cos, {2}, "cos_cache") ||
      !c.hasRank(sin, {2}, "sin_cache"))
    return failure();
  int64_t dim = node.intAttr("rotary_embedding_dim", 0), half = Node::type(cos).getDimSize(1);
  int64_t heads = node.intAttr("num_heads", 0);
  bool folded = Node::rank(x) == 3;
  if (folded && heads == 0 && (dim != 0 || ShapedType::isDynamic(half) || half == 0))
    return node.invalid("expects an attribute 'num_heads'");
  Value headed = x;
  if (folded) {
    Value size = heads ? c.divideIndex(node.dim(x, 2), heads) : node.index(2 * half);
    Value number = heads ? node.index(heads) : c.divideIndex(node.dim(x, 2), 2 * half);
    headed = node.reshape(x, {node.dim(x, 0), node.dim(x, 1), number, size});
  }
  if (Node::rank(positions) == 1) // of the first token alone
    positions =
        c.unsqueeze(c.add(node.cast(positions, node.builder.getI64Type()), c.iota(node.dim(x, folded ? 1 : 2))), {0});
  for (Value *table : {&cos, &sin})
    *table = c.unsqueeze(c.gather(*table, positions, 0), {folded ? 2 : 1});
  Value rotated = rotate(c, headed, cos, sin, dim, node.intAttr("interleaved", 0));
  return node.result(folded ? node.reshape(rotated, node.dims(x)) : rotated);
}

} // namespace

ArrayRef<Operator> contribAttentionOperators() {
  static constexpr Operator table[] = {
      {"Attention", 1, 2, 9, 2,
       "do_rotary:i mask_filter_value:f num_heads:i past_present_share_buffer:i qkv_hidden_sizes:I "
       "rotary_embedding_dim:i scale:f unidirectional:i",
       importAttention},
      {"MultiHeadAttention", 1, 1, 10, 4, "mask_filter_value:f num_heads:i scale:f unidirectional:i",
       importMultiHeadAttention},
      {"DecoderMaskedSelfAttention", 1, 3, 9, 2,
       "do_rotary:i mask_filter_value:f num_heads:i past_present_share_buffer:i scale:f", importAttention},
      {"QAttention", 1, 5, 9, 2,
       "do_rotary:i mask_filter_value:f num_heads:i past_present_share_buffer:i scale:f unidirectional:i",
       importQAttention},
      {"DecoderMaskedMultiHeadAttention", 1, 1, 11, 4,
       "mask_filter_value:f num_heads:i output_qk:i past_present_share_buffer:i scale:f",
       importDecoderMaskedMultiHeadAttention},
      {"RotaryEmbedding", 1, 4, 4, 1, "interleaved:i is_packed_batching:i num_heads:i rotary_embedding_dim:i scale:f",
       importRotaryEmbedding},
  };
  return table;
}

} // namespace lathe::frontend
