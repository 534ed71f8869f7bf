//===- Singular.cpp - The first singular vectors of a matrix --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Singular.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using lathe::runtime::Status;
using lowrank::Matrix;

namespace {

/// Singular values below this share of the largest are lost in the rounding of their squares.
constexpr double kLost = 1e-14;

} // namespace

Status lowrank::leftSingular(const Matrix &m, int64_t n, int64_t columns, int64_t rank, Matrix &vectors,
                             std::vector<double> &squares) {
  const bool ofColumns = columns < n;
  const int64_t order = std::min(n, columns);
  Matrix g = gram(m, n, columns, ofColumns);
  if (!eigen(g, order, rank > 0, squares))
    return runtime::failure(LATHE_EXECUTION_ERROR, "the singular values of a matrix of ", n, " x ", columns,
                            " can't be found: numbers are too large");
  for (double &square : squares)
    square = std::max(square, 0.0);
  rank = std::min(rank, order);
  g.resize(static_cast<size_t>(rank * order));
  if (!ofColumns || rank == 0) {
    vectors = std::move(g);
    return {};
  }
  // Right singular vectors q give the left ones, m q over their length.
  while (rank > 0 && squares[rank - 1] <= kLost * squares[0])
    --rank;
  vectors = product(false, true, rank, n, columns, g, m);
  for (int64_t i = 0; i < rank; ++i)
    for (int64_t j = 0; j < n; ++j)
      vectors[i * n + j] /= std::sqrt(squares[i]);
  return {};
}

double lowrank::squareOf(const Matrix &m) {
  double sum = 0;
  for (double x : m)
    sum += x * x;
  return sum;
}
