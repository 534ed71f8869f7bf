//===- UnitReconstruction.cpp - Inputs taken away, made good --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/structured/methods/UnitReconstruction.h"
#include <algorithm>
#include <cblas.h>
#include <lapacke.h>
#include <limits>

using namespace lathe;
using namespace lathe::pruning;

namespace {

blasint size(int64_t value) { return static_cast<blasint>(value); }

std::vector<std::vector<int64_t>> inputsOf(const std::vector<int> &units, int count) {
  std::vector<std::vector<int64_t>> inputs(static_cast<size_t>(count));
  for (size_t i = 0; i < units.size(); ++i)
    if (units[i] >= 0)
      inputs[static_cast<size_t>(units[i])].push_back(static_cast<int64_t>(i));
  return inputs;
}

/// Rows `rows` and columns `columns` of a matrix of `width` columns.
std::vector<double> part(const std::vector<double> &matrix, int64_t width, const std::vector<int64_t> &rows,
                         const std::vector<int64_t> &columns) {
  std::vector<double> result;
  result.reserve(rows.size() * columns.size());
  for (int64_t row : rows)
    for (int64_t column : columns)
      result.push_back(matrix[static_cast<size_t>(row * width + column)]);
  return result;
}

/// b [order][width] becomes inverse(a) b; `a` is spoilt. Whether a was positive definite.
bool solve(std::vector<double> &a, int64_t order, std::vector<double> &b, int64_t width) {
  const auto n = static_cast<lapack_int>(order), columns = static_cast<lapack_int>(width);
  return order == 0 || width == 0 ||
         LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', n, columns, a.data(), n, b.data(), columns) == 0;
}

} // namespace

std::vector<double> pruning::outputEnergies(const Weight &weight, const InputStatistics &statistics,
                                            const std::vector<int> &units, int count) {
  std::vector<double> energies(static_cast<size_t>(count), 0.0);
  std::vector<std::vector<int64_t>> inputs = inputsOf(units, count);
  for (size_t unit = 0; unit < inputs.size(); ++unit) {
    const std::vector<int64_t> &own = inputs[unit];
    for (int64_t i : own)
      for (int64_t j : own) {
        double product = 0;
        for (int64_t row = 0; row < weight.n; ++row)
          product += double(weight.data[row * weight.k + i]) * weight.data[row * weight.k + j];
        energies[unit] += product * statistics.secondMoment[static_cast<size_t>(i * weight.k + j)];
      }
  }
  return energies;
}

void pruning::addSquares(const Weight &weight, const std::vector<int> &units, bool ofInputs,
                         std::vector<double> &sums) {
  for (int64_t row = 0; row < weight.n; ++row)
    for (int64_t column = 0; column < weight.k; ++column) {
      int unit = units[static_cast<size_t>(ofInputs ? column : row)];
      double number = weight.data[row * weight.k + column];
      if (unit >= 0)
        sums[static_cast<size_t>(unit)] += number * number;
    }
}

Status UnitReconstruction::start(const Weight &weight, const InputStatistics &statistics, const std::vector<int> &units,
                                 int count, double damping, bool constant) {
  openblas_set_num_threads(1); // how a product is divided among threads changes its last bits
  n = weight.n, k = weight.k, size = k + (constant ? 1 : 0);
  if (Status status = quantization::validate(statistics, k, /*needsSecondMoment=*/true); status.failed())
    return status;
  std::vector<double> h(static_cast<size_t>(size * size), 0.0);
  double trace = 0;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < k; ++j)
      h[static_cast<size_t>(i * size + j)] = statistics.secondMoment[static_cast<size_t>(i * k + j)];
    if (constant)
      h[static_cast<size_t>(i * size + k)] = h[static_cast<size_t>(k * size + i)] =
          statistics.mean[static_cast<size_t>(i)];
    trace += h[static_cast<size_t>(i * size + i)];
  }
  if (constant)
    h[static_cast<size_t>(k * size + k)] = 1;
  w.assign(static_cast<size_t>(n * size), 0.0);
  for (int64_t row = 0; row < n; ++row)
    std::copy_n(weight.data + row * k, k, w.begin() + row * size);
  // tr(W H W^T).
  std::vector<double> product(w.size());
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, ::size(n), ::size(size), ::size(size), 1, w.data(),
              ::size(size), h.data(), ::size(size), 0, product.data(), ::size(size));
  energy_ = 0;
  for (size_t i = 0; i < w.size(); ++i)
    energy_ += w[i] * product[i];
  // An input that is always 0 says nothing, and must not stop the others.
  double added = std::max(damping * trace / static_cast<double>(std::max<int64_t>(k, 1)), 1e-30);
  for (int64_t i = 0; i < size; ++i)
    h[static_cast<size_t>(i * size + i)] += added;
  inverse = std::move(h);
  const auto order = static_cast<lapack_int>(size);
  if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', order, inverse.data(), order) != 0 ||
      LAPACKE_dpotri(LAPACK_ROW_MAJOR, 'L', order, inverse.data(), order) != 0)
    return runtime::failure(LATHE_INVALID_ARGUMENT,
                            "the second moment of the inputs can't be inverted: expects a larger damping");
  for (int64_t row = 0; row < size; ++row)
    for (int64_t column = row + 1; column < size; ++column)
      inverse[static_cast<size_t>(row * size + column)] = inverse[static_cast<size_t>(column * size + row)];
  inputs = inputsOf(units, count);
  return Status();
}

