//===- ActivationRange.cpp - Scales of activations --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/ActivationRange.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// Ranges that RangeMethod::Mse tries, each a share of the whole one.
constexpr int kShares = 100;
/// Magnitudes that RangeMethod::Entropy tries, about.
constexpr int64_t kThresholds = 512;

} // namespace

void Histogram::grow() {
  // Bin i of the half range [-limit, limit] is in bin kBins / 4 + i / 2 of the doubled one.
  for (int64_t i = 0; i < kBins / 4; ++i)
    bins_[kBins / 4 + kBins / 4 + i] = bins_[kBins / 2 + 2 * i] + bins_[kBins / 2 + 2 * i + 1];
  for (int64_t i = kBins / 4 - 1; i >= 0; --i)
    bins_[kBins / 4 + i] = bins_[2 * i] + bins_[2 * i + 1];
  std::fill_n(bins_.begin(), kBins / 4, 0);
  std::fill_n(bins_.end() - kBins / 4, kBins / 4, 0);
  limit_ *= 2;
}

void Histogram::add(const float *x, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i)
    largest = std::max(largest, std::abs(x[i]));
  if (largest > 0 && limit_ == 0)
    limit_ = std::ldexp(1.0, std::ilogb(largest) + 1);
  while (largest >= limit_ && largest > 0)
    grow();
  const double perBin = limit_ > 0 ? kBins / (2 * limit_) : 0;
  for (int64_t i = 0; i < count; ++i) {
    if (x[i] == 0) {
      ++zeros_;
      continue;
    }
    // Limits are powers of two: this is exact but for the end of a number's digits.
    const int64_t bin = static_cast<int64_t>((x[i] + limit_) * perBin);
    ++bins_[std::clamp<int64_t>(bin, 0, kBins - 1)];
  }
  count_ += static_cast<uint64_t>(count);
}

ActivationRange quantization::rangeOf(double low, double high, const RangeOptions &options) {
  ActivationRange result;
  result.low = static_cast<float>(std::min(low, 0.0));
  result.high = static_cast<float>(std::max(high, 0.0));
  const double steps = options.symmetric ? (1 << (options.bits - 1)) - 1 : (1 << options.bits) - 1;
  const double extent = options.symmetric ? std::max(-static_cast<double>(result.low), static_cast<double>(result.high))
                                          : static_cast<double>(result.high) - result.low;
  if (extent > 0)
    result.scale = static_cast<float>(std::max<double>(extent / steps, std::numeric_limits<float>::min()));
  if (!options.symmetric)
    result.zeroPoint =
        static_cast<int32_t>(std::clamp(std::nearbyint(-result.low / result.scale), 0.0f, static_cast<float>(steps)));
  return result;
}

Status RangeObserver::observe(const float *x, int64_t count) {
  if (count <= 0)
    return {};
  float least = x[0], most = x[0];
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i]))
      return runtime::failure(LATHE_EXECUTION_ERROR, "calibration must give finite numbers, got ", x[i], " at ", i,
                              " of ", count);
    least = std::min(least, x[i]);
    most = std::max(most, x[i]);
  }
  const bool first = histogram_.count() == 0;
  least_ = first ? least : std::min(least_, least);
  most_ = first ? most : std::max(most_, most);
  averageLeast_ = first ? least : averageLeast_ + momentum_ * (least - averageLeast_);
  averageMost_ = first ? most : averageMost_ + momentum_ * (most - averageMost_);
  histogram_.add(x, count);
  return {};
}

