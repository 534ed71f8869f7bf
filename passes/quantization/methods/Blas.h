//===- Blas.h - Linear algebra that is the same in every run ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_BLAS_H
#define LATHE_PASSES_QUANTIZATION_METHODS_BLAS_H

#include <cstdint>
#include <vector>

namespace lathe::quantization {

/// Matrices are row-major. Each call works on the calling thread alone, and may be made by several threads at a time:
/// how a product is divided among threads changes its last bits, so callers divide it, into parts whose sizes do not
/// depend on the number of threads.

/// Keeps the library's calls on the calling thread; to be called before any.
void useOneThread();

/// c[m][n] = alpha * op(a) op(b) + beta * c, where op(a) is [m][k] and op(b) is [k][n].
void gemm(bool transposeA, bool transposeB, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
          const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/// Upper triangular U with U^T U = inverse of the symmetric positive definite h[k][k], whose upper triangle is read;
/// U replaces h, with zeros below its diagonal. Returns whether h was positive definite; if not, h is spoilt.
bool inverseCholesky(std::vector<double> &h, int64_t k);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_BLAS_H
