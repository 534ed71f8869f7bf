//===- RoundToNearest.h - Each weight to its nearest code -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_ROUNDTONEAREST_H
#define LATHE_PASSES_QUANTIZATION_METHODS_ROUNDTONEAREST_H

#include "passes/quantization/methods/GroupCoder.h"
#include "passes/quantization/methods/Parallel.h"
#include "passes/quantization/methods/Quantized.h"

namespace lathe::quantization {

/// Every group gets the scale and zero point that `fit` chooses, every weight the nearest code. `importance`: a factor
/// of the squared error of each of the k inputs, which searches weigh by (the mean square of the input makes the error
/// that of the layer's output, but for correlations), or null.
/// Fails where checkWeight does, or where an importance is negative or not finite.
Status quantizeRounded(const Weight &w, const Format &format, const FitOptions &fit, const float *importance,
                       ThreadPool *pool, Quantized &result);

/// Round to nearest (RTN): scales as small as hold all weights of a group.
Status quantizeRtn(const Weight &w, const Format &format, ThreadPool *pool, Quantized &result);

/// With the scale of the least squared error for each group, which may clip its largest weights; the error is never
/// above that of quantizeRtn.
Status quantizeMse(const Weight &w, const Format &format, const float *importance, ThreadPool *pool, Quantized &result);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_ROUNDTONEAREST_H
