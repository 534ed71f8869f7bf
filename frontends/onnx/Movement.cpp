//===- Movement.cpp - Importers of operators that move elements -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Axes.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;

namespace lathe::frontend {

static LogicalResult importTranspose(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  SmallVector<int64_t> permutation =
      node.intsAttr("perm").value_or(llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(rank))));
  return node.result(node.make<TransposeOp>(Node::element(x), x, permutation));
}

static LogicalResult importReshape(Node &node) {
  std::optional<SmallVector<Value>> dims = node.indices(node.input(1), "dimensions");
  if (!dims)
    return failure();
  return node.result(node.reshape(node.input(0), *dims, /*zeroCopies=*/!node.intAttr("allowzero", 0)));
}

static LogicalResult importFlatten(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x), axis = node.intAttr("axis", 1);
  if (axis < -rank || axis > rank)
    return node.invalid("expects an axis from " + Twine(-rank) + " to " + Twine(rank) + ", got " + Twine(axis));
  SmallVector<Value> dims = node.dims(x);
  ArrayRef<Value> all(dims);
  size_t cut = static_cast<size_t>(axis < 0 ? axis + rank : axis);
  return node.result(node.reshape(x, {node.product(all.take_front(cut)), node.product(all.drop_front(cut))}));
}

static LogicalResult importSqueeze(Node &node) {
  Value x = node.input(0);
  RankedTensorType type = Node::type(x);
  int64_t rank = type.getRank();
  std::optional<Axes> axes;
  if (node.input(1)) {
    axes = Axes::read(node, node.input(1), rank);
    if (!axes)
      return failure();
  } else {
    // The rank of the result is part of the program: extents that the run says are taken to stay, and must not be 1.
    SmallVector<int64_t> ones;
    for (int64_t i = 0; i < rank; ++i) {
      SymExpr extent = node.dimExpr(x, i);
      if (extent.isConstant(1))
        ones.push_back(i);
      else if (failed(node.require(SymExpr(1) - node.context.eq(extent, 1),
                                   "squeezing without axes leaves axis " + Twine(i) +
                                       " where it is, so that its extent must not be 1; give Squeeze its axes",
                                   {extent})))
        return failure();
    }
    axes = Axes::of(node, ones, rank);
  }
  SymShape dims = dimExprs(node, x);
  ShapeContext &context = node.context;
  if (axes->constants()) {
    for (int64_t i = 0; i < rank; ++i)
      if (axes->contains(i).isConstant(1) && !type.isDynamicDim(i) && type.getDimSize(i) != 1)
        return node.invalid("expects an extent of 1 at axis " + Twine(i) + ", got " + Twine(type.getDimSize(i)));
  } else {
    SymExpr others;
    for (int64_t i = 0; i < rank; ++i)
      others = others + axes->contains(i) * (SymExpr(1) - context.eq(dims[i], 1));
    if (failed(node.require(context.eq(others, 0), "expects extents of 1 at the squeezed axes of " + str(dims), {})))
      return failure();
  }
  return node.result(node.reshape(x, node.indices(axes->removedFrom(dims))));
}

static LogicalResult importUnsqueeze(Node &node) {
  Value x = node.input(0), given = node.input(1);
  int64_t count = Node::rank(given) == 1 ? Node::type(given).getDimSize(0) : 1;
  if (ShapedType::isDynamic(count))
    return node.unsupported("the number of axes depends on data");
  std::optional<Axes> axes = Axes::read(node, given, Node::rank(x) + count);
  if (!axes)
    return failure();
  return node.result(node.reshape(x, node.indices(axes->insertedInto(dimExprs(node, x)))));
}

static LogicalResult importExpand(Node &node) {
  std::optional<SmallVector<Value>> dims = node.indices(node.input(1), "dimensions");
  if (!dims)
    return failure();
  return node.result(node.broadcast(node.input(0), *dims));
}

static LogicalResult importTile(Node &node) {
  Value x = node.input(0);
  std::optional<SmallVector<Value>> repeats = node.indices(node.input(1), "repeats");
  if (!repeats)
    return failure();
  if (static_cast<int64_t>(repeats->size()) != Node::rank(x))
    return node.invalid("expects " + Twine(Node::rank(x)) + " repeats, got " + Twine(repeats->size()));
  // [a, b] repeated [r, s] times is [1, a, 1, b] broadcast to [r, a, s, b].
  SmallVector<Value> parts, whole, dims;
  for (auto [i, repeat] : llvm::enumerate(*repeats)) {
    if (int64_t constant = Node::constantIndex(repeat).value_or(0); constant < 0)
      return node.invalid("expects repeats of at least 0, got " + Twine(constant));
    Value extent = node.dim(x, static_cast<int64_t>(i));
    dims.push_back(node.product({repeat, extent}));
    if (Node::constantIndex(repeat) != 1) {
      parts.push_back(node.index(1));
      whole.push_back(repeat);
    }
    parts.push_back(extent);
    whole.push_back(extent);
  }
  if (parts.size() == dims.size())
    return node.result(x);
  return node.result(node.reshape(node.broadcast(node.reshape(x, parts), whole), dims));
}

