//===- StatisticsTest.cpp - What calibration tells --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Statistics.h"

#include "QuantizationTestSupport.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

TEST(Statistics, AreThoseOfTheRows) {
  constexpr int64_t rows = 700, k = 19;
  const std::vector<float> x = correlatedRows(rows, k, 1);
  const InputStatistics statistics = statisticsOf(x, k);
  EXPECT_EQ(statistics.count, 700u);
  for (int64_t i = 0; i < k; ++i) {
    double sum = 0, absSum = 0;
    float most = 0;
    for (int64_t row = 0; row < rows; ++row) {
      sum += x[row * k + i];
      absSum += std::abs(x[row * k + i]);
      most = std::max(most, std::abs(x[row * k + i]));
    }
    EXPECT_EQ(statistics.absMax[i], most);
    EXPECT_NEAR(statistics.mean[i], sum / rows, 1e-6 * absSum / rows);
    EXPECT_NEAR(statistics.meanAbs[i], absSum / rows, 1e-6 * absSum / rows);
    EXPECT_EQ(statistics.meanSquare()[i], statistics.secondMoment[i * k + i]);
    for (int64_t j = 0; j < k; ++j) {
      double product = 0, size = 0;
      for (int64_t row = 0; row < rows; ++row) {
        product += static_cast<double>(x[row * k + i]) * x[row * k + j];
        size += std::abs(static_cast<double>(x[row * k + i]) * x[row * k + j]);
      }
      EXPECT_NEAR(statistics.secondMoment[i * k + j], product / rows, 1e-5 * size / rows);
      EXPECT_EQ(statistics.secondMoment[i * k + j], statistics.secondMoment[j * k + i]);
    }
  }
}

TEST(Statistics, DoNotDependOnTheCalls) {
  // Wider than a tile, and more rows than are summed at once.
  constexpr int64_t rows = 1100, k = 300;
  const std::vector<float> x = correlatedRows(rows, k, 2);
  const InputStatistics whole = statisticsOf(x, k);
  ThreadPool pool;
  ASSERT_FALSE(pool.start(3, nullptr).failed());
  StatisticsAccumulator parts(k, true);
  for (int64_t row = 0, size = 1; row < rows; size *= 2) {
    const int64_t part = std::min(size, rows - row);
    ASSERT_WORKS(parts.accumulate(x.data() + row * k, part, &pool));
    row += part;
  }
  InputStatistics result;
  ASSERT_WORKS(parts.finish(result, &pool));
  EXPECT_EQ(result.count, whole.count);
  EXPECT_EQ(result.mean, whole.mean);
  EXPECT_EQ(result.meanAbs, whole.meanAbs);
  EXPECT_EQ(result.absMax, whole.absMax);
  EXPECT_EQ(result.secondMoment, whole.secondMoment);
}

TEST(Statistics, RefuseWhatIsNoNumber) {
  StatisticsAccumulator accumulator(3, true);
  InputStatistics statistics;
  EXPECT_FAILS(accumulator.finish(statistics), "at least one row, got none");
  std::vector<float> x = randomWeights(6, 3);
  ASSERT_WORKS(accumulator.accumulate(x.data(), 2));
  x[4] = kNan;
  EXPECT_FAILS(accumulator.accumulate(x.data(), 2), "for input 1 in row 3");
  x[4] = -kInfinity;
  EXPECT_FAILS(accumulator.accumulate(x.data(), 2), "got -inf");
  EXPECT_EQ(accumulator.count(), 2u);
  ASSERT_WORKS(accumulator.accumulate(nullptr, 0));
  ASSERT_WORKS(accumulator.finish(statistics));
  EXPECT_FALSE(validate(statistics, 3, true).failed());
  EXPECT_FAILS(validate(statistics, 4, true), "4 inputs, got those of 3");
  statistics.secondMoment[2] = kNan;
  EXPECT_FAILS(validate(statistics, 3, true), "finite");
  statistics.secondMoment.clear();
  EXPECT_FAILS(validate(statistics, 3, true), "second moment of 3 inputs");
  EXPECT_FALSE(validate(statistics, 3, false).failed());
  statistics.count = 0;
  EXPECT_FAILS(validate(statistics, 3, false), "at least one row");
  x.assign(6, 1e30f);
  StatisticsAccumulator large(3, true);
  ASSERT_WORKS(large.accumulate(x.data(), 2));
  EXPECT_FAILS(large.finish(statistics), "too large for their second moment");
}

} // namespace
