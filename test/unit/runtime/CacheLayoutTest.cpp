//===- CacheLayoutTest.cpp - Rows of keys or values as codes ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/CacheLayout.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <gtest/gtest.h>
#include <limits>
#include <random>
#include <vector>

using lathe::runtime::CacheLayout;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

/// What comes back of a row that was stored between others; `step` numbers lie between its numbers.
std::vector<float> roundTrip(const CacheLayout &layout, const std::vector<float> &row, int64_t step = 1) {
  std::vector<unsigned char> page(static_cast<size_t>(layout.bytes()), 0xa5);
  unsigned char *head = page.data() + (layout.heads - 1) * layout.headBytes();
  std::vector<float> spread(row.size() * static_cast<size_t>(step), 7), others(row.size(), 3), back(spread.size(), -9),
      result;
  for (size_t i = 0; i < row.size(); ++i)
    spread[i * static_cast<size_t>(step)] = row[i];
  for (int64_t place : {0, 31, 63})
    layout.store(head, place, place == 31 ? spread.data() : others.data(), place == 31 ? step : 1);
  layout.load(head, 31, back.data(), step);
  for (size_t i = 0; i < row.size(); ++i)
    result.push_back(back[i * static_cast<size_t>(step)]);
  for (size_t i = 0; i < back.size(); ++i)
    if (i % static_cast<size_t>(step) != 0)
      EXPECT_EQ(back[i], -9);
  for (int64_t place : {0, 63}) {
    std::vector<float> same(row.size());
    layout.load(head, place, same.data(), 1);
    for (float x : same)
      EXPECT_NEAR(x, 3, 0.02);
  }
  return result;
}

std::vector<CacheLayout> kinds(int64_t size) {
  std::vector<CacheLayout> result;
  for (int64_t bits : {8, 4})
    for (bool symmetric : {true, false})
      for (int64_t group : {0, 16, 32, 64})
        result.push_back({2, size, bits, group, symmetric, false});
  return result;
}

/// Half of what lies between two codes of a group at most, whose steps are rounded up to 8 bits; nothing is clipped.
TEST(CacheLayout, ErrorsAreHalfAStep) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.3f, 2.0f);
  for (int64_t size : {1, 8, 15, 16, 17, 33, 64, 80, 129})
    for (const CacheLayout &layout : kinds(size))
      for (int64_t step : {1, 3}) {
        std::vector<float> row;
        for (int64_t i = 0; i < size; ++i)
          row.push_back(normal(random));
        std::vector<float> back = roundTrip(layout, row, step);
        for (int64_t c = 0; c < size; ++c) {
          int64_t group = layout.group ? std::min(layout.group, size) : size, first = c / group * group;
          auto begin = row.begin() + first, end = row.begin() + std::min(first + group, size);
          float low = *std::min_element(begin, end), high = *std::max_element(begin, end);
          float levels = static_cast<float>(layout.symmetric ? (1 << (layout.bits - 1)) - 1 : (1 << layout.bits) - 1);
          // A lowest value that is rounded down widens the range.
          float range = layout.symmetric ? std::max(-low, high) : high - low + std::abs(low) / 128;
          float bound = range / levels * (1 + 1.0f / 128) / 2;
          auto at = static_cast<size_t>(c);
          ASSERT_LE(std::abs(row[at] - back[at]), bound * 1.0001f)
              << size << " bits " << layout.bits << " group " << layout.group << " symmetric " << layout.symmetric
              << " column " << c;
        }
      }
}

TEST(CacheLayout, F32IsExact) {
  CacheLayout layout = {3, 5};
  EXPECT_EQ(layout.bytes(), 3 * 64 * 5 * 4);
  std::vector<float> row = {1.5f, -kInfinity, FLT_MIN / 4, -0.0f, 3e38f};
  EXPECT_EQ(roundTrip(layout, row, 2), row);
}

TEST(CacheLayout, Bytes) {
  // Of 64 numbers: codes, and bf16 for each group.
  EXPECT_EQ((CacheLayout{1, 64, 8, 0, true}.bytes()), 64 * (64 + 2));
  EXPECT_EQ((CacheLayout{2, 64, 4, 32, false}.bytes()), 2 * 64 * (32 + 2 * 4));
  EXPECT_EQ((CacheLayout{1, 64, 4, 64, true}.bytes()), 64 * (32 + 2));
  EXPECT_EQ((CacheLayout{1, 33, 4, 16, false}.bytes()), 64 * (32 + 3 * 4));
  EXPECT_EQ((CacheLayout{1, 33, 8, 16, true}.groups()), 3);
  EXPECT_EQ((CacheLayout{1, 8, 8, 16, true}.groups()), 1);
}

