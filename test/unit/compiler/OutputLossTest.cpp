//===- OutputLossTest.cpp - How far outputs are from a model's ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/OutputLoss.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace lathe;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(OutputLoss, DivergenceOfDistributions) {
  // Probabilities 1/4, 3/4 and 1/2, 1/2, as logits with any constant added.
  std::vector<float> dense = {5, 5 + std::log(3.0f), 1, 1}, changed = {0, 0, 7, 7};
  ReferenceOutputs reference(/*isLogits=*/true);
  reference.set({{dense.data(), {1, 2, 2}}}, {0, 1}, nullptr);
  LossSums sums;
  reference.compare({{changed.data(), {1, 2, 2}}}, nullptr, sums);
  double first = 0.25 * std::log(0.5) + 0.75 * std::log(1.5);
  EXPECT_NEAR(sums.loss(), first / 2, 1e-6);
  // The second token is 1: one prediction.
  EXPECT_EQ(sums.predictions, 1u);
  EXPECT_NEAR(reference.own().perplexity(), 4.0 / 3, 1e-6);
  EXPECT_NEAR(sums.perplexity(), 2, 1e-6);
}

TEST(OutputLoss, TheSameLosesNothing) {
  std::vector<float> dense = {1, -2, 3, 0.5f, 80, -80};
  for (bool isLogits : {false, true}) {
    ReferenceOutputs reference(isLogits);
    reference.set({{dense.data(), {1, 2, 3}}}, {}, nullptr);
    LossSums sums;
    reference.compare({{dense.data(), {1, 2, 3}}}, nullptr, sums);
    EXPECT_NEAR(sums.loss(), 0, 1e-6);
    EXPECT_EQ(sums.perplexity(), 0); // no tokens, no predictions
  }
}

TEST(OutputLoss, RelativeErrorIsTheMeanOverOutputs) {
  std::vector<float> a = {3, 4}, b = {1, 1}, changedA = {3, 5}, changedB = {1, 1};
  ReferenceOutputs reference(/*isLogits=*/false);
  reference.set({{a.data(), {2}}, {b.data(), {1, 2}}}, {}, nullptr);
  LossSums sums;
  for (int batch = 0; batch < 3; ++batch) // streamed
    reference.compare({{changedA.data(), {2}}, {changedB.data(), {1, 2}}}, nullptr, sums);
  EXPECT_NEAR(sums.loss(), 0.5 * 1 / 25, 1e-9);
}

TEST(OutputLoss, WhatIsNoNumberOrOfAnotherShapeIsInfinitelyFar) {
  std::vector<float> dense = {1, 2}, changed = {1, NAN}, large = {1, kInfinity};
  for (bool isLogits : {false, true}) {
    ReferenceOutputs reference(isLogits);
    reference.set({{dense.data(), {1, 1, 2}}}, {}, nullptr);
    for (const Observed &other :
         {Observed{changed.data(), {1, 1, 2}}, Observed{large.data(), {1, 1, 2}}, Observed{dense.data(), {2, 1, 1}}}) {
      LossSums sums;
      reference.compare({other}, nullptr, sums);
      EXPECT_EQ(sums.loss(), static_cast<double>(kInfinity));
    }
  }
}

TEST(OutputLoss, EmptyOutputs) {
  for (bool isLogits : {false, true}) {
    ReferenceOutputs reference(isLogits);
    reference.set({{nullptr, {0, 4, 2}}}, {}, nullptr);
    LossSums sums;
    reference.compare({{nullptr, {0, 4, 2}}}, nullptr, sums);
    EXPECT_EQ(sums.loss(), 0);
  }
}

TEST(OutputLoss, TheTokenBehindAWindowIsNoPrediction) {
  std::vector<float> dense(2 * 3 * 4, 0);
  ReferenceOutputs reference(/*isLogits=*/true);
  reference.set({{dense.data(), {2, 3, 4}}}, {0, 1, 2, 3, 0, 9}, nullptr);
  EXPECT_EQ(reference.own().predictions, 3u); // two of each window, but 9 is not of the vocabulary
  EXPECT_NEAR(reference.own().perplexity(), 4, 1e-6);
}

} // namespace
