//===- ContribTensors.cpp - Importers of com.microsoft's smaller operators -===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include "frontends/onnx/Quantization.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

//===----------------------------------------------------------------------===//
// Norms and gates
//===----------------------------------------------------------------------===//

Type wideType(Node &node, Type type) {
  return isa<FloatType>(type) && type.getIntOrFloatBitWidth() < 32 ? node.builder.getF32Type() : type;
}

Value silu(Compose &c, Value x) { return c.mul(x, c.unary<SigmoidOp>(x)); }

LogicalResult importScaledSiLU(Node &node) {
  Compose c(node);
  Value x = node.input(0), scale = node.input(1);
  if (!c.areFloats({x}))
    return failure();
  if (scale)
    x = c.mul(x, node.cast(scalarLike(node, scale), Node::element(x)));
  else
    x = c.mul(x, node.floatAttr("alpha", 1));
  return node.result(silu(c, x));
}

LogicalResult importGatedAdd(Node &node) {
  Compose c(node);
  if (!c.areFloats({node.input(0), node.input(1), node.input(2)}))
    return failure();
  return node.result(c.add(node.input(0), c.mul(node.input(1), node.input(2))));
}

/// The norm of each row of `columns` elements of x, scaled unless the scale is null.
Value normOfRows(Compose &c, Value x, Value columns, Value scale) {
  Node &node = c.node;
  if (!x)
    return {};
  SmallVector<Value> dims = node.dims(x), split = dims;
  Type type = Node::element(x);
  int64_t rank = Node::rank(x);
  // As many rows as fit into the last axis.
  FailureOr<SymShape> shape = node.context.shapeOf(x);
  if (failed(shape) || !columns)
    return {};
  SymExpr width = node.context.indexValue(columns);
  split.back() = node.index(node.context.floorDiv(shape->back(), width));
  split.push_back(columns);
  Value rows = node.reshape(x, split);
  double epsilon = node.floatAttr("epsilon", static_cast<double>(1e-5f));
  Value one = node.scalar(type, 1);
  bool isVector = scale && Node::rank(scale) == 1;
  Value normal = rows ? node.make<RmsNormOp>(type, rows, isVector ? scale : one, node.builder.getI64IntegerAttr(rank),
                                             node.builder.getF64FloatAttr(epsilon))
                      : Value();
  if (scale && !isVector)
    normal = c.mul(normal, scale);
  return node.reshape(normal, dims);
}

LogicalResult importGatedRMSNorm(Node &node) {
  Compose c(node);
  Value x = node.input(0), scale = node.input(1), gate = node.input(2);
  std::string activation = node.stringAttr("activation", "silu");
  if (!c.areFloats({x, gate}) || !c.areFloats({scale}) || !c.hasRank(scale, {1}, "a scale"))
    return failure();
  if (Node::rank(x) < 1)
    return node.invalid("expects an input of rank 1 or more");
  if (!llvm::is_contained({"silu", "swish", "sigmoid"}, activation))
    return node.invalid("expects activation to be silu, swish or sigmoid, got '" + activation + "'");
  Type type = Node::element(x), wide = wideType(node, type);
  Value normal = normOfRows(c, node.cast(x, wide), node.dim(scale, 0), node.cast(scale, wide));
  gate = node.cast(gate, wide);
  Value opened = activation == "sigmoid" ? c.unary<SigmoidOp>(gate) : silu(c, gate);
  return node.result(node.cast(c.mul(normal, opened), type));
}

