//===- AllocationTest.cpp - Bytes shared out among layers -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Allocation.h"
#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace lathe;

namespace {

using Options = std::vector<LayerOption>;
using Indices = std::vector<size_t>;

TEST(Allocation, HullLeavesOutWhatIsAboveIt) {
  // 40 bytes lose more than the way from 60 to 20 does there.
  EXPECT_EQ(lowerHull({{100, 0}, {60, 1}, {40, 8}, {20, 9}}), (Indices{0, 1, 3}));
}

TEST(Allocation, HullLeavesOutWhatIsLargerAndWorse) {
  EXPECT_EQ(lowerHull({{100, 0}, {120, 1}, {50, 2}, {60, 3}, {50, 2}}), (Indices{0, 2}));
}

TEST(Allocation, WhatIsSmallerAndLosesNothingIsTheFirst) {
  EXPECT_EQ(lowerHull({{100, 0}, {60, 0}, {40, -0.5}, {10, 3}}), (Indices{2, 3}));
}

TEST(Allocation, HullOfOneAndOfWhatIsNoNumber) {
  EXPECT_EQ(lowerHull({{100, 0}}), (Indices{0}));
  EXPECT_EQ(lowerHull({{100, 0}, {10, NAN}}), (Indices{0}));
  EXPECT_EQ(lowerHull({{100, 0}, {10, INFINITY}, {20, 1}}), (Indices{0, 2, 1}));
  EXPECT_TRUE(lowerHull({}).empty());
}

TEST(Allocation, StepsAreInTheOrderOfWhatAByteCosts) {
  AllocationPath path({{{100, 0}, {50, 5}}, {{100, 0}, {50, 1}, {25, 10}}});
  ASSERT_EQ(path.length(), 3u);
  EXPECT_EQ(path.choice(0), (Indices{0, 0}));
  EXPECT_EQ(path.choice(1), (Indices{0, 1}));
  EXPECT_EQ(path.choice(2), (Indices{1, 1}));
  EXPECT_EQ(path.choice(3), (Indices{1, 2}));
  EXPECT_EQ(path.cost(path.choice(2)), 100u);
  EXPECT_DOUBLE_EQ(path.loss(path.choice(3)), 15);
}

TEST(Allocation, StepsForBytes) {
  AllocationPath path({{{100, 0}, {50, 5}}, {{100, 0}, {50, 1}, {25, 10}}});
  EXPECT_EQ(path.stepsFor(1000), 0u);
  EXPECT_EQ(path.stepsFor(200), 0u);
  EXPECT_EQ(path.stepsFor(199), 1u);
  EXPECT_EQ(path.stepsFor(100), 2u);
  EXPECT_EQ(path.stepsFor(75), 3u);
  EXPECT_EQ(path.stepsFor(74), 4u); // out of reach
}

TEST(Allocation, WhatIsLeftOfABudgetIsUsed) {
  AllocationPath path({{{100, 0}, {90, 2}, {10, 4}}, {{100, 0}, {50, 1}}});
  Indices coarse = path.choice(path.stepsFor(145)); // 60 bytes are taken where 140 are allowed
  EXPECT_LE(path.cost(coarse), 145u);
  Indices own = path.filled(coarse, 145);
  EXPECT_LE(path.cost(own), 145u);
  EXPECT_LE(path.loss(own), path.loss(coarse));
  EXPECT_EQ(own, (Indices{1, 1})); // 90 + 50 bytes, though 90 bytes are above the hull
}

TEST(Allocation, NothingToShareOut) {
  AllocationPath none({});
  EXPECT_EQ(none.length(), 0u);
  EXPECT_EQ(none.stepsFor(0), 0u);
  EXPECT_TRUE(none.filled({}, 10).empty());
}

/// The least loss of all choices within a budget.
double best(const std::vector<Options> &layers, uint64_t limit) {
  std::vector<size_t> choice(layers.size());
  double least = INFINITY;
  for (bool isDone = false; !isDone;) {
    uint64_t bytes = 0;
    double loss = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      bytes += layers[i][choice[i]].cost;
      loss += layers[i][choice[i]].loss;
    }
    if (bytes <= limit)
      least = std::min(least, loss);
    isDone = true;
    for (size_t i = 0; i < layers.size() && isDone; ++i) {
      isDone = ++choice[i] == layers[i].size();
      if (isDone)
        choice[i] = 0;
    }
  }
  return least;
}

TEST(Allocation, ChoicesOfThePathAreBestForTheirBytes) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    std::vector<Options> layers(4);
    for (Options &options : layers) {
      uint64_t bytes = 100 + random() % 100;
      options.push_back({bytes, 0});
      for (int i = 0; i < 3; ++i)
        options.push_back({bytes / (2 + random() % 8), static_cast<double>(random() % 1000) / 10});
    }
    AllocationPath path(layers);
    for (size_t steps = 0; steps <= path.length(); ++steps) {
      std::vector<size_t> own = path.choice(steps);
      EXPECT_NEAR(path.loss(own), best(layers, path.cost(own)), 1e-9);
    }
    for (uint64_t limit = path.cost(path.length()); limit < 800; limit += 37) {
      std::vector<size_t> own = path.filled(path.choice(path.stepsFor(limit)), limit);
      EXPECT_LE(path.cost(own), limit);
      EXPECT_GE(path.loss(own), best(layers, limit) - 1e-9);
    }
  }
}

} // namespace
