//===- GroupCoder.cpp - Scale, zero point and codes of a group --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/GroupCoder.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::quantization;

namespace {

/// To the nearest integer, ties to even, for |v| < 2^22: adding 1.5 * 2^23 leaves no bit for a fraction. A call of the
/// library's function would keep loops from being vectorized.
float roundInteger(float v) { return (v + 12582912.0f) - 12582912.0f; }

/// Numbers that are worked on at once: their coded values are kept on the stack.
constexpr int64_t kChunk = 256;

/// The smallest scale that a kernel which takes subnormal numbers for zero still sees.
float smallestOf(ScaleType type) {
  return type == ScaleType::F16 ? std::ldexp(1.0f, -24) : std::numeric_limits<float>::min();
}

struct Bounds {
  float low = 0, high = 0;   ///< of the numbers and 0
  float least = 0, most = 0; ///< of the numbers
};

Bounds boundsOf(const float *x, int64_t count) {
  Bounds bounds;
  if (count == 0)
    return bounds;
  bounds.least = bounds.most = x[0];
  for (int64_t i = 0; i < count; ++i) {
    bounds.least = std::min(bounds.least, x[i]);
    bounds.most = std::max(bounds.most, x[i]);
  }
  bounds.low = std::min(bounds.least, 0.0f);
  bounds.high = std::max(bounds.most, 0.0f);
  return bounds;
}

} // namespace

GroupCoder::GroupCoder(const Format &format) : format_(format), values_(valuesOf(format)) {
  if (format.kind == CodeKind::Integer) {
    const float half = static_cast<float>(format.levels() / 2);
    high_ = static_cast<float>(format.levels() - 1);
    low_ = format.zeroPoint == ZeroPoint::None && format.narrow ? 1.0f : 0.0f;
    reach_ = format.zeroPoint != ZeroPoint::None ? high_ / 2 : format.narrow ? half - 1 : half;
    return;
  }
  // Sorted, without infinities, and without values that an earlier code stands for already (such as -0).
  std::vector<uint8_t> codes;
  for (size_t code = 0; code < values_.size(); ++code)
    if (std::isfinite(values_[code]))
      codes.push_back(static_cast<uint8_t>(code));
  std::sort(codes.begin(), codes.end(),
            [&](uint8_t a, uint8_t b) { return values_[a] != values_[b] ? values_[a] < values_[b] : a < b; });
  hasZero_ = false;
  reach_ = 0;
  for (uint8_t code : codes) {
    if (order_.empty() || values_[order_.back()] < values_[code])
      order_.push_back(code);
    hasZero_ |= values_[code] == 0;
    reach_ = std::max(reach_, std::abs(values_[code]));
  }
  for (size_t i = 1; i < order_.size(); ++i) {
    const double middle = (static_cast<double>(values_[order_[i - 1]]) + values_[order_[i]]) / 2;
    float bound = static_cast<float>(middle);
    // The middle itself goes to the even code, as floats round; and a bound above the middle would pull numbers down.
    const bool tieUp = bound == middle && (order_[i] & 1) == 0 && (order_[i - 1] & 1) == 1;
    if (bound > middle || tieUp)
      bound = std::nextafter(bound, -std::numeric_limits<float>::infinity());
    bounds_.push_back(bound);
  }
}

float GroupCoder::scaleOf(double scale) const {
  const float least = smallestOf(format_.scaleType);
  const double largest = largestOf(format_.scaleType);
  const float rounded = roundTo(format_.scaleType, static_cast<float>(std::clamp(scale, -largest, largest)));
  return std::abs(rounded) >= least ? rounded : std::copysign(least, rounded);
}

/// The integer format's scale and zero point for which the codes reach from `low` to `high`.
GroupParameters GroupCoder::ofBounds(double low, double high) const {
  GroupParameters result;
  result.scale = scaleOf((high - low) / high_);
  const double zero = -low / result.scale;
  if (format_.zeroPoint == ZeroPoint::Float)
    result.zero = roundTo(format_.scaleType, static_cast<float>(zero));
  else
    result.zero = static_cast<float>(std::clamp<double>(std::nearbyint(zero), 0, high_));
  return result;
}