/// Bounds that leave out the rarest numbers: at both ends alike, or, for symmetric ranges, the largest magnitudes.
void RangeObserver::percentileBounds(const RangeOptions &options, double &low, double &high) const {
  const std::vector<uint64_t> &bins = histogram_.bins();
  const double outside = (1 - options.percentile / 100) * static_cast<double>(histogram_.count());
  constexpr int64_t half = Histogram::kBins / 2;
  double seen = 0;
  if (options.symmetric) {
    // From the largest magnitude down, to where more lie outside than may.
    double bound = std::max(std::abs(low), std::abs(high));
    for (int64_t i = half - 1; i >= 0; --i) {
      const double here = static_cast<double>(bins[half + i] + bins[half - 1 - i]);
      if (seen + here > outside) {
        bound = std::min(bound, histogram_.width() * (static_cast<double>(i + 1) - (outside - seen) / here));
        break;
      }
      seen += here;
      bound = std::min(bound, histogram_.width() * static_cast<double>(i));
    }
    low = -bound;
    high = bound;
    return;
  }
  const double least = low, most = high;
  low = high = 0;
  for (int64_t i = half; i < Histogram::kBins; ++i)
    seen += static_cast<double>(bins[i]);
  const double above = seen;
  seen = 0;
  for (int64_t i = Histogram::kBins - 1; i >= half && above > outside / 2; --i) {
    const double here = static_cast<double>(bins[i]);
    if (seen + here > outside / 2) {
      high = std::min(most, histogram_.width() * (static_cast<double>(i - half + 1) - (outside / 2 - seen) / here));
      break;
    }
    seen += here;
  }
  seen = 0;
  for (int64_t i = 0; i < half; ++i) {
    const double here = static_cast<double>(bins[i]);
    if (seen + here > outside / 2) {
      low = std::max(least, -histogram_.width() * (static_cast<double>(half - i) - (outside / 2 - seen) / here));
      break;
    }
    seen += here;
  }
}

/// The magnitude at which clipping changes the distribution of magnitudes least.
double RangeObserver::entropyThreshold(int bits) const {
  constexpr int64_t half = Histogram::kBins / 2;
  const double whole = std::max(std::abs(least_), std::abs(most_));
  std::vector<double> counts(half);
  for (int64_t i = 0; i < half; ++i)
    counts[i] = static_cast<double>(histogram_.bins()[half + i] + histogram_.bins()[half - 1 - i]);
  // Zeros are coded exactly with every threshold; they are left out, as they would drown the rest.
  const int64_t used = std::min<int64_t>(half, static_cast<int64_t>(std::ceil(whole / histogram_.width())));
  const int64_t levels = int64_t(1) << (bits - 1);
  double least = std::numeric_limits<double>::infinity(), threshold = whole;
  std::vector<double> quantized(half), sums(half + 1); // sums: of the bins below
  for (int64_t i = 0; i < half; ++i)
    sums[i + 1] = sums[i] + counts[i];
  const double total = sums[half];
  const int64_t stride = std::max<int64_t>(1, used / kThresholds);
  for (int64_t end = used; end >= std::min(levels, used); end -= stride) {
    // P: what lies beyond is counted in the last bin. Q: each level's count, spread over those of its bins that P has.
    const double outside = total - sums[end];
    if (sums[end] > 0) {
      for (int64_t level = 0; level < levels; ++level) {
        const int64_t first = level * end / levels, last = (level + 1) * end / levels;
        double sum = 0;
        int64_t filled = 0;
        for (int64_t i = first; i < last; ++i) {
          sum += counts[i];
          filled += counts[i] > 0 || (i == end - 1 && outside > 0);
        }
        for (int64_t i = first; i < last; ++i) {
          const bool has = counts[i] > 0 || (i == end - 1 && outside > 0);
          quantized[i] = has ? sum / static_cast<double>(filled) : 0;
        }
      }
      double divergence = 0;
      for (int64_t i = 0; i < end; ++i) {
        const double p = (counts[i] + (i == end - 1 ? outside : 0)) / total;
        if (p == 0)
          continue;
        // A level without anything inside stands for none of what was clipped into it.
        const double q = std::max(quantized[i] / sums[end], 1e-9);
        divergence += p * std::log(p / q);
      }
      if (divergence < least) {
        least = divergence;
        threshold = std::min(whole, static_cast<double>(end) * histogram_.width());
      }
    }
  }
  return threshold;
}

