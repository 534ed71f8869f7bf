//===- SparseGptTest.cpp - Zeros that what stays makes up for ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/SparseGpt.h"

#include "test/unit/passes/quantization/QuantizationTestSupport.h"

using namespace lathe::pruning;
using namespace lathe::quantization::test;

namespace {

SparseGptOptions optionsOf(const std::string &pattern, double sparsity, Scope scope = Scope::Layer) {
  SparseGptOptions options;
  EXPECT_EQ(parsePattern(pattern, options.selection.pattern), "");
  options.selection.sparsity = sparsity;
  options.selection.scope = scope;
  return options;
}

std::vector<float> prune(const std::vector<float> &w, int64_t n, int64_t k, const InputStatistics &statistics,
                         const SparseGptOptions &options, lathe::runtime::ThreadPool *pool = nullptr) {
  SparseGptInputs inputs;
  std::vector<float> result;
  lathe::runtime::Status status = prepareSparseGpt(statistics, k, options, inputs);
  EXPECT_FALSE(status.failed()) << status.message();
  status = pruneSparseGpt({w.data(), n, k}, inputs, options, pool, result);
  EXPECT_FALSE(status.failed()) << status.message();
  return result;
}

std::vector<float> masked(const std::vector<float> &w, int64_t n, int64_t k, const SelectionOptions &options,
                          const std::vector<float> &sizes = {}) {
  std::vector<float> result = w;
  const std::vector<uint8_t> mask = selectWeights(scoresOf({w.data(), n, k}, sizes, 1), n, k, options);
  for (size_t i = 0; i < mask.size(); ++i)
    result[i] = mask[i] ? 0 : result[i];
  return result;
}

int64_t zeros(const std::vector<float> &values) { return std::count(values.begin(), values.end(), 0.0f); }

TEST(SparseGpt, WithoutCorrelationsIsMagnitude) {
  constexpr int64_t n = 67, k = 75;
  const std::vector<float> w = randomWeights(n * k, 1);
  for (const char *pattern : {"unstructured", "2:4", "3:7", "block:4x16", "block:16x1"})
    for (double sparsity : {0.3, 0.5, 0.9})
      for (Scope scope : {Scope::Layer, Scope::Output, Scope::Input})
        for (InputOrder order : {InputOrder::Natural, InputOrder::Descending}) {
          SparseGptOptions options = optionsOf(pattern, sparsity, scope);
          options.block = k; // all inputs are compared with each other
          options.order = order;
          EXPECT_EQ(prune(w, n, k, identityStatistics(k, 0.3f), options), masked(w, n, k, options.selection))
              << pattern << " " << sparsity;
        }
}

TEST(SparseGpt, ShareIsReachedExactly) {
  constexpr int64_t n = 45, k = 301;
  std::vector<float> w = randomWeights(n * k, 2);
  const InputStatistics statistics = statisticsOf(correlatedRows(1500, k, 3), k);
  for (double sparsity : {0.0, 0.3, 0.5, 0.77})
    for (int64_t block : {1, 50, 128, 1000}) {
      SparseGptOptions options = optionsOf("unstructured", sparsity);
      options.block = block;
      EXPECT_EQ(zeros(prune(w, n, k, statistics, options)), shareOf(sparsity, n * k));
      options.selection.scope = Scope::Output;
      EXPECT_EQ(zeros(prune(w, n, k, statistics, options)), n * shareOf(sparsity, k));
    }
  // Zeros that there are belong to the share, and stay, also where they are more.
  for (int64_t i = 0; i < n * k; i += 3)
    w[i] = 0;
  const std::vector<float> more = prune(w, n, k, statistics, optionsOf("unstructured", 0.5));
  EXPECT_EQ(zeros(more), shareOf(0.5, n * k));
  const std::vector<float> less = prune(w, n, k, statistics, optionsOf("unstructured", 0.2));
  EXPECT_EQ(zeros(less), zeros(w));
  for (int64_t i = 0; i < n * k; i += 3) {
    EXPECT_EQ(more[i], 0);
    EXPECT_EQ(less[i], 0);
  }
}

TEST(SparseGpt, PatternsHold) {
  constexpr int64_t n = 21, k = 150;
  const std::vector<float> w = randomWeights(n * k, 4);
  const InputStatistics statistics = statisticsOf(correlatedRows(1500, k, 5), k);
  for (InputOrder order : {InputOrder::Natural, InputOrder::Descending}) {
    SparseGptOptions options = optionsOf("4:8", 0.5);
    options.order = order;
    const std::vector<float> groups = prune(w, n, k, statistics, options);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t i = 0; i < k; i += 8) {
        const float *begin = &groups[j * k + i];
        EXPECT_EQ(std::count(begin, begin + std::min<int64_t>(8, k - i), 0.0f), i + 8 <= k ? 4 : 2);
      }
    options = optionsOf("block:4x16", 0.5);
    options.order = order;
    const std::vector<float> blocks = prune(w, n, k, statistics, options);
    int64_t gone = 0;
    for (int64_t j = 0; j < n; j += 4)
      for (int64_t i = 0; i < k; i += 16) {
        gone += blocks[j * k + i] == 0;
        for (int64_t y = j; y < std::min(n, j + 4); ++y)
          for (int64_t x = i; x < std::min(k, i + 16); ++x)
            EXPECT_EQ(blocks[y * k + x] == 0, blocks[j * k + i] == 0);
      }
    EXPECT_EQ(gone, 6 * 10 / 2);
  }
}

