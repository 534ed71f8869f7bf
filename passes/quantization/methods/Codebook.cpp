//===- Codebook.cpp - Neighbouring weights as one code ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Codebook.h"

#include "passes/quantization/methods/CodebookSteps.h"
#include "passes/quantization/methods/ErrorMetrics.h"
#include "passes/quantization/methods/Gptq.h"
#include "passes/quantization/methods/KMeans.h"
#include "passes/quantization/methods/Random.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

Status checkOptions(const CodebookOptions &options) {
  const auto fail = [](const auto &...parts) { return runtime::failure(LATHE_INVALID_ARGUMENT, parts...); };
  const int d = options.dimension;
  if (d != 1 && d != 2 && d != 4 && d != 8)
    return fail("a codebook's vectors must be of 1, 2, 4 or 8 numbers, got ", d);
  if (options.bits < 2 || options.bits > 8)
    return fail("a codebook's codes must have 2 to 8 bits, got ", options.bits);
  if (options.stages < 1 || options.stages > 2)
    return fail("a weight must be the sum of 1 or 2 codebooks, got ", options.stages);
  if (options.outputsPerBook < 0)
    return fail("a codebook must serve at least 1 output, or be 0 for all, got ", options.outputsPerBook);
  if (options.group < 0 || options.group % d != 0)
    return fail("a group must be a multiple of a vector's ", d, " inputs, or 0 for whole rows, got ", options.group);
  if (options.iterations < 0 || options.rounds < 1 || options.refinements < 0 || options.block < 1)
    return fail("codebooks need at least 1 round and 1 input a block, and no negative counts, got ", options.rounds,
                " and ", options.block);
  if (options.samples < 1)
    return fail("k-means needs at least 1 vector to look at, got ", options.samples);
  if (!(options.damping >= 0) || options.damping > 1e6)
    return fail("damping must be from 0 to 1e6, got ", options.damping);
  return {};
}

/// The root mean square of each group; 0 for groups that are all 0.
void initialScales(const Weight &w, CodebookQuantized &quantized) {
  const int64_t groups = quantized.groups(), size = quantized.groupSize();
  quantized.scales.assign(static_cast<size_t>(w.n * groups), 1.0f);
  for (int64_t row = 0; row < w.n; ++row)
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t begin = group * size, end = std::min(w.k, begin + size);
      double sum = 0;
      for (int64_t i = begin; i < end; ++i)
        sum += static_cast<double>(w.data[row * w.k + i]) * w.data[row * w.k + i];
      float &scale = quantized.scales[row * groups + group];
      if (sum > 0)
        scale = std::max(roundTo(quantized.scaleType, static_cast<float>(std::sqrt(sum / (end - begin)))),
                         quantized.scaleType == ScaleType::F16 ? 0x1p-24f : std::numeric_limits<float>::min());
      else if (quantized.scaleType != ScaleType::E8M0)
        scale = 0;
    }
}

/// Vectors of the outputs of a book, divided by their scales: all, or `samples` of them, spread evenly with a draw in
/// each stretch. Weights: importance times the square of the scale, such that their mean is about 1.
WeightedPoints pointsOf(const Weight &w, const CodebookQuantized &quantized, int64_t book,
                        const std::vector<float> &importance, int64_t samples, Random &random) {
  const int64_t outputs = quantized.outputsPerBook > 0 ? quantized.outputsPerBook : w.n;
  const int64_t first = book * outputs, rows = std::min(w.n, first + outputs) - first;
  const int64_t vectors = quantized.vectors(), all = rows * vectors, count = std::min(all, samples);
  const int d = quantized.dimension;
  WeightedPoints points;
  points.dimension = d;
  points.x.resize(static_cast<size_t>(count * d));
  points.weight.resize(points.x.size());
  std::vector<double> weights(points.x.size());
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double place = count == all ? static_cast<double>(i)
                                      : (static_cast<double>(i) + random.uniform()) * static_cast<double>(all) / count;
    const int64_t at = std::min(all - 1, static_cast<int64_t>(place)), row = first + at / vectors;
    if (quantized.hasZero && isZero(w, row, at % vectors, d))
      continue; // they have a code of their own
    for (int64_t q = 0, input = at % vectors * d; q < d && input < w.k; ++q, ++input) {
      const double scale = quantized.scaleOf(row, input);
      if (scale == 0)
        continue;
      points.x[i * d + q] = static_cast<float>(w.data[row * w.k + input] / scale);
      sum += weights[i * d + q] = scale * scale * (importance.empty() ? 1.0 : importance[input]);
    }
  }
  const double mean = sum / std::max<double>(1, static_cast<double>(weights.size()));
  for (size_t i = 0; i < weights.size() && mean > 0; ++i)
    points.weight[i] = static_cast<float>(weights[i] / mean);
  return points;
}

