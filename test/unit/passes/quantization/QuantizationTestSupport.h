//===- QuantizationTestSupport.h - Weights and inputs to test with -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_PASSES_QUANTIZATION_QUANTIZATIONTESTSUPPORT_H
#define LATHE_TEST_UNIT_PASSES_QUANTIZATION_QUANTIZATIONTESTSUPPORT_H

#include "passes/quantization/methods/ErrorMetrics.h"
#include "passes/quantization/methods/Statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace lathe::quantization::test {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Normally distributed, with some large ones.
inline std::vector<float> randomWeights(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float &value : values)
    value = normal(random) * (random() % 64 == 0 ? 4.0f : 1.0f);
  return values;
}

/// Rows of k inputs that are mixtures of fewer signals, of unequal size, with a mean.
inline std::vector<float> correlatedRows(int64_t rows, int64_t k, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1);
  const int64_t signals = std::max<int64_t>(1, k / 4);
  std::vector<float> mix(static_cast<size_t>(signals * k)), signal(static_cast<size_t>(signals)), size(k);
  for (float &value : mix)
    value = normal(random);
  for (float &value : size)
    value = std::exp(normal(random));
  std::vector<float> x(static_cast<size_t>(rows * k));
  for (int64_t row = 0; row < rows; ++row) {
    for (float &value : signal)
      value = normal(random);
    for (int64_t i = 0; i < k; ++i) {
      float sum = 0.2f * normal(random) + 0.3f;
      for (int64_t s = 0; s < signals; ++s)
        sum += mix[s * k + i] * signal[s];
      x[row * k + i] = size[i] * sum;
    }
  }
  return x;
}

inline InputStatistics statisticsOf(const std::vector<float> &x, int64_t k) {
  StatisticsAccumulator accumulator(k, /*secondMoment=*/true);
  Status status = accumulator.accumulate(x.data(), static_cast<int64_t>(x.size()) / k);
  EXPECT_FALSE(status.failed()) << status.message();
  InputStatistics statistics;
  status = accumulator.finish(statistics);
  EXPECT_FALSE(status.failed()) << status.message();
  return statistics;
}

/// Those of inputs that are independent of each other, all with the same mean square.
inline InputStatistics identityStatistics(int64_t k, float square = 1) {
  InputStatistics statistics;
  statistics.k = k;
  statistics.count = 1000;
  statistics.absMax.assign(k, 3 * std::sqrt(square));
  statistics.meanAbs.assign(k, 0.8f * std::sqrt(square));
  statistics.mean.assign(k, 0.0f);
  statistics.secondMoment.assign(k * k, 0.0f);
  for (int64_t i = 0; i < k; ++i)
    statistics.secondMoment[i * k + i] = square;
  return statistics;
}

inline std::vector<float> dense(const Quantized &quantized) {
  std::vector<float> w(static_cast<size_t>(quantized.n * quantized.k));
  quantized.dequantize(w.data());
  return w;
}

inline double squaredError(const std::vector<float> &a, const std::vector<float> &b) {
  EXPECT_EQ(a.size(), b.size());
  return compare(a.data(), b.data(), static_cast<int64_t>(a.size())).error;
}

inline double outputError(const Weight &w, const std::vector<float> &approximation, const InputStatistics &statistics) {
  ErrorMetrics metrics;
  const Status status = compareOutputs(w, approximation.data(), statistics, nullptr, metrics);
  EXPECT_FALSE(status.failed()) << status.message();
  return metrics.error;
}

/// Formats of every kind; groups of `group` inputs.
inline std::vector<Format> everyFormat(int64_t group) {
  Format wide = Format::integer(4, group);
  wide.narrow = false;
  return {Format::integer(8, group),
          Format::integer(4, group, ZeroPoint::None, ScaleType::F16),
          wide,
          Format::integer(3, group, ZeroPoint::Integer),
          Format::integer(2, group, ZeroPoint::Integer, ScaleType::BF16),
          Format::integer(4, group, ZeroPoint::Float),
          Format::integer(4, group, ZeroPoint::Float, ScaleType::F16),
          Format::integer(4, group, ZeroPoint::None, ScaleType::E8M0),
          Format::integer(4, group, ZeroPoint::Integer, ScaleType::E8M0),
          Format::nf4(group),
          Format::fp4(group, ScaleType::E8M0),
          Format::fp8(CodeKind::E4M3FN, group),
          Format::fp8(CodeKind::E5M2, group, ScaleType::BF16),
          Format::log2(4, group),
          Format::apot(5, group),
          Format::ofTable({-1, 0.25f, 0.5f, 2}, group)};
}

#define EXPECT_FAILS(expression, text)                                                                                 \
  do {                                                                                                                 \
    const lathe::quantization::Status failedStatus = (expression);                                                     \
    EXPECT_TRUE(failedStatus.failed());                                                                                \
    EXPECT_NE(failedStatus.message().find(text), std::string::npos) << failedStatus.message();                         \
  } while (false)

#define ASSERT_WORKS(expression)                                                                                       \
  do {                                                                                                                 \
    const lathe::quantization::Status workedStatus = (expression);                                                     \
    ASSERT_FALSE(workedStatus.failed()) << workedStatus.message();                                                     \
  } while (false)

} // namespace lathe::quantization::test

#endif // LATHE_TEST_UNIT_PASSES_QUANTIZATION_QUANTIZATIONTESTSUPPORT_H
