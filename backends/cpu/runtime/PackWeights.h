//===- PackWeights.h - Weights in panels -----------------------*- C++ -*-===//
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

/// How the loops of GemmKernels.h want a [k, n] right side: panels of columns, each row-major.
struct WeightLayout {
  bool plain = true;            ///< row-major without padding: nothing to pack
  runtime::PackedLayout layout; ///< as the manifest's "packed" says it; valid either way
  int64_t bytes = 0;            ///< of the packed form
};

/// Columns of a panel of a matrix of n columns, the same for all of its panels.
int64_t panelWidth(int64_t n);

/// The layout of a [k, n] matrix of `dtype`, the same on every machine and for any number of rows of the left side. False,
/// with a reason, when there are no loops for such matrices.
bool preferredWeightLayout(int64_t k, int64_t n, lathe_dtype dtype, WeightLayout *layout, std::string *error);

/// Writes the matrix whose element (k, n) is source[k * rowStride + n * colStride] into `target`, which has
/// layout.bytes bytes. Thread-safe.
void packWeights(const WeightLayout &layout, lathe_dtype dtype, const void *source, int64_t rowStride,
                 int64_t colStride, void *target);

/// Rounds `count` numbers to bf16 or f16, the nearest one, of two the even one. Thread-safe.
void roundWeights(lathe_dtype dtype, const void *source, int64_t count, uint16_t *target);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_PACKWEIGHTS_H
