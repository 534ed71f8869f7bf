//===- NarrowProductsTest.cpp - Products in 16 bits on the device -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/SmallFloats.h"
#include "test/unit/cuda/DeviceNumbers.h"

#include <cmath>
#include <cstdlib>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;
using testing::HasSubstr;

namespace {

float rounded(int64_t dtype, float value) {
  return dtype == LATHE_F16    ? runtime::halfValue(runtime::toHalf(value))
         : dtype == LATHE_BF16 ? runtime::bfloatValue(runtime::toBfloat(value))
                               : value;
}

struct Case {
  int64_t dtype, m, n, k;
  int64_t activation = LATHE_ACT_NONE;
  bool bias = false, residual = false, multiplier = false;
  int64_t gap = 0;    ///< between rows
  bool tallA = false; ///< a lies by columns
  bool tallB = false;
  bool spread = false; ///< no stride of a is 1
  int64_t batch = 1;
};

/// What is in the type of the call is rounded once: by half a step of it, beside sums in another order.
void check(Harness &harness, const Case &c) {
  SCOPED_TRACE(testing::Message() << "type " << c.dtype << " " << c.m << "x" << c.n << "x" << c.k << " act "
                                  << c.activation);
  auto span = [&](int64_t rows, int64_t row, int64_t cols, int64_t col) {
    return rows && cols ? (rows - 1) * row + (cols - 1) * col + 1 : 1;
  };
  lathe_matmul_call call = {};
  call.dtype = c.dtype;
  call.weight = -1;
  call.alpha = 0.5;
  call.activation = c.activation;
  call.m = c.m, call.n = c.n, call.k = c.k;
  call.a_row = c.tallA ? 1 : c.spread ? 2 * c.k + 1 : c.k + c.gap;
  call.a_col = c.tallA ? c.m + c.gap : c.spread ? 2 : 1;
  call.b_row = c.tallB ? 1 : c.n + c.gap, call.b_col = c.tallB ? c.k + c.gap : 1;
  call.out_row = c.n + c.gap;
  call.batch[0] = call.batch[2] = 1, call.batch[1] = c.batch;
  int64_t aItem = span(c.m, call.a_row, c.k, call.a_col), bItem = span(c.k, call.b_row, c.n, call.b_col);
  int64_t outItem = c.m * call.out_row;
  call.a_batch[1] = aItem, call.b_batch[1] = bItem, call.out_batch[1] = outItem;
  auto many = [&](int64_t item) { return size_t(item * c.batch + 1); };
  DeviceNumbers a(harness, c.dtype, many(aItem), 1), b(harness, c.dtype, many(bItem), 2),
      out(harness, c.dtype, many(outItem), 0), bias(harness, c.dtype, size_t(c.n) + 1, 3),
      residual(harness, c.dtype, many(outItem), 4), multiplier(harness, c.dtype, many(outItem), 5);
  call.a = a.device, call.b = b.device, call.out = out.device;
  call.bias = c.bias ? bias.device : nullptr;
  call.residual = c.residual ? residual.device : nullptr;
  call.multiplier = c.multiplier ? multiplier.device : nullptr;
  runtime::Status status = harness.run(call);
  ASSERT_FALSE(status.failed()) << status.message();
  Numbers got = out.read();
  std::vector<bool> isResult(got.size());
  for (int64_t batch = 0; batch < c.batch; ++batch)
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t j = 0; j < c.n; ++j) {
        double x = 0;
        for (int64_t l = 0; l < c.k; ++l)
          x += double(a.host.get(size_t(batch * aItem + i * call.a_row + l * call.a_col))) *
               b.host.get(size_t(batch * bItem + l * call.b_row + j * call.b_col));
        auto at = size_t(batch * outItem + i * call.out_row + j);
        x = activated(c.activation, 0.5 * x + (c.bias ? bias.host.get(size_t(j)) : 0));
        x = x * (c.multiplier ? multiplier.host.get(at) : 1) + (c.residual ? residual.host.get(at) : 0);
        double step = c.dtype == LATHE_F16 ? std::ldexp(1, -11) : std::ldexp(1, -8);
        ASSERT_NEAR(got.get(at), x, step * std::fabs(x) + 1e-5 * double(1 + c.k)) << batch << ", " << i << ", " << j;
        isResult[at] = true;
      }
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_TRUE(isResult[i] || std::isnan(got.get(i))) << i << ": written outside of the result";
}

