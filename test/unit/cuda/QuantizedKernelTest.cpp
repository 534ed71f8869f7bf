//===- QuantizedKernelTest.cpp - Products with weights of few bits --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/KernelSupport.h"
#include "test/unit/cuda/RoundedTo.h"
#include "test/unit/runtime/QuantizedSupport.h"

namespace lathe::cuda {
namespace {

using runtime::QuantizedLayout;
using test::RandomQuantized;

void addWeight(TestMemory &memory, const RandomQuantized &weight) {
  memory.allocations.push_back({weight.packed.data(), weight.layout.bytes()});
}

/// How far a product's terms may be from those of exact weights where it rounds what codes stand for to `type`, beside
/// what they are as that already.
double weightError(const QuantizedLayout &layout, int64_t type) {
  bool isWhole = layout.values == runtime::CodeValues::integer && layout.zeros != runtime::ZeroType::scale;
  bool isFloat = layout.values == runtime::CodeValues::e4m3 || layout.values == runtime::CodeValues::e5m2;
  return type == LATHE_F32 || isWhole || (isFloat && layout.zero == 0 && layout.zeros == runtime::ZeroType::constant)
             ? 0
         : type == LATHE_F16 ? 5e-4
                             : 4e-3;
}

/// `kernel`: the one that is to be chosen, or any where it is empty.
void checkProduct(const QuantizedLayout &wanted, int64_t m, int64_t dtype = LATHE_F32, bool epilogue = false,
                  int64_t arithmetic = LATHE_F32, const std::string &kernel = "") {
  SCOPED_TRACE(test::describe(wanted) + " m " + std::to_string(m) + " type " + std::to_string(dtype) + " as " +
               std::to_string(arithmetic));
  RandomQuantized weight(wanted, 5);
  int64_t k = wanted.k, n = wanted.n, row = n + 2;
  Numbers a(dtype, size_t(m * k)), out(dtype, size_t(m * row)), bias(dtype, size_t(n)),
      residual(dtype, size_t(m * row));
  TestMemory memory;
  addWeight(memory, weight);
  unsigned seed = 1;
  for (Numbers *numbers : {&a, &out, &bias, &residual}) {
    numbers->randomize(seed++);
    numbers->addTo(memory);
  }
  lathe_matmul_call call = {};
  call.a = a.data();
  call.dtype = dtype;
  call.arithmetic = arithmetic;
  call.a_row = 1; // columns of a, side by side
  call.a_col = m;
  call.m = m, call.n = n, call.k = k;
  call.out = out.data();
  call.out_row = row;
  call.alpha = 1;
  call.batch[0] = call.batch[1] = call.batch[2] = 1;
  if (epilogue) {
    call.bias = bias.data();
    call.residual = residual.data();
    call.activation = LATHE_ACT_GELU_ERF;
  }
  QuantizedMatmulArgs args = quantizedMatmulArgs(call, weight.layout, weight.packed.data());
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(quantizedMatmulLaunch(args, dtype, &launch, &why)) << why;
  bool isMatrix = launch.function.find("_mma_") != std::string::npos;
  EXPECT_TRUE(kernel.empty() || launch.function == kernel) << launch.function;
  EXPECT_TRUE(launch.function.empty() || isMatrix == (m > 1 && multipliesCodes(call, weight.layout)));
  launchOn(memory, launch);
  int64_t type = isMatrix ? arithmetic : LATHE_F32;
  double error = out.tolerance() + weightError(weight.layout, isMatrix ? args.arithmetic : LATHE_F32);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double x = 0, size = 0;
      for (int64_t l = 0; l < k; ++l) {
        double term = double(test::roundedTo(type, a.get(size_t(l * m + i)))) * weight.dense[size_t(l * n + j)];
        x += term;
        size += std::fabs(term);
      }
      if (epilogue)
        x = activated(LATHE_ACT_GELU_ERF, x + bias.get(size_t(j))) + residual.get(size_t(i * row + j));
      EXPECT_NEAR(out.get(size_t(i * row + j)), x, error * (1 + size)) << i << ", " << j;
    }
}

TEST(QuantizedKernel, AllLayouts) {
  for (const QuantizedLayout &layout : test::layoutsFor(200, 35, 64))
    for (int64_t m : {1, 3})
      checkProduct(layout, m);
}

TEST(QuantizedKernel, LongRows) { // of several chunks
  for (const QuantizedLayout &layout : test::layoutsFor(2500, 20, 768))
    if (layout.zeros == runtime::ZeroType::u8)
      for (int64_t m : {1, 2})
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

TEST(QuantizedKernel, ByMatrixInstructions) {
  int64_t type = LATHE_F16; // of neighbours, which differ in zero points, another one
  auto other = [&] { return type = type == LATHE_F16 ? LATHE_BF16 : LATHE_F16; };
  for (const QuantizedLayout &layout : test::layoutsFor(200, 35, 128))
    for (int64_t m : {2, 11})
      checkProduct(layout, m, LATHE_F32, false, m == 2 ? other() : type);
  for (const QuantizedLayout &layout : test::layoutsFor(2500, 20, 768)) // of several chunks
    if (layout.zeros == runtime::ZeroType::u8)
      for (int64_t m : {8, 32})
        checkProduct(layout, m, LATHE_F32, m == 8, other());
}

TEST(QuantizedKernel, ShapesByMatrixInstructions) {
  for (int64_t bits : {8, 4})
    for (int64_t k : {1, 7, 33, 130, 640})
      for (int64_t n : {1, 16, 17, 70})
        for (int64_t m : {0, 1, 2, 9, 33}) {
          QuantizedLayout layout;
          layout.k = k, layout.n = n;
          layout.bits = bits;
          layout.group = k > 32 ? 32 : k;
          layout.zero = 3;
          checkProduct(layout, m, LATHE_F32, m == 9, n % 2 ? LATHE_F16 : LATHE_BF16);
        }
  QuantizedLayout layout;
  layout.k = 96, layout.group = 96;
  for (int64_t n : {8200, 16400}) { // blocks of 32 and 64 columns
    layout.n = n;
    checkProduct(layout, 3, LATHE_F16, true, LATHE_F16, "lathe_quantized_mma_f16_f16_integer8_r8");
  }
  layout.bits = 4, layout.group = 32;
  for (int64_t n : {8200, 16400}) {
    layout.k = n == 8200 ? 96 : 530; // of two chunks
    layout.n = n;
    checkProduct(layout, 9, LATHE_BF16, false, LATHE_BF16, "lathe_quantized_mma_bf16_bf16_integer4_r32");
  }
  checkProduct(layout, 1, LATHE_F32, false, LATHE_F16, "lathe_quantized_f32_integer4_r1");
  layout.n = 20, layout.group = 8; // instructions would be of several groups
  checkProduct(layout, 9, LATHE_F32, false, LATHE_F16, "lathe_quantized_f32_integer4_r8");
}

/// Batches of rounded rows.
void checkRounded(int64_t quantization) {
  QuantizedLayout layout;
  layout.k = layout.group = 40, layout.n = 18, layout.zero = 120;
  RandomQuantized weight(layout, 5);
  constexpr int64_t m = 3, k = 40, n = 18;
  Numbers a(LATHE_F32, 2 * 5 * m * k), out(LATHE_F32, 10 * m * n);
  std::vector<float> rounded(10 * m * k);
  a.randomize(4);
  for (size_t i = 0; i < size_t(k); ++i)
    a.set(i, 0); // a row of zeros has no scale of its own
  TestMemory memory;
  addWeight(memory, weight);
  a.addTo(memory);
  out.addTo(memory);
  memory.add(rounded);
  lathe_matmul_call call = {};
  call.a = a.data();
  call.out = out.data();
  call.m = m, call.n = n, call.k = k;
  call.a_row = k, call.a_col = 1, call.out_row = n;
  call.alpha = 1;
  call.batch[0] = 2, call.batch[1] = 1, call.batch[2] = 5;
  call.a_batch[0] = 5 * m * k, call.a_batch[2] = m * k;
  call.out_batch[0] = m * n, call.out_batch[2] = 2 * m * n; // batches lie the other way around
  call.a_quantization = quantization;
  call.a_scale = 0.013;
  call.a_zero = -30;
  RoundArgs round = roundArgs(call, rounded.data());
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(roundLaunch(round, LATHE_F32, &launch, &why)) << why;
  launchOn(memory, launch);
  QuantizedMatmulArgs args = quantizedMatmulArgs(call, weight.layout, weight.packed.data());
  setRounded(round, &args);
  ASSERT_TRUE(quantizedMatmulLaunch(args, LATHE_F32, &launch, &why)) << why;
  launchOn(memory, launch);
  for (int64_t batch = 0; batch < 10; ++batch)
    for (int64_t i = 0; i < m; ++i) {
      const float *row = &a.wide[size_t((batch * m + i) * k)];
      float most = 0, scale = 0.013f, zero = -30;
      for (int64_t l = 0; l < k; ++l)
        most = std::max(most, std::fabs(row[l]));
      if (quantization == LATHE_QUANTIZE_ROWS)
        scale = most > 0 ? most / 127 : 1, zero = 0;
      for (int64_t j = 0; j < n; ++j) {
        double x = 0;
        for (int64_t l = 0; l < k; ++l) {
          float code = std::clamp(std::nearbyint(row[l] * (1 / scale)) + zero, -128.0f, 127.0f);
          x += double(code - zero) * scale * weight.dense[size_t(l * n + j)];
        }
        EXPECT_NEAR(out.wide[size_t((batch / 5 + batch % 5 * 2) * m * n + i * n + j)], x, 1e-4);
      }
    }
}

TEST(QuantizedKernel, RoundedLeftSides) {
  checkRounded(LATHE_QUANTIZE_ROWS);
  checkRounded(LATHE_QUANTIZE_STATIC);
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

TEST(QuantizedKernel, ExpandsWeights) {
  for (const QuantizedLayout &layout : test::layoutsFor(100, 19, 32)) {
    SCOPED_TRACE(test::describe(layout));
    RandomQuantized weight(layout, 3);
    constexpr int64_t kRow = 104;
    for (auto [dtype, error] : {std::pair<int64_t, float>(LATHE_F32, 1e-6f), {LATHE_F16, 5e-4f}, {LATHE_BF16, 4e-3f}}) {
      Numbers out(dtype, 19 * kRow);
      TestMemory memory;
      addWeight(memory, weight);
      out.addTo(memory);
      KernelLaunch launch;
      std::string why;
      ASSERT_TRUE(expandLaunch(quantizedArgs(weight.layout, weight.packed.data()), 0, weight.layout.n, out.data(),
                               dtype, kRow, &launch, &why))
          << why;
      launchOn(memory, launch);
      for (int64_t k = 0; k < 100; ++k)
        for (int64_t n = 0; n < 19; ++n) {
          float expected = weight.dense[size_t(k * 19 + n)];
          ASSERT_NEAR(out.get(size_t(n * kRow + k)), expected, error * std::fabs(expected) + 1e-5f) << dtype;
        }
    }
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
