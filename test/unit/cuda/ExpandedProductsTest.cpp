//===- ExpandedProductsTest.cpp - Products by weights that are expanded -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/SmallFloats.h"
#include "test/unit/cuda/DeviceNumbers.h"
#include "test/unit/cuda/QuantizedProducts.h"

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;

namespace {

struct Arithmetic {
  int64_t dtype;
  int type;
};
constexpr Arithmetic kArithmetics[] = {{LATHE_F16, kBlasF16}, {LATHE_BF16, kBlasBf16}};

/// Whether a kernel multiplies by such a weight in 16 bits.
bool hasKernel(const runtime::QuantizedLayout &layout, int64_t dtype) {
  lathe_matmul_call call = {};
  call.arithmetic = dtype;
  return multipliesCodes(call, layout);
}

TEST(ExpandedProducts, MultiplyIn16Bits) {
  int kernels = 0;
  for (const runtime::QuantizedLayout &layout : layoutsFor(100, 19, 32))
    for (auto [dtype, type] : kArithmetics) {
      Case c = {layout, hasKernel(layout, dtype) ? 65 : 13};
      kernels += hasKernel(layout, dtype);
      c.arithmetic = dtype;
      int64_t products = 0;
      check(c, &products, type);
      EXPECT_EQ(products, 2);
    }
  EXPECT_GT(kernels, 10);
}

TEST(ExpandedProducts, OfManyShapes) {
  for (int64_t k : {1, 7, 64, 129})
    for (int64_t n : {1, 32, 50})
      for (int64_t m : {65, 80})
        for (auto [dtype, type] : kArithmetics) {
          Case c = {layoutsFor(k, n, k).front(), m};
          c.arithmetic = dtype;
          c.bias = c.residual = m == 65;
          c.multiplier = c.spread = m == 80;
          c.activation = m == 80 ? LATHE_ACT_GELU_ERF : LATHE_ACT_NONE;
          c.batch = n == 32 ? 3 : 1;
          int64_t products = 0;
          check(c, &products, type);
          EXPECT_GE(products, 2);
        }
}

TEST(ExpandedProducts, UnderTypesOf16Bits) {
  for (const runtime::QuantizedLayout &layout : layoutsFor(100, 19, 32))
    if (layout.values == runtime::CodeValues::integer && layout.bits >= 4)
      for (auto [dtype, type] : kArithmetics)
        for (int64_t m : {65, 13, 3, 1}) {
          Harness harness;
          RandomQuantized weight(layout, 5);
          harness.services.addQuantized(weight.layout, weight.packed.data());
          harness.start();
          DeviceNumbers a(harness, dtype, m * layout.k, 3), bias(harness, dtype, layout.n, 4),
              out(harness, dtype, m * layout.n, 0);
          lathe_matmul_call call = callOf({layout, m});
          call.dtype = dtype;
          call.out_row = call.n;
          call.a = a.device, call.bias = bias.device, call.out = out.device;
          int64_t before = emulatorStatistics().products[type];
          runtime::Status status = harness.run(call);
          ASSERT_FALSE(status.failed()) << status.message();
          EXPECT_EQ(emulatorStatistics().products[type] - before, m == 65);
          Numbers got = out.read();
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < layout.n; ++j) {
              double x = bias.host.get(size_t(j)), size = 1;
              for (int64_t l = 0; l < layout.k; ++l) {
                double term = double(a.host.get(size_t(i * layout.k + l))) * weight.dense[size_t(l * layout.n + j)];
                x += term;
                size += std::fabs(term);
              }
              ASSERT_NEAR(got.get(size_t(i * layout.n + j)), x, 2 * got.tolerance() * size)
                  << describe(layout) << " m " << m << " at " << i << ", " << j;
            }
        }
}

// Single rows, and what instructions of 16 bits have no kernels for, are products of f32; what is rounded to codes is
// not rounded once more.
TEST(ExpandedProducts, ElseIn32Bits) {
  runtime::QuantizedLayout layout = layoutsFor(64, 32, 32).front();
  layout.group = 4;
  for (auto [dtype, type] : kArithmetics)
    for (Case c : {Case{layout, 1}, Case{layout, 8}, Case{layout, 11}, Case{layout, 0},
                   Case{layout, 40, LATHE_QUANTIZE_ROWS}, Case{layout, 40, LATHE_QUANTIZE_STATIC}}) {
      c.arithmetic = dtype;
      int64_t products = 0;
      check(c, &products, type);
      EXPECT_EQ(products, 0);
    }
}

} // namespace
