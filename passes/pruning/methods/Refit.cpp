//===- Refit.cpp - The best values of what stays ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/methods/Refit.h"

#include "passes/quantization/methods/Blas.h"
#include "passes/quantization/methods/Parallel.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::pruning;
using namespace lathe::quantization;

namespace {

/// Outputs that are worked on together.
constexpr int64_t kRows = 64;

/// What conjugate gradients keep of an output.
struct RowState {
  double product = 0; ///< of the residual and the preconditioned one
  double first = 0;   ///< as it was in the beginning
  bool isDone = false;
};

double dot(const float *a, const float *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

class RowBlock {
public:
  RowBlock(const Weight &w, const InputStatistics &statistics, const std::vector<float> &diagonal, float damping,
           int64_t begin, float *values)
      : k_(w.k), rows_(std::min(kRows, w.n - begin)), w_(w.data + begin * w.k), h_(statistics.secondMoment.data()),
        diagonal_(diagonal), damping_(damping), values_(values + begin * w.k),
        residual_(static_cast<size_t>(rows_ * w.k)), direction_(residual_.size()), product_(residual_.size()),
        states_(static_cast<size_t>(rows_)) {}

  void run(int steps) {
    // The residual is (w - values) (H + damping) where a weight stays, and 0 elsewhere.
    for (size_t i = 0; i < direction_.size(); ++i)
      direction_[i] = w_[i] - values_[i];
    multiply();
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t i = row * k_; i < (row + 1) * k_; ++i)
        residual_[i] = values_[i] == 0 ? 0.0f : product_[i];
      states_[row].product = states_[row].first = precondition(row, nullptr);
      states_[row].isDone = !(states_[row].product > 0);
    }
    // Which weights stay is told by their values, which a step may bring to zero: so it is kept apart.
    kept_.resize(residual_.size());
    for (size_t i = 0; i < kept_.size(); ++i)
      kept_[i] = values_[i] != 0;
    for (int step = 0; step < steps; ++step) {
      multiply();
      for (int64_t row = 0; row < rows_; ++row)
        advance(row);
    }
  }

private:
  /// product = direction (H + damping).
  void multiply() {
    gemm(false, false, rows_, k_, k_, 1, direction_.data(), k_, h_, k_, 0, product_.data(), k_);
    for (size_t i = 0; i < product_.size(); ++i)
      product_[i] += damping_ * direction_[i];
  }

  /// The next direction of a row: the preconditioned residual, and `share` of the last direction. Returns the product
  /// of the residual with the preconditioned one.
  double precondition(int64_t row, const RowState *last) {
    double product = 0;
    const float *residual = residual_.data() + row * k_;
    for (int64_t i = 0; i < k_; ++i)
      product += static_cast<double>(residual[i]) * residual[i] / diagonal_[i];
    const float share = last && last->product > 0 ? static_cast<float>(product / last->product) : 0.0f;
    float *direction = direction_.data() + row * k_;
    for (int64_t i = 0; i < k_; ++i)
      direction[i] = residual[i] / diagonal_[i] + share * (last ? direction[i] : 0.0f);
    return product;
  }

  void advance(int64_t row) {
    RowState &state = states_[row];
    const float *direction = direction_.data() + row * k_, *product = product_.data() + row * k_;
    const double curvature = dot(direction, product, k_);
    if (state.isDone || !(curvature > 0)) {
      state.isDone = true;
      return;
    }
    const auto size = static_cast<float>(state.product / curvature);
    float *values = values_ + row * k_, *residual = residual_.data() + row * k_;
    const uint8_t *kept = kept_.data() + row * k_;
    for (int64_t i = 0; i < k_; ++i) {
      values[i] += size * direction[i];
      residual[i] = kept[i] ? residual[i] - size * product[i] : 0.0f;
    }
    state.product = precondition(row, &state);
    // What is less is lost in the rounding of the sums.
    state.isDone = !(state.product > 1e-12 * state.first);
  }

  int64_t k_, rows_;
  const float *w_, *h_;
  const std::vector<float> &diagonal_;
  float damping_;
  float *values_;
  std::vector<float> residual_, direction_, product_;
  std::vector<uint8_t> kept_;
  std::vector<RowState> states_;
};

} // namespace

Status pruning::refitKept(const Weight &w, const InputStatistics &statistics, double damping, int steps,
                          ThreadPool *pool, std::vector<float> &values) {
  if (Status status = validate(statistics, w.k, /*needsSecondMoment=*/true); status.failed())
    return status;
  if (steps < 0 || !(damping >= 0) || damping > 1e6)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "steps and damping, up to 1e6, must not be negative, got ", steps,
                            " and ", damping);
  if (static_cast<int64_t>(values.size()) != w.n * w.k)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "values must be those of a weight of ", w.n, "x", w.k, ", got ",
                            values.size());
  std::vector<float> diagonal = statistics.meanSquare();
  double mean = 0;
  for (float value : diagonal)
    mean += value;
  mean /= static_cast<double>(std::max<int64_t>(w.k, 1));
  if (!(mean > 0) || steps == 0)
    return {};
  const auto added = static_cast<float>(damping * mean);
  for (float &value : diagonal)
    value = std::max(value + added, static_cast<float>(1e-12 * mean));
  parallelFor(pool, (w.n + kRows - 1) / kRows, [&](int64_t block) {
    RowBlock(w, statistics, diagonal, added, block * kRows, values.data()).run(steps);
  });
  return {};
}
