//===- ActivationRangeTest.cpp - Scales of activations ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/ActivationRange.h"

#include "QuantizationTestSupport.h"
#include "passes/quantization/methods/BiasCorrection.h"
#include "passes/quantization/methods/RoundToNearest.h"

#include <algorithm>

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

constexpr RangeMethod kMethods[] = {RangeMethod::MinMax, RangeMethod::MovingAverage, RangeMethod::Percentile,
                                    RangeMethod::Entropy, RangeMethod::Mse};

ActivationRange rangeOf(const RangeObserver &observer, RangeMethod method, bool symmetric, double percentile = 99.99) {
  ActivationRange range;
  const Status status = observer.range({method, percentile, symmetric, 8}, range);
  EXPECT_FALSE(status.failed()) << status.message();
  return range;
}

double squaredError(const std::vector<float> &x, const ActivationRange &range, bool symmetric) {
  double sum = 0;
  for (float value : x) {
    const float code = std::clamp(std::nearbyint(value / range.scale) + static_cast<float>(range.zeroPoint),
                                  symmetric ? -127.0f : 0.0f, symmetric ? 127.0f : 255.0f);
    sum += std::pow(value - range.scale * (code - static_cast<float>(range.zeroPoint)), 2);
  }
  return sum;
}

std::vector<float> normal(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0, 1);
  std::vector<float> x(static_cast<size_t>(count));
  for (float &value : x)
    value = distribution(random);
  return x;
}

TEST(Histogram, GrowingLosesNothingButResolution) {
  // In one piece, and from the smallest to the largest, which doubles the range many times.
  std::vector<float> x = normal(5000, 1);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] *= std::ldexp(1.0f, static_cast<int>(i % 12));
  x.push_back(0);
  Histogram whole, grown;
  whole.add(x.data(), static_cast<int64_t>(x.size()));
  std::sort(x.begin(), x.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  for (float value : x)
    grown.add(&value, 1);
  EXPECT_EQ(whole.limit(), grown.limit());
  EXPECT_EQ(whole.zeros(), 1u);
  EXPECT_EQ(grown.zeros(), 1u);
  EXPECT_EQ(whole.bins(), grown.bins());
  EXPECT_EQ(whole.count(), x.size());
  // Every number is in its bin.
  std::vector<uint64_t> expected(Histogram::kBins);
  for (float value : x)
    if (value != 0)
      ++expected[static_cast<size_t>(std::floor((value + whole.limit()) / whole.width()))];
  EXPECT_EQ(whole.bins(), expected);
}

TEST(Histogram, NumbersAtTheEdges) {
  Histogram histogram;
  const float extremes[] = {1e-38f, -std::numeric_limits<float>::max(), std::numeric_limits<float>::max(), -0.0f, 1.0f};
  for (float value : extremes)
    histogram.add(&value, 1);
  uint64_t sum = 0;
  for (uint64_t count : histogram.bins())
    sum += count;
  EXPECT_EQ(sum, 4u);
  EXPECT_EQ(histogram.zeros(), 1u);
  EXPECT_EQ(histogram.count(), 5u);
}

TEST(ActivationRange, MinMax) {
  const float x[] = {-1, 0.5f, 3};
  RangeObserver observer;
  ASSERT_WORKS(observer.observe(x, 3));
  const ActivationRange symmetric = rangeOf(observer, RangeMethod::MinMax, true);
  EXPECT_EQ(symmetric.scale, 3.0f / 127);
  EXPECT_EQ(symmetric.zeroPoint, 0);
  const ActivationRange asymmetric = rangeOf(observer, RangeMethod::MinMax, false);
  EXPECT_EQ(asymmetric.scale, 4.0f / 255);
  EXPECT_EQ(asymmetric.zeroPoint, 64);
  EXPECT_EQ(asymmetric.low, -1);
  EXPECT_EQ(asymmetric.high, 3);
  // Of numbers of one sign, 0 joins the range.
  const float positive[] = {2, 5};
  RangeObserver other;
  ASSERT_WORKS(other.observe(positive, 2));
  EXPECT_EQ(rangeOf(other, RangeMethod::MinMax, false).low, 0);
  EXPECT_EQ(rangeOf(other, RangeMethod::MinMax, false).zeroPoint, 0);
}

