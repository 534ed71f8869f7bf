//===- RanksTest.cpp - Tests of how ranks are chosen ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Ranks.h"
#include "LowRankTestSupport.h"
#include "passes/lowrank/methods/Factors.h"

#include <numeric>

using namespace lathe::lowrank;
using namespace lathe::lowrank::test;

namespace {

int64_t numbers(const Candidate &weight, int64_t rank) {
  return rank ? Factors::size(weight.n, weight.k, rank) : weight.n * weight.k;
}

/// The sum of shares of energy that are lost.
double loss(const std::vector<Candidate> &weights, const std::vector<int64_t> &ranks) {
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i)
    sum += ranks[i] ? tail(weights[i].squares, ranks[i]) / tail(weights[i].squares, 0) : 0;
  return sum;
}

/// Squares that fall by a factor.
Candidate falling(int64_t n, int64_t k, double factor) {
  Candidate weight{n, k, {}};
  for (int64_t i = 0; i < std::min(n, k); ++i)
    weight.squares.push_back(100 * std::pow(factor, static_cast<double>(i)));
  return weight;
}

TEST(Ranks, SaveOrDoNot) {
  EXPECT_EQ(largestSavingRank(256, 256), 127);
  EXPECT_EQ(largestSavingRank(768, 3072), 614);
  EXPECT_EQ(largestSavingRank(1, 100), 0);
  EXPECT_EQ(largestSavingRank(2, 2), 0);
  EXPECT_EQ(largestSavingRank(0, 5), 0);
  for (int64_t n = 1; n < 20; ++n)
    for (int64_t k = 1; k < 20; ++k) {
      int64_t rank = largestSavingRank(n, k);
      EXPECT_LT(rank * (n + k), n * k);
      EXPECT_GE((rank + 1) * (n + k), n * k);
    }
}

TEST(Ranks, OfARatio) {
  EXPECT_EQ(rankOfRatio(256, 256, 0.5), 64);
  EXPECT_EQ(rankOfRatio(256, 256, 0.2), 102);
  EXPECT_EQ(rankOfRatio(100, 100, 0.8), 10); // 1 - 0.8 is a little less than 0.2
  EXPECT_EQ(rankOfRatio(4, 4, 0.99), 1);
}

TEST(Ranks, OfAnEnergy) {
  std::vector<double> squares = {4, 3, 2, 1};
  EXPECT_EQ(rankOfEnergy(squares, 0.3), 1);
  EXPECT_EQ(rankOfEnergy(squares, 0.7), 2);
  EXPECT_EQ(rankOfEnergy(squares, 0.71), 3);
  EXPECT_EQ(rankOfEnergy(squares, 0.999), 4);
  EXPECT_EQ(rankOfEnergy({0, 0}, 0.5), 1);
  EXPECT_DOUBLE_EQ(energyKept(squares, 2), 0.7);
  EXPECT_DOUBLE_EQ(energyKept(squares, 9), 1);
  EXPECT_DOUBLE_EQ(energyKept({0, 0}, 1), 1);
}

// Against all other choices, for weights that are small enough to try them.
TEST(Ranks, AllocatedLoseTheLeast) {
  std::vector<Candidate> weights = {falling(12, 12, 0.5), falling(12, 12, 0.9), falling(10, 20, 0.75)};
  for (double ratio : {0.1, 0.2, 0.35, 0.5, 0.7}) {
    std::vector<int64_t> ranks = allocateRanks(weights, ratio);
    int64_t all = 0, taken = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      all += weights[i].n * weights[i].k;
      taken += numbers(weights[i], ranks[i]);
      EXPECT_LE(ranks[i], largestSavingRank(weights[i].n, weights[i].k));
    }
    double budget = (1 - ratio) * static_cast<double>(all) + 1e-6;
    EXPECT_LE(static_cast<double>(taken), budget);
    double best = 1e9;
    std::vector<int64_t> tried(3);
    for (tried[0] = 0; tried[0] <= 5; ++tried[0])
      for (tried[1] = 0; tried[1] <= 5; ++tried[1])
        for (tried[2] = 0; tried[2] <= 6; ++tried[2]) {
          int64_t size = 0;
          for (size_t i = 0; i < weights.size(); ++i)
            size += numbers(weights[i], tried[i]);
          if (static_cast<double>(size) <= budget)
            best = std::min(best, loss(weights, tried));
        }
    // A price finds the best of what it can buy; between two prices a dense weight may be out of reach.
    EXPECT_LE(loss(weights, ranks), 1.3 * best + 0.02) << ratio;
    std::vector<int64_t> uniform;
    for (const Candidate &weight : weights)
      uniform.push_back(rankOfRatio(weight.n, weight.k, ratio));
    EXPECT_LT(loss(weights, ranks), loss(weights, uniform)) << ratio;
  }
}

TEST(Ranks, ThereMayBeNone) {
  EXPECT_TRUE(allocateRanks({}, 0.5).empty());
  // Too small for any: stays as it is, beside one that is not, and without energy.
  std::vector<Candidate> weights = {falling(1, 9, 0.5), falling(30, 30, 0.9), {30, 30, std::vector<double>(30)}};
  std::vector<int64_t> ranks = allocateRanks(weights, 0.6);
  EXPECT_EQ(ranks[0], 0);
  EXPECT_GE(ranks[1], 1);
  EXPECT_GE(ranks[2], 1);
  // More is asked for than there is to save: as little as can be.
  EXPECT_EQ(allocateRanks({falling(30, 30, 0.9)}, 0.9999), std::vector<int64_t>{1});
}

} // namespace
