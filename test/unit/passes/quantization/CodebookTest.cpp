//===- CodebookTest.cpp - Neighbouring weights as one code ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Codebook.h"

#include "QuantizationTestSupport.h"
#include "passes/quantization/methods/CodebookSteps.h"
#include "passes/quantization/methods/KMeans.h"
#include "passes/quantization/methods/RoundToNearest.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

std::vector<float> dense(const CodebookQuantized &quantized) {
  std::vector<float> w(static_cast<size_t>(quantized.n * quantized.k));
  quantized.dequantize(w.data());
  return w;
}

TEST(KMeans, FindsSeparateClusters) {
  WeightedPoints points;
  points.dimension = 2;
  const float middles[][2] = {{0, 0}, {10, 0}, {0, 10}, {-10, -10}};
  const std::vector<float> noise = randomWeights(800, 1);
  for (int i = 0; i < 400; ++i)
    for (int j = 0; j < 2; ++j) {
      points.x.push_back(middles[i % 4][j] + 0.01f * noise[2 * i + j]);
      points.weight.push_back(1);
    }
  std::vector<float> centres;
  const double error = kMeans(points, 4, 20, 1, nullptr, centres);
  EXPECT_LT(error, 800 * 1e-4 * 4);
  for (const auto &middle : middles) {
    float nearest = kInfinity;
    for (int centre = 0; centre < 4; ++centre)
      nearest = std::min(nearest, std::hypot(centres[2 * centre] - middle[0], centres[2 * centre + 1] - middle[1]));
    EXPECT_LT(nearest, 0.05f);
  }
}

TEST(KMeans, WeighsErrorsAndDoesNotDependOnThreads) {
  WeightedPoints points;
  points.dimension = 4;
  points.x = randomWeights(4 * 5000, 2);
  for (size_t i = 0; i < points.x.size(); ++i)
    points.weight.push_back(i % 4 == 0 ? 100.0f : i % 4 == 1 ? 0.0f : 1.0f);
  std::vector<float> one, many;
  ThreadPool pool;
  ASSERT_FALSE(pool.start(4, nullptr).failed());
  const double error = kMeans(points, 32, 10, 3, nullptr, one);
  EXPECT_EQ(error, kMeans(points, 32, 10, 3, &pool, many));
  EXPECT_EQ(one, many);
  // The numbers that matter are nearer to their centres.
  const CentreSearch search(one.data(), 32, 4);
  double errors[4] = {};
  for (int i = 0; i < 5000; ++i) {
    const int centre = search.nearest(&points.x[4 * i], &points.weight[4 * i]);
    for (int j = 0; j < 4; ++j)
      errors[j] += std::pow(points.x[4 * i + j] - one[4 * centre + j], 2);
  }
  EXPECT_LT(10 * errors[0], errors[2]);
  EXPECT_LE(errors[2], errors[1]);
}

TEST(KMeans, FewPointsAndEqualPoints) {
  WeightedPoints points;
  points.dimension = 1;
  std::vector<float> centres;
  EXPECT_EQ(kMeans(points, 4, 5, 1, nullptr, centres), 0);
  EXPECT_EQ(centres.size(), 4u);
  points.x = {1, 2, 3};
  points.weight = {1, 1, 1};
  EXPECT_EQ(kMeans(points, 8, 5, 1, nullptr, centres), 0);
  points.x.assign(100, 5);
  points.weight.assign(100, 0);
  EXPECT_EQ(kMeans(points, 4, 5, 1, nullptr, centres), 0);
  for (float centre : centres)
    EXPECT_TRUE(std::isfinite(centre));
}

TEST(Codebook, NearestCentreIsNearest) {
  const std::vector<float> centres = randomWeights(8 * 256, 4), x = randomWeights(8 * 200, 5);
  for (int d : {1, 2, 4, 8}) {
    for (int count : {4, 8, 12, 256}) {
      const CentreSearch search(centres.data(), count, d);
      for (int i = 0; i < 200; ++i) {
        const auto distance = [&](int centre) {
          double sum = 0;
          for (int j = 0; j < d; ++j)
            sum += std::pow(static_cast<double>(x[i * d + j]) - centres[centre * d + j], 2);
          return sum;
        };
        double least = kInfinity;
        for (int centre = 0; centre < count; ++centre)
          least = std::min(least, distance(centre));
        EXPECT_LE(distance(search.nearest(&x[i * d], nullptr)), least * (1 + 1e-5));
      }
    }
  }
}

