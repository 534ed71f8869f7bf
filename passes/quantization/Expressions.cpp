//===- Expressions.cpp - Compressed weights as expressions ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/Expressions.h"
#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/SmallVector.h"
#include <cstring>

using namespace mlir;

namespace lathe::compression {
namespace {

using quantization::CodeKind;
using quantization::Quantized;
using quantization::ScaleType;
using quantization::ZeroPoint;

/// Bits of the integer type that holds codes: those that tensors have. What fewer bits hold is packed so in artifacts.
int64_t storedBits(int64_t bits) { return bits <= 2 ? 2 : bits <= 4 ? 4 : 8; }

Type codeType(Builder &b, const quantization::Format &format) {
  if (format.kind == CodeKind::E4M3FN)
    return b.getFloat8E4M3FNType();
  if (format.kind == CodeKind::E5M2)
    return b.getFloat8E5M2Type();
  bool isSigned = format.kind == CodeKind::Integer && format.zeroPoint == ZeroPoint::None;
  int64_t bits = storedBits(format.bits);
  return isSigned ? b.getIntegerType(bits) : b.getIntegerType(bits, /*isSigned=*/false);
}

/// Powers of two are numbers of bf16.
Type scaleType(Builder &b, ScaleType type) {
  return type == ScaleType::F32 ? Type(b.getF32Type()) : type == ScaleType::F16 ? Type(b.getF16Type()) : Type(b.getBF16Type());
}

/// Numbers that are exactly of the type, as its bytes.
std::vector<char> floatBytes(ArrayRef<float> values, Type type) {
  std::vector<char> bytes;
  bytes.reserve(values.size() * type.getIntOrFloatBitWidth() / 8);
  for (float value : values) {
    APFloat number(value);
    bool isInexact = false;
    number.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven, &isInexact);
    uint64_t bits = number.bitcastToAPInt().getZExtValue();
    const char *data = reinterpret_cast<const char *>(&bits); // little-endian, as all that runs this is
    bytes.insert(bytes.end(), data, data + type.getIntOrFloatBitWidth() / 8);
  }
  return bytes;
}

/// [n][k] as the weight lies.
template <typename T> std::vector<T> oriented(const std::vector<T> &values, int64_t n, int64_t k, bool transposed) {
  if (transposed)
    return values;
  std::vector<T> result(values.size());
  for (int64_t row = 0; row < n; ++row)
    for (int64_t i = 0; i < k; ++i)
      result[i * n + row] = values[row * k + i];
  return result;
}

} // namespace

namespace {

SmallVector<OpOperand *> usesOf(Value value) {
  SmallVector<OpOperand *> uses;
  for (OpOperand &use : value.getUses())
    uses.push_back(&use);
  return uses;
}

ArrayRef<char> bytesOf(const std::vector<uint8_t> &values) {
  return ArrayRef<char>(reinterpret_cast<const char *>(values.data()), values.size());
}

/// Where scales of groups of inputs, or of whole outputs, lie beside a weight.
struct ScaleShape {
  SmallVector<int64_t> shape;
  IntegerAttr axis, block;
};

ScaleShape scaleShape(Builder &b, int64_t n, int64_t groups, int64_t groupSize, bool transposed) {
  int64_t along = transposed ? 1 : 0; // the axis that products sum over
  if (groups <= 1)
    return {{n}, b.getI64IntegerAttr(1 - along), {}};
  SmallVector<int64_t> shape = transposed ? SmallVector<int64_t>{n, groups} : SmallVector<int64_t>{groups, n};
  return {shape, b.getI64IntegerAttr(along), b.getI64IntegerAttr(groupSize)};
}

} // namespace