class NarrowProducts : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override { EXPECT_EQ(emulatorStatistics().allocations, 0u); }
};

TEST_F(NarrowProducts, OfManyShapesAndStrides) {
  Harness harness;
  harness.start();
  std::mt19937 random(3);
  auto pick = [&](std::initializer_list<int64_t> values) { return values.begin()[random() % values.size()]; };
  for (int trial = 0; trial < 200; ++trial) {
    Case c = {pick({LATHE_F16, LATHE_BF16}), pick({0, 1, 2, 9, 33}), pick({0, 1, 3, 16, 31}), pick({0, 1, 5, 24})};
    c.activation = pick({LATHE_ACT_NONE, LATHE_ACT_RELU, LATHE_ACT_GELU_TANH, LATHE_ACT_GELU_ERF, LATHE_ACT_SILU});
    c.bias = random() % 2, c.residual = random() % 2, c.multiplier = random() % 4 == 0;
    c.gap = pick({0, 0, 3});
    c.tallA = random() % 4 == 0, c.tallB = random() % 3 == 0, c.spread = random() % 4 == 0;
    c.batch = pick({1, 1, 3});
    check(harness, c);
    if (HasFatalFailure())
      return;
  }
}

/// f32 by weights of 16 bits: the left side is rounded to them, sums and results are not.
TEST_F(NarrowProducts, OfF32ByWeightsOf16Bits) {
  Harness harness;
  constexpr int64_t k = 37, n = 11;
  std::mt19937 random(10);
  std::vector<uint16_t> half, bfloat;
  for (int i = 0; i < k * n; ++i) {
    float value = static_cast<float>(random() % 2001) / 1000 - 1;
    half.push_back(runtime::toHalf(value));
    bfloat.push_back(runtime::toBfloat(value));
  }
  harness.services.addConstant(LATHE_F16, k, n, half);
  harness.services.addConstant(LATHE_BF16, k, n, bfloat);
  harness.start();
  Tensor first(harness, 1, &random); // from whose copy on there is pinned memory
  int64_t bytes = harness.services.held;
  for (int64_t weight : {0, 1})
    for (int64_t m : {1, 2, 19})
      for (int64_t activation : {LATHE_ACT_NONE, LATHE_ACT_GELU_TANH, LATHE_ACT_GELU_ERF}) {
        lathe_matmul_call call = {};
        call.dtype = LATHE_F32;
        call.weight = weight;
        call.alpha = 1;
        call.activation = activation;
        call.m = m, call.n = n, call.k = k;
        call.a_row = k, call.a_col = 1, call.b_row = n, call.b_col = 1, call.out_row = n;
        call.batch[0] = call.batch[1] = 1, call.batch[2] = 2;
        call.a_batch[2] = m * k, call.out_batch[2] = m * n;
        Tensor a(harness, size_t(2 * m * k), &random), bias(harness, n, &random),
            out(harness, size_t(2 * m * n), nullptr), residual(harness, size_t(2 * m * n), &random);
        call.a = a.device, call.out = out.device, call.bias = bias.device;
        call.residual = residual.device;
        int64_t type = weight ? LATHE_BF16 : LATHE_F16;
        auto products = [&] { return emulatorStatistics().products[weight ? kBlasBf16 : kBlasF16]; };
        int64_t before = products();
        runtime::Status status = harness.run(call);
        ASSERT_FALSE(status.failed()) << status.message();
        EXPECT_EQ(products(), before + (2 * m > kFewRows)); // batches of one weight are one product
        std::vector<float> got = out.read();
        for (int64_t i = 0; i < 2 * m; ++i)
          for (int64_t j = 0; j < n; ++j) {
            double x = bias.host[size_t(j)];
            for (int64_t l = 0; l < k; ++l)
              x += double(rounded(type, a.host[size_t(i * k + l)])) *
                   (weight ? runtime::bfloatValue(bfloat[size_t(l * n + j)])
                           : runtime::halfValue(half[size_t(l * n + j)]));
            x = activated(activation, x) + residual.host[size_t(i * n + j)];
            EXPECT_NEAR(got[size_t(i * n + j)], x, 2e-5);
          }
      }
  // Rounded left sides take 2 bytes a number, and weights no second copy.
  EXPECT_LE(harness.services.held - bytes, 2 * 19 * 40 * 2 + 2 * 19 * 11 * 4 + 4096);
}

