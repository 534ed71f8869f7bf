//===- SparseKernels.h - Products with matrices with zeros ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// The inner loops of products whose right side is stored as lists (runtime/SparseLayout.h). The left side is turned, so
// that a number of the weight is multiplied with that of 4 to 32 rows at once: which numbers are zero does not matter
// to vectors then. 256 of its columns, a block, stay in the first cache while the lists of all columns of the weight
// pass by. Sums are kept turned, too, from block to block, and are turned back at the end.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_SPARSEKERNELS_H
#define LATHE_BACKENDS_CPU_RUNTIME_SPARSEKERNELS_H

#include <cstdint>
#include <string_view>

namespace lathe::cpu {

/// A block of rows of the left side, turned, times the lists of a panel.
struct SparseBlock {
  const float *a = nullptr; ///< [256, width]
  const uint8_t *order = nullptr, *fours = nullptr, *rows = nullptr;
  const void *values = nullptr;
  const float *scales = nullptr;           ///< [64, blockScales]; only of integers
  int64_t blockScales = 0, scaleShift = 0; ///< of them the one of row r is at r >> scaleShift
  float *sums = nullptr;                   ///< [64, width], added to
};

/// Numbers to be turned: to[c * toRow + r] = from[r * fromRow + c]; nothing is read beyond `rows` and `columns`.
struct SparseTurn {
  const float *from = nullptr;
  int64_t fromRow = 0;
  float *to = nullptr;
  int64_t toRow = 0;
  int64_t rows = 0, columns = 0;
};

/// The loops for one instruction set.
struct SparseKernels {
  static constexpr int kWidths = 4; ///< 4, 8, 16 and 32
  int64_t widest = 32;
  /// By width (log2 of it, less 2), type of values (a runtime::SparseValues) and whether strips have four columns.
  void (*multiply[kWidths][4][2])(const SparseBlock &block) = {};
  void (*turn)(const SparseTurn &turn) = nullptr;
};

extern const SparseKernels kSparseAvx2, kSparseAvx512;

/// The loops for an instruction set of an artifact's code: "avx512", else those for AVX2.
inline const SparseKernels &sparseKernels(std::string_view isa) {
  return isa == "avx2" ? kSparseAvx2 : kSparseAvx512;
}

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_SPARSEKERNELS_H
