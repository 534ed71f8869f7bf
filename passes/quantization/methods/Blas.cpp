//===- Blas.cpp - Linear algebra that is the same in every run --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Blas.h"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>

using namespace lathe;

namespace {

blasint size(int64_t value) { return static_cast<blasint>(value); }

} // namespace

void quantization::useOneThread() {
  static const bool done = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  (void)done;
}

void quantization::gemm(bool transposeA, bool transposeB, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                        int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  if (m == 0 || n == 0)
    return;
  useOneThread();
  // Strides of empty matrices are 0, which the library takes for an error.
  cblas_sgemm(CblasRowMajor, transposeA ? CblasTrans : CblasNoTrans, transposeB ? CblasTrans : CblasNoTrans, size(m),
              size(n), size(k), alpha, a, std::max<blasint>(1, size(lda)), b, std::max<blasint>(1, size(ldb)), beta, c,
              std::max<blasint>(1, size(ldc)));
}

bool quantization::inverseCholesky(std::vector<double> &h, int64_t k) {
  if (k == 0)
    return true;
  useOneThread();
  // With both axes reversed, the lower factor L of h = L L^T is an upper factor of the original: h = V V^T. So
  // inverse(h) = V^-T V^-1, and V^-1 is the wanted factor: one factorization and one inverse of a triangle, where
  // inverting h and factorizing the inverse takes twice the time and loses twice the digits. In memory, reversing both
  // axes of a square matrix reverses all of it; its upper triangle becomes the lower one.
  std::reverse(h.begin(), h.end());
  const lapack_int order = static_cast<lapack_int>(k);
  if (LAPACKE_dpotrf_work(LAPACK_ROW_MAJOR, 'L', order, h.data(), order) != 0)
    return false;
  if (LAPACKE_dtrtri_work(LAPACK_ROW_MAJOR, 'L', 'N', order, h.data(), order) != 0)
    return false;
  std::reverse(h.begin(), h.end());
  for (int64_t row = 1; row < k; ++row)
    std::fill_n(h.begin() + row * k, row, 0.0);
  return true;
}
