//===- TuckerTest.cpp - Tests of factors of convolutions ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Tucker.h"
#include "LowRankTestSupport.h"

using namespace lathe::lowrank;
using namespace lathe::lowrank::test;

namespace {

TuckerFactors factors(const std::vector<float> &w, const ConvolutionShape &shape, int64_t p, int64_t q,
                      int sweeps = 3) {
  TuckerFactors found;
  auto status = factorizeTucker(w, shape, p, q, sweeps, found);
  EXPECT_FALSE(status.failed()) << status.message();
  EXPECT_EQ(found.left.size() + found.core.size() + found.right.size(),
            static_cast<size_t>(TuckerFactors::size(shape, p, q)));
  return found;
}

class OfConvolutions : public testing::TestWithParam<ConvolutionShape> {};

TEST_P(OfConvolutions, OfAllRanksAreTheWeight) {
  ConvolutionShape shape = GetParam();
  std::vector<float> w = random(shape.numbers(), 1);
  TuckerFactors found = factors(w, shape, shape.outputs, shape.channels);
  EXPECT_LT(squaredDistance(w, found.dense()), 1e-9 * squares(w));
  EXPECT_NEAR(found.energyKept, 1, 1e-9);
}

// Bases are orthonormal, so that what is lost is what the core lacks.
TEST_P(OfConvolutions, LoseWhatTheyTell) {
  ConvolutionShape shape = GetParam();
  std::vector<float> w = random(shape.numbers(), 2);
  int64_t p = (shape.outputs + 1) / 2, q = (shape.channels + 1) / 2;
  double first = 1;
  for (int sweeps : {0, 1, 5}) {
    TuckerFactors found = factors(w, shape, p, q, sweeps);
    double lost = squaredDistance(w, found.dense()) / squares(w);
    EXPECT_NEAR(lost, 1 - found.energyKept, 1e-6);
    EXPECT_LE(lost, first + 1e-6);
    first = lost;
  }
}

TEST_P(OfConvolutions, GiveBackAWeightOfTheirRanks) {
  ConvolutionShape shape = GetParam();
  int64_t p = std::min<int64_t>(2, shape.outputs), q = std::min<int64_t>(3, shape.channels);
  TuckerFactors given{
      shape, p, q, random(shape.outputs * p, 3), random(p * q * shape.window, 4), random(q * shape.channels, 5)};
  std::vector<float> w = given.dense();
  EXPECT_LT(squaredDistance(w, factors(w, shape, p, q).dense()), 1e-9 * squares(w));
  int64_t outputs = 0, inputs = 0;
  ASSERT_FALSE(tuckerRanksOfEnergy(w, shape, 0.999999, outputs, inputs).failed());
  EXPECT_LE(outputs, p);
  EXPECT_LE(inputs, q);
}

TEST_P(OfConvolutions, KeepTheEnergyThatIsAskedFor) {
  ConvolutionShape shape = GetParam();
  std::vector<float> w = random(shape.numbers(), 6);
  for (double energy : {0.3, 0.7, 0.95}) {
    int64_t p = 0, q = 0;
    ASSERT_FALSE(tuckerRanksOfEnergy(w, shape, energy, p, q).failed());
    EXPECT_GE(factors(w, shape, p, q).energyKept, energy - 1e-9);
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, OfConvolutions,
                         testing::Values(ConvolutionShape{8, 6, 9}, ConvolutionShape{5, 11, 3},
                                         ConvolutionShape{1, 4, 2}, ConvolutionShape{4, 1, 7},
                                         ConvolutionShape{1, 1, 2}),
                         [](const auto &info) {
                           return std::to_string(info.param.outputs) + "x" + std::to_string(info.param.channels) + "x" +
                                  std::to_string(info.param.window);
                         });

// Of w[o][c][e] written out, against a sum in the definition's own order.
TEST(Tucker, DenseIsTheDefinition) {
  ConvolutionShape shape{3, 4, 2};
  TuckerFactors given{shape, 2, 3, random(3 * 2, 7), random(2 * 3 * 2, 8), random(3 * 4, 9)};
  std::vector<float> w = given.dense();
  for (int64_t o = 0; o < 3; ++o)
    for (int64_t c = 0; c < 4; ++c)
      for (int64_t e = 0; e < 2; ++e) {
        double sum = 0;
        for (int64_t p = 0; p < 2; ++p)
          for (int64_t q = 0; q < 3; ++q)
            sum += given.left[o * 2 + p] * given.core[(p * 3 + q) * 2 + e] * given.right[q * 4 + c];
        EXPECT_NEAR(w[(o * 4 + c) * 2 + e], sum, 1e-5);
      }
}

TEST(Tucker, RanksOfARatioFit) {
  ConvolutionShape shape{96, 64, 9};
  for (double ratio : {0.1, 0.5, 0.9}) {
    int64_t p = 0, q = 0;
    tuckerRanks(shape, ratio, p, q);
    EXPECT_LE(static_cast<double>(TuckerFactors::size(shape, p, q)),
              (1 - ratio) * static_cast<double>(shape.numbers()));
    EXPECT_GT(static_cast<double>(TuckerFactors::size(shape, p + 2, q + 2)),
              (1 - ratio) * static_cast<double>(shape.numbers()));
  }
}

TEST(Tucker, RefusesWhatIsWrong) {
  ConvolutionShape shape{3, 2, 2};
  std::vector<float> w = random(12, 10);
  TuckerFactors found;
  EXPECT_NE(factorizeTucker(w, shape, 4, 1, 1, found).message().find("from 1 to 3 and 2"), std::string::npos);
  EXPECT_TRUE(factorizeTucker(w, shape, 1, 0, 1, found).failed());
  EXPECT_TRUE(factorizeTucker({1, 2}, shape, 1, 1, 1, found).failed());
  w[5] = std::numeric_limits<float>::infinity();
  EXPECT_NE(factorizeTucker(w, shape, 1, 1, 1, found).message().find("finite"), std::string::npos);
}

} // namespace