bool replaceByCodebook(Value weight, StringRef name, bool transposed, const quantization::CodebookQuantized &quantized,
                       const MakeConstant &make) {
  assert(hasExpression(quantized) && "checked by callers");
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  Location loc = weight.getLoc();
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t n = quantized.n, vectors = quantized.vectors();
  int64_t entries = int64_t(1) << quantized.bits, d = quantized.dimension;
  SmallVector<int64_t> codeShape = transposed ? SmallVector<int64_t>{n, vectors} : SmallVector<int64_t>{vectors, n};
  auto codeType = RankedTensorType::get(codeShape, b.getIntegerType(storedBits(quantized.bits), /*isSigned=*/false));
  auto tableType = RankedTensorType::get(d == 1 ? SmallVector<int64_t>{entries} : SmallVector<int64_t>{entries, d}, b.getF32Type());
  SmallVector<std::pair<Value, Value>> stages;
  for (auto [i, stage] : llvm::enumerate(quantized.stages)) {
    std::string suffix = quantized.stages.size() > 1 ? "." + std::to_string(i) : "";
    Value codes = make(b, loc, codeType, (name + ".codes" + suffix).str(), bytesOf(oriented(stage.codes, n, vectors, transposed)));
    Value table = make(b, loc, tableType, (name + ".table" + suffix).str(), floatBytes(stage.table, b.getF32Type()));
    if (!codes || !table)
      return false;
    stages.push_back({codes, table});
  }
  ScaleShape place = scaleShape(b, n, quantized.groups(), quantized.groupSize(), transposed);
  Value scales;
  if (!quantized.scales.empty()) {
    auto own = RankedTensorType::get(place.shape, scaleType(b, quantized.scaleType));
    scales = make(b, loc, own, (name + ".scales").str(),
                  floatBytes(oriented(quantized.scales, n, quantized.groups(), transposed), own.getElementType()));
    if (!scales)
      return false;
  }
  auto axis = d == 1 ? IntegerAttr() : b.getI64IntegerAttr(transposed ? 1 : 0);
  for (OpOperand *use : usesOf(weight)) {
    b.setInsertionPoint(use->getOwner());
    Value dense;
    for (auto [codes, table] : stages) {
      Value values = b.create<CodebookLookupOp>(loc, type, codes, table, axis);
      dense = dense ? b.create<AddOp>(loc, type, dense, values).getResult() : values;
    }
    if (scales)
      dense = b.create<DequantizeOp>(loc, type, dense, scales, Value(), place.axis, place.block);
    use->set(dense);
  }
  return true;
}

namespace {

/// Makes the scales that lie so beside a weight; null after a failure.
using MakeScales = llvm::function_ref<Value(OpBuilder &b, Location loc, const ScaleShape &place)>;

bool replaceBy(Value weight, StringRef name, bool transposed, const Quantized &quantized, const MakeConstant &make,
               MakeScales makeScales) {
  const quantization::Format &format = quantized.format;
  int64_t n = quantized.n, k = quantized.k, groups = quantized.groups();
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  Location loc = weight.getLoc();
  auto type = cast<RankedTensorType>(weight.getType());
  Type code = codeType(b, format), scale = scaleType(b, format.scaleType);
  bool isSigned = isa<IntegerType>(code) && code.isSignlessInteger();
  std::vector<uint8_t> codes = oriented(quantized.codes, n, k, transposed);
  if (isSigned)
    for (uint8_t &c : codes) // the low bits of the difference
      c = static_cast<uint8_t>((c - (1u << (format.bits - 1))) & ((1u << storedBits(format.bits)) - 1));
  Value stored = make(b, loc, type.clone(code), (name + ".codes").str(), bytesOf(codes));
  ScaleShape place = scaleShape(b, n, groups, format.groupSize(k), transposed);
  auto parameterType = [&](Type element) { return RankedTensorType::get(place.shape, element); };
  auto numbers = [&](const std::vector<float> &values) { return oriented(values, n, groups, transposed); };
  Value scales = stored ? makeScales(b, loc, place) : Value();
  Value zeros;
  if (scales && format.zeroPoint == ZeroPoint::Float) {
    zeros = make(b, loc, parameterType(scale), (name + ".zeros").str(), floatBytes(numbers(quantized.zeros), scale));
  } else if (scales && format.zeroPoint == ZeroPoint::Integer) {
    std::vector<uint8_t> whole;
    for (float zero : numbers(quantized.zeros))
      whole.push_back(static_cast<uint8_t>(zero));
    zeros = make(b, loc, parameterType(code), (name + ".zeros").str(), bytesOf(whole));
  }
  Value table;
  // The sign of a power of two is the highest bit of its type.
  bool isLog2 = format.kind == CodeKind::Log2 && storedBits(format.bits) == format.bits;
  bool hasTable = format.kind == CodeKind::Table || (format.kind == CodeKind::Log2 && !isLog2);
  if (scales && hasTable) {
    std::vector<float> values = quantization::valuesOf(format);
    table = make(b, loc, RankedTensorType::get({static_cast<int64_t>(values.size())}, b.getF32Type()), (name + ".table").str(),
                 floatBytes(values, b.getF32Type()));
  }
  if (!scales || (!zeros && format.zeroPoint != ZeroPoint::None) || (!table && hasTable))
    return false;
  IntegerAttr axis = place.axis, block = place.block;
  for (OpOperand *use : usesOf(weight)) {
    b.setInsertionPoint(use->getOwner());
    Value dense;
    if (isLog2) {
      dense = b.create<DequantizeLog2Op>(loc, type, stored, scales, axis, block);
    } else {
      Value values = stored;
      if (table)
        values = b.create<CodebookLookupOp>(loc, type, stored, table, IntegerAttr());
      dense = b.create<DequantizeOp>(loc, type, values, scales, zeros, axis, block);
    }
    use->set(dense);
  }
  return true;
}

} // namespace

