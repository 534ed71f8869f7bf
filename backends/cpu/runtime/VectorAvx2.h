//===- VectorAvx2.h - Eight floats ------------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Included only by sources that are compiled for AVX2, FMA and F16C; see VectorAvx512.h.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_VECTORAVX2_H
#define LATHE_BACKENDS_CPU_RUNTIME_VECTORAVX2_H

#include <cstdint>
#include <immintrin.h>

namespace {

struct Vector {
  static constexpr int kLanes = 8;
  __m256 v;

  static __m256i first(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vector zero() { return {_mm256_setzero_ps()}; }
  static Vector all(float x) { return {_mm256_set1_ps(x)}; }
  static Vector load(const float *p) { return {_mm256_loadu_ps(p)}; }
  static Vector loadBf16(const uint16_t *p) {
    __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))};
  }
  static Vector loadF16(const uint16_t *p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)))};
  }
  static Vector load(const float *p, int64_t count) { return {_mm256_maskload_ps(p, first(count))}; }
  void store(float *p) const { _mm256_storeu_ps(p, v); }
  void store(float *p, int64_t count) const { _mm256_maskstore_ps(p, first(count), v); }
};

inline Vector fma(Vector a, Vector b, Vector c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vector operator+(Vector a, Vector b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vector operator-(Vector a, Vector b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vector operator*(Vector a, Vector b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vector operator/(Vector a, Vector b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vector atMost(Vector x, Vector bound) { return {_mm256_min_ps(bound.v, x.v)}; }
inline Vector atLeast(Vector x, Vector bound) { return {_mm256_max_ps(bound.v, x.v)}; }
inline Vector roundToNearest(Vector x) {
  return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// Numbers from -128 to 127; what not a number becomes is not said.
inline void storeBytes(void *p, Vector x) {
  __m256i words = _mm256_cvtps_epi32(x.v);
  __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storel_epi64(static_cast<__m128i *>(p), _mm_packs_epi16(halves, halves));
}
/// round(x) + zero for x of which that is from -128 to 127, or with 128 more in `zero` from 0 to 255; what not a number becomes is not said.
inline void storeRounded(void *p, Vector x, int zero) {
  __m256i numbers = _mm256_add_epi32(_mm256_cvtps_epi32(x.v), _mm256_set1_epi32(zero));
  // The low byte of each number.
  const __m256i order = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1,
                                         -1, -1, -1, -1, -1);
  __m256i bytes = _mm256_shuffle_epi8(numbers, order);
  _mm_storel_epi64(static_cast<__m128i *>(p), _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1)));
}
/// 1 with the sign of x where |x| is `bound` or more, else y.
inline Vector signBeyond(Vector x, float bound, Vector y) {
  __m256 sign = _mm256_and_ps(x.v, _mm256_set1_ps(-0.0f));
  __m256 beyond = _mm256_cmp_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v), _mm256_set1_ps(bound), _CMP_GE_OQ);
  return {_mm256_blendv_ps(y.v, _mm256_or_ps(sign, _mm256_set1_ps(1)), beyond)};
}
/// In two steps, since 2^n may leave the normal numbers where the product does not; |n| up to 252.
inline Vector scaleByPower(Vector x, Vector n) {
  __m256i whole = _mm256_cvtps_epi32(n.v), half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
  auto power = [](__m256i k) {
    return Vector{_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k, _mm256_set1_epi32(127)), 23))};
  };
  return x * power(half) * power(rest);
}

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_VECTORAVX2_H
