//===- Cp.cpp - A convolution's weight as a sum of products ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Cp.h"

#include "passes/lowrank/methods/Singular.h"

#include <algorithm>
#include <cmath>
#include <random>

using namespace lathe;
using namespace lathe::lowrank;

namespace {

/// Of the largest eigenvalue: what is below is no direction of the terms that there are.
constexpr double kLeast = 1e-12;
/// Of the weight's length: terms beyond cancel each other, and lose in f32 what they gain.
constexpr double kLargest = 1e3;

/// One of the three factors, [extent][rank], and the weight with its axis first, [extent][others].
struct Mode {
  int64_t extent;
  Matrix unfolded, factor;
};

/// Orthonormal rows first, as far as there are some, then random ones.
Status begin(Mode &mode, int64_t columns, int64_t rank, std::mt19937_64 &engine) {
  Matrix vectors;
  std::vector<double> squares;
  if (Status status = leftSingular(mode.unfolded, mode.extent, columns, std::min(rank, mode.extent), vectors, squares);
      status.failed())
    return status;
  const auto found = static_cast<int64_t>(vectors.size()) / mode.extent;
  mode.factor.resize(static_cast<size_t>(mode.extent * rank));
  for (int64_t i = 0; i < mode.extent; ++i)
    for (int64_t r = 0; r < rank; ++r)
      // Drawn without a distribution of the library, whose numbers are its own.
      mode.factor[i * rank + r] =
          r < found ? vectors[r * mode.extent + i] : static_cast<double>(engine() >> 11) * 0x1p-52 - 1;
  return {};
}

/// Row (i, j) is the product of row i of a and row j of b, element by element.
Matrix rowProducts(const Mode &a, const Mode &b, int64_t rank) {
  Matrix result(static_cast<size_t>(a.extent * b.extent * rank));
  for (int64_t i = 0; i < a.extent; ++i)
    for (int64_t j = 0; j < b.extent; ++j)
      for (int64_t r = 0; r < rank; ++r)
        result[(i * b.extent + j) * rank + r] = a.factor[i * rank + r] * b.factor[j * rank + r];
  return result;
}

/// m g^-1 for a symmetric g[rank][rank], on the directions that it has.
bool solve(Matrix &m, int64_t rows, Matrix g, int64_t rank) {
  std::vector<double> values;
  if (!eigen(g, rank, /*vectors=*/true, values))
    return false;
  Matrix turned = product(false, true, rows, rank, rank, m, g);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t r = 0; r < rank; ++r)
      turned[i * rank + r] *= values[r] > kLeast * values[0] ? 1 / values[r] : 0;
  m = product(false, false, rows, rank, rank, turned, g);
  return true;
}

/// Columns of length 1.
void normalize(Mode &mode, int64_t rank) {
  for (int64_t r = 0; r < rank; ++r) {
    double square = 0;
    for (int64_t i = 0; i < mode.extent; ++i)
      square += mode.factor[i * rank + r] * mode.factor[i * rank + r];
    const double scale = square > 0 ? 1 / std::sqrt(square) : 0;
    for (int64_t i = 0; i < mode.extent; ++i)
      mode.factor[i * rank + r] *= scale;
  }
}

/// The factor that is best beside the two others; `kept` are the squares that all three keep of the weight.
bool improve(Mode &mode, const Mode &a, const Mode &b, int64_t rank, double &kept) {
  Matrix products = rowProducts(a, b, rank);
  Matrix right = product(false, false, mode.extent, rank, a.extent * b.extent, mode.unfolded, products);
  Matrix g = gram(a.factor, a.extent, rank, /*ofColumns=*/true), other = gram(b.factor, b.extent, rank, true);
  for (size_t i = 0; i < g.size(); ++i)
    g[i] *= other[i];
  mode.factor = right;
  if (!solve(mode.factor, mode.extent, g, rank))
    return false;
  // 2 <w, w'> - |w'|^2, which is |w|^2 less the error's square.
  Matrix own = gram(mode.factor, mode.extent, rank, true);
  kept = 0;
  for (size_t i = 0; i < right.size(); ++i)
    kept += 2 * right[i] * mode.factor[i];
  for (size_t i = 0; i < own.size(); ++i)
    kept -= own[i] * g[i];
  return true;
}

