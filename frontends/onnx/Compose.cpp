//===- Compose.cpp - Operators made of several operations -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {

Value Compose::compare(Comparison predicate, Value a, Value b) {
  return a && b ? node.make<CompareOp>(node.builder.getI1Type(), predicate, a, b) : Value();
}

Value Compose::lowest(Type element) {
  auto type = RankedTensorType::get({}, element);
  if (auto floating = dyn_cast<FloatType>(element))
    return node.constant(
        DenseElementsAttr::get(type, APFloat::getInf(floating.getFloatSemantics(), /*Negative=*/true)));
  unsigned width = element.getIntOrFloatBitWidth();
  return node.constant(DenseElementsAttr::get(
      type, element.isUnsignedInteger() || width == 1 ? APInt::getZero(width) : APInt::getSignedMinValue(width)));
}

Value Compose::transpose(Value x, ArrayRef<int64_t> permutation) { return unary<TransposeOp>(x, Ints(permutation)); }

Value Compose::swapLastTwo(Value x) {
  if (!x)
    return {};
  Ints permutation = llvm::to_vector(llvm::seq<int64_t>(Node::rank(x)));
  std::swap(permutation.back(), permutation[permutation.size() - 2]);
  return transpose(x, permutation);
}

Value Compose::concat(ArrayRef<Value> parts, int64_t axis) {
  if (llvm::is_contained(parts, Value()))
    return {};
  return parts.size() == 1 ? parts.front() : node.make<ConcatOp>(Node::element(parts.front()), Values(parts), axis);
}

Value Compose::reduce(Reduction kind, Value x, ArrayRef<int64_t> axes, bool keepDims) {
  return x ? node.make<ReduceOp>(Node::element(x), kind, x, Ints(axes), keepDims) : Value();
}

Value Compose::slice(Value x, int64_t axis, int64_t start, int64_t end, int64_t step) {
  if (!x)
    return {};
  return node.make<SliceOp>(Node::element(x), x, Values{node.index(start)}, Values{node.index(end)}, Ints{axis},
                            Ints{step});
}

Value Compose::unsqueeze(Value x, ArrayRef<int64_t> axes) {
  if (!x)
    return {};
  Values dims;
  int64_t rank = Node::rank(x) + static_cast<int64_t>(axes.size());
  for (int64_t i = 0, from = 0; i < rank; ++i)
    dims.push_back(llvm::is_contained(axes, i) ? node.index(1) : node.dim(x, from++));
  return node.reshape(x, dims);
}

Value Compose::iota(Value count, int64_t axis, int64_t rank) {
  Value result = node.make<RangeOp>(node.builder.getI64Type(), node.index(0), count, node.index(1));
  if (rank == 1)
    return result;
  Values dims(rank, node.index(1));
  dims[axis] = count;
  return node.reshape(result, dims);
}

Value Compose::fromIndex(Value index) {
  return index ? node.make<FromIndexOp>(node.builder.getI64Type(), Values{index}) : Value();
}

Value Compose::integer(int64_t value) {
  auto type = RankedTensorType::get({}, node.builder.getI64Type());
  return node.constant(DenseElementsAttr::get(type, ArrayRef<int64_t>{value}));
}

Value Compose::addIndex(Value a, Value b) {
  if (!a || !b || Node::constantIndex(b) == 0)
    return a;
  return node.builder.create<arith::AddIOp>(node.loc, a, b);
}

Value Compose::subIndex(Value a, Value b) {
  return a && b ? node.builder.create<arith::SubIOp>(node.loc, a, b).getResult() : Value();
}

Value Compose::divideIndex(Value a, int64_t divisor) {
  if (!a || divisor == 1)
    return a;
  if (std::optional<int64_t> constant = Node::constantIndex(a))
    return node.index(*constant / divisor);
  return node.builder.create<arith::FloorDivSIOp>(node.loc, a, node.index(divisor));
}