LogicalResult importBranchwiseRMSNorm(Node &node) {
  Compose c(node);
  Value x = node.input(0), scale = node.input(1);
  int64_t branches = node.intAttr("num_branches", 0), rank = Node::rank(x);
  if (!c.areFloats({x}) || !c.areFloats({scale}))
    return failure();
  if (branches < 0 || rank < (branches ? 1 : 2) || (scale && (Node::rank(scale) < 1 || Node::rank(scale) > 2)))
    return node.invalid("expects an input of branches, num_branches of at least 0 and a scale of rank 1 or 2");
  FailureOr<SymShape> shape = node.context.shapeOf(x);
  if (failed(shape))
    return failure();
  SymExpr width = branches ? node.context.floorDiv(shape->back(), branches) : shape->back();
  SymExpr count = branches ? SymExpr(branches) : (*shape)[rank - 2];
  Type type = Node::element(x), wide = wideType(node, type);
  scale = node.cast(scale, wide);
  if (scale && (Node::rank(scale) == 2 || (node.dimExpr(scale, 0) - width).constant() != 0)) { // of all branches
    SmallVector<Value> dims{node.index(count), node.index(width)};
    if (!branches) // each row is one by itself
      dims.insert(dims.begin() + 1, node.index(1));
    scale = node.reshape(scale, dims);
  }
  return node.result(node.cast(normOfRows(c, node.cast(x, wide), node.index(width), scale), type));
}

/// Streams [..., branches, size], which may lie beside each other in the last axis.
Value groupedStreams(Compose &c, Value x) {
  Node &node = c.node;
  int64_t branches = node.intAttr("num_branches", 0), rank = Node::rank(x);
  if (branches < 0 || rank < (branches ? 1 : 2))
    return Compose::none(node.invalid("expects streams of branches and num_branches of at least 0, got rank " +
                                      Twine(rank) + " and " + Twine(branches)));
  if (!branches)
    return x;
  SmallVector<Value> dims = node.dims(x);
  dims.back() = node.index(node.context.floorDiv(node.dimExpr(x, rank - 1), branches));
  dims.insert(dims.end() - 1, node.index(branches));
  return node.reshape(x, dims);
}

/// Gates of streams, one for each branch or one for each element, so that they broadcast to these.
Value groupedGates(Compose &c, Value gates, Value streams) {
  Node &node = c.node;
  int64_t rank = Node::rank(streams), own = Node::rank(gates);
  if (own == rank)
    return gates;
  if (own != rank - 1)
    return Compose::none(
        node.invalid("expects gates of rank " + Twine(rank - 1) + " or " + Twine(rank) + ", got rank " + Twine(own)));
  if (node.dimExpr(gates, own - 1) == node.dimExpr(streams, rank - 2))
    return c.unsqueeze(gates, {own});
  SmallVector<Value> dims = node.dims(gates);
  dims.back() = node.dim(streams, rank - 2);
  dims.push_back(node.dim(streams, rank - 1));
  return node.reshape(gates, dims);
}

LogicalResult importHyperConnectionPreMix(Node &node) {
  Compose c(node);
  Value x = node.input(0), gates = node.input(1);
  if (!c.areFloats({x}) || !c.areFloats({gates}))
    return failure();
  Type type = Node::element(x), wide = wideType(node, type);
  Value streams = groupedStreams(c, node.cast(x, wide));
  if (!streams || !(gates = groupedGates(c, node.cast(gates, wide), streams)))
    return failure();
  Value sum = c.reduce(Reduction::sum, c.mul(streams, gates), {Node::rank(streams) - 2}, /*keepDims=*/false);
  return node.result(node.cast(c.mul(sum, node.floatAttr("reduction_scale", 1)), type));
}

LogicalResult importHyperConnectionPostMix(Node &node) {
  Compose c(node);
  Value x = node.input(0), block = node.input(1), gates = node.input(2), mix = node.input(3);
  if (!c.areFloats({x, block}) || !c.areFloats({gates, mix}))
    return failure();
  Type type = Node::element(x), wide = wideType(node, type);
  Value streams = groupedStreams(c, node.cast(x, wide));
  if (!streams || !(gates = groupedGates(c, node.cast(gates, wide), streams)))
    return failure();
  int64_t rank = Node::rank(streams);
  if (!c.hasRank(block, {rank - 1}, "a block's output") || (mix && !c.hasRank(mix, {rank}, "a stream matrix")))
    return failure();
  Value added = c.mul(gates, c.unsqueeze(node.cast(block, wide), {rank - 2}));
  Value mixed = mix ? c.matmul(node.cast(mix, wide), streams, /*transposeA=*/true) : streams;
  return node.result(node.cast(node.reshape(c.add(mixed, added), node.dims(x)), type));
}

