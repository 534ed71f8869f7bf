//===- QuantizedKernelTest.cpp - Products with weights of few bits --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/KernelSupport.h"
#include "test/unit/runtime/QuantizedSupport.h"

namespace lathe::cuda {
namespace {

using runtime::QuantizedLayout;
using test::RandomQuantized;

void addWeight(TestMemory &memory, const RandomQuantized &weight) {
  memory.allocations.push_back({weight.packed.data(), weight.layout.bytes()});
}

void checkProduct(const QuantizedLayout &wanted, int64_t m, int64_t dtype = LATHE_F32, bool epilogue = false) {
  SCOPED_TRACE(test::describe(wanted) + " m " + std::to_string(m) + " type " + std::to_string(dtype));
  RandomQuantized weight(wanted, 5);
  int64_t k = wanted.k, n = wanted.n, row = n + 2;
  Numbers a(dtype, size_t(m * k)), out(dtype, size_t(m * row)), bias(dtype, size_t(n)), residual(dtype, size_t(m * row));
  TestMemory memory;
  addWeight(memory, weight);
  unsigned seed = 1;
  for (Numbers *numbers : {&a, &out, &bias, &residual}) {
    numbers->randomize(seed++);
    numbers->addTo(memory);
  }
  QuantizedMatmulArgs args = {};
  args.weight = quantizedArgs(weight.layout, weight.packed.data());
  args.a = a.data();
  args.a_row = 1; // columns of a, side by side
  args.a_col = m;
  args.epilogue.out = out.data();
  args.epilogue.m = m;
  args.epilogue.n = n;
  args.epilogue.out_row = row;
  args.epilogue.alpha = 1;
  if (epilogue) {
    args.epilogue.bias = bias.data();
    args.epilogue.residual = residual.data();
    args.epilogue.activation = LATHE_ACT_GELU_ERF;
  }
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(quantizedMatmulLaunch(args, dtype, &launch, &why)) << why;
  launchOn(memory, launch);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double x = 0, size = 0;
      for (int64_t l = 0; l < k; ++l) {
        double term = double(a.get(size_t(l * m + i))) * weight.dense[size_t(l * n + j)];
        x += term;
        size += std::fabs(term);
      }
      if (epilogue)
        x = activated(LATHE_ACT_GELU_ERF, x + bias.get(size_t(j))) + residual.get(size_t(i * row + j));
      EXPECT_NEAR(out.get(size_t(i * row + j)), x, out.tolerance() * (1 + size)) << i << ", " << j;
    }
}

TEST(QuantizedKernel, AllLayouts) {
  for (const QuantizedLayout &layout : test::layoutsFor(200, 35, 64))
    for (int64_t m : {1, 3})
      checkProduct(layout, m);
}

TEST(QuantizedKernel, Shapes) {
  for (int64_t bits : {8, 4}) {
    for (int64_t k : {1, 7, 33, 130})
      for (int64_t n : {1, 16, 17, 70})
        for (int64_t m : {0, 1, 9, 17}) {
          QuantizedLayout layout;
          layout.k = k, layout.n = n;
          layout.bits = bits;
          layout.group = k > 32 ? 32 : k;
          layout.zero = 3;
          checkProduct(layout, m);
        }
    QuantizedLayout layout;
    layout.k = 96, layout.n = 40, layout.bits = bits, layout.group = 32;
    for (int64_t dtype : {LATHE_F32, LATHE_F16, LATHE_BF16})
      for (int64_t m : {1, 5})
        checkProduct(layout, m, dtype, true);
  }
}

TEST(QuantizedKernel, RefusesOtherTypes) {
  QuantizedLayout layout;
  layout.k = layout.n = layout.group = 16;
  layout.bits = 3;
  QuantizedMatmulArgs args = {};
  args.weight = quantizedArgs(layout, nullptr);
  KernelLaunch launch;
  std::string why;
  EXPECT_FALSE(quantizedMatmulLaunch(args, LATHE_F16, &launch, &why));
  EXPECT_EQ(why, "the cuda backend has products of type f16 with weights of 8 and 4 bits only; found integer3");
}

TEST(QuantizedKernel, RowsOfTables) {
  for (const QuantizedLayout &layout : test::layoutsFor(90, 35, 32)) {
    SCOPED_TRACE(test::describe(layout));
    RandomQuantized weight(layout, 7);
    std::vector<int32_t> indices = {0, 0, 34, 0, -1, 0, -35, 0, 35, 0, 17};
    std::vector<float> out(6 * 91, -5.0f);
    std::vector<int64_t> failures(2);
    TestMemory memory;
    addWeight(memory, weight);
    memory.add(indices);
    memory.add(out);
    memory.add(failures);
    QuantizedRowsArgs args = {};
    args.weight = quantizedArgs(weight.layout, weight.packed.data());
    args.indices = indices.data();
    args.index_bytes = 4;
    args.index_stride = 2;
    args.count = 6;
    args.out = out.data();
    args.out_row = 91;
    args.failures = failures.data();
    args.check = 4;
    KernelLaunch launch;
    std::string why;
    ASSERT_TRUE(quantizedRowsLaunch(args, &launch, &why)) << why;
    launchOn(memory, launch);
    const int64_t columns[] = {0, 34, 34, 0, -1, 17};
    for (int64_t i = 0; i < 6; ++i)
      for (int64_t k = 0; k < 90; ++k)
        ASSERT_NEAR(out[size_t(i * 91 + k)], columns[i] < 0 ? 0.0f : weight.dense[size_t(k * 35 + columns[i])], 1e-5)
            << i << " " << k;
    EXPECT_EQ(out[90], -5.0f);
    EXPECT_EQ(failures[0], 5);
    EXPECT_EQ(failures[1], 0);
  }
}

TEST(QuantizedKernel, IndicesOf64Bits) {
  QuantizedLayout layout;
  layout.k = 20, layout.n = 16, layout.group = 20;
  RandomQuantized weight(layout, 3);
  std::vector<int64_t> indices = {3, -2}, failures(2);
  std::vector<float> out(40);
  TestMemory memory;
  addWeight(memory, weight);
  memory.add(indices);
  memory.add(out);
  memory.add(failures);
  QuantizedRowsArgs args = {};
  args.weight = quantizedArgs(weight.layout, weight.packed.data());
  args.indices = indices.data();
  args.index_bytes = 8;
  args.index_stride = 1;
  args.count = 2;
  args.out = out.data();
  args.out_row = 20;
  args.failures = failures.data();
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(quantizedRowsLaunch(args, &launch, &why)) << why;
  launchOn(memory, launch);
  for (int64_t k = 0; k < 20; ++k) {
    EXPECT_NEAR(out[size_t(k)], weight.dense[size_t(k * 16 + 3)], 1e-5);
    EXPECT_NEAR(out[size_t(20 + k)], weight.dense[size_t(k * 16 + 14)], 1e-5);
  }
  EXPECT_EQ(failures[0], 0);
}

} // namespace
} // namespace lathe::cuda
