//===- GptqTest.cpp - Rounding that makes up for its errors -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Gptq.h"

#include "QuantizationTestSupport.h"
#include "passes/quantization/methods/Blas.h"
#include "passes/quantization/methods/RoundToNearest.h"
#include "passes/quantization/methods/ScaleRefinement.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

constexpr InputOrder kOrders[] = {InputOrder::Natural, InputOrder::Descending, InputOrder::DescendingGroups};

void expectSame(const Quantized &a, const Quantized &b, const std::string &what) {
  EXPECT_EQ(a.codes, b.codes) << what;
  EXPECT_EQ(a.scales, b.scales) << what;
  EXPECT_EQ(a.zeros, b.zeros) << what;
}

TEST(Gptq, WithoutCorrelationsIsRoundToNearest) {
  constexpr int64_t n = 67, k = 75;
  const std::vector<float> w = randomWeights(n * k, 1);
  InputStatistics diagonal = identityStatistics(k);
  for (int64_t i = 0; i < k; ++i)
    diagonal.secondMoment[i * k + i] = static_cast<float>((i * 7) % 11); // some inputs are always 0
  const InputStatistics all[] = {diagonal, identityStatistics(k), identityStatistics(k, 0.1f),
                                 identityStatistics(k, 0)};
  for (const Format &format : everyFormat(32)) {
    for (bool search : {false, true}) {
      GptqOptions options;
      options.fit.search = search;
      Quantized expected, found;
      ASSERT_WORKS(quantizeRounded({w.data(), n, k}, format, options.fit, nullptr, nullptr, expected));
      for (const InputStatistics &statistics : all) {
        for (InputOrder order : kOrders) {
          if (search && (order == InputOrder::Natural || &statistics != all))
            continue; // searches take long
          options.order = order;
          ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found));
          expectSame(expected, found, format.name());
        }
      }
    }
  }
}

TEST(Gptq, OutputErrorIsBelowThatOfRounding) {
  constexpr int64_t n = 40, k = 96;
  const std::vector<float> w = randomWeights(n * k, 2);
  const InputStatistics statistics = statisticsOf(correlatedRows(2000, k, 3), k);
  for (const Format &format : everyFormat(32)) {
    Quantized rtn;
    ASSERT_WORKS(quantizeRtn({w.data(), n, k}, format, nullptr, rtn));
    const double before = outputError({w.data(), n, k}, dense(rtn), statistics);
    for (InputOrder order : kOrders) {
      GptqOptions options;
      options.order = order;
      Quantized found;
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found));
      EXPECT_LT(outputError({w.data(), n, k}, dense(found), statistics), 0.6 * before) << format.name();
    }
  }
}

/// The method by itself: one input after another, with the inverse of what is left of the second moment.
std::vector<float> slowGptq(const std::vector<float> &w, int64_t n, int64_t k, const InputStatistics &statistics,
                            const Format &format, double damping) {
  double mean = 0;
  for (int64_t i = 0; i < k; ++i)
    mean += statistics.secondMoment[i * k + i] / k;
  std::vector<double> h(statistics.secondMoment.begin(), statistics.secondMoment.end());
  for (int64_t i = 0; i < k; ++i)
    h[i * k + i] += damping * mean;
  // The inverse, by elimination.
  std::vector<double> inverse(k * k);
  for (int64_t i = 0; i < k; ++i)
    inverse[i * k + i] = 1;
  for (int64_t p = 0; p < k; ++p) {
    const double pivot = h[p * k + p];
    for (int64_t j = 0; j < k; ++j) {
      h[p * k + j] /= pivot;
      inverse[p * k + j] /= pivot;
    }
    for (int64_t i = 0; i < k; ++i) {
      const double share = h[i * k + p];
      for (int64_t j = 0; j < k && i != p; ++j) {
        h[i * k + j] -= share * h[p * k + j];
        inverse[i * k + j] -= share * inverse[p * k + j];
      }
    }
  }
  const GroupCoder coder(format);
  const int64_t size = format.groupSize(k);
  std::vector<double> current(w.begin(), w.end());
  std::vector<float> result(w.size());
  std::vector<GroupParameters> parameters(n);
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t row = 0; row < n; ++row) {
      if (p % size == 0) {
        const std::vector<float> group(&current[row * k + p], &current[row * k + std::min(k, p + size) - 1] + 1);
        parameters[row] = coder.fit(group.data(), nullptr, static_cast<int64_t>(group.size()), {});
      }
      const float x = static_cast<float>(current[row * k + p]);
      coder.encode(&x, 1, parameters[row], nullptr, &result[row * k + p]);
      const double error = (current[row * k + p] - result[row * k + p]) / inverse[p * k + p];
      for (int64_t j = p; j < k; ++j)
        current[row * k + j] -= error * inverse[p * k + j];
    }
    // Without input p.
    for (int64_t i = p + 1; i < k; ++i)
      for (int64_t j = p + 1; j < k; ++j)
        inverse[i * k + j] -= inverse[i * k + p] * inverse[p * k + j] / inverse[p * k + p];
  }
  return result;
}

