//===- RowKernels.h - Passes over a row of logits ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_ROWKERNELS_H
#define LATHE_RUNTIME_GENERATION_ROWKERNELS_H

#include <cstddef>
#include <cstdint>

namespace lathe::runtime {

/// Logits whose largest one is kept by itself: what selections need to look at only few of the row.
constexpr size_t kRowBlock = 64;

struct RowScan {
  float max = 0;     ///< minus infinity for an empty row; unspecified where `nan`
  size_t argmax = 0; ///< the first place of `max`
  bool nan = false;  ///< something is not a number
};

/// The passes over whole rows. Every instruction set gives the same bits: lanes and their order of summation are those
/// of sixteen columns, and no product is fused with a sum.
struct RowKernels {
  /// The largest number; also of each block, in `blocks` ((count + 63) / 64 numbers).
  RowScan (*scan)(const float *row, size_t count, float *blocks);

  /// The sum of exp((row[i] - max) * scale). No row[i] is above `max`, and nothing is not a number.
  double (*sumOfExponentials)(const float *row, size_t count, float max, float scale);

  /// Writes exp((row[i] - max) * scale) and gives the sum.
  double (*exponentials)(const float *row, size_t count, float max, float scale, float *out);

  /// Appends the numbers not below `threshold`, which is finite, and their places, in the order of the row; skips
  /// blocks whose largest number is below. Gives how many there are.
  size_t (*collect)(const float *row, size_t count, const float *blocks, float threshold, float *values,
                    int32_t *places);
};

/// Those of the best instruction set of this processor.
const RowKernels &rowKernels();

/// Those of one, for tests: "baseline", "avx2", "avx512"; null where this processor cannot execute them.
const RowKernels *rowKernels(const char *isa);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_ROWKERNELS_H
