//===- DataType.h - Element types -------------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_DATATYPE_H
#define LATHE_RUNTIME_DATATYPE_H

#include "runtime/include/lathe/lathe.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lathe::runtime {

/// What the runtime knows about an element type.
struct DataType {
  lathe_dtype dtype;
  const char *name; ///< as in the manifest
  size_t size;      ///< bytes of one element
  bool isFloat;
  bool isSigned;
  const char *npy; ///< NumPy type string without byte order: of plain bytes where NumPy has none, NULL for bf16
};

inline constexpr size_t kDataTypeCount = 22;

/// Describes `dtype`; NULL for a value that is none.
const DataType *dataType(lathe_dtype dtype);

/// Finds a type by its name in the manifest; NULL when there is none.
const DataType *dataType(std::string_view name);

/// Product of dimensions; false when one is negative or the product does not fit.
bool elementCount(const int64_t *dims, size_t rank, int64_t *count);

/// Bytes of a dense tensor; false when it does not fit into int64_t.
bool tensorBytes(const DataType &type, const int64_t *dims, size_t rank, int64_t *bytes);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_DATATYPE_H
