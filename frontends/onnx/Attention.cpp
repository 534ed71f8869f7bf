//===- Attention.cpp - Importers of attention and what belongs to it ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include "frontends/onnx/Tensors.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Imports one Attention node.
class AttentionImporter {
public:
  explicit AttentionImporter(Node &node) : node(node), c(node) {}
  LogicalResult run();

private:
  bool readInputs();
  bool readPast();
  Value maskScores(Value scores);
  Value probabilities(Value scores);

  Node &node;
  Compose c;
  Value q, k, v; ///< [batch, heads, sequence, size], keys and values with the past
  Value offset;  ///< keys before the first query, a scalar or one a batch; null for none
  bool folded = false;
  bool mayMaskAll = false; ///< a query may have no key
  Type softmaxType;
};

bool AttentionImporter::readInputs() {
  q = node.input(0), k = node.input(1), v = node.input(2);
  if (!c.areFloats({q, k}) || !c.areFloats({v}) || !c.hasRank(q, {3, 4}, "a query"))
    return false;
  folded = Node::rank(q) == 3;
  for (Value x : {k, v})
    if (!c.hasRank(x, {Node::rank(q)}, "keys and values"))
      return false;
  int64_t heads = node.intAttr("q_num_heads", 0), kvHeads = node.intAttr("kv_num_heads", 0);
  if (folded) {
    if (!node.attribute("q_num_heads") || !node.attribute("kv_num_heads"))
      return (void)node.invalid("expects attributes 'q_num_heads' and 'kv_num_heads' with inputs of rank 3"), false;
    q = splitHeads(c, q, heads);
    k = splitHeads(c, k, kvHeads);
    v = splitHeads(c, v, kvHeads);
  }
  if (!q || !k || !v || !c.sameExtent(q, 3, k, 3, "head sizes of query and key") ||
      !c.sameExtent(k, 2, v, 2, "lengths of keys and values") || !c.sameExtent(k, 1, v, 1, "heads of keys and values"))
    return false;
  softmaxType = Node::element(q);
  if (int64_t precision = node.intAttr("softmax_precision", 0); precision != 0) {
    softmaxType = precision == static_cast<int32_t>(precision)
                      ? elementType(node.builder.getContext(), static_cast<int32_t>(precision))
                      : Type();
    if (!isa_and_nonnull<FloatType>(softmaxType))
      return (void)node.invalid("expects softmax_precision to be a data type of floats, got " + Twine(precision)),
             false;
  }
  return readPast();
}

bool AttentionImporter::readPast() {
  Value pastKey = node.input(4), pastValue = node.input(5), lengths = node.input(6);
  if (!pastKey != !pastValue)
    return (void)node.invalid("expects past_key and past_value together"), false;
  if (pastKey) {
    if (lengths)
      return (void)node.invalid("expects nonpad_kv_seqlen without past_key and past_value"), false;
    if (!c.hasRank(pastKey, {4}, "past_key") || !c.hasRank(pastValue, {4}, "past_value"))
      return false;
    offset = c.fromIndex(node.dim(pastKey, 2));
    k = c.concat({pastKey, k}, 2);
    v = c.concat({pastValue, v}, 2);
  } else if (lengths) {
    if (!c.hasRank(lengths, {1}, "nonpad_kv_seqlen"))
      return false;
    mayMaskAll = true;
    lengths = node.cast(lengths, node.builder.getI64Type());
    offset = c.sub(lengths, c.fromIndex(node.dim(q, 2)));
  }
  return k && v && (offset || !(pastKey || lengths));
}

/// The mask with minus infinity, or false, behind its last column up to `total` columns.
Value paddedMask(Compose &c, Value mask, Value total) {
  Node &node = c.node;
  if (Node::rank(mask) == 0)
    return mask;
  int64_t last = Node::rank(mask) - 1;
  FailureOr<SymShape> shape = node.context.shapeOf(mask);
  // What misses is positive, or not known. One column is for all keys, where that is known.
  if (failed(shape) || shape->back().isConstant(1) ||
      node.context.atMost(node.context.indexValue(total) - shape->back(), 0))
    return mask;
  Type element = Node::element(mask);
  Value fill = element.isInteger(1) ? node.scalar(element, 0) : c.lowest(element);
  Compose::Values dims = node.dims(mask);
  dims[last] = c.subIndex(total, dims[last]);
  return c.concat({mask, node.broadcast(fill, dims)}, last);
}