/// A left side that has the weight's type is read where it is, and a result is rounded once, behind the epilogue, whose
/// numbers are f32.
TEST_F(NarrowProducts, OfSidesThatHave16Bits) {
  Harness harness;
  constexpr int64_t k = 37, n = 11, m = 5;
  std::mt19937 random(11);
  std::vector<uint16_t> weights[2];
  for (int i = 0; i < k * n; ++i) {
    float value = static_cast<float>(random() % 2001) / 1000 - 1;
    weights[0].push_back(runtime::toHalf(value));
    weights[1].push_back(runtime::toBfloat(value));
  }
  harness.services.addConstant(LATHE_F16, k, n, weights[0]);
  harness.services.addConstant(LATHE_BF16, k, n, weights[1]);
  harness.start();
  for (int trial = 0; trial < 60; ++trial) {
    bool isBfloat = trial % 2 != 0, narrowA = trial % 3 != 0, narrowOut = trial % 4 != 0, isPlain = trial % 5 == 0;
    int64_t type = isBfloat ? LATHE_BF16 : LATHE_F16, outType = trial % 7 == 0 ? LATHE_F16 : type;
    lathe_matmul_call call = {};
    call.dtype = LATHE_F32;
    call.weight = isBfloat;
    call.alpha = 0.5;
    call.activation = isPlain ? LATHE_ACT_NONE : trial % 3 ? LATHE_ACT_GELU_ERF : LATHE_ACT_RELU;
    call.m = m, call.n = n, call.k = k;
    call.a_row = k, call.a_col = 1, call.b_row = n, call.b_col = 1, call.out_row = n;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.a_bytes = narrowA ? (isBfloat ? LATHE_BYTES_BF16 : LATHE_BYTES_F16) : LATHE_BYTES_NONE;
    call.out_bytes = !narrowOut ? LATHE_BYTES_NONE : outType == LATHE_BF16 ? LATHE_BYTES_BF16 : LATHE_BYTES_F16;
    DeviceNumbers a(harness, narrowA ? type : LATHE_F32, m * k, 20), bias(harness, LATHE_F32, n, 21),
        residual(harness, LATHE_F32, m * n, 22), multiplier(harness, LATHE_F32, m * n, 23),
        out(harness, narrowOut ? outType : LATHE_F32, m * n, 0);
    call.a = a.device, call.out = out.device;
    if (!isPlain) {
      call.bias = bias.device;
      call.residual = residual.device;
      call.multiplier = trial % 2 ? multiplier.device : nullptr;
    }
    runtime::Status status = harness.run(call);
    ASSERT_FALSE(status.failed()) << status.message();
    Numbers got = out.read();
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double x = 0;
        for (int64_t l = 0; l < k; ++l) {
          uint16_t w = weights[isBfloat][size_t(l * n + j)];
          x += double(rounded(type, a.host.get(size_t(i * k + l)))) *
               (isBfloat ? runtime::bfloatValue(w) : runtime::halfValue(w));
        }
        auto at = size_t(i * n + j);
        x = activated(call.activation, 0.5 * x + (call.bias ? bias.host.get(size_t(j)) : 0));
        x = x * (call.multiplier ? multiplier.host.get(at) : 1) + (call.residual ? residual.host.get(at) : 0);
        double step = !narrowOut ? 0 : outType == LATHE_F16 ? std::ldexp(1, -11) : std::ldexp(1, -8);
        ASSERT_NEAR(got.get(at), x, step * std::fabs(x) + 2e-5) << trial << ": " << i << ", " << j;
      }
  }
}

TEST_F(NarrowProducts, RefusesSidesOfOtherTypes) {
  Harness harness;
  harness.services.addConstant(LATHE_F16, 1, 1, std::vector<uint16_t>{runtime::toHalf(1)});
  harness.start();
  Tensor a(harness, 1, nullptr), out(harness, 1, nullptr);
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.alpha = 1;
  call.m = call.n = call.k = 1;
  call.a_row = call.a_col = call.b_row = call.b_col = call.out_row = 1;
  call.batch[0] = call.batch[1] = call.batch[2] = 1;
  call.a = call.b = a.device, call.out = out.device;
  call.a_bytes = LATHE_BYTES_BF16; // by a weight of f16
  EXPECT_THAT(harness.run(call).message(), HasSubstr("the device has no product by constant"));
  call.a_bytes = LATHE_BYTES_SIGNED;
  EXPECT_THAT(harness.run(call).message(), HasSubstr("sides are of these types"));
  call.a_bytes = LATHE_BYTES_F16;
  call.weight = -1;
  EXPECT_THAT(harness.run(call).message(), HasSubstr("sides are of these types"));
}

