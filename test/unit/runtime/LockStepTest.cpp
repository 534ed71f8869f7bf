//===- LockStepTest.cpp - Two runs side by side -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/LockStep.h"
#include "test/unit/runtime/DemoArtifact.h"

#include <cmath>
#include <gtest/gtest.h>
#include <limits>

using namespace lathe::test;
using namespace lathe::tool;

namespace {

/// Two sessions over one artifact, whose values `sum` and `product` both have 16 columns.
struct Two {
  explicit Two(int64_t badIndex = 1)
      : module(demo.write("demo.lathe")), a(module), b(module), x(16, 2), y(32, 3), z(17, 1), index{0, 1},
        bad{badIndex, 1} {
    for (lathe::Session *session : {&a, &b}) {
      session->setInput(0, {2, 8}, x.data());
      session->setInput(1, {2, 16}, y.data());
      session->setInput(2, {2}, session == &a ? index.data() : bad.data());
      session->setInput(3, {17}, z.data());
    }
  }
  DemoArtifact demo;
  lathe::Module module;
  lathe::Session a, b;
  std::vector<float> x, y, z;
  std::vector<int64_t> index, bad;
};

TEST(LockStep, ComparesWhatBothCompute) {
  Two two;
  std::vector<Pair> pairs{{"Add_1", "sum", {0, 0}, {}, 0, false}, {"MatMul_2", "product", {1, 1}, {}, 0, false}};
  LockStep steps(pairs, 2, 2);
  for (uint64_t run = 1; run <= 3; ++run) {
    steps.run(two.a, two.b);
    EXPECT_EQ(pairs[0].compared, run);
    EXPECT_EQ(pairs[1].compared, run);
  }
  // The first row of `sum` is 3 * 1 + 1 of A, and 3 * 2 + 1 of B.
  EXPECT_DOUBLE_EQ(pairs[0].distance.maxAbs, 3);
  EXPECT_EQ(pairs[0].distance.elements, 3u * 32);
  EXPECT_NEAR(pairs[0].distance.relative(), std::sqrt(16 * 9.0 / (16 * 16.0 + 16 * 49.0)), 1e-12);
  EXPECT_EQ(pairs[1].distance.relative(), 0);
  EXPECT_TRUE(std::isinf(pairs[1].distance.snrDb()));
}

TEST(LockStep, OrdersMayCross) {
  // Each computes the other's first value last.
  Two two;
  std::vector<Pair> pairs{{"Add_1", "sum", {0, 1}, {}, 0, false}, {"MatMul_2", "product", {1, 0}, {}, 0, false}};
  LockStep steps(pairs, 2, 2);
  steps.run(two.a, two.b);
  lathe::Output sum = two.a.output(0), product = two.b.output(1);
  Distance expected;
  expected.add(sum.data, LATHE_F32, product.data, LATHE_F32, 32);
  EXPECT_EQ(pairs[0].compared, 1u);
  EXPECT_EQ(pairs[1].compared, 1u);
  EXPECT_DOUBLE_EQ(pairs[0].distance.relative(), expected.relative());
  EXPECT_GT(expected.relative(), 0);
}

TEST(LockStep, ARunThatFailsStopsNone) {
  Two two(/*badIndex=*/9);
  std::vector<Pair> pairs{{"MatMul_2", "product", {1, 1}, {}, 0, false}};
  LockStep steps(pairs, 2, 2);
  EXPECT_THROW(steps.run(two.a, two.b), lathe::Error);
  EXPECT_TRUE(two.a.output(0).data);
}

TEST(LockStep, WaitsForNoneThatHasEnded) {
  Two two;
  two.b.setInput(3, {5}, two.z.data()); // n + 1 is 17: B never begins
  std::vector<Pair> pairs{{"Add_1", "sum", {0, 0}, {}, 0, false}};
  LockStep steps(pairs, 2, 2);
  EXPECT_THROW(steps.run(two.a, two.b), lathe::Error);
  EXPECT_EQ(pairs[0].compared, 0u);
}

TEST(Distance, OfSpecialValues) {
  const float infinity = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const float a[] = {0, infinity, nan, -infinity, 1}, b[] = {0, infinity, nan, 2, nan};
  Distance same, other, zero, none;
  same.add(a, LATHE_F32, b, LATHE_F32, 3);
  EXPECT_EQ(same.relative(), 0);
  EXPECT_EQ(same.nonFinite, 0u);
  other.add(a, LATHE_F32, b, LATHE_F32, 5);
  EXPECT_EQ(other.nonFinite, 2u);
  EXPECT_TRUE(std::isinf(other.relative()));
  const float zeros[] = {0, 0}, ones[] = {1, 1};
  zero.add(zeros, LATHE_F32, ones, LATHE_F32, 2);
  EXPECT_TRUE(std::isinf(zero.relative()));
  EXPECT_EQ(zero.cosine(), 0);
  none.add(nullptr, LATHE_F32, nullptr, LATHE_F32, 0);
  EXPECT_EQ(none.relative(), 0);
  EXPECT_EQ(none.cosine(), 1);
  const int64_t whole[] = {1, 1};
  Distance mixed;
  mixed.add(ones, LATHE_F32, whole, LATHE_I64, 2);
  EXPECT_EQ(mixed.maxAbs, 0);
}

} // namespace