TEST(Codebook, OutputErrorFallsWithEachStep) {
  constexpr int64_t n = 96, k = 66; // the last vector is shorter
  const std::vector<float> w = randomWeights(n * k, 6);
  const InputStatistics statistics = statisticsOf(correlatedRows(2000, k, 7), k);
  for (int d : {1, 2, 4, 8}) {
    CodebookOptions options;
    options.dimension = d;
    options.bits = d == 1 ? 2 : d == 2 ? 4 : 8;
    options.group = d == 4 ? 32 : 0;
    options.outputsPerBook = d == 2 ? 40 : 0;
    CodebookQuantized plain, better;
    ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, nullptr, options, nullptr, plain));
    options.rounds = 1;
    options.refinements = 0;
    ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, &statistics, options, nullptr, better));
    const Weight view{w.data(), n, k};
    const double before = outputError(view, dense(plain), statistics);
    const double handedOn = outputError(view, dense(better), statistics);
    EXPECT_LT(handedOn, 0.7 * before) << d;
    CodebookQuantized refined = better;
    refineTables(view, statistics, 12, nullptr, refined);
    const double tables = outputError(view, dense(refined), statistics);
    EXPECT_LT(tables, handedOn) << d;
    refineScales(view, statistics, nullptr, refined);
    const double scales = outputError(view, dense(refined), statistics);
    EXPECT_LE(scales, tables * (1 + 1e-5)) << d;
    EXPECT_EQ(refined.stages[0].codes, better.stages[0].codes);
    options.rounds = 3;
    options.refinements = 12;
    ASSERT_WORKS(quantizeCodebook(view, &statistics, options, nullptr, refined));
    EXPECT_LE(outputError(view, dense(refined), statistics), scales * (1 + 1e-5)) << d;
    EXPECT_EQ(refined.books(), d == 2 ? 3 : 1);
  }
}

TEST(Codebook, ManyOutputsAreRefinedByASample) {
  constexpr int64_t n = 19000, k = 128;
  const std::vector<float> w = randomWeights(n * k, 17);
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 18), k);
  for (int64_t outputsPerBook : {0, 18000}) {
    CodebookOptions options;
    options.dimension = 4;
    options.rounds = 1;
    options.refinements = 0;
    options.outputsPerBook = outputsPerBook;
    CodebookQuantized found;
    ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, &statistics, options, nullptr, found));
    CodebookQuantized refined = found;
    refineTables({w.data(), n, k}, statistics, 8, nullptr, refined);
    EXPECT_LT(outputError({w.data(), n, k}, dense(refined), statistics),
              outputError({w.data(), n, k}, dense(found), statistics));
    // Every codebook is refined.
    const int64_t size = static_cast<int64_t>(found.stages[0].table.size()) / found.books();
    for (int64_t book = 0; book < found.books(); ++book)
      EXPECT_FALSE(std::equal(&found.stages[0].table[book * size], &found.stages[0].table[book * size] + size,
                              &refined.stages[0].table[book * size]));
  }
}

TEST(Codebook, BeatsRoundingAtEqualBytes) {
  constexpr int64_t n = 512, k = 256;
  const std::vector<float> w = randomWeights(n * k, 8);
  const InputStatistics statistics = statisticsOf(correlatedRows(2000, k, 9), k);
  for (int bits : {2, 3}) {
    Quantized rtn;
    ASSERT_WORKS(
        quantizeRtn({w.data(), n, k}, Format::integer(bits, 32, ZeroPoint::None, ScaleType::F16), nullptr, rtn));
    CodebookOptions options;
    options.dimension = 2;
    options.bits = 2 * bits;
    options.scaleType = ScaleType::F16;
    CodebookQuantized found;
    ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, &statistics, options, nullptr, found));
    EXPECT_LT(found.bytes(), rtn.bytes());
    EXPECT_LT(outputError({w.data(), n, k}, dense(found), statistics),
              0.5 * outputError({w.data(), n, k}, lathe::quantization::test::dense(rtn), statistics));
  }
}

