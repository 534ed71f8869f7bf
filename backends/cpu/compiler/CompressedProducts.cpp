//===- CompressedProducts.cpp - Weights that stay compressed --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/ByteChains.h"
#include "backends/cpu/compiler/CompressedWeight.h"
#include "backends/cpu/compiler/Passes.h"
#include "dialects/kernel/Kernel.h"
#include "dialects/lathe/NodeAction.h"
#include "runtime/Abi.h"
#include "runtime/QuantizedLayout.h"
#include <cmath>

namespace lathe::cpu {
#define GEN_PASS_DEF_CPUCOMPRESSEDPRODUCTSPASS
#include "backends/cpu/compiler/Passes.h.inc"
} // namespace lathe::cpu

using namespace mlir;

namespace lathe::cpu {
namespace {

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// What the codes of a matrix are, as far as types and operations tell.
struct Codes {
  Value stored;
  int64_t bits = 0;
  runtime::CodeValues values = runtime::CodeValues::integer;
  Value table;
  int64_t dimension = 1;
};

std::optional<Codes> codesOf(Value value) {
  Codes codes;
  if (auto lookup = value.getDefiningOp<CodebookLookupOp>()) {
    codes.table = lookup.getCodebook();
    codes.values = lookup.getAxis() ? runtime::CodeValues::codebook : runtime::CodeValues::table;
    codes.dimension = lookup.getAxis() ? tensorType(codes.table).getDimSize(1) : 1;
    value = lookup.getCodes();
    auto type = dyn_cast<IntegerType>(tensorType(value).getElementType());
    if (!type || !type.isUnsigned() || tensorType(codes.table).getDimSize(0) > int64_t(1) << type.getWidth() ||
        !tensorType(codes.table).getElementType().isF32())
      return std::nullopt;
  }
  Type element = tensorType(value).getElementType();
  codes.stored = value;
  codes.bits = element.getIntOrFloatBitWidth();
  if (!codes.table && isa<FloatType>(element)) {
    if (!element.isFloat8E4M3FN() && !element.isFloat8E5M2())
      return std::nullopt;
    codes.values = element.isFloat8E4M3FN() ? runtime::CodeValues::e4m3 : runtime::CodeValues::e5m2;
  }
  return codes;
}

/// The table of the powers of two that codes stand for.
DictionaryAttr powersOfTwo(MLIRContext *context, int64_t bits) {
  Builder b(context);
  std::vector<float> table;
  int64_t sign = int64_t(1) << (bits - 1);
  for (int64_t code = 0; code < 2 * sign; ++code) {
    int64_t m = code % sign;
    auto magnitude = m == 0 ? 0.0f : std::ldexp(1.0f, static_cast<int>(m - (sign - 1)));
    table.push_back(code >= sign ? -magnitude : magnitude);
  }
  auto type = RankedTensorType::get({2 * sign}, b.getF32Type());
  NamedAttrList entry;
  entry.set("type", TypeAttr::get(type));
  entry.set("value", DenseElementsAttr::get(type, ArrayRef<float>(table)));
  return entry.getDictionary(context);
}

bool isScaleType(Type type) { return type.isF32() || type.isF16() || type.isBF16(); }

template <typename OpTy> std::optional<int64_t> groupOf(OpTy op, int64_t kAxis, int64_t k) {
  if (!op.getAxis())
    return k;
  auto axis = static_cast<int64_t>(*op.getAxis());
  if (op.getBlockSize())
    return axis == kAxis ? std::optional<int64_t>(std::min<int64_t>(*op.getBlockSize(), k)) : std::nullopt;
  return axis == 1 - kAxis ? std::optional<int64_t>(k) : std::nullopt;
}

} // namespace

DictionaryAttr constantSource(Value value) {
  Builder b(value.getContext());
  NamedAttrList entry;
  entry.set("type", TypeAttr::get(value.getType()));
  if (auto weight = value.getDefiningOp<WeightOp>(); weight && !weight->hasAttr(kernel::kCompressedAttr)) {
    entry.set("file", weight.getFileAttr());
    entry.set("offset", weight.getOffsetAttr());
    return entry.getDictionary(value.getContext());
  }
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  if (!dense)
    return {};
  entry.set("value", dense);
  return entry.getDictionary(value.getContext());
}

DictionaryAttr compressedContent(Value dense, bool transposed) {
  MLIRContext *context = dense.getContext();
  Builder b(context);
  auto type = tensorType(dense);
  if (type.getRank() != 2 || !type.hasStaticShape() || !type.getElementType().isF32() || type.getNumElements() == 0)
    return {};
  int64_t kAxis = transposed ? 1 : 0, k = type.getDimSize(kAxis), n = type.getDimSize(1 - kAxis);
  std::optional<Codes> codes;
  std::optional<int64_t> group;
  Value scale, zero;
  DictionaryAttr table;
  if (auto op = dense.getDefiningOp<DequantizeOp>()) {
    codes = codesOf(op.getInput());
    group = groupOf(op, kAxis, k);
    scale = op.getScale();
    zero = op.getZeroPoint();
  } else if (auto op = dense.getDefiningOp<DequantizeLog2Op>()) {
    codes = codesOf(op.getInput());
    group = groupOf(op, kAxis, k);
    scale = op.getScale();
    if (codes) {
      codes->values = runtime::CodeValues::table;
      table = powersOfTwo(context, codes->bits);
    }
  } else if (dense.getDefiningOp<CodebookLookupOp>()) {
    codes = codesOf(dense);
    group = k;
  }
  if (!codes || !group || (scale && !isScaleType(tensorType(scale).getElementType())))
    return {};
  if (codes->table)
    table = constantSource(codes->table);
  if (codes->values == runtime::CodeValues::codebook) {
    Value lookup = dense.getDefiningOp<CodebookLookupOp>() ? dense : dense.getDefiningOp()->getOperand(0);
    if (static_cast<int64_t>(*lookup.getDefiningOp<CodebookLookupOp>().getAxis()) != kAxis)
      return {};
  }
  runtime::QuantizedLayout layout;
  layout.k = k;
  layout.n = n;
  layout.bits = codes->bits;
  layout.values = codes->values;
  layout.dimension = codes->dimension;
  layout.group = *group;
  if (zero)
    layout.zeros = tensorType(zero).getElementType() == tensorType(codes->stored).getElementType() ? runtime::ZeroType::u8
                                                                                                     : runtime::ZeroType::scale;
  std::string why;
  DictionaryAttr stored = constantSource(codes->stored);
  if (!stored || !layout.valid(&why) || (codes->table && !table))
    return {};
  NamedAttrList entry;
  entry.set("type", TypeAttr::get(type));
  entry.set("packed", b.getBoolAttr(true));
  entry.set("transposed", b.getBoolAttr(transposed));
  entry.set("codes", stored);
  entry.set("values", b.getI64IntegerAttr(static_cast<int64_t>(codes->values)));
  entry.set("bits", b.getI64IntegerAttr(codes->bits));
  entry.set("dimension", b.getI64IntegerAttr(codes->dimension));
  entry.set("group", b.getI64IntegerAttr(*group));
  for (auto [name, value] : {std::pair("scale", scale), std::pair("zero", zero)})
    if (value) {
      DictionaryAttr source = constantSource(value);
      if (!source)
        return {};
      entry.set(name, source);
    }
  if (table)
    entry.set("table", table);
  return entry.getDictionary(context);
}

bool isCompressed(Value value) {
  auto weight = value.getDefiningOp<WeightOp>();
  return weight && weight->hasAttr(kernel::kCompressedAttr);
}

bool isSparse(Value value) {
  return isCompressed(value) && value.getDefiningOp()->getAttrOfType<DictionaryAttr>(kernel::kCompressedAttr).get("sparse");
}

namespace {

/// A weight that stands for the dense one.
Value makeCompressed(OpBuilder &b, Value dense, DictionaryAttr content) {
  StringRef name = "compressed";
  auto codes = content.getAs<DictionaryAttr>(content.get("sparse") ? "stored" : "codes");
  Value stored = dense;
  while (Operation *op = stored.getDefiningOp()) {
    if (auto weight = dyn_cast<WeightOp>(op)) {
      name = weight.getName();
      name.consume_back(".values");
      name.consume_back(".codes");
      break;
    }
    if (op->getNumOperands() == 0)
      break;
    stored = op->getOperand(0);
  }
  auto file = codes.getAs<StringAttr>("file");
  auto offset = codes.getAs<IntegerAttr>("offset");
  auto weight = b.create<WeightOp>(dense.getLoc(), dense.getType(), b.getStringAttr(name), file ? file : b.getStringAttr(""),
                                   offset ? offset : b.getI64IntegerAttr(0));
  weight->setAttr(kernel::kCompressedAttr, content);
  return weight;
}

std::optional<double> splatOf(Value value) {
  DenseFPElementsAttr dense;
  if (auto constant = value.getDefiningOp<ConstantOp>())
    dense = dyn_cast<DenseFPElementsAttr>(constant.getValue());
  if (!dense || !dense.isSplat())
    return std::nullopt;
  return dense.getSplatValue<APFloat>().convertToDouble();
}

/// Whether `scale` is the largest magnitude along the last axis of x over `steps`, and no smaller than a tiny number.
bool isRowScale(Value scale, Value x, double steps) {
  auto divide = scale.getDefiningOp<DivOp>();
  if (!divide || splatOf(divide.getRhs()) != steps)
    return false;
  auto bound = divide.getLhs().getDefiningOp<MaxOp>();
  if (!bound)
    return false;
  Value largest = splatOf(bound.getRhs()) ? bound.getLhs() : bound.getRhs();
  std::optional<double> least = splatOf(largest == bound.getLhs() ? bound.getRhs() : bound.getLhs());
  auto reduce = largest.getDefiningOp<ReduceOp>();
  auto rank = tensorType(x).getRank();
  if (!least || *least > 1e-20 || !reduce || reduce.getKind() != Reduction::max || !reduce.getKeepDims() ||
      reduce.getAxes() != ArrayRef<int64_t>{rank - 1})
    return false;
  auto magnitude = reduce.getInput().getDefiningOp<AbsOp>();
  return magnitude && magnitude->getOperand(0) == x;
}

/// What the left side is rounded to, and the tensor that is.
struct Rounded {
  Value input;
  int64_t mode = LATHE_QUANTIZE_NONE;
  double scale = 1;
  int64_t zero = 0;
};

std::optional<Rounded> roundedOf(Value lhs) {
  auto back = lhs.getDefiningOp<DequantizeOp>();
  auto rounding = back ? back.getInput().getDefiningOp<QuantizeOp>() : QuantizeOp();
  if (!rounding || rounding.getInput().getType() != lhs.getType())
    return std::nullopt;
  Rounded result;
  result.input = rounding.getInput();
  if (std::optional<StaticRounding> own = staticRounding(rounding); own && own == staticRounding(back)) {
    result.mode = LATHE_QUANTIZE_STATIC;
    result.scale = own->scale;
    result.zero = own->zero;
    return result;
  }
  auto type = tensorType(lhs);
  Type element = tensorType(rounding.getResult()).getElementType();
  bool isFloat = element.isFloat8E4M3FN();
  bool wholeRows = rounding.getAxis() && static_cast<int64_t>(*rounding.getAxis()) == type.getRank() - 1 && rounding.getBlockSize() &&
                   !type.isDynamicDim(type.getRank() - 1) && static_cast<int64_t>(*rounding.getBlockSize()) >= type.getShape().back();
  if ((!isFloat && !element.isSignlessInteger(8)) || rounding.getOverflows() || !wholeRows || rounding.getZeroPoint() || back.getZeroPoint() ||
      back.getScale() != rounding.getScale() || back.getAxis() != rounding.getAxis() || back.getBlockSize() != rounding.getBlockSize() ||
      !isRowScale(rounding.getScale(), result.input, isFloat ? 448 : 127))
    return std::nullopt;
  result.mode = isFloat ? LATHE_QUANTIZE_ROWS_E4M3 : LATHE_QUANTIZE_ROWS;
  return result;
}

/// Of products of the library.
constexpr int64_t kMostAxes = 5;

struct CpuCompressedProducts : impl::CpuCompressedProductsPassBase<CpuCompressedProducts> {
  using CpuCompressedProductsPassBase::CpuCompressedProductsPassBase;
  void runOnOperation() override {
    SmallVector<Operation *> readers;
    getOperation().walk([&](Operation *op) {
      if (isa<MatmulOp, GatherOp>(op) && mayChange(op))
        readers.push_back(op);
    });
    OpBuilder b(&getContext());
    SmallVector<MatmulOp> ofCodes, ofIntegers, ofFloats;
    for (Operation *op : readers) {
      b.setInsertionPoint(op);
      if (auto product = dyn_cast<MatmulOp>(op)) {
        bool isLibrary = tensorType(product.getResult()).getRank() <= kMostAxes, transposed = product.getTransposeRhs();
        DictionaryAttr content = isLibrary ? compressedContent(product.getRhs(), transposed) : DictionaryAttr();
        if (isLibrary && !content)
          content = sparseContent(product.getRhs(), transposed);
        if (!content)
          continue;
        product.getRhsMutable().assign(makeCompressed(b, product.getRhs(), content));
        if (!content.get("sparse"))
          ofCodes.push_back(product);
        if (content.get("sparse") || product.getTransposeLhs())
          continue;
        auto values = static_cast<runtime::CodeValues>(content.getAs<IntegerAttr>("values").getInt());
        if (values == runtime::CodeValues::integer)
          ofIntegers.push_back(product);
        else if (device && (values == runtime::CodeValues::e4m3 || values == runtime::CodeValues::e5m2))
          ofFloats.push_back(product);
      } else if (auto lookup = cast<GatherOp>(op); lookup.getAxis() == 0) {
        auto index = dyn_cast<IntegerType>(tensorType(lookup.getIndices()).getElementType());
        if (!index || (index.getWidth() != 32 && index.getWidth() != 64) || index.isUnsigned())
          continue;
        if (DictionaryAttr content = compressedContent(lookup.getInput(), /*transposed=*/true))
          lookup.getInputMutable().assign(makeCompressed(b, lookup.getInput(), content));
      }
    }
    readBytes(ofIntegers);
    for (MatmulOp product : ofIntegers)
      letRound(product, /*floats=*/false);
    for (MatmulOp product : ofFloats)
      letRound(product, /*floats=*/true);
    if (arithmetic == "f16" || arithmetic == "bf16") {
      Type type = arithmetic == "f16" ? Type(b.getF16Type()) : b.getBF16Type();
      for (MatmulOp product : ofCodes)
        if (!product->hasAttr(kernel::kLhsQuantizationAttr))
          product->setAttr(kernel::kArithmeticAttr, TypeAttr::get(type));
    }
    // What was read through the expressions alone.
    SmallVector<Operation *> ops;
    getOperation().walk([&](Operation *op) { ops.push_back(op); });
    for (Operation *op : llvm::reverse(ops))
      if (isOpTriviallyDead(op))
        op->erase();
  }

private:
  /// Lets a product round its left side itself, where that is rounded to `floats` of 8 bits or else to integers.
  void letRound(MatmulOp product, bool floats) {
    std::optional<Rounded> rounded =
        product->hasAttr(kernel::kLhsQuantizationAttr) ? std::nullopt : roundedOf(product.getLhs());
    if (!rounded || (rounded->mode == LATHE_QUANTIZE_ROWS_E4M3) != floats)
      return;
    Builder b(product.getContext());
    product.getLhsMutable().assign(rounded->input);
    product->setAttr(kernel::kLhsQuantizationAttr,
                     b.getDictionaryAttr({b.getNamedAttr("mode", b.getI64IntegerAttr(rounded->mode)),
                                          b.getNamedAttr("scale", b.getF64FloatAttr(rounded->scale)),
                                          b.getNamedAttr("zero", b.getI64IntegerAttr(rounded->zero))}));
  }
};

} // namespace
} // namespace lathe::cpu
