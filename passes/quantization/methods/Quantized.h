//===- Quantized.h - A weight as codes and scales ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_QUANTIZED_H
#define LATHE_PASSES_QUANTIZATION_METHODS_QUANTIZED_H

#include "passes/quantization/methods/Formats.h"

namespace lathe::quantization {

/// A dense weight: data[n outputs][k inputs], which somebody else owns. The layer computes y[j] = sum over i of
/// data[j][i] * x[i].
struct Weight {
  const float *data = nullptr;
  int64_t n = 0;
  int64_t k = 0;
};

/// A weight in a format: w[j][i] = scale[j][i / group] * (value(codes[j][i]) - zero[j][i / group]).
struct Quantized {
  Format format;
  int64_t n = 0;
  int64_t k = 0;
  std::vector<uint8_t> codes; ///< [n][k], a byte each
  std::vector<float> scales;  ///< [n][groups], numbers of the format's type of scales
  std::vector<float> zeros;   ///< [n][groups] where the format has zero points, else empty

  int64_t groups() const { return format.groups(k); }
  float zeroOf(int64_t row, int64_t group) const {
    return zeros.empty() ? format.fixedZero() : zeros[static_cast<size_t>(row * groups() + group)];
  }
  /// Writes the dense weight, [n][k].
  void dequantize(float *w) const;
  /// Bytes when packed: codes without gaps, scales and zero points of their types (integer zero points: a byte),
  /// tables once.
  int64_t bytes() const;
};

/// Fails where the format is not valid, a size is negative, a weight is not finite (with its place), or weights are
/// too large for the format's type of scales.
Status checkWeight(const Weight &w, const Format &format);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_QUANTIZED_H
