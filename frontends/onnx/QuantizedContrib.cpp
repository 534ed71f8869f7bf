//===- QuantizedContrib.cpp - Quantized operators of com.microsoft --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// What ONNX Runtime's quantizers write. Products of bytes are exact in i32; all else is computed in floats between
// dequantizing and quantizing.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Quantization.h"
#include "frontends/onnx/Tensors.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {

//===----------------------------------------------------------------------===//
// Matrix products by blocks of few bits
//===----------------------------------------------------------------------===//

namespace {
/// A matrix of `rows` rows of `columns` values in blocks along the rows, as MatMulNBits has it.
struct BlockedWeight {
  int64_t rows, columns, bits, block, blocks;
  Value values, scale, zero, groups; ///< zero and groups may be null
};
} // namespace

/// A parameter of one value a block, which may be flat.
static Value perBlock(Node &node, Value value, const BlockedWeight &w, StringRef what) {
  RankedTensorType type = Node::type(value);
  if (!type.hasStaticShape() || type.getNumElements() != w.rows * w.blocks) {
    (void)node.invalid("expects " + Twine(w.rows * w.blocks) + " " + what + ", one a block");
    return {};
  }
  return node.reshape(value, {node.index(w.rows), node.index(w.blocks)});
}

/// The values of few bits that lie in the bytes of a row, the surplus of the last byte cut off.
static Value unpackRows(Node &node, Value bytes, const BlockedWeight &w, int64_t count) {
  int64_t perRow = Node::type(bytes).getNumElements() / std::max<int64_t>(w.rows, 1);
  Value flat = node.reshape(bytes, {node.index(w.rows), node.index(perRow)});
  if (!flat || w.bits == 8)
    return flat;
  IntegerType element = node.builder.getIntegerType(static_cast<unsigned>(w.bits), /*isSigned=*/false);
  Value values = unpackBits(node.builder, node.loc, node.context, flat, element);
  if (values && Node::type(values).getDimSize(1) != count)
    values = node.slice(values, 1, node.index(0), node.index(count));
  return values;
}

/// The dense matrix.
static Value dequantizeBlocks(Node &node, const BlockedWeight &w, Type type) {
  Builder &b = node.builder;
  Value q = unpackRows(node, w.values, w, w.columns), scale = perBlock(node, w.scale, w, "scales");
  if (q && w.bits == 8 && Node::type(q).getDimSize(1) != w.columns)
    q = node.slice(q, 1, node.index(0), node.index(w.columns));
  if (!q || !scale)
    return {};
  Type element = Node::element(q);
  Value zero;
  bool floatZero = w.zero && isa<FloatType>(Node::element(w.zero));
  if (floatZero) {
    zero = perBlock(node, w.zero, w, "zero points");
  } else if (w.zero) {
    int64_t bytes = llvm::divideCeil(w.blocks * w.bits, 8);
    RankedTensorType zeroType = Node::type(w.zero);
    if (!zeroType.getElementType().isUnsignedInteger(8) || !zeroType.hasStaticShape() ||
        zeroType.getNumElements() != w.rows * bytes) {
      (void)node.invalid("expects " + Twine(w.rows * bytes) + " bytes of zero points");
      return {};
    }
    zero = unpackRows(node, w.zero, w, w.blocks);
  } else {
    zero = node.broadcast(node.scalar(element, static_cast<double>(int64_t(1) << (w.bits - 1))),
                          {node.index(w.rows), node.index(w.blocks)});
  }
  int64_t block = w.block;
  if (w.groups) { // which block's scale a column has; each is a block of its own then
    auto pick = [&](Value x) { return x ? node.make<GatherOp>(Node::element(x), x, w.groups, 1) : Value(); };
    scale = pick(scale);
    zero = pick(zero);
    block = 1;
  }
  if (!zero)
    return {};
  IntegerAttr axis = b.getI64IntegerAttr(1), size = b.getI64IntegerAttr(block);
  if (!floatZero)
    return node.make<DequantizeOp>(type, q, scale, OptionalOperand{zero}, axis, size);
  // The zero point lies between the values: scaled like them, it is subtracted.
  Type f32 = b.getF32Type();
  Value one = node.broadcast(node.scalar(element, 1), {node.index(w.rows), node.index(w.columns)});
  Value zeros = node.make<MulOp>(f32, node.cast(zero, f32), node.cast(scale, f32));
  Value dense = node.make<DequantizeOp>(f32, q, scale, OptionalOperand{}, axis, size);
  zeros = zeros ? node.make<DequantizeOp>(f32, one, zeros, OptionalOperand{}, axis, size) : Value();
  return node.cast(node.make<SubOp>(f32, dense, zeros), type);
}

