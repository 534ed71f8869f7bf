//===- Tensors.cpp - Types and values of ONNX tensors ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Tensors.h"
#include "frontends/onnx/SmallFloats.h"
#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using onnx::TensorProto;

namespace lathe::frontend {

Type elementType(MLIRContext *context, int32_t dataType) {
  Builder b(context);
  switch (dataType) {
  case TensorProto::FLOAT: return b.getF32Type();
  case TensorProto::DOUBLE: return b.getF64Type();
  case TensorProto::FLOAT16: return b.getF16Type();
  case TensorProto::BFLOAT16: return b.getBF16Type();
  case TensorProto::INT8: return b.getIntegerType(8);
  case TensorProto::INT16: return b.getIntegerType(16);
  case TensorProto::INT32: return b.getIntegerType(32);
  case TensorProto::INT64: return b.getIntegerType(64);
  case TensorProto::UINT8: return b.getIntegerType(8, /*isSigned=*/false);
  case TensorProto::UINT16: return b.getIntegerType(16, false);
  case TensorProto::UINT32: return b.getIntegerType(32, false);
  case TensorProto::UINT64: return b.getIntegerType(64, false);
  case TensorProto::BOOL: return b.getI1Type();
  case TensorProto::FLOAT8E4M3FN: return b.getFloat8E4M3FNType();
  case TensorProto::FLOAT8E4M3FNUZ: return b.getFloat8E4M3FNUZType();
  case TensorProto::FLOAT8E5M2: return b.getFloat8E5M2Type();
  case TensorProto::FLOAT8E5M2FNUZ: return b.getFloat8E5M2FNUZType();
  case TensorProto::FLOAT4E2M1: return b.getFloat8E4M3Type(); // SmallFloats.h
  case TensorProto::INT4: return b.getIntegerType(4);
  case TensorProto::UINT4: return b.getIntegerType(4, false);
  case TensorProto::INT2: return b.getIntegerType(2);
  case TensorProto::UINT2: return b.getIntegerType(2, false);
  default: return nullptr;
  }
}

std::string dataTypeName(int32_t dataType) {
  if (onnx::TensorProto_DataType_IsValid(dataType))
    return onnx::TensorProto_DataType_Name(static_cast<onnx::TensorProto_DataType>(dataType));
  return std::to_string(dataType);
}

std::optional<int64_t> elementCount(ArrayRef<int64_t> dims) {
  int64_t count = 1;
  for (int64_t dim : dims)
    if (dim < 0 || llvm::MulOverflow(count, std::max<int64_t>(dim, 1), count) || count > (int64_t(1) << 60))
      return std::nullopt;
  return llvm::is_contained(dims, 0) ? 0 : count;
}

static int64_t bytesOf(int64_t count, Type element) {
  int64_t width = element.getIntOrFloatBitWidth();
  return isPacked(element) ? llvm::divideCeil(count, 8 / width) : count * llvm::divideCeil(width, 8);
}

TensorType tensorType(MLIRContext *context, const TensorProto &tensor) {
  TensorType result;
  auto fail = [&](const Twine &text) {
    result.error = text.str();
    return result;
  };
  if (tensor.dims_size() > kMaxRank)
    return fail("expects a rank of at most " + Twine(kMaxRank) + ", got " + Twine(tensor.dims_size()));
  SmallVector<int64_t> dims(tensor.dims().begin(), tensor.dims().end());
  for (int64_t dim : dims)
    if (dim < 0)
      return fail("expects dimensions of at least 0, got " + Twine(dim));
  std::optional<int64_t> count = elementCount(dims);
  if (!count)
    return fail("expects fewer than 2^60 elements");
  Type element = storageOfSmallFloat(context, tensor.data_type());
  if (!element)
    element = elementType(context, tensor.data_type());
  if (!element || tensor.has_segment()) {
    result.isUnsupported = true;
    return fail(element ? Twine("segmented tensors are not supported")
                        : "data type " + dataTypeName(tensor.data_type()) + " is not supported");
  }
  result.type = RankedTensorType::get(dims, element);
  result.bytes = bytesOf(*count, element);
  return result;
}

bool isSmall(RankedTensorType type) {
  return type.getNumElements() <= (isa<IntegerType>(type.getElementType()) ? 1024 : 16);
}

template <typename To, typename From> static std::string packed(const From &values) {
  std::string bytes;
  bytes.reserve(values.size() * sizeof(To));
  for (auto value : values) {
    To narrow = static_cast<To>(value);
    bytes.append(reinterpret_cast<const char *>(&narrow), sizeof(To));
  }
  return bytes;
}

/// The elements of the field that the format prescribes for the type, as raw data.
static std::string typedData(const TensorProto &tensor) {
  switch (tensor.data_type()) {
  case TensorProto::FLOAT: return packed<float>(tensor.float_data());
  case TensorProto::DOUBLE: return packed<double>(tensor.double_data());
  case TensorProto::INT64: return packed<int64_t>(tensor.int64_data());
  case TensorProto::UINT64: return packed<uint64_t>(tensor.uint64_data());
  case TensorProto::UINT32: return packed<uint32_t>(tensor.uint64_data());
  case TensorProto::INT32: return packed<int32_t>(tensor.int32_data());
  case TensorProto::INT16:
  case TensorProto::UINT16:
  case TensorProto::FLOAT16:
  case TensorProto::BFLOAT16: return packed<uint16_t>(tensor.int32_data());
  case TensorProto::BOOL: {
    std::string bytes;
    for (int32_t value : tensor.int32_data())
      bytes += value ? '\1' : '\0';
    return bytes;
  }
  default: return packed<uint8_t>(tensor.int32_data());
  }
}

DenseElementsAttr denseTensor(RankedTensorType type, const TensorProto &tensor, const std::optional<RawData> &raw,
                              std::string &error) {
  Type element = type.getElementType();
  int64_t count = type.getNumElements(), expected = bytesOf(count, element);
  std::string typed;
  StringRef bytes;
  if (raw) {
    bytes = raw->bytes;
  } else {
    typed = typedData(tensor);
    bytes = typed;
  }
  if (static_cast<int64_t>(bytes.size()) != expected) {
    error = ("expects " + Twine(expected) + " bytes of data for " + Twine(count) + " elements of type " +
             dataTypeName(tensor.data_type()) + ", found " + Twine(bytes.size()))
                .str();
    return nullptr;
  }
  if (count == 0)
    return isa<FloatType>(element) ? DenseElementsAttr::get(type, ArrayRef<APFloat>{})
                                   : DenseElementsAttr::get(type, ArrayRef<APInt>{});
  if (element.isInteger(1)) {
    SmallVector<bool> values;
    for (char byte : bytes)
      values.push_back(byte != 0);
    return DenseElementsAttr::get(type, values);
  }
  if (isPacked(element)) {
    unsigned width = element.getIntOrFloatBitWidth(), perByte = 8 / width;
    SmallVector<char> values;
    for (int64_t i = 0; i < count; ++i) {
      auto byte = static_cast<uint8_t>(bytes[i / perByte]);
      values.push_back(static_cast<char>(byte >> (i % perByte * width) & ((1u << width) - 1)));
    }
    return DenseElementsAttr::getFromRawBuffer(type, values);
  }
  return DenseElementsAttr::getFromRawBuffer(type, ArrayRef<char>(bytes.data(), bytes.size()));
}

//===----------------------------------------------------------------------===//
// Packed integers
//===----------------------------------------------------------------------===//

namespace {
/// Makes operations on static tensors; null after a failure.
struct Unpacker {
  OpBuilder &builder;
  Location loc;
  ShapeContext &context;

