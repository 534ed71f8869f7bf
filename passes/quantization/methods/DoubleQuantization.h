//===- DoubleQuantization.h - Scales as codes themselves --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_DOUBLEQUANTIZATION_H
#define LATHE_PASSES_QUANTIZATION_METHODS_DOUBLEQUANTIZATION_H

#include "passes/quantization/methods/GroupCoder.h"
#include "passes/quantization/methods/Parallel.h"
#include "passes/quantization/methods/Quantized.h"

namespace lathe::quantization {

/// A weight whose scales are codes too: weight.scales[j][g] = scaleScales[g][j / block] * scaleCodes[g][j].
struct DoubleQuantized {
  Quantized weight;                ///< its scales are what the codes stand for, in f32
  int64_t block = 256;             ///< neighbouring outputs whose scales, of the same group, share a scale
  std::vector<uint8_t> scaleCodes; ///< [groups][n], 1 to 255; 0 for a scale of 0
  std::vector<float> scaleScales;  ///< [groups][ceil(n / block)]

  /// Bytes when packed; weight.bytes() counts scales that are not stored.
  int64_t bytes() const;
};

/// Makes the scales of a quantized weight codes of eight bits (double quantization: Dettmers et al. 2023, "QLoRA",
/// section 3; the codes of scales are unsigned here, as scales are positive, where the paper subtracts their mean), and
/// chooses the weight's own codes again, the nearest ones for the scales as they are stored; without `recode` they
/// stay, as those of methods that hand errors on should. Scales of scales have three significant bits, so that a scale
/// is exactly a number of f16, too, unless it is tiny. Fails where block is below 1, or where the format's scales are
/// not positive floats (wide symmetric integers, powers of two).
Status quantizeScales(const Weight &w, Quantized quantized, bool recode, int64_t block, ThreadPool *pool,
                      DoubleQuantized &result);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_DOUBLEQUANTIZATION_H