std::vector<double> UnitReconstruction::costs() const {
  std::vector<double> costs;
  std::vector<int64_t> rows(static_cast<size_t>(n));
  for (int64_t row = 0; row < n; ++row)
    rows[static_cast<size_t>(row)] = row;
  std::vector<double> squares(static_cast<size_t>(size), 0.0); // of the weights of an input
  for (int64_t row = 0; row < n; ++row)
    for (int64_t i = 0; i < size; ++i)
      squares[static_cast<size_t>(i)] +=
          w[static_cast<size_t>(row * size + i)] * w[static_cast<size_t>(row * size + i)];
  for (const std::vector<int64_t> &own : inputs) {
    auto order = static_cast<int64_t>(own.size());
    if (order == 1) {
      costs.push_back(squares[static_cast<size_t>(own[0])] / inverse[static_cast<size_t>(own[0] * size + own[0])]);
      continue;
    }
    std::vector<double> block = part(inverse, size, own, own);
    std::vector<double> weights = part(w, size, rows, own), solved(weights.size()); // the latter transposed
    for (int64_t row = 0; row < n; ++row)
      for (int64_t i = 0; i < order; ++i)
        solved[static_cast<size_t>(i * n + row)] = weights[static_cast<size_t>(row * order + i)];
    double cost = 0;
    if (own.empty() || !solve(block, order, solved, n))
      cost = std::numeric_limits<double>::infinity();
    else
      for (int64_t row = 0; row < n; ++row)
        for (int64_t i = 0; i < order; ++i)
          cost += weights[static_cast<size_t>(row * order + i)] * solved[static_cast<size_t>(i * n + row)];
    costs.push_back(cost);
  }
  return costs;
}

Status UnitReconstruction::remove(const std::vector<int> &units) {
  std::vector<int64_t> gone;
  for (int unit : units) {
    std::vector<int64_t> &own = inputs[static_cast<size_t>(unit)];
    gone.insert(gone.end(), own.begin(), own.end());
    own.clear();
  }
  if (gone.empty() || n == 0)
    return Status();
  std::sort(gone.begin(), gone.end());
  auto order = static_cast<int64_t>(gone.size());
  std::vector<double> block = part(inverse, size, gone, gone), rows;
  for (int64_t row : gone)
    rows.insert(rows.end(), inverse.begin() + row * size, inverse.begin() + (row + 1) * size);
  std::vector<double> solved = rows;
  if (!solve(block, order, solved, size))
    return runtime::failure(LATHE_INVALID_ARGUMENT,
                            "the second moment of the inputs can't be inverted: expects a larger damping");
  std::vector<double> lost;
  for (int64_t row = 0; row < n; ++row)
    for (int64_t input : gone)
      lost.push_back(w[static_cast<size_t>(row * size + input)]);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, ::size(n), ::size(size), ::size(order), -1, lost.data(),
              ::size(order), solved.data(), ::size(size), 1, w.data(), ::size(size));
  cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, ::size(size), ::size(size), ::size(order), -1, rows.data(),
              ::size(size), solved.data(), ::size(size), 1, inverse.data(), ::size(size));
  for (int64_t input : gone) {
    for (int64_t row = 0; row < n; ++row)
      w[static_cast<size_t>(row * size + input)] = 0;
    for (int64_t i = 0; i < size; ++i)
      inverse[static_cast<size_t>(i * size + input)] = inverse[static_cast<size_t>(input * size + i)] = 0;
  }
  return Status();
}

std::vector<float> UnitReconstruction::weight() const {
  std::vector<float> result(static_cast<size_t>(n * k));
  for (int64_t row = 0; row < n; ++row)
    for (int64_t i = 0; i < k; ++i)
      result[static_cast<size_t>(row * k + i)] = static_cast<float>(w[static_cast<size_t>(row * size + i)]);
  return result;
}

std::vector<float> UnitReconstruction::bias() const {
  std::vector<float> result;
  for (int64_t row = 0; row < n && size > k; ++row)
    result.push_back(static_cast<float>(w[static_cast<size_t>(row * size + k)]));
  return result;
}
