//===- ScalingTest.cpp - Factors of inputs ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Scaling.h"

#include "QuantizationTestSupport.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

/// y[rows][n] = x W^T, in double.
std::vector<double> outputs(const std::vector<float> &x, const std::vector<float> &w, int64_t n, int64_t k) {
  std::vector<double> y;
  for (size_t row = 0; row < x.size() / k; ++row)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum += static_cast<double>(x[row * k + i]) * w[j * k + i];
      y.push_back(sum);
    }
  return y;
}

void expectNear(const std::vector<double> &a, const std::vector<double> &b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  double largest = 0;
  for (double value : a)
    largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < a.size(); ++i)
    ASSERT_NEAR(a[i], b[i], tolerance * largest);
}

TEST(Scaling, SmoothQuantKeepsTheProduct) {
  constexpr int64_t n = 9, m = 4, k = 21, rows = 30;
  std::vector<float> x = correlatedRows(rows, k, 1), w = randomWeights(n * k, 2), v = randomWeights(m * k, 3);
  for (int64_t row = 0; row < rows; ++row) {
    x[row * k + 5] *= 100; // an outlier
    x[row * k + 6] = 0;
  }
  for (int64_t row = 0; row < n; ++row)
    w[row * k + 7] = 0;
  for (int64_t row = 0; row < m; ++row)
    v[row * k + 7] = 0;
  const InputStatistics statistics = statisticsOf(x, k);
  for (double alpha : {0.0, 0.5, 0.8, 1.0}) {
    std::vector<float> s;
    ASSERT_WORKS(smoothQuantScales({{w.data(), n, k}, {v.data(), m, k}}, statistics, alpha, s));
    ASSERT_EQ(s.size(), static_cast<size_t>(k));
    EXPECT_EQ(s[6], 1);
    EXPECT_EQ(s[7], 1);
    float largest = 0;
    for (int64_t row = 0; row < n; ++row)
      largest = std::max(largest, std::abs(w[row * k + 5]));
    for (int64_t row = 0; row < m; ++row)
      largest = std::max(largest, std::abs(v[row * k + 5]));
    EXPECT_NEAR(s[5], std::pow(statistics.absMax[5], alpha) / std::pow(largest, 1 - alpha), 1e-4 * s[5]);
    std::vector<float> scaled(w.size()), y = x;
    scaleInputs({w.data(), n, k}, s, scaled.data());
    for (size_t i = 0; i < y.size(); ++i)
      y[i] /= s[i % k];
    expectNear(outputs(x, w, n, k), outputs(y, scaled, n, k), 1e-6);
    // The statistics of what was divided are those that dividing the statistics gives.
    const InputStatistics expected = statisticsOf(y, k), found = scaledStatistics(statistics, s);
    for (int64_t i = 0; i < k; ++i) {
      EXPECT_NEAR(found.absMax[i], expected.absMax[i], 1e-5 * expected.absMax[i]);
      EXPECT_NEAR(found.mean[i], expected.mean[i], 1e-5 * expected.absMax[i]);
      EXPECT_NEAR(found.meanAbs[i], expected.meanAbs[i], 1e-5 * expected.absMax[i]);
      for (int64_t j = 0; j < k; ++j)
        EXPECT_NEAR(found.secondMoment[i * k + j], expected.secondMoment[i * k + j],
                    1e-5 * expected.absMax[i] * expected.absMax[j]);
    }
  }
}

TEST(Scaling, SmoothQuantRefusesWhatItCannotUse) {
  std::vector<float> w = randomWeights(6, 4), s;
  const InputStatistics statistics = identityStatistics(3);
  EXPECT_FAILS(smoothQuantScales({{w.data(), 2, 3}}, statistics, 1.5, s), "from 0 to 1, got 1.5");
  EXPECT_FAILS(smoothQuantScales({{w.data(), 2, 3}}, statistics, kNan, s), "from 0 to 1");
  EXPECT_FAILS(smoothQuantScales({{w.data(), 3, 2}}, statistics, 0.5, s), "must have 3 inputs, got 2");
  w[5] = kInfinity;
  EXPECT_FAILS(smoothQuantScales({{w.data(), 2, 3}}, statistics, 0.5, s), "for output 1, input 2");
  InputStatistics broken = statistics;
  broken.absMax[0] = kNan;
  EXPECT_FAILS(smoothQuantScales({}, broken, 0.5, s), "finite");
}

