//===- Factors.cpp - A weight as a product of two thin ones ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Factors.h"

#include "passes/lowrank/methods/Singular.h"
#include "passes/quantization/methods/Blas.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::lowrank;

namespace {

Status check(const Weight &w, const Measure &measure) {
  const auto fail = [](const auto &...parts) { return runtime::failure(LATHE_INVALID_ARGUMENT, parts...); };
  for (int64_t i = 0; i < w.n * w.k; ++i)
    if (!std::isfinite(w.data[i]))
      return fail("weights must be finite, got ", w.data[i], " for output ", i / w.k, " and input ", i % w.k);
  if (measure.metric == Metric::Weights)
    return {};
  if (!measure.statistics)
    return fail("statistics of the inputs are needed, got none");
  return quantization::validate(*measure.statistics, w.k, measure.metric == Metric::Outputs);
}

/// w S as [n][columns].
Matrix measured(const Weight &w, const Measure &measure, int64_t &columns) {
  Matrix m(w.data, w.data + w.n * w.k);
  columns = w.k;
  if (measure.metric == Metric::Magnitudes) {
    std::vector<double> scale;
    for (float mean : measure.statistics->meanAbs)
      scale.push_back(std::pow(static_cast<double>(mean), measure.alpha));
    for (int64_t row = 0; row < w.n; ++row)
      for (int64_t i = 0; i < w.k; ++i)
        m[row * w.k + i] *= scale[i];
  } else if (measure.metric == Metric::Outputs) {
    const std::vector<float> &moment = measure.statistics->secondMoment;
    Matrix s = semidefiniteCholesky(Matrix(moment.begin(), moment.end()), w.k, columns);
    m = product(false, false, w.n, columns, w.k, m, s);
  }
  return m;
}

} // namespace

std::vector<float> Factors::dense() const {
  std::vector<float> w(static_cast<size_t>(n * k));
  if (r > 0)
    quantization::gemm(false, false, n, k, r, 1, left.data(), r, right.data(), k, 0, w.data(), k);
  return w;
}

int64_t lowrank::largestSavingRank(int64_t n, int64_t k) { return n > 0 && k > 0 ? (n * k - 1) / (n + k) : 0; }

Status lowrank::spectrum(const Weight &w, const Measure &measure, std::vector<double> &squares) {
  squares.clear();
  if (Status status = check(w, measure); status.failed())
    return status;
  int64_t columns = 0;
  Matrix m = measured(w, measure, columns), vectors;
  return leftSingular(m, w.n, columns, 0, vectors, squares);
}

Status lowrank::factorize(const Weight &w, const Measure &measure, int64_t rank, Factors &result,
                          std::vector<double> &squares) {
  result = {};
  squares.clear();
  if (rank < 1 || rank > std::min(w.n, w.k))
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a rank must be from 1 to ", std::min(w.n, w.k),
                            ", the smaller extent of ", w.n, " x ", w.k, ", got ", rank);
  if (Status status = check(w, measure); status.failed())
    return status;
  int64_t columns = 0;
  Matrix m = measured(w, measure, columns), vectors;
  if (Status status = leftSingular(m, w.n, columns, rank, vectors, squares); status.failed())
    return status;
  // What has no part in the outputs is left out: the rank may be smaller than was asked for, but not 0.
  vectors.resize(static_cast<size_t>(std::max<int64_t>(1, static_cast<int64_t>(vectors.size()) / w.n) * w.n));
  result.n = w.n;
  result.k = w.k;
  result.r = static_cast<int64_t>(vectors.size()) / w.n;
  Matrix right = product(false, false, result.r, w.k, w.n, vectors, Matrix(w.data, w.data + w.n * w.k));
  result.right.assign(right.begin(), right.end());
  result.left.resize(vectors.size());
  for (int64_t i = 0; i < result.r; ++i)
    for (int64_t j = 0; j < w.n; ++j)
      result.left[j * result.r + i] = static_cast<float>(vectors[i * w.n + j]);
  return {};
}
