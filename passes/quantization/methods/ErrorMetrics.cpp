//===- ErrorMetrics.cpp - How far an approximation is -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/ErrorMetrics.h"

#include "passes/quantization/methods/Blas.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Rows of a weight that are worked on at once.
constexpr int64_t kRows = 64;

struct Sums {
  double reference = 0, approximation = 0, both = 0, error = 0;
};

ErrorMetrics metricsOf(const Sums &sums) {
  ErrorMetrics result;
  result.signal = sums.reference;
  result.error = sums.error;
  const double norms = std::sqrt(sums.reference) * std::sqrt(sums.approximation);
  if (norms > 0)
    result.cosine = std::clamp(sums.both / norms, -1.0, 1.0);
  else
    result.cosine = sums.reference == sums.approximation ? 1 : 0;
  return result;
}

} // namespace

double ErrorMetrics::snrDb() const {
  if (error <= 0)
    return std::numeric_limits<double>::infinity();
  return signal > 0 ? 10 * std::log10(signal / error) : -std::numeric_limits<double>::infinity();
}

ErrorMetrics quantization::compare(const float *reference, const float *approximation, int64_t count) {
  Sums sums;
  for (int64_t i = 0; i < count; ++i) {
    const double a = reference[i], b = approximation[i];
    sums.reference += a * a;
    sums.approximation += b * b;
    sums.both += a * b;
    sums.error += (a - b) * (a - b);
  }
  return metricsOf(sums);
}

Status quantization::compareOutputs(const Weight &w, const float *approximation, const InputStatistics &statistics,
                                    ThreadPool *pool, ErrorMetrics &result) {
  result = {};
  if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  const int64_t blocks = (w.n + kRows - 1) / kRows;
  std::vector<Sums> partial(static_cast<size_t>(blocks));
  parallelFor(pool, blocks, [&](int64_t block) {
    const int64_t begin = block * kRows, rows = std::min(kRows, w.n - begin), size = rows * w.k;
    const float *reference = w.data + begin * w.k, *other = approximation + begin * w.k;
    std::vector<float> difference(static_cast<size_t>(size)), product(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i)
      difference[i] = other[i] - reference[i];
    // The sum of a . (b H), for rows a and b.
    const auto sum = [&](const float *a, const float *b) {
      gemm(false, false, rows, w.k, w.k, 1, b, w.k, statistics.secondMoment.data(), w.k, 0, product.data(), w.k);
      double total = 0;
      for (int64_t i = 0; i < size; ++i)
        total += static_cast<double>(a[i]) * product[i];
      return total;
    };
    Sums &sums = partial[block];
    sums.error = std::max(0.0, sum(difference.data(), difference.data()));
    sums.reference = std::max(0.0, sum(reference, reference));
    double cross = 0; // product holds reference H
    for (int64_t i = 0; i < size; ++i)
      cross += static_cast<double>(difference[i]) * product[i];
    sums.both = sums.reference + cross;
    sums.approximation = std::max(0.0, sums.reference + 2 * cross + sums.error);
  });
  Sums sums;
  for (const Sums &part : partial) {
    sums.error += part.error;
    sums.reference += part.reference;
    sums.approximation += part.approximation;
    sums.both += part.both;
  }
  result = metricsOf(sums);
  return {};
}

Status quantization::outputError(const Weight &w, const float *approximation, const InputStatistics &statistics,
                                 ThreadPool *pool, double &error) {
  error = 0;
  if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  const int64_t blocks = (w.n + kRows - 1) / kRows;
  std::vector<double> partial(static_cast<size_t>(blocks));
  parallelFor(pool, blocks, [&](int64_t block) {
    const int64_t begin = block * kRows, rows = std::min(kRows, w.n - begin), size = rows * w.k;
    std::vector<float> difference(static_cast<size_t>(size)), product(static_cast<size_t>(size));
    for (int64_t i = 0; i < size; ++i)
      difference[i] = approximation[begin * w.k + i] - w.data[begin * w.k + i];
    gemm(false, false, rows, w.k, w.k, 1, difference.data(), w.k, statistics.secondMoment.data(), w.k, 0,
         product.data(), w.k);
    double total = 0;
    for (int64_t i = 0; i < size; ++i)
      total += static_cast<double>(difference[i]) * product[i];
    partial[block] = std::max(0.0, total);
  });
  for (double part : partial)
    error += part;
  return {};
}
