//===- ErrorMetricsTest.cpp - How far an approximation is -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/ErrorMetrics.h"

#include "QuantizationTestSupport.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

TEST(ErrorMetrics, OfNumbers) {
  const float a[] = {3, 4, 0}, b[] = {3, 4, 0.5f}, c[] = {-3, -4, 0}, zero[] = {0, 0, 0};
  EXPECT_DOUBLE_EQ(compare(a, b, 3).snrDb(), 20);
  EXPECT_EQ(compare(a, a, 3).snrDb(), kInfinity);
  EXPECT_DOUBLE_EQ(compare(a, a, 3).cosine, 1);
  EXPECT_DOUBLE_EQ(compare(a, c, 3).cosine, -1);
  EXPECT_EQ(compare(zero, a, 3).snrDb(), -kInfinity);
  EXPECT_EQ(compare(zero, a, 3).cosine, 0);
  EXPECT_EQ(compare(zero, zero, 3).cosine, 1);
  EXPECT_EQ(compare(a, a, 0).cosine, 1);
}

TEST(ErrorMetrics, OfOutputsFromTheSecondMoment) {
  constexpr int64_t n = 70, k = 12, rows = 400;
  const std::vector<float> x = correlatedRows(rows, k, 1), w = randomWeights(n * k, 2);
  std::vector<float> other = w;
  const std::vector<float> noise = randomWeights(n * k, 3);
  for (int64_t i = 0; i < n * k; ++i)
    other[i] += 0.1f * noise[i];
  std::vector<float> y, z;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0, otherSum = 0;
      for (int64_t i = 0; i < k; ++i) {
        sum += static_cast<double>(w[j * k + i]) * x[row * k + i];
        otherSum += static_cast<double>(other[j * k + i]) * x[row * k + i];
      }
      y.push_back(static_cast<float>(sum));
      z.push_back(static_cast<float>(otherSum));
    }
  const ErrorMetrics expected = compare(y.data(), z.data(), static_cast<int64_t>(y.size()));
  ErrorMetrics found, threaded;
  ASSERT_WORKS(compareOutputs({w.data(), n, k}, other.data(), statisticsOf(x, k), nullptr, found));
  EXPECT_NEAR(found.error * rows, expected.error, 1e-4 * expected.error);
  EXPECT_NEAR(found.signal * rows, expected.signal, 1e-4 * expected.signal);
  EXPECT_NEAR(found.cosine, expected.cosine, 1e-5);
  EXPECT_NEAR(found.snrDb(), expected.snrDb(), 1e-2);
  double alone = 0;
  ASSERT_WORKS(lathe::quantization::outputError({w.data(), n, k}, other.data(), statisticsOf(x, k), nullptr, alone));
  EXPECT_EQ(alone, found.error);
  ThreadPool pool;
  ASSERT_FALSE(pool.start(3, nullptr).failed());
  ASSERT_WORKS(compareOutputs({w.data(), n, k}, other.data(), statisticsOf(x, k), &pool, threaded));
  EXPECT_EQ(threaded.error, found.error);
  EXPECT_EQ(threaded.cosine, found.cosine);
  EXPECT_FAILS(compareOutputs({w.data(), n, k - 1}, other.data(), statisticsOf(x, k), nullptr, found), "11 inputs");
}

} // namespace
