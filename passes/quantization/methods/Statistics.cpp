//===- Statistics.cpp - What calibration tells of an input ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Statistics.h"

#include "passes/quantization/methods/Blas.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Rows whose products are summed at once. Their sums are added in f32: with this many rows a time, a million rows
/// lose some 1e-5 of the sum.
constexpr int64_t kRows = 512;
/// Products are made in tiles of this many columns.
constexpr int64_t kTile = 256;

bool allFinite(const std::vector<float> &values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
}

} // namespace

std::vector<float> InputStatistics::meanSquare() const {
  std::vector<float> result(static_cast<size_t>(k));
  for (int64_t i = 0; i < k && hasSecondMoment(); ++i)
    result[i] = secondMoment[static_cast<size_t>(i * k + i)];
  return result;
}

Status quantization::validate(const InputStatistics &statistics, int64_t k, bool needsSecondMoment) {
  const auto fail = [](const auto &...parts) { return runtime::failure(LATHE_INVALID_ARGUMENT, parts...); };
  const size_t size = static_cast<size_t>(k);
  if (statistics.k != k || statistics.absMax.size() != size || statistics.meanAbs.size() != size ||
      statistics.mean.size() != size)
    return fail("statistics must be those of ", k, " inputs, got those of ", statistics.k);
  if (statistics.count == 0)
    return fail("statistics must be of at least one row, got none");
  if (needsSecondMoment && statistics.secondMoment.size() != size * size)
    return fail("statistics must have the second moment of ", k, " inputs, got ", statistics.secondMoment.size(),
                " numbers");
  if (!allFinite(statistics.absMax) || !allFinite(statistics.meanAbs) || !allFinite(statistics.mean))
    return fail("statistics must be finite, got a mean or a maximum that is not");
  if (!allFinite(statistics.secondMoment))
    return fail("statistics must be finite, got a second moment that is not");
  return {};
}

StatisticsAccumulator::StatisticsAccumulator(int64_t k, bool secondMoment)
    : k_(k), absMax_(static_cast<size_t>(k)), sum_(static_cast<size_t>(k)), absSum_(static_cast<size_t>(k)) {
  if (secondMoment) {
    rows_.resize(static_cast<size_t>(kRows * k));
    products_.resize(static_cast<size_t>(k * k));
  }
}

Status StatisticsAccumulator::accumulate(const float *x, int64_t rows, ThreadPool *pool) {
  for (int64_t row = 0; row < rows; ++row) {
    bool finite = true;
    for (int64_t i = 0; i < k_; ++i)
      finite &= std::abs(x[row * k_ + i]) <= std::numeric_limits<float>::max();
    if (finite)
      continue;
    const float *begin = x + row * k_;
    const int64_t at = std::find_if(begin, begin + k_, [](float value) { return !std::isfinite(value); }) - begin;
    return runtime::failure(LATHE_EXECUTION_ERROR, "calibration must give finite numbers, got ", begin[at],
                            " for input ", at, " in row ", count_ + static_cast<uint64_t>(row));
  }
  for (int64_t row = 0; row < rows; ++row) {
    const float *values = x + row * k_;
    for (int64_t i = 0; i < k_; ++i) {
      const float magnitude = std::abs(values[i]);
      absMax_[i] = std::max(absMax_[i], magnitude);
      sum_[i] += values[i];
      absSum_[i] += magnitude;
    }
    if (!rows_.empty()) {
      std::copy_n(values, k_, rows_.begin() + waiting_ * k_);
      if (++waiting_ == kRows)
        flush(pool);
    }
  }
  count_ += static_cast<uint64_t>(rows);
  return {};
}

void StatisticsAccumulator::flush(ThreadPool *pool) {
  const int64_t tiles = (k_ + kTile - 1) / kTile;
  parallelFor(pool, tiles * tiles, [&](int64_t tile) {
    const int64_t i = tile / tiles * kTile, j = tile % tiles * kTile;
    if (j >= i)
      gemm(true, false, std::min(kTile, k_ - i), std::min(kTile, k_ - j), waiting_, 1, rows_.data() + i, k_,
           rows_.data() + j, k_, 1, products_.data() + i * k_ + j, k_);
  });
  waiting_ = 0;
}

Status StatisticsAccumulator::finish(InputStatistics &result, ThreadPool *pool) {
  result = {};
  if (count_ == 0)
    return runtime::failure(LATHE_INVALID_ARGUMENT, "calibration must give at least one row, got none");
  if (waiting_ > 0)
    flush(pool);
  result.k = k_;
  result.count = count_;
  result.absMax = absMax_;
  const double share = 1.0 / static_cast<double>(count_);
  for (int64_t i = 0; i < k_; ++i) {
    result.mean.push_back(static_cast<float>(sum_[i] * share));
    result.meanAbs.push_back(static_cast<float>(absSum_[i] * share));
  }
  result.secondMoment.resize(products_.size());
  if (products_.empty())
    return {};
  for (int64_t i = 0; i < k_; ++i)
    for (int64_t j = i; j < k_; ++j) {
      const float value = static_cast<float>(products_[i * k_ + j] * share);
      result.secondMoment[i * k_ + j] = result.secondMoment[j * k_ + i] = value;
      if (!std::isfinite(value))
        return runtime::failure(LATHE_EXECUTION_ERROR, "inputs are too large for their second moment, up to ",
                                std::max(absMax_[i], absMax_[j]));
    }
  return {};
}
