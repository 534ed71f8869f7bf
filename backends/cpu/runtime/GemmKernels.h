//===- GemmKernels.h - Products with packed weights, a block at a time ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// The inner loops of products whose right side is a constant, one set for each instruction set. A weight is stored as
// panels of up to 64 columns, each of which is row-major: what the loops read is one stream. Sums are kept in registers
// for a tile of six rows and all columns of a panel (sixteen columns with AVX2), over as many rows of a panel as stay in the
// second cache; while they are computed the panel's next rows are fetched.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_GEMMKERNELS_H
#define LATHE_BACKENDS_CPU_RUNTIME_GEMMKERNELS_H

#include <cstdint>
#include <string_view>

namespace lathe::cpu {

/// Columns of a panel; a weight with fewer has one that is narrower, of a multiple of kPanelStep.
constexpr int64_t kPanelColumns = 64;
constexpr int64_t kPanelStep = 16;
/// Rows that one tile has at most.
constexpr int64_t kTileRows = 6;

/// `rows` rows of the left side times `depth` rows of a panel.
struct GemmBlock {
  const float *a = nullptr; ///< element (i, k) lies at i * aRow + k
  int64_t aRow = 0;
  int64_t rows = 0, depth = 0;
  const void *b = nullptr; ///< [depth, width], dense
  int64_t width = 0;       ///< of the panel: a multiple of kPanelStep, at most kPanelColumns
  float *sums = nullptr;   ///< [rows, width]; only where the block is not both first and last
  bool first = true;       ///< sums start at zero
  bool last = true;        ///< the result is out = activation(alpha * sums + bias) * multiplier + residual
  float *out = nullptr;
  unsigned char *bytes = nullptr; ///< in place of `out`: the result times `inverse`, rounded, plus `zero`, in [-128, 127]
  float inverse = 1, zero = 0;
  bool isUnsigned = false; ///< these bytes are 128 more
  int64_t outRow = 0;
  int64_t columns = 0; ///< that `out` and what is read beside it have, at most `width`
  const float *bias = nullptr;
  const float *multiplier = nullptr; ///< strides of `out`
  const float *residual = nullptr;   ///< strides of `out`
  float alpha = 1;
  const float *rowScales = nullptr; ///< of each row, multiplied with alpha; NULL: one
  int64_t activation = 0;      ///< lathe_activation
  const char *next = nullptr;  ///< what is read after this block
  int64_t nextLines = 0;       ///< cache lines of it that are fetched meanwhile
};

/// The loops for one instruction set.
struct GemmKernels {
  /// A block of a panel of f32.
  void (*f32)(const GemmBlock &block);
  /// A block of a panel of bf16 or f16, each element of which is widened whenever it is read.
  void (*bf16)(const GemmBlock &block);
  void (*f16)(const GemmBlock &block);
  /// Writes `count` elements, a multiple of 16, of bf16 or f16 as f32.
  void (*widenBf16)(const void *source, float *target, int64_t count);
  void (*widenF16)(const void *source, float *target, int64_t count);
  /// From sums [rows, width] to the result, for rows [row, row + rows) of a block.
  void (*finish)(const GemmBlock &block, const float *sums, int64_t rows, int64_t row);
};

extern const GemmKernels kGemmAvx2, kGemmAvx512;

/// The loops for an instruction set.
inline const GemmKernels &gemmKernels(std::string_view isa) { return isa == "avx2" ? kGemmAvx2 : kGemmAvx512; }

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_GEMMKERNELS_H
