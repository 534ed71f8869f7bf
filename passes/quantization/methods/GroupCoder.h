//===- GroupCoder.h - Scale, zero point and codes of a group ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_GROUPCODER_H
#define LATHE_PASSES_QUANTIZATION_METHODS_GROUPCODER_H

#include "passes/quantization/methods/Formats.h"

#include <limits>

namespace lathe::quantization {

/// How the scale and the zero point of a group are chosen.
struct FitOptions {
  /// Without it: the least range that holds all of the group's weights. With it: the range, among that one and
  /// smaller ones that clip, with the least squared error; then scale (and float zero point) by least squares for the
  /// codes at hand, and codes for that scale, as long as the error falls.
  bool search = false;
  int steps = 36;        ///< ranges that are tried
  double smallest = 0.3; ///< the smallest of them, as a share of the whole range
  int refinements = 4;   ///< rounds of least squares
};

/// Scale and zero point of a group: w = scale * (value(code) - zero).
struct GroupParameters {
  float scale = 1;
  float zero = 0;
};

/// Chooses scale, zero point and codes of groups of weights, in any format. Weights must be finite. Used by any number
/// of threads at a time.
class GroupCoder {
public:
  /// `format` must be valid.
  explicit GroupCoder(const Format &format);

  const Format &format() const { return format_; }
  /// The largest |w| that a scale of 1 reaches.
  float reach() const { return reach_; }

  /// `importance`: a weight of each squared error, not negative, or null; used by searches only.
  GroupParameters fit(const float *x, const float *importance, int64_t count, const FitOptions &options) const;

  /// Scale and zero point for `share` (above 0, at most 1) of the least range that holds all of x[count].
  GroupParameters fitShare(const float *x, int64_t count, double share) const;

  /// The nearest codes of x[count], and what they stand for in `values`; either may be null.
  void encode(const float *x, int64_t count, GroupParameters parameters, uint8_t *codes, float *values) const;
  /// The same for numbers of `count` different groups.
  void encodeEach(const float *x, int64_t count, const float *scales, const float *zeros, uint8_t *codes,
                  float *values) const;

  /// Sum of importance * (x - its coded value)^2.
  double error(const float *x, const float *importance, int64_t count, GroupParameters parameters) const;

private:
  struct Candidate {
    GroupParameters parameters;
    double error = std::numeric_limits<double>::infinity();
  };

  float scaleOf(double scale) const;
  GroupParameters fitRange(const float *x, int64_t count) const;
  GroupParameters shrink(GroupParameters whole, double low, double high, double share) const;
  GroupParameters ofBounds(double low, double high) const;
  void consider(const float *x, const float *importance, int64_t count, GroupParameters parameters,
                Candidate &best) const;
  GroupParameters search(const float *x, const float *importance, int64_t count, const FitOptions &options) const;
  bool refine(const float *x, const float *importance, int64_t count, Candidate &best) const;
  unsigned nearest(float v) const;

  Format format_;
  float reach_ = 1;
  bool hasZero_ = true;        ///< some code stands for exactly 0
  float low_ = 0, high_ = 0;   ///< least and largest integer code
  std::vector<float> values_;  ///< of all codes
  std::vector<float> bounds_;  ///< between the sorted values: a number above bounds_[i] is nearer to value i + 1
  std::vector<uint8_t> order_; ///< codes of the sorted values
};

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_GROUPCODER_H