static LogicalResult importMatMulNBits(Node &node) {
  Value a = node.input(0), bytes = node.input(1);
  BlockedWeight w{node.intAttr("N", 0), node.intAttr("K", 0), node.intAttr("bits", 4), node.intAttr("block_size", 0), 0,
                  bytes, node.input(2), node.input(3), node.input(4)};
  if (w.bits != 2 && w.bits != 4 && w.bits != 8)
    return node.unsupported("values of " + Twine(w.bits) + " bits are not supported, only of 2, 4 and 8");
  if (w.rows < 1 || w.columns < 1 || w.block < 1 || w.rows > INT32_MAX || w.columns > INT32_MAX || w.block > INT32_MAX)
    return node.invalid("expects N, K and block_size between 1 and 2^31");
  if (!isa<FloatType>(Node::element(a)))
    return node.invalid("expects floats on the left");
  w.blocks = llvm::divideCeil(w.columns, w.block);
  RankedTensorType type = Node::type(bytes);
  int64_t expected = w.rows * w.blocks * llvm::divideCeil(w.block * w.bits, 8);
  if (!type.getElementType().isUnsignedInteger(8) || !type.hasStaticShape() || type.getNumElements() != expected)
    return node.invalid("expects " + Twine(expected) + " bytes on the right, of type u8");
  if (w.block * w.bits % 8)
    return node.unsupported("blocks that don't end with a byte are not supported");
  if (w.groups && Node::type(w.groups).getShape() != ArrayRef<int64_t>{w.columns})
    return node.invalid("expects g_idx to have one element for each of " + Twine(w.columns) + " columns");
  Value dense = dequantizeBlocks(node, w, Node::element(a));
  if (!dense)
    return failure();
  Value product = Node::rank(a) >= 2 ? node.make<MatmulOp>(Node::element(a), a, dense, false, true) : Value();
  if (Node::rank(a) < 2)
    return node.unsupported("expects a matrix on the left, got rank " + Twine(Node::rank(a)));
  if (Value bias = node.input(5))
    product = node.make<AddOp>(Node::element(a), product, bias);
  return node.result(product);
}

