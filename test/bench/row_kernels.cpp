//===- row_kernels.cpp - Row kernels in hand-written intrinsics -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The yardstick of generated kernels (row_kernels.py): the same functions of f32 as one would write them with AVX-512,
// on one thread, on data that the second-level cache holds. Prints a line for each: name, nanoseconds for an element.
//
//===----------------------------------------------------------------------===//
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <immintrin.h>
#include <vector>

#define AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,fma")))

namespace {

AVX512 inline __m512 all(float x) { return _mm512_set1_ps(x); }

/// e^x; 0 below the normal numbers.
AVX512 inline __m512 exponential(__m512 x) {
  x = _mm512_min_ps(_mm512_max_ps(x, all(-104)), all(89));
  __m512 k = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(k, all(0.693145752f), x);
  r = _mm512_fnmadd_ps(k, all(1.42860677e-6f), r);
  __m512 p = all(0.00138145576f);
  for (float c : {0.00836873577f, 0.0416683899f, 0.166665205f, 0.499999934f, 1.0f, 1.0f})
    p = _mm512_fmadd_ps(p, r, all(c));
  return _mm512_scalef_ps(p, k);
}

AVX512 void softmax(const float *x, float *y, long rows, long columns) {
  for (long i = 0; i < rows; ++i, x += columns, y += columns) {
    __m512 best[4] = {all(-INFINITY), all(-INFINITY), all(-INFINITY), all(-INFINITY)};
    for (long j = 0; j < columns; j += 64)
      for (int k = 0; k < 4; ++k)
        best[k] = _mm512_max_ps(best[k], _mm512_loadu_ps(x + j + 16 * k));
    __m512 maximum =
        all(_mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(best[0], best[1]), _mm512_max_ps(best[2], best[3]))));
    __m512 sums[4] = {all(0), all(0), all(0), all(0)};
    for (long j = 0; j < columns; j += 64)
      for (int k = 0; k < 4; ++k) {
        __m512 e = exponential(_mm512_sub_ps(_mm512_loadu_ps(x + j + 16 * k), maximum));
        sums[k] = _mm512_add_ps(sums[k], e);
        _mm512_storeu_ps(y + j + 16 * k, e);
      }
    __m512 scale =
        all(1 / _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]))));
    for (long j = 0; j < columns; j += 16)
      _mm512_storeu_ps(y + j, _mm512_mul_ps(_mm512_loadu_ps(y + j), scale));
  }
}

AVX512 void layerNorm(const float *x, float *y, long rows, long columns, const float *gain, const float *bias) {
  for (long i = 0; i < rows; ++i, x += columns, y += columns) {
    __m512 sums[4] = {all(0), all(0), all(0), all(0)};
    for (long j = 0; j < columns; j += 64)
      for (int k = 0; k < 4; ++k)
        sums[k] = _mm512_add_ps(sums[k], _mm512_loadu_ps(x + j + 16 * k));
    auto total = [&]() AVX512 {
      return _mm512_reduce_add_ps(_mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
    };
    __m512 mean = all(total() / columns);
    std::fill(sums, sums + 4, all(0));
    for (long j = 0; j < columns; j += 64)
      for (int k = 0; k < 4; ++k) {
        __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + j + 16 * k), mean);
        sums[k] = _mm512_fmadd_ps(d, d, sums[k]);
      }
    __m512 scale = _mm512_div_ps(all(1), _mm512_sqrt_ps(all(total() / columns + 1e-5f)));
    for (long j = 0; j < columns; j += 16) {
      __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + j), mean), scale);
      _mm512_storeu_ps(y + j, _mm512_fmadd_ps(d, _mm512_loadu_ps(gain + j), _mm512_loadu_ps(bias + j)));
    }
  }
}

template <int N> AVX512 inline __m512 polynomial(const float (&c)[N], __m512 z) {
  __m512 p = all(c[N - 1]);
  for (int i = N - 2; i >= 0; --i)
    p = _mm512_fmadd_ps(p, z, all(c[i]));
  return p;
}

