//===- ExpandedProductsTest.cpp - Products by weights that are expanded -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/SmallFloats.h"
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

TEST(ExpandedProducts, MultiplyIn16Bits) {
  for (const runtime::QuantizedLayout &layout : layoutsFor(100, 19, 32))
    for (auto [dtype, type] : kArithmetics) {
      Case c = {layout, 13};
      c.arithmetic = dtype;
      int64_t products = 0;
      check(c, &products, type);
      EXPECT_EQ(products, 2);
    }
}

TEST(ExpandedProducts, OfManyShapes) {
  for (int64_t k : {1, 7, 64, 129})
    for (int64_t n : {1, 32, 50})
      for (int64_t m : {12, 33})
        for (auto [dtype, type] : kArithmetics) {
          Case c = {layoutsFor(k, n, k).front(), m};
          c.arithmetic = dtype;
          c.bias = c.residual = m == 12;
          c.multiplier = c.spread = m == 33;
          c.activation = m == 33 ? LATHE_ACT_GELU_ERF : LATHE_ACT_NONE;
          c.batch = n == 32 ? 3 : 1;
          int64_t products = 0;
          check(c, &products, type);
          EXPECT_GE(products, 2);
        }
}

// The kernel for few rows reads codes, and its numbers are f32; what is rounded to codes is not rounded once more.
TEST(ExpandedProducts, ElseIn32Bits) {
  const runtime::QuantizedLayout layout = layoutsFor(64, 32, 32).front();
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
