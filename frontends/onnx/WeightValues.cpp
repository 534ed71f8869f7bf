//===- WeightValues.cpp - Numbers of initializers and parameters ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/WeightValues.h"
#include "frontends/onnx/Tensors.h"
#include "runtime/SmallFloats.h"
#include "llvm/Support/Path.h"
#include <cstring>

using namespace llvm;

namespace lathe::frontend {

std::optional<WeightValues> WeightValues::of(const ModelFile &file, const onnx::TensorProto &tensor) {
  WeightValues values;
  switch (tensor.data_type()) {
  case onnx::TensorProto::FLOAT:
    values.kind = Kind::F32;
    break;
  case onnx::TensorProto::FLOAT16:
    values.kind = Kind::F16;
    break;
  case onnx::TensorProto::BFLOAT16:
    values.kind = Kind::BF16;
    break;
  default:
    return std::nullopt;
  }
  std::optional<int64_t> count = elementCount(SmallVector<int64_t>(tensor.dims().begin(), tensor.dims().end()));
  if (!count)
    return std::nullopt;
  values.count = *count;
  int64_t expected = *count * (values.kind == Kind::F32 ? 4 : 2);
  ExternalData place;
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL) {
    if (!locateExternalData(file, tensor, "", expected, place).empty())
      return std::nullopt;
    SmallString<256> path(file.directory);
    sys::path::append(path, place.file);
    auto read = MemoryBuffer::getFileSlice(path, static_cast<uint64_t>(expected), place.offset);
    if (!read)
      return std::nullopt;
    values.slice = std::move(*read);
    values.bytes = values.slice->getBuffer();
  } else if (std::optional<RawData> raw = file.raw(tensor)) {
    values.bytes = raw->bytes;
  } else if (values.kind == Kind::F32) {
    values.bytes =
        StringRef(reinterpret_cast<const char *>(tensor.float_data().data()), tensor.float_data_size() * sizeof(float));
  }
  return static_cast<int64_t>(values.bytes.size()) == expected ? std::optional(values) : std::nullopt;
}

std::optional<WeightValues> WeightValues::of(const safetensors::Checkpoint &checkpoint,
                                             const safetensors::Tensor &tensor) {
  WeightValues values;
  if (tensor.dtype != "F32" && tensor.dtype != "F16" && tensor.dtype != "BF16")
    return std::nullopt;
  values.kind = tensor.dtype == "F32" ? Kind::F32 : tensor.dtype == "F16" ? Kind::F16 : Kind::BF16;
  values.count = tensor.elements();
  values.bytes = checkpoint.bytes(tensor);
  return values;
}

float WeightValues::operator[](int64_t i) const {
  if (kind == Kind::F32) {
    float value;
    std::memcpy(&value, bytes.data() + 4 * i, sizeof value);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, bytes.data() + 2 * i, sizeof half);
  return kind == Kind::F16 ? runtime::halfValue(half) : runtime::bfloatValue(half);
}

} // namespace lathe::frontend