/// What f16 does not hold is its largest number, not infinite.
TEST_F(NarrowProducts, BoundsWhatF16DoesNotHold) {
  Harness harness;
  harness.services.addConstant(LATHE_F16, 1, 1, std::vector<uint16_t>{runtime::toHalf(1)});
  harness.start();
  for (auto [value, want] : {std::pair(1e6f, 65504.0f), {-1e6f, -65504.0f}, {INFINITY, INFINITY}, {3.0f, 3.0f}}) {
    Tensor a(harness, 1, nullptr), out(harness, 1, nullptr);
    ASSERT_FALSE(harness.session->upload(a.device, &value, 4).failed());
    lathe_matmul_call call = {};
    call.dtype = LATHE_F32;
    call.alpha = 1;
    call.m = call.n = call.k = 1;
    call.a_row = call.a_col = call.b_row = call.b_col = call.out_row = 1;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.a = a.device, call.out = out.device;
    ASSERT_FALSE(harness.run(call).failed());
    EXPECT_EQ(out.read()[0], want);
  }
}

/// A left side that several products read is rounded once, if nothing else was in between.
TEST_F(NarrowProducts, RoundsSharedLeftSidesOnce) {
  Harness harness;
  std::mt19937 random(4);
  harness.services.addConstant(LATHE_BF16, 8, 8, std::vector<uint16_t>(64, runtime::toBfloat(1)));
  harness.start();
  Tensor a(harness, 72, &random), other(harness, 72, &random), out(harness, 72, nullptr);
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.alpha = 1;
  call.m = 9; // more than a kernel of our own multiplies
  call.n = call.k = 8;
  call.a_row = call.b_row = call.out_row = 8, call.a_col = call.b_col = 1;
  call.batch[0] = call.batch[1] = call.batch[2] = 1;
  call.out = out.device;
  auto launches = [&](void *left, bool again) {
    call.a = left;
    call.a_again = again;
    int64_t before = emulatorStatistics().launches;
    EXPECT_FALSE(harness.run(call).failed());
    return emulatorStatistics().launches - before;
  };
  EXPECT_EQ(launches(a.device, false), 1);
  EXPECT_EQ(launches(a.device, true), 0);
  std::vector<float> once = out.read();
  EXPECT_EQ(launches(a.device, false), 1);
  EXPECT_EQ(out.read(), once);
  EXPECT_EQ(launches(other.device, false), 1);
  EXPECT_EQ(launches(a.device, true), 1);
  EXPECT_EQ(out.read(), once);
}

TEST_F(NarrowProducts, MultipliesInTf32WhereThatIsAllowed) {
  for (bool allowed : {false, true}) {
    setenv("LATHE_CUDA_TF32", allowed ? "1" : "0", 1);
    Harness harness;
    harness.start();
    unsetenv("LATHE_CUDA_TF32");
    float left = 1 + std::ldexp(1.0f, -12), right = 1 + std::ldexp(1.0f, -9); // of which tf32 holds the second
    Tensor a(harness, 1, nullptr), b(harness, 1, nullptr), out(harness, 1, nullptr);
    ASSERT_FALSE(harness.session->upload(a.device, &left, 4).failed());
    ASSERT_FALSE(harness.session->upload(b.device, &right, 4).failed());
    lathe_matmul_call call = {};
    call.dtype = LATHE_F32;
    call.weight = -1;
    call.alpha = 1;
    call.m = call.n = call.k = 1;
    call.a_row = call.a_col = call.b_row = call.b_col = call.out_row = 1;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.a = a.device, call.b = b.device, call.out = out.device;
    ASSERT_FALSE(harness.run(call).failed());
    EXPECT_EQ(out.read()[0], allowed ? right : left * right);
  }
}

