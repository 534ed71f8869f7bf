//===- PackWeights.h - Weights in the layout that oneDNN wants ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// For the compile half: what an artifact stores for constants that are the right side of a matmul.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_PACKWEIGHTS_H
#define LATHE_BACKENDS_CPU_RUNTIME_PACKWEIGHTS_H

#include "runtime/PackedLayout.h"
#include "runtime/include/lathe/lathe.h"

#include <cstdint>
#include <string>

namespace lathe::cpu {

/// What oneDNN prefers on this machine for a [k, n] right side.
struct WeightLayout {
  bool plain = true;            ///< row-major without padding: nothing to pack
  runtime::PackedLayout layout; ///< as the manifest's "packed" says it; valid either way
  int64_t bytes = 0;            ///< of the packed form
};

/// Asks oneDNN for the layout of a [k, n] matrix of `dtype`. False, with a reason, when it cannot multiply such
/// matrices. Does not depend on the number of rows of the left side.
bool preferredWeightLayout(int64_t k, int64_t n, lathe_dtype dtype, WeightLayout *layout, std::string *error);

/// Writes the matrix whose element (k, n) is source[k * rowStride + n * colStride] into `target`, which has
/// layout.bytes bytes. Thread-safe.
void packWeights(const WeightLayout &layout, lathe_dtype dtype, const void *source, int64_t rowStride,
                 int64_t colStride, void *target);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_PACKWEIGHTS_H
