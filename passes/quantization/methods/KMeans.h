//===- KMeans.h - Centres of weighted points --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_KMEANS_H
#define LATHE_PASSES_QUANTIZATION_METHODS_KMEANS_H

#include "passes/quantization/methods/Parallel.h"

#include <cstdint>
#include <vector>

namespace lathe::quantization {

/// Points of `dimension` numbers, each number with a weight of its squared error, not negative.
struct WeightedPoints {
  int dimension = 1;
  std::vector<float> x;      ///< [count][dimension]
  std::vector<float> weight; ///< [count][dimension]

  int64_t count() const { return static_cast<int64_t>(x.size()) / dimension; }
};

/// Centres laid out so that the nearest one is found fast.
class CentreSearch {
public:
  static constexpr int kMaxCentres = 256;

  /// `centres`: [count][dimension].
  CentreSearch(const float *centres, int count, int dimension);

  /// The first of the centres c with the least sum of weight * (x - c)^2; `weight` may be null, for weights of 1.
  int nearest(const float *x, const float *weight) const;

private:
  int count_, dimension_;
  std::vector<float> columns_; ///< [dimension][centres, padded with distant ones to whole vectors]
};

/// `centres` centres [centres][dimension] that make the weighted squared error small: seeded by k-means++ (Arthur and
/// Vassilvitskii 2007), then Lloyd's iterations, in which a centre without points takes the point with the largest
/// error. The same for any number of threads. Returns the sum of the errors.
double kMeans(const WeightedPoints &points, int centres, int iterations, uint64_t seed, ThreadPool *pool,
              std::vector<float> &result);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_KMEANS_H
