//===- RefitTest.cpp - The best values of what stays ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/Refit.h"
#include "passes/pruning/methods/Selection.h"

#include "test/unit/passes/quantization/QuantizationTestSupport.h"

using namespace lathe::pruning;
using namespace lathe::quantization::test;
using lathe::quantization::InputStatistics;

namespace {

std::vector<float> halved(const std::vector<float> &w, int64_t n, int64_t k) {
  const std::vector<uint8_t> mask = selectWeights(scoresOf({w.data(), n, k}, {}, 1), n, k, {});
  std::vector<float> result = w;
  for (size_t i = 0; i < mask.size(); ++i)
    result[i] = mask[i] ? 0 : result[i];
  return result;
}

TEST(Refit, FindsTheLeastSquares) {
  constexpr int64_t n = 70, k = 24;
  const std::vector<float> w = randomWeights(n * k, 1);
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 2), k);
  std::vector<float> values = halved(w, n, k);
  const std::vector<float> before = values;
  ASSERT_WORKS(refitKept({w.data(), n, k}, statistics, 0, 200, nullptr, values));
  // The gradient is zero where weights stay, and zeros stay zeros.
  for (int64_t j = 0; j < n; ++j) {
    double largest = 0, scale = 0;
    for (int64_t i = 0; i < k; ++i) {
      double gradient = 0, size = 0;
      for (int64_t l = 0; l < k; ++l) {
        const double part =
            (values[j * k + l] - w[j * k + l]) * static_cast<double>(statistics.secondMoment[l * k + i]);
        gradient += part;
        size += std::abs(part);
      }
      EXPECT_EQ(values[j * k + i] == 0, before[j * k + i] == 0);
      if (before[j * k + i] != 0)
        largest = std::max(largest, std::abs(gradient));
      scale = std::max(scale, size);
    }
    EXPECT_LE(largest, 2e-3 * scale) << j;
  }
}

TEST(Refit, EachStepHelps) {
  constexpr int64_t n = 40, k = 96;
  const std::vector<float> w = randomWeights(n * k, 3);
  const InputStatistics statistics = statisticsOf(correlatedRows(2000, k, 4), k);
  double last = outputError({w.data(), n, k}, halved(w, n, k), statistics);
  for (int steps : {1, 2, 4, 8}) {
    std::vector<float> values = halved(w, n, k);
    ASSERT_WORKS(refitKept({w.data(), n, k}, statistics, 1e-4, steps, nullptr, values));
    const double error = outputError({w.data(), n, k}, values, statistics);
    EXPECT_LT(error, last) << steps;
    last = error;
  }
}

TEST(Refit, NothingToDo) {
  constexpr int64_t n = 3, k = 8;
  const std::vector<float> w = randomWeights(n * k, 5);
  // Without correlations what stays is best as it is; and what has no zeros is.
  std::vector<float> values = halved(w, n, k);
  const std::vector<float> before = values;
  ASSERT_WORKS(refitKept({w.data(), n, k}, identityStatistics(k), 0.01, 5, nullptr, values));
  EXPECT_EQ(values, before);
  std::vector<float> same = w;
  ASSERT_WORKS(refitKept({w.data(), n, k}, statisticsOf(correlatedRows(100, k, 6), k), 0.01, 5, nullptr, same));
  EXPECT_EQ(same, w);
  ASSERT_WORKS(refitKept({w.data(), n, k}, identityStatistics(k, 0), 0.01, 5, nullptr, values));
  EXPECT_EQ(values, before);
  std::vector<float> none;
  ASSERT_WORKS(refitKept({nullptr, 0, k}, identityStatistics(k), 0.01, 5, nullptr, none));
  EXPECT_FAILS(refitKept({w.data(), n, k}, identityStatistics(k + 1), 0.01, 5, nullptr, values), "inputs");
  EXPECT_FAILS(refitKept({w.data(), n, k}, identityStatistics(k), -1, 5, nullptr, values), "negative");
  EXPECT_FAILS(refitKept({w.data(), n, k}, identityStatistics(k), 0, 5, nullptr, none), "3x8");
}

} // namespace