GroupParameters GroupCoder::fitRange(const float *x, int64_t count) const {
  const Bounds bounds = boundsOf(x, count);
  if (bounds.low == 0 && bounds.high == 0) {
    // Any scale gives 0; of values that are none, only a scale of 0 does, where the type has it.
    const bool vanishes = !hasZero_ && format_.scaleType != ScaleType::E8M0;
    const float scale = vanishes ? 0.0f : hasZero_ ? 1.0f : smallestOf(format_.scaleType);
    return {scale, format_.zeroPoint == ZeroPoint::None ? format_.fixedZero() : 0.0f};
  }
  if (format_.zeroPoint == ZeroPoint::Integer)
    return ofBounds(bounds.low, bounds.high);
  if (format_.zeroPoint == ZeroPoint::Float) {
    const GroupParameters around = ofBounds(bounds.low, bounds.high);
    if (bounds.least == bounds.low && bounds.most == bounds.high)
      return around;
    // Numbers of one sign: a range without 0 is smaller, but its zero point may be too large for its type.
    GroupParameters apart = ofBounds(bounds.least, bounds.most);
    if (bounds.least == bounds.most)
      apart = {scaleOf(std::abs(bounds.least)), bounds.least > 0 ? -1.0f : 1.0f};
    return error(x, nullptr, count, apart) < error(x, nullptr, count, around) ? apart : around;
  }
  const float largest = std::max(-bounds.low, bounds.high);
  GroupParameters result{1, format_.fixedZero()};
  if (format_.scaleType == ScaleType::E8M0) {
    // As the OCP Microscaling specification, section 6.3: exponents of the largest number and of the largest value.
    result.scale = scaleOf(std::ldexp(1.0, std::ilogb(largest) - std::ilogb(reach_)));
    return result;
  }
  result.scale = scaleOf(static_cast<double>(largest) / reach_);
  // The side with one level more is that of the largest number.
  if (format_.kind == CodeKind::Integer && !format_.narrow && bounds.high > -bounds.low)
    result.scale = -result.scale;
  return result;
}

/// `whole`, which reaches from `low` to `high`, for a share of this range.
GroupParameters GroupCoder::shrink(GroupParameters whole, double low, double high, double share) const {
  if (share == 1 || (low == 0 && high == 0))
    return whole;
  if (format_.zeroPoint != ZeroPoint::None)
    return ofBounds(share * low, share * high);
  return {scaleOf(share * whole.scale), whole.zero};
}

GroupParameters GroupCoder::fitShare(const float *x, int64_t count, double share) const {
  const Bounds bounds = boundsOf(x, count);
  return shrink(fitRange(x, count), bounds.low, bounds.high, share);
}

unsigned GroupCoder::nearest(float v) const {
  if (bounds_.size() < 32) {
    unsigned index = 0;
    for (float bound : bounds_)
      index += v > bound;
    return index;
  }
  return static_cast<unsigned>(std::lower_bound(bounds_.begin(), bounds_.end(), v) - bounds_.begin());
}

void GroupCoder::encode(const float *x, int64_t count, GroupParameters parameters, uint8_t *codes,
                        float *values) const {
  const float scale = parameters.scale, zero = parameters.zero;
  if (format_.kind != CodeKind::Integer) {
    for (int64_t i = 0; i < count; ++i) {
      const uint8_t code = order_[nearest(scale == 0 ? 0.0f : x[i] / scale)];
      if (codes)
        codes[i] = code;
      if (values)
        values[i] = scale * values_[code];
    }
    return;
  }
  // Integer zero points are added after rounding, so that they do not change which way ties go.
  const bool before = format_.zeroPoint == ZeroPoint::Float;
  const float first = before ? zero : 0.0f, last = before ? 0.0f : zero;
  const float low = low_ - last, high = high_ - last;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    float rounded[kChunk];
    const int64_t size = std::min(kChunk, count - begin);
    for (int64_t i = 0; i < size; ++i)
      rounded[i] = roundInteger(std::min(std::max(x[begin + i] / scale + first, low), high)) + last;
    if (values)
      for (int64_t i = 0; i < size; ++i)
        values[begin + i] = scale * (rounded[i] - zero);
    if (codes)
      for (int64_t i = 0; i < size; ++i)
        codes[begin + i] = static_cast<uint8_t>(static_cast<int>(rounded[i]));
  }
}

void GroupCoder::encodeEach(const float *x, int64_t count, const float *scales, const float *zeros, uint8_t *codes,
                            float *values) const {
  if (format_.kind != CodeKind::Integer) {
    for (int64_t i = 0; i < count; ++i) {
      codes[i] = order_[nearest(scales[i] == 0 ? 0.0f : x[i] / scales[i])];
      values[i] = scales[i] * values_[codes[i]];
    }
    return;
  }
  const float before = format_.zeroPoint == ZeroPoint::Float ? 1.0f : 0.0f, after = 1.0f - before;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    float rounded[kChunk];
    const int64_t size = std::min(kChunk, count - begin);
    for (int64_t i = 0; i < size; ++i) {
      const float zero = zeros[begin + i], first = zero * before, last = zero * after;
      const float v = std::min(std::max(x[begin + i] / scales[begin + i] + first, low_ - last), high_ - last);
      rounded[i] = roundInteger(v) + last;
    }
    for (int64_t i = 0; i < size; ++i)
      values[begin + i] = scales[begin + i] * (rounded[i] - zeros[begin + i]);
    for (int64_t i = 0; i < size; ++i)
      codes[begin + i] = static_cast<uint8_t>(static_cast<int>(rounded[i]));
  }
}

