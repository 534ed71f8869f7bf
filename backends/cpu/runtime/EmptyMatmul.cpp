//===- EmptyMatmul.cpp - Products over nothing ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/EmptyMatmul.h"

#include "runtime/include/lathe/lathe.h"

#include <cmath>

using namespace lathe;

namespace {
float activate(int64_t activation, float x) {
  switch (activation) {
  case LATHE_ACT_RELU:
    return x > 0 ? x : 0;
  case LATHE_ACT_GELU_ERF:
    return 0.5f * x * (1 + std::erf(x * 0.70710678f));
  case LATHE_ACT_GELU_TANH:
    return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
  case LATHE_ACT_TANH:
    return std::tanh(x);
  case LATHE_ACT_SILU:
    return x / (1 + std::exp(-x));
  case LATHE_ACT_SIGMOID:
    return 1 / (1 + std::exp(-x));
  default:
    return x;
  }
}
} // namespace

runtime::Status cpu::emptyMatmul(const lathe_matmul_call &call) {
  if (call.dtype != LATHE_F32)
    return runtime::failure(LATHE_INTERNAL, "the cpu backend has no matmul of this type; expected f32");
  auto *bias = static_cast<const float *>(call.bias);
  auto *multiplier = static_cast<const float *>(call.multiplier);
  auto *residual = static_cast<const float *>(call.residual);
  auto *out = static_cast<float *>(call.out);
  for (int64_t b0 = 0; b0 < call.batch[0]; ++b0)
    for (int64_t b1 = 0; b1 < call.batch[1]; ++b1)
      for (int64_t b2 = 0; b2 < call.batch[2]; ++b2)
        for (int64_t m = 0; m < call.m; ++m)
          for (int64_t n = 0; n < call.n; ++n) {
            int64_t at =
                b0 * call.out_batch[0] + b1 * call.out_batch[1] + b2 * call.out_batch[2] + m * call.out_row + n;
            float value = activate(call.activation, bias ? bias[n] : 0);
            if (multiplier)
              value *= multiplier[at];
            out[at] = residual ? value + residual[at] : value;
          }
  return runtime::success();
}
