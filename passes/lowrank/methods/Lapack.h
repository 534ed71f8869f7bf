//===- Lapack.h - Linear algebra in double precision ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_LAPACK_H
#define LATHE_PASSES_LOWRANK_METHODS_LAPACK_H

#include <cstdint>
#include <vector>

namespace lathe::lowrank {

/// Matrices are row-major, of doubles. Each call works on the calling thread alone, so that results do not depend on
/// how many there are, and may be made by several threads at a time.
using Matrix = std::vector<double>;

/// op(a) op(b), [m][n], where op(a) is [m][k] and op(b) is [k][n].
Matrix product(bool transposeA, bool transposeB, int64_t m, int64_t n, int64_t k, const Matrix &a, const Matrix &b);

/// a a^T, [n][n], of a[n][k]; a^T a, [k][k], where `ofColumns`.
Matrix gram(const Matrix &a, int64_t n, int64_t k, bool ofColumns);

/// Eigenvalues of the symmetric a[n][n], largest first; with `vectors` a becomes [n][n] whose row i is the vector of
/// value i. False where the library does not converge or a number is not finite.
bool eigen(Matrix &a, int64_t n, bool vectors, std::vector<double> &values);

/// S[k][rank] with S S^T = h, of a symmetric positive semidefinite h[k][k]: a Cholesky factor with pivots, in the order
/// of h's rows. `rank` is where pivots are lost in rounding.
Matrix semidefiniteCholesky(Matrix h, int64_t k, int64_t &rank);

/// Solves a x = b for a symmetric positive definite a[n][n] and b[n][columns], which becomes x; a is lost. False where
/// a is not positive definite or a number is not finite.
bool solvePositive(Matrix &a, int64_t n, Matrix &b, int64_t columns);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_LAPACK_H
