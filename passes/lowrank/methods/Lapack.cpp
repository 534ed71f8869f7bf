//===- Lapack.cpp - Linear algebra in double precision --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Lapack.h"
#include "passes/quantization/methods/Blas.h"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>

using namespace lathe;
using lowrank::Matrix;
using quantization::useOneThread;

namespace {

lapack_int size(int64_t value) { return static_cast<lapack_int>(value); }

} // namespace

Matrix lowrank::product(bool transposeA, bool transposeB, int64_t m, int64_t n, int64_t k, const Matrix &a,
                        const Matrix &b) {
  Matrix c(static_cast<size_t>(m * n));
  if (c.empty() || k == 0)
    return c;
  useOneThread();
  cblas_dgemm(CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans, size(m),
              size(n), size(k), 1, a.data(), size(transposeA ? m : k), b.data(), size(transposeB ? k : n), 0, c.data(),
              size(n));
  return c;
}

Matrix lowrank::gram(const Matrix &a, int64_t n, int64_t k, bool ofColumns) {
  const int64_t order = ofColumns ? k : n;
  Matrix c(static_cast<size_t>(order * order));
  if (a.empty())
    return c;
  useOneThread();
  cblas_dsyrk(CblasRowMajor, CblasUpper, ofColumns ? CblasTrans : CblasNoTrans, size(order), size(ofColumns ? n : k), 1,
              a.data(), size(k), 0, c.data(), size(order));
  for (int64_t i = 0; i < order; ++i)
    for (int64_t j = 0; j < i; ++j)
      c[i * order + j] = c[j * order + i];
  return c;
}

bool lowrank::eigen(Matrix &a, int64_t n, bool vectors, std::vector<double> &values) {
  values.assign(static_cast<size_t>(n), 0);
  // The library's answer to numbers that are not finite is not to be relied on.
  if (!std::all_of(a.begin(), a.end(), [](double x) { return std::isfinite(x); }))
    return false;
  if (n == 0)
    return true;
  useOneThread();
  // Column-major to the library: a symmetric matrix is its own transpose, and the vectors, its columns, are our rows.
  if (LAPACKE_dsyevd(LAPACK_COL_MAJOR, vectors ? 'V' : 'N', 'U', size(n), a.data(), size(n), values.data()) != 0)
    return false;
  std::reverse(values.begin(), values.end());
  for (int64_t i = 0; vectors && i < n / 2; ++i)
    std::swap_ranges(a.begin() + i * n, a.begin() + (i + 1) * n, a.begin() + (n - 1 - i) * n);
  return true;
}

Matrix lowrank::semidefiniteCholesky(Matrix h, int64_t k, int64_t &rank) {
  rank = 0;
  if (k == 0)
    return {};
  useOneThread();
  std::vector<lapack_int> pivots(static_cast<size_t>(k));
  lapack_int found = 0;
  // A positive result tells of rank below k, which is what is asked for.
  if (LAPACKE_dpstrf(LAPACK_COL_MAJOR, 'L', size(k), h.data(), size(k), pivots.data(), &found, -1) < 0)
    return {};
  rank = found;
  Matrix s(static_cast<size_t>(k * rank));
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j <= std::min(i, rank - 1); ++j)
      s[(pivots[i] - 1) * rank + j] = h[j * k + i];
  return s;
}

bool lowrank::solvePositive(Matrix &a, int64_t n, Matrix &b, int64_t columns) {
  auto isFinite = [](double x) { return std::isfinite(x); };
  if (!std::all_of(a.begin(), a.end(), isFinite) || !std::all_of(b.begin(), b.end(), isFinite))
    return false;
  if (n == 0 || columns == 0)
    return true;
  useOneThread();
  return LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', size(n), size(columns), a.data(), size(n), b.data(), size(columns)) == 0;
}
