//===- HqqTest.cpp - Methods that need no calibration -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Hqq.h"

#include "QuantizationTestSupport.h"
#include "passes/quantization/methods/DoubleQuantization.h"
#include "passes/quantization/methods/RoundToNearest.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

TEST(Hqq, NormOfTheErrorsFalls) {
  constexpr int64_t n = 20, k = 150;
  const std::vector<float> w = randomWeights(n * k, 1);
  for (int64_t group : {0, 32, 64}) {
    for (int bits : {2, 3, 4, 8}) {
      for (ScaleType type : {ScaleType::F32, ScaleType::F16, ScaleType::BF16}) {
        const Format format = Format::integer(bits, group, ZeroPoint::Float, type);
        Quantized rtn, hqq;
        ASSERT_WORKS(quantizeRtn({w.data(), n, k}, format, nullptr, rtn));
        ASSERT_WORKS(quantizeHqq({w.data(), n, k}, format, {}, nullptr, hqq));
        EXPECT_EQ(rtn.scales, hqq.scales);
        const std::vector<float> a = dense(rtn), b = dense(hqq);
        double before = 0, after = 0;
        for (size_t i = 0; i < w.size(); ++i) {
          before += std::pow(std::abs(a[i] - w[i]), 0.7);
          after += std::pow(std::abs(b[i] - w[i]), 0.7);
        }
        EXPECT_LE(after, before * (1 + 1e-9)) << format.name();
        if (bits < 8)
          EXPECT_LT(after, 0.999 * before) << format.name();
        for (float zero : hqq.zeros)
          EXPECT_EQ(zero, roundTo(type, zero));
      }
    }
  }
}

TEST(Hqq, EdgesAndErrors) {
  std::vector<float> w(24, 0.0f);
  Quantized result;
  ASSERT_WORKS(quantizeHqq({w.data(), 2, 12}, Format::integer(4, 5, ZeroPoint::Float), {}, nullptr, result));
  EXPECT_EQ(dense(result), w);
  ASSERT_WORKS(quantizeHqq({w.data(), 24, 1}, Format::integer(4, 5, ZeroPoint::Float), {}, nullptr, result));
  ASSERT_WORKS(quantizeHqq({w.data(), 0, 1}, Format::integer(4, 5, ZeroPoint::Float), {}, nullptr, result));
  EXPECT_FAILS(quantizeHqq({w.data(), 2, 12}, Format::integer(4, 5), {}, nullptr, result), "float zero points");
  HqqOptions options;
  options.norm = 1.5;
  EXPECT_FAILS(quantizeHqq({w.data(), 2, 12}, Format::integer(4, 5, ZeroPoint::Float), options, nullptr, result),
               "1.5");
  w[13] = kNan;
  EXPECT_FAILS(quantizeHqq({w.data(), 2, 12}, Format::integer(4, 5, ZeroPoint::Float), {}, nullptr, result),
               "output 1, input 1");
}

/// Rounds to nearest, then the scales.
Status quantizeDouble(const Weight &w, const Format &format, int64_t block, DoubleQuantized &result) {
  Quantized plain;
  if (Status status = quantizeRtn(w, format, nullptr, plain); status.failed())
    return status;
  return quantizeScales(w, std::move(plain), /*recode=*/true, block, nullptr, result);
}

TEST(DoubleQuantization, ScalesAreProductsOfTheirCodes) {
  constexpr int64_t n = 300, k = 100;
  const std::vector<float> w = randomWeights(n * k, 2);
  for (const Format &format : {Format::nf4(64), Format::integer(4, 32), Format::integer(3, 64, ZeroPoint::Integer)}) {
    DoubleQuantized result;
    Quantized plain;
    ASSERT_WORKS(quantizeRtn({w.data(), n, k}, format, nullptr, plain));
    ASSERT_WORKS(quantizeDouble({w.data(), n, k}, format, 256, result));
    const int64_t groups = plain.groups();
    ASSERT_EQ(result.scaleScales.size(), static_cast<size_t>(groups * 2));
    for (int64_t row = 0; row < n; ++row)
      for (int64_t group = 0; group < groups; ++group) {
        const float scale = result.weight.scales[row * groups + group];
        const float step = result.scaleScales[group * 2 + row / 256];
        ASSERT_EQ(scale, step * result.scaleCodes[group * n + row]);
        ASSERT_NEAR(scale, plain.scales[row * groups + group], 0.51f * step);
      }
    // Scales are half of a percent off at most of the largest: the error hardly grows, the bytes shrink.
    EXPECT_LT(squaredError(w, dense(result.weight)), 1.1 * squaredError(w, dense(plain)));
    EXPECT_EQ(result.bytes(), plain.bytes() - n * groups * 3 + groups * 2 * 4);
  }
}

TEST(DoubleQuantization, ScalesAreExactInHalfPrecision) {
  const int64_t n = 300, k = 64;
  const std::vector<float> w = randomWeights(n * k, 3);
  const Weight weight{w.data(), n, k};
  Quantized quantized;
  ASSERT_WORKS(quantizeRtn(weight, Format::integer(4, 16, ZeroPoint::None, ScaleType::F16), nullptr, quantized));
  DoubleQuantized kept, again;
  ASSERT_WORKS(quantizeScales(weight, quantized, /*recode=*/false, 256, nullptr, kept));
  ASSERT_WORKS(quantizeScales(weight, quantized, /*recode=*/true, 256, nullptr, again));
  EXPECT_EQ(kept.weight.codes, quantized.codes);
  EXPECT_EQ(kept.weight.scales, again.weight.scales);
  EXPECT_LT(squaredError(w, dense(again.weight)), squaredError(w, dense(kept.weight)));
  for (float scale : kept.weight.scales)
    EXPECT_EQ(roundTo(ScaleType::F16, scale), scale);
  EXPECT_LT(kept.bytes(), quantized.bytes());
}

TEST(DoubleQuantization, EdgesAndErrors) {
  std::vector<float> w(40, 0.0f);
  w[5] = 1e-9f;
  w[25] = 3;
  DoubleQuantized result;
  ASSERT_WORKS(quantizeDouble({w.data(), 4, 10}, Format::nf4(5), 3, result));
  EXPECT_NEAR(dense(result.weight)[25], 3, 3 * 0.5 / 223);
  EXPECT_FAILS(quantizeDouble({w.data(), 4, 10}, Format::nf4(5), 0, result), "at least 1 output");
  EXPECT_FAILS(quantizeDouble({w.data(), 4, 10}, Format::mxfp4(), 8, result), "positive floats");
  Format wide = Format::integer(4);
  wide.narrow = false;
  EXPECT_FAILS(quantizeDouble({w.data(), 4, 10}, wide, 8, result), "signed");
  w[0] = kInfinity;
  EXPECT_FAILS(quantizeDouble({w.data(), 4, 10}, Format::nf4(5), 8, result), "output 0, input 0");
}

} // namespace
