//===- ActivationRange.h - Scales of activations ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_ACTIVATIONRANGE_H
#define LATHE_PASSES_QUANTIZATION_METHODS_ACTIVATIONRANGE_H

#include "runtime/Status.h"

#include <cstdint>
#include <vector>

namespace lathe::quantization {

using runtime::Status;

/// Counts of numbers in equal bins over [-limit, limit], in memory that does not grow: a number beyond the limit
/// doubles it, and pairs of bins become one, which loses nothing but resolution.
class Histogram {
public:
  static constexpr int64_t kBins = 8192;

  /// Numbers must be finite.
  void add(const float *x, int64_t count);

  uint64_t count() const { return count_; }
  double width() const { return 2 * limit_ / kBins; }
  /// Middle of a bin.
  double middle(int64_t bin) const { return (static_cast<double>(bin) + 0.5) * width() - limit_; }
  double limit() const { return limit_; }
  const std::vector<uint64_t> &bins() const { return bins_; }
  /// Numbers that are exactly 0; they are in no bin.
  uint64_t zeros() const { return zeros_; }
  /// As it was when it had these; false where they are no histogram's.
  bool restore(double limit, uint64_t count, uint64_t zeros, const std::vector<uint64_t> &bins);

private:
  void grow();

  std::vector<uint64_t> bins_ = std::vector<uint64_t>(kBins);
  double limit_ = 0;
  uint64_t count_ = 0, zeros_ = 0;
};

enum class RangeMethod {
  MinMax,        ///< all numbers seen
  MovingAverage, ///< averages of each batch's least and largest number, later ones counting more
  Percentile,    ///< all but the rarest ones
  /// The clipping with the least Kullback-Leibler divergence between the distributions of magnitudes before and after
  /// (Migacz 2017, "8-bit Inference with TensorRT", the calibrator's algorithm); ranges that are not symmetric are cut
  /// to the magnitude found.
  Entropy,
  Mse, ///< the least mean squared error
};

struct RangeOptions {
  RangeMethod method = RangeMethod::MinMax;
  double percentile = 99.99; ///< share of the numbers that RangeMethod::Percentile keeps, above 50, at most 100
  bool symmetric = true;
  int bits = 8; ///< of the codes, 2 to 8
};

/// x is coded as clamp(round(x / scale) + zeroPoint). Symmetric: signed codes, -(2^(bits-1)-1) … 2^(bits-1)-1, and a
/// zero point of 0. Otherwise: codes 0 … 2^bits-1.
struct ActivationRange {
  float low = 0;  ///< at most 0
  float high = 0; ///< at least 0
  float scale = 1;
  int32_t zeroPoint = 0;
};

/// Watches an activation over calibration, in memory that does not grow, for all methods at once.
class RangeObserver {
public:
  /// `momentum`: how much of the moving average each batch replaces, above 0, at most 1.
  explicit RangeObserver(double momentum = 0.01) : momentum_(momentum) {}

  /// One batch. Fails, with the place, at a number that is not finite; then nothing of the batch is counted.
  Status observe(const float *x, int64_t count);

  uint64_t count() const { return histogram_.count(); }
  float least() const { return least_; }
  float most() const { return most_; }
  /// Fails where nothing was observed, or where options are out of range.
  Status range(const RangeOptions &options, ActivationRange &result) const;

  /// All that it knows, for restore() of another one, which is as this one then. restore() gives false for anything
  /// else.
  void save(std::vector<double> &values, std::vector<uint64_t> &bins) const;
  bool restore(const std::vector<double> &values, const std::vector<uint64_t> &bins);

private:
  void percentileBounds(const RangeOptions &options, double &low, double &high) const;
  double entropyThreshold(int bits) const;
  void mseBounds(const RangeOptions &options, double &low, double &high) const;
  double meanSquaredError(const ActivationRange &range, const RangeOptions &options) const;

  Histogram histogram_;
  double momentum_;
  float least_ = 0, most_ = 0;
  double averageLeast_ = 0, averageMost_ = 0;
};

/// Scale and zero point for numbers from `low` to `high` (0 joins them); symmetric ones for the larger magnitude.
ActivationRange rangeOf(double low, double high, const RangeOptions &options);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_ACTIVATIONRANGE_H