TEST(SparseGpt, OutputErrorIsBelowThatOfScores) {
  constexpr int64_t n = 60, k = 96;
  const std::vector<float> w = randomWeights(n * k, 6);
  const InputStatistics statistics = statisticsOf(correlatedRows(2000, k, 7), k);
  std::vector<float> sizes = statistics.meanSquare();
  for (float &size : sizes)
    size = std::sqrt(size);
  for (const char *pattern : {"unstructured", "2:4", "block:4x8"}) {
    const SparseGptOptions options = optionsOf(pattern, 0.5);
    const auto errorOf = [&](const std::vector<float> &values) {
      return outputError({w.data(), n, k}, values, statistics);
    };
    const double sparseGpt = errorOf(prune(w, n, k, statistics, options));
    EXPECT_LT(sparseGpt, 0.7 * errorOf(masked(w, n, k, options.selection, sizes))) << pattern;
    EXPECT_LT(sparseGpt, 0.7 * errorOf(masked(w, n, k, options.selection))) << pattern;
  }
}

TEST(SparseGpt, IsTheSameForAnyNumberOfThreads) {
  constexpr int64_t n = 200, k = 130;
  const std::vector<float> w = randomWeights(n * k, 8);
  const InputStatistics statistics = statisticsOf(correlatedRows(1000, k, 9), k);
  lathe::runtime::ThreadPool pool;
  ASSERT_WORKS(pool.start(3, nullptr));
  for (const char *pattern : {"unstructured", "2:4", "block:4x16"}) {
    const SparseGptOptions options = optionsOf(pattern, 0.5);
    EXPECT_EQ(prune(w, n, k, statistics, options), prune(w, n, k, statistics, options, &pool));
  }
}

TEST(SparseGpt, ThresholdsAndQuietInputs) {
  constexpr int64_t n = 8, k = 16;
  const std::vector<float> w = randomWeights(n * k, 10);
  SparseGptOptions options = optionsOf("unstructured", 0);
  options.selection.threshold = 0.5;
  options.damping = 0;
  EXPECT_EQ(prune(w, n, k, identityStatistics(k), options), masked(w, n, k, options.selection));
  // What an input that is always 0 is multiplied with goes first.
  InputStatistics statistics = identityStatistics(k);
  statistics.secondMoment[5 * k + 5] = 0;
  const std::vector<float> pruned = prune(w, n, k, statistics, optionsOf("unstructured", 1.0 / k));
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < k; ++i)
      EXPECT_EQ(pruned[j * k + i] == 0, i == 5);
}

TEST(SparseGpt, EmptyAndWrong) {
  EXPECT_TRUE(prune({}, 0, 7, identityStatistics(7), optionsOf("unstructured", 0.5)).empty());
  EXPECT_EQ(prune({2}, 1, 1, identityStatistics(1), optionsOf("unstructured", 0.5)), std::vector<float>{2});
  SparseGptInputs inputs;
  SparseGptOptions options;
  EXPECT_FAILS(prepareSparseGpt(identityStatistics(4), 5, options, inputs), "those of 5 inputs");
  options.block = 0;
  EXPECT_FAILS(prepareSparseGpt(identityStatistics(4), 4, options, inputs), "at least 1 input");
  options = {};
  options.damping = -1;
  EXPECT_FAILS(prepareSparseGpt(identityStatistics(4), 4, options, inputs), "damping");
  std::vector<float> w(5), result;
  EXPECT_FAILS(pruneSparseGpt({w.data(), 1, 5}, inputs, options, nullptr, result), "5 inputs");
}

} // namespace
