//===- DataType.cpp - Element types -----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/DataType.h"

using namespace lathe::runtime;

namespace {
constexpr DataType kTypes[kDataTypeCount] = {
    {LATHE_F32, "f32", 4, true, true, "f4"},      {LATHE_F16, "f16", 2, true, true, "f2"},
    {LATHE_BF16, "bf16", 2, true, true, nullptr}, {LATHE_F64, "f64", 8, true, true, "f8"},
    {LATHE_I8, "i8", 1, false, true, "i1"},       {LATHE_I16, "i16", 2, false, true, "i2"},
    {LATHE_I32, "i32", 4, false, true, "i4"},     {LATHE_I64, "i64", 8, false, true, "i8"},
    {LATHE_U8, "u8", 1, false, false, "u1"},      {LATHE_U16, "u16", 2, false, false, "u2"},
    {LATHE_U32, "u32", 4, false, false, "u4"},    {LATHE_U64, "u64", 8, false, false, "u8"},
    {LATHE_BOOL, "bool", 1, false, false, "b1"},  {LATHE_F8E4M3FN, "f8e4m3fn", 1, true, true, "u1"},
    {LATHE_F8E4M3FNUZ, "f8e4m3fnuz", 1, true, true, "u1"},
    {LATHE_F8E5M2, "f8e5m2", 1, true, true, "u1"},
    {LATHE_F8E5M2FNUZ, "f8e5m2fnuz", 1, true, true, "u1"},
    {LATHE_I4, "i4", 1, false, true, "i1"},       {LATHE_U4, "u4", 1, false, false, "u1"},
    {LATHE_I2, "i2", 1, false, true, "i1"},       {LATHE_U2, "u2", 1, false, false, "u1"},
    {LATHE_F8E4M3, "f8e4m3", 1, true, true, "u1"},
};
} // namespace

const DataType *lathe::runtime::dataType(lathe_dtype dtype) {
  auto index = static_cast<size_t>(static_cast<unsigned>(dtype));
  return index < kDataTypeCount ? &kTypes[index] : nullptr;
}

const DataType *lathe::runtime::dataType(std::string_view name) {
  for (const DataType &type : kTypes)
    if (name == type.name)
      return &type;
  return nullptr;
}

bool lathe::runtime::elementCount(const int64_t *dims, size_t rank, int64_t *count) {
  // Zero extents are looked for first: [0, 2^62, 2^62] is an empty tensor, not an overflow.
  bool empty = false;
  for (size_t i = 0; i < rank; ++i) {
    if (dims[i] < 0)
      return false;
    empty |= dims[i] == 0;
  }
  *count = empty ? 0 : 1;
  for (size_t i = 0; !empty && i < rank; ++i)
    if (__builtin_mul_overflow(*count, dims[i], count))
      return false;
  return true;
}

bool lathe::runtime::tensorBytes(const DataType &type, const int64_t *dims, size_t rank, int64_t *bytes) {
  int64_t count = 0;
  return elementCount(dims, rank, &count) && !__builtin_mul_overflow(count, static_cast<int64_t>(type.size), bytes);
}
