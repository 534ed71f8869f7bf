//===- ScaleRefinement.h - Better scales for given codes --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_SCALEREFINEMENT_H
#define LATHE_PASSES_QUANTIZATION_METHODS_SCALEREFINEMENT_H

#include "passes/quantization/methods/Parallel.h"
#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::quantization {

/// Changes the scales of a weight, for the codes and zero points as they are, so that the error of the output over the
/// statistics' rows falls: each group's scale by least squares, one group of inputs after another, `passes` times.
/// That error never grows. Takes 2 n k^2 operations a pass.
/// Fails where the weight and the statistics do not fit each other.
Status refineScales(const Weight &w, const InputStatistics &statistics, int passes, ThreadPool *pool,
                    Quantized &quantized);

/// The same for weights of any kind: w is near to scale * values, `values` being [n][k], `scales` [n][groups] of
/// `group` inputs each.
void refineScales(const Weight &w, const std::vector<float> &values, const InputStatistics &statistics, int64_t group,
                  ScaleType type, int passes, ThreadPool *pool, std::vector<float> &scales);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_SCALEREFINEMENT_H
