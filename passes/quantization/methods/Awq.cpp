//===- Awq.cpp - Scaling and clipping by what the inputs are ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Awq.h"

#include "passes/quantization/methods/Blas.h"
#include "passes/quantization/methods/ErrorMetrics.h"
#include "passes/quantization/methods/RoundToNearest.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Rows that are worked on at once.
constexpr int64_t kRows = 64;

/// Mean over all outputs of |w| relative to the largest |w| of its group: how much of the groups' ranges an input uses.
std::vector<double> relativeSizes(const std::vector<Weight> &weights, const Format &format, int64_t k) {
  std::vector<double> sizes(static_cast<size_t>(k));
  int64_t outputs = 0;
  for (const Weight &w : weights) {
    const int64_t size = std::max<int64_t>(1, format.groupSize(k));
    outputs += w.n;
    for (int64_t row = 0; row < w.n; ++row)
      for (int64_t begin = 0; begin < k; begin += size) {
        const float *x = w.data + row * k;
        const int64_t end = std::min(k, begin + size);
        float largest = 0;
        for (int64_t i = begin; i < end; ++i)
          largest = std::max(largest, std::abs(x[i]));
        for (int64_t i = begin; i < end && largest > 0; ++i)
          sizes[i] += std::abs(x[i]) / largest;
      }
  }
  for (double &size : sizes)
    size /= static_cast<double>(std::max<int64_t>(1, outputs));
  return sizes;
}

/// base^exponent, for all numbers, such that the largest and the smallest are each other's inverse.
std::vector<float> normalized(std::vector<double> s) {
  const auto [least, most] = std::minmax_element(s.begin(), s.end());
  const double middle = std::sqrt(*least) * std::sqrt(*most);
  std::vector<float> result;
  for (double value : s)
    result.push_back(static_cast<float>(std::clamp(value / middle, 1e-4, 1e4)));
  return result;
}

/// Error of the outputs when all weights are multiplied by s, rounded, and divided again.
Status errorOf(const std::vector<Weight> &weights, const InputStatistics &statistics, const Format &format,
               const FitOptions &fit, const std::vector<float> &s, ThreadPool *pool, double &error) {
  error = 0;
  for (const Weight &w : weights) {
    std::vector<float> scaled(static_cast<size_t>(w.n * w.k));
    scaleInputs(w, s, scaled.data());
    Quantized quantized;
    if (Status status = quantizeRounded({scaled.data(), w.n, w.k}, format, fit, nullptr, pool, quantized);
        status.failed())
      return status;
    quantized.dequantize(scaled.data());
    for (int64_t row = 0; row < w.n; ++row)
      for (int64_t i = 0; i < w.k; ++i)
        scaled[row * w.k + i] /= s[i];
    double part = 0;
    if (Status status = outputError(w, scaled.data(), statistics, pool, part); status.failed())
      return status;
    error += part;
  }
  return {};
}

} // namespace

