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
inline Words shiftRight(Words x, int count) { return {_mm512_srlv_epi32(x.v, _mm512_set1_epi32(count))}; }
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

/// Puts entries [entry, entry + kLanes) into a table that addPicked() reads: of 256 as their high halves, then their low ones, as one permutation
/// picks from 64 words, but from 32 numbers.
template <int Bits> inline void storeEntries(float *table, int64_t entry, Vector entries) {
  if constexpr (Bits <= 4)
    return entries.store(table + entry);
  auto *halves = reinterpret_cast<uint16_t *>(table) + entry;
  __m512i bits = _mm512_castps_si512(entries.v);
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(halves), _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
  _mm256_storeu_si256(reinterpret_cast<__m256i *>(halves + 256), _mm512_cvtepi32_epi16(bits));
}

/// Adds what two vectors of indices pick from a table.
template <int Bits> inline void addPicked(const float *table, Words first, Words second, Vector &a, Vector &b) {
  if constexpr (Bits <= 4) {
    Lookup lookup = Lookup::load(table);
    a = a + lookup.at(first);
    b = b + lookup.at(second);
    return;
  }
  __m512i index = _mm512_or_si512(first.v, _mm512_slli_epi32(second.v, 16));
  const __mmask32 bit6 = _mm512_test_epi16_mask(index, _mm512_set1_epi16(64));
  const __mmask32 bit7 = _mm512_test_epi16_mask(index, _mm512_set1_epi16(128));
  auto *words = reinterpret_cast<const uint16_t *>(table);
  auto part = [&](int from) __attribute__((always_inline)) {
    return _mm512_permutex2var_epi16(_mm512_loadu_si512(words + from), index, _mm512_loadu_si512(words + from + 32));
  };
  auto picked = [&](int from) __attribute__((always_inline)) {
    return _mm512_mask_blend_epi16(bit7, _mm512_mask_blend_epi16(bit6, part(from), part(from + 64)),
                                   _mm512_mask_blend_epi16(bit6, part(from + 128), part(from + 192)));
  };
  __m512i high = picked(0), low = picked(256);
  constexpr int kChoose = 0xca; // bits of the second where the first has ones, else of the third
  const __m512i lowHalves = _mm512_set1_epi32(0xffff);
  a = a + Vector{_mm512_castsi512_ps(_mm512_ternarylogic_epi32(lowHalves, low, _mm512_slli_epi32(high, 16), kChoose))};
  b = b + Vector{_mm512_castsi512_ps(_mm512_ternarylogic_epi32(lowHalves, _mm512_srli_epi32(low, 16), high, kChoose))};
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
