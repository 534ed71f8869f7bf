//===- PackQuantized.h - Quantized weights in panels -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// For the compile half: what an artifact stores for quantized constants. All functions are thread-safe and want a layout
// that is valid().
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_PACKQUANTIZED_H
#define LATHE_BACKENDS_CPU_RUNTIME_PACKQUANTIZED_H

#include "runtime/QuantizedLayout.h"

#include <cstdint>

namespace lathe::cpu {

/// What a quantized matrix is made of.
struct QuantizedSource {
  /// Code (k / dimension, n) lies at codes[k / dimension * codeRow + n * codeColumn], one a byte; of integers without a
  /// sign (signed ones have 2^(bits - 1) added) the low `bits` count.
  const uint8_t *codes = nullptr;
  int64_t codeRow = 0, codeColumn = 0;
  const float *scales = nullptr; ///< [groups, n], rounded to the layout's type
  const float *zeros = nullptr;  ///< [groups, n], rounded likewise; not read where the layout's are constant
  const float *table = nullptr;  ///< [2^bits, dimension]; only where the layout has one
};

/// How the loops want a [k, n] weight: sets `panel` of a layout whose k and n are known.
void setPanel(runtime::QuantizedLayout &layout);

/// Writes layout.bytes() bytes.
void packQuantized(const runtime::QuantizedLayout &layout, const QuantizedSource &source, void *target);

/// The opposite of packing: codes [ceil(k / dimension), n], scales and zeros [groups, n], table. Where a pointer is null that
/// part is left out.
void unpackQuantized(const runtime::QuantizedLayout &layout, const void *packed, uint8_t *codes, float *scales,
                     float *zeros, float *table);

/// Column n of the matrix, k numbers.
void dequantizeColumn(const runtime::QuantizedLayout &layout, const void *packed, int64_t n, float *out);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_PACKQUANTIZED_H