/// [a][b][e] with axis b first.
Matrix secondFirst(const Matrix &w, int64_t a, int64_t b, int64_t e) {
  Matrix result(w.size());
  for (int64_t i = 0; i < a; ++i)
    for (int64_t j = 0; j < b; ++j)
      std::copy_n(w.begin() + (i * b + j) * e, e, result.begin() + (j * a + i) * e);
  return result;
}

/// Factors as they are stored; `left` has all lengths.
void store(const Mode &left, const Mode &right, const Mode &window, CpFactors &result) {
  const auto turned = [&](const Mode &mode) {
    std::vector<float> rows(mode.factor.size());
    for (int64_t i = 0; i < mode.extent; ++i)
      for (int64_t r = 0; r < result.rank; ++r)
        rows[r * mode.extent + i] = static_cast<float>(mode.factor[i * result.rank + r]);
    return rows;
  };
  result.left.assign(left.factor.begin(), left.factor.end());
  result.right = turned(right);
  result.window = turned(window);
}

Status check(const std::vector<float> &w, const ConvolutionShape &shape, int64_t rank) {
  if (static_cast<int64_t>(w.size()) != shape.numbers() || w.empty())
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a weight of ", shape.numbers(), " numbers is expected, got ",
                            w.size());
  if (rank < 1)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a rank must be at least 1, got ", rank);
  auto wrong = std::find_if(w.begin(), w.end(), [](float x) { return !std::isfinite(x); });
  if (wrong != w.end())
    return runtime::failure(LATHE_INVALID_ARGUMENT, "weights must be finite, got ", *wrong, " at ", wrong - w.begin());
  return {};
}

} // namespace

std::vector<float> CpFactors::dense() const {
  auto [o, c, e] = shape;
  Matrix wide(static_cast<size_t>(rank * c * e));
  for (int64_t r = 0; r < rank; ++r)
    for (int64_t i = 0; i < c; ++i)
      for (int64_t j = 0; j < e; ++j)
        wide[(r * c + i) * e + j] = static_cast<double>(right[r * c + i]) * window[r * e + j];
  Matrix whole = product(false, false, o, c * e, rank, Matrix(left.begin(), left.end()), wide);
  return std::vector<float>(whole.begin(), whole.end());
}

Status lowrank::factorizeCp(const std::vector<float> &w, const ConvolutionShape &shape, int64_t rank, uint64_t seed,
                            int64_t most, CpFactors &result) {
  result = {};
  if (Status status = check(w, shape, rank); status.failed())
    return status;
  auto [o, c, e] = shape;
  Matrix whole(w.begin(), w.end());
  const double all = squareOf(whole);
  Mode left{o, whole, {}}, right{c, secondFirst(whole, o, c, e), {}}, window{e, secondFirst(whole, o * c, e, 1), {}};
  std::mt19937_64 engine(seed);
  for (Mode *mode : {&right, &window, &left})
    if (Status status = begin(*mode, o * c * e / mode->extent, rank, engine); status.failed())
      return status;
  result.shape = shape;
  result.rank = rank;
  double kept = 0, before = -1;
  constexpr double kGain = 1e-6;
  // Unfoldings have the other axes in the order of the weight.
  while (result.rounds < most && (before < 0 || kept - before > kGain * all)) {
    before = result.rounds ? kept : -1;
    bool isDone = improve(right, left, window, rank, kept);
    normalize(right, rank);
    isDone = isDone && improve(window, left, right, rank, kept);
    normalize(window, rank);
    isDone = isDone && improve(left, right, window, rank, kept);
    if (!isDone)
      return runtime::failure(LATHE_EXECUTION_ERROR, "least squares of rank ", rank, " have no finite solution");
    ++result.rounds;
  }
  const double largest = std::sqrt(squareOf(left.factor));
  if (largest > kLargest * std::sqrt(all))
    return runtime::failure(
        LATHE_EXECUTION_ERROR, "terms of rank ", rank, " become ", largest / std::sqrt(all),
        " times as large as the weight and cancel each other: there is no nearest sum of that rank");
  result.energyKept = all > 0 ? std::clamp(kept / all, 0.0, 1.0) : 1;
  store(left, right, window, result);
  return {};
}