Status quantization::awqScales(const std::vector<Weight> &weights, const InputStatistics &statistics,
                               const Format &format, const AwqOptions &options, ThreadPool *pool, AwqScales &result) {
  result = {};
  const int64_t k = statistics.k;
  if (options.grid < 1)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "the grid of exponents must have at least 1 step, got ",
                            options.grid);
  for (const Weight &w : weights) {
    if (Status status = checkWeight(w, format); status.failed())
      return status;
    if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/true); status.failed())
      return status;
  }
  result.s.assign(static_cast<size_t>(k), 1.0f);
  if (weights.empty() || k == 0)
    return {};
  if (Status status = errorOf(weights, statistics, format, options.fit, result.s, pool, result.errorBefore);
      status.failed())
    return status;
  result.error = result.errorBefore;
  // Candidates are compared by some of the outputs.
  std::vector<std::vector<float>> copies;
  std::vector<Weight> sample;
  for (const Weight &w : weights) {
    if (options.outputs <= 0 || w.n <= options.outputs) {
      sample.push_back(w);
      continue;
    }
    std::vector<float> &rows = copies.emplace_back();
    for (int64_t i = 0; i < options.outputs; ++i) {
      const float *row = w.data + i * w.n / options.outputs * k;
      rows.insert(rows.end(), row, row + k);
    }
    sample.push_back({rows.data(), options.outputs, k});
  }
  double least = 0;
  if (Status status = errorOf(sample, statistics, format, options.fit, result.s, pool, least); status.failed())
    return status;
  // Inputs that are almost always 0 get the factors of inputs that are small.
  const double largest = *std::max_element(statistics.meanAbs.begin(), statistics.meanAbs.end());
  if (largest == 0)
    return {};
  AwqScales best;
  const std::vector<double> sizes = relativeSizes(weights, format, k);
  for (int byWeights = 0; byWeights <= (options.byWeights ? 1 : 0); ++byWeights) {
    // Without weights, the exponent 0 is what errorBefore is of.
    for (int step = byWeights ? 0 : 1; step <= options.grid; ++step) {
      const double alpha = static_cast<double>(step) / options.grid;
      std::vector<double> raw(static_cast<size_t>(k));
      for (int64_t i = 0; i < k; ++i) {
        raw[i] = std::pow(std::max<double>(statistics.meanAbs[i], 1e-6 * largest), alpha);
        if (byWeights)
          raw[i] /= std::pow(std::max(sizes[i], 1e-4), 1 - alpha);
      }
      const std::vector<float> s = normalized(std::move(raw));
      double error = 0;
      // A type of scales may be too narrow for these factors: then they are not among the candidates.
      if (errorOf(sample, statistics, format, options.fit, s, pool, error).failed() || !(error < least))
        continue;
      least = error;
      best = {s, alpha, byWeights != 0, result.errorBefore, 0};
    }
  }
  if (!best.s.empty() && !errorOf(weights, statistics, format, options.fit, best.s, pool, best.error).failed() &&
      best.error < result.errorBefore)
    result = std::move(best);
  return {};
}

Status quantization::quantizeClipped(const Weight &w, const InputStatistics &statistics, const Format &format,
                                     const ClipOptions &options, ThreadPool *pool, Quantized &result) {
  result = {};
  if (options.steps < 1 || !(options.smallest > 0 && options.smallest <= 1))
    return runtime::failure(LATHE_INVALID_ARGUMENT, "clipping must try at least 1 range from above 0 to 1, got ",
                            options.steps, " from ", options.smallest);
  Quantized found;
  if (Status status = quantizeRtn(w, format, pool, found); status.failed())
    return status;
  if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  const int64_t groups = found.groups(), size = format.groupSize(w.k), blocks = (w.n + kRows - 1) / kRows;
  const GroupCoder coder(format);
  parallelFor(pool, groups * blocks, [&](int64_t item) {
    const int64_t group = item % groups, begin = group * size, count = std::min(size, w.k - begin);
    const int64_t first = item / groups * kRows, rows = std::min(kRows, w.n - first);
    std::vector<float> difference(static_cast<size_t>(rows * count)), product(difference.size());
    std::vector<double> best(static_cast<size_t>(rows));
    std::vector<GroupParameters> chosen(static_cast<size_t>(rows)), tried(static_cast<size_t>(rows));
    for (int step = 0; step < options.steps; ++step) {
      const double share = 1 - (1 - options.smallest) * step / std::max(1, options.steps - 1);
      for (int64_t row = 0; row < rows; ++row) {
        const float *x = w.data + (first + row) * w.k + begin;
        float *values = difference.data() + row * count;
        tried[row] = coder.fitShare(x, count, share);
        coder.encode(x, count, tried[row], nullptr, values);
        for (int64_t i = 0; i < count; ++i)
          values[i] -= x[i];
      }
      gemm(false, false, rows, count, count, 1, difference.data(), count,
           statistics.secondMoment.data() + begin * w.k + begin, w.k, 0, product.data(), count);
      for (int64_t row = 0; row < rows; ++row) {
        double error = 0;
        for (int64_t i = row * count; i < (row + 1) * count; ++i)
          error += static_cast<double>(difference[i]) * product[i];
        if (step == 0 || error < best[row]) {
          best[row] = error;
          chosen[row] = tried[row];
        }
      }
    }
    for (int64_t row = 0; row < rows; ++row) {
      const float *x = w.data + (first + row) * w.k + begin;
      const size_t at = static_cast<size_t>((first + row) * groups + group);
      coder.encode(x, count, chosen[row], found.codes.data() + (first + row) * w.k + begin, nullptr);
      found.scales[at] = chosen[row].scale;
      if (!found.zeros.empty())
        found.zeros[at] = chosen[row].zero;
    }
  });
  result = std::move(found);
  return {};
}
