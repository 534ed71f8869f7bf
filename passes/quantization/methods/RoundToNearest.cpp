//===- RoundToNearest.cpp - Each weight to its nearest code -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/RoundToNearest.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

Status quantization::quantizeRounded(const Weight &w, const Format &format, const FitOptions &fit,
                                     const float *importance, ThreadPool *pool, Quantized &result) {
  result = {};
  if (Status status = checkWeight(w, format); status.failed())
    return status;
  for (int64_t i = 0; importance && i < w.k; ++i)
    if (!(importance[i] >= 0) || std::isinf(importance[i]))
      return runtime::failure(LATHE_INVALID_ARGUMENT,
                              "the importance of an input must be finite and not negative, got ", importance[i],
                              " for input ", i);
  const int64_t groups = format.groups(w.k), size = format.groupSize(w.k);
  result.format = format;
  result.n = w.n;
  result.k = w.k;
  result.codes.resize(static_cast<size_t>(w.n * w.k));
  result.scales.resize(static_cast<size_t>(w.n * groups));
  if (format.zeroPoint != ZeroPoint::None)
    result.zeros.resize(result.scales.size());
  const GroupCoder coder(format);
  parallelFor(pool, w.n, [&](int64_t row) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t begin = group * size, count = std::min(size, w.k - begin);
      const float *x = w.data + row * w.k + begin;
      const GroupParameters parameters = coder.fit(x, importance ? importance + begin : nullptr, count, fit);
      coder.encode(x, count, parameters, result.codes.data() + row * w.k + begin, nullptr);
      result.scales[row * groups + group] = parameters.scale;
      if (!result.zeros.empty())
        result.zeros[row * groups + group] = parameters.zero;
    }
  });
  return {};
}

Status quantization::quantizeRtn(const Weight &w, const Format &format, ThreadPool *pool, Quantized &result) {
  return quantizeRounded(w, format, {}, nullptr, pool, result);
}

Status quantization::quantizeMse(const Weight &w, const Format &format, const float *importance, ThreadPool *pool,
                                 Quantized &result) {
  FitOptions fit;
  fit.search = true;
  return quantizeRounded(w, format, fit, importance, pool, result);
}
