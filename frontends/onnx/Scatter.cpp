//===- Scatter.cpp - Importers of scatters, selections and positions ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include "frontends/onnx/Tensors.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Scatters
//===----------------------------------------------------------------------===//

std::optional<ScatterKind> scatterKind(Node &node) {
  std::string name = node.stringAttr("reduction", "none");
  std::optional<ScatterKind> kind = name == "none" ? ScatterKind::assign : symbolizeScatterKind(name);
  if (!kind || name == "assign") {
    (void)node.invalid("expects reduction to be none, add, mul, max or min, got '" + name + "'");
    return std::nullopt;
  }
  if (Type type = Node::element(node.input(1)); !isa<IntegerType>(type) || type.isInteger(1)) {
    (void)node.invalid("expects indices of integers");
    return std::nullopt;
  }
  if (*kind != ScatterKind::assign && Node::element(node.input(0)).isInteger(1)) {
    (void)node.unsupported("reductions of booleans are not supported", "cast to INT32 before the node and back after it");
    return std::nullopt;
  }
  return kind;
}

LogicalResult importScatterElements(Node &node) {
  Value x = node.input(0);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 0), Node::rank(x));
  std::optional<ScatterKind> kind = axis ? scatterKind(node) : std::nullopt;
  if (!kind)
    return failure();
  return node.result(
      node.make<ScatterElementsOp>(Node::element(x), *kind, x, node.input(1), node.input(2), *axis));
}

LogicalResult importScatterND(Node &node) {
  Value x = node.input(0), indices = node.input(1);
  std::optional<ScatterKind> kind = scatterKind(node);
  if (!kind)
    return failure();
  // The updates have the indices' dimensions but the last, and those of the input that a tuple leaves.
  if (int64_t rank = Node::rank(indices); rank > 0 && Node::type(indices).isDynamicDim(rank - 1))
    indices = node.withTupleLength(indices, rank - 1 + Node::rank(x) - Node::rank(node.input(2)));
  if (!indices)
    return failure();
  return node.result(node.make<ScatterNDOp>(Node::element(x), *kind, x, indices, node.input(2)));
}

//===----------------------------------------------------------------------===//
// The best of an axis
//===----------------------------------------------------------------------===//

Value topK(Node &node, Value x, Value k, int64_t axis, bool smallest) {
  return node.make<TopKOp>(node.builder.getI64Type(), x, k, axis, smallest);
}

LogicalResult importTopK(Node &node) {
  Value x = node.input(0);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(x));
  std::optional<SmallVector<Value>> k = axis ? node.indices(node.input(1), "values of k") : std::nullopt;
  if (!k)
    return failure();
  if (k->size() != 1)
    return node.invalid("expects one value for k, got " + Twine(k->size()));
  if (Node::element(x).isInteger(1))
    return node.invalid("expects numbers, got booleans");
  Value indices = topK(node, x, k->front(), *axis, !node.intAttr("largest", 1));
  if (!indices || failed(node.result(indices, 1)))
    return failure();
  return node.result(node.make<GatherElementsOp>(Node::element(x), x, indices, *axis));
}

/// The index of the best element along an axis, which stays with extent 1.
Value bestAlong(Compose &c, Value x, int64_t axis, bool smallest, bool last) {
  Node &node = c.node;
  // The first of the reversed axis is the last one.
  Value ordered = last ? c.slice(x, axis, INT64_MAX, INT64_MIN, -1) : x;
  Value index = ordered ? topK(node, ordered, node.index(1), axis, smallest) : Value();
  return last && index ? c.sub(c.fromIndex(c.subIndex(node.dim(x, axis), node.index(1))), index) : index;
}

template <bool smallest> LogicalResult importArg(Node &node) {
  Compose c(node);
  Value x = node.input(0);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 0), Node::rank(x));
  if (!axis)
    return failure();
  Value index = bestAlong(c, x, *axis, smallest, node.intAttr("select_last_index", 0));
  if (!index || node.intAttr("keepdims", 1))
    return node.result(index);
  SmallVector<Value> dims = node.dims(index);
  dims.erase(dims.begin() + *axis);
  return node.result(node.reshape(index, dims));
}

LogicalResult importHardmax(Node &node) {
  Compose c(node);
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), rank);
  if (!axis)
    return failure();
  Value best = bestAlong(c, x, *axis, /*smallest=*/false, /*last=*/false);
  Value hit = c.compare(Comparison::eq, c.iota(node.dim(x, *axis), *axis, rank), best);
  return node.result(node.cast(hit, Node::element(x)));
}

//===----------------------------------------------------------------------===//
// Made of positions
//===----------------------------------------------------------------------===//