TEST(ActivationRange, MovingAverage) {
  RangeObserver observer(0.5);
  const float first[] = {-2, 4}, second[] = {-4, 8}, third[] = {0, 0};
  ASSERT_WORKS(observer.observe(first, 2));
  ASSERT_WORKS(observer.observe(second, 2));
  EXPECT_EQ(rangeOf(observer, RangeMethod::MovingAverage, false).low, -3);
  EXPECT_EQ(rangeOf(observer, RangeMethod::MovingAverage, false).high, 6);
  ASSERT_WORKS(observer.observe(third, 2));
  EXPECT_EQ(rangeOf(observer, RangeMethod::MovingAverage, false).high, 3);
}

TEST(ActivationRange, Percentile) {
  std::vector<float> x = normal(100000, 2);
  RangeObserver observer;
  ASSERT_WORKS(observer.observe(x.data(), static_cast<int64_t>(x.size())));
  std::sort(x.begin(), x.end());
  const double width = 8 * 2.0 / Histogram::kBins;
  for (double percentile : {90.0, 99.0, 99.9}) {
    const ActivationRange range = rangeOf(observer, RangeMethod::Percentile, false, percentile);
    const double tail = (100 - percentile) / 200 * static_cast<double>(x.size());
    EXPECT_NEAR(range.low, x[static_cast<size_t>(tail)], 2 * width);
    EXPECT_NEAR(range.high, x[x.size() - 1 - static_cast<size_t>(tail)], 2 * width);
  }
  std::vector<float> magnitudes;
  for (float value : x)
    magnitudes.push_back(std::abs(value));
  std::sort(magnitudes.begin(), magnitudes.end());
  const ActivationRange range = rangeOf(observer, RangeMethod::Percentile, true, 99);
  EXPECT_NEAR(range.high, magnitudes[99000], 2 * width);
  const ActivationRange all = rangeOf(observer, RangeMethod::Percentile, true, 100);
  EXPECT_EQ(all.high, magnitudes.back());
  EXPECT_EQ(rangeOf(observer, RangeMethod::Percentile, false, 100).low, x.front());
  EXPECT_EQ(rangeOf(observer, RangeMethod::Percentile, false, 100).high, x.back());
}

TEST(ActivationRange, ClippingMethodsDropOutliers) {
  // One in 20 000 numbers is a hundred times as large.
  std::vector<float> x = normal(200000, 3);
  for (size_t i = 0; i < x.size(); i += 20000)
    x[i] *= 100;
  RangeObserver observer;
  ASSERT_WORKS(observer.observe(x.data(), static_cast<int64_t>(x.size())));
  const float largest = std::max(-observer.least(), observer.most());
  for (bool symmetric : {true, false}) {
    const ActivationRange whole = rangeOf(observer, RangeMethod::MinMax, symmetric);
    const ActivationRange percentile = rangeOf(observer, RangeMethod::Percentile, symmetric, 99.99);
    const ActivationRange entropy = rangeOf(observer, RangeMethod::Entropy, symmetric);
    const ActivationRange mse = rangeOf(observer, RangeMethod::Mse, symmetric);
    EXPECT_LT(percentile.high, 0.1f * largest);
    EXPECT_GT(percentile.high, 2.5f);
    EXPECT_LT(entropy.high, 0.2f * largest);
    EXPECT_GT(entropy.high, 2);
    EXPECT_LE(squaredError(x, mse, symmetric), squaredError(x, whole, symmetric) * 1.001);
    EXPECT_LE(squaredError(x, mse, symmetric), squaredError(x, percentile, symmetric) * 1.001);
    EXPECT_LE(squaredError(x, mse, symmetric), squaredError(x, entropy, symmetric) * 1.001);
  }
}

