//===- TensorTrainTest.cpp - Tests of trains of small tensors -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/TensorTrain.h"
#include "LowRankTestSupport.h"

#include <numeric>

using namespace lathe::lowrank;
using namespace lathe::lowrank::test;

namespace {

double error(const std::vector<float> &a, const std::vector<float> &b) {
  double sum = 0, all = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    all += static_cast<double>(a[i]) * a[i];
  }
  return all > 0 ? sum / all : sum;
}

TensorTrain trainOf(const std::vector<float> &values, const TrainShape &shape, int64_t rank, double energy = 1) {
  TensorTrain found;
  auto status = factorizeTrain({values.data(), shape.outputs(), shape.inputs()}, shape, rank, energy, found);
  EXPECT_FALSE(status.failed()) << status.message();
  for (size_t core = 0; core < found.cores.size(); ++core)
    EXPECT_EQ(found.cores[core].size(),
              static_cast<size_t>(shape.part(core) * found.before(core) * found.behind(core)));
  return found;
}

class OfParts : public testing::TestWithParam<TrainShape> {};

TEST_P(OfParts, OfAllRanksAreTheWeight) {
  const TrainShape &shape = GetParam();
  std::vector<float> w = random(shape.outputs() * shape.inputs(), 1);
  TensorTrain found = trainOf(w, shape, 1 << 20);
  EXPECT_LT(error(w, found.dense()), 1e-9);
  EXPECT_NEAR(found.energyKept, 1, 1e-9);
  EXPECT_EQ(found.numbers(), trainNumbers(shape, found.ranks));
}

// Cores but the last are orthonormal, so that what is lost is what the last one lacks.
TEST_P(OfParts, LoseWhatTheyTell) {
  const TrainShape &shape = GetParam();
  std::vector<float> w = random(shape.outputs() * shape.inputs(), 2);
  for (int64_t rank : {1, 2, 3}) {
    TensorTrain found = trainOf(w, shape, rank);
    EXPECT_NEAR(error(w, found.dense()), 1 - found.energyKept, 1e-6);
  }
  for (double energy : {0.3, 0.8})
    EXPECT_GE(trainOf(w, shape, 1 << 20, energy).energyKept, energy - 1e-9);
}

TEST_P(OfParts, GiveBackATrainOfTheirRanks) {
  const TrainShape &shape = GetParam();
  TensorTrain given = trainOf(random(shape.outputs() * shape.inputs(), 3), shape, 2);
  std::vector<float> w = given.dense();
  TensorTrain again = trainOf(w, shape, 2);
  EXPECT_LT(error(w, again.dense()), 1e-9);
  EXPECT_NEAR(again.energyKept, 1, 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Trains, OfParts,
                         testing::Values(TrainShape{{4, 3}, {2, 5}}, TrainShape{{3, 2, 4}, {2, 3, 2}},
                                         TrainShape{{6, 1, 1}, {1, 3, 4}}, TrainShape{{1, 7}, {5, 1}},
                                         TrainShape{{1, 1}, {1, 1}}, TrainShape{{2, 2, 2, 2}, {2, 1, 3, 2}}),
                         [](const auto &info) { return "shape" + std::to_string(info.index); });

// Against the definition, written out.
TEST(TensorTrain, OfTwoCoresIsASumOfKroneckerProducts) {
  const TrainShape shape{{3, 2}, {2, 4}};
  TensorTrain given{shape, {2}, {random(3 * 2 * 2, 4), random(2 * 2 * 4, 5)}, 1};
  std::vector<float> w = given.dense();
  for (int64_t n = 0; n < 6; ++n)
    for (int64_t k = 0; k < 8; ++k) {
      double sum = 0;
      for (int64_t r = 0; r < 2; ++r)
        sum += given.cores[0][(n / 2 * 2 + k / 4) * 2 + r] * given.cores[1][((n % 2) * 2 + r) * 4 + k % 4];
      EXPECT_NEAR(w[n * 8 + k], sum, 1e-5);
    }
  // The nearest sum loses the singular values beyond (Van Loan and Pitsianis).
  std::vector<float> any = random(48, 6);
  std::vector<double> squares;
  ASSERT_FALSE(trainSpectrum({any.data(), 6, 8}, shape, squares).failed());
  EXPECT_EQ(squares.size(), 6u);
  for (int64_t rank : {1, 2, 5})
    EXPECT_NEAR(1 - trainOf(any, shape, rank).energyKept, tail(squares, rank) / tail(squares, 0), 1e-9);
}

TEST(TensorTrain, RanksFit) {
  for (const TrainShape &shape :
       {balancedShape(768, 3072, 3), kroneckerShape(256, 704, 16, 16), balancedShape(64, 48, 4)}) {
    const int64_t all = shape.outputs() * shape.inputs();
    for (double part : {0.1, 0.5, 0.9}) {
      const auto numbers = static_cast<int64_t>(part * static_cast<double>(all));
      const int64_t rank = trainRankWithin(shape, numbers);
      ASSERT_GE(rank, 1);
      EXPECT_LE(trainNumbers(shape, trainRanks(shape, rank)), numbers);
      EXPECT_GT(trainNumbers(shape, trainRanks(shape, rank + 1)), numbers);
    }
  }
  EXPECT_EQ(trainRankWithin({{4, 4}, {4, 4}}, 31), 0);
  EXPECT_EQ(trainRankWithin({{4, 4}, {4, 4}}, 32), 1);
}

TEST(TensorTrain, PartsAreBalanced) {
  TrainShape shape = balancedShape(768, 768, 3);
  EXPECT_EQ(shape.n, (std::vector<int64_t>{12, 8, 8}));
  EXPECT_EQ(shape.k, (std::vector<int64_t>{8, 8, 12}));
  shape = balancedShape(7, 1, 3); // a prime number has one part
  EXPECT_EQ(shape.cores(), 2u);
  EXPECT_EQ(shape.outputs(), 7);
  EXPECT_EQ(shape.inputs(), 1);
  for (const TrainShape &own : kroneckerShapes(256, 704, 3)) {
    EXPECT_EQ(own.outputs(), 256);
    EXPECT_EQ(own.inputs(), 704);
  }
  EXPECT_EQ(kroneckerShapes(256, 256, 1).front().n, (std::vector<int64_t>{16, 16}));
  EXPECT_EQ(kroneckerShapes(1, 1, 3).size(), 1u);
}

TEST(TensorTrain, Multiplications) {
  // x (k1 k2) by the second core, then by the first.
  EXPECT_EQ(trainMultiplications({{3, 5}, {2, 4}}, {7}), 2 * (4.0 * 5 * 7) + 5 * (2.0 * 7 * 3));
}

TEST(TensorTrain, RefusesWhatIsWrong) {
  std::vector<float> w = random(12, 7);
  TensorTrain found;
  EXPECT_NE(factorizeTrain({w.data(), 3, 4}, {{3, 1}, {2, 3}}, 1, 1, found).message().find("3 x 4"), std::string::npos);
  EXPECT_TRUE(factorizeTrain({w.data(), 3, 4}, {{3, 1}, {2, 2}}, 0, 1, found).failed());
  w[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(factorizeTrain({w.data(), 3, 4}, {{3, 1}, {2, 2}}, 1, 1, found).message().find("output 1 and input 1"),
            std::string::npos);
}

TEST(TensorTrain, OfNothingIsZero) {
  std::vector<float> w(24);
  EXPECT_EQ(trainOf(w, {{2, 3}, {2, 2}}, 2).dense(), w);
}

} // namespace