double RangeObserver::meanSquaredError(const ActivationRange &range, const RangeOptions &options) const {
  const double most = options.symmetric ? (1 << (options.bits - 1)) - 1 : (1 << options.bits) - 1 - range.zeroPoint;
  const double least = options.symmetric ? -most : -range.zeroPoint;
  double sum = 0;
  for (int64_t i = 0; i < Histogram::kBins; ++i) {
    const uint64_t count = histogram_.bins()[i];
    if (count == 0)
      continue;
    const double x = histogram_.middle(i);
    const double difference = x - range.scale * std::clamp(std::nearbyint(x / range.scale), least, most);
    sum += static_cast<double>(count) * difference * difference;
  }
  return sum;
}

void RangeObserver::mseBounds(const RangeOptions &options, double &low, double &high) const {
  const double least = low, most = high;
  double best = std::numeric_limits<double>::infinity();
  const auto consider = [&](double first, double last) {
    const double error = meanSquaredError(rangeOf(first, last, options), options);
    if (error < best) {
      best = error;
      low = first;
      high = last;
    }
  };
  for (int step = 0; step < kShares; ++step) {
    const double share = 1 - static_cast<double>(step) / kShares;
    consider(share * least, share * most);
  }
  if (options.symmetric)
    return;
  // One end after the other.
  for (int step = 0; step < kShares; ++step)
    consider(low, most * (1 - static_cast<double>(step) / kShares));
  for (int step = 0; step < kShares; ++step)
    consider(least * (1 - static_cast<double>(step) / kShares), high);
}

Status RangeObserver::range(const RangeOptions &options, ActivationRange &result) const {
  result = {};
  const auto fail = [](const auto &...parts) { return runtime::failure(LATHE_INVALID_ARGUMENT, parts...); };
  if (options.bits < 2 || options.bits > 8)
    return fail("a code must have 2 to 8 bits, got ", options.bits);
  if (!(options.percentile > 50 && options.percentile <= 100))
    return fail("a percentile must be above 50 and at most 100, got ", options.percentile);
  if (!(momentum_ > 0 && momentum_ <= 1))
    return fail("the momentum of a moving average must be above 0 and at most 1, got ", momentum_);
  if (histogram_.count() == 0)
    return fail("calibration must give at least one number, got none");
  double low = std::min(least_, 0.0f), high = std::max(most_, 0.0f);
  switch (options.method) {
  case RangeMethod::MinMax:
    break;
  case RangeMethod::MovingAverage:
    low = std::min(averageLeast_, 0.0);
    high = std::max(averageMost_, 0.0);
    break;
  case RangeMethod::Percentile:
    percentileBounds(options, low, high);
    break;
  case RangeMethod::Entropy: {
    if (low == 0 && high == 0)
      break;
    const double threshold = entropyThreshold(options.bits);
    low = std::max(low, -threshold);
    high = std::min(high, threshold);
    break;
  }
  case RangeMethod::Mse:
    mseBounds(options, low, high);
    break;
  }
  result = rangeOf(low, high, options);
  return {};
}

bool Histogram::restore(double limit, uint64_t count, uint64_t zeros, const std::vector<uint64_t> &bins) {
  if (!(limit >= 0) || !std::isfinite(limit) || bins.size() != static_cast<size_t>(kBins) || zeros > count)
    return false;
  limit_ = limit;
  count_ = count;
  zeros_ = zeros;
  bins_ = bins;
  return true;
}

void RangeObserver::save(std::vector<double> &values, std::vector<uint64_t> &bins) const {
  values = {momentum_, least_, most_, averageLeast_, averageMost_, histogram_.limit()};
  bins = histogram_.bins();
  bins.push_back(histogram_.count());
  bins.push_back(histogram_.zeros());
}

bool RangeObserver::restore(const std::vector<double> &values, const std::vector<uint64_t> &bins) {
  constexpr size_t kValues = 6, kCounts = static_cast<size_t>(Histogram::kBins) + 2;
  if (values.size() != kValues || bins.size() != kCounts ||
      !histogram_.restore(values[5], bins[kCounts - 2], bins[kCounts - 1], {bins.begin(), bins.end() - 2}))
    return false;
  momentum_ = values[0];
  least_ = static_cast<float>(values[1]);
  most_ = static_cast<float>(values[2]);
  averageLeast_ = values[3];
  averageMost_ = values[4];
  return true;
}