bool Compose::sameExtent(Value a, int64_t axisA, Value b, int64_t axisB, StringRef what) {
  int64_t x = Node::type(a).getDimSize(axisA), y = Node::type(b).getDimSize(axisB);
  if (x == y || ShapedType::isDynamic(x) || ShapedType::isDynamic(y))
    return true;
  (void)node.invalid("expects " + what + " to be equal, got " + Twine(x) + " and " + Twine(y));
  return false;
}

bool Compose::hasRank(Value x, ArrayRef<int64_t> ranks, StringRef what) {
  if (llvm::is_contained(ranks, Node::rank(x)))
    return true;
  std::string expected;
  for (int64_t rank : ranks)
    expected += (expected.empty() ? "" : " or ") + std::to_string(rank);
  (void)node.invalid("expects " + what + " of rank " + expected + ", got rank " + Twine(Node::rank(x)));
  return false;
}

bool Compose::areFloats(ArrayRef<Value> values) {
  Type first;
  for (Value value : values) {
    if (!value)
      continue;
    Type element = Node::element(value);
    if (!isa<FloatType>(element) || (first && element != first)) {
      (void)node.invalid("expects tensors of one type of floats");
      return false;
    }
    first = element;
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

static std::string extentText(int64_t extent) {
  return ShapedType::isDynamic(extent) ? "that is not static" : std::to_string(extent);
}

Value rotate(Compose &c, Value x, Value cos, Value sin, int64_t dim, bool interleaved) {
  Node &node = c.node;
  if (!x || !cos || !sin)
    return {};
  int64_t last = Node::rank(x) - 1, size = Node::type(x).getDimSize(last);
  bool whole = dim == 0 || dim == size;
  if (whole)
    dim = size;
  if (!ShapedType::isDynamic(dim) &&
      (dim < 0 || (!ShapedType::isDynamic(size) && dim > size) || dim % 2 != 0))
    return Compose::none(node.invalid("expects to rotate an even number of at most " + extentText(size) +
                                      " elements, got " + Twine(dim)));
  for (Value table : {cos, sin})
    if (int64_t half = Node::type(table).getDimSize(Node::rank(table) - 1);
        half != dim / 2 && !ShapedType::isDynamic(half) && !ShapedType::isDynamic(dim))
      return Compose::none(node.invalid("expects tables of " + Twine(dim / 2) + " columns for the " + Twine(dim) +
                                        " elements rotated, got " + Twine(half)));
  Value part = whole ? x : c.slice(x, last, 0, dim);
  if (!part)
    return {};
  SymExpr extent = node.dimExpr(part, last), half = node.context.floorDiv(extent, 2);
  if (failed(node.require(node.context.eq(extent, half * 2), "expects to rotate an even number of elements", {extent})))
    return {};
  Value rotated;
  if (interleaved) {
    Value even = c.slice(part, last, 0, INT64_MAX, 2), odd = c.slice(part, last, 1, INT64_MAX, 2);
    Value real = c.sub(c.mul(even, cos), c.mul(odd, sin)), imaginary = c.add(c.mul(even, sin), c.mul(odd, cos));
    rotated = c.concat({c.unsqueeze(real, {last + 1}), c.unsqueeze(imaginary, {last + 1})}, last + 1);
  } else {
    Value low = node.slice(part, last, node.index(0), node.index(half));
    Value high = node.slice(part, last, node.index(half), node.index(extent));
    Value real = c.sub(c.mul(low, cos), c.mul(high, sin)), imaginary = c.add(c.mul(low, sin), c.mul(high, cos));
    rotated = c.concat({real, imaginary}, last);
  }
  if (interleaved || !extent.constant()) // an odd extent, which was excluded, would be another one than that of the halves
    rotated = node.reshape(rotated, node.dims(part));
  return whole ? rotated : c.concat({rotated, c.slice(x, last, dim, INT64_MAX)}, last);
}

Value splitHeads(Compose &c, Value x, int64_t heads) {
  Node &node = c.node;
  if (!x)
    return {};
  int64_t hidden = Node::type(x).getDimSize(2);
  if (heads <= 0 || (!ShapedType::isDynamic(hidden) && hidden % heads != 0))
    return Compose::none(node.invalid("expects a number of heads that divides the hidden size " + extentText(hidden) +
                                      ", got " + Twine(heads)));
  Value size = c.divideIndex(node.dim(x, 2), heads);
  Value split = node.reshape(x, {node.dim(x, 0), node.dim(x, 1), node.index(heads), size});
  return c.transpose(split, {0, 2, 1, 3});
}

Value mergeHeads(Compose &c, Value x) {
  Node &node = c.node;
  if (!x)
    return {};
  Value merged = c.transpose(x, {0, 2, 1, 3});
  return node.reshape(merged, {node.dim(x, 0), node.dim(x, 2), node.product({node.dim(x, 1), node.dim(x, 3)})});
}

/// A product over [batch, heads, …] whose right side has fewer heads: each serves a group of the left one's.
static Value groupedMatmul(Compose &c, Value left, Value right, bool transposeRight) {
  Node &node = c.node;
  if (!left || !right)
    return {};
  FailureOr<SymShape> leftShape = node.context.shapeOf(left), rightShape = node.context.shapeOf(right);
  if (failed(leftShape) || failed(rightShape))
    return {};
  SymExpr leftHeads = (*leftShape)[1], rightHeads = (*rightShape)[1];
  if (leftHeads == rightHeads)
    return c.matmul(left, right, false, transposeRight);
  auto known = leftHeads.constant(), knownRight = rightHeads.constant();
  if (known && knownRight && (*knownRight == 0 || *known == 0 || *known % *knownRight != 0))
    return Compose::none(node.invalid("expects key/value heads that divide the query's " + Twine(*known) + ", got " +
                                      Twine(*knownRight)));
  Value group = materialize(node.builder, node.loc, node.context.floorDiv(leftHeads, rightHeads));
  Value batch = node.dim(left, 0), heads = node.dim(left, 1), rows = node.dim(left, 2), kvHeads = node.dim(right, 1);
  Value grouped = node.reshape(left, {batch, kvHeads, group, rows, node.dim(left, 3)});
  Value product = c.matmul(grouped, c.unsqueeze(right, {2}), false, transposeRight);
  return node.reshape(product, {batch, heads, rows, node.dim(right, transposeRight ? 2 : 3)});
}

Value scaledQuery(Compose &c, Value q, bool zeroIsDefault) {
  Node &node = c.node;
  if (!q)
    return {};
  int64_t size = Node::type(q).getDimSize(3);
  double scale = node.floatAttr("scale", 0);
  if (node.attribute("scale") && !(zeroIsDefault && scale == 0))
    return c.mul(q, scale);
  if (!ShapedType::isDynamic(size))
    return size ? c.mul(q, 1 / std::sqrt(static_cast<double>(size))) : q;
  return c.mul(q, c.unary<RsqrtOp>(node.cast(c.fromIndex(node.dim(q, 3)), Node::element(q))));
}

Value attentionScores(Compose &c, Value q, Value k) { return groupedMatmul(c, q, k, /*transposeRight=*/true); }

Value attentionValues(Compose &c, Value probabilities, Value v) {
  return groupedMatmul(c, probabilities, v, /*transposeRight=*/false);
}

Value queryMinusKey(Compose &c, Value sequence, Value total, Value offset) {
  int64_t rank = offset && Node::rank(offset) == 1 ? 4 : 2;
  Value query = c.iota(sequence, rank - 2, rank), key = c.iota(total, rank - 1, rank);
  if (offset)
    query = c.add(query, rank == 4 ? c.unsqueeze(offset, {1, 2, 3}) : offset);
  return c.sub(query, key);
}

} // namespace lathe::frontend
