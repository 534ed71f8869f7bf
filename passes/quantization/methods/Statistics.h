//===- Statistics.h - What calibration tells of a layer's input -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_STATISTICS_H
#define LATHE_PASSES_QUANTIZATION_METHODS_STATISTICS_H

#include "passes/quantization/methods/Parallel.h"
#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::quantization {

using runtime::Status;

/// Statistics of the rows x[k] that a layer got.
struct InputStatistics {
  int64_t k = 0;
  uint64_t count = 0;              ///< rows
  std::vector<float> absMax;       ///< [k], largest |x|
  std::vector<float> meanAbs;      ///< [k], mean of |x|
  std::vector<float> mean;         ///< [k], mean of x
  std::vector<float> secondMoment; ///< [k][k], mean of x x^T, symmetric; empty where it was not asked for

  bool hasSecondMoment() const { return !secondMoment.empty(); }
  /// Mean of x_i^2: the diagonal of the second moment.
  std::vector<float> meanSquare() const;
};

/// Fails where sizes do not fit `k` inputs (with those of the second moment where `needsSecondMoment`), nothing was
/// counted, or numbers are not finite.
Status validate(const InputStatistics &statistics, int64_t k, bool needsSecondMoment);

/// Gathers statistics row by row, in memory that does not grow with their number: k * k floats and some rows. The
/// result depends on the rows and their order, not on how they were divided among calls or threads.
class StatisticsAccumulator {
public:
  StatisticsAccumulator(int64_t k, bool secondMoment);

  /// x: [rows][k]. Fails, with the place, at a number that is not finite; then nothing of this call is counted.
  Status accumulate(const float *x, int64_t rows, ThreadPool *pool = nullptr);

  uint64_t count() const { return count_; }
  /// Fails where nothing was accumulated.
  Status finish(InputStatistics &result, ThreadPool *pool = nullptr);

private:
  void flush(ThreadPool *pool);

  int64_t k_;
  uint64_t count_ = 0;
  std::vector<float> absMax_;
  std::vector<double> sum_, absSum_;
  std::vector<float> rows_;     ///< not yet part of products_
  int64_t waiting_ = 0;         ///< how many
  std::vector<float> products_; ///< [k][k], sum of x x^T; upper triangle by tiles
};

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_STATISTICS_H
