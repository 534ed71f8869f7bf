//===- HadamardTest.cpp - Rotations that spread outliers --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Hadamard.h"

#include "QuantizationTestSupport.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

TEST(Hadamard, IsOrthogonal) {
  for (int64_t size : {1, 2, 4, 8, 12, 16, 20, 24, 28, 36, 40, 44, 56, 60, 76, 80, 96, 112, 128, 160, 192, 256}) {
    Hadamard rotation;
    ASSERT_WORKS(Hadamard::create(size, 7, rotation));
    EXPECT_TRUE(Hadamard::exists(size));
    const std::vector<float> r = rotation.matrix();
    const double expected = 1 / std::sqrt(static_cast<double>(size));
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < size; ++j) {
        ASSERT_NEAR(std::abs(r[i * size + j]), expected, 1e-6) << size;
        double sum = 0;
        for (int64_t m = 0; m < size; ++m)
          sum += static_cast<double>(r[i * size + m]) * r[j * size + m];
        ASSERT_NEAR(sum, i == j, 1e-5) << size << " " << i << " " << j;
      }
  }
}

TEST(Hadamard, AppliesItsMatrixAndUndoesIt) {
  for (int64_t size : {1, 16, 24, 40, 56, 144, 704, 768, 896}) {
    Hadamard rotation;
    ASSERT_WORKS(Hadamard::create(size, 3, rotation));
    const std::vector<float> x = randomWeights(3 * size, 1), r = rotation.matrix();
    std::vector<float> y = x;
    rotation.apply(y.data(), 3);
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t j = 0; j < size; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < size; ++i)
          sum += static_cast<double>(x[row * size + i]) * r[i * size + j];
        ASSERT_NEAR(y[row * size + j], sum, 2e-5) << size;
      }
    rotation.applyInverse(y.data(), 3);
    for (size_t i = 0; i < x.size(); ++i)
      ASSERT_NEAR(y[i], x[i], 2e-5) << size;
  }
}

TEST(Hadamard, SpreadsAnOutlier) {
  Hadamard rotation;
  ASSERT_WORKS(Hadamard::create(256, 1, rotation));
  std::vector<float> x(256, 0.0f);
  x[17] = 16;
  rotation.apply(x.data(), 1);
  for (float value : x)
    EXPECT_EQ(std::abs(value), 1);
}

TEST(Hadamard, SignsAreThoseOfTheSeed) {
  Hadamard plain, one, again, other;
  ASSERT_WORKS(Hadamard::create(64, 0, plain));
  ASSERT_WORKS(Hadamard::create(64, 1, one));
  ASSERT_WORKS(Hadamard::create(64, 1, again));
  ASSERT_WORKS(Hadamard::create(64, 2, other));
  for (int64_t j = 0; j < 64; ++j)
    EXPECT_EQ(plain.matrix()[j], 0.125f); // the first row of Sylvester's matrix
  EXPECT_EQ(one.matrix(), again.matrix());
  EXPECT_NE(one.matrix(), other.matrix());
  EXPECT_NE(one.matrix(), plain.matrix());
}

TEST(Hadamard, RefusesOtherSizes) {
  Hadamard rotation;
  for (int64_t size : {-4, 0, 3, 5, 6, 7, 10, 14, 100, 1000003}) {
    // 100 = 99 + 1 = 2 (49 + 1), and neither is one more than a prime
    EXPECT_FALSE(Hadamard::exists(size)) << size;
    EXPECT_FAILS(Hadamard::create(size, 1, rotation), "known Hadamard matrix");
  }
  EXPECT_TRUE(Hadamard::exists(4864));
  EXPECT_TRUE(Hadamard::exists(int64_t(1) << 40));
}

} // namespace
