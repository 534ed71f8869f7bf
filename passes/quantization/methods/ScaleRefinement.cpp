//===- ScaleRefinement.cpp - Better scales for given codes ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/ScaleRefinement.h"

#include "passes/quantization/methods/Blas.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Outputs that are worked on together.
constexpr int64_t kRows = 64;

} // namespace

void quantization::refineScales(const Weight &w, const std::vector<float> &values, const InputStatistics &statistics,
                                int64_t group, ScaleType type, int passes, ThreadPool *pool,
                                std::vector<float> &scales) {
  const int64_t k = w.k, groups = k == 0 ? 0 : (k + group - 1) / group;
  parallelFor(pool, (w.n + kRows - 1) / kRows, [&](int64_t block) {
    const int64_t begin = block * kRows, rows = std::min(kRows, w.n - begin);
    const float *h = statistics.secondMoment.data(), *v = values.data() + begin * k;
    // error = (scales * values - w) H, kept up to date; product = the group's values times H.
    std::vector<float> difference(static_cast<size_t>(rows * k)), error(difference.size()), product(difference.size());
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = 0; i < k; ++i)
        difference[row * k + i] =
            scales[(begin + row) * groups + i / group] * v[row * k + i] - w.data[(begin + row) * k + i];
    gemm(false, false, rows, k, k, 1, difference.data(), k, h, k, 0, error.data(), k);
    for (int64_t item = 0; item < passes * groups; ++item) {
      const int64_t first = item % groups * group, count = std::min(group, k - first);
      gemm(false, false, rows, k, count, 1, v + first, k, h + first * k, k, 0, product.data(), k);
      for (int64_t row = 0; row < rows; ++row) {
        double slope = 0, curvature = 0;
        for (int64_t i = row * k + first; i < row * k + first + count; ++i) {
          slope += static_cast<double>(v[i]) * error[i];
          curvature += static_cast<double>(v[i]) * product[i];
        }
        float &scale = scales[(begin + row) * groups + item % groups];
        if (scale == 0 || !(curvature > 0))
          continue;
        const float changed = roundTo(type, static_cast<float>(scale - slope / curvature));
        // The codes were chosen for a scale of about this size and this sign; and what rounds away is no gain.
        const double step = static_cast<double>(changed) - scale, ratio = static_cast<double>(changed) / scale;
        if (!(ratio > 0.25 && ratio < 4) || !(step * (2 * slope + step * curvature) < 0))
          continue;
        scale = changed;
        const float factor = static_cast<float>(step);
        for (int64_t i = row * k; i < (row + 1) * k; ++i)
          error[i] += factor * product[i];
      }
    }
  });
}

Status quantization::refineScales(const Weight &w, const InputStatistics &statistics, int passes, ThreadPool *pool,
                                  Quantized &quantized) {
  if (w.n != quantized.n || w.k != quantized.k)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "scales must be those of a weight of ", w.n, "x", w.k, ", got ",
                            quantized.n, "x", quantized.k);
  if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  if (passes < 0)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "the number of passes must not be negative, got ", passes);
  // What the codes stand for without scales.
  Quantized plain = quantized;
  plain.scales.assign(plain.scales.size(), 1.0f);
  std::vector<float> values(static_cast<size_t>(w.n * w.k));
  plain.dequantize(values.data());
  refineScales(w, values, statistics, std::max<int64_t>(1, quantized.format.groupSize(w.k)), quantized.format.scaleType,
               passes, pool, quantized.scales);
  return {};
}