TEST(Scaling, OutlierInputs) {
  InputStatistics statistics = identityStatistics(6);
  statistics.absMax = {1, 7, 2, 6, 3, 5.9f};
  EXPECT_EQ(outlierInputs(statistics, 6), (std::vector<int64_t>{1, 3}));
  EXPECT_TRUE(outlierInputs(statistics, 8).empty());
  EXPECT_EQ(relativeThreshold(statistics, 2), 2 * 5.9f);
  EXPECT_TRUE(outlierInputs({}, 1).empty());
  EXPECT_EQ(relativeThreshold({}, 2), 0);
}

TEST(Scaling, EqualizationKeepsTheProduct) {
  // first -> ReLU -> second
  constexpr int64_t n = 13, k = 7, m = 5, rows = 20;
  std::vector<float> first = randomWeights(n * k, 5), second = randomWeights(m * n, 6);
  for (int64_t i = 0; i < k; ++i) {
    first[3 * k + i] *= 100;
    first[4 * k + i] = 0;
  }
  std::vector<float> s;
  ASSERT_WORKS(equalizationScales({{first.data(), n, k}}, {{second.data(), m, n}}, s));
  EXPECT_EQ(s[4], 1);
  std::vector<float> scaledFirst = first, scaledSecond(second.size());
  scaleOutputs(scaledFirst.data(), n, k, s, /*inverse=*/true);
  scaleInputs({second.data(), m, n}, s, scaledSecond.data());
  const std::vector<float> x = randomWeights(rows * k, 7);
  const auto run = [&](const std::vector<float> &a, const std::vector<float> &b) {
    std::vector<float> middle;
    for (double value : outputs(x, a, n, k))
      middle.push_back(std::max(0.0f, static_cast<float>(value)));
    return outputs(middle, b, m, n);
  };
  expectNear(run(first, second), run(scaledFirst, scaledSecond), 1e-6);
  for (int64_t channel = 0; channel < n; ++channel) {
    float before = 0, after = 0;
    for (int64_t i = 0; i < k; ++i)
      before = std::max(before, std::abs(scaledFirst[channel * k + i]));
    for (int64_t j = 0; j < m; ++j)
      after = std::max(after, std::abs(scaledSecond[j * n + channel]));
    if (channel != 4)
      EXPECT_NEAR(before, after, 1e-5 * after);
  }
}

TEST(Scaling, EqualizationOfRepeatedBlocks) {
  // Two blocks of two channels, each read twice: inputs of the second are channels 0 1 0 1 2 3 2 3.
  const std::vector<float> first = {4, 8, 1, 16}, second = {1, 2, 1, 1, 1, 1, 0.25f, 4};
  std::vector<float> s;
  ASSERT_WORKS(equalizationScales({{first.data(), 4, 1}}, {{second.data(), 1, 8}}, {2, 2}, s));
  EXPECT_EQ(s, (std::vector<float>{2, 2, 1, 2}));
  EXPECT_FAILS(equalizationScales({{first.data(), 4, 1}}, {{second.data(), 1, 8}}, {3, 2}, s), "blocks of 3");
  EXPECT_FAILS(equalizationScales({{first.data(), 4, 1}}, {{second.data(), 1, 8}}, s), "must have 4 inputs, got 8");
  EXPECT_FAILS(equalizationScales({}, {{second.data(), 1, 8}}, s), "both sides");
  EXPECT_FAILS(equalizationScales({{first.data(), 4, 1}, {first.data(), 2, 2}}, {{second.data(), 2, 4}}, s),
               "4 outputs, got 2");
}

} // namespace