LogicalResult importOneHot(Node &node) {
  Compose c(node);
  Value indices = node.input(0), depth = node.input(1), values = node.input(2);
  Type i64 = node.builder.getI64Type();
  if (Node::rank(values) != 1 || (Node::type(values).getDimSize(0) != 2 && !Node::type(values).isDynamicDim(0)))
    return node.invalid("expects two values, one for off and one for on");
  if (Node::rank(depth) > 1)
    return node.invalid("expects a depth of rank 0 or 1, got rank " + Twine(Node::rank(depth)));
  std::optional<SmallVector<Value>> extent = node.indices(node.cast(depth, i64), "depths");
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(indices) + 1);
  if (!extent || !axis)
    return failure();
  if (extent->size() != 1)
    return node.invalid("expects one depth, got " + Twine(extent->size()));
  indices = c.unsqueeze(node.cast(indices, i64), {*axis});
  Value count = c.fromIndex(extent->front());
  indices = c.select(c.compare(Comparison::lt, indices, 0), c.add(indices, count), indices);
  if (!indices)
    return failure();
  Value hit = c.compare(Comparison::eq, indices, c.iota(extent->front(), *axis, Node::rank(indices)));
  Value off = node.reshape(c.slice(values, 0, 0, 1), {}), on = node.reshape(c.slice(values, 0, 1, 2), {});
  return node.result(c.select(hit, on, off));
}

LogicalResult importEyeLike(Node &node) {
  Compose c(node);
  Value x = node.input(0);
  if (!c.hasRank(x, {2}, "an input"))
    return failure();
  int64_t to = node.intAttr("dtype", 0);
  Type type = !node.attribute("dtype")       ? Node::element(x)
              : to == static_cast<int32_t>(to) ? elementType(node.builder.getContext(), static_cast<int32_t>(to))
                                               : Type();
  if (!type)
    return node.unsupported("data type " + dataTypeName(static_cast<int32_t>(to)) + " is not supported");
  Value diagonal = c.add(c.iota(node.dim(x, 0), 0, 2), c.integer(node.intAttr("k", 0)));
  return node.result(node.cast(c.compare(Comparison::eq, c.iota(node.dim(x, 1), 1, 2), diagonal), type));
}

LogicalResult importReverseSequence(Node &node) {
  Compose c(node);
  Value x = node.input(0), lengths = node.input(1);
  int64_t rank = Node::rank(x), batch = node.intAttr("batch_axis", 1), time = node.intAttr("time_axis", 0);
  if (rank < 2)
    return node.invalid("expects a rank of 2 or more, got rank " + Twine(rank));
  if (batch == time || std::min(batch, time) != 0 || std::max(batch, time) != 1)
    return node.invalid("expects batch_axis and time_axis to be 0 and 1 or 1 and 0, got " + Twine(batch) + " and " +
                        Twine(time));
  if (!c.hasRank(lengths, {1}, "sequence_lens") || !c.sameExtent(lengths, 0, x, batch, "batches"))
    return failure();
  SmallVector<int64_t> others;
  for (int64_t i = 0; i < rank; ++i)
    if (i != batch)
      others.push_back(i);
  lengths = c.unsqueeze(node.cast(lengths, node.builder.getI64Type()), others);
  Value place = c.iota(node.dim(x, time), time, rank);
  Value mirrored = c.sub(c.add(lengths, -1.0), place);
  Value source = c.select(c.compare(Comparison::lt, place, lengths), mirrored, place);
  source = node.broadcast(source, node.dims(x));
  return node.result(source ? node.make<GatherElementsOp>(Node::element(x), x, source, time) : source);
}

//===----------------------------------------------------------------------===//
// Extents that depend on elements
//===----------------------------------------------------------------------===//

/// Whether each element of a constant is not 0, in row-major order.
std::optional<SmallVector<bool>> constantTruth(Node &node, Value tensor) {
  SmallVector<bool> result;
  auto constant = tensor.getDefiningOp<ConstantOp>();
  if (auto floats = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr()) {
    for (const APFloat &value : floats)
      result.push_back(!value.isZero());
    return result;
  }
  constexpr int64_t kMost = 1 << 16;
  RankedTensorType type = Node::type(tensor);
  if (!type.hasStaticShape() || type.getNumElements() > kMost)
    return std::nullopt;
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    std::optional<SymExpr> value = node.context.element(tensor, i);
    std::optional<int64_t> number = value ? value->constant() : std::nullopt;
    if (!number)
      return std::nullopt;
    result.push_back(*number != 0);
  }
  return result;
}

} // namespace

/// Whether every element is the same one, which is not 0: the shape alone tells the positions then. This is how
/// exporters write the range of an axis that an index leaves as it is.
static bool isTrueThroughout(Value tensor) {
  Operation *op = tensor.getDefiningOp();
  while (isa_and_nonnull<BroadcastOp, ReshapeOp>(op))
    op = op->getOperand(0).getDefiningOp();
  auto constant = dyn_cast_or_null<ConstantOp>(op);
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  if (!dense || !dense.isSplat())
    return false;
  return isa<FloatType>(dense.getElementType()) ? !dense.getSplatValue<APFloat>().isZero()
                                                : !dense.getSplatValue<APInt>().isZero();
}

