//===- AttentionAvx2.cpp - Attention with AVX2 ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/AttentionKernels.h"

#include <immintrin.h>

namespace {

struct Vector {
  using T = __m256;
  static constexpr int kWidth = 8;
  static constexpr int kColumns = 2; ///< most vectors of a tile of products

  static T load(const float *p) { return _mm256_loadu_ps(p); }
  static void store(float *p, T x) { _mm256_storeu_ps(p, x); }
  static T set(float x) { return _mm256_set1_ps(x); }
  static T add(T a, T b) { return _mm256_add_ps(a, b); }
  static T sub(T a, T b) { return _mm256_sub_ps(a, b); }
  static T mul(T a, T b) { return _mm256_mul_ps(a, b); }
  static T div(T a, T b) { return _mm256_div_ps(a, b); }
  static T fma(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  /// b where either is NaN.
  static T max(T a, T b) { return _mm256_max_ps(a, b); }
  static T min(T a, T b) { return _mm256_min_ps(a, b); }
  static T round(T x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static T abs(T x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
  /// x * 2^n for an integer n from -200 to 200, in two steps, since the result may be subnormal.
  static T scale(T x, T n) {
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return mul(mul(x, power(half)), power(_mm256_sub_epi32(whole, half)));
  }
  static T power(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  /// a where x < y, else b, also where either is NaN.
  static T selectLess(T x, T y, T a, T b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_LT_OQ)); }
  static bool allAtMost(T x, T y) { return _mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_LE_OQ)) == 0xff; }
  static bool allEqual(T x, T y) { return _mm256_movemask_ps(_mm256_cmp_ps(x, y, _CMP_EQ_OQ)) == 0xff; }

  static __m256i first(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  /// The first n elements, zeros behind them.
  static T loadFirst(const float *p, int64_t n) { return n >= 8 ? load(p) : _mm256_maskload_ps(p, first(n)); }
  static void storeFirst(float *p, T x, int64_t n) {
    if (n >= 8)
      store(p, x);
    else
      _mm256_maskstore_ps(p, first(n), x);
  }

  /// Numbers that bytes are, with or without a sign.
  static T fromSigned(const unsigned char *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight(p))); }
  static T fromUnsigned(const unsigned char *p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(eight(p))); }
  /// Numbers that the low or high halves of bytes are, or 8 less.
  template <bool isSigned> static T fromHalves(const unsigned char *p, bool isHigh) {
    __m256i bytes = _mm256_cvtepu8_epi32(eight(p));
    T x = _mm256_cvtepi32_ps(isHigh ? _mm256_srli_epi32(bytes, 4) : _mm256_and_si256(bytes, _mm256_set1_epi32(15)));
    return isSigned ? sub(x, set(8)) : x;
  }
  static T fromBfloat(const unsigned char *p) {
    __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  static __m128i eight(const unsigned char *p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i *>(p)); }

  static constexpr bool kHasPairs = false; ///< of bf16, as of AVX-512

  static void transpose(T (&r)[8]) {
    T t[8];
    LATHE_UNROLL for (int i = 0; i < 4; ++i) {
      t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // Of four rows each: columns 0, 1, 2 and 3 of either half.
    LATHE_UNROLL for (int i = 0; i < 2; ++i) {
      r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
      r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
      r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
      r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    LATHE_UNROLL for (int i = 0; i < 4; ++i) {
      t[i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x20);
      t[4 + i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x31);
    }
    LATHE_UNROLL for (int i = 0; i < 8; ++i) r[i] = t[i];
  }
};

} // namespace

#include "backends/cpu/runtime/AttentionKernel.h"

const lathe::cpu::AttentionKernels lathe::cpu::kAttentionAvx2 = {"avx2", runBlock, combineParts, exponentials,
                                                                 hyperbolicTangents};
