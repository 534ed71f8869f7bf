//===- RoundToNearestTest.cpp - Each weight to its nearest code -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/RoundToNearest.h"

#include "QuantizationTestSupport.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

TEST(RoundToNearest, SymmetricIntegers) {
  // Two groups, the second shorter: scales 0.5 and 2, zero 4 for all.
  const std::vector<float> w = {1.5f, -0.7f, 0.2f, -6, 4.9f};
  Quantized result;
  ASSERT_WORKS(quantizeRtn({w.data(), 1, 5}, Format::integer(3, 3), nullptr, result));
  EXPECT_EQ(result.scales, (std::vector<float>{0.5f, 2}));
  EXPECT_EQ(result.codes, (std::vector<uint8_t>{7, 3, 4, 1, 6}));
  EXPECT_TRUE(result.zeros.empty());
  EXPECT_EQ(result.zeroOf(0, 1), 4);
  EXPECT_EQ(dense(result), (std::vector<float>{1.5f, -0.5f, 0, -6, 4}));
  EXPECT_EQ(result.bytes(), 2 + 2 * 4);
}

TEST(RoundToNearest, WideIntegersPutTheirExtraLevelAtTheLargestWeight) {
  Format format = Format::integer(3);
  format.narrow = false;
  const std::vector<float> w = {4, -3, 1, 0, -4, 3, 1, 0};
  Quantized result;
  ASSERT_WORKS(quantizeRtn({w.data(), 2, 4}, format, nullptr, result));
  EXPECT_EQ(result.scales, (std::vector<float>{-1, 1}));
  EXPECT_EQ(dense(result), w);
}

TEST(RoundToNearest, ZeroPoints) {
  const std::vector<float> w = {-1, 0, 2, 0.4f, 5, 6, 7, 8};
  Quantized result;
  ASSERT_WORKS(quantizeRtn({w.data(), 2, 4}, Format::integer(2, 0, ZeroPoint::Integer), nullptr, result));
  EXPECT_EQ(result.zeros, (std::vector<float>{1, 0}));
  EXPECT_EQ(result.scales[0], 1.0f);
  EXPECT_EQ(result.codes[0], 0);
  EXPECT_EQ(result.bytes(), 2 + 2 * 4 + 2);
  // A float zero point need not be among the codes.
  ASSERT_WORKS(quantizeRtn({w.data(), 2, 4}, Format::integer(2, 0, ZeroPoint::Float), nullptr, result));
  EXPECT_EQ(result.zeros[1], -5);
  EXPECT_EQ(result.scales[1], 1);
  EXPECT_EQ(result.bytes(), 2 + 4 * 4);
}

TEST(RoundToNearest, ErrorsAreBelowHalfAStep) {
  constexpr int64_t n = 5, k = 77;
  const std::vector<float> w = randomWeights(n * k, 3);
  for (int64_t group : {0, 16, 32, 76, 77, 100}) {
    for (int bits : {2, 3, 4, 8}) {
      for (ZeroPoint zero : {ZeroPoint::None, ZeroPoint::Integer, ZeroPoint::Float}) {
        Quantized result;
        ASSERT_WORKS(quantizeRtn({w.data(), n, k}, Format::integer(bits, group, zero), nullptr, result));
        const std::vector<float> values = dense(result);
        ASSERT_EQ(result.groups(), group == 0 || group >= k ? 1 : (k + group - 1) / group);
        for (int64_t i = 0; i < n * k; ++i) {
          const float scale = result.scales[i / k * result.groups() + i % k / result.format.groupSize(k)];
          // The range's end may be rounded off by the half step of an integer zero point.
          const float steps = zero == ZeroPoint::Integer ? 1.0f : 0.5f;
          ASSERT_LE(std::abs(values[i] - w[i]), steps * scale * 1.0001f) << bits << " " << group << " " << i;
        }
      }
    }
  }
}