/// Values of four bits that stand for those of a table, each times the largest magnitude of its block. Sources: Dettmers et
/// al., QLoRA: Efficient Finetuning of Quantized LLMs (2023); its library has the table of four-bit floats.
static LogicalResult importMatMulBnb4(Node &node) {
  static constexpr float floats[] = {0, 0.005208333f, 0.6666667f, 1, 0.33333334f, 0.5f, 0.16666667f, 0.25f,
                                     -0.f, -0.005208333f, -0.6666667f, -1, -0.33333334f, -0.5f, -0.16666667f, -0.25f};
  static constexpr float normal[] = {-1,          -0.69619280f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f,
                                     -0.09105004f, 0,           0.07958030f,  0.16093020f,  0.24611230f,  0.33791524f,
                                     0.44070983f,  0.56261700f, 0.72295684f,  1};
  Value a = node.input(0), bytes = node.input(1), largest = node.input(2);
  int64_t n = node.intAttr("N", 0), k = node.intAttr("K", 0), block = node.intAttr("block_size", 0);
  int64_t kind = node.intAttr("quant_type", -1);
  if (n < 1 || k < 1 || block < 1 || n > INT32_MAX || k > INT32_MAX || block > INT32_MAX)
    return node.invalid("expects N, K and block_size between 1 and 2^31");
  if (kind != 0 && kind != 1)
    return node.invalid("expects quant_type to be 0 or 1, got " + Twine(kind));
  int64_t count = n * k, blocks = llvm::divideCeil(count, block);
  auto isFlat = [](Value x, int64_t size) {
    return Node::type(x).hasStaticShape() && Node::type(x).getNumElements() == size;
  };
  if (!isa<FloatType>(Node::element(a)) || Node::rank(a) < 1)
    return node.invalid("expects floats of rank 1 or more on the left");
  if (!Node::element(bytes).isUnsignedInteger(8) || !isFlat(bytes, (count + 1) / 2))
    return node.invalid("expects " + Twine((count + 1) / 2) + " bytes on the right, of type u8");
  if (!isa<FloatType>(Node::element(largest)) || !isFlat(largest, blocks))
    return node.invalid("expects " + Twine(blocks) + " floats as absmax");
  Type u8 = node.builder.getIntegerType(8, false), f32 = node.builder.getF32Type();
  auto table = RankedTensorType::get({16}, f32);
  Value codebook = node.constant(DenseElementsAttr::get(table, kind == 0 ? ArrayRef<float>(floats) : ArrayRef<float>(normal)));
  Value pairs = node.reshape(bytes, {node.index((count + 1) / 2), node.index(1)});
  Value high = node.make<ShiftRightOp>(u8, pairs, node.scalar(u8, 4)), low = node.make<AndOp>(u8, pairs, node.scalar(u8, 15));
  Value codes = high && low ? node.make<ConcatOp>(u8, SmallVector<Value>{high, low}, int64_t(1)) : Value();
  codes = node.reshape(codes, {node.index((count + 1) / 2 * 2)});
  if (codes && count % 2)
    codes = node.slice(codes, 0, node.index(0), node.index(count));
  Value values = codes && codebook ? node.make<GatherOp>(f32, codebook, codes, int64_t(0)) : Value();
  Value scale = node.cast(node.reshape(largest, {node.index(blocks)}), f32);
  if (values && count % block) { // the last block is shorter
    values = node.make<PadOp>(f32, values, node.scalar(f32, 0), SmallVector<Value>{node.index(0)},
                              SmallVector<Value>{node.index(blocks * block)});
  }
  Value byBlock = node.reshape(values, {node.index(blocks), node.index(block)});
  values = node.make<MulOp>(f32, byBlock, node.reshape(scale, {node.index(blocks), node.index(1)}));
  values = node.reshape(values, {node.index(blocks * block)});
  if (values && count % block)
    values = node.slice(values, 0, node.index(0), node.index(count));
  Value dense = node.cast(node.reshape(values, {node.index(n), node.index(k)}), Node::element(a));
  if (node.intAttr("transB", 1))
    dense = dense ? node.transpose(dense, {1, 0}) : dense;
  return node.result(matrixProduct(node, a, dense));
}

/// How values of GatherBlockQuantized are stored.
struct BlockQuantized {
  int64_t rank = 0, bits = 4, block = 128, gathered = 0, quantized = 1; ///< the last two are axes
  bool isPacked = false; ///< several values to a byte, along the last axis
};

static std::optional<BlockQuantized> blockQuantizedOf(Node &node) {
  Value data = node.input(0), scale = node.input(2), zero = node.input(3);
  BlockQuantized own{Node::rank(data), node.intAttr("bits", 4), node.intAttr("block_size", 128)};
  std::optional<int64_t> gathered = node.axis(node.intAttr("gather_axis", 0), own.rank);
  std::optional<int64_t> quantized = node.axis(node.intAttr("quantize_axis", 1), own.rank);
  if (!gathered || !quantized)
    return std::nullopt;
  own.gathered = *gathered;
  own.quantized = *quantized;
  own.isPacked = Node::element(data).isUnsignedInteger(8) && own.bits < 8;
  bool isDynamic = false;
  for (Value x : {data, scale, zero})
    isDynamic |= x && Node::type(x).getNumDynamicDims();
  if (own.gathered == own.quantized)
    (void)node.unsupported("gathering along the quantized axis is not supported");
  else if (own.isPacked && ((own.bits != 4 && own.bits != 2) || own.quantized != own.rank - 1))
    (void)node.unsupported("expects 2 or 4 bits packed along the last axis");
  else if (isa<FloatType>(Node::element(data)) && zero)
    (void)node.invalid("expects no zero points of floats");
  else if (!isa<IntegerType>(Node::element(node.input(1))))
    (void)node.invalid("expects indices of integers");
  else if (own.isPacked && isDynamic)
    (void)node.unsupported("packed values of a dynamic shape are not supported", hints::kStatic);
  else if (Node::rank(scale) != own.rank)
    (void)node.invalid("expects scales of the rank of the data " + Twine(own.rank) + ", got rank " +
                       Twine(Node::rank(scale)));
  else
    return own;
  return std::nullopt;
}