static LogicalResult importConcat(Node &node) {
  if (!node.attribute("axis"))
    return node.invalid("expects an attribute 'axis'");
  Value first = node.input(0);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 0), Node::rank(first));
  if (!axis)
    return failure();
  return node.result(node.make<ConcatOp>(Node::element(first), SmallVector<Value>(node.inputs), *axis));
}

/// Part sizes of a split; empty after a failure.
static SmallVector<Value> partSizes(Node &node, Value x, int64_t axis) {
  int64_t outputs = node.proto.output_size(), extent = Node::type(x).getDimSize(axis);
  if (node.input(1)) {
    std::optional<SmallVector<Value>> sizes = node.indices(node.input(1), "parts of a split");
    if (sizes && static_cast<int64_t>(sizes->size()) != outputs) {
      (void)node.invalid("expects " + Twine(outputs) + " parts, got " + Twine(sizes->size()));
      return {};
    }
    int64_t sum = 0;
    bool constant = true;
    for (Value size : sizes.value_or(SmallVector<Value>{})) {
      std::optional<int64_t> value = Node::constantIndex(size);
      constant &= value.has_value();
      if (value && (*value < 0 || llvm::AddOverflow(sum, *value, sum))) {
        (void)node.invalid("expects parts of at least 0 and of a sum below 2^63");
        return {};
      }
    }
    if (constant && sizes && !ShapedType::isDynamic(extent) && sum != extent) {
      (void)node.invalid("expects parts that sum up to " + Twine(extent) + ", got " + Twine(sum));
      return {};
    }
    if (!constant && sizes) {
      SymExpr total, negative;
      SmallVector<SymExpr> parts;
      for (Value size : *sizes) {
        parts.push_back(node.context.indexValue(size));
        total = total + parts.back();
        negative = negative + node.context.lt(parts.back(), 0);
      }
      SymExpr fits = node.context.select(negative, 0, node.context.eq(total, node.dimExpr(x, axis)));
      if (failed(node.require(fits, "expects parts of at least 0 that sum up to the extent", parts)))
        return {};
    }
    return sizes.value_or(SmallVector<Value>{});
  }
  int64_t parts = node.intAttr("num_outputs", outputs);
  if (parts != outputs) {
    (void)node.invalid("expects as many outputs as num_outputs says, got " + Twine(outputs) + " and " + Twine(parts));
    return {};
  }
  if (!node.attribute("num_outputs") && !ShapedType::isDynamic(extent) && extent % outputs != 0) {
    (void)node.invalid("expects an extent that " + Twine(outputs) + " parts divide, got " + Twine(extent));
    return {};
  }
  // Equal parts, rounded up; the slice of the last one is clamped.
  Value size;
  if (!ShapedType::isDynamic(extent))
    size = node.index(llvm::divideCeil(extent, outputs));
  else if (FailureOr<SymShape> shape = node.context.shapeOf(x); succeeded(shape))
    size = materialize(node.builder, node.loc, node.context.ceilDiv((*shape)[axis], outputs));
  return SmallVector<Value>(outputs, size);
}

static LogicalResult importSplit(Node &node) {
  Value x = node.input(0);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 0), Node::rank(x));
  if (!axis)
    return failure();
  SmallVector<Value> sizes = partSizes(node, x, *axis);
  if (sizes.empty() || llvm::is_contained(sizes, Value()))
    return failure();
  Value start = node.index(0);
  for (auto [i, size] : llvm::enumerate(sizes)) {
    std::optional<int64_t> a = Node::constantIndex(start), b = Node::constantIndex(size);
    // No part is negative and their sum below 2^63, or the extent plus a part at most.
    Value end = a && b ? node.index(*a + *b) : node.builder.create<arith::AddIOp>(node.loc, start, size).getResult();
    if (failed(node.result(node.slice(x, *axis, start, end), i)))
      return failure();
    start = end;
  }
  return success();
}

template <typename OpTy> static LogicalResult importGather(Node &node) {
  Value x = node.input(0);
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 0), Node::rank(x));
  if (!axis)
    return failure();
  return node.result(node.make<OpTy>(Node::element(x), x, node.input(1), *axis));
}

static LogicalResult importGatherND(Node &node) {
  Value x = node.input(0), indices = node.input(1);
  int64_t batch = node.intAttr("batch_dims", 0), rank = Node::rank(indices);
  if (rank > 0 && Node::type(indices).isDynamicDim(rank - 1)) {
    std::optional<int64_t> result = node.declaredRank(0);
    if (!result)
      return node.unsupported("indices whose last dimension is not static are not supported where the model doesn't "
                              "declare the result's rank",
                              "make the dimension static with --dim NAME=N, or run onnx.shape_inference.infer_shapes");
    indices = node.withTupleLength(indices, rank - 1 + Node::rank(x) - batch - *result);
  }
  return node.result(indices ? node.make<GatherNDOp>(Node::element(x), x, indices, batch) : Value());
}

