//===- QuantWordsAvx2.h - Words of eight columns ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Included only by sources that are compiled for this instruction set; see VectorAvx512.h.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTWORDSAVX2_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTWORDSAVX2_H

#include "backends/cpu/runtime/VectorAvx2.h"

namespace {

/// A word of each of eight columns.
struct Words {
  __m256i v;
  static Words load(const unsigned char *p) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))}; }
  void store(unsigned char *p) const { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), v); }
  static Words all(int x) { return {_mm256_set1_epi32(x)}; }
};

/// To the right by S bits, or to the left by -S.
template <int S> inline Words shift(Words x) {
  if constexpr (S > 0)
    return {_mm256_srli_epi32(x.v, S)};
  if constexpr (S < 0)
    return {_mm256_slli_epi32(x.v, -S)};
  return x;
}
inline Words shiftRight(Words x, int count) { return {_mm256_srlv_epi32(x.v, _mm256_set1_epi32(count))}; }
inline Words operator&(Words x, int mask) { return {_mm256_and_si256(x.v, _mm256_set1_epi32(mask))}; }
inline Words operator^(Words x, int mask) { return {_mm256_xor_si256(x.v, _mm256_set1_epi32(mask))}; }
/// Bits of x where the mask has ones, of y elsewhere.
inline Words select(int mask, Words x, Words y) {
  __m256i ones = _mm256_set1_epi32(mask);
  return {_mm256_or_si256(_mm256_and_si256(ones, x.v), _mm256_andnot_si256(ones, y.v))};
}
inline Vector toFloat(Words x) { return {_mm256_cvtepi32_ps(x.v)}; }

/// Sixteen numbers, looked up by the low four bits of words.
struct Lookup {
  __m256 low, high;
  static Lookup load(const float *p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  Vector at(Words index) const {
    // The fourth bit becomes the sign, by which the halves are told.
    return {_mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index.v), _mm256_permutevar8x32_ps(high, index.v),
                             _mm256_castsi256_ps(_mm256_slli_epi32(index.v, 28)))};
  }
};
/// Integers are sooner converted than looked up.
constexpr bool kLookupIntegers = false;

/// Numbers of a table of 2^Bits.
template <int Bits> inline Vector pick(const float *table, Words index) {
  return {_mm256_i32gather_ps(table, index.v, 4)};
}

/// Puts entries [entry, entry + kLanes) into a table that addPicked() reads.
template <int Bits> inline void storeEntries(float *table, int64_t entry, Vector entries) { entries.store(table + entry); }

/// Adds what two vectors of indices pick from a table.
template <int Bits> inline void addPicked(const float *table, Words first, Words second, Vector &a, Vector &b) {
  a = a + pick<Bits>(table, first);
  b = b + pick<Bits>(table, second);
}

/// Byte I of each word, as the highest of a signed one: times 2^24.
template <int I> inline Vector byteAtTop(Words x) {
  const __m256i order = _mm256_setr_epi32(static_cast<int>(0x00808080 | I << 24), 0x04808080 | I << 24,
                                          0x08808080 | I << 24, 0x0c808080 | I << 24,
                                          static_cast<int>(0x00808080 | I << 24), 0x04808080 | I << 24,
                                          0x08808080 | I << 24, 0x0c808080 | I << 24);
  return {_mm256_cvtepi32_ps(_mm256_shuffle_epi8(x.v, order))};
}

/// 16-bit words of eight columns and two halves of a block of 8-bit floats.
struct Halves {
  __m256i v;
  static Halves load(const unsigned char *p) {
    return {_mm256_loadu2_m128i(reinterpret_cast<const __m128i *>(p + 32), reinterpret_cast<const __m128i *>(p))};
  }
  template <int S> Halves left() const { return {_mm256_slli_epi16(v, S)}; }
  Halves signedRight() const { return {_mm256_srai_epi16(v, 1)}; }
  Halves operator&(int mask) const { return {_mm256_and_si256(v, _mm256_set1_epi16(static_cast<short>(mask)))}; }
  template <int I> Vector toFloat() const {
    return {_mm256_cvtph_ps(I == 0 ? _mm256_castsi256_si128(v) : _mm256_extracti128_si256(v, 1))};
  }
};

inline Vector magnitude(Vector x) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v)}; }
inline float largestOf(Vector x) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

inline Vector loadBytes(const unsigned char *p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))))};
}
/// Powers of two, 127 more than whose exponents are bytes.
inline Vector loadPowers(const unsigned char *p) {
  __m256i exponent = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)));
  // The smallest one is subnormal.
  __m256i bits = _mm256_max_epi32(_mm256_slli_epi32(exponent, 23), _mm256_set1_epi32(0x00400000));
  return {_mm256_castsi256_ps(bits)};
}

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTWORDSAVX2_H
