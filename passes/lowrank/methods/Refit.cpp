//===- Refit.cpp - Forms fitted to a layer's outputs ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/methods/Refit.h"

#include "passes/lowrank/methods/Singular.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::lowrank;

namespace {

/// Of the mean of the equations' diagonal: what holds directions that inputs hardly have where they are.
constexpr double kDamping = 1e-3;
/// Unknowns of one system, and multiplications that make it, beyond which it takes long.
constexpr double kMostUnknowns = 4096, kMostWork = 5e10;

/// (w - w') times the second moment, [n][k].
Matrix weightedError(const Weight &w, const std::vector<float> &approximation, const Matrix &moment) {
  Matrix error(approximation.size());
  for (size_t i = 0; i < error.size(); ++i)
    error[i] = static_cast<double>(w.data[i]) - approximation[i];
  return product(false, false, w.n, w.k, w.k, error, moment);
}

double keptOf(const Weight &w, const std::vector<float> &approximation) {
  double all = 0, lost = 0;
  for (size_t i = 0; i < approximation.size(); ++i) {
    const double error = static_cast<double>(w.data[i]) - approximation[i];
    all += static_cast<double>(w.data[i]) * w.data[i];
    lost += error * error;
  }
  return all > 0 ? std::max(0.0, 1 - lost / all) : 1;
}

/// Solves (a + damping) x = b for b[n][columns], in place; a zero matrix has no solution but 0.
Status solveDamped(Matrix &a, int64_t n, Matrix &b, int64_t columns) {
  double trace = 0;
  for (int64_t i = 0; i < n; ++i)
    trace += a[i * n + i];
  if (!(trace > 0)) {
    std::fill(b.begin(), b.end(), 0.0);
    return {};
  }
  for (int64_t i = 0; i < n; ++i)
    a[i * n + i] += kDamping * trace / static_cast<double>(n);
  if (!solvePositive(a, n, b, columns))
    return runtime::failure(LATHE_EXECUTION_ERROR, "equations of ", n,
                            " unknowns can't be solved: numbers are too large");
  return {};
}

/// One core of a train of two, or the last of one of more, of which the others are one: outputs and inputs are pairs of
/// a part of the core's own and one of the rest.
struct Split {
  int64_t ownOutputs, ownInputs, restOutputs, restInputs, rank;
  bool isLast; ///< the core's own parts count least

  int64_t output(int64_t own, int64_t rest) const {
    return isLast ? rest * ownOutputs + own : own * restOutputs + rest;
  }
  int64_t input(int64_t own, int64_t rest) const { return isLast ? rest * ownInputs + own : own * restInputs + rest; }
  bool isSmall() const {
    const auto r = static_cast<double>(rank), u = static_cast<double>(ownInputs), v = static_cast<double>(restInputs);
    return r * u <= kMostUnknowns && r * v <= kMostUnknowns && r * r * u * u * v * v <= kMostWork;
  }
};

/// What the core [own outputs][rank][own inputs] changes by, beside the rest [rest outputs][rest inputs][rank].
Status solveCore(const Split &s, const Matrix &rest, const Matrix &error, const Matrix &moment, Matrix &change) {
  const int64_t r = s.rank, u = s.ownInputs, v = s.restInputs, x = s.ownOutputs, y = s.restOutputs;
  // Inputs that the rest makes of the layer's, paired: [(rest inputs, rank)] squared, as [(rank, rank)][(inputs,
  // inputs)].
  Matrix pairs = gram(rest, y, v * r, /*ofColumns=*/true), ordered(pairs.size());
  for (int64_t a = 0; a < v; ++a)
    for (int64_t i = 0; i < r; ++i)
      for (int64_t c = 0; c < v; ++c)
        for (int64_t j = 0; j < r; ++j)
          ordered[((i * r + j) * v + a) * v + c] = pairs[(a * r + i) * v * r + c * r + j];
  Matrix moments(static_cast<size_t>(v * v * u * u));
  for (int64_t a = 0; a < v; ++a)
    for (int64_t c = 0; c < v; ++c)
      for (int64_t b = 0; b < u; ++b)
        for (int64_t d = 0; d < u; ++d)
          moments[((a * v + c) * u + b) * u + d] = moment[s.input(b, a) * u * v + s.input(d, c)];
  Matrix summed = product(false, false, r * r, u * u, v * v, ordered, moments), equations(summed.size());
  for (int64_t i = 0; i < r; ++i)
    for (int64_t j = 0; j < r; ++j)
      for (int64_t b = 0; b < u; ++b)
        for (int64_t d = 0; d < u; ++d)
          equations[(i * u + b) * r * u + j * u + d] = summed[((i * r + j) * u + b) * u + d];
  Matrix gathered(static_cast<size_t>(y * v * x * u));
  for (int64_t i = 0; i < y; ++i)
    for (int64_t a = 0; a < v; ++a)
      for (int64_t j = 0; j < x; ++j)
        for (int64_t b = 0; b < u; ++b)
          gathered[((i * v + a) * x + j) * u + b] = error[s.output(j, i) * u * v + s.input(b, a)];
  Matrix sides = product(true, false, r, x * u, y * v, rest, gathered), right(sides.size());
  for (int64_t i = 0; i < r; ++i)
    for (int64_t j = 0; j < x; ++j)
      for (int64_t b = 0; b < u; ++b)
        right[(i * u + b) * x + j] = sides[(i * x + j) * u + b];
  if (Status status = solveDamped(equations, r * u, right, x); status.failed())
    return status;
  change.resize(right.size());
  for (int64_t i = 0; i < r * u; ++i)
    for (int64_t j = 0; j < x; ++j)
      change[j * r * u + i] = right[i * x + j];
  return {};
}

/// All cores of a train but the last as one, [outputs][inputs][rank]: digits of both apart.
Matrix headOf(const TensorTrain &train) {
  TensorTrain head;
  const size_t count = train.shape.cores() - 1;
  const int64_t rank = train.ranks.back();
  head.shape.n.assign(train.shape.n.begin(), train.shape.n.begin() + static_cast<int64_t>(count));
  head.shape.k.assign(train.shape.k.begin(), train.shape.k.begin() + static_cast<int64_t>(count));
  // The rank behind is one more digit of the inputs, the last.
  head.shape.n.push_back(1);
  head.shape.k.push_back(rank);
  head.ranks = train.ranks;
  head.cores.assign(train.cores.begin(), train.cores.end() - 1);
  std::vector<float> unit(static_cast<size_t>(rank * rank));
  for (int64_t i = 0; i < rank; ++i)
    unit[i * rank + i] = 1;
  head.cores.push_back(std::move(unit));
  std::vector<float> dense = head.dense();
  return Matrix(dense.begin(), dense.end());
}

/// The last core as [outputs][inputs][rank].
Matrix tailOf(const TensorTrain &train) {
  const int64_t n = train.shape.n.back(), k = train.shape.k.back(), r = train.ranks.back();
  Matrix result(train.cores.back().size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < r; ++j)
      for (int64_t b = 0; b < k; ++b)
        result[(i * k + b) * r + j] = train.cores.back()[(i * r + j) * k + b];
  return result;
}

/// The last core, and the first of two.
std::pair<Split, Split> splitsOf(const TrainShape &shape, const std::vector<int64_t> &ranks) {
  const int64_t n = shape.n.back(), k = shape.k.back(), r = ranks.back(), outputs = shape.outputs() / n,
                inputs = shape.inputs() / k;
  return {{n, k, outputs, inputs, r, true}, {outputs, inputs, n, k, r, false}};
}

} // namespace