Value positionsOfTrue(Compose &c, Value truth) {
  Node &node = c.node;
  Type i64 = node.builder.getI64Type();
  Value flags = node.cast(truth, i64);
  Value running = flags ? node.make<CumSumOp>(i64, flags, int64_t(0), false, false) : Value();
  Value total = c.reduce(Reduction::sum, flags, {0}, /*keepDims=*/false);
  if (!running || !total)
    return {};
  Value extent = node.dim(truth, 0);
  Value count = node.builder.create<ToIndexOp>(node.loc, node.builder.getIndexType(), total, uint64_t(0));
  // What is not kept goes to one more place, behind the others.
  Value place = c.select(truth, c.add(running, -1.0), c.fromIndex(extent));
  Value room = node.broadcast(c.integer(0), {c.addIndex(extent, node.index(1))});
  Value numbers = c.iota(extent);
  if (!place || !room || !numbers)
    return {};
  Value all = node.make<ScatterElementsOp>(i64, ScatterKind::assign, room, place, numbers, int64_t(0));
  return node.slice(all, 0, node.index(0), count);
}

namespace {

Value constantIndices(Node &node, ArrayRef<int64_t> values, ArrayRef<int64_t> shape) {
  return node.constant(DenseElementsAttr::get(RankedTensorType::get(shape, node.builder.getI64Type()), values));
}

LogicalResult importNonZero(Node &node) {
  Value x = node.input(0);
  std::optional<SmallVector<bool>> truth = constantTruth(node, x);
  if (!truth) {
    Compose c(node);
    SmallVector<Value> dims = node.dims(x), rows;
    Value positions;
    if (isTrueThroughout(x)) {
      positions = c.iota(node.product(dims));
    } else {
      Value flat = node.reshape(x, {node.product(dims)});
      positions = positionsOfTrue(c, Node::element(x).isInteger(1) ? flat : c.compare(Comparison::ne, flat, 0.0));
    }
    if (dims.empty()) // a scalar counts as a vector of one element
      dims.push_back(node.index(1));
    for (size_t axis = dims.size(); axis-- > 0 && positions;) {
      Value extent = c.fromIndex(dims[axis]), quotient = c.div(positions, extent);
      rows.insert(rows.begin(), c.unsqueeze(c.sub(positions, c.mul(quotient, extent)), {0}));
      positions = quotient;
    }
    return node.result(positions ? c.concat(rows, 0) : positions);
  }
  ArrayRef<int64_t> shape = Node::type(x).getShape();
  int64_t rank = Node::rank(x), count = llvm::count(*truth, true);
  // A scalar counts as a vector of one element.
  SmallVector<int64_t> values(std::max<int64_t>(rank, 1) * count);
  int64_t column = 0;
  for (auto [i, isTrue] : llvm::enumerate(*truth)) {
    if (!isTrue)
      continue;
    int64_t rest = static_cast<int64_t>(i);
    for (int64_t axis = rank - 1; axis >= 0; rest /= shape[axis--])
      values[axis * count + column] = rest % shape[axis];
    ++column;
  }
  return node.result(constantIndices(node, values, {std::max<int64_t>(rank, 1), count}));
}

LogicalResult importCompress(Node &node) {
  Value x = node.input(0), condition = node.input(1);
  std::optional<int64_t> axis = 0;
  if (node.attribute("axis"))
    axis = node.axis(node.intAttr("axis", 0), Node::rank(x));
  else
    x = node.reshape(x, {node.product(node.dims(x))});
  Compose c(node);
  if (!axis || !x || !c.hasRank(condition, {1}, "a condition"))
    return failure();
  std::optional<SmallVector<bool>> truth = constantTruth(node, condition);
  if (!truth)
    return node.result(c.gather(x, positionsOfTrue(c, condition), *axis));
  SmallVector<int64_t> kept;
  for (auto [i, isTrue] : llvm::enumerate(*truth))
    if (isTrue)
      kept.push_back(static_cast<int64_t>(i));
  return node.result(c.gather(x, constantIndices(node, kept, {static_cast<int64_t>(kept.size())}), *axis));
}

} // namespace

ArrayRef<Operator> scatterOperators() {
  static constexpr llvm::StringLiteral argAttributes = "axis:i keepdims:i select_last_index:i";
  static constexpr Operator table[] = {
      {"ScatterElements", 13, 3, 3, 1, "axis:i reduction:s", importScatterElements},
      {"ScatterND", 13, 3, 3, 1, "reduction:s", importScatterND},
      {"TopK", 13, 2, 2, 2, "axis:i largest:i sorted:i", importTopK},
      {"ArgMax", 13, 1, 1, 1, argAttributes, importArg</*smallest=*/false>},
      {"ArgMin", 13, 1, 1, 1, argAttributes, importArg</*smallest=*/true>},
      {"Hardmax", 13, 1, 1, 1, "axis:i", importHardmax},
      {"OneHot", 13, 3, 3, 1, "axis:i", importOneHot},
      {"EyeLike", 13, 1, 1, 1, "dtype:i k:i", importEyeLike},
      {"ReverseSequence", 13, 2, 2, 1, "batch_axis:i time_axis:i", importReverseSequence},
      {"NonZero", 13, 1, 1, 1, "", importNonZero},
      {"Compress", 13, 2, 2, 1, "axis:i", importCompress},
  };
  return table;
}

} // namespace lathe::frontend
