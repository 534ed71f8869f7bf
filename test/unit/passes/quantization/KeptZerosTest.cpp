//===- KeptZerosTest.cpp - What was pruned stays zero -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "QuantizationTestSupport.h"
#include "passes/quantization/methods/Awq.h"
#include "passes/quantization/methods/Codebook.h"
#include "passes/quantization/methods/Gptq.h"
#include "passes/quantization/methods/Hqq.h"
#include "passes/quantization/methods/RoundToNearest.h"

using namespace lathe::quantization;
using namespace lathe::quantization::test;

namespace {

constexpr int64_t n = 67, k = 90;

/// Half of the weights are zero, in vectors of `together`; some groups are all zero, some of one sign.
std::vector<float> pruned(int64_t together, uint32_t seed) {
  std::vector<float> w = randomWeights(n * k, seed);
  std::mt19937 random(seed);
  for (int64_t i = 0; i < n * k; i += together)
    if (random() % 2 || i / k == 5)
      std::fill_n(w.begin() + i, std::min(together, n * k - i), 0.0f);
  for (int64_t i = 7 * k; i < 8 * k; ++i)
    w[i] = std::abs(w[i]);
  return w;
}

void expectZeros(const std::vector<float> &w, const std::vector<float> &values, const std::string &what) {
  int64_t lost = 0;
  for (size_t i = 0; i < w.size(); ++i)
    lost += w[i] == 0 && values[i] != 0;
  EXPECT_EQ(lost, 0) << what;
}

/// Those in which a code stands for 0 whatever the group.
std::vector<Format> formatsWithZero() {
  std::vector<Format> formats;
  for (const Format &format : everyFormat(32)) {
    const std::vector<float> values = valuesOf(format);
    if (format.zeroPoint != ZeroPoint::Float &&
        (format.kind == CodeKind::Integer || std::count(values.begin(), values.end(), 0.0f) > 0))
      formats.push_back(format);
  }
  return formats;
}

TEST(KeptZeros, OfRounding) {
  const std::vector<float> w = pruned(1, 1);
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 2), k);
  for (const Format &format : formatsWithZero()) {
    Quantized found;
    ASSERT_WORKS(quantizeRtn({w.data(), n, k}, format, nullptr, found));
    expectZeros(w, dense(found), "rtn " + format.name());
    ASSERT_WORKS(quantizeMse({w.data(), n, k}, format, nullptr, nullptr, found));
    expectZeros(w, dense(found), "mse " + format.name());
    ASSERT_WORKS(quantizeClipped({w.data(), n, k}, statistics, format, {}, nullptr, found));
    expectZeros(w, dense(found), "awq " + format.name());
  }
}

TEST(KeptZeros, OfGptq) {
  const std::vector<float> w = pruned(1, 3);
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 4), k);
  for (const Format &format : formatsWithZero())
    for (InputOrder order : {InputOrder::Natural, InputOrder::Descending, InputOrder::DescendingGroups}) {
      GptqOptions options;
      options.order = order;
      options.keepZeros = true;
      options.refinements = 1;
      Quantized found, rounded;
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, found));
      expectZeros(w, dense(found), format.name());
      ASSERT_WORKS(quantizeRtn({w.data(), n, k}, format, nullptr, rounded));
      EXPECT_LT(outputError({w.data(), n, k}, dense(found), statistics),
                0.9 * outputError({w.data(), n, k}, dense(rounded), statistics))
          << format.name();
      // Without being asked it puts errors into what is zero.
      options.keepZeros = false;
      Quantized other;
      ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, format, options, nullptr, other));
      EXPECT_NE(found.codes, other.codes) << format.name();
    }
}

TEST(KeptZeros, GptqOfWeightsWithoutZerosIsTheSame) {
  const std::vector<float> w = randomWeights(n * k, 5);
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 6), k);
  GptqOptions options;
  Quantized plain, kept;
  ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, Format::integer(4, 32), options, nullptr, plain));
  options.keepZeros = true;
  ASSERT_WORKS(quantizeGptq({w.data(), n, k}, statistics, Format::integer(4, 32), options, nullptr, kept));
  EXPECT_EQ(plain.codes, kept.codes);
  EXPECT_EQ(plain.scales, kept.scales);
}

TEST(KeptZeros, OfHqq) {
  const std::vector<float> w = pruned(1, 7);
  for (int bits : {2, 4, 8}) {
    const Format format = Format::integer(bits, 32, ZeroPoint::Float, ScaleType::F16);
    HqqOptions options;
    options.keepZeros = true;
    Quantized found, rounded;
    ASSERT_WORKS(quantizeHqq({w.data(), n, k}, format, options, nullptr, found));
    expectZeros(w, dense(found), format.name());
    ASSERT_WORKS(quantizeRtn({w.data(), n, k}, Format::integer(bits, 32, ZeroPoint::Integer), nullptr, rounded));
    EXPECT_LT(squaredError(w, dense(found)), 1.5 * squaredError(w, dense(rounded)));
  }
}

TEST(KeptZeros, OfCodebooks) {
  const InputStatistics statistics = statisticsOf(correlatedRows(500, k, 9), k);
  for (int dimension : {1, 2})
    for (int stages : {1, 2})
      for (bool calibrated : {false, true}) {
        const std::vector<float> w = pruned(dimension, 8);
        CodebookOptions options;
        options.dimension = dimension;
        options.stages = stages;
        options.group = calibrated ? 0 : 30;
        options.keepZeros = true;
        CodebookQuantized found;
        ASSERT_WORKS(quantizeCodebook({w.data(), n, k}, calibrated ? &statistics : nullptr, options, nullptr, found));
        std::vector<float> values(w.size());
        found.dequantize(values.data());
        expectZeros(w, values, "codebook");
        if (calibrated)
          EXPECT_LT(outputError({w.data(), n, k}, values, statistics),
                    0.3 * outputError({w.data(), n, k}, std::vector<float>(w.size()), statistics));
        else
          EXPECT_LT(squaredError(w, values), 0.3 * compare(w.data(), values.data(), n * k).signal);
      }
}

} // namespace