TEST(ActivationRange, DoesNotDependOnTheBatches) {
  const std::vector<float> x = normal(3000, 4);
  RangeObserver one, many;
  ASSERT_WORKS(one.observe(x.data(), 3000));
  for (int64_t i = 0; i < 3000; i += 7)
    ASSERT_WORKS(many.observe(x.data() + i, std::min<int64_t>(7, 3000 - i)));
  for (RangeMethod method : kMethods) {
    if (method == RangeMethod::MovingAverage)
      continue;
    EXPECT_EQ(rangeOf(one, method, true).scale, rangeOf(many, method, true).scale);
    EXPECT_EQ(rangeOf(one, method, false).scale, rangeOf(many, method, false).scale);
    EXPECT_EQ(rangeOf(one, method, false).zeroPoint, rangeOf(many, method, false).zeroPoint);
  }
}

TEST(ActivationRange, FewNumbersOfAnySize) {
  for (const std::vector<float> &x : std::vector<std::vector<float>>{
           {0}, {0, 0, 0}, {5}, {-5}, {1e-38f}, {1e-44f}, {3e38f, -3e38f}, {-1, -2, -3}, {1, 1, 1, 1}}) {
    RangeObserver observer;
    ASSERT_WORKS(observer.observe(x.data(), static_cast<int64_t>(x.size())));
    for (RangeMethod method : kMethods) {
      for (bool symmetric : {true, false}) {
        for (int bits : {2, 4, 8}) {
          ActivationRange range;
          ASSERT_WORKS(observer.range({method, 99.9, symmetric, bits}, range));
          EXPECT_TRUE(range.scale > 0 && std::isfinite(range.scale));
          EXPECT_LE(range.low, 0);
          EXPECT_GE(range.high, 0);
          EXPECT_GE(range.zeroPoint, 0);
          EXPECT_LT(range.zeroPoint, 1 << bits);
        }
      }
    }
  }
}

TEST(ActivationRange, RefusesWhatIsNoNumber) {
  RangeObserver observer;
  ActivationRange range;
  EXPECT_FAILS(observer.range({}, range), "at least one number, got none");
  const float bad[] = {1, kNan, 2}, worse[] = {1, 2, kInfinity}, good[] = {1, 2};
  ASSERT_WORKS(observer.observe(good, 2));
  EXPECT_FAILS(observer.observe(bad, 3), "at 1 of 3");
  EXPECT_FAILS(observer.observe(worse, 3), "got inf");
  EXPECT_EQ(observer.count(), 2u);
  ASSERT_WORKS(observer.observe(nullptr, 0));
  EXPECT_FAILS(observer.range({RangeMethod::MinMax, 99, true, 9}, range), "2 to 8 bits");
  EXPECT_FAILS(observer.range({RangeMethod::MinMax, 101, true, 8}, range), "percentile");
  EXPECT_FAILS(observer.range({RangeMethod::MinMax, kNan, true, 8}, range), "percentile");
  RangeObserver still(0);
  ASSERT_WORKS(still.observe(good, 2));
  EXPECT_FAILS(still.range({}, range), "momentum");
}

TEST(BiasCorrection, OutputsKeepTheirMean) {
  constexpr int64_t n = 7, k = 30, rows = 500;
  const std::vector<float> x = correlatedRows(rows, k, 5), w = randomWeights(n * k, 6);
  const InputStatistics statistics = statisticsOf(x, k);
  Quantized quantized;
  ASSERT_WORKS(quantizeRtn({w.data(), n, k}, Format::integer(2), nullptr, quantized));
  const std::vector<float> approximation = dense(quantized);
  std::vector<float> correction;
  ASSERT_WORKS(biasCorrection({w.data(), n, k}, approximation.data(), statistics, correction));
  for (int64_t j = 0; j < n; ++j) {
    double before = 0, after = 0;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < k; ++i) {
        before += static_cast<double>(w[j * k + i]) * x[row * k + i] / rows;
        after += static_cast<double>(approximation[j * k + i]) * x[row * k + i] / rows;
      }
    EXPECT_NEAR(before, after + correction[j], 1e-4);
  }
  EXPECT_FAILS(biasCorrection({w.data(), k, n}, approximation.data(), statistics, correction), "7 inputs");
}

} // namespace