bool lowrank::canRefit(const TrainShape &shape, const std::vector<int64_t> &ranks) {
  const auto [last, first] = splitsOf(shape, ranks);
  return last.isSmall() && (shape.cores() > 2 || first.isSmall());
}

Status lowrank::refit(const Weight &w, const InputStatistics &inputs, Circulant &circulant) {
  if (Status status = quantization::validate(inputs, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  const int64_t block = circulant.block, p = w.n / block, q = w.k / block, k = w.k;
  Matrix moment(inputs.secondMoment.begin(), inputs.secondMoment.end());
  Matrix error = weightedError(w, circulant.dense(), moment);
  // Number d of a block meets input s - d of each output s: the same equations for all outputs' blocks.
  Matrix equations(static_cast<size_t>(k * k)), right(static_cast<size_t>(k * p));
  for (int64_t s = 0; s < block; ++s) {
    const auto at = [&](int64_t index) { return index / block * block + (s - index % block + block) % block; };
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < k; ++j)
        equations[i * k + j] += moment[at(i) * k + at(j)];
    for (int64_t i = 0; i < k; ++i)
      for (int64_t o = 0; o < p; ++o)
        right[i * p + o] += error[(o * block + s) * k + at(i)];
  }
  if (Status status = solveDamped(equations, k, right, p); status.failed())
    return status;
  for (int64_t o = 0; o < p; ++o)
    for (int64_t j = 0; j < q; ++j)
      for (int64_t d = 0; d < block; ++d)
        circulant.first[(o * q + j) * block + d] += static_cast<float>(right[(j * block + d) * p + o]);
  circulant.energyKept = keptOf(w, circulant.dense());
  return {};
}

Status lowrank::refit(const Weight &w, const InputStatistics &inputs, int rounds, TensorTrain &train, bool &isDone) {
  isDone = false;
  if (Status status = quantization::validate(inputs, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  const auto [last, first] = splitsOf(train.shape, train.ranks);
  const int64_t r = last.rank;
  const bool isPair = train.shape.cores() == 2;
  if (!canRefit(train.shape, train.ranks))
    return {};
  Matrix moment(inputs.secondMoment.begin(), inputs.secondMoment.end()), change;
  for (int round = 0; round < (isPair ? rounds : 1); ++round) {
    Matrix error = weightedError(w, train.dense(), moment);
    if (Status status = solveCore(last, headOf(train), error, moment, change); status.failed())
      return status;
    for (size_t i = 0; i < change.size(); ++i)
      train.cores.back()[i] += static_cast<float>(change[i]);
    if (!isPair)
      break;
    error = weightedError(w, train.dense(), moment);
    if (Status status = solveCore(first, tailOf(train), error, moment, change); status.failed())
      return status;
    // [outputs][rank][inputs] as the first core lies, [outputs][inputs][rank].
    for (int64_t i = 0; i < first.ownOutputs; ++i)
      for (int64_t j = 0; j < r; ++j)
        for (int64_t b = 0; b < first.ownInputs; ++b)
          train.cores[0][(i * first.ownInputs + b) * r + j] +=
              static_cast<float>(change[(i * r + j) * first.ownInputs + b]);
  }
  train.energyKept = keptOf(w, train.dense());
  isDone = true;
  return {};
}
