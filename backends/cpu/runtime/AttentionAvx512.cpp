//===- AttentionAvx512.cpp - Attention with AVX-512 -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
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

#include "backends/cpu/runtime/AttentionKernel.h"

const lathe::cpu::AttentionKernels lathe::cpu::kAttentionAvx512 = {"avx512", runBlock, combineParts, exponentials,
                                                                   hyperbolicTangents};