/// Codes of as many values along the last axis, one by one.
static Value unpacked(Node &node, const BlockQuantized &own, Value x, int64_t extent) {
  if (!own.isPacked)
    return x;
  auto type = node.builder.getIntegerType(static_cast<unsigned>(own.bits), false);
  x = unpackBits(node.builder, node.loc, node.context, x, type);
  if (x && Node::type(x).getDimSize(own.rank - 1) != extent)
    x = node.slice(x, own.rank - 1, node.index(0), node.index(extent));
  return x;
}

static LogicalResult importGatherBlockQuantized(Node &node) {
  Value data = node.input(0), indices = node.input(1), scale = node.input(2), zero = node.input(3);
  std::optional<BlockQuantized> own = blockQuantizedOf(node);
  if (!own)
    return failure();
  // An index out of range gives zeros.
  Type type = Node::element(scale), boolean = node.builder.getI1Type(), index = Node::element(indices);
  Value high = node.cast(node.indexScalar(node.dimExpr(data, own->gathered)), index), none = node.scalar(index, 0);
  Value low = node.make<SubOp>(index, none, high);
  Value inRange = node.make<AndOp>(boolean, node.make<CompareOp>(boolean, Comparison::ge, indices, low),
                                   node.make<CompareOp>(boolean, Comparison::lt, indices, high));
  Value chosen = node.make<SelectOp>(index, inRange, indices, none);
  auto pick = [&](Value x) { return node.make<GatherOp>(Node::element(x), x, chosen, own->gathered); };

  int64_t stored = Node::type(data).getDimSize(own->quantized);
  Value values = unpacked(node, *own, data, own->isPacked ? stored * (8 / own->bits) : stored);
  Value zeros = zero ? unpacked(node, *own, zero, Node::type(scale).getDimSize(own->quantized)) : zero;
  if (!values || (zero && !zeros))
    return failure();
  if (Type element = Node::element(values); !zeros && element.isUnsignedInteger()) { // the middle of the range
    double middle = std::ldexp(1.0, static_cast<int>(element.getIntOrFloatBitWidth()) - 1);
    zeros = node.broadcast(node.scalar(element, middle), node.dims(scale));
  }
  int64_t block = own->block;
  if (isa<FloatType>(Node::element(data))) { // one scale for all along other axes, or along all of the quantized one
    SmallVector<Value> dims = node.dims(values);
    dims[own->quantized] = node.dim(scale, own->quantized);
    scale = node.broadcast(scale, dims);
    int64_t whole = Node::type(values).getDimSize(own->quantized);
    if (block == 0 && ShapedType::isDynamic(whole))
      return node.unsupported("block_size 0 along a dimension that is not static is not supported");
    block = block == 0 ? std::max<int64_t>(whole, 1) : block;
  }
  OptionalOperand zeroOperand{zeros ? pick(zeros) : Value()};
  if (!scale || (zeros && !zeroOperand.value))
    return failure();
  int64_t axis = own->quantized > own->gathered ? own->quantized + Node::rank(indices) - 1 : own->quantized;
  Value dense = node.make<DequantizeOp>(type, pick(values), pick(scale), zeroOperand,
                                        node.builder.getI64IntegerAttr(axis), node.builder.getI64IntegerAttr(block));
  SmallVector<Value> dims = node.dims(indices);
  dims.append(own->rank - 1 - own->gathered, node.index(1));
  return node.result(node.make<SelectOp>(type, node.reshape(inRange, dims), dense, node.scalar(type, 0)));
}

//===----------------------------------------------------------------------===//
// Matrix products of bytes
//===----------------------------------------------------------------------===//

