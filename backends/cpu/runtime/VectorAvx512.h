//===- VectorAvx512.h - Sixteen floats --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Included only by sources that are compiled for AVX-512. They must not define what other sources define too, such as
// templates of the standard library: the linker would keep one of them, for all processors.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_VECTORAVX512_H
#define LATHE_BACKENDS_CPU_RUNTIME_VECTORAVX512_H

#include <cstdint>
#include <immintrin.h>

namespace {

struct Vector {
  static constexpr int kLanes = 16;
  __m512 v;

  static Vector zero() { return {_mm512_setzero_ps()}; }
  static Vector all(float x) { return {_mm512_set1_ps(x)}; }
  static Vector load(const float *p) { return {_mm512_loadu_ps(p)}; }
  static Vector loadBf16(const uint16_t *p) {
    __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }
  static Vector loadF16(const uint16_t *p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)))};
  }
  /// The first `count` elements, of 1 to kLanes; zeros behind.
  static Vector load(const float *p, int64_t count) {
    return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p)};
  }
  void store(float *p) const { _mm512_storeu_ps(p, v); }
  void store(float *p, int64_t count) const {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), v);
  }
};

inline Vector fma(Vector a, Vector b, Vector c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vector operator+(Vector a, Vector b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vector operator-(Vector a, Vector b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vector operator*(Vector a, Vector b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vector operator/(Vector a, Vector b) { return {_mm512_div_ps(a.v, b.v)}; }
/// NaN of `x` stays, as the processor gives the second operand then.
inline Vector atMost(Vector x, Vector bound) { return {_mm512_min_ps(bound.v, x.v)}; }
inline Vector atLeast(Vector x, Vector bound) { return {_mm512_max_ps(bound.v, x.v)}; }
inline Vector roundToNearest(Vector x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// Numbers from -128 to 127; what not a number becomes is not said.
inline void storeBytes(void *p, Vector x) {
  _mm_storeu_si128(static_cast<__m128i *>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x.v)));
}
/// round(x) + zero for x of which that is from -128 to 127, or with 128 more in `zero` from 0 to 255; what not a number becomes is not said.
inline void storeRounded(void *p, Vector x, int zero) {
  __m512i numbers = _mm512_add_epi32(_mm512_cvtps_epi32(x.v), _mm512_set1_epi32(zero));
  _mm_storeu_si128(static_cast<__m128i *>(p), _mm512_cvtepi32_epi8(numbers));
}
/// 1 with the sign of x where |x| is `bound` or more, else y.
inline Vector signBeyond(Vector x, float bound, Vector y) {
  __m512 sign = _mm512_and_ps(x.v, _mm512_set1_ps(-0.0f));
  __mmask16 beyond = _mm512_cmp_ps_mask(_mm512_abs_ps(x.v), _mm512_set1_ps(bound), _CMP_GE_OQ);
  return {_mm512_mask_or_ps(y.v, beyond, sign, _mm512_set1_ps(1))};
}
/// x 2^n for a whole n.
inline Vector scaleByPower(Vector x, Vector n) { return {_mm512_scalef_ps(x.v, n.v)}; }

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_VECTORAVX512_H