void makeTables(const Weight &w, const std::vector<float> &importance, const CodebookOptions &options, ThreadPool *pool,
                CodebookQuantized &quantized) {
  const int centres = 1 << options.bits, d = options.dimension;
  quantized.stages.assign(static_cast<size_t>(options.stages), {});
  for (CodebookStage &stage : quantized.stages)
    stage.codes.assign(static_cast<size_t>(w.n * quantized.vectors()), 0);
  for (int64_t book = 0; book < quantized.books(); ++book) {
    Random random(options.seed + static_cast<uint64_t>(book));
    WeightedPoints points = pointsOf(w, quantized, book, importance, options.samples, random);
    for (CodebookStage &stage : quantized.stages) {
      std::vector<float> table;
      if (options.keepZeros)
        table.assign(static_cast<size_t>(d), 0.0f);
      std::vector<float> found;
      kMeans(points, options.keepZeros ? centres - 1 : centres, options.iterations, random.next(), pool, found);
      table.insert(table.end(), found.begin(), found.end());
      stage.table.insert(stage.table.end(), table.begin(), table.end());
      // The next stage is for what this one leaves.
      const CentreSearch search(table.data(), centres, d);
      for (int64_t i = 0; i < points.count() && options.stages > 1; ++i) {
        const size_t centre = static_cast<size_t>(search.nearest(&points.x[i * d], &points.weight[i * d]));
        for (int q = 0; q < d; ++q)
          points.x[i * d + q] -= table[centre * static_cast<size_t>(d) + static_cast<size_t>(q)];
      }
    }
  }
}

} // namespace

void CodebookQuantized::dequantize(float *w) const {
  const size_t bookSize = static_cast<size_t>(dimension) << bits;
  for (int64_t row = 0; row < n; ++row)
    for (int64_t i = 0; i < k; ++i) {
      float value = 0;
      for (const CodebookStage &stage : stages)
        value +=
            stage.table[static_cast<size_t>(bookOf(row)) * bookSize +
                        static_cast<size_t>(stage.codes[row * vectors() + i / dimension] * dimension + i % dimension)];
      w[row * k + i] = scaleOf(row, i) * value;
    }
}

int64_t CodebookQuantized::bytes() const {
  int64_t total = static_cast<int64_t>(scales.size()) * bytesOf(scaleType);
  for (const CodebookStage &stage : stages)
    total += (n * vectors() * bits + 7) / 8 + static_cast<int64_t>(stage.table.size() * sizeof(float));
  return total;
}

Status quantization::quantizeCodebook(const Weight &w, const InputStatistics *statistics,
                                      const CodebookOptions &options, ThreadPool *pool, CodebookQuantized &result) {
  result = {};
  if (Status status = checkOptions(options); status.failed())
    return status;
  if (Status status = checkWeight(w, Format::integer(8, 0, ZeroPoint::None, options.scaleType)); status.failed())
    return status;
  if (statistics)
    if (Status status = validate(*statistics, w.k, /*needsSecondMoment=*/true); status.failed())
      return status;
  CodebookQuantized current;
  current.n = w.n;
  current.k = w.k;
  current.dimension = options.dimension;
  current.bits = options.bits;
  current.outputsPerBook = options.outputsPerBook >= w.n ? 0 : options.outputsPerBook;
  current.group = options.group;
  current.scaleType = options.scaleType;
  current.hasZero = options.keepZeros;
  if (options.scaled)
    initialScales(w, current);
  Feedback feedback;
  std::vector<float> importance;
  if (statistics) {
    feedback.order = inputOrder(*statistics, InputOrder::DescendingGroups, options.dimension);
    if (Status status = feedbackFactor(*statistics, feedback.order, options.damping, feedback.factor); status.failed())
      return status;
    // What of an input's error the inputs after it cannot make up for.
    importance.resize(static_cast<size_t>(w.k));
    for (int64_t position = 0; position < w.k; ++position)
      importance[feedback.order[position]] =
          1 / (feedback.factor[position * w.k + position] * feedback.factor[position * w.k + position]);
  }
  makeTables(w, importance, options, pool, current);
  if (!statistics) {
    chooseNearest(w, nullptr, pool, current);
    result = std::move(current);
    return {};
  }
  double least = std::numeric_limits<double>::infinity();
  std::vector<float> dense(static_cast<size_t>(w.n * w.k));
  const auto keepBest = [&]() -> Status {
    current.dequantize(dense.data());
    double error = 0;
    if (Status status = outputError(w, dense.data(), *statistics, pool, error); status.failed())
      return status;
    if (result.stages.empty() || error < least) {
      least = error;
      result = current;
    }
    return {};
  };
  for (int round = 0; round < options.rounds; ++round) {
    chooseCodes(w, feedback, options.block, pool, current);
    if (Status status = keepBest(); status.failed())
      return status;
    if (options.refinements == 0)
      break; // another round would choose the same codes
    refineTables(w, *statistics, options.refinements, pool, current);
    refineScales(w, *statistics, pool, current);
    if (Status status = keepBest(); status.failed())
      return status;
  }
  return {};
}
