//===- Formats.cpp - What the numbers of a compressed weight are -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/methods/Formats.h"

#include "runtime/SmallFloats.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

using namespace lathe;
using namespace lathe::quantization;

namespace {

// Quantiles of the normal distribution with an exact zero, scaled to [-1, 1].
const float kNormalFloat4[16] = {-1.0f,
                                 -0.6961928009986877f,
                                 -0.5250730514526367f,
                                 -0.39491748809814453f,
                                 -0.28444138169288635f,
                                 -0.18477343022823334f,
                                 -0.09105003625154495f,
                                 0.0f,
                                 0.07958029955625534f,
                                 0.16093020141124725f,
                                 0.24611230194568634f,
                                 0.33791524171829224f,
                                 0.44070982933044434f,
                                 0.5626170039176941f,
                                 0.7229568362236023f,
                                 1.0f};

/// The number of a small float format: sign, exponent, mantissa; without its infinities and NaN.
float smallFloat(unsigned code, int exponentBits, int mantissaBits) {
  const int bias = (1 << (exponentBits - 1)) - 1;
  const int exponent = static_cast<int>(code >> mantissaBits) & ((1 << exponentBits) - 1);
  const unsigned mantissa = code & ((1u << mantissaBits) - 1);
  const float magnitude =
      exponent == 0 ? std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissaBits)
                    : std::ldexp(static_cast<float>(mantissa + (1u << mantissaBits)), exponent - bias - mantissaBits);
  return (code >> (exponentBits + mantissaBits)) & 1 ? -magnitude : magnitude;
}

/// Rounds to `mantissaBits` after the first, ties to even, with exponents from `least` on.
float roundFloat(float value, int mantissaBits, int least, float largest) {
  if (value == 0 || std::isnan(value))
    return value;
  if (std::isinf(value))
    return std::copysign(largest, value);
  const int exponent = std::max(std::ilogb(value), least);
  const double unit = std::ldexp(1.0, exponent - mantissaBits);
  const double rounded = std::nearbyint(value / unit) * unit;
  return static_cast<float>(std::clamp<double>(rounded, -largest, largest));
}

const char *nameOf(ScaleType type) {
  switch (type) {
  case ScaleType::F32:
    return "f32";
  case ScaleType::F16:
    return "f16";
  case ScaleType::BF16:
    return "bf16";
  case ScaleType::E8M0:
    return "e8m0";
  }
  return "";
}

} // namespace

Format Format::integer(int bits, int64_t group, ZeroPoint zeroPoint, ScaleType scaleType) {
  Format format;
  format.bits = bits;
  format.group = group;
  format.zeroPoint = zeroPoint;
  format.scaleType = scaleType;
  return format;
}

Format Format::ofTable(std::vector<float> table, int64_t group, ScaleType scaleType) {
  Format format;
  format.kind = CodeKind::Table;
  format.bits = 0;
  while (format.bits < 8 && (size_t(1) << format.bits) < table.size())
    ++format.bits;
  format.group = group;
  format.scaleType = scaleType;
  format.table = std::move(table);
  return format;
}

Format Format::nf4(int64_t group, ScaleType scaleType) {
  return ofTable({std::begin(kNormalFloat4), std::end(kNormalFloat4)}, group, scaleType);
}

Format Format::fp4(int64_t group, ScaleType scaleType) {
  std::vector<float> table(16);
  for (unsigned code = 0; code < 16; ++code)
    table[code] = smallFloat(code, 2, 1);
  return ofTable(std::move(table), group, scaleType);
}

Format Format::fp8(CodeKind kind, int64_t group, ScaleType scaleType) {
  Format format;
  format.kind = kind;
  format.group = group;
  format.scaleType = scaleType;
  return format;
}

Format Format::log2(int bits, int64_t group, ScaleType scaleType) {
  Format format;
  format.kind = CodeKind::Log2;
  format.bits = bits;
  format.group = group;
  format.scaleType = scaleType;
  return format;
}

Format Format::apot(int bits, int64_t group, ScaleType scaleType) {
  if (bits < 2 || bits > 8)
    return ofTable({}, group, scaleType); // refused by validate
  const int magnitudeBits = bits - 1, terms = (magnitudeBits + 1) / 2;
  std::vector<float> table(size_t(1) << bits);
  for (size_t code = 0; code < table.size(); ++code) {
    float sum = 0;
    for (int term = 0; term < terms; ++term) {
      const int width = std::min(2, magnitudeBits - 2 * term);
      const int choice = static_cast<int>(code >> (2 * term)) & ((1 << width) - 1);
      // Term t has the powers 2^-t, 2^-(t + terms) and 2^-(t + 2 terms): no two terms share one, so no two sums agree.
      if (choice > 0)
        sum += std::ldexp(1.0f, -(term + (choice - 1) * terms));
    }
    table[code] = code >> magnitudeBits ? -sum : sum;
  }
  float largest = 0;
  for (float value : table)
    largest = std::max(largest, value);
  for (float &value : table)
    value /= largest;
  return ofTable(std::move(table), group, scaleType);
}