LogicalResult importEngramGate(Node &node) {
  Compose c(node);
  Value key = node.input(0), query = node.input(1), value = node.input(2), scale = node.input(5);
  if (!c.areFloats({key, query, value, node.input(3), node.input(4), scale}) || !c.hasRank(key, {4}, "keys") ||
      !c.hasRank(query, {4}, "queries") || !c.hasRank(value, {3}, "a value"))
    return failure();
  Type type = Node::element(key), wide = wideType(node, type);
  double epsilon = node.floatAttr("epsilon", static_cast<double>(1e-5f));
  Value one = node.scalar(wide, 1);
  auto norm = [&](Value x, Value by) {
    Value normal =
        x ? node.make<RmsNormOp>(wide, x, one, node.builder.getI64IntegerAttr(3), node.builder.getF64FloatAttr(epsilon))
          : Value();
    return c.mul(normal, node.cast(by, wide));
  };
  Value product = c.mul(norm(node.cast(key, wide), node.input(3)), norm(node.cast(query, wide), node.input(4)));
  Value size = node.cast(c.fromIndex(node.dim(key, 3)), wide);
  Value dot = c.mul(c.reduce(Reduction::sum, product, {3}, /*keepDims=*/true), c.unary<RsqrtOp>(size));
  Value magnitude = c.unary<SqrtOp>(c.max(c.unary<AbsOp>(dot), node.scalar(wide, 1e-6)));
  Value gate = c.unary<SigmoidOp>(c.mul(c.unary<SignOp>(dot), magnitude));
  Value gated = c.mul(gate, c.unsqueeze(node.cast(value, wide), {2}));
  if (failed(node.result(node.cast(gated, type))))
    return failure();
  if (!node.wantsOutput(1))
    return success();
  if (!scale)
    return node.invalid("expects conv_norm_scale for the output gated_value_normed");
  return node.result(node.cast(norm(gated, scale), type), 1);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

LogicalResult importExpandDims(Node &node) {
  Compose c(node);
  Value x = node.input(0);
  std::optional<int64_t> given = node.constantInt(node.input(1), "axis");
  std::optional<int64_t> axis = given ? node.axis(*given, Node::rank(x) + 1) : std::nullopt;
  return axis ? node.result(c.unsqueeze(x, {*axis})) : failure();
}

LogicalResult importUnfoldTensor(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x), size = node.intAttr("size", 0), step = node.intAttr("step", 1);
  std::optional<int64_t> axis = node.axis(node.intAttr("dim", -1), rank);
  if (!axis)
    return failure();
  if (size < 1 || step < 1 || size > INT32_MAX || step > INT32_MAX)
    return node.invalid("expects size and step from 1 to 2^31 - 1, got " + Twine(size) + " and " + Twine(step));
  FailureOr<SymShape> shape = node.context.shapeOf(x);
  if (failed(shape))
    return failure();
  SymExpr room = (*shape)[*axis] - size;
  if (node.context.atMost(room, -1))
    return node.invalid("expects a size of at most the extent " + (*shape)[*axis].str() + ", got " + Twine(size));
  Value count = node.index(node.context.max(node.context.floorDiv(room + step, step), 0));
  SmallVector<int64_t> permutation = llvm::to_vector(llvm::seq<int64_t>(rank)), back;
  permutation.erase(permutation.begin() + *axis);
  permutation.push_back(*axis);
  for (int64_t i = 0; i < rank; ++i)
    back.push_back(i < *axis ? i : i == *axis ? rank - 1 : i - 1);
  back.push_back(rank);
  using Ints = SmallVector<int64_t>;
  using Values = SmallVector<Value>;
  Value moved = node.transpose(x, permutation);
  Value read = node.make<WindowsOp>(Node::element(x), moved, Values{node.index(size)}, Values{node.index(0)},
                                    Values{count}, Ints{step}, Ints{1}, Ints{1}, APFloat(0.0));
  return node.result(read ? node.transpose(read, back) : read);
}