/// A product in i32 as floats.
static LogicalResult scaledProduct(Node &node, Value product, Value scale, Value bias) {
  Type f32 = node.builder.getF32Type();
  Value result = node.make<MulOp>(f32, node.cast(product, f32), scale);
  if (bias)
    result = node.make<AddOp>(f32, result, bias);
  return node.result(result);
}

static LogicalResult importMatMulIntegerToFloat(Node &node) {
  Type f32 = node.builder.getF32Type();
  Value a = node.input(0), b = node.input(1);
  Value scale = node.make<MulOp>(f32, alongRows(node, node.input(2), a), scalarLike(node, node.input(3)));
  return scaledProduct(node, integerProduct(node, a, node.input(4), b, node.input(5)), scale, node.input(6));
}

static LogicalResult importDynamicQuantizeMatMul(Node &node) {
  Type f32 = node.builder.getF32Type();
  if (Node::element(node.input(0)) != f32)
    return node.invalid("expects f32 on the left");
  DynamicQuantization a = quantizeDynamically(node, node.input(0));
  if (!a.value)
    return failure();
  Value scale = node.make<MulOp>(f32, a.scale, scalarLike(node, node.input(2)));
  return scaledProduct(node, integerProduct(node, a.value, a.zeroPoint, node.input(1), node.input(3)), scale, node.input(4));
}

static LogicalResult importQGemm(Node &node) {
  Type f32 = node.builder.getF32Type(), i32 = node.builder.getI32Type();
  Value a = node.input(0), b = node.input(3);
  for (Value x : {a, b})
    if (Node::rank(x) != 2 || !Node::element(x).isInteger(8))
      return node.invalid("expects matrices of 8-bit integers");
  bool transA = node.intAttr("transA", 0), transB = node.intAttr("transB", 0);
  // Zero points and scales of the right are one for each column of the product.
  auto column = [&](Value value) {
    value = scalarLike(node, value);
    return value && transB && Node::rank(value) == 1 ? node.reshape(value, {node.dim(value, 0), node.index(1)}) : value;
  };
  Value aZero = scalarLike(node, node.input(2)), bZero = column(node.input(5));
  if (!aZero || !bZero)
    return failure();
  Value product = node.make<MatmulOp>(i32, centered(node, a, aZero, i32), centered(node, b, bZero, i32), transA, transB);
  if (Value c = node.input(6))
    product = node.make<AddOp>(i32, product, c);
  Value scale = node.make<MulOp>(f32, scalarLike(node, node.input(1)), scalarLike(node, node.input(4)));
  if (double alpha = node.floatAttr("alpha", 1); alpha != 1)
    scale = node.make<MulOp>(f32, scale, node.scalar(f32, alpha));
  if (!node.input(7))
    return scaledProduct(node, product, scale, {});
  if (!node.input(8))
    return node.invalid("expects a zero point of the result beside its scale");
  Value ratio = node.make<DivOp>(f32, scale, scalarLike(node, node.input(7)));
  Value scaled = node.make<MulOp>(f32, node.cast(product, f32), ratio);
  return node.result(requantize(node, scaled, node.scalar(f32, 1), node.input(8)));
}

//===----------------------------------------------------------------------===//
// Elementwise and the like
//===----------------------------------------------------------------------===//

Value dequantizedInput(Node &node, size_t first) {
  for (size_t i : {first, first + 1})
    if (!node.input(i)) {
      (void)node.invalid("expects input " + Twine(i) + ", got none");
      return {};
    }
  Value scale = scalarLike(node, node.input(first + 1)), zero = node.input(first + 2);
  Value zeroScalar = zero ? scalarLike(node, zero) : Value();
  if (!scale || (zero && !zeroScalar))
    return {};
  return node.make<DequantizeOp>(node.builder.getF32Type(), node.input(first), scale, OptionalOperand{zeroScalar},
                                 IntegerAttr(), IntegerAttr());
}

/// Inputs `first` and `first + 1` are the scale and zero point of the result; without the latter it is 0.
static LogicalResult quantizedResult(Node &node, Value value, size_t first) {
  Value zero = node.input(first + 1);
  if (!node.input(first))
    return node.invalid("expects input " + Twine(first) + ", got none");
  if (!zero)
    zero = node.scalar(Node::element(node.input(0)), 0);
  return node.result(requantize(node, value, node.input(first), zero));
}

