//===- Tucker.cpp - A convolution's weight as three smaller ones ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Tucker.h"

#include "passes/lowrank/methods/Ranks.h"
#include "passes/lowrank/methods/Singular.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::lowrank;

namespace {

/// [a][b][e] as [b][a][e].
Matrix exchanged(const Matrix &w, int64_t a, int64_t b, int64_t e) {
  Matrix result(w.size());
  for (int64_t i = 0; i < a; ++i)
    for (int64_t j = 0; j < b; ++j)
      std::copy_n(w.begin() + (i * b + j) * e, e, result.begin() + (j * a + i) * e);
  return result;
}

/// The first left singular vectors of m[rows][columns], as rows, and the squares of all singular values.
Status leading(const Matrix &m, int64_t rows, int64_t columns, int64_t rank, Matrix &vectors,
               std::vector<double> &squares) {
  vectors = gram(m, rows, columns, /*ofColumns=*/false);
  if (!eigen(vectors, rows, /*vectors=*/true, squares))
    return runtime::failure(LATHE_EXECUTION_ERROR, "the singular values of a matrix of ", rows, " x ", columns,
                            " can't be found: numbers are too large");
  for (double &square : squares)
    square = std::max(square, 0.0);
  vectors.resize(static_cast<size_t>(rank * rows));
  return {};
}

Status check(const std::vector<float> &w, const ConvolutionShape &shape) {
  if (static_cast<int64_t>(w.size()) != shape.numbers() || w.empty())
    return runtime::failure(LATHE_INVALID_ARGUMENT, "a weight of ", shape.numbers(), " numbers is expected, got ",
                            w.size());
  auto wrong = std::find_if(w.begin(), w.end(), [](float x) { return !std::isfinite(x); });
  if (wrong != w.end())
    return runtime::failure(LATHE_INVALID_ARGUMENT, "weights must be finite, got ", *wrong, " at ", wrong - w.begin());
  return {};
}

std::vector<float> rounded(const Matrix &m) { return std::vector<float>(m.begin(), m.end()); }

} // namespace

std::vector<float> TuckerFactors::dense() const {
  auto [o, c, e] = shape;
  // core times right along its second axis, then left along its first.
  Matrix inner = exchanged(Matrix(core.begin(), core.end()), outputRank, inputRank, e);
  Matrix wide = product(true, false, c, outputRank * e, inputRank, Matrix(right.begin(), right.end()), inner);
  wide = exchanged(wide, c, outputRank, e);
  return rounded(product(false, false, o, c * e, outputRank, Matrix(left.begin(), left.end()), wide));
}

void lowrank::tuckerRanks(const ConvolutionShape &shape, double ratio, int64_t &outputRank, int64_t &inputRank) {
  auto o = static_cast<double>(shape.outputs), c = static_cast<double>(shape.channels),
       e = static_cast<double>(shape.window);
  // size(share o, share c) = o c e share^2 + (o^2 + c^2) share = (1 - ratio) o c e.
  double a = o * c * e, b = o * o + c * c;
  double share = (std::sqrt(b * b + 4 * a * a * (1 - ratio)) - b) / (2 * a);
  outputRank = std::clamp<int64_t>(static_cast<int64_t>(share * o + 1e-9), 1, shape.outputs);
  inputRank = std::clamp<int64_t>(static_cast<int64_t>(share * c + 1e-9), 1, shape.channels);
}

Status lowrank::tuckerRanksOfEnergy(const std::vector<float> &w, const ConvolutionShape &shape, double energy,
                                    int64_t &outputRank, int64_t &inputRank) {
  if (Status status = check(w, shape); status.failed())
    return status;
  auto [o, c, e] = shape;
  Matrix whole(w.begin(), w.end()), vectors;
  std::vector<double> squares;
  // Each of the two may lose half of what may be lost.
  double own = 1 - (1 - energy) / 2;
  if (Status status = leading(whole, o, c * e, 1, vectors, squares); status.failed())
    return status;
  outputRank = rankOfEnergy(squares, own);
  if (Status status = leading(exchanged(whole, o, c, e), c, o * e, 1, vectors, squares); status.failed())
    return status;
  inputRank = rankOfEnergy(squares, own);
  return {};
}

Status lowrank::factorizeTucker(const std::vector<float> &w, const ConvolutionShape &shape, int64_t outputRank,
                                int64_t inputRank, int sweeps, TuckerFactors &result) {
  result = {};
  if (Status status = check(w, shape); status.failed())
    return status;
  auto [o, c, e] = shape;
  if (outputRank < 1 || outputRank > o || inputRank < 1 || inputRank > c)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "ranks must be from 1 to ", o, " and ", c,
                            ", the outputs and the channels, got ", outputRank, " and ", inputRank);
  Matrix whole(w.begin(), w.end()), byChannel = exchanged(whole, o, c, e), left, right;
  std::vector<double> squares;
  if (Status status = leading(byChannel, c, o * e, inputRank, right, squares); status.failed())
    return status;
  for (int sweep = 0; sweep <= sweeps; ++sweep) {
    // right w, [q][o][e], as [o][q][e]: the outputs' vectors of it.
    Matrix narrow = exchanged(product(false, false, inputRank, o * e, c, right, byChannel), inputRank, o, e);
    if (Status status = leading(narrow, o, inputRank * e, outputRank, left, squares); status.failed())
      return status;
    if (sweep == sweeps)
      break;
    Matrix few = exchanged(product(false, false, outputRank, c * e, o, left, whole), outputRank, c, e);
    if (Status status = leading(few, c, outputRank * e, inputRank, right, squares); status.failed())
      return status;
  }
  Matrix narrow = exchanged(product(false, false, inputRank, o * e, c, right, byChannel), inputRank, o, e);
  Matrix core = product(false, false, outputRank, inputRank * e, o, left, narrow);
  double all = squareOf(whole);
  result.shape = shape;
  result.outputRank = outputRank;
  result.inputRank = inputRank;
  result.energyKept = all > 0 ? std::min(1.0, squareOf(core) / all) : 1;
  result.core = rounded(core);
  result.right = rounded(right);
  result.left.resize(static_cast<size_t>(o * outputRank));
  for (int64_t p = 0; p < outputRank; ++p)
    for (int64_t i = 0; i < o; ++i)
      result.left[i * outputRank + p] = static_cast<float>(left[p * o + i]);
  return {};
}
