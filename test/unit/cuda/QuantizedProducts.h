//===- QuantizedProducts.h - Products by weights of few bits, and their oracle -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_CUDA_QUANTIZEDPRODUCTS_H
#define LATHE_TEST_UNIT_CUDA_QUANTIZEDPRODUCTS_H

#include "test/unit/cuda/Harness.h"
#include "test/unit/cuda/KernelSupport.h"
#include "test/unit/cuda/RoundedTo.h"
#include "test/unit/runtime/QuantizedSupport.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

namespace lathe::test {

struct Case {
  runtime::QuantizedLayout layout;
  int64_t m, rounding = LATHE_QUANTIZE_NONE;
  int64_t activation = LATHE_ACT_NONE;
  bool bias = false, residual = false, multiplier = false, isOwnMultiplier = false;
  bool isOwnResidual = false; ///< the result's memory has the residual
  bool isDense = false;       ///< rows of the result lie one behind the other
  bool spread = false;        ///< no stride of a is 1
  int64_t batch = 1;
  int64_t arithmetic = LATHE_F32;
};

inline lathe_matmul_call callOf(const Case &c) {
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.alpha = 1;
  call.activation = c.activation;
  call.m = c.m, call.n = c.layout.n, call.k = c.layout.k;
  call.a_row = c.spread ? 2 * call.k + 1 : call.k, call.a_col = c.spread ? 2 : 1;
  call.out_row = call.n + (c.isDense ? 0 : 1);
  call.batch[0] = call.batch[2] = 1, call.batch[1] = c.batch;
  call.a_batch[1] = c.m * call.a_row, call.out_batch[1] = c.m * call.out_row;
  call.a_quantization = c.rounding;
  call.a_scale = 0.02;
  call.a_zero = c.rounding == LATHE_QUANTIZE_STATIC ? -7 : 0;
  call.arithmetic = c.arithmetic;
  return call;
}

/// A row as the product reads it.
inline std::vector<float> leftRow(const lathe_matmul_call &call, const float *row) {
  std::vector<float> result;
  float most = 0;
  for (int64_t l = 0; l < call.k; ++l) {
    result.push_back(row[l * call.a_col]);
    most = std::max(most, std::fabs(result.back()));
  }
  auto scale = static_cast<float>(call.a_scale), zero = static_cast<float>(call.a_zero);
  if (call.a_quantization == LATHE_QUANTIZE_ROWS)
    scale = most > 0 ? most / 127 : 1;
  if (call.a_quantization == LATHE_QUANTIZE_ROWS_E4M3) {
    scale = std::max(most, 1e-30f) / 448;
    for (float &value : result)
      value = nearestE4m3(value * (1 / scale)) * scale;
    return result;
  }
  for (float &value : result)
    if (call.a_quantization != LATHE_QUANTIZE_NONE)
      value = (std::clamp(std::nearbyint(value * (1 / scale)) + zero, -128.0f, 127.0f) - zero) * scale;
  return result;
}

/// Runs it twice, once where the result lies where it reads, and compares with sums in f64. `products`: how many the
/// library has computed of operands of `type`; with an arithmetic of 16 bits these are of rounded operands.
inline void check(const Case &c, int64_t *products = nullptr, int type = cuda::kBlasS8) {
  SCOPED_TRACE(describe(c.layout) + " m " + std::to_string(c.m) + " rounding " + std::to_string(c.rounding));
  RandomQuantized weight(c.layout, 5);
  Harness harness;
  harness.services.addQuantized(weight.layout, weight.packed.data());
  harness.start();
  lathe_matmul_call call = callOf(c);
  std::mt19937 random(9);
  Tensor a(harness, size_t(c.batch * c.m * call.a_row), &random), bias(harness, size_t(call.n), &random);
  Tensor out(harness, size_t(c.batch * c.m * call.out_row), nullptr), residual(harness, out.host.size(), &random),
      multiplier(harness, out.host.size(), &random);
  call.a = a.device;
  bool isOnce = c.isOwnMultiplier || c.isOwnResidual;
  Tensor &written = c.isOwnMultiplier ? multiplier : c.isOwnResidual ? residual : out;
  call.out = written.device;
  call.bias = c.bias ? bias.device : nullptr;
  call.residual = c.residual ? residual.device : nullptr;
  call.multiplier = c.multiplier ? multiplier.device : nullptr;
  int64_t before = cuda::emulatorStatistics().products[type];
  for (int round = 0; round < (isOnce ? 1 : 2); ++round) {
    runtime::Status status = harness.run(call);
    ASSERT_FALSE(status.failed()) << status.message();
  }
  if (products)
    *products = cuda::emulatorStatistics().products[type] - before;
  bool isNarrow = type == cuda::kBlasF16 || type == cuda::kBlasBf16;
  int64_t dtype = isNarrow && cuda::emulatorStatistics().products[type] > before ? c.arithmetic : int64_t(LATHE_F32);
  std::vector<float> got = written.read();
  for (int64_t i = 0; i < c.batch * c.m; ++i) {
    std::vector<float> left = leftRow(call, a.host.data() + i * call.a_row);
    for (int64_t j = 0; j < call.n; ++j) {
      double x = 0, size = 0;
      for (int64_t l = 0; l < call.k; ++l) {
        double term =
            double(roundedTo(dtype, left[size_t(l)])) * roundedTo(dtype, weight.dense[size_t(l * call.n + j)]);
        x += term;
        size += std::fabs(term);
      }
      auto at = size_t(i * call.out_row + j);
      x = cuda::activated(c.activation, x + (c.bias ? bias.host[size_t(j)] : 0));
      x = x * (c.multiplier ? multiplier.host[at] : 1) + (c.residual ? residual.host[at] : 0);
      ASSERT_NEAR(got[at], x, 2e-6 * (1 + size) * (c.multiplier ? 2 : 1)) << i << ", " << j;
    }
  }
}

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_CUDA_QUANTIZEDPRODUCTS_H
