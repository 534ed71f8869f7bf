//===- VectorMathTest.cpp - Activations against double ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/GemmKernels.h"
#include "runtime/Abi.h"
#include "runtime/CpuFeatures.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <limits>
#include <vector>

using namespace lathe;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// An activation of numbers, by a product with 1.
std::vector<float> apply(const cpu::GemmKernels &kernels, int64_t activation, const std::vector<float> &x) {
  std::vector<float> result(x.size());
  const float one = 1;
  for (size_t at = 0; at < x.size(); at += cpu::kPanelColumns) {
    float panel[cpu::kPanelColumns] = {};
    cpu::GemmBlock block;
    block.a = &one;
    block.rows = block.depth = 1;
    block.columns = static_cast<int64_t>(std::min<size_t>(cpu::kPanelColumns, x.size() - at));
    std::memcpy(panel, x.data() + at, static_cast<size_t>(block.columns) * sizeof(float));
    block.b = panel;
    block.width = cpu::kPanelColumns;
    block.out = result.data() + at;
    block.activation = activation;
    block.next = reinterpret_cast<const char *>(panel);
    kernels.f32(block);
  }
  return result;
}

/// Every 4099th number of f32: all signs, exponents, and a thousand fractions.
std::vector<float> sample() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += 4099) {
    auto narrow = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &narrow, sizeof(value));
    if (std::isfinite(value))
      x.push_back(value);
  }
  for (float value : {0.0f, -0.0f, 1e-45f, -1e-45f, 0x1p-126f, 88.0f, -88.0f, 104.0f, -104.0f, 0x1.fffffep127f, -0x1.fffffep127f})
    x.push_back(value);
  return x;
}

struct Bound {
  const char *name;
  int64_t activation;
  std::function<double(double)> exact;
  double ulps;     ///< of the exact result, or
  double absolute; ///< where that is more; relative to the argument where that is above 1
};

double gaussian(double x) { return 0.5 * std::erfc(-x * M_SQRT1_2); }

const Bound kBounds[] = {
    {"tanh", LATHE_ACT_TANH, [](double x) { return std::tanh(x); }, 6, 0},
    {"sigmoid", LATHE_ACT_SIGMOID, [](double x) { return 1 / (1 + std::exp(-x)); }, 2, 1e-38},
    {"silu", LATHE_ACT_SILU, [](double x) { return x / (1 + std::exp(-x)); }, 3, 1e-36},
    {"gelu by erf", LATHE_ACT_GELU_ERF, [](double x) { return x * gaussian(x); }, 4, 3e-7},
    {"gelu by tanh", LATHE_ACT_GELU_TANH,
     [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }, 4, 3e-7},
    {"relu", LATHE_ACT_RELU, [](double x) { return x > 0 ? x : 0; }, 0, 0},
};

void check(const cpu::GemmKernels &kernels) {
  std::vector<float> x = sample();
  for (const Bound &bound : kBounds) {
    std::vector<float> y = apply(kernels, bound.activation, x);
    double worst = 0;
    float where = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      double exact = bound.exact(x[i]);
      auto nearest = static_cast<float>(std::abs(exact));
      double ulp = static_cast<double>(std::nextafter(nearest, kInfinity)) - nearest;
      if (!std::isfinite(ulp)) // next to the largest number
        ulp = 0x1p104;
      double allowed = std::max(bound.ulps * ulp, bound.absolute * std::max(1.0, std::abs(static_cast<double>(x[i])) * (exact != 0)));
      double excess = std::abs(y[i] - exact) - allowed;
      if (!(excess <= worst)) {
        worst = excess;
        where = x[i];
      }
    }
    EXPECT_EQ(worst, 0) << bound.name << " of " << where;
    std::vector<float> special = apply(kernels, bound.activation, {kNan, kInfinity, -kInfinity});
    EXPECT_TRUE(std::isnan(special[0])) << bound.name;
    EXPECT_EQ(special[1], bound.exact(1e30) > 2 ? kInfinity : 1) << bound.name;
  }
}

TEST(VectorMath, ActivationsAvx2) { check(cpu::kGemmAvx2); }

TEST(VectorMath, ActivationsAvx512) {
  const char *why = nullptr;
  if (!runtime::supportsIsa("avx512", &why))
    GTEST_SKIP() << why;
  check(cpu::kGemmAvx512);
}

} // namespace