AVX512 inline __m512 erfOf(__m512 x) {
  static constexpr float p[] = {1.12837915f,    0.190783372f,    0.0527901609f,
                                0.00377956753f, 0.000284803839f, 2.04192712e-6f};
  static constexpr float q[] = {1, 0.502410082f, 0.114257272f, 0.0149973629f, 0.0011651952f, 3.80033702e-5f};
  x = _mm512_min_ps(_mm512_max_ps(x, all(-3.925f)), all(3.925f));
  __m512 z = _mm512_mul_ps(x, x);
  return _mm512_div_ps(_mm512_mul_ps(x, polynomial(p, z)), polynomial(q, z));
}

AVX512 inline __m512 tanhOf(__m512 x) {
  static constexpr float p[] = {1, 0.136799196f, 0.00386833333f, 2.80075648e-5f, 3.05852503e-8f, -1.22036127e-11f};
  static constexpr float q[] = {1, 0.470132517f, 0.0272458595f, 0.000393864072f, 1.28737364e-6f};
  x = _mm512_min_ps(_mm512_max_ps(x, all(-9.01f)), all(9.01f));
  __m512 z = _mm512_mul_ps(x, x);
  return _mm512_div_ps(_mm512_mul_ps(x, polynomial(p, z)), polynomial(q, z));
}

AVX512 void geluErf(const float *x, float *y, long count) {
  for (long i = 0; i < count; i += 16) {
    __m512 v = _mm512_loadu_ps(x + i), h = _mm512_mul_ps(v, all(0.5f));
    _mm512_storeu_ps(y + i, _mm512_fmadd_ps(h, erfOf(_mm512_mul_ps(v, all(0.707106781f))), h));
  }
}

AVX512 void geluTanh(const float *x, float *y, long count) {
  for (long i = 0; i < count; i += 16) {
    __m512 v = _mm512_loadu_ps(x + i), h = _mm512_mul_ps(v, all(0.5f));
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(v, v), v);
    __m512 t = tanhOf(_mm512_mul_ps(all(0.797884561f), _mm512_fmadd_ps(all(0.044715f), cube, v)));
    _mm512_storeu_ps(y + i, _mm512_fmadd_ps(h, t, h));
  }
}

AVX512 void add(const float *x, float *y, long count, const float *z) {
  for (long i = 0; i < count; i += 16)
    _mm512_storeu_ps(y + i, _mm512_add_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(z + i)));
}

template <typename Function> void measure(const char *name, long count, Function function) {
  double best = 1e9;
  for (int i = 0; i < 3000; ++i) {
    auto start = std::chrono::steady_clock::now();
    function();
    best = std::min(best, std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count());
  }
  std::printf("%s %.4f\n", name, best / count);
}

} // namespace

int main() {
  if (!__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    std::fprintf(stderr, "row_kernels: this processor has no AVX-512\n");
    return 1;
  }
  constexpr long kCount = 49152;
  std::vector<float> x(kCount), y(kCount), z(kCount, 1.0f);
  unsigned state = 1;
  for (float &value : x) { // sums of uniform numbers, roughly normal ones
    value = -6;
    for (int i = 0; i < 12; ++i) {
      state = state * 1664525 + 1013904223;
      value += static_cast<float>(state >> 8) / (1 << 24);
    }
  }
  measure("softmax", kCount, [&] { softmax(x.data(), y.data(), kCount / 384, 384); });
  measure("layer_norm", kCount, [&] { layerNorm(x.data(), y.data(), kCount / 768, 768, z.data(), z.data()); });
  measure("gelu_erf", kCount, [&] { geluErf(x.data(), y.data(), kCount); });
  measure("gelu_tanh", kCount, [&] { geluTanh(x.data(), y.data(), kCount); });
  measure("add", kCount, [&] { add(x.data(), y.data(), kCount, z.data()); });
}
