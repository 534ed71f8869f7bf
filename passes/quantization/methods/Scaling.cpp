//===- Scaling.cpp - Factors of inputs for easier rounding ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Scaling.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Factors beyond these would leave f32's range in weights or statistics of ordinary size.
constexpr double kLeast = 1e-5, kMost = 1e5;

template <typename... Parts> Status fail(const Parts &...parts) {
  return runtime::failure(LATHE_INVALID_ARGUMENT, parts...);
}

float factorOf(double value) { return static_cast<float>(std::clamp(value, kLeast, kMost)); }

Status checkFinite(const Weight &w) {
  for (int64_t i = 0; i < w.n * w.k; ++i)
    if (!std::isfinite(w.data[i]))
      return fail("a weight must have finite numbers, got ", w.data[i], " for output ", i / w.k, ", input ", i % w.k);
  return {};
}

/// largest[i] = max over the weights' outputs of |w[.][i]|.
Status largestOfInputs(const std::vector<Weight> &weights, int64_t k, std::vector<float> &largest) {
  largest.assign(static_cast<size_t>(k), 0.0f);
  for (const Weight &w : weights) {
    if (w.k != k)
      return fail("weights that share an input must have ", k, " inputs, got ", w.k);
    if (Status status = checkFinite(w); status.failed())
      return status;
    for (int64_t row = 0; row < w.n; ++row)
      for (int64_t i = 0; i < k; ++i)
        largest[i] = std::max(largest[i], std::abs(w.data[row * k + i]));
  }
  return {};
}

} // namespace

void quantization::scaleInputs(const Weight &w, const std::vector<float> &s, float *scaled) {
  for (int64_t row = 0; row < w.n; ++row)
    for (int64_t i = 0; i < w.k; ++i)
      scaled[row * w.k + i] = w.data[row * w.k + i] * s[i];
}

void quantization::scaleOutputs(float *w, int64_t n, int64_t k, const std::vector<float> &s, bool inverse) {
  for (int64_t row = 0; row < n; ++row)
    for (int64_t i = 0; i < k; ++i)
      w[row * k + i] = inverse ? w[row * k + i] / s[row] : w[row * k + i] * s[row];
}

InputStatistics quantization::scaledStatistics(const InputStatistics &statistics, const std::vector<float> &s) {
  InputStatistics result = statistics;
  const int64_t k = statistics.k;
  for (int64_t i = 0; i < k; ++i) {
    result.absMax[i] /= s[i];
    result.meanAbs[i] /= s[i];
    result.mean[i] /= s[i];
  }
  for (int64_t i = 0; i < k && statistics.hasSecondMoment(); ++i)
    for (int64_t j = 0; j < k; ++j) // one product for both halves, so that it stays symmetric
      result.secondMoment[i * k + j] = static_cast<float>(statistics.secondMoment[i * k + j] /
                                                          (static_cast<double>(s[i]) * static_cast<double>(s[j])));
  return result;
}

Status quantization::smoothQuantScales(const std::vector<Weight> &weights, const InputStatistics &statistics,
                                       double alpha, std::vector<float> &s) {
  s.clear();
  if (!(alpha >= 0 && alpha <= 1))
    return fail("alpha must be from 0 to 1, got ", alpha);
  if (Status status = validate(statistics, statistics.k, /*needsSecondMoment=*/false); status.failed())
    return status;
  std::vector<float> largest;
  if (Status status = largestOfInputs(weights, statistics.k, largest); status.failed())
    return status;
  for (int64_t i = 0; i < statistics.k; ++i) {
    const double x = statistics.absMax[i], w = largest[i];
    s.push_back(x > 0 && w > 0 ? factorOf(std::pow(x, alpha) / std::pow(w, 1 - alpha)) : 1.0f);
  }
  return {};
}

std::vector<int64_t> quantization::outlierInputs(const InputStatistics &statistics, float threshold) {
  std::vector<int64_t> result;
  for (size_t i = 0; i < statistics.absMax.size(); ++i)
    if (statistics.absMax[i] >= threshold)
      result.push_back(static_cast<int64_t>(i));
  return result;
}

float quantization::relativeThreshold(const InputStatistics &statistics, float factor) {
  std::vector<float> sorted = statistics.absMax;
  if (sorted.empty())
    return 0;
  std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2, sorted.end());
  return factor * sorted[sorted.size() / 2];
}

Status quantization::equalizationScales(const std::vector<Weight> &first, const std::vector<Weight> &second,
                                        std::vector<float> &s) {
  return equalizationScales(first, second, ChannelBlocks{}, s);
}

Status quantization::equalizationScales(const std::vector<Weight> &first, const std::vector<Weight> &second,
                                        ChannelBlocks blocks, std::vector<float> &s) {
  s.clear();
  if (first.empty() || second.empty())
    return fail("equalisation needs a weight at both sides of the channels, got ", first.size(), " and ",
                second.size());
  const int64_t channels = first.front().n;
  if (blocks.width < 1 || blocks.repeat < 1 || channels % blocks.width != 0)
    return fail("blocks of channels must divide ", channels, " channels, got blocks of ", blocks.width, " repeated ",
                blocks.repeat, " times");
  std::vector<float> before(static_cast<size_t>(channels)), read;
  for (const Weight &w : first) {
    if (w.n != channels)
      return fail("weights that give the same channels must have ", channels, " outputs, got ", w.n);
    if (Status status = checkFinite(w); status.failed())
      return status;
    for (int64_t row = 0; row < w.n; ++row)
      for (int64_t i = 0; i < w.k; ++i)
        before[row] = std::max(before[row], std::abs(w.data[row * w.k + i]));
  }
  if (Status status = largestOfInputs(second, channels * blocks.repeat, read); status.failed())
    return status;
  for (int64_t channel = 0; channel < channels; ++channel) {
    float after = 0;
    for (int64_t copy = 0; copy < blocks.repeat; ++copy)
      after = std::max(after,
                       read[(channel / blocks.width * blocks.repeat + copy) * blocks.width + channel % blocks.width]);
    const double range = before[channel];
    s.push_back(range > 0 && after > 0 ? factorOf(std::sqrt(range / after)) : 1.0f);
  }
  return {};
}
