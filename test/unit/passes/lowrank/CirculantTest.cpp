//===- CirculantTest.cpp - Tests of matrices of circulant blocks ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Circulant.h"
#include "LowRankTestSupport.h"

using namespace lathe::lowrank;
using namespace lathe::lowrank::test;

namespace {

struct Sizes {
  int64_t n, k, block;
};

class OfBlocks : public testing::TestWithParam<Sizes> {};

Circulant nearest(const std::vector<float> &w, const Sizes &size) {
  Circulant found;
  auto status = nearestCirculant({w.data(), size.n, size.k}, size.block, found);
  EXPECT_FALSE(status.failed()) << status.message();
  return found;
}

TEST_P(OfBlocks, GiveBackACirculantMatrix) {
  const Sizes size = GetParam();
  Circulant given{size.n, size.k, size.block, random(size.n * size.k / size.block, 1), 1};
  std::vector<float> w = given.dense();
  Circulant found = nearest(w, size);
  EXPECT_NEAR(found.energyKept, 1, 1e-6);
  for (size_t i = 0; i < given.first.size(); ++i)
    EXPECT_NEAR(found.first[i], given.first[i], 1e-6);
}

// A projection: what is lost is orthogonal to what is kept, and nothing circulant is nearer.
TEST_P(OfBlocks, AreTheNearest) {
  const Sizes size = GetParam();
  std::vector<float> w = random(size.n * size.k, 2);
  Circulant found = nearest(w, size);
  std::vector<float> dense = found.dense();
  double all = 0, lost = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    all += w[i] * w[i];
    lost += (w[i] - dense[i]) * (w[i] - dense[i]);
  }
  EXPECT_NEAR(found.energyKept, 1 - lost / all, 1e-5);
  for (float step : {-0.1f, 0.1f}) {
    Circulant other = found;
    other.first[other.first.size() / 2] += step;
    std::vector<float> moved = other.dense();
    double more = 0;
    for (size_t i = 0; i < w.size(); ++i)
      more += (w[i] - moved[i]) * (w[i] - moved[i]);
    EXPECT_GT(more, lost);
  }
}

// What products compute, step by step, is the product with the dense matrix.
TEST_P(OfBlocks, ByTheirTransformsAreTheDenseProduct) {
  const auto [n, k, block] = GetParam();
  Circulant given{n, k, block, random(n * k / block, 3), 1};
  const int64_t p = n / block, q = k / block, h = given.frequencies();
  std::vector<float> x = random(k, 4), w = given.dense(), spectrum = given.spectrum(), in = forwardTransform(block),
                     out = inverseTransform(block);
  EXPECT_EQ(static_cast<int64_t>(spectrum.size()), circulantNumbers(n, k, block));
  std::vector<double> y(static_cast<size_t>(n));
  for (int64_t f = 0; f < h; ++f)
    for (int64_t part = 0; part < 2; ++part)
      for (int64_t i = 0; i < p; ++i) {
        double sum = 0;
        for (int64_t half = 0; half < 2; ++half)
          for (int64_t j = 0; j < q; ++j) {
            double transformed = 0;
            for (int64_t t = 0; t < block; ++t)
              transformed += static_cast<double>(x[j * block + t]) * in[((t * h + f) * 2 + part) * 2 + half];
            sum += transformed * spectrum[((f * 2 + half) * q + j) * p + i];
          }
        for (int64_t s = 0; s < block; ++s)
          y[i * block + s] += sum * out[(f * 2 + part) * block + s];
      }
  for (int64_t row = 0; row < n; ++row) {
    double expected = 0;
    for (int64_t j = 0; j < k; ++j)
      expected += static_cast<double>(w[row * k + j]) * x[j];
    EXPECT_NEAR(y[row], expected, 1e-4);
  }
}

INSTANTIATE_TEST_SUITE_P(Blocks, OfBlocks,
                         testing::Values(Sizes{8, 12, 4}, Sizes{15, 10, 5}, Sizes{6, 6, 2}, Sizes{7, 7, 7},
                                         Sizes{16, 48, 16}, Sizes{3, 5, 1}),
                         [](const auto &info) {
                           return std::to_string(info.param.n) + "x" + std::to_string(info.param.k) + "by" +
                                  std::to_string(info.param.block);
                         });

TEST(Circulant, BlocksDivideBoth) {
  EXPECT_EQ(circulantBlocks(12, 18), (std::vector<int64_t>{2, 3, 6}));
  EXPECT_EQ(circulantBlocks(7, 5), std::vector<int64_t>{});
  EXPECT_EQ(circulantBlocks(4, 4), (std::vector<int64_t>{2, 4}));
}

TEST(Circulant, RefusesWhatIsWrong) {
  std::vector<float> w = random(24, 5);
  Circulant found;
  EXPECT_NE(nearestCirculant({w.data(), 4, 6}, 4, found).message().find("got 4"), std::string::npos);
  EXPECT_TRUE(nearestCirculant({w.data(), 4, 6}, 0, found).failed());
  w[7] = std::numeric_limits<float>::infinity();
  EXPECT_NE(nearestCirculant({w.data(), 4, 6}, 2, found).message().find("output 1 and input 1"), std::string::npos);
}

} // namespace
