//===- Tensors.cpp - Types and values of ONNX tensors ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Tensors.h"
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

static int64_t bytesOf(Type element) { return llvm::divideCeil(element.getIntOrFloatBitWidth(), 8); }

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
  Type element = elementType(context, tensor.data_type());
  if (!element || tensor.has_segment()) {
    result.isUnsupported = true;
    return fail(element ? Twine("segmented tensors are not supported")
                        : "data type " + dataTypeName(tensor.data_type()) + " is not supported");
  }
  result.type = RankedTensorType::get(dims, element);
  result.bytes = *count * bytesOf(element);
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
  int64_t count = type.getNumElements(), expected = count * bytesOf(element);
  std::string typed;
  StringRef bytes;
  if (raw) {
    bytes = raw->bytes;
  } else if (tensor.has_raw_data()) {
    bytes = tensor.raw_data();
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
  return DenseElementsAttr::getFromRawBuffer(type, ArrayRef<char>(bytes.data(), bytes.size()));
}

} // namespace lathe::frontend
