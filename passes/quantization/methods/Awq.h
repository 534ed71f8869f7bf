//===- Awq.h - Scaling and clipping by what the inputs are ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_AWQ_H
#define LATHE_PASSES_QUANTIZATION_METHODS_AWQ_H

#include "passes/quantization/methods/GroupCoder.h"
#include "passes/quantization/methods/Scaling.h"

namespace lathe::quantization {

struct AwqOptions {
  int grid = 20; ///< exponents 0, 1/grid, …, 1
  /// Also tries factors that fall with the size of an input's weights, mean|x|^alpha / mean|w|^(1 - alpha), the weights
  /// being taken relative to the largest one of their group.
  bool byWeights = true;
  FitOptions fit; ///< of the scales with which the error is measured
  /// Outputs of each weight that candidates are compared by, evenly spread; 0: all. The best one is kept where it is
  /// better than no factors for all outputs.
  int64_t outputs = 256;
};

struct AwqScales {
  std::vector<float> s; ///< [k], for scaleInputs
  double alpha = 0;     ///< the exponent that was chosen; 0 where factors are all 1
  bool byWeights = false;
  double errorBefore = 0; ///< of the outputs, summed over the layers, by the second moment: without factors
  double error = 0;       ///< with them; never above errorBefore
};

/// Factors for the inputs of `weights`, which share their input: s = mean|x|^alpha, with the alpha of the least error
/// of the outputs once the weights are rounded (Lin et al. 2023, "AWQ", section 3.2), by the second moment.
Status awqScales(const std::vector<Weight> &weights, const InputStatistics &statistics, const Format &format,
                 const AwqOptions &options, ThreadPool *pool, AwqScales &result);

struct ClipOptions {
  int steps = 20;        ///< ranges that are tried
  double smallest = 0.5; ///< the smallest of them, as a share of the whole range
};

/// Rounds to nearest, with ranges that clip a group's largest weights where that makes the error of what the group adds
/// to the output smaller (AWQ's clipping), by the group's block of the second moment. That error is never above that of
/// quantizeRtn, group by group; the error of the whole output is not bounded by it.
Status quantizeClipped(const Weight &w, const InputStatistics &statistics, const Format &format,
                       const ClipOptions &options, ThreadPool *pool, Quantized &result);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_AWQ_H