  template <typename OpTy, typename... Args> Value make(Type element, Value operand, Args &&...args) {
    auto op = operand ? createInferred<OpTy>(builder, loc, context, element, operand, std::forward<Args>(args)...)
                      : FailureOr<OpTy>(failure());
    return failed(op) ? Value() : op->getResult();
  }
  Value index(int64_t value) { return builder.create<arith::ConstantIndexOp>(loc, value); }
  Value reshape(Value value, ArrayRef<int64_t> shape) {
    SmallVector<Value> dims;
    for (int64_t dim : shape)
      dims.push_back(index(dim));
    return value ? make<ReshapeOp>(elementOf(value), value, dims) : Value();
  }
  Value bytes(RankedTensorType type, ArrayRef<uint8_t> values) {
    return builder.create<ConstantOp>(loc, type, DenseElementsAttr::get(type, values));
  }
  static Type elementOf(Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); }
};
} // namespace

Value unpackBits(OpBuilder &builder, Location loc, ShapeContext &context, Value bytes, IntegerType element) {
  Unpacker u{builder, loc, context};
  unsigned width = element.getWidth(), perByte = 8 / width;
  Type u8 = builder.getIntegerType(8, /*isSigned=*/false);
  SmallVector<int64_t> shape(cast<RankedTensorType>(bytes.getType()).getShape());
  shape.push_back(1);
  SmallVector<uint8_t> distances;
  for (unsigned i = 0; i < perByte; ++i)
    distances.push_back(static_cast<uint8_t>(i * width));
  Value distance = u.bytes(RankedTensorType::get({perByte}, u8), distances);
  Value shifted = u.make<ShiftRightOp>(u8, u.reshape(bytes, shape), distance);
  // To fewer bits the others are cut off.
  Value values = u.make<CastOp>(element, shifted);
  shape.pop_back();
  shape.back() *= perByte;
  return u.reshape(values, shape);
}

Value unpackTensor(OpBuilder &builder, Location loc, ShapeContext &context, Value bytes, RankedTensorType type) {
  Unpacker u{builder, loc, context};
  auto element = cast<IntegerType>(type.getElementType());
  Value values = unpackBits(builder, loc, context, bytes, element);
  if (values && cast<RankedTensorType>(values.getType()).getNumElements() != type.getNumElements())
    values = u.make<SliceOp>(element, values, SmallVector<Value>{u.index(0)},
                             SmallVector<Value>{u.index(type.getNumElements())}, SmallVector<int64_t>{0},
                             SmallVector<int64_t>{1});
  return u.reshape(values, type.getShape());
}

} // namespace lathe::frontend
