//===- SmallFloats.h - Floats of 16 and 8 bits ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_SMALLFLOATS_H
#define LATHE_RUNTIME_SMALLFLOATS_H

#include <cstdint>

namespace lathe::runtime {

/// Bit patterns of IEEE half and of bfloat16, and back; to the nearest, of two the even one.
float halfValue(uint16_t bits);
uint16_t toHalf(float value);
float bfloatValue(uint16_t bits);
uint16_t toBfloat(float value);

/// The number that the 8 bits of an E4M3 or E5M2 stand for (Micikevicius et al. 2022, "FP8 Formats for Deep Learning").
float e4m3Value(uint8_t code);
float e5m2Value(uint8_t code);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_SMALLFLOATS_H
