//===- Hqq.h - Zero points without calibration ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_HQQ_H
#define LATHE_PASSES_QUANTIZATION_METHODS_HQQ_H

#include "passes/quantization/methods/Parallel.h"
#include "passes/quantization/methods/Quantized.h"

namespace lathe::quantization {

struct HqqOptions {
  double norm = 0.7;    ///< p of the error sum of |w - rounded w|^p, above 0, at most 1: outliers count less
  double beta = 10;     ///< how closely the two halves of the problem are held together at first, in steps of the codes
  double growth = 1.01; ///< by which beta grows each time
  int iterations = 20;
  /// Where a group has weights that are zero its zero point is an integer, so that a code stands for 0: what was pruned
  /// stays so.
  bool keepZeros = false;
};

/// Half-quadratic quantization (Badri and Shaji 2023, "Half-Quadratic Quantization of Large Machine Learning Models"):
/// scales as for round to nearest, zero points that are floats and make a norm below the first of the errors small,
/// found by alternating between a soft threshold of the errors and the mean. Needs no calibration. The norm of the
/// errors is never above that of quantizeRtn in the same format, group by group.
/// Fails where checkWeight does, where the format has no float zero points, or where options are out of range.
Status quantizeHqq(const Weight &w, const Format &format, const HqqOptions &options, ThreadPool *pool,
                   Quantized &result);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_HQQ_H