LogicalResult importTorchEmbedding(Node &node) {
  Compose c(node);
  return node.result(c.gather(node.input(0), node.input(1), 0)); // the others matter to gradients
}

LogicalResult importIsAllFinite(Node &node) {
  Compose c(node);
  bool infinities = !node.intAttr("isnan_only", 0), nans = !node.intAttr("isinf_only", 0);
  if (!infinities && !nans)
    return node.invalid("expects one of isnan_only and isinf_only at most");
  Type boolean = node.builder.getI1Type(), i64 = node.builder.getI64Type();
  Value bad = node.scalar(i64, 0);
  for (Value x : node.inputs) {
    if (!x || !c.areFloats({x}))
      return x ? failure() : node.invalid("expects tensors of floats");
    Value isInf = infinities ? node.make<IsInfOp>(boolean, x) : Value();
    Value isNan = nans ? node.make<IsNanOp>(boolean, x) : Value();
    Value either = isInf && isNan ? node.make<OrOp>(boolean, isInf, isNan) : isInf ? isInf : isNan;
    bad =
        c.add(bad, c.reduce(Reduction::sum, node.cast(either, i64), llvm::to_vector(llvm::seq<int64_t>(Node::rank(x))),
                            /*keepDims=*/false));
  }
  return node.result(c.compare(Comparison::eq, bad, 0.0));
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

/// Where nothing is dropped: what is left of a dropout that others were fused with.
LogicalResult importBiasDropout(Node &node) {
  Compose c(node);
  Value x = node.input(0), bias = node.input(1), training = node.input(4);
  if (node.wantsOutput(1))
    return node.unsupported("the mask as an output is not supported");
  if (training) {
    std::optional<SymExpr> value = node.context.element(training, 0);
    if (!value || value->constant() != 0)
      return node.unsupported("training is not supported: training_mode must be the constant false");
  }
  if (!bias)
    return node.invalid("expects a bias");
  Value sum = c.add(x, bias);
  return node.result(node.input(2) ? c.add(sum, node.input(2)) : sum);
}

/// Complex numbers as pairs along the last axis.
template <bool conjugate> LogicalResult importComplexMul(Node &node) {
  Compose c(node);
  Value parts[2][2];
  for (int i : {0, 1}) {
    Value x = node.input(i);
    if (!c.areFloats({node.input(0), x}))
      return failure();
    if (Node::rank(x) < 1 || Node::type(x).getShape().back() != 2)
      return node.invalid("expects complex numbers, whose last dimension is 2");
    int64_t last = Node::rank(x) - 1;
    parts[i][0] = c.slice(x, last, 0, 1);
    parts[i][1] = c.slice(x, last, 1, 2);
  }
  auto [a, b] = parts[0];
  auto [p, q] = parts[1];
  if (conjugate)
    q = c.unary<NegOp>(q);
  Value real = c.sub(c.mul(a, p), c.mul(b, q)), imaginary = c.add(c.mul(a, q), c.mul(b, p));
  return node.result(real && imaginary ? c.concat({real, imaginary}, Node::rank(real) - 1) : Value());
}

LogicalResult importCDist(Node &node) {
  Compose c(node);
  Value a = node.input(0), b = node.input(1);
  std::string metric = node.stringAttr("metric", "sqeuclidean");
  if (!c.areFloats({a, b}) || !c.hasRank(a, {2}, "a matrix") || !c.hasRank(b, {2}, "a matrix") ||
      !c.sameExtent(a, 1, b, 1, "columns"))
    return failure();
  if (metric != "euclidean" && metric != "sqeuclidean")
    return node.unsupported("metric '" + metric + "' is not supported, only euclidean and sqeuclidean");
  Value difference = c.sub(c.unsqueeze(a, {1}), c.unsqueeze(b, {0}));
  return node.result(c.reduce(metric == "euclidean" ? Reduction::l2 : Reduction::sum_square, difference, {2}, false));
}

LogicalResult importMatMulInteger16(Node &node) {
  Type i32 = node.builder.getI32Type();
  for (Value x : {node.input(0), node.input(1)})
    if (!Node::element(x).isInteger(16))
      return node.invalid("expects integers of 16 bits");
  return node.result(matrixProduct(node, node.cast(node.input(0), i32), node.cast(node.input(1), i32)));
}

LogicalResult importMulInteger(Node &node) {
  Type i32 = node.builder.getI32Type();
  Value a = node.input(0), b = node.input(2);
  for (Value x : {a, b})
    if (!x || !isa<IntegerType>(Node::element(x)))
      return node.invalid("expects integers and their zero points");
  return node.result(
      node.make<MulOp>(i32, centered(node, a, node.input(1), i32), centered(node, b, node.input(3), i32)));
}

LogicalResult importReduceSumInteger(Node &node) {
  Value x = node.input(0);
  std::optional<SmallVector<int64_t>> given = node.intsAttr("axes");
  std::optional<SmallVector<int64_t>> axes = node.axes(given.value_or(SmallVector<int64_t>{}), Node::rank(x));
  if (!axes)
    return failure();
  if (!isa<IntegerType>(Node::element(x)) || !given)
    return node.invalid("expects integers and an attribute 'axes'");
  llvm::sort(*axes);
  Type wide = Node::element(x).isUnsignedInteger() ? node.builder.getIntegerType(32, false) : node.builder.getI32Type();
  return node.result(node.reduce(Reduction::sum, node.cast(x, wide), *axes, node.intAttr("keepdims", 1)));
}

//===----------------------------------------------------------------------===//
// Operators that ONNX has, too
//===----------------------------------------------------------------------===//

const Operator &onnxOperator(ArrayRef<Operator> table, StringRef name) {
  return *llvm::find_if(table, [&](const Operator &op) { return op.name == name; });
}

LogicalResult importRange(Node &node) {
  if (!node.input(2)) // the step may be left out
    node.inputs.resize(2), node.inputs.push_back(node.scalar(Node::element(node.input(0)), 1));
  return onnxOperator(shapeOperators(), "Range").import(node);
}

/// The lists of pads may have an axis more.
LogicalResult importPad(Node &node) {
  if (Value pads = node.input(1); Node::rank(pads) == 2 && Node::type(pads).getDimSize(0) == 1)
    node.inputs[1] = node.reshape(pads, {node.dim(pads, 1)});
  return node.inputs[1] ? onnxOperator(padOperators(), "Pad").import(node) : failure();
}

/// Minus infinity for tokens that would repeat a sequence of `ngram_size` tokens at the end.
LogicalResult importNGramRepeatBlock(Node &node) {
  Compose c(node);
  Value ids = node.input(0), scores = node.input(1);
  int64_t size = node.intAttr("ngram_size", 0);
  constexpr int64_t kLargest = 64; // a comparison each
  if (size < 1)
    return node.invalid("expects an ngram_size of at least 1, got " + Twine(size));
  if (size > kLargest)
    return node.unsupported("an ngram_size up to " + Twine(kLargest) + " is supported, got " + Twine(size));
  if (!isa<IntegerType>(Node::element(ids)))
    return node.invalid("expects input_ids of integers");
  if (!c.areFloats({scores}) || !c.hasRank(ids, {2}, "input_ids") || !c.hasRank(scores, {2}, "scores"))
    return failure();
  Type i64 = node.builder.getI64Type(), type = Node::element(scores);
  ids = node.cast(ids, i64);
  // Whether the tokens before each place are those at the end; there may be no place.
  SymExpr length = node.dimExpr(ids, 1), places = node.context.max(length - (size - 1), 0);
  Value count = node.index(places), vocabulary = node.dim(scores, 1);
  auto part = [&](const SymExpr &start, const SymExpr &extent) {
    return node.slice(ids, 1, node.index(node.context.max(start, 0)),
                      node.index(node.context.min(node.context.max(start, 0) + extent, length)));
  };
  Value token = part(size - 1, places), last = c.fromIndex(vocabulary);
  for (int64_t i = 0; i + 1 < size; ++i) {
    // The end is one token, or none where the sequence is shorter than it.
    Value end = c.reduce(Reduction::sum, part(length - (size - 1 - i), 1), {1}, /*keepDims=*/true);
    token = c.select(c.compare(Comparison::eq, part(i, places), end), token, last);
  }
  // What does not repeat goes to one more place, behind the others.
  SmallVector<Value> dims{node.dim(scores, 0), c.addIndex(vocabulary, node.index(1))};
  Value room = node.broadcast(c.integer(0), dims), ones = node.broadcast(c.integer(1), {node.dim(scores, 0), count});
  if (!token || !room || !ones)
    return failure();
  Value flags = node.make<ScatterElementsOp>(i64, ScatterKind::assign, room, token, ones, int64_t(1));
  Value isBlocked = flags ? c.compare(Comparison::ne, node.slice(flags, 1, node.index(0), vocabulary), 0) : Value();
  return node.result(c.select(isBlocked, c.lowest(type), scores));
}

LogicalResult importTrilu(Node &node) { return onnxOperator(movementOperators(), "Trilu").import(node); }
LogicalResult importGatherND(Node &node) { return onnxOperator(movementOperators(), "GatherND").import(node); }
LogicalResult importGridSample(Node &node) { return onnxOperator(samplingOperators(), "GridSample").import(node); }

} // namespace