static LogicalResult importTrilu(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  if (rank < 2)
    return node.invalid("expects a rank of 2 or more, got rank " + Twine(rank));
  Type i64 = node.builder.getI64Type(), type = Node::element(x);
  Value n = node.dim(x, rank - 2), m = node.dim(x, rank - 1), zero = node.index(0), one = node.index(1);
  Value row = node.reshape(node.make<RangeOp>(i64, zero, n, one), {n, one});
  Value column = node.make<RangeOp>(i64, zero, m, one);
  if (Value k = node.input(1)) {
    if (Node::type(k).getNumDynamicDims() || Node::type(k).getNumElements() != 1)
      return node.invalid("expects one diagonal");
    row = node.make<AddOp>(i64, row, node.reshape(node.cast(k, i64), {}));
  }
  Comparison keeps = node.intAttr("upper", 1) ? Comparison::ge : Comparison::le;
  Value mask = node.make<CompareOp>(node.builder.getI1Type(), keeps, column, row);
  return node.result(node.make<SelectOp>(type, mask, x, node.scalar(type, 0)));
}

/// The block size of depth and space, which both are images; nullopt after a failure.
static std::optional<int64_t> blockSize(Node &node) {
  int64_t rank = Node::rank(node.input(0)), size = node.intAttr("blocksize", 0);
  if (rank != 4) {
    (void)node.invalid("expects an input of rank 4, got rank " + Twine(rank));
    return std::nullopt;
  }
  if (size < 1 || size > INT16_MAX) {
    (void)node.invalid("expects a blocksize from 1 to " + Twine(INT16_MAX) + ", got " + Twine(size));
    return std::nullopt;
  }
  return size;
}

static LogicalResult importDepthToSpace(Node &node) {
  std::string mode = node.stringAttr("mode", "DCR");
  if (mode != "DCR" && mode != "CRD")
    return node.invalid("expects mode to be DCR or CRD, got '" + mode + "'");
  std::optional<int64_t> size = blockSize(node);
  if (!size)
    return failure();
  Value x = node.input(0), block = node.index(*size);
  SmallVector<Value> dims = node.dims(x);
  Value depth = node.index(node.context.floorDiv(node.dimExpr(x, 1), *size * *size));
  bool depthFirst = mode == "CRD";
  SmallVector<Value> parts{dims[0], block, block, depth, dims[2], dims[3]};
  if (depthFirst)
    parts = {dims[0], depth, block, block, dims[2], dims[3]};
  Value blocks = node.transpose(node.reshape(x, parts),
                                depthFirst ? ArrayRef<int64_t>{0, 1, 4, 2, 5, 3} : ArrayRef<int64_t>{0, 3, 4, 1, 5, 2});
  return node.result(
      node.reshape(blocks, {dims[0], depth, node.product({dims[2], block}), node.product({dims[3], block})}));
}

static LogicalResult importSpaceToDepth(Node &node) {
  std::optional<int64_t> size = blockSize(node);
  if (!size)
    return failure();
  Value x = node.input(0), block = node.index(*size), n = node.dim(x, 0), depth = node.dim(x, 1);
  Value height = node.index(node.context.floorDiv(node.dimExpr(x, 2), *size));
  Value width = node.index(node.context.floorDiv(node.dimExpr(x, 3), *size));
  Value blocks = node.transpose(node.reshape(x, {n, depth, height, block, width, block}), {0, 3, 5, 1, 2, 4});
  return node.result(node.reshape(blocks, {n, node.product({depth, node.index(*size * *size)}), height, width}));
}

ArrayRef<Operator> movementOperators() {
  static constexpr Operator table[] = {
      {"Transpose", 13, 1, 1, 1, "perm:I", importTranspose},
      {"Reshape", 13, 2, 2, 1, "allowzero:i", importReshape},
      {"Flatten", 13, 1, 1, 1, "axis:i", importFlatten},
      {"Squeeze", 13, 1, 2, 1, "", importSqueeze},
      {"Unsqueeze", 13, 2, 2, 1, "", importUnsqueeze},
      {"Expand", 13, 2, 2, 1, "", importExpand},
      {"Tile", 13, 2, 2, 1, "", importTile},
      {"Concat", 13, 1, -1, 1, "axis:i", importConcat},
      {"Split", 13, 1, 2, -1, "axis:i num_outputs:i", importSplit},
      {"Gather", 13, 2, 2, 1, "axis:i", importGather<GatherOp>},
      {"GatherElements", 13, 2, 2, 1, "axis:i", importGather<GatherElementsOp>},
      {"GatherND", 13, 2, 2, 1, "batch_dims:i", importGatherND},
      {"Trilu", 14, 1, 2, 1, "upper:i", importTrilu},
      {"DepthToSpace", 11, 1, 1, 1, "blocksize:i mode:s", importDepthToSpace},
      {"SpaceToDepth", 1, 1, 1, 1, "blocksize:i", importSpaceToDepth},
  };
  return table;
}

} // namespace lathe::frontend
