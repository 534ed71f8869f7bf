//===- SmallFloats.cpp - Floats of 16 and 8 bits --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/SmallFloats.h"

#include <cstring>

namespace {
float fromBits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

uint32_t bitsOf(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
} // namespace

float lathe::runtime::halfValue(uint16_t bits) {
  uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, rest = bits & 0x7fff;
  if (rest >= 0x7c00)
    return fromBits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  // Subnormal numbers too become right as the difference of two normal ones.
  float magnitude = rest < 0x400 ? fromBits(0x38800000 + (rest << 13)) - 0x1p-14f : fromBits((rest << 13) + 0x38000000);
  return fromBits(sign | bitsOf(magnitude));
}

uint16_t lathe::runtime::toHalf(float value) {
  uint32_t bits = bitsOf(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  if (rest > 0x7f800000)
    return static_cast<uint16_t>(sign | 0x7e00);
  if (rest >= 0x477ff000)
    return static_cast<uint16_t>(sign | 0x7c00);
  if (rest < 0x38800000) // subnormal: the sum rounds
    return static_cast<uint16_t>(sign | (bitsOf(fromBits(rest) + 0.5f) - 0x3f000000));
  return static_cast<uint16_t>(sign | ((rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13));
}

float lathe::runtime::bfloatValue(uint16_t bits) { return fromBits(static_cast<uint32_t>(bits) << 16); }

uint16_t lathe::runtime::toBfloat(float value) {
  uint32_t bits = bitsOf(value);
  if (value != value)
    return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float lathe::runtime::e5m2Value(uint8_t code) { return halfValue(static_cast<uint16_t>(code << 8)); }

float lathe::runtime::e4m3Value(uint8_t code) {
  return halfValue(static_cast<uint16_t>((code & 0x80) << 8 | (code & 0x7f) << 7)) * 256;
}