TEST(Gptq, IsTheMethodOfThePaper) {
  // Groups that are smaller and larger than the block, and that do not divide the inputs.
  constexpr int64_t n = 9, k = 90;
  const std::vector<float> w = randomWeights(n * k, 4);
  const InputStatistics statistics = statisticsOf(correlatedRows(1000, k, 5), k);
  for (int64_t group : {0, 7, 16, 40, 64}) {
    for (int64_t block : {1, 5, 16, 128}) {
      GptqOptions options;
      options.order = InputOrder::Natural;
      options.block = block;
      const Format format = Format::integer(4, group, ZeroPoint::Integer);
      Quantized found;
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found));
      const std::vector<float> expected = slowGptq(w, n, k, statistics, format, options.damping), values = dense(found);
      // A weight that lies between two codes may go either way, and then those after it do too.
      const double fast = outputError({w.data(), n, k}, values, statistics);
      const double slow = outputError({w.data(), n, k}, expected, statistics);
      EXPECT_NEAR(fast, slow, 0.05 * slow) << group << " " << block;
      int64_t equal = 0;
      for (int64_t i = 0; i < n * k; ++i)
        equal += std::abs(values[i] - expected[i]) <= 1e-4f * std::abs(expected[i]);
      EXPECT_GT(equal, n * k * 9 / 10) << group << " " << block;
    }
  }
}

TEST(Gptq, BlocksAndThreadsDoNotMatter) {
  constexpr int64_t n = 200, k = 130;
  const std::vector<float> w = randomWeights(n * k, 6);
  const InputStatistics statistics = statisticsOf(correlatedRows(1000, k, 7), k);
  ThreadPool pool;
  ASSERT_FALSE(pool.start(4, nullptr).failed());
  for (const Format &format : {Format::integer(4, 32), Format::nf4(64), Format::integer(3, 0, ZeroPoint::Integer)}) {
    for (InputOrder order : kOrders) {
      GptqOptions options;
      options.order = order;
      Quantized one, many, again;
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, one));
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, &pool, many));
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, again));
      expectSame(one, many, format.name());
      expectSame(one, again, format.name());
    }
  }
}

TEST(Gptq, RefinedScalesAreNeverWorse) {
  constexpr int64_t n = 70, k = 75;
  const std::vector<float> w = randomWeights(n * k, 14);
  const InputStatistics statistics = statisticsOf(correlatedRows(1000, k, 15), k);
  for (int64_t group : {0, 32}) {
    for (const Format &format : everyFormat(group)) {
      GptqOptions options;
      Quantized found, refined;
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found));
      options.refinements = 2;
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, refined));
      EXPECT_EQ(found.codes, refined.codes);
      EXPECT_EQ(found.zeros, refined.zeros);
      const double before = outputError({w.data(), n, k}, dense(found), statistics);
      const double after = outputError({w.data(), n, k}, dense(refined), statistics);
      EXPECT_LE(after, before * (1 + 1e-5)) << format.name();
      if (format.scaleType == ScaleType::F32 && format.bits < 8)
        EXPECT_LT(after, 0.99 * before) << format.name();
      for (float scale : refined.scales)
        EXPECT_EQ(scale, roundTo(format.scaleType, scale)) << format.name();
      EXPECT_FAILS(refineScales({w.data(), k, n}, statistics, 1, nullptr, refined), "75x70, got 70x75");
      EXPECT_FAILS(refineScales({w.data(), n, k}, statistics, -1, nullptr, refined), "negative");
    }
  }
}