bool replaceByQuantized(Value weight, StringRef name, bool transposed, const Quantized &quantized,
                        const MakeConstant &make) {
  return replaceBy(weight, name, transposed, quantized, make, [&](OpBuilder &b, Location loc, const ScaleShape &place) {
    Type type = scaleType(b, quantized.format.scaleType);
    return make(b, loc, RankedTensorType::get(place.shape, type), (name + ".scales").str(),
                floatBytes(oriented(quantized.scales, quantized.n, quantized.groups(), transposed), type));
  });
}

bool replaceByQuantized(Value weight, StringRef name, bool transposed, const quantization::DoubleQuantized &quantized,
                        const MakeConstant &make) {
  return replaceBy(weight, name, transposed, quantized.weight, make,
                   [&](OpBuilder &b, Location loc, const ScaleShape &place) -> Value {
                     int64_t n = quantized.weight.n, groups = quantized.weight.groups(),
                             blocks = (n + quantized.block - 1) / quantized.block;
                     // Here they lie group by group, as those of a weight that is not transposed.
                     auto as = [&](const auto &values, int64_t columns) {
                       return transposed ? oriented(values, groups, columns, /*transposed=*/false) : values;
                     };
                     SmallVector<int64_t> shape(place.shape);
                     int64_t axis = shape.size() == 1 || transposed ? 0 : 1; // of outputs
                     shape[axis] = blocks;
                     bool isOne = shape.size() == 1 && blocks == 1;
                     auto outer =
                         RankedTensorType::get(isOne ? ArrayRef<int64_t>() : ArrayRef<int64_t>(shape), b.getF32Type());
                     Value codes =
                         make(b, loc, RankedTensorType::get(place.shape, b.getIntegerType(8, /*isSigned=*/false)),
                              (name + ".scales").str(), bytesOf(as(quantized.scaleCodes, n)));
                     Value scales = codes ? make(b, loc, outer, (name + ".scales.scales").str(),
                                                 floatBytes(as(quantized.scaleScales, blocks), b.getF32Type()))
                                          : Value();
                     if (!scales)
                       return {};
                     return b.create<DequantizeOp>(loc, RankedTensorType::get(place.shape, b.getF32Type()), codes,
                                                   scales, Value(), isOne ? IntegerAttr() : b.getI64IntegerAttr(axis),
                                                   isOne ? IntegerAttr() : b.getI64IntegerAttr(quantized.block));
                   });
}

} // namespace lathe::compression
