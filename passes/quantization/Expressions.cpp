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

Type codeType(Builder &b, const quantization::Format &format) {
  if (format.kind == CodeKind::E4M3FN)
    return b.getFloat8E4M3FNType();
  if (format.kind == CodeKind::E5M2)
    return b.getFloat8E5M2Type();
  bool isSigned = format.kind == CodeKind::Integer && format.zeroPoint == ZeroPoint::None;
  return isSigned ? b.getIntegerType(format.bits) : b.getIntegerType(format.bits, /*isSigned=*/false);
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

bool replaceByQuantized(Value weight, StringRef name, bool transposed, const Quantized &quantized, const MakeConstant &make) {
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
      c = static_cast<uint8_t>((c - (1u << (format.bits - 1))) & ((1u << format.bits) - 1));
  auto bytesOf = [](const std::vector<uint8_t> &values) {
    return ArrayRef<char>(reinterpret_cast<const char *>(values.data()), values.size());
  };
  Value stored = make(b, loc, type.clone(code), (name + ".codes").str(), bytesOf(codes));
  // Along the axis that products sum over, or one scale for each of the other.
  int64_t along = transposed ? 1 : 0;
  bool hasGroups = groups > 1;
  SmallVector<int64_t> shape{n};
  if (hasGroups)
    shape = transposed ? SmallVector<int64_t>{n, groups} : SmallVector<int64_t>{groups, n};
  auto parameterType = [&](Type element) { return RankedTensorType::get(shape, element); };
  auto numbers = [&](const std::vector<float> &values) { return oriented(values, n, groups, transposed); };
  Value scales = stored ? make(b, loc, parameterType(scale), (name + ".scales").str(), floatBytes(numbers(quantized.scales), scale)) : Value();
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
  if (scales && format.kind == CodeKind::Table)
    table = make(b, loc, RankedTensorType::get({static_cast<int64_t>(format.table.size())}, b.getF32Type()), (name + ".table").str(),
                 floatBytes(format.table, b.getF32Type()));
  if (!scales || (!zeros && format.zeroPoint != ZeroPoint::None) || (!table && format.kind == CodeKind::Table))
    return false;
  auto axis = b.getI64IntegerAttr(hasGroups ? along : 1 - along);
  IntegerAttr block = hasGroups ? b.getI64IntegerAttr(format.groupSize(k)) : IntegerAttr();
  SmallVector<OpOperand *> uses;
  for (OpOperand &use : weight.getUses())
    uses.push_back(&use);
  for (OpOperand *use : uses) {
    b.setInsertionPoint(use->getOwner());
    Value dense;
    if (format.kind == CodeKind::Log2) {
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

} // namespace lathe::compression