TEST(Gptq, EverySize) {
  for (auto [n, k] : {std::pair<int64_t, int64_t>{1, 1}, {3, 1}, {1, 33}, {65, 31}, {0, 4}}) {
    const std::vector<float> w = randomWeights(std::max<int64_t>(n * k, 1), 8);
    const InputStatistics statistics = statisticsOf(correlatedRows(50, k, 9), k);
    for (const Format &format : everyFormat(16)) {
      for (InputOrder order : kOrders) {
        GptqOptions options;
        options.order = order;
        Quantized found;
        ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found));
        for (float value : dense(found))
          ASSERT_TRUE(std::isfinite(value));
      }
    }
  }
}

TEST(Gptq, FewRowsAndDeadInputs) {
  // Fewer rows than inputs: the second moment has no inverse until it is damped. Some inputs are always 0.
  constexpr int64_t n = 8, k = 64;
  const std::vector<float> w = randomWeights(n * k, 10);
  std::vector<float> x = correlatedRows(5, k, 11);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = i % k % 9 == 4 ? 0 : x[i];
  const InputStatistics statistics = statisticsOf(x, k);
  Quantized rtn, found;
  ASSERT_WORKS(quantizeRtn({w.data(), n, k}, Format::integer(4, 16), nullptr, rtn));
  for (double damping : {0.0, 1e-9, 0.01}) {
    GptqOptions options;
    options.damping = damping;
    ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, Format::integer(4, 16), options, nullptr, found));
    EXPECT_LT(outputError({w.data(), n, k}, dense(found), statistics),
              outputError({w.data(), n, k}, dense(rtn), statistics));
  }
}

TEST(Gptq, RefusesWhatItCannotUse) {
  constexpr int64_t n = 2, k = 4;
  std::vector<float> w = randomWeights(n * k, 12);
  InputStatistics statistics = identityStatistics(k);
  const Format format = Format::integer(4);
  Quantized found;
  GptqOptions options;
  options.damping = -1;
  EXPECT_FAILS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found), "damping");
  options.damping = kNan;
  EXPECT_FAILS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found), "damping");
  options = {};
  options.block = 0;
  EXPECT_FAILS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found), "block");
  options = {};
  options.refinements = -1;
  EXPECT_FAILS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found), "negative");
  options = {};
  EXPECT_FAILS(quantizeGptq({w.data(), n, 3}, statistics, format, options, nullptr, found), "3 inputs, got those of 4");
  statistics.secondMoment[1] = statistics.secondMoment[4] = -1e9f;
  EXPECT_FAILS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found), "positive semidefinite");
  statistics.secondMoment[1] = kNan;
  EXPECT_FAILS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found), "finite");
  w[5] = kNan;
  EXPECT_FAILS(quantizeGptq({w.data(), n, k}, identityStatistics(k), format, options, nullptr, found),
               "for output 1, input 1");
}

TEST(Blas, FactorOfTheInverse) {
  constexpr int64_t k = 50;
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 13), k);
  std::vector<double> u(statistics.secondMoment.begin(), statistics.secondMoment.end());
  ASSERT_TRUE(inverseCholesky(u, k));
  // H U^T U is the identity, and U is upper triangular.
  for (int64_t i = 0; i < k; ++i) {
    std::vector<double> row(k);
    for (int64_t m = 0; m < k; ++m) {
      double product = 0;
      for (int64_t l = 0; l < k; ++l)
        product += statistics.secondMoment[i * k + l] * u[m * k + l];
      for (int64_t j = 0; j < k; ++j)
        row[j] += product * u[m * k + j];
    }
    for (int64_t j = 0; j < k; ++j) {
      EXPECT_NEAR(row[j], i == j, 1e-6);
      if (j < i)
        EXPECT_EQ(u[i * k + j], 0);
    }
  }
  std::vector<double> indefinite = {1, 2, 2, 1};
  EXPECT_FALSE(inverseCholesky(indefinite, 2));
}

} // namespace
