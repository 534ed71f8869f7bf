//===- Math.cu.h - Functions of one number ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Polynomials as in backends/cpu/runtime/VectorMath.h, so that both devices give the same numbers.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_MATH_CU_H
#define LATHE_BACKENDS_CUDA_KERNELS_MATH_CU_H

#include "backends/cuda/kernels/Device.cu.h"

namespace lathe::cuda::device {

/// e^x, 3 ulp: what the product with log2(e) loses is given back.
LATHE_DEVICE float exponential(float x) {
  float product = x * 1.44269504f;
  float rest = fused(x, 1.44269504f, -product) + x * 1.92596299e-8f;
  float result = exp2Fast(product) * fused(rest, 0.693147181f, 1.0f);
  return x < -103.97f ? 0.0f : x > 88.722839f ? infinity() : result;
}

template <int N> LATHE_DEVICE float polynomial(const float (&c)[N], float x) {
  float y = c[N - 1];
  LATHE_UNROLL for (int i = N - 2; i >= 0; --i) y = fused(y, x, c[i]);
  return y;
}

/// `y`, or the sign of x where that is beyond `limit`; NaN stays.
LATHE_DEVICE float signBeyond(float x, float limit, float y) {
  y = x >= limit ? 1.0f : y;
  y = x <= -limit ? -1.0f : y;
  return x == x ? y : x;
}

LATHE_DEVICE float erfOf(float x) {
  constexpr float kOver[] = {0x1.20dd74p+0f, 0x1.86b32ap-3f,  0x1.b0715cp-5f,
                             0x1.ef52ecp-9f, 0x1.2a9ec8p-12f, 0x1.1210dp-19f};
  constexpr float kUnder[] = {1.0f, 0x1.013a82p-1f, 0x1.d3fa1cp-4f, 0x1.eb65c4p-7f, 0x1.316970p-10f, 0x1.3eca26p-15f};
  float y = smaller(larger(x, -3.93f), 3.93f), square = y * y;
  return signBeyond(x, 3.93f, y * polynomial(kOver, square) / polynomial(kUnder, square));
}

LATHE_DEVICE float tanhOf(float x) {
  constexpr float kOver[] = {1.0f, 0x1.20c07ep-3f, 0x1.220f34p-8f, 0x1.629e74p-15f, 0x1.dd8010p-24f, 0x1.433586p-35f};
  constexpr float kUnder[] = {1.0f, 0x1.e5b594p-2f, 0x1.de6e5ap-6f, 0x1.0694f8p-11f, 0x1.5d7c28p-19f, 0x1.959bf8p-29f};
  float y = smaller(larger(x, -9.02f), 9.02f), square = y * y;
  return signBeyond(x, 9.02f, y * polynomial(kOver, square) / polynomial(kUnder, square));
}

/// `activation` as lathe_activation counts.
LATHE_DEVICE float activate(int activation, float x) {
  switch (activation) {
  case 1:
    return x > 0 ? x : x == x ? 0.0f : x;
  case 2:
    return 0.5f * x * (1 + erfOf(x * 0.70710678f));
  case 3:
    return 0.5f * x * (1 + tanhOf(0.79788456f * (x + 0.044715f * x * x * x)));
  case 4:
    return tanhOf(x);
  case 5:
    return x / (1 + exponential(-x));
  case 6:
    return 1 / (1 + exponential(-x));
  default:
    return x;
  }
}

/// What a product becomes, which is element `index` of out and of column `column`.
template <typename T>
LATHE_DEVICE float finish(const EpilogueArgs &args, float product, int64_t index, int64_t column) {
  float value = float(args.alpha) * product;
  if (args.bias)
    value += loadFloat<T>(args.bias, column);
  value = activate(int(args.activation), value);
  if (args.multiplier)
    value *= loadFloat<T>(args.multiplier, index);
  if (args.residual)
    value += loadFloat<T>(args.residual, index);
  return value;
}

} // namespace lathe::cuda::device

#endif // LATHE_BACKENDS_CUDA_KERNELS_MATH_CU_H
