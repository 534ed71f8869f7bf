//===- RefitTest.cpp - Tests of forms fitted to outputs -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Refit.h"
#include "LowRankTestSupport.h"
#include "passes/lowrank/methods/Lapack.h"
#include "passes/quantization/methods/ErrorMetrics.h"

#include <functional>

using namespace lathe::lowrank;
using namespace lathe::lowrank::test;

namespace {

double outputError(const Weight &w, const std::vector<float> &approximation, const InputStatistics &inputs) {
  double error = 0;
  EXPECT_FALSE(lathe::quantization::outputError(w, approximation.data(), inputs, nullptr, error).failed());
  return error;
}

// No change of any number makes outputs nearer, but for what damping holds.
void expectStationary(const Weight &w, const InputStatistics &inputs, std::vector<float> &numbers,
                      const std::function<std::vector<float>()> &dense) {
  const double least = outputError(w, dense(), inputs);
  for (size_t i = 0; i < numbers.size(); i += 7)
    for (float step : {-0.2f, 0.2f}) {
      const float before = numbers[i];
      numbers[i] += step;
      EXPECT_GT(outputError(w, dense(), inputs), least * (1 - 1e-3)) << i;
      numbers[i] = before;
    }
}

TEST(Refit, CirculantBlocksAreNearestInOutputs) {
  std::vector<float> values = random(24 * 18, 1);
  Weight w{values.data(), 24, 18};
  InputStatistics inputs = statistics(18, 6, 0.3f, 2);
  Circulant found;
  ASSERT_FALSE(nearestCirculant(w, 6, found).failed());
  const double before = outputError(w, found.dense(), inputs), kept = found.energyKept;
  ASSERT_FALSE(refit(w, inputs, found).failed());
  EXPECT_LT(outputError(w, found.dense(), inputs), 0.95 * before);
  EXPECT_LT(found.energyKept, kept); // the weights themselves are farther
  expectStationary(w, inputs, found.first, [&] { return found.dense(); });
}

TEST(Refit, TrainsAreNearerInOutputs) {
  std::vector<float> values = random(24 * 36, 3);
  Weight w{values.data(), 24, 36};
  InputStatistics inputs = statistics(36, 8, 0.3f, 4);
  for (const TrainShape &shape :
       {TrainShape{{4, 6}, {4, 9}}, TrainShape{{2, 3, 4}, {3, 4, 3}}, TrainShape{{24, 1}, {1, 36}}}) {
    TensorTrain found;
    ASSERT_FALSE(factorizeTrain(w, shape, 3, 1, found).failed());
    double before = outputError(w, found.dense(), inputs);
    bool isDone = false;
    for (int round = 0; round < 3; ++round) {
      ASSERT_FALSE(refit(w, inputs, 1, found, isDone).failed());
      EXPECT_TRUE(isDone);
      double after = outputError(w, found.dense(), inputs);
      EXPECT_LT(after, (round ? 1.001 : 0.98) * before);
      before = after;
    }
    if (shape.cores() > 2)
      expectStationary(w, inputs, found.cores.back(), [&] { return found.dense(); });
  }
}

// Equations beyond 4096 unknowns are not made, of either core.
TEST(Refit, LargeTrainsStay) {
  EXPECT_TRUE(canRefit({{32, 22}, {16, 16}}, {166}));
  EXPECT_FALSE(canRefit({{44, 16}, {8, 32}}, {166}));
  EXPECT_TRUE(canRefit({{44, 16}, {8, 32}}, {20}));
  std::vector<float> values = random(64 * 4, 10);
  Weight w{values.data(), 64, 4};
  TensorTrain found{{{64, 1}, {1, 4}}, {4097}, {}, 1};
  bool isDone = true;
  EXPECT_FALSE(refit(w, statistics(4, 2, 0.1f, 11), 1, found, isDone).failed());
  EXPECT_FALSE(isDone);
}

TEST(Refit, AWeightOfTheFormStays) {
  Circulant given{12, 8, 4, random(24, 5), 1};
  std::vector<float> w = given.dense();
  InputStatistics inputs = statistics(8, 3, 0.0f, 6);
  Circulant found;
  ASSERT_FALSE(nearestCirculant({w.data(), 12, 8}, 4, found).failed());
  ASSERT_FALSE(refit({w.data(), 12, 8}, inputs, found).failed());
  for (size_t i = 0; i < given.first.size(); ++i)
    EXPECT_NEAR(found.first[i], given.first[i], 1e-5);
}

// Inputs that are always zero tell nothing: all stays as it was found.
TEST(Refit, WithoutInputsNothingChanges) {
  std::vector<float> values = random(12 * 8, 7);
  Weight w{values.data(), 12, 8};
  lathe::quantization::StatisticsAccumulator accumulator(8, /*secondMoment=*/true);
  std::vector<float> x(8 * 5);
  ASSERT_FALSE(accumulator.accumulate(x.data(), 5).failed());
  InputStatistics inputs;
  ASSERT_FALSE(accumulator.finish(inputs).failed());
  Circulant found;
  ASSERT_FALSE(nearestCirculant(w, 4, found).failed());
  std::vector<float> before = found.first;
  ASSERT_FALSE(refit(w, inputs, found).failed());
  EXPECT_EQ(found.first, before);
}

TEST(Refit, RefusesStatisticsOfAnotherLayer) {
  std::vector<float> values = random(12 * 8, 8);
  Weight w{values.data(), 12, 8};
  InputStatistics inputs = statistics(9, 3, 0.1f, 9);
  Circulant found;
  ASSERT_FALSE(nearestCirculant(w, 4, found).failed());
  EXPECT_TRUE(refit(w, inputs, found).failed());
}

TEST(Lapack, SolvesPositiveDefiniteSystems) {
  Matrix a = {4, 1, 1, 3}, b = {1, 2, 0, 1};
  ASSERT_TRUE(solvePositive(a, 2, b, 2));
  EXPECT_NEAR(4 * b[0] + b[2], 1, 1e-12);
  EXPECT_NEAR(b[1] + 3 * b[3], 1, 1e-12);
  Matrix none = {0, 0, 0, 0}, c = {1, 1};
  EXPECT_FALSE(solvePositive(none, 2, c, 1));
}

} // namespace