double GroupCoder::error(const float *x, const float *importance, int64_t count, GroupParameters parameters) const {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    float values[kChunk];
    const int64_t size = std::min(kChunk, count - begin);
    encode(x + begin, size, parameters, nullptr, values);
    // Several sums, which a compiler may keep in one vector.
    double sums[4] = {0, 0, 0, 0};
    for (int64_t i = 0; i < size; ++i) {
      const double difference = static_cast<double>(x[begin + i]) - values[i];
      sums[i & 3] += (importance ? importance[begin + i] : 1.0f) * difference * difference;
    }
    total += (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  return total;
}

void GroupCoder::consider(const float *x, const float *importance, int64_t count, GroupParameters parameters,
                          Candidate &best) const {
  const double found = error(x, importance, count, parameters);
  if (found < best.error)
    best = {parameters, found};
}

/// Scale (and float zero point) by least squares for the codes of `best`; whether the error fell.
bool GroupCoder::refine(const float *x, const float *importance, int64_t count, Candidate &best) const {
  const bool affine = format_.zeroPoint == ZeroPoint::Float;
  double h1 = 0, hv = 0, hvv = 0, hx = 0, hxv = 0;
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    uint8_t codes[kChunk];
    const int64_t size = std::min(kChunk, count - begin);
    encode(x + begin, size, best.parameters, codes, nullptr);
    for (int64_t i = 0; i < size; ++i) {
      const double h = importance ? importance[begin + i] : 1.0;
      const double v = static_cast<double>(values_[codes[i]]) - (affine ? 0.0 : best.parameters.zero);
      h1 += h;
      hv += h * v;
      hvv += h * v * v;
      hx += h * x[begin + i];
      hxv += h * v * x[begin + i];
    }
  }
  GroupParameters next = best.parameters;
  if (affine) {
    const double determinant = h1 * hvv - hv * hv;
    if (!(determinant > 1e-12 * h1 * hvv))
      return false;
    const double scale = (h1 * hxv - hv * hx) / determinant, offset = (hx - scale * hv) / h1;
    if (scale == 0)
      return false;
    next.scale = scaleOf(scale);
    next.zero = roundTo(format_.scaleType, static_cast<float>(-offset / next.scale));
  } else {
    if (!(hvv > 0) || hxv == 0)
      return false;
    next.scale = scaleOf(hxv / hvv);
  }
  const double before = best.error;
  consider(x, importance, count, next, best);
  return best.error < before;
}

GroupParameters GroupCoder::search(const float *x, const float *importance, int64_t count,
                                   const FitOptions &options) const {
  const GroupParameters whole = fitRange(x, count);
  Candidate best;
  consider(x, importance, count, whole, best);
  if (best.error == 0)
    return best.parameters;
  if (format_.scaleType == ScaleType::E8M0) {
    for (int step : {1, -1, -2, -3}) {
      GroupParameters next = whole;
      next.scale = scaleOf(std::ldexp(static_cast<double>(whole.scale), step));
      if (format_.zeroPoint == ZeroPoint::Integer)
        next.zero = std::clamp(roundInteger(std::ldexp(whole.zero, -step)), 0.0f, high_);
      consider(x, importance, count, next, best);
    }
    return best.parameters;
  }
  const Bounds bounds = boundsOf(x, count);
  const bool flips = format_.kind == CodeKind::Integer && format_.zeroPoint == ZeroPoint::None && !format_.narrow;
  for (int step = 0; step < options.steps; ++step) {
    const double share = 1 - (1 - options.smallest) * step / std::max(1, options.steps - 1);
    const GroupParameters next = shrink(whole, bounds.low, bounds.high, share);
    consider(x, importance, count, next, best);
    if (flips)
      consider(x, importance, count, {-next.scale, next.zero}, best);
  }
  if (format_.zeroPoint == ZeroPoint::Integer) {
    const GroupParameters middle = best.parameters;
    for (float step : {-1.0f, 1.0f})
      consider(x, importance, count, {middle.scale, std::clamp(middle.zero + step, 0.0f, high_)}, best);
  }
  for (int round = 0; round < options.refinements && refine(x, importance, count, best); ++round) {
  }
  return best.parameters;
}

GroupParameters GroupCoder::fit(const float *x, const float *importance, int64_t count,
                                const FitOptions &options) const {
  return options.search ? search(x, importance, count, options) : fitRange(x, count);
}