ArrayRef<Operator> contribTensorOperators() {
  static constexpr Operator table[] = {
      {"ScaledSiLU", 1, 1, 2, 1, "alpha:f", importScaledSiLU},
      {"GatedAdd", 1, 3, 3, 1, "", importGatedAdd},
      {"GatedRMSNorm", 1, 3, 3, 1, "activation:s epsilon:f", importGatedRMSNorm},
      {"BranchwiseRMSNorm", 1, 1, 2, 1, "epsilon:f num_branches:i", importBranchwiseRMSNorm},
      {"HyperConnectionPreMix", 1, 2, 2, 1, "num_branches:i reduction_scale:f", importHyperConnectionPreMix},
      {"HyperConnectionPostMix", 1, 3, 4, 1, "num_branches:i", importHyperConnectionPostMix},
      {"EngramGate", 1, 5, 6, 2, "epsilon:f", importEngramGate},
      {"ExpandDims", 1, 2, 2, 1, "", importExpandDims},
      {"UnfoldTensor", 1, 1, 1, 1, "dim:i size:i step:i", importUnfoldTensor},
      {"TorchEmbedding", 1, 2, 4, 1, "", importTorchEmbedding},
      {"IsAllFinite", 1, 1, -1, 1, "isinf_only:i isnan_only:i", importIsAllFinite},
      {"BiasDropout", 1, 2, 5, 2, "seed:i", importBiasDropout},
      {"ComplexMul", 1, 2, 2, 1, "", importComplexMul</*conjugate=*/false>},
      {"ComplexMulConj", 1, 2, 2, 1, "", importComplexMul</*conjugate=*/true>},
      {"CDist", 1, 2, 2, 1, "metric:s", importCDist},
      {"MatMulInteger16", 1, 2, 2, 1, "", importMatMulInteger16},
      {"MulInteger", 1, 1, 4, 1, "", importMulInteger},
      {"ReduceSumInteger", 1, 1, 1, 1, "axes:I keepdims:i", importReduceSumInteger},
      {"Range", 1, 2, 3, 1, "", importRange},
      {"Pad", 1, 2, 3, 1, "mode:s", importPad},
      {"NGramRepeatBlock", 1, 2, 2, 1, "ngram_size:i", importNGramRepeatBlock},
      {"Trilu", 1, 1, 2, 1, "upper:i", importTrilu},
      {"GatherND", 1, 2, 2, 1, "", importGatherND},
      {"GridSample", 1, 2, 2, 1, "align_corners:i mode:s padding_mode:s", importGridSample},
  };
  return table;
}

} // namespace lathe::frontend