/// What the library that is played refuses, as the real one does.
TEST(Blas, RefusesTypesThatDoNotGoTogether) {
  emulatorSettings() = {};
  CurrentDevice current;
  const BlasApi &blas = emulatorBlas();
  BlasHandle handle = nullptr;
  ASSERT_EQ(blas.create(&handle), kBlasSuccess);
  auto ask = [&](int compute, int operands, int result, bool transposed = false, int64_t size = 16,
                 uint32_t epilogue = kEpilogueDefault, uint32_t alignment = 16) {
    BlasDesc desc = nullptr;
    int status = blas.descCreate(&desc, compute, compute == kBlasComputeS32 ? kBlasS32 : kBlasF32);
    if (status)
      return status;
    int32_t trans = transposed;
    blas.descSet(desc, kDescTransA, &trans, sizeof(trans));
    blas.descSet(desc, kDescEpilogue, &epilogue, sizeof(epilogue));
    auto extent = static_cast<uint64_t>(size);
    BlasLayout a = nullptr, c = nullptr;
    blas.layoutCreate(&a, operands, extent, extent, size);
    blas.layoutCreate(&c, result, extent, extent, size);
    BlasPreference preference = nullptr;
    blas.preferenceCreate(&preference);
    for (int i = kPreferenceAlignmentA; i <= kPreferenceAlignmentD; ++i)
      blas.preferenceSet(preference, i, &alignment, sizeof(alignment));
    BlasHeuristic found;
    int count = 0;
    status = blas.heuristic(handle, desc, a, a, c, c, preference, 1, &found, &count);
    blas.preferenceDestroy(preference);
    blas.layoutDestroy(a);
    blas.layoutDestroy(c);
    blas.descDestroy(desc);
    return status;
  };
  for (int type : {kBlasF16, kBlasBf16}) {
    EXPECT_EQ(ask(kBlasComputeF32, type, type), kBlasSuccess);
    EXPECT_EQ(ask(kBlasComputeF32, type, kBlasF32), kBlasSuccess);
    EXPECT_EQ(ask(kBlasComputeF32, type, type == kBlasF16 ? kBlasBf16 : kBlasF16), kBlasNotSupported);
    EXPECT_EQ(ask(kBlasComputeF32, kBlasF32, type), kBlasNotSupported);
    EXPECT_EQ(ask(kBlasComputeTf32, type, type), kBlasNotSupported);
    EXPECT_EQ(ask(kBlasComputeF32, type, type, false, 15, kEpilogueGeluBias, 2), kBlasSuccess);
    EXPECT_EQ(ask(kBlasComputeF32, type, type, false, 15, kEpilogueDefault, 1), kBlasNotSupported);
  }
  EXPECT_EQ(ask(kBlasComputeF32, kBlasF32, kBlasF32, false, 16, kEpilogueDefault, 2), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeS32, kBlasS8, kBlasS32, true), kBlasSuccess);
  EXPECT_EQ(ask(kBlasComputeS32, kBlasS8, kBlasS32, false), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeS32, kBlasS8, kBlasS32, true, 18), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeS32, kBlasS8, kBlasS32, true, 16, kEpilogueBias), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeS32, kBlasS8, kBlasS32, true, 16, kEpilogueDefault, 2), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeS32, kBlasS8, kBlasF32, true), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeS32, kBlasF16, kBlasF16), kBlasNotSupported);
  for (int result : {kBlasF32, kBlasF16, kBlasBf16})
    EXPECT_EQ(ask(kBlasComputeF32, kBlasE4m3, result, true), kBlasSuccess);
  EXPECT_EQ(ask(kBlasComputeF32, kBlasE4m3, kBlasE4m3, true), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeF32, kBlasE4m3, kBlasF32, false), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeF32, kBlasE4m3, kBlasF32, true, 24), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeF32, kBlasE4m3, kBlasF32, true, 16, kEpilogueBias), kBlasNotSupported);
  EXPECT_EQ(ask(kBlasComputeF32, kBlasE4m3, kBlasF32, true, 16, kEpilogueDefault, 8), kBlasNotSupported);
  emulatorSettings().capability = 80;
  EXPECT_EQ(ask(kBlasComputeF32, kBlasE4m3, kBlasF32, true), kBlasNotSupported);
  emulatorSettings() = {};
  blas.destroy(handle);
}

} // namespace
