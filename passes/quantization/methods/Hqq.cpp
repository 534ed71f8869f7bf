//===- Hqq.cpp - Zero points without calibration ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Hqq.h"

#include "passes/quantization/methods/GroupCoder.h"
#include "passes/quantization/methods/RoundToNearest.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// The number nearest to x under |e|^p + beta / 2 (e - x)^2, but for constants (the paper's equation 4).
double shrink(double x, double beta, double p) {
  if (x == 0)
    return 0;
  return std::copysign(std::max(0.0, std::abs(x) - std::pow(std::abs(x), p - 1) / beta), x);
}

GroupParameters solve(const GroupCoder &coder, const float *x, int64_t count, const HqqOptions &options) {
  const float highest = static_cast<float>(coder.format().levels() - 1);
  const bool isWhole = options.keepZeros && std::count(x, x + count, 0.0f) > 0;
  const auto zeroOf = [&](double zero) {
    return isWhole ? std::clamp(static_cast<float>(std::nearbyint(zero)), 0.0f, highest)
                   : roundTo(coder.format().scaleType, static_cast<float>(zero));
  };
  GroupParameters current = coder.fit(x, nullptr, count, {});
  current.zero = zeroOf(current.zero);
  GroupParameters best = current;
  std::vector<float> values(static_cast<size_t>(count));
  std::vector<uint8_t> codes(static_cast<size_t>(count));
  double least = std::numeric_limits<double>::infinity(), beta = options.beta;
  for (int iteration = 0; iteration <= options.iterations; ++iteration, beta *= options.growth) {
    coder.encode(x, count, current, codes.data(), values.data());
    double error = 0, sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      // In steps, so that beta means the same for every weight.
      const double difference = (static_cast<double>(x[i]) - values[i]) / current.scale;
      error += std::pow(std::abs(difference), options.norm);
      sum += codes[i] - (static_cast<double>(x[i]) / current.scale - shrink(difference, beta, options.norm));
    }
    if (!(error < least))
      break;
    least = error;
    best = current;
    current.zero = zeroOf(sum / static_cast<double>(count));
  }
  return best;
}

} // namespace

Status quantization::quantizeHqq(const Weight &w, const Format &format, const HqqOptions &options, ThreadPool *pool,
                                 Quantized &result) {
  result = {};
  if (format.zeroPoint != ZeroPoint::Float)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "hqq needs a format with float zero points, got '", format.name(),
                            "'");
  if (!(options.norm > 0 && options.norm <= 1) || !(options.beta > 0) || !(options.growth >= 1) ||
      options.iterations < 0)
    return runtime::failure(LATHE_INVALID_ARGUMENT,
                            "hqq needs a norm above 0 and at most 1, a positive beta that does "
                            "not fall, and no negative number of iterations, got ",
                            options.norm, ", ", options.beta, " times ", options.growth, ", ", options.iterations);
  if (Status status = quantizeRtn(w, format, pool, result); status.failed())
    return status;
  const GroupCoder coder(format);
  const int64_t groups = result.groups(), size = format.groupSize(w.k);
  parallelFor(pool, w.n, [&](int64_t row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t begin = group * size, count = std::min(size, w.k - begin);
      const float *x = w.data + row * w.k + begin;
      const GroupParameters parameters = solve(coder, x, count, options);
      coder.encode(x, count, parameters, result.codes.data() + row * w.k + begin, nullptr);
      result.scales[row * groups + group] = parameters.scale;
      result.zeros[row * groups + group] = parameters.zero;
    }
  });
  return {};
}
