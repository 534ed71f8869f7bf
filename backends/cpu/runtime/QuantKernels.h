//===- QuantKernels.h - Loops over quantized weights ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// The inner loops of products with quantized weights (runtime/QuantizedLayout.h), one set for each instruction set and
// kind of codes.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTKERNELS_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTKERNELS_H

#include <cstdint>
#include <string_view>

namespace lathe::cpu {

/// How the loops read numbers beside the codes; as runtime::ScaleType, and what zero points have besides.
enum class QuantNumber : int64_t { f32, f16, bf16, e8m0, u8, none };

/// A weight as the loops see it: plain numbers, since what they call is compiled for one instruction set.
struct QuantWeight {
  int64_t k = 0;         ///< rows
  int64_t group = 0;     ///< rows of a group but the last one
  int64_t panel = 0;     ///< columns of a panel
  int64_t unitBytes = 0; ///< of a unit of a panel
  int64_t headBytes = 0, groupBytes = 0;
  int64_t scaleBytes = 0;
  QuantNumber scale = QuantNumber::f32, zeros = QuantNumber::none;
  /// What zero points count from: half the range of integers, which stand for numbers of both signs inside the loops.
  float center = 0;
  float zero = 0; ///< of all groups, where there are no others; that of tables of up to 16 numbers is part of these
  alignas(64) float lookup[16] = {}; ///< tables of up to 16 numbers, repeated so that higher bits do not matter
  const float *table = nullptr;      ///< larger ones, and codebooks
  int64_t entries = 0, dimension = 1;

  bool hasZeros() const { return zeros != QuantNumber::none || zero != 0; }
};

/// A few rows of the left side times all rows of a panel.
struct QuantTile {
  const float *a = nullptr; ///< element (i, k) lies at i * aRow + k; there are whole units of them, zeros behind the last
  int64_t aRow = 0;
  int64_t rows = 0;              ///< at most kTileRows
  const float *groupSums = nullptr; ///< of the elements of each row in each group; only where there are zero points
  int64_t groupSumsRow = 0;
  const unsigned char *panel = nullptr;
  int64_t columns = 0;   ///< of the panel that there are
  float *sums = nullptr; ///< [rows, panel]
};

/// A few rows of the left side times some rows of a panel of a codebook's codes, by tables of what each entry gives with the numbers
/// of the left side that it is multiplied with (Egiazarian et al. 2024, AQLM, section 4.4): a code is one lookup, whatever its dimension.
struct LookedTile {
  const float *tables = nullptr; ///< of each row and of each code row, as `tabulate` writes them
  int64_t tablesRow = 0;         ///< floats of a row's
  int64_t rows = 0;
  const float *groupSums = nullptr; ///< as in QuantTile
  int64_t groupSumsRow = 0;
  const unsigned char *panel = nullptr;
  int64_t begin = 0, end = 0; ///< rows of the panel: whole units from `begin` on
  int64_t columns = 0;
  float *sums = nullptr; ///< [rows, panel]: set where `begin` is 0, else increased
};

/// The loops for one kind of codes.
struct QuantKernels {
  /// Reads each code once for all rows; null where a widened panel is sooner used.
  void (*multiply)(const QuantWeight &weight, const QuantTile &tile);
  bool lookups = false; ///< integers of up to 4 bits are looked up, so that their zero point may be part of the table
  /// Writes rows [row, row + rows) of a panel, a multiple of a unit's rows from the start of a group on, as f32 [rows, panel];
  /// whole units are written, the rows of the last one that are behind the matrix too.
  void (*widen)(const QuantWeight &weight, const unsigned char *panel, int64_t row, int64_t rows, float *out);
  /// Only of codebooks: writes tables of max(entries, 16) floats for code rows [begin, end), zeros for numbers behind weight.k.
  void (*tabulate)(const QuantWeight &weight, const float *a, int64_t aCol, int64_t begin, int64_t end, float *tables) = nullptr;
  void (*multiplyLooked)(const QuantWeight &weight, const LookedTile &tile) = nullptr;
};

/// What chooses the loops.
struct QuantFormat {
  enum Values { integer, table, e4m3, e5m2, codebook } values = integer;
  int64_t bits = 8, dimension = 1;
};

QuantKernels quantKernelsAvx2(const QuantFormat &format);
QuantKernels quantKernelsAvx512(const QuantFormat &format);

/// The loops for an instruction set.
inline QuantKernels quantKernels(std::string_view isa, const QuantFormat &format) {
  return isa == "avx2" ? quantKernelsAvx2(format) : quantKernelsAvx512(format);
}

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTKERNELS_H
