//===- QuantVnni.h - Products of bytes by VNNI ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Included only by sources that are compiled for AVX-512 with VNNI; see VectorAvx512.h.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTVNNI_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTVNNI_H

#include "backends/cpu/runtime/QuantWordsAvx512.h"

namespace {

/// Bytes without a sign.
struct Right {
  __m512i v;
  Right() = default;
  explicit Right(Words x) : v(x.v) {}
};

/// Four bytes with signs for all columns.
struct Left {
  __m512i v;
  explicit Left(const int8_t *p) {
    int four;
    __builtin_memcpy(&four, p, sizeof four);
    v = _mm512_set1_epi32(four);
  }
};

inline Words dot(Words sum, Right right, Left left) { return {_mm512_dpbusd_epi32(sum.v, right.v, left.v)}; }

/// Vectors of columns that go with some rows into the registers.
constexpr int vectorsFor(int) { return 4; }

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTVNNI_H
