//===- Formats.h - What the numbers of a compressed weight are --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_FORMATS_H
#define LATHE_PASSES_QUANTIZATION_METHODS_FORMATS_H

#include "runtime/Status.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::quantization {

using runtime::Status;

/// The type that scales, and zero points that are floats, are stored in. E8M0: powers of two from 2^-127 to 2^127.
enum class ScaleType { F32, F16, BF16, E8M0 };

enum class CodeKind {
  Integer, ///< value(code) = code
  Table,   ///< value(code) = table[code]
  E4M3FN,  ///< value(code) = the number of these 8 bits (OCP 8-bit floating point specification); largest 448
  E5M2,    ///< largest 57344
  Log2,    ///< a sign and a power of two: log2Value
};

/// Where value 0 of integer codes lies.
enum class ZeroPoint {
  None,    ///< symmetric: the same zero for the whole weight, 2^(bits-1)
  Integer, ///< a code for each group
  Float,   ///< a float of the scale's type for each group
};

/// How a weight W[n outputs][k inputs] is stored: w = scale * (value(code) - zero), with one scale, and one zero point
/// where there are any, for each output and each `group` neighbouring inputs; the last group may be shorter.
struct Format {
  CodeKind kind = CodeKind::Integer;
  int bits = 8;      ///< of a code, 1 to 8
  int64_t group = 0; ///< inputs that share a scale; 0: all of a row
  ZeroPoint zeroPoint = ZeroPoint::None;
  ScaleType scaleType = ScaleType::F32;
  /// Symmetric integers use the codes of -(2^(bits-1)-1) … 2^(bits-1)-1 only, so that the levels lie evenly about 0.
  /// Without it, the code of -2^(bits-1) is used too, and the scale's sign says at which side it lies.
  bool narrow = true;
  std::vector<float> table; ///< of CodeKind::Table: 2^bits numbers, in any order

  static Format integer(int bits, int64_t group = 0, ZeroPoint zeroPoint = ZeroPoint::None,
                        ScaleType scaleType = ScaleType::F32);
  static Format ofTable(std::vector<float> table, int64_t group, ScaleType scaleType = ScaleType::F32);
  /// NormalFloat: quantiles of the normal distribution (Dettmers et al. 2023, "QLoRA", section 3).
  static Format nf4(int64_t group = 64, ScaleType scaleType = ScaleType::F32);
  /// E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, in the order of their bits.
  static Format fp4(int64_t group = 32, ScaleType scaleType = ScaleType::F32);
  /// `kind`: E4M3FN or E5M2.
  static Format fp8(CodeKind kind, int64_t group = 0, ScaleType scaleType = ScaleType::F32);
  static Format log2(int bits, int64_t group = 0, ScaleType scaleType = ScaleType::F32);
  /// Sums of powers of two (Li et al. 2020, "Additive Powers-of-Two Quantization", section 2.2): each two bits of a
  /// code's magnitude choose one of 0 and three powers, which belong to these bits alone.
  static Format apot(int bits, int64_t group = 0, ScaleType scaleType = ScaleType::F32);
  /// OCP Microscaling formats: blocks of 32 with a scale of eight bits.
  static Format mxfp4();
  static Format mxfp8(CodeKind kind = CodeKind::E4M3FN);

  /// Codes of the format.
  int64_t levels() const { return int64_t(1) << bits; }
  /// Groups of a row of `k` inputs.
  int64_t groups(int64_t k) const { return group <= 0 || group >= k ? (k > 0) : (k + group - 1) / group; }
  /// Inputs of a whole group.
  int64_t groupSize(int64_t k) const { return group <= 0 || group >= k ? k : group; }
  /// The zero of weights without zero points.
  float fixedZero() const { return kind == CodeKind::Integer ? static_cast<float>(levels() / 2) : 0.0f; }
  /// Such as "int4 g32", "nf4 g64 f16 scales".
  std::string name() const;
};

/// Fails with what was expected and found where no weight can be stored so.
Status validate(const Format &format);

/// value(code) of all codes, in the order of the codes; NaN and infinities where a float format has them.
std::vector<float> valuesOf(const Format &format);

/// The uppermost of the `bits` is the sign; the others, m, stand for 2^(m - (2^(bits-1) - 1)), 0 for zero: the largest
/// value is 1.
float log2Value(unsigned code, int bits);
float e4m3fnValue(unsigned code);
float e5m2Value(unsigned code);

/// The nearest number of that type, ties to even; beyond the largest one, that one. E8M0: the power of two below
/// (the positive value is expected).
float roundTo(ScaleType type, float value);
/// Largest finite number of the type.
float largestOf(ScaleType type);
/// Bytes of one number of the type.
int bytesOf(ScaleType type);

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_FORMATS_H