/// Numbers that codes hit: what is stored comes back as it is.
TEST(CacheLayout, MultiplesOfTheStepAreExact) {
  for (int64_t bits : {8, 4}) {
    int levels = bits == 8 ? 127 : 7;
    std::vector<float> row(40);
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = 0.25f * static_cast<float>(static_cast<int>(i * 7) % (2 * levels + 1) - levels);
    row[3] = 0.25f * static_cast<float>(levels);
    EXPECT_EQ(roundTrip({2, 40, bits, 0, true}, row), row);
    for (float &x : row)
      x += 0.25f * static_cast<float>(levels + 1);
    row[5] = 0.25f, row[6] = 0.25f * static_cast<float>((1 << bits));
    EXPECT_EQ(roundTrip({2, 40, bits, 0, false}, row), row);
  }
}

TEST(CacheLayout, HalvesGoToEvenCodes) {
  std::vector<float> row = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f};
  EXPECT_EQ(roundTrip({1, 7, 8, 0, true}, row), (std::vector<float>{127, 0, 2, 2, 0, -2, -126}));
}

TEST(CacheLayout, GroupsWithoutARange) {
  for (const CacheLayout &layout : kinds(35)) {
    for (float x : {0.0f, 1e-42f, -1e-42f})
      for (float back : roundTrip(layout, std::vector<float>(35, x)))
        EXPECT_NEAR(back, x, 1e-37f);
    for (float x : {3.14159f, -3.14159f, 1e30f, -1e-20f})
      for (float back : roundTrip(layout, std::vector<float>(35, x)))
        EXPECT_NEAR(back, x, std::abs(x) / 128);
  }
}

/// What is not finite is told by its group, whatever else is in it.
TEST(CacheLayout, NotFinite) {
  for (const CacheLayout &layout : kinds(64))
    for (float x : {kNan, -kNan, kInfinity, -kInfinity}) {
      std::vector<float> row(64, 1);
      row[40] = x;
      std::vector<float> back = roundTrip(layout, row);
      int64_t group = layout.groupColumns();
      for (int64_t c = 0; c < 64; ++c)
        EXPECT_EQ(std::isnan(back[static_cast<size_t>(c)]), c / group == 40 / group) << c;
    }
}

TEST(CacheLayout, LargestNumbers) {
  for (const CacheLayout &layout : kinds(32))
    for (float x : roundTrip(layout, std::vector<float>{3e38f, -3e38f, 1, 0, 2e38f, -2e38f, 3e38f, -3e38f,
                                                        3e38f, -3e38f, 1, 0, 2e38f, -2e38f, 3e38f, -3e38f,
                                                        3e38f, -3e38f, 1, 0, 2e38f, -2e38f, 3e38f, -3e38f,
                                                        3e38f, -3e38f, 1, 0, 2e38f, -2e38f, 3e38f, -3e38f}))
      EXPECT_FALSE(std::isnan(x));
}

/// One large column is spread over all: without that, it leaves no codes for the others.
TEST(CacheLayout, RotatedRows) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (int64_t size : {1, 7, 12, 64, 80, 384}) {
    std::vector<float> row;
    for (int64_t i = 0; i < size; ++i)
      row.push_back(normal(random));
    if (size > 5)
      row[5] = 40;
    auto error = [&](bool rotated) {
      std::vector<float> back = roundTrip({2, size, 4, 32, false, rotated}, row, 2);
      double sum = 0;
      for (size_t i = 0; i < row.size(); ++i)
        sum += std::pow(static_cast<double>(row[i] - back[i]), 2);
      return sum;
    };
    if (size % 16 == 0)
      EXPECT_LT(error(true), error(false)) << size;
    else if (size % 2 == 1)
      EXPECT_EQ(error(true), error(false)) << size;
  }
  EXPECT_EQ((CacheLayout{1, 80, 4, 32, false, true}.rotation()), 16);
  EXPECT_EQ((CacheLayout{1, 384, 8, 0, true, true}.rotation()), 128);
  EXPECT_EQ((CacheLayout{1, 64, 32, 0, true, true}.rotation()), 1);
}

} // namespace
