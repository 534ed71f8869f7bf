//===- Singular.h - The first singular vectors of a matrix ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_METHODS_SINGULAR_H
#define LATHE_PASSES_LOWRANK_METHODS_SINGULAR_H

#include "passes/lowrank/methods/Lapack.h"
#include "runtime/Status.h"

namespace lathe::lowrank {

/// The first left singular vectors of m[n][columns], as rows, at most `rank`; `squares` are of all singular values,
/// largest first. They come of the eigenvectors of the smaller of the two Gram matrices: what is below 1e-7 of the
/// largest singular value is lost. Fails where numbers are too large.
runtime::Status leftSingular(const Matrix &m, int64_t n, int64_t columns, int64_t rank, Matrix &vectors,
                             std::vector<double> &squares);

/// The sum of squares.
double squareOf(const Matrix &m);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_METHODS_SINGULAR_H
