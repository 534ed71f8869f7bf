//===- LowRankTestSupport.h - Weights and inputs to test with ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_PASSES_LOWRANK_LOWRANKTESTSUPPORT_H
#define LATHE_TEST_UNIT_PASSES_LOWRANK_LOWRANKTESTSUPPORT_H

#include "passes/quantization/methods/Statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace lathe::lowrank::test {

inline std::vector<float> random(int64_t count, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float &value : values)
    value = normal(engine);
  return values;
}

/// Of rows of k inputs that are mixtures of fewer signals, of unequal size; `noise` 0 makes a moment without an
/// inverse.
inline quantization::InputStatistics statistics(int64_t k, int64_t signals, float noise, uint32_t seed) {
  constexpr int64_t kRows = 300;
  std::vector<float> mix = random(signals * k, seed), signal = random(kRows * signals, seed + 1),
                     rest = random(kRows * k, seed + 2), x(static_cast<size_t>(kRows * k));
  for (int64_t row = 0; row < kRows; ++row)
    for (int64_t i = 0; i < k; ++i) {
      float sum = noise * rest[row * k + i];
      for (int64_t s = 0; s < signals; ++s)
        sum += mix[s * k + i] * signal[row * signals + s];
      x[row * k + i] = sum * std::exp(static_cast<float>(i % 5) - 2);
    }
  quantization::StatisticsAccumulator accumulator(k, /*secondMoment=*/true);
  EXPECT_FALSE(accumulator.accumulate(x.data(), kRows).failed());
  quantization::InputStatistics result;
  EXPECT_FALSE(accumulator.finish(result).failed());
  return result;
}

inline double tail(const std::vector<double> &squares, int64_t rank) {
  double sum = 0;
  for (size_t i = static_cast<size_t>(rank); i < squares.size(); ++i)
    sum += squares[i];
  return sum;
}

inline double squares(const std::vector<float> &values) {
  double sum = 0;
  for (float value : values)
    sum += static_cast<double>(value) * value;
  return sum;
}

inline double squaredDistance(const std::vector<float> &a, const std::vector<float> &b) {
  std::vector<float> difference(a);
  for (size_t i = 0; i < a.size(); ++i)
    difference[i] -= b[i];
  return squares(difference);
}

} // namespace lathe::lowrank::test

#endif // LATHE_TEST_UNIT_PASSES_LOWRANK_LOWRANKTESTSUPPORT_H
