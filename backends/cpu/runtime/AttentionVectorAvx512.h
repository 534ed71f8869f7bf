//===- AttentionVectorAvx512.h - Sixteen numbers of an attention -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Included only by sources that are compiled for AVX-512, with or without BF16.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONVECTORAVX512_H
#define LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONVECTORAVX512_H

#include "backends/cpu/runtime/AttentionKernels.h"

#include <immintrin.h>

namespace {

struct Vector {
  using T = __m512;
  static constexpr int kWidth = 16;
  static constexpr int kColumns = 4; ///< most vectors of a tile of products

  static T load(const float *p) { return _mm512_loadu_ps(p); }
  static void store(float *p, T x) { _mm512_storeu_ps(p, x); }
  static T set(float x) { return _mm512_set1_ps(x); }
  static T add(T a, T b) { return _mm512_add_ps(a, b); }
  static T sub(T a, T b) { return _mm512_sub_ps(a, b); }
  static T mul(T a, T b) { return _mm512_mul_ps(a, b); }
  static T div(T a, T b) { return _mm512_div_ps(a, b); }
  static T fma(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  /// b where either is NaN.
  static T max(T a, T b) { return _mm512_max_ps(a, b); }
  static T min(T a, T b) { return _mm512_min_ps(a, b); }
  static T round(T x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static T abs(T x) { return _mm512_abs_ps(x); }
  /// x * 2^n for an integer n.
  static T scale(T x, T n) { return _mm512_scalef_ps(x, n); }
  /// a where x < y, else b, also where either is NaN.
  static T selectLess(T x, T y, T a, T b) { return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), a); }
  static bool allAtMost(T x, T y) { return _mm512_cmp_ps_mask(x, y, _CMP_LE_OQ) == 0xffff; }
  static bool allEqual(T x, T y) { return _mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ) == 0xffff; }

  static __mmask16 first(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << n) - 1); }
  /// The first n elements, zeros behind them.
  static T loadFirst(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void storeFirst(float *p, T x, int64_t n) { _mm512_mask_storeu_ps(p, first(n), x); }

  /// Numbers that bytes are, with or without a sign.
  static T fromSigned(const unsigned char *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen(p))); }
  static T fromUnsigned(const unsigned char *p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(sixteen(p))); }
  /// Numbers that the low or high halves of bytes are, or 8 less: of an index into a table only the low four bits count.
  template <bool isSigned> static T fromHalves(const unsigned char *p, bool isHigh) {
    const T table = isSigned ? _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7)
                             : _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i bytes = _mm512_cvtepu8_epi32(sixteen(p));
    return _mm512_permutexvar_ps(isHigh ? _mm512_srli_epi32(bytes, 4) : bytes, table);
  }
  static T fromBfloat(const unsigned char *p) {
    __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static __m128i sixteen(const unsigned char *p) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(p)); }

#ifdef __AVX512BF16__
  static constexpr bool kHasPairs = true; ///< words of two bf16 each, of which it multiplies as many as numbers
  static __m512bh words(T x) { return reinterpret_cast<__m512bh>(_mm512_castps_si512(x)); }
  /// sum + products of both numbers of each word.
  static T dot(T a, T b, T sum) { return _mm512_dpbf16_ps(sum, words(a), words(b)); }
  /// Sixteen numbers and the sixteen behind them, two neighbours a word.
  static T neighbours(T low, T high) {
    return _mm512_castsi512_ps(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low)));
  }
  /// Numbers of the same lanes, one word for each two.
  static T pair(T low, T high) {
    const __m512i order = _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009, 0x180008,
                                           0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, _mm512_castps_si512(neighbours(low, high))));
  }
#else
  static constexpr bool kHasPairs = false;
#endif

  static void transpose(T (&r)[16]) {
    T t[16];
    LATHE_UNROLL for (int i = 0; i < 8; ++i) {
      t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // Of four rows each: columns 0, 1, 2 and 3 of every quarter.
    LATHE_UNROLL for (int i = 0; i < 4; ++i) {
      __m512d a = _mm512_castps_pd(t[4 * i]), b = _mm512_castps_pd(t[4 * i + 2]);
      __m512d c = _mm512_castps_pd(t[4 * i + 1]), d = _mm512_castps_pd(t[4 * i + 3]);
      r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
      r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
      r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
    // Quarters to their rows.
    LATHE_UNROLL for (int i = 0; i < 4; ++i) {
      T a = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88), b = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
      T c = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88), d = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
      t[i] = _mm512_shuffle_f32x4(a, c, 0x88);
      t[8 + i] = _mm512_shuffle_f32x4(a, c, 0xdd);
      t[4 + i] = _mm512_shuffle_f32x4(b, d, 0x88);
      t[12 + i] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
    LATHE_UNROLL for (int i = 0; i < 16; ++i) r[i] = t[i];
  }
};

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTIONVECTORAVX512_H
