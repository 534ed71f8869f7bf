//===- FactorsTest.cpp - Tests of thin factors ----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Factors.h"
#include "LowRankTestSupport.h"
#include "passes/lowrank/methods/Lapack.h"
#include "passes/quantization/methods/ErrorMetrics.h"

using namespace lathe;
using namespace lathe::lowrank;
using namespace lathe::lowrank::test;

namespace {

struct Shape {
  int64_t n, k;
};

class OfShapes : public testing::TestWithParam<Shape> {};

Factors factors(const Weight &w, const Measure &measure, int64_t rank, std::vector<double> &squares) {
  Factors result;
  Status status = factorize(w, measure, rank, result, squares);
  EXPECT_FALSE(status.failed()) << status.message();
  EXPECT_EQ(result.left.size(), static_cast<size_t>(w.n * result.r));
  EXPECT_EQ(result.right.size(), static_cast<size_t>(result.r * w.k));
  return result;
}

/// The mean over inputs of the square of what a layer's outputs change by.
double outputError(const Weight &w, const Factors &found, const InputStatistics &inputs) {
  double error = 0;
  EXPECT_FALSE(quantization::outputError(w, found.dense().data(), inputs, nullptr, error).failed());
  return error;
}

// Eckart and Young: the error of the best factors is the sum of the squares that are left out.
TEST_P(OfShapes, LoseTheSingularValuesThatAreLeftOut) {
  auto [n, k] = GetParam();
  std::vector<float> values = random(n * k, 1);
  Weight w{values.data(), n, k};
  for (int64_t rank = 1; rank <= std::min(n, k); rank += 3) {
    std::vector<double> squares;
    Factors found = factors(w, {}, rank, squares);
    ASSERT_EQ(squares.size(), static_cast<size_t>(std::min(n, k)));
    double energy = quantization::compare(values.data(), values.data(), n * k).signal;
    EXPECT_NEAR(tail(squares, 0), energy, 1e-5 * energy);
    EXPECT_NEAR(quantization::compare(values.data(), found.dense().data(), n * k).error, tail(squares, rank),
                1e-5 * energy);
  }
}

// SVD-LLM: the loss of outputs is the sum of the squares of the singular values of w S that are left out, and no other
// factors of the rank lose less.
TEST_P(OfShapes, LoseOfOutputsWhatIsLeftOut) {
  auto [n, k] = GetParam();
  std::vector<float> values = random(n * k, 2);
  Weight w{values.data(), n, k};
  InputStatistics inputs = statistics(k, std::max<int64_t>(1, k / 2), 0.2f, 3);
  Measure measure{Metric::Outputs, 0.5, &inputs};
  for (int64_t rank = 1; rank <= std::min(n, k); rank += 3) {
    std::vector<double> squares, alone, others;
    Factors found = factors(w, measure, rank, squares);
    double all = tail(squares, 0), error = outputError(w, found, inputs);
    EXPECT_NEAR(error, tail(squares, rank), 1e-4 * all);
    ASSERT_FALSE(spectrum(w, measure, alone).failed());
    for (size_t i = 0; i < squares.size(); ++i)
      EXPECT_NEAR(alone[i], squares[i], 1e-9 * all);
    EXPECT_LE(error, outputError(w, factors(w, {}, rank, others), inputs) + 1e-5 * all);
    EXPECT_LE(error, outputError(w, factors(w, {Metric::Magnitudes, 0.5, &inputs}, rank, others), inputs) + 1e-5 * all);
  }
}

// Inputs that are mixtures of few signals have a second moment without an inverse.
TEST_P(OfShapes, NeedNoInverse) {
  auto [n, k] = GetParam();
  std::vector<float> values = random(n * k, 4);
  Weight w{values.data(), n, k};
  InputStatistics inputs = statistics(k, 2, 0, 5);
  std::vector<double> squares;
  int64_t rank = std::min<int64_t>({2, n, k});
  Factors found = factors(w, {Metric::Outputs, 0.5, &inputs}, rank, squares);
  EXPECT_NEAR(outputError(w, found, inputs), tail(squares, rank), 1e-5 * tail(squares, 0));
  for (float value : found.dense())
    ASSERT_TRUE(std::isfinite(value));
  // Of all ranks, too: what has no part in the outputs is left out or kept, and never a number that is none.
  found = factors(w, {Metric::Outputs, 0.5, &inputs}, std::min(n, k), squares);
  EXPECT_LE(outputError(w, found, inputs), 1e-5 * tail(squares, 0));
}

TEST_P(OfShapes, GiveBackAWeightOfTheirRank) {
  auto [n, k] = GetParam();
  int64_t rank = std::min<int64_t>({3, n, k});
  std::vector<float> left = random(n * rank, 6), right = random(rank * k, 7);
  std::vector<float> values = Factors{n, k, rank, left, right}.dense();
  std::vector<double> squares;
  std::vector<float> again = factors({values.data(), n, k}, {}, rank, squares).dense();
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(again[i], values[i], 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Weights, OfShapes,
                         testing::Values(Shape{7, 19}, Shape{19, 7}, Shape{16, 16}, Shape{1, 5}, Shape{5, 1},
                                         Shape{1, 1}, Shape{48, 31}),
                         [](const auto &info) {
                           return std::to_string(info.param.n) + "x" + std::to_string(info.param.k);
                         });

TEST(Factors, OfNothingAreZero) {
  std::vector<float> values(6 * 4);
  std::vector<double> squares;
  Factors found = factors({values.data(), 6, 4}, {}, 2, squares);
  EXPECT_GE(found.r, 1);
  EXPECT_EQ(found.dense(), values);
}

TEST(Factors, MagnitudesOfPowerZeroAreWeights) {
  std::vector<float> values = random(12 * 9, 9);
  Weight w{values.data(), 12, 9};
  InputStatistics inputs = statistics(9, 4, 0.1f, 10);
  std::vector<double> squares, scaled;
  ASSERT_FALSE(spectrum(w, {}, squares).failed());
  ASSERT_FALSE(spectrum(w, {Metric::Magnitudes, 0, &inputs}, scaled).failed());
  EXPECT_EQ(squares, scaled);
  ASSERT_FALSE(spectrum(w, {Metric::Magnitudes, 0.5, &inputs}, scaled).failed());
  EXPECT_NE(squares, scaled);
}

TEST(Factors, RefuseWhatIsWrong) {
  std::vector<float> values = random(12, 11);
  Weight w{values.data(), 3, 4};
  InputStatistics inputs = statistics(5, 2, 0.1f, 12);
  Factors found;
  std::vector<double> squares;
  auto why = [&](const Measure &measure, int64_t rank) {
    return factorize(w, measure, rank, found, squares).message();
  };
  EXPECT_NE(why({}, 0).find("from 1 to 3"), std::string::npos);
  EXPECT_NE(why({}, 4).find("got 4"), std::string::npos);
  EXPECT_NE(why({Metric::Outputs, 0.5, nullptr}, 1).find("got none"), std::string::npos);
  EXPECT_NE(why({Metric::Outputs, 0.5, &inputs}, 1).find("4 inputs"), std::string::npos);
  values[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(why({}, 1).find("output 1 and input 1"), std::string::npos);
  EXPECT_TRUE(spectrum(w, {}, squares).failed());
}

TEST(Lapack, CholeskyOfASemidefiniteMatrix) {
  constexpr int64_t kSize = 9, kRank = 4;
  std::vector<float> values = random(kSize * kRank, 13);
  Matrix h = gram(Matrix(values.begin(), values.end()), kSize, kRank, /*ofColumns=*/false);
  int64_t rank = 0;
  Matrix s = semidefiniteCholesky(h, kSize, rank);
  EXPECT_GE(rank, kRank);
  Matrix again = gram(s, kSize, rank, /*ofColumns=*/false);
  for (size_t i = 0; i < h.size(); ++i)
    EXPECT_NEAR(again[i], h[i], 1e-9);
}

} // namespace
