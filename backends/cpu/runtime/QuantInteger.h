//===- QuantInteger.h - Products of integers --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// The inner loops of products of quantized integers with a left side that is rounded to 8 bits.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTINTEGER_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTINTEGER_H

#include "backends/cpu/runtime/GemmKernels.h"
#include "backends/cpu/runtime/QuantKernels.h"

namespace lathe::cpu {

/// Rows of a group over which sums of products stay integers: 2^12 products of 8 bits are below 2^28.
constexpr int64_t kPartRows = 4096;

/// A row of the left side as integers.
struct QuantRow {
  const float *a = nullptr;
  int64_t aCol = 1;
  int64_t k = 0;
  /// Where not null a itself, rounded already, one byte behind the other, bits `flip` of which are changed.
  const unsigned char *bytes = nullptr;
  unsigned char flip = 0;
  bool dynamic = true;     ///< by the row's own largest magnitude; else by `scale` and `zero`
  float scale = 1;         ///< set where dynamic
  float zero = 0;
  int8_t *out = nullptr;   ///< [padded], zeros behind k; null where `bytes` stay where they are
  int64_t padded = 0;      ///< a multiple of 64
  int64_t group = 0;
  int32_t *sums = nullptr; ///< of each part of each group, as IntegerTile has them
};

/// Some rows of the left side times parts [begin, end) of a panel.
struct IntegerTile {
  const int8_t *a = nullptr; ///< element (i, k) lies at i * aRow + k
  int64_t aRow = 0;
  int64_t rows = 0;          ///< at most what the loops take
  const int32_t *partSums = nullptr; ///< of each row: a part has up to kPartRows rows of a group, whose first one begins with it
  int64_t partSumsRow = 0;
  const unsigned char *panel = nullptr;
  const unsigned char *bytes = nullptr; ///< where not null the codes of these parts as 8-bit ones, one part behind the other
  int64_t begin = 0, end = 0;
  int64_t columns = 0;   ///< of the panel that there are
  float *sums = nullptr; ///< [rows, panel]: set by part 0, increased by others
  const char *out = nullptr;  ///< where the result goes soon, or null
  int64_t outRow = 0;         ///< in bytes
  int64_t outSize = 4;        ///< of an element
  const char *next = nullptr; ///< what is read after this tile...
  int64_t nextStep = 0;       ///< ...and how many bytes of it are fetched for each unit of codes
  bool stream = false;        ///< the panel itself is fetched
};

/// Parts of a group of `rows` rows.
inline int64_t partsOf(int64_t rows) { return (rows + kPartRows - 1) / kPartRows; }

/// The loops for one kind of codes. Several tiles of rows are sooner multiplied with codes that were made bytes.
struct IntegerKernels {
  void (*multiplyBytes)(const QuantWeight &weight, const IntegerTile &tile);
  /// Writes the bytes of parts [begin, end) of a panel.
  void (*expand)(const QuantWeight &weight, const unsigned char *panel, int64_t begin, int64_t end, unsigned char *bytes);
  void (*multiply)(const QuantWeight &weight, const IntegerTile &tile);
  void (*quantize)(QuantRow &row);
  int64_t tileRows = kTileRows; ///< that `multiplyBytes` takes at most; `multiply` takes kTileRows
};

/// The loops for an instruction set, of weights of so many bits in groups of `group` of their k rows; "avx512bw" is "avx512"
/// without VNNI, which is asked of the processor.
IntegerKernels integerKernels(std::string_view isa, int64_t bits, int64_t group, int64_t k);

IntegerKernels integerKernelsAvx2(int64_t bits);
IntegerKernels integerKernelsAvx512(int64_t bits);
IntegerKernels integerKernelsVnni(int64_t bits); ///< AVX-512 with VNNI
IntegerKernels integerKernelsAmx(int64_t bits);  ///< with tiles besides; groups of whole tiles

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTINTEGER_H
