//===- AwqTest.cpp - Scaling and clipping by the inputs ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Awq.h"

#include "QuantizationTestSupport.h"
#include "passes/quantization/methods/RoundToNearest.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

TEST(Awq, ErrorIsBelowThatOfRounding) {
  constexpr int64_t n = 24, m = 10, k = 72;
  const std::vector<float> w = randomWeights(n * k, 1), v = randomWeights(m * k, 2);
  const InputStatistics statistics = statisticsOf(correlatedRows(1000, k, 3), k);
  const std::vector<Weight> weights = {{w.data(), n, k}, {v.data(), m, k}};
  for (const Format &format : everyFormat(32)) {
    AwqScales scales;
    ASSERT_WORKS(awqScales(weights, statistics, format, {}, nullptr, scales));
    // The errors are those of the outputs.
    double plain = 0, scaled = 0;
    for (const Weight &weight : weights) {
      Quantized quantized;
      ASSERT_WORKS(quantizeRtn(weight, format, nullptr, quantized));
      plain += outputError(weight, dense(quantized), statistics);
      std::vector<float> changed(static_cast<size_t>(weight.n * weight.k));
      scaleInputs(weight, scales.s, changed.data());
      const Weight view{changed.data(), weight.n, weight.k};
      ASSERT_WORKS(quantizeRtn(view, format, nullptr, quantized));
      scaled += outputError(view, dense(quantized), scaledStatistics(statistics, scales.s));
    }
    EXPECT_NEAR(scales.errorBefore, plain, 1e-6 * plain);
    EXPECT_NEAR(scales.error, scaled, 1e-3 * scaled);
    EXPECT_LE(scales.error, scales.errorBefore);
    // Inputs are of very different sizes: it pays.
    if (format.kind == CodeKind::Integer && format.bits < 8 && format.scaleType != ScaleType::E8M0)
      EXPECT_LT(scales.error, 0.8 * scales.errorBefore) << format.name();
    for (float s : scales.s)
      EXPECT_TRUE(s > 0 && std::isfinite(s));
    // By few of the outputs: still never worse, for all of them.
    AwqOptions few;
    few.outputs = 3;
    AwqScales rough;
    ASSERT_WORKS(awqScales(weights, statistics, format, few, nullptr, rough));
    EXPECT_EQ(rough.errorBefore, scales.errorBefore);
    EXPECT_LE(rough.error, rough.errorBefore);
  }
}

TEST(Awq, EqualInputsNeedNoFactors) {
  const std::vector<float> w = randomWeights(8 * 32, 4);
  AwqOptions options;
  options.byWeights = false;
  AwqScales scales;
  ASSERT_WORKS(
      awqScales({{w.data(), 8, 32}}, identityStatistics(32), Format::integer(4, 16), options, nullptr, scales));
  EXPECT_EQ(scales.s, std::vector<float>(32, 1.0f));
  EXPECT_EQ(scales.alpha, 0);
  EXPECT_EQ(scales.error, scales.errorBefore);
}

TEST(Awq, EdgesAndErrors) {
  std::vector<float> w = randomWeights(12, 5);
  AwqScales scales;
  ASSERT_WORKS(awqScales({}, identityStatistics(3), Format::integer(4), {}, nullptr, scales));
  EXPECT_EQ(scales.s, std::vector<float>(3, 1.0f));
  InputStatistics silent = identityStatistics(3, 0);
  ASSERT_WORKS(awqScales({{w.data(), 4, 3}}, silent, Format::integer(4), {}, nullptr, scales));
  EXPECT_EQ(scales.s, std::vector<float>(3, 1.0f));
  InputStatistics dead = statisticsOf(correlatedRows(100, 3, 6), 3);
  for (int i = 0; i < 3; ++i)
    dead.secondMoment[i] = dead.secondMoment[3 * i] = dead.meanAbs[0] = dead.mean[0] = dead.absMax[0] = 0;
  ASSERT_WORKS(awqScales({{w.data(), 4, 3}}, dead, Format::integer(3), {}, nullptr, scales));
  ASSERT_WORKS(awqScales({{w.data(), 12, 1}}, identityStatistics(1), Format::integer(3), {}, nullptr, scales));
  AwqOptions options;
  options.grid = 0;
  EXPECT_FAILS(awqScales({{w.data(), 4, 3}}, dead, Format::integer(3), options, nullptr, scales), "at least 1 step");
  EXPECT_FAILS(awqScales({{w.data(), 3, 4}}, dead, Format::integer(3), {}, nullptr, scales),
               "4 inputs, got those of 3");
  dead.secondMoment.clear();
  EXPECT_FAILS(awqScales({{w.data(), 4, 3}}, dead, Format::integer(3), {}, nullptr, scales), "second moment");
  w[7] = kNan;
  EXPECT_FAILS(awqScales({{w.data(), 4, 3}}, silent, Format::integer(3), {}, nullptr, scales), "output 2, input 1");
}