TEST(Codebook, StagesAddUp) {
  constexpr int64_t n = 64, k = 64;
  const std::vector<float> w = randomWeights(n * k, 10);
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 11), k);
  CodebookOptions options;
  options.dimension = 4;
  options.bits = 5;
  CodebookQuantized one, two;
  for (const InputStatistics *used : {static_cast<const InputStatistics *>(nullptr), &statistics}) {
    options.stages = 1;
    ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, used, options, nullptr, one));
    options.stages = 2;
    ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, used, options, nullptr, two));
    EXPECT_LT(outputError({w.data(), n, k}, dense(two), statistics),
              0.7 * outputError({w.data(), n, k}, dense(one), statistics));
    ASSERT_EQ(two.stages.size(), 2u);
    EXPECT_EQ(two.bytes(), 2 * (one.bytes() - n * 4) + n * 4);
    // The weight is the sum of what each stage stands for.
    CodebookQuantized first = two, second = two;
    first.stages.resize(1);
    second.stages.erase(second.stages.begin());
    const std::vector<float> a = dense(first), b = dense(second), sum = dense(two);
    for (size_t i = 0; i < sum.size(); ++i)
      ASSERT_NEAR(sum[i], a[i] + b[i], 1e-5);
  }
}

TEST(Codebook, ThreadsDoNotMatter) {
  constexpr int64_t n = 200, k = 68;
  const std::vector<float> w = randomWeights(n * k, 12);
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 13), k);
  ThreadPool pool;
  ASSERT_FALSE(pool.start(4, nullptr).failed());
  CodebookOptions options;
  options.dimension = 4;
  options.bits = 6;
  options.stages = 2;
  options.outputsPerBook = 100;
  options.samples = 700;
  CodebookQuantized one, many, other;
  ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, &statistics, options, nullptr, one));
  ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, &statistics, options, &pool, many));
  EXPECT_EQ(dense(one), dense(many));
  options.seed = 2;
  ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, &statistics, options, &pool, other));
  EXPECT_NE(dense(one), dense(other));
}

TEST(Codebook, EverySizeAndZeros) {
  for (auto [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {3, 1}, {1, 33}, {65, 7}, {0, 4}, {4, 0}}) {
    std::vector<float> w = randomWeights(std::max<int64_t>(n * k, 1), 14);
    std::fill_n(w.begin(), std::min<int64_t>(k, n * k), 0.0f); // the first output
    for (int d : {1, 2, 4, 8}) {
      CodebookOptions options;
      options.dimension = d;
      options.bits = 3;
      options.stages = 1 + d % 2;
      options.group = 2 * d;
      options.scaleType = ScaleType::F16;
      CodebookQuantized found;
      ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, nullptr, options, nullptr, found));
      if (k > 0) {
        const InputStatistics statistics = statisticsOf(correlatedRows(20, k, 15), k);
        ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, &statistics, options, nullptr, found));
      }
      const std::vector<float> values = dense(found);
      for (int64_t i = 0; i < n * k; ++i)
        ASSERT_TRUE(i < k ? values[i] == 0 : std::isfinite(values[i]));
    }
  }
}

TEST(Codebook, RefusesWhatItCannotUse) {
  std::vector<float> w = randomWeights(32, 16);
  CodebookQuantized found;
  const auto refused = [&](auto change, const char *text) {
    CodebookOptions options;
    change(options);
    EXPECT_FAILS(quantizeCodebook({w.data(), 4, 8}, nullptr, options, nullptr, found), text);
  };
  refused([](CodebookOptions &o) { o.dimension = 3; }, "1, 2, 4 or 8 numbers, got 3");
  refused([](CodebookOptions &o) { o.bits = 9; }, "2 to 8 bits, got 9");
  refused([](CodebookOptions &o) { o.stages = 3; }, "1 or 2 codebooks, got 3");
  refused([](CodebookOptions &o) { o.group = 3; }, "multiple of a vector's 2 inputs");
  refused([](CodebookOptions &o) { o.outputsPerBook = -1; }, "at least 1 output");
  refused([](CodebookOptions &o) { o.rounds = 0; }, "at least 1 round");
  refused([](CodebookOptions &o) { o.samples = 0; }, "at least 1 vector");
  refused([](CodebookOptions &o) { o.damping = kNan; }, "damping");
  const InputStatistics statistics = identityStatistics(7);
  EXPECT_FAILS(quantizeCodebook({w.data(), 4, 8}, &statistics, {}, nullptr, found), "8 inputs, got those of 7");
  w[9] = kNan;
  EXPECT_FAILS(quantizeCodebook({w.data(), 4, 8}, nullptr, {}, nullptr, found), "output 1, input 1");
}

} // namespace