TEST(RoundToNearest, SearchesAreNeverWorse) {
  constexpr int64_t n = 6, k = 75;
  const std::vector<float> w = randomWeights(n * k, 4);
  std::vector<float> importance(k);
  for (int64_t i = 0; i < k; ++i)
    importance[i] = static_cast<float>(i % 7);
  for (int64_t group : {0, 16, 32}) {
    for (const Format &format : everyFormat(group)) {
      Quantized rtn, mse, weighted;
      ASSERT_WORKS(quantizeRtn({w.data(), n, k}, format, nullptr, rtn));
      ASSERT_WORKS(quantizeMse({w.data(), n, k}, format, nullptr, nullptr, mse));
      ASSERT_WORKS(quantizeMse({w.data(), n, k}, format, importance.data(), nullptr, weighted));
      const std::vector<float> values = dense(rtn), better = dense(mse), other = dense(weighted);
      for (int64_t row = 0; row < n; ++row) {
        const ErrorMetrics before = compare(&w[row * k], &values[row * k], k);
        EXPECT_LE(compare(&w[row * k], &better[row * k], k).error, before.error * (1 + 1e-9)) << format.name();
        double plain = 0, weighed = 0;
        for (int64_t i = 0; i < k; ++i) {
          const double a = values[row * k + i] - w[row * k + i], b = other[row * k + i] - w[row * k + i];
          plain += importance[i] * a * a;
          weighed += importance[i] * b * b;
        }
        EXPECT_LE(weighed, plain * (1 + 1e-9)) << format.name();
      }
      if (format.kind == CodeKind::Integer && format.bits < 4)
        EXPECT_LT(squaredError(w, better), 0.95 * squaredError(w, values)) << format.name();
    }
  }
}

TEST(RoundToNearest, MoreBitsAreNearer) {
  const std::vector<float> w = randomWeights(4 * 256, 5);
  double last = std::numeric_limits<double>::infinity();
  for (int bits = 2; bits <= 8; ++bits) {
    Quantized result;
    ASSERT_WORKS(quantizeMse({w.data(), 4, 256}, Format::integer(bits, 32), nullptr, nullptr, result));
    const double error = squaredError(w, dense(result));
    EXPECT_LT(error, last);
    last = error;
  }
}

TEST(RoundToNearest, ScalesAreNumbersOfTheirType) {
  const std::vector<float> w = randomWeights(3 * 100, 6);
  for (const Format &format : everyFormat(32)) {
    for (bool search : {false, true}) {
      FitOptions fit;
      fit.search = search;
      Quantized result;
      ASSERT_WORKS(quantizeRounded({w.data(), 3, 100}, format, fit, nullptr, nullptr, result));
      for (float scale : result.scales)
        EXPECT_EQ(scale, roundTo(format.scaleType, scale)) << format.name();
      for (float zero : result.zeros)
        EXPECT_EQ(zero, format.zeroPoint == ZeroPoint::Float ? roundTo(format.scaleType, zero) : std::round(zero));
    }
  }
}

TEST(RoundToNearest, ZerosStayZeros) {
  std::vector<float> w(4 * 40, 0.0f);
  w[2 * 40 + 3] = 1; // one group of one row
  for (const Format &format : everyFormat(16)) {
    for (bool search : {false, true}) {
      FitOptions fit;
      fit.search = search;
      Quantized result;
      ASSERT_WORKS(quantizeRounded({w.data(), 4, 40}, format, fit, nullptr, nullptr, result));
      const std::vector<float> values = dense(result);
      for (int64_t i = 0; i < 4 * 40; ++i)
        if (i / 40 != 2 || i % 40 >= 16)
          ASSERT_EQ(values[i], 0.0f) << format.name();
    }
  }
}