Format Format::mxfp4() { return fp4(32, ScaleType::E8M0); }
Format Format::mxfp8(CodeKind kind) { return fp8(kind, 32, ScaleType::E8M0); }

std::string Format::name() const {
  std::string text;
  switch (kind) {
  case CodeKind::Integer:
    text = (zeroPoint == ZeroPoint::Integer ? "uint" : "int") + std::to_string(bits);
    break;
  case CodeKind::Table:
    text = "table" + std::to_string(bits);
    break;
  case CodeKind::E4M3FN:
    text = "e4m3fn";
    break;
  case CodeKind::E5M2:
    text = "e5m2";
    break;
  case CodeKind::Log2:
    text = "log" + std::to_string(bits);
    break;
  }
  if (group > 0)
    text += " g" + std::to_string(group);
  if (zeroPoint == ZeroPoint::Float)
    text += " float zeros";
  if (scaleType != ScaleType::F32)
    text += std::string(" ") + nameOf(scaleType) + " scales";
  return text;
}

Status quantization::validate(const Format &format) {
  const auto fail = [](const auto &...parts) { return runtime::failure(LATHE_INVALID_ARGUMENT, parts...); };
  const bool fp8 = format.kind == CodeKind::E4M3FN || format.kind == CodeKind::E5M2;
  const int least = format.kind == CodeKind::Table ? 1 : 2;
  if (format.bits < least || format.bits > 8)
    return fail("a code must have ", least, " to 8 bits, got ", format.bits);
  if (fp8 && format.bits != 8)
    return fail("a code of an 8-bit float must have 8 bits, got ", format.bits);
  if (format.group < 0)
    return fail("a group must have at least 1 input, or be 0 for whole rows, got ", format.group);
  if (format.zeroPoint != ZeroPoint::None && format.kind != CodeKind::Integer)
    return fail("zero points need integer codes, got the format '", format.name(), "'");
  if (format.zeroPoint == ZeroPoint::Float && format.scaleType == ScaleType::E8M0)
    return fail("zero points that are floats need scales that are floats, got powers of two");
  if (format.kind != CodeKind::Table)
    return {};
  if (format.table.size() != static_cast<size_t>(format.levels()))
    return fail("a table of ", format.bits, "-bit codes must have ", format.levels(), " values, got ",
                format.table.size());
  float largest = 0;
  for (float value : format.table) {
    if (!std::isfinite(value))
      return fail("the values of a table must be finite, got ", value);
    largest = std::max(largest, std::abs(value));
  }
  if (largest == 0)
    return fail("a table must have a value other than 0");
  return {};
}

float quantization::log2Value(unsigned code, int bits) {
  const unsigned largest = (1u << (bits - 1)) - 1, magnitude = code & largest;
  if (magnitude == 0)
    return 0;
  const float value = std::ldexp(1.0f, static_cast<int>(magnitude) - static_cast<int>(largest));
  return code > largest ? -value : value;
}

float quantization::e4m3fnValue(unsigned code) {
  return (code & 0x7f) == 0x7f ? std::numeric_limits<float>::quiet_NaN() : runtime::e4m3Value(static_cast<uint8_t>(code));
}

float quantization::e5m2Value(unsigned code) {
  return runtime::e5m2Value(static_cast<uint8_t>(code));
}

std::vector<float> quantization::valuesOf(const Format &format) {
  if (format.kind == CodeKind::Table)
    return format.table;
  std::vector<float> values(static_cast<size_t>(format.levels()));
  for (unsigned code = 0; code < values.size(); ++code) {
    switch (format.kind) {
    case CodeKind::E4M3FN:
      values[code] = e4m3fnValue(code);
      break;
    case CodeKind::E5M2:
      values[code] = e5m2Value(code);
      break;
    case CodeKind::Log2:
      values[code] = log2Value(code, format.bits);
      break;
    default:
      values[code] = static_cast<float>(code);
    }
  }
  return values;
}

float quantization::roundTo(ScaleType type, float value) {
  switch (type) {
  case ScaleType::F32:
    return std::isinf(value) ? std::copysign(largestOf(type), value) : value;
  case ScaleType::F16:
    return roundFloat(value, 10, -14, largestOf(type));
  case ScaleType::BF16:
    return roundFloat(value, 7, -126, largestOf(type));
  case ScaleType::E8M0:
    if (!(value > 0))
      return std::ldexp(1.0f, -127);
    return std::ldexp(1.0f, std::clamp(std::isinf(value) ? 127 : std::ilogb(value), -127, 127));
  }
  return value;
}

float quantization::largestOf(ScaleType type) {
  switch (type) {
  case ScaleType::F16:
    return 65504.0f;
  case ScaleType::BF16:
    return std::ldexp(255.0f, 120);
  case ScaleType::E8M0:
    return std::ldexp(1.0f, 127);
  case ScaleType::F32:
    break;
  }
  return std::numeric_limits<float>::max();
}

int quantization::bytesOf(ScaleType type) {
  switch (type) {
  case ScaleType::F32:
    return 4;
  case ScaleType::F16:
  case ScaleType::BF16:
    return 2;
  case ScaleType::E8M0:
    break;
  }
  return 1;
}