TEST(Awq, ClippingIsNeverWorseForAGroup) {
  constexpr int64_t n = 70, k = 75, size = 32;
  const std::vector<float> w = randomWeights(n * k, 7);
  const InputStatistics statistics = statisticsOf(correlatedRows(1000, k, 8), k);
  for (const Format &format : everyFormat(size)) {
    Quantized rtn, clipped;
    ASSERT_WORKS(quantizeRtn({w.data(), n, k}, format, nullptr, rtn));
    ASSERT_WORKS(quantizeClipped({w.data(), n, k}, statistics, format, {}, nullptr, clipped));
    const std::vector<float> a = dense(rtn), b = dense(clipped);
    double before = 0, after = 0;
    for (int64_t row = 0; row < n; ++row)
      for (int64_t begin = 0; begin < k; begin += size)
        for (int64_t i = begin; i < std::min(k, begin + size); ++i)
          for (int64_t j = begin; j < std::min(k, begin + size); ++j) {
            const double h = statistics.secondMoment[i * k + j];
            before += h * (a[row * k + i] - w[row * k + i]) * (a[row * k + j] - w[row * k + j]);
            after += h * (b[row * k + i] - w[row * k + i]) * (b[row * k + j] - w[row * k + j]);
          }
    EXPECT_LE(after, before * (1 + 1e-5)) << format.name();
    if (format.kind == CodeKind::Integer && format.bits <= 3)
      EXPECT_LT(after, 0.95 * before) << format.name();
  }
}

TEST(Awq, ClippingRefusesAndThreadsDoNotMatter) {
  constexpr int64_t n = 130, k = 40;
  const std::vector<float> w = randomWeights(n * k, 9);
  const InputStatistics statistics = statisticsOf(correlatedRows(100, k, 10), k);
  Quantized one, many;
  ThreadPool pool;
  ASSERT_FALSE(pool.start(4, nullptr).failed());
  const Format format = Format::integer(3, 16, ZeroPoint::Integer);
  ASSERT_WORKS(quantizeClipped({w.data(), n, k}, statistics, format, {}, nullptr, one));
  ASSERT_WORKS(quantizeClipped({w.data(), n, k}, statistics, format, {}, &pool, many));
  EXPECT_EQ(one.codes, many.codes);
  EXPECT_EQ(one.scales, many.scales);
  AwqScales alone, together;
  ASSERT_WORKS(awqScales({{w.data(), n, k}}, statistics, format, {}, nullptr, alone));
  ASSERT_WORKS(awqScales({{w.data(), n, k}}, statistics, format, {}, &pool, together));
  EXPECT_EQ(alone.s, together.s);
  EXPECT_EQ(alone.error, together.error);
  ClipOptions options;
  options.smallest = 0;
  EXPECT_FAILS(quantizeClipped({w.data(), n, k}, statistics, format, options, nullptr, one), "from above 0 to 1");
  EXPECT_FAILS(quantizeClipped({w.data(), k, n}, statistics, format, {}, nullptr, one), "130 inputs");
  ASSERT_WORKS(quantizeClipped({w.data(), 0, k}, statistics, format, {}, nullptr, one));
}

} // namespace
