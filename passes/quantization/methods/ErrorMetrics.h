//===- ErrorMetrics.h - How far an approximation is -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_ERRORMETRICS_H
#define LATHE_PASSES_QUANTIZATION_METHODS_ERRORMETRICS_H

#include "passes/quantization/methods/Quantized.h"
#include "passes/quantization/methods/Statistics.h"

namespace lathe::quantization {

/// An approximation beside what it stands for.
struct ErrorMetrics {
  double signal = 0; ///< sum of squares of what is approximated
  double error = 0;  ///< sum of squares of the differences
  double cosine = 1; ///< 1 where both are all zero, 0 where one is

  /// Signal to noise ratio in decibels, 10 log10(signal / error): infinite without error, minus infinite where there
  /// is an error and no signal.
  double snrDb() const;
};

ErrorMetrics compare(const float *reference, const float *approximation, int64_t count);

/// The error of a layer's output over the rows that the statistics are of, from their second moment H alone: mean
/// over rows and sum over outputs of ((approximation - w) x)^2, the sum over outputs of d H d^T; signal and cosine
/// likewise. `approximation`: [n][k]. Fails where the statistics are not those of the weight's inputs.
Status compareOutputs(const Weight &w, const float *approximation, const InputStatistics &statistics, ThreadPool *pool,
                      ErrorMetrics &result);

/// compareOutputs' error alone, in half the time.
Status outputError(const Weight &w, const float *approximation, const InputStatistics &statistics, ThreadPool *pool,
                   double &error);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_ERRORMETRICS_H