Value AttentionImporter::maskScores(Value scores) {
  Value total = node.dim(k, 2), allowed;
  auto also = [&](Value condition) { allowed = allowed ? c.logicalAnd(allowed, condition) : condition; };
  if (Value mask = node.input(3)) {
    mayMaskAll = true;
    if (Node::rank(mask) > 4)
      return Compose::none(node.invalid("expects a mask of rank 4 at most, got rank " + Twine(Node::rank(mask))));
    mask = paddedMask(c, mask, total);
    if (mask && Node::element(mask).isInteger(1))
      also(mask);
    else if (mask && isa<FloatType>(Node::element(mask)))
      scores = c.add(scores, node.cast(mask, Node::element(scores)));
    else if (mask)
      return Compose::none(node.invalid("expects a mask of booleans or floats"));
  }
  if (Value lengths = node.input(6)) {
    lengths = c.unsqueeze(node.cast(lengths, node.builder.getI64Type()), {1, 2, 3});
    also(c.compare(Comparison::lt, c.iota(total, 3, 4), lengths));
  }
  int64_t left = node.intAttr("left_window_size", -1), right = node.intAttr("right_window_size", -1);
  if (bool causal = node.intAttr("is_causal", 0); causal || left >= 0 || right >= 0) {
    Value distance = queryMinusKey(c, node.dim(q, 2), total, offset);
    if (causal)
      also(c.compare(Comparison::ge, distance, 0));
    if (left >= 0)
      also(c.compare(Comparison::le, distance, c.integer(left)));
    if (right >= 0)
      also(c.compare(Comparison::ge, distance, c.integer(-right)));
    mayMaskAll |= left >= 0 || right >= 0;
  }
  return !scores || !allowed ? scores : c.select(allowed, scores, c.lowest(Node::element(scores)));
}

Value AttentionImporter::probabilities(Value scores) {
  scores = node.cast(scores, softmaxType);
  Value result = c.softmax(scores);
  if (!mayMaskAll)
    return node.cast(result, Node::element(q));
  // A query without a key has no probabilities, which the softmax of minus infinities does not know.
  Value best = c.reduce(Reduction::max, scores, {3}, /*keepDims=*/true);
  Value none = best ? c.compare(Comparison::eq, best, c.lowest(softmaxType)) : Value();
  result = c.select(none, node.scalar(softmaxType, 0), result);
  return node.cast(result, Node::element(q));
}

/// Whether the static extents of `before` are those of `after`, where more may be known.
bool keepsShape(Value before, Value after) {
  RankedTensorType a = Node::type(before), b = Node::type(after);
  if (a.getRank() != b.getRank())
    return false;
  for (int64_t i = 0; i < a.getRank(); ++i)
    if (!a.isDynamicDim(i) && a.getDimSize(i) != b.getDimSize(i))
      return false;
  return true;
}

