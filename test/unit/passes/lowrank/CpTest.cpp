//===- CpTest.cpp - Tests of sums of products -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Cp.h"
#include "LowRankTestSupport.h"

using namespace lathe::lowrank;
using namespace lathe::lowrank::test;

namespace {

double error(const std::vector<float> &a, const std::vector<float> &b) { return squaredDistance(a, b) / squares(a); }

CpFactors factors(const std::vector<float> &w, const ConvolutionShape &shape, int64_t rank, uint64_t seed = 1,
                  int64_t rounds = 500) {
  CpFactors found;
  auto status = factorizeCp(w, shape, rank, seed, rounds, found);
  EXPECT_FALSE(status.failed()) << status.message();
  return found;
}

const ConvolutionShape kShape{8, 6, 5};

TEST(Cp, DenseIsTheDefinition) {
  CpFactors given{kShape, 3, random(8 * 3, 1), random(3 * 5, 2), random(3 * 6, 3), 1, 0};
  std::vector<float> w = given.dense();
  for (int64_t o = 0; o < 8; ++o)
    for (int64_t c = 0; c < 6; ++c)
      for (int64_t e = 0; e < 5; ++e) {
        double sum = 0;
        for (int64_t r = 0; r < 3; ++r)
          sum += given.left[o * 3 + r] * given.window[r * 5 + e] * given.right[r * 6 + c];
        EXPECT_NEAR(w[(o * 6 + c) * 5 + e], sum, 1e-5);
      }
}

TEST(Cp, GivesBackASumOfItsRank) {
  for (int64_t rank : {1, 2, 3}) {
    CpFactors given{kShape, rank, random(8 * rank, 4), random(rank * 5, 5), random(rank * 6, 6), 1, 0};
    std::vector<float> w = given.dense();
    CpFactors found = factors(w, kShape, rank);
    EXPECT_LT(error(w, found.dense()), 1e-3) << rank;
    EXPECT_GT(found.energyKept, 0.999);
  }
}

// A rank that any tensor of this shape has.
TEST(Cp, OfFullRankIsTheWeight) {
  std::vector<float> w = random(kShape.numbers(), 7);
  EXPECT_LT(error(w, factors(w, kShape, 30, 1, 2000).dense()), 1e-3);
}

TEST(Cp, LosesWhatItTellsAndLessWithMoreRounds) {
  std::vector<float> w = random(kShape.numbers(), 8);
  double before = 1;
  for (int64_t rounds : {1, 3, 30}) {
    CpFactors found = factors(w, kShape, 4, 1, rounds);
    double lost = error(w, found.dense());
    EXPECT_NEAR(lost, 1 - found.energyKept, 1e-5);
    EXPECT_LE(lost, before + 1e-6);
    before = lost;
  }
}

TEST(Cp, DependsOnTheSeedAlone) {
  std::vector<float> w = random(kShape.numbers(), 9);
  EXPECT_EQ(factors(w, kShape, 12, 5).left, factors(w, kShape, 12, 5).left);
  EXPECT_NE(factors(w, kShape, 12, 5).left, factors(w, kShape, 12, 6).left);
}

TEST(Cp, OfNothingIsZero) {
  std::vector<float> w(static_cast<size_t>(kShape.numbers()));
  EXPECT_EQ(factors(w, kShape, 2).dense(), w);
}

TEST(Cp, RefusesWhatIsWrong) {
  std::vector<float> w = random(kShape.numbers(), 10);
  CpFactors found;
  EXPECT_NE(factorizeCp(w, kShape, 0, 1, 10, found).message().find("got 0"), std::string::npos);
  EXPECT_TRUE(factorizeCp({1, 2}, kShape, 1, 1, 10, found).failed());
  w[5] = std::numeric_limits<float>::infinity();
  EXPECT_NE(factorizeCp(w, kShape, 1, 1, 10, found).message().find("finite"), std::string::npos);
}

} // namespace