template <typename OpTy> static LogicalResult importQLinearBinary(Node &node) {
  Type f32 = node.builder.getF32Type();
  return quantizedResult(node, node.make<OpTy>(f32, dequantizedInput(node, 0), dequantizedInput(node, 3)), 6);
}

static LogicalResult importQLinearSigmoid(Node &node) {
  return quantizedResult(node, node.make<SigmoidOp>(node.builder.getF32Type(), dequantizedInput(node, 0)), 3);
}

static LogicalResult importQLinearLeakyRelu(Node &node) {
  Type f32 = node.builder.getF32Type();
  Value x = dequantizedInput(node, 0), alpha = node.scalar(f32, node.floatAttr("alpha", static_cast<double>(0.01f)));
  Value negative = node.make<CompareOp>(node.builder.getI1Type(), Comparison::lt, x, node.scalar(f32, 0));
  return quantizedResult(node, node.make<SelectOp>(f32, negative, node.make<MulOp>(f32, x, alpha), x), 3);
}

static LogicalResult importQLinearSoftmax(Node &node) {
  Value x = dequantizedInput(node, 0);
  if (!x)
    return failure();
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", -1), Node::rank(x));
  if (!axis)
    return failure();
  if (node.intAttr("opset", node.opset) < 13 && *axis != Node::rank(x) - 1)
    return node.unsupported("the softmax of operator sets below 13 is supported along the last axis only", hints::kNewOpset);
  return quantizedResult(node, node.make<SoftmaxOp>(Node::element(x), x, *axis), 3);
}

static LogicalResult importQLinearGlobalAveragePool(Node &node) {
  Value x = dequantizedInput(node, 0);
  if (!x)
    return failure();
  int64_t rank = Node::rank(x);
  if (rank < 3)
    return node.invalid("expects a rank of 3 or more, got rank " + Twine(rank));
  bool channelsLast = node.intAttr("channels_last", 0);
  auto axes = llvm::to_vector(llvm::seq<int64_t>(channelsLast ? 1 : 2, channelsLast ? rank - 1 : rank));
  return quantizedResult(node, node.make<ReduceOp>(Node::element(x), Reduction::mean, x, axes, true), 3);
}

static LogicalResult importQLinearReduceMean(Node &node) {
  Value x = dequantizedInput(node, 0);
  if (!x)
    return failure();
  int64_t rank = Node::rank(x);
  std::optional<SmallVector<int64_t>> axes =
      node.axes(node.intsAttr("axes").value_or(llvm::to_vector(llvm::seq<int64_t>(rank))), rank);
  if (!axes)
    return failure();
  llvm::sort(*axes);
  return quantizedResult(node, node.reduce(Reduction::mean, x, *axes, node.intAttr("keepdims", 1)), 3);
}

static LogicalResult importQLinearWhere(Node &node) {
  Value condition = node.input(0), yes = dequantizedInput(node, 1), no = dequantizedInput(node, 4);
  if (!Node::element(condition).isInteger(1))
    return node.invalid("expects a condition of booleans");
  Value chosen = node.make<SelectOp>(node.builder.getF32Type(), condition, yes, no);
  return node.result(requantize(node, chosen, node.input(7), node.input(8)));
}

static LogicalResult importQLinearConcat(Node &node) {
  if (node.numInputs() < 5 || (node.numInputs() - 2) % 3)
    return node.invalid("expects a scale, a zero point and three inputs for each part, got " + Twine(node.numInputs()));
  SmallVector<Value> parts;
  for (size_t i = 2; i < node.numInputs(); i += 3)
    parts.push_back(dequantizedInput(node, i));
  if (!parts.front())
    return failure();
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 0), Node::rank(parts.front()));
  if (!axis)
    return failure();
  Value whole = node.make<ConcatOp>(node.builder.getF32Type(), parts, *axis);
  return node.result(requantize(node, whole, node.input(0), node.input(1)));
}

//===----------------------------------------------------------------------===//
// Embedding
//===----------------------------------------------------------------------===//