TEST(RoundToNearest, ConstantAndTinyWeights) {
  const std::vector<float> constant(32, 100.125f);
  Quantized result;
  ASSERT_WORKS(quantizeRtn({constant.data(), 1, 32}, Format::integer(4, 0, ZeroPoint::Float), nullptr, result));
  EXPECT_EQ(dense(result), constant);
  // A range that is small beside its distance from 0 needs a zero point that f16 has not: 0 joins the range.
  std::vector<float> far(32, 1000.0f);
  far[3] = 1000.001f;
  ASSERT_WORKS(
      quantizeRtn({far.data(), 1, 32}, Format::integer(4, 0, ZeroPoint::Float, ScaleType::F16), nullptr, result));
  for (float value : dense(result))
    EXPECT_NEAR(value, 1000, 2);
  for (const Format &format : everyFormat(0)) {
    const std::vector<float> tiny(8, 1e-40f), small(8, 1e-20f);
    ASSERT_WORKS(quantizeMse({tiny.data(), 1, 8}, format, nullptr, nullptr, result));
    for (float value : dense(result))
      EXPECT_TRUE(std::isfinite(value)) << format.name();
    ASSERT_WORKS(quantizeMse({small.data(), 1, 8}, format, nullptr, nullptr, result));
    for (float value : dense(result))
      EXPECT_TRUE(std::isfinite(value)) << format.name();
  }
}

TEST(RoundToNearest, EverySize) {
  const std::vector<float> w = randomWeights(40, 7);
  for (const Format &format : everyFormat(3)) {
    for (auto [n, k] : {std::pair<int64_t, int64_t>{0, 5}, {5, 0}, {0, 0}, {1, 1}, {40, 1}, {1, 40}, {2, 3}, {5, 8}}) {
      Quantized result;
      ASSERT_WORKS(quantizeMse({w.data(), n, k}, format, nullptr, nullptr, result));
      EXPECT_EQ(result.codes.size(), static_cast<size_t>(n * k));
      EXPECT_EQ(result.scales.size(), static_cast<size_t>(n * result.groups()));
      dense(result);
    }
  }
}

TEST(RoundToNearest, RefusesWhatIsNoWeight) {
  std::vector<float> w = randomWeights(6, 8);
  Quantized result;
  EXPECT_FAILS(quantizeRtn({w.data(), 2, 3}, Format::integer(12), nullptr, result), "got 12");
  EXPECT_FAILS(quantizeRtn({w.data(), -1, 3}, Format::integer(4), nullptr, result), "-1x3");
  EXPECT_FAILS(quantizeRtn({nullptr, 2, 3}, Format::integer(4), nullptr, result), "without data");
  const std::vector<float> importance = {1, -1, 1};
  EXPECT_FAILS(quantizeMse({w.data(), 2, 3}, Format::integer(4), importance.data(), nullptr, result),
               "got -1.000000 for input 1");
  w[4] = 1e9f;
  EXPECT_FAILS(quantizeRtn({w.data(), 2, 3}, Format::integer(4, 0, ZeroPoint::None, ScaleType::F16), nullptr, result),
               "whose scales reach 65504");
  for (float bad : {kInfinity, -kInfinity, kNan}) {
    w[4] = bad;
    EXPECT_FAILS(quantizeRtn({w.data(), 2, 3}, Format::integer(4), nullptr, result), "for output 1, input 1");
  }
}

TEST(RoundToNearest, ThreadsDoNotMatter) {
  const std::vector<float> w = randomWeights(37 * 130, 9);
  for (const Format &format : everyFormat(32)) {
    Quantized one, many;
    ThreadPool pool;
    ASSERT_FALSE(pool.start(4, nullptr).failed());
    ASSERT_WORKS(quantizeMse({w.data(), 37, 130}, format, nullptr, nullptr, one));
    ASSERT_WORKS(quantizeMse({w.data(), 37, 130}, format, nullptr, &pool, many));
    EXPECT_EQ(one.codes, many.codes);
    EXPECT_EQ(one.scales, many.scales);
    EXPECT_EQ(one.zeros, many.zeros);
  }
}

} // namespace