LogicalResult AttentionImporter::run() {
  int64_t mode = node.intAttr("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3)
    return node.invalid("expects qk_matmul_output_mode to be 0 to 3, got " + Twine(mode));
  if (!readInputs())
    return failure();
  double softcap = node.floatAttr("softcap", 0);
  Value scores = attentionScores(c, scaledQuery(c, q), k);
  Value stages[4] = {scores};
  if (softcap != 0)
    scores = c.mul(c.unary<TanhOp>(c.div(scores, softcap)), softcap);
  stages[1] = scores;
  Value bare = scores;
  if (!bare)
    return failure();
  stages[2] = scores = maskScores(scores);
  if (scores && bare && !keepsShape(bare, scores))
    return node.invalid("expects a mask that broadcasts to the scores");
  stages[3] = probabilities(scores);
  Value y = attentionValues(c, node.cast(stages[3], Node::element(v)), v);
  y = node.cast(folded ? mergeHeads(c, y) : y, Node::element(q));
  if (failed(node.result(y)) || failed(node.result(k, 1)) || failed(node.result(v, 2)))
    return failure();
  return node.result(stages[mode], 3);
}

LogicalResult importAttention(Node &node) { return AttentionImporter(node).run(); }

LogicalResult importRotaryEmbedding(Node &node) {
  Compose c(node);
  Value x = node.input(0), cos = node.input(1), sin = node.input(2), positions = node.input(3);
  if (!c.areFloats({x, cos, sin}) || !c.hasRank(x, {3, 4}, "an input"))
    return failure();
  Value rotated = x;
  bool folded = Node::rank(x) == 3;
  if (folded) {
    int64_t heads = node.intAttr("num_heads", 0), hidden = Node::type(x).getDimSize(2);
    if (heads <= 0 || (!ShapedType::isDynamic(hidden) && hidden % heads != 0))
      return node.invalid("expects an attribute 'num_heads' that divides the hidden size, got " + Twine(heads));
    Value size = c.divideIndex(node.dim(x, 2), heads);
    rotated = node.reshape(x, {node.dim(x, 0), node.dim(x, 1), node.index(heads), size});
  }
  for (Value *table : {&cos, &sin}) {
    if (!c.hasRank(*table, {positions ? 2 : 3}, "cos_cache and sin_cache"))
      return failure();
    if (positions)
      *table = c.gather(*table, positions, 0);
    if (!*table || !c.hasRank(*table, {3}, "cosines and sines"))
      return failure();
    *table = c.unsqueeze(*table, {folded ? 2 : 1});
  }
  rotated = rotate(c, rotated, cos, sin, node.intAttr("rotary_embedding_dim", 0), node.intAttr("interleaved", 0));
  return node.result(folded ? node.reshape(rotated, node.dims(x)) : rotated);
}

LogicalResult importTensorScatter(Node &node) {
  Compose c(node);
  Value past = node.input(0), update = node.input(1), starts = node.input(2);
  int64_t rank = Node::rank(past);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -2), rank);
  if (!axis || !c.hasRank(update, {rank}, "an update"))
    return failure();
  if (*axis == 0)
    return node.invalid("expects an axis other than the batch's");
  std::string mode = node.stringAttr("mode", "linear");
  if (mode != "linear" && mode != "circular")
    return node.invalid("expects mode to be linear or circular, got '" + mode + "'");
  if (Node::element(past) != Node::element(update))
    return node.invalid("expects an update of the cache's type");
  // Row j of the cache is row j - start of the update where that exists. Both are rows of one tensor here, so that no
  // index is out of bounds.
  Value extent = node.dim(past, *axis), place = c.iota(extent, *axis, rank), relative = place;
  Value length = c.fromIndex(extent), added = c.fromIndex(node.dim(update, *axis));
  if (starts) {
    if (!c.hasRank(starts, {1}, "write_indices"))
      return failure();
    SmallVector<int64_t> others = llvm::to_vector(llvm::seq<int64_t>(1, rank));
    relative = c.sub(place, c.unsqueeze(node.cast(starts, node.builder.getI64Type()), others));
    if (mode == "circular" && relative)
      relative = node.make<ModOp>(Node::element(relative), relative, length, /*truncated=*/false);
  }
  Value inside = c.logicalAnd(c.compare(Comparison::ge, relative, 0), c.compare(Comparison::lt, relative, added));
  Value source = c.select(inside, c.add(relative, length), place);
  source = node.broadcast(source, node.dims(past));
  Value rows = c.concat({past, update}, *axis);
  if (!rows || !source)
    return failure();
  return node.result(node.make<GatherElementsOp>(Node::element(past), rows, source, *axis));
}

} // namespace

ArrayRef<Operator> attentionOperators() {
  static constexpr Operator table[] = {
      {"Attention", 23, 3, 7, 4,
       "is_causal:i kv_num_heads:i left_window_size:i q_num_heads:i qk_matmul_output_mode:i right_window_size:i scale:f "
       "softcap:f softmax_precision:i",
       importAttention},
      {"RotaryEmbedding", 23, 3, 4, 1, "interleaved:i num_heads:i rotary_embedding_dim:i", importRotaryEmbedding},
      {"TensorScatter", 24, 2, 3, 1, "axis:i mode:s", importTensorScatter},
  };
  return table;
}

} // namespace lathe::frontend
