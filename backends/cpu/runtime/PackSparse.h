//===- PackSparse.h - Matrices with zeros as lists --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_PACKSPARSE_H
#define LATHE_BACKENDS_CPU_RUNTIME_PACKSPARSE_H

#include "runtime/SparseLayout.h"

#include <cstdint>

namespace lathe::cpu {

/// A dense matrix.
struct SparseSource {
  const void *elements = nullptr; ///< (k, n) lies at k * rowStride + n * colStride, in the type of the layout's values
  int64_t rowStride = 0, colStride = 0;
  const float *scales = nullptr; ///< [ceil(k / group), n]; only of integers
};

/// Sets the height, and how many fours there are.
void setLists(runtime::SparseLayout &layout, const SparseSource &source, int64_t height);

/// Writes layout.bytes() bytes.
void packSparse(const runtime::SparseLayout &layout, const SparseSource &source, void *target);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_PACKSPARSE_H
