//===- UnitReconstructionTest.cpp - Tests of inputs that go ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/structured/methods/UnitReconstruction.h"
#include <gtest/gtest.h>
#include <random>

using namespace lathe;
using namespace lathe::pruning;

namespace {

constexpr int64_t kOutputs = 5, kInputs = 12, kRows = 400;
constexpr int kUnits = 4;

/// A layer, rows that it gets, whose inputs depend on each other, and units of three inputs each.
struct Layer {
  std::vector<float> weight, rows;
  std::vector<int> units;
  InputStatistics statistics;

  explicit Layer(double mean) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < kOutputs * kInputs; ++i)
      weight.push_back(normal(random));
    for (int64_t row = 0; row < kRows; ++row) {
      float shared = normal(random);
      for (int64_t i = 0; i < kInputs; ++i)
        rows.push_back(shared + 0.5F * normal(random) + static_cast<float>(mean * double(i % 3)));
    }
    for (int i = 0; i < kInputs; ++i)
      units.push_back(i % kUnits); // no neighbours
    quantization::StatisticsAccumulator all(kInputs, /*secondMoment=*/true);
    EXPECT_FALSE(all.accumulate(rows.data(), kRows).failed());
    EXPECT_FALSE(all.finish(statistics).failed());
  }
  Weight view() const { return {weight.data(), kOutputs, kInputs}; }
  /// Mean of |y - y'|^2 with other weights.
  double error(const std::vector<float> &other, const std::vector<float> &bias) const {
    double sum = 0;
    for (int64_t row = 0; row < kRows; ++row)
      for (int64_t output = 0; output < kOutputs; ++output) {
        double difference = bias.empty() ? 0 : -bias[static_cast<size_t>(output)];
        for (int64_t i = 0; i < kInputs; ++i)
          difference += double(weight[static_cast<size_t>(output * kInputs + i)] -
                               other[static_cast<size_t>(output * kInputs + i)]) *
                        rows[static_cast<size_t>(row * kInputs + i)];
        sum += difference * difference;
      }
    return sum / kRows;
  }
};

TEST(UnitReconstruction, CostsAreWhatIsLostByTheFit) {
  Layer layer(0);
  UnitReconstruction rest;
  ASSERT_FALSE(rest.start(layer.view(), layer.statistics, layer.units, kUnits, 1e-9, /*constant=*/false).failed());
  std::vector<double> costs = rest.costs();
  ASSERT_FALSE(rest.remove({2}).failed());
  double first = layer.error(rest.weight(), {});
  EXPECT_NEAR(first, costs[2], 1e-3 * costs[2]);
  costs = rest.costs();
  EXPECT_TRUE(std::isinf(costs[2]));
  ASSERT_FALSE(rest.remove({0}).failed());
  EXPECT_NEAR(layer.error(rest.weight(), {}), first + costs[0], 1e-3 * (first + costs[0]));
}

TEST(UnitReconstruction, TogetherIsOneAfterTheOther) {
  Layer layer(0.5);
  UnitReconstruction one, other;
  ASSERT_FALSE(one.start(layer.view(), layer.statistics, layer.units, kUnits, 0.01, true).failed());
  ASSERT_FALSE(other.start(layer.view(), layer.statistics, layer.units, kUnits, 0.01, true).failed());
  ASSERT_FALSE(one.remove({3, 1}).failed());
  ASSERT_FALSE(other.remove({1}).failed());
  ASSERT_FALSE(other.remove({3}).failed());
  for (size_t i = 0; i < one.weight().size(); ++i) {
    EXPECT_NEAR(one.weight()[i], other.weight()[i], 1e-4);
    if (layer.units[i % kInputs] % 2 == 1)
      EXPECT_EQ(one.weight()[i], 0);
  }
}

TEST(UnitReconstruction, IsBestAmongItsNeighbours) {
  Layer layer(1);
  UnitReconstruction rest;
  ASSERT_FALSE(rest.start(layer.view(), layer.statistics, layer.units, kUnits, 1e-9, /*constant=*/true).failed());
  ASSERT_FALSE(rest.remove({0, 1}).failed());
  const std::vector<float> fitted = rest.weight(), bias = rest.bias();
  double best = layer.error(fitted, bias);
  EXPECT_LT(best, layer.error(fitted, {}));
  for (size_t i = 0; i < fitted.size(); ++i)
    if (layer.units[i % kInputs] > 1)
      for (float step : {-0.05F, 0.05F}) {
        std::vector<float> moved = fitted;
        moved[i] += step;
        EXPECT_GT(layer.error(moved, bias), best);
      }
}

TEST(UnitReconstruction, EnergiesAreThoseOfOutputs) {
  Layer layer(0);
  std::vector<double> energies = outputEnergies(layer.view(), layer.statistics, layer.units, kUnits);
  for (int unit = 0; unit < kUnits; ++unit) {
    std::vector<float> others = layer.weight;
    for (size_t i = 0; i < others.size(); ++i)
      if (layer.units[i % kInputs] == unit)
        others[i] = 0;
    EXPECT_NEAR(energies[static_cast<size_t>(unit)], layer.error(others, {}),
                1e-3 * energies[static_cast<size_t>(unit)]);
  }
}

TEST(UnitReconstruction, RefusesStatisticsOfOtherSizes) {
  Layer layer(0);
  UnitReconstruction rest;
  EXPECT_TRUE(
      rest.start({layer.weight.data(), kOutputs, kInputs - 1}, layer.statistics, layer.units, kUnits, 0.01, false)
          .failed());
}

} // namespace
