//===- SelectionTest.cpp - Which weights become zero ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/Selection.h"

#include "test/unit/passes/quantization/QuantizationTestSupport.h"

using namespace lathe::pruning;
using namespace lathe::quantization::test;

namespace {

SelectionOptions optionsOf(const std::string &pattern, double sparsity, Scope scope = Scope::Layer) {
  SelectionOptions options;
  EXPECT_EQ(parsePattern(pattern, options.pattern), "");
  options.sparsity = sparsity;
  options.scope = scope;
  return options;
}

std::vector<uint8_t> select(const std::vector<float> &w, int64_t n, int64_t k, const SelectionOptions &options,
                            const std::vector<float> &sizes = {}) {
  return selectWeights(scoresOf({w.data(), n, k}, sizes, 1), n, k, options);
}

int64_t count(const std::vector<uint8_t> &mask) { return std::count(mask.begin(), mask.end(), 1); }

TEST(Selection, SharesAreExact) {
  EXPECT_EQ(shareOf(0.7, 10), 7);
  EXPECT_EQ(shareOf(0.29, 100), 29);
  EXPECT_EQ(shareOf(0.5, 7), 3);
  EXPECT_EQ(shareOf(0, 7), 0);
  EXPECT_EQ(shareOf(0.999999, 1), 0);
  for (auto [n, k] : {std::pair<int64_t, int64_t>(37, 53), {1, 1}, {0, 5}, {64, 64}, {1, 100}}) {
    const std::vector<float> w = randomWeights(n * k, 1);
    for (double sparsity : {0.0, 0.1, 0.5, 0.7, 0.99}) {
      EXPECT_EQ(count(select(w, n, k, optionsOf("unstructured", sparsity))), shareOf(sparsity, n * k));
      const std::vector<uint8_t> byOutput = select(w, n, k, optionsOf("unstructured", sparsity, Scope::Output));
      for (int64_t j = 0; j < n; ++j)
        EXPECT_EQ(std::count(&byOutput[j * k], &byOutput[j * k] + k, 1), shareOf(sparsity, k));
      EXPECT_EQ(count(select(w, n, k, optionsOf("unstructured", sparsity, Scope::Input))), k * shareOf(sparsity, n));
    }
  }
}

TEST(Selection, EqualWeightsStillGiveTheShare) {
  const std::vector<float> w(60, 1.0f);
  EXPECT_EQ(count(select(w, 6, 10, optionsOf("unstructured", 0.5))), 30);
}

TEST(Selection, TheLowestGoAndZerosFirst) {
  const std::vector<float> w = {3, -1, 0, 2, -0.5f, 4};
  EXPECT_EQ(select(w, 2, 3, optionsOf("unstructured", 0.5)), (std::vector<uint8_t>{0, 1, 1, 0, 1, 0}));
  // An input that is always 0 makes its weights worthless, but what is zero goes before.
  EXPECT_EQ(select(w, 2, 3, optionsOf("unstructured", 0.17), {0, 1, 1}), (std::vector<uint8_t>{0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(select(w, 2, 3, optionsOf("unstructured", 0.5), {0, 1, 1}), (std::vector<uint8_t>{1, 0, 1, 1, 0, 0}));
}

TEST(Selection, EqualSizesOfInputsAreMagnitude) {
  constexpr int64_t n = 33, k = 70;
  const std::vector<float> w = randomWeights(n * k, 2), sizes(k, 0.25f);
  for (const char *pattern : {"unstructured", "2:4", "block:4x16"})
    for (Scope scope : {Scope::Layer, Scope::Output, Scope::Input})
      EXPECT_EQ(select(w, n, k, optionsOf(pattern, 0.6, scope), sizes),
                select(w, n, k, optionsOf(pattern, 0.6, scope)));
  std::vector<float> unequal = sizes;
  unequal[3] = 100;
  EXPECT_NE(select(w, n, k, optionsOf("unstructured", 0.6), unequal), select(w, n, k, optionsOf("unstructured", 0.6)));
}

TEST(Selection, GroupsKeepTheLargest) {
  for (auto [kept, of] : {std::pair<int64_t, int64_t>(2, 4), {4, 8}, {1, 4}, {3, 5}, {31, 32}})
    for (int64_t k : {32, 37, 3}) {
      constexpr int64_t n = 9;
      const std::vector<float> w = randomWeights(n * k, 3);
      const std::vector<uint8_t> mask = select(w, n, k, optionsOf(std::to_string(kept) + ":" + std::to_string(of), 0));
      for (int64_t j = 0; j < n; ++j)
        for (int64_t i = 0; i < k; i += of) {
          float largestGone = 0, leastKept = kInfinity;
          int64_t stay = 0;
          for (int64_t at = j * k + i; at < j * k + std::min(k, i + of); ++at)
            if (mask[at]) {
              largestGone = std::max(largestGone, std::abs(w[at]));
            } else {
              leastKept = std::min(leastKept, std::abs(w[at]));
              ++stay;
            }
          EXPECT_EQ(stay, std::min(kept, std::min(of, k - i)));
          EXPECT_LE(largestGone, leastKept);
        }
    }
}

TEST(Selection, BlocksAreWholeAndAtEdgesSmaller) {
  constexpr int64_t n = 10, k = 37;
  const std::vector<float> w = randomWeights(n * k, 4);
  const std::vector<uint8_t> mask = select(w, n, k, optionsOf("block:4x16", 0.5));
  int64_t gone = 0;
  for (int64_t j = 0; j < n; j += 4)
    for (int64_t i = 0; i < k; i += 16) {
      gone += mask[j * k + i];
      for (int64_t y = j; y < std::min(n, j + 4); ++y)
        for (int64_t x = i; x < std::min(k, i + 16); ++x)
          EXPECT_EQ(mask[y * k + x], mask[j * k + i]);
    }
  EXPECT_EQ(gone, 4); // half of 3 x 3, rounded down
  // One block that is all of the matrix stays.
  EXPECT_EQ(count(select(w, n, k, optionsOf("block:64x64", 0.9))), 0);
}

TEST(Selection, NormsOfBlocksDiffer) {
  const std::vector<float> w = {4, 0, 2.5f, 2.5f}; // means 2 and 2.5, root mean squares 2.8 and 2.5
  SelectionOptions options = optionsOf("block:1x2", 0.5);
  options.norm = BlockNorm::L1;
  EXPECT_EQ(select(w, 1, 4, options), (std::vector<uint8_t>{1, 1, 0, 0}));
  options.norm = BlockNorm::L2;
  EXPECT_EQ(select(w, 1, 4, options), (std::vector<uint8_t>{0, 0, 1, 1}));
  // Clipping takes away what one large weight is for its block.
  const std::vector<float> clipped = scoresOf({w.data(), 1, 4}, {}, 0.5);
  EXPECT_EQ(selectWeights(clipped, 1, 4, options), (std::vector<uint8_t>{1, 1, 0, 0}));
}

TEST(Selection, ThresholdsDropWhatScoresLess) {
  const std::vector<float> w = {0.1f, -0.2f, 0.3f, -0.4f};
  SelectionOptions options = optionsOf("unstructured", 0);
  options.threshold = 0.25;
  EXPECT_EQ(select(w, 2, 2, options), (std::vector<uint8_t>{1, 1, 0, 0}));
  options.pattern.kind = PatternKind::Block;
  options.pattern.columns = 2;
  EXPECT_EQ(select(w, 2, 2, options), (std::vector<uint8_t>{1, 1, 0, 0})); // root mean squares 0.16 and 0.35
  options.threshold = 0;
  EXPECT_EQ(count(select(w, 2, 2, options)), 0);
}

} // namespace
