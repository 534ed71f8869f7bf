//===- BiasCorrection.h - The mean error of a layer -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_BIASCORRECTION_H
#define LATHE_PASSES_QUANTIZATION_METHODS_BIASCORRECTION_H

#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::quantization {

/// What is to be added to the layer's bias so that its outputs have the mean they had (Nagel et al. 2019, "Data-Free
/// Quantization", section 4.2; with the inputs' mean from calibration): correction[n] = (w - approximation) E[x].
/// `approximation`: [n][k]. Fails where the statistics are not those of the weight's inputs.
Status biasCorrection(const Weight &w, const float *approximation, const InputStatistics &statistics,
                      std::vector<float> &correction);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_BIASCORRECTION_H
