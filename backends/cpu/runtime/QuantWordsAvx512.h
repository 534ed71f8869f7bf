//===- QuantWordsAvx512.h - Words of sixteen columns ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Included only by sources that are compiled for this instruction set; see VectorAvx512.h.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTWORDSAVX512_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTWORDSAVX512_H

#include "backends/cpu/runtime/VectorAvx512.h"

namespace {

/// A word of each of sixteen columns.
struct Words {
  __m512i v;
  static Words load(const unsigned char *p) { return {_mm512_loadu_si512(p)}; }
  void store(unsigned char *p) const { _mm512_storeu_si512(p, v); }
  static Words all(int x) { return {_mm512_set1_epi32(x)}; }
};

/// To the right by S bits, or to the left by -S.
template <int S> inline Words shift(Words x) {
  if constexpr (S > 0)
    return {_mm512_srli_epi32(x.v, S)};
  if constexpr (S < 0)
    return {_mm512_slli_epi32(x.v, -S)};
  return x;
}
inline Words operator&(Words x, int mask) { return {_mm512_and_si512(x.v, _mm512_set1_epi32(mask))}; }
inline Words operator^(Words x, int mask) { return {_mm512_xor_si512(x.v, _mm512_set1_epi32(mask))}; }
/// Bits of x where the mask has ones, of y elsewhere.
inline Words select(int mask, Words x, Words y) {
  return {_mm512_ternarylogic_epi32(_mm512_set1_epi32(mask), x.v, y.v, 0xca)};
}
[[maybe_unused]] inline Vector toFloat(Words x) { return {_mm512_cvtepi32_ps(x.v)}; }

/// Sixteen numbers, looked up by the low four bits of words.
struct Lookup {
  __m512 v;
  static Lookup load(const float *p) { return {_mm512_loadu_ps(p)}; }
  Vector at(Words index) const { return {_mm512_permutexvar_ps(index.v, v)}; }
};
/// One permutation gives any number that four bits stand for.
constexpr bool kLookupIntegers = true;

/// Numbers of a table of 2^Bits, behind which there are others up to the sixteenth. Eight permutations of 32 numbers each take a
/// quarter of the time that a gather does.
template <int Bits> inline Vector pick(const float *table, Words index) {
  if constexpr (Bits <= 4)
    return Lookup::load(table).at(index);
  auto part = [&](int first) __attribute__((always_inline)) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(table + first), index.v, _mm512_loadu_ps(table + first + 16));
  };
  auto has = [&](int bit) __attribute__((always_inline)) { return _mm512_test_epi32_mask(index.v, _mm512_set1_epi32(bit)); };
  const __mmask16 bit5 = has(32), bit6 = has(64), bit7 = has(128);
  auto pair = [&](int first) __attribute__((always_inline)) {
    return _mm512_mask_blend_ps(bit5, part(first), part(first + 32));
  };
  return {_mm512_mask_blend_ps(bit7, _mm512_mask_blend_ps(bit6, pair(0), pair(64)),
                               _mm512_mask_blend_ps(bit6, pair(128), pair(192)))};
}

/// Adds what two vectors of indices pick from one table: each part of it is loaded once for both.
template <int Bits> inline void addPicked(const float *table, Words first, Words second, Vector &a, Vector &b) {
  if constexpr (Bits <= 4) {
    Lookup lookup = Lookup::load(table);
    a = a + lookup.at(first);
    b = b + lookup.at(second);
    return;
  }
  auto has = [](Words index, int bit) __attribute__((always_inline)) { return _mm512_test_epi32_mask(index.v, _mm512_set1_epi32(bit)); };
  const __mmask16 a5 = has(first, 32), a6 = has(first, 64), b5 = has(second, 32), b6 = has(second, 64);
  __m512 x[4], y[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const float *part = table + 64 * i;
    __m512 t0 = _mm512_loadu_ps(part), t1 = _mm512_loadu_ps(part + 16), t2 = _mm512_loadu_ps(part + 32), t3 = _mm512_loadu_ps(part + 48);
    x[i] = _mm512_mask_blend_ps(a5, _mm512_permutex2var_ps(t0, first.v, t1), _mm512_permutex2var_ps(t2, first.v, t3));
    y[i] = _mm512_mask_blend_ps(b5, _mm512_permutex2var_ps(t0, second.v, t1), _mm512_permutex2var_ps(t2, second.v, t3));
    if (i % 2) {
      x[i] = _mm512_mask_blend_ps(a6, x[i - 1], x[i]);
      y[i] = _mm512_mask_blend_ps(b6, y[i - 1], y[i]);
    }
  }
  a = a + Vector{_mm512_mask_blend_ps(has(first, 128), x[1], x[3])};
  b = b + Vector{_mm512_mask_blend_ps(has(second, 128), y[1], y[3])};
}

/// Byte I of each word, as the highest of a signed one: times 2^24.
template <int I> inline Vector byteAtTop(Words x) {
  const __m512i order = _mm512_set4_epi32(0x0c808080 | I << 24, 0x08808080 | I << 24, 0x04808080 | I << 24,
                                          static_cast<int>(0x00808080 | I << 24));
  return {_mm512_cvtepi32_ps(_mm512_shuffle_epi8(x.v, order))};
}

/// 16-bit words of sixteen columns and two halves of a block of 8-bit floats.
struct Halves {
  __m512i v;
  static Halves load(const unsigned char *p) { return {_mm512_loadu_si512(p)}; }
  template <int S> Halves left() const { return {_mm512_slli_epi16(v, S)}; }
  Halves signedRight() const { return {_mm512_srai_epi16(v, 1)}; }
  Halves operator&(int mask) const { return {_mm512_and_si512(v, _mm512_set1_epi16(static_cast<short>(mask)))}; }
  template <int I> Vector toFloat() const {
    return {_mm512_cvtph_ps(I == 0 ? _mm512_castsi512_si256(v) : _mm512_extracti64x4_epi64(v, 1))};
  }
};

inline Vector magnitude(Vector x) { return {_mm512_abs_ps(x.v)}; }
inline float largestOf(Vector x) { return _mm512_reduce_max_ps(x.v); }

inline Vector loadBytes(const unsigned char *p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))))};
}
/// Powers of two, 127 more than whose exponents are bytes.
inline Vector loadPowers(const unsigned char *p) {
  __m512i exponent = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
  // The smallest one is subnormal.
  __m512i bits = _mm512_max_epi32(_mm512_slli_epi32(exponent, 23), _mm512_set1_epi32(0x00400000));
  return {_mm512_castsi512_ps(bits)};
}

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTWORDSAVX512_H