static LogicalResult importQEmbedLayerNormalization(Node &node) {
  for (size_t i : {0, 2, 3, 5, 6, 8, 9, 11, 12, 13, 14, 16, 17})
    if (!node.input(i))
      return node.invalid("expects input " + Twine(i) + ", got none");
  if (node.wantsOutput(1))
    return node.unsupported("the output mask_index is not supported");
  Type f32 = node.builder.getF32Type();
  Value ids = node.input(0), segments = node.input(1);
  // Scales and zero points of the word, position and segment tables, of gamma and of beta.
  auto table = [&](size_t value, size_t number) -> Value {
    Value scale = scalarLike(node, node.input(8 + number)), zero = scalarLike(node, node.input(13 + number));
    if (!scale || !zero)
      return {};
    return node.make<DequantizeOp>(f32, node.input(value), scale, OptionalOperand{zero}, IntegerAttr(), IntegerAttr());
  };
  if (Node::rank(ids) != 2)
    return node.invalid("expects input_ids of rank 2, got rank " + Twine(Node::rank(ids)));
  auto pick = [&](Value values, Value indices) { return node.make<GatherOp>(f32, values, indices, 0); };
  Value positions = node.make<RangeOp>(node.builder.getI64Type(), node.index(0), node.dim(ids, 1), node.index(1));
  Value sum = node.make<AddOp>(f32, pick(table(2, 0), ids), pick(table(3, 1), positions));
  if (segments) {
    if (!node.input(4) || !node.input(10) || !node.input(15))
      return node.invalid("expects a table of segments with scale and zero point beside their ids");
    sum = node.make<AddOp>(f32, sum, pick(table(4, 2), segments));
  }
  return node.result(node.make<LayerNormOp>(f32, sum, table(5, 3), OptionalOperand{table(6, 4)},
                                            node.builder.getI64IntegerAttr(2),
                                            node.builder.getF64FloatAttr(node.floatAttr("epsilon", static_cast<double>(1e-12f)))));
}

ArrayRef<Operator> quantizedContribOperators() {
  static constexpr Operator table[] = {
      {"QuantizeLinear", 1, 2, 3, 1, "axis:i saturate:i block_size:i", importQuantizeLinear},
      {"DequantizeLinear", 1, 2, 3, 1, "axis:i block_size:i", importDequantizeLinear},
      {"MatMulNBits", 1, 3, 6, 1, "K:i N:i accuracy_level:i bits:i block_size:i weight_prepacked:i", importMatMulNBits},
      {"GatherBlockQuantized", 1, 3, 4, 1, "bits:i block_size:i gather_axis:i quantize_axis:i", importGatherBlockQuantized},
      {"MatMulBnb4", 1, 3, 3, 1, "K:i N:i block_size:i quant_type:i transB:i training_mode:i", importMatMulBnb4},
      {"MatMulIntegerToFloat", 1, 4, 7, 1, "", importMatMulIntegerToFloat},
      {"DynamicQuantizeMatMul", 1, 3, 5, 1, "", importDynamicQuantizeMatMul},
      {"QGemm", 1, 6, 9, 1, "alpha:f transA:i transB:i", importQGemm},
      {"QLinearAdd", 1, 2, 8, 1, "", importQLinearBinary<AddOp>},
      {"QLinearMul", 1, 2, 8, 1, "", importQLinearBinary<MulOp>},
      {"QLinearSigmoid", 1, 2, 5, 1, "", importQLinearSigmoid},
      {"QLinearLeakyRelu", 1, 2, 5, 1, "alpha:f", importQLinearLeakyRelu},
      {"QLinearSoftmax", 1, 2, 5, 1, "axis:i opset:i", importQLinearSoftmax},
      {"QLinearGlobalAveragePool", 1, 5, 5, 1, "channels_last:i", importQLinearGlobalAveragePool},
      {"QLinearReduceMean", 1, 2, 5, 1, "axes:I keepdims:i", importQLinearReduceMean},
      {"QLinearWhere", 1, 9, 9, 1, "", importQLinearWhere},
      {"QLinearConcat", 1, 5, -1, 1, "axis:i", importQLinearConcat},
      {"QEmbedLayerNormalization", 1, 1, 18, 2, "epsilon:f", importQEmbedLayerNormalization},
  };
  return table;
}

} // namespace lathe::frontend
