//===- QuantIntegerAvx2.cpp - Products of integers ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantWordsAvx2.h"

namespace {

/// Bytes without a sign, as words of 16 bits: no sum of two products leaves 32 bits.
struct Right {
  __m256i even, odd;
  Right() = default;
  explicit Right(Words x) : even(_mm256_and_si256(x.v, _mm256_set1_epi16(0xff))), odd(_mm256_srli_epi16(x.v, 8)) {}
};

/// Four bytes with signs for all columns.
struct Left {
  __m256i even, odd;
  explicit Left(const int8_t *p) {
    int four;
    __builtin_memcpy(&four, p, sizeof four);
    __m256i all = _mm256_set1_epi32(four);
    even = _mm256_srai_epi16(_mm256_slli_epi16(all, 8), 8);
    odd = _mm256_srai_epi16(all, 8);
  }
};

inline Words dot(Words sum, Right right, Left left) {
  __m256i products = _mm256_add_epi32(_mm256_madd_epi16(right.even, left.even), _mm256_madd_epi16(right.odd, left.odd));
  return {_mm256_add_epi32(sum.v, products)};
}

/// Vectors of columns that go with some rows into the registers.
constexpr int vectorsFor(int rows) { return rows == 1 ? 4 : rows <= 4 ? 2 : 1; }

} // namespace

#include "backends/cpu/runtime/QuantInteger.inc"

lathe::cpu::IntegerKernels lathe::cpu::integerKernelsAvx2(int64_t bits) { return chooseKernels(bits); }
