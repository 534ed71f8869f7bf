//===- ProductsTest.cpp - Matrix products on the device ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/SmallFloats.h"
#include "test/unit/cuda/Harness.h"

#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;
using testing::HasSubstr;

namespace {

float activate(int64_t activation, float x) {
  if (activation == LATHE_ACT_GELU_ERF)
    return 0.5f * x * (1 + std::erf(x * 0.70710678f));
  if (activation == LATHE_ACT_SILU)
    return x / (1 + std::exp(-x));
  if (activation == LATHE_ACT_RELU)
    return x > 0 ? x : 0;
  if (activation == LATHE_ACT_GELU_TANH)
    return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
  return x;
}

/// out after the call, by plain loops.
std::vector<float> expected(const lathe_matmul_call &call, const float *a, const float *b, const float *bias,
                            const float *residual, const float *multiplier, std::vector<float> out) {
  for (int64_t b0 = 0; b0 < call.batch[0]; ++b0)
    for (int64_t b1 = 0; b1 < call.batch[1]; ++b1)
      for (int64_t b2 = 0; b2 < call.batch[2]; ++b2)
        for (int64_t i = 0; i < call.m; ++i)
          for (int64_t j = 0; j < call.n; ++j) {
            auto offset = [&](const int64_t(&strides)[3]) {
              return b0 * strides[0] + b1 * strides[1] + b2 * strides[2];
            };
            double sum = 0;
            for (int64_t l = 0; l < call.k; ++l)
              sum += double(a[offset(call.a_batch) + i * call.a_row + l * call.a_col]) *
                     b[offset(call.b_batch) + l * call.b_row + j * call.b_col];
            int64_t at = offset(call.out_batch) + i * call.out_row + j;
            float value = activate(call.activation, static_cast<float>(call.alpha * sum) + (bias ? bias[j] : 0));
            out[static_cast<size_t>(at)] = value * (multiplier ? multiplier[at] : 1) + (residual ? residual[at] : 0);
          }
  return out;
}

lathe_matmul_call callOf(int64_t m, int64_t n, int64_t k) {
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.weight = -1;
  call.alpha = 1;
  call.m = m, call.n = n, call.k = k;
  call.a_row = k, call.a_col = 1;
  call.b_row = n, call.b_col = 1;
  call.out_row = n;
  for (int64_t &extent : call.batch)
    extent = 1;
  return call;
}

/// Elements that strides over extents reach.
size_t span(std::initializer_list<std::pair<int64_t, int64_t>> axes) {
  int64_t last = 0;
  for (auto [extent, stride] : axes)
    last += extent > 0 ? (extent - 1) * stride : 0;
  return static_cast<size_t>(last + 1);
}

/// Runs the call on random values and compares; what out holds between its elements must stay.
void check(Harness &harness, lathe_matmul_call call, bool bias, bool residual, bool multiplier, std::mt19937 &random) {
  auto batched = [&](const int64_t(&strides)[3], std::initializer_list<std::pair<int64_t, int64_t>> axes) {
    return span(axes) + span({{call.batch[0], strides[0]}, {call.batch[1], strides[1]}, {call.batch[2], strides[2]}});
  };
  Tensor a(harness, batched(call.a_batch, {{call.m, call.a_row}, {call.k, call.a_col}}), &random);
  Tensor b(harness, batched(call.b_batch, {{call.k, call.b_row}, {call.n, call.b_col}}), &random);
  size_t outSize = batched(call.out_batch, {{call.m, call.out_row}, {call.n, 1}});
  Tensor out(harness, outSize, nullptr), added(harness, outSize, &random), factors(harness, outSize, &random),
      shifts(harness, static_cast<size_t>(call.n) + 1, &random);
  call.a = a.device;
  call.b = b.device;
  call.bias = bias ? shifts.device : nullptr;
  call.residual = residual ? added.device : nullptr;
  call.multiplier = multiplier ? factors.device : nullptr;
  call.out = out.device;
  runtime::Status status = harness.run(call);
  ASSERT_FALSE(status.failed()) << status.message();
  std::vector<float> want =
      expected(call, a.host.data(), b.host.data(), bias ? shifts.host.data() : nullptr,
               residual ? added.host.data() : nullptr, multiplier ? factors.host.data() : nullptr, out.host);
  std::vector<float> got = out.read();
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isnan(want[i]))
      ASSERT_TRUE(std::isnan(got[i])) << i << ": written outside of the result";
    else
      ASSERT_NEAR(got[i], want[i], 1e-4 * (1 + static_cast<double>(call.k))) << i;
  }
}

class ProductsOnDevice : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override {
    EXPECT_EQ(emulatorStatistics().allocations, 0u);
    EXPECT_EQ(emulatorStatistics().handles, 0);
  }
};

TEST_F(ProductsOnDevice, OfManyShapesAndStrides) {
  Harness harness;
  harness.start();
  std::mt19937 random(7);
  auto pick = [&](std::initializer_list<int64_t> values) { return values.begin()[random() % values.size()]; };
  for (int trial = 0; trial < 400; ++trial) {
    lathe_matmul_call call = callOf(pick({0, 1, 2, 7, 33}), pick({0, 1, 3, 16, 31}), pick({0, 1, 5, 16}));
    call.alpha = static_cast<double>(pick({1, 2, -3}));
    call.activation = pick({LATHE_ACT_NONE, LATHE_ACT_RELU, LATHE_ACT_GELU_TANH, LATHE_ACT_GELU_ERF, LATHE_ACT_SILU});
    // Dense, with gaps between rows, by columns, or with gaps everywhere.
    auto layOut = [&](int64_t rows, int64_t cols, int64_t &row, int64_t &col) {
      switch (random() % 5) {
      case 0:
        row = cols + 3, col = 1;
        break;
      case 1:
        row = 1, col = rows;
        break;
      case 2:
        row = 2 * cols + 1, col = 2;
        break;
      case 3:
        row = 3, col = 3 * rows + 2;
        break;
      default:
        row = cols, col = 1;
      }
      return (rows > 0 ? rows - 1 : 0) * row + (cols > 0 ? cols - 1 : 0) * col + 1;
    };
    int64_t aItem = layOut(call.m, call.k, call.a_row, call.a_col),
            bItem = layOut(call.k, call.n, call.b_row, call.b_col);
    call.out_row = call.n + pick({0, 2});
    int64_t outItem = call.m * call.out_row;
    for (int i = 2; i >= 0; --i) {
      call.batch[i] = pick({1, 1, 2, 3});
      call.a_batch[i] = random() % 3 ? aItem : 0;
      call.b_batch[i] = random() % 3 ? bItem : 0;
      call.out_batch[i] = outItem;
      aItem = call.a_batch[i] ? aItem * call.batch[i] : aItem;
      bItem = call.b_batch[i] ? bItem * call.batch[i] : bItem;
      outItem *= call.batch[i];
    }
    SCOPED_TRACE(testing::Message() << "trial " << trial << ": " << call.m << "x" << call.n << "x" << call.k << " a "
                                    << call.a_row << "," << call.a_col << " b " << call.b_row << "," << call.b_col
                                    << " batch " << call.batch[0] << "," << call.batch[1] << "," << call.batch[2]);
    check(harness, call, random() % 2, random() % 2, random() % 4 == 0, random);
    if (HasFatalFailure())
      return;
  }
}

TEST_F(ProductsOnDevice, OfReversedAndRepeatedRows) {
  Harness harness;
  harness.start();
  std::mt19937 random(8);
  lathe_matmul_call call = callOf(4, 5, 6);
  call.a_row = 0; // one row four times
  check(harness, call, true, false, false, random);
  call = callOf(4, 5, 6);
  call.b_col = 0, call.b_row = 1;
  check(harness, call, false, true, false, random);
  call = callOf(4, 5, 6);
  call.a_row = 2; // windows that overlap
  check(harness, call, false, false, false, random);
}

TEST_F(ProductsOnDevice, OfHeadsBetweenEachOther) {
  Harness harness;
  harness.start();
  std::mt19937 random(12);
  for (int64_t heads : {1, 3}) {
    lathe_matmul_call call = callOf(5, 4, 6); // of 2 sequences: [b, s, h, d] from [b, h, s, t] and [b, t, h, d]
    call.batch[1] = 2, call.batch[2] = heads;
    call.a_batch[1] = heads * 30, call.a_batch[2] = 30;
    call.b_row = heads * 4;
    call.b_batch[1] = 6 * heads * 4, call.b_batch[2] = 4;
    call.out_row = heads * 4;
    call.out_batch[1] = 5 * heads * 4, call.out_batch[2] = 4;
    check(harness, call, false, false, false, random);
  }
}

TEST_F(ProductsOnDevice, WithItsOwnResidual) {
  Harness harness;
  harness.start();
  std::mt19937 random(9);
  for (int64_t activation : {LATHE_ACT_NONE, LATHE_ACT_GELU_ERF}) {
    lathe_matmul_call call = callOf(3, 4, 5);
    call.activation = activation;
    Tensor a(harness, 15, &random), b(harness, 20, &random), out(harness, 12, &random);
    call.a = a.device, call.b = b.device, call.out = out.device, call.residual = out.device;
    ASSERT_FALSE(harness.run(call).failed());
    std::vector<float> want = expected(call, a.host.data(), b.host.data(), nullptr, out.host.data(), nullptr, out.host),
                       got = out.read();
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 1e-4);
  }
}

/// An algorithm may read a bias in vectors: it was asked for with one that lies as this one.
TEST_F(ProductsOnDevice, WithBiasesThatLieAnywhere) {
  Harness harness;
  harness.start();
  std::mt19937 random(12);
  Tensor a(harness, 9 * 8, &random), b(harness, 8 * 16, &random), bias(harness, 16 + 8, &random);
  for (int64_t first : {0, 1, 2, 3, 4, 0}) {
    lathe_matmul_call call = callOf(9, 16, 8);
    Tensor out(harness, 9 * 16, nullptr);
    call.a = a.device, call.b = b.device, call.out = out.device;
    call.bias = static_cast<const float *>(bias.device) + first;
    runtime::Status status = harness.run(call);
    ASSERT_FALSE(status.failed()) << first << ": " << status.message();
    std::vector<float> want = expected(call, a.host.data(), b.host.data(), bias.host.data() + first, nullptr, nullptr,
                                       out.host),
                       got = out.read();
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 1e-4) << first;
  }
}

TEST_F(ProductsOnDevice, OfMoreMatricesThanGridsHaveBlocks) {
  Harness harness;
  harness.start();
  std::mt19937 random(13);
  for (bool isSplit : {false, true}) { // by columns that the library does not read
    lathe_matmul_call call = callOf(2, 1, 2);
    call.batch[2] = 2 * 65535 + 1;
    call.a_batch[2] = isSplit ? 8 : 4, call.b_batch[2] = 2, call.out_batch[2] = 2;
    if (isSplit)
      call.a_row = 4, call.a_col = 2;
    check(harness, call, /*bias=*/true, /*residual=*/false, /*multiplier=*/false, random);
    check(harness, call, /*bias=*/false, /*residual=*/true, /*multiplier=*/false, random);
  }
}

/// The library may have a product, and none with what follows it.
TEST_F(ProductsOnDevice, WithEpiloguesThatTheLibraryHasNot) {
  emulatorSettings().hasEpilogues = false;
  Harness harness;
  harness.start();
  std::mt19937 random(14);
  for (int64_t activation : {LATHE_ACT_NONE, LATHE_ACT_RELU, LATHE_ACT_GELU_TANH})
    for (bool residual : {false, true}) {
      lathe_matmul_call call = callOf(5, 7, 9);
      call.activation = activation;
      check(harness, call, /*bias=*/true, residual, /*multiplier=*/false, random);
    }
  // Added in place, which what is computed before must not overwrite.
  lathe_matmul_call call = callOf(3, 4, 5);
  Tensor a(harness, 15, &random), b(harness, 20, &random), bias(harness, 4, &random), out(harness, 12, &random);
  call.a = a.device, call.b = b.device, call.bias = bias.device, call.out = out.device, call.residual = out.device;
  ASSERT_FALSE(harness.run(call).failed());
  std::vector<float> want = expected(call, a.host.data(), b.host.data(), bias.host.data(), out.host.data(), nullptr,
                                     out.host),
                     got = out.read();
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got[i], want[i], 1e-4);
}

TEST_F(ProductsOnDevice, ByWeightsOfFewerBits) {
  Harness harness;
  std::mt19937 random(10);
  std::vector<uint16_t> half, bfloat;
  std::vector<float> values;
  for (int i = 0; i < 6 * 4; ++i) {
    values.push_back(static_cast<float>(random() % 32) / 8 - 2); // exact in both
    half.push_back(runtime::toHalf(values.back()));
    bfloat.push_back(runtime::toBfloat(values.back()));
  }
  harness.services.addConstant(LATHE_F32, 6, 4, values);
  harness.services.addConstant(LATHE_F16, 6, 4, half);
  harness.services.addConstant(LATHE_BF16, 6, 4, bfloat);
  harness.services.addConstant(LATHE_I64, 6, 4, std::vector<int64_t>(24));
  harness.start();
  Tensor a(harness, 18, &random);
  for (int64_t weight = 0; weight < 3; ++weight) {
    std::vector<float> left = a.host; // as it is multiplied
    for (float &value : left)
      value = weight == 1   ? runtime::halfValue(runtime::toHalf(value))
              : weight == 2 ? runtime::bfloatValue(runtime::toBfloat(value))
                            : value;
    for (int round = 0; round < 2; ++round) {
      lathe_matmul_call call = callOf(3, 4, 6);
      Tensor out(harness, 12, nullptr);
      call.weight = weight, call.a = a.device, call.out = out.device;
      runtime::Status status = harness.run(call);
      ASSERT_FALSE(status.failed()) << status.message();
      std::vector<float> want = expected(call, left.data(), values.data(), nullptr, nullptr, nullptr, out.host),
                         got = out.read();
      for (size_t i = 0; i < want.size(); ++i)
        EXPECT_NEAR(got[i], want[i], 1e-5) << weight;
    }
  }
  lathe_matmul_call call = callOf(3, 4, 6);
  call.a = a.device, call.out = a.device;
  for (int64_t weight : {3, 4, 1000}) {
    call.weight = weight;
    EXPECT_EQ(harness.run(call).code(), LATHE_INTERNAL) << weight;
  }
}

/// What a product finds of a left side that one before it read is of this run, whichever of them needs a copy.
TEST_F(ProductsOnDevice, OfALeftSideThatOnlyTheSecondCopies) {
  constexpr int64_t kRows = 9, kSize = 16;
  Harness harness;
  std::mt19937 random(15);
  std::vector<uint16_t> half;
  std::vector<float> values;
  for (int64_t i = 0; i < kSize * kSize; ++i) {
    values.push_back(static_cast<float>(random() % 32) / 8 - 2); // exact
    half.push_back(runtime::toHalf(values.back()));
  }
  harness.services.addConstant(LATHE_F32, kSize, kSize, values);
  harness.services.addConstant(LATHE_F16, kSize, kSize, half);
  harness.start();
  Tensor a(harness, kRows * kSize, nullptr), first(harness, kRows * kSize, nullptr),
      second(harness, kRows * kSize, nullptr);
  for (int round = 0; round < 4; ++round) {
    for (float &value : a.host)
      value = static_cast<float>(random() % 32) / 8 - 2;
    ASSERT_FALSE(harness.session->upload(a.device, a.host.data(), a.host.size() * 4).failed());
    lathe_matmul_call call = callOf(kRows, kSize, kSize), other = call;
    call.a = other.a = a.device;
    call.weight = 0, call.out = first.device;
    other.weight = 1, other.out = second.device, other.a_again = 1;
    runtime::Status status = harness.runCalls([&] {
      harness.session->matmul(call);
      harness.session->matmul(other);
    });
    ASSERT_FALSE(status.failed()) << status.message();
    std::vector<float> want = expected(call, a.host.data(), values.data(), nullptr, nullptr, nullptr, first.host);
    for (Tensor *out : {&first, &second}) {
      std::vector<float> got = out->read();
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 1e-4) << round << ": " << (out == &first ? "first" : "second");
    }
  }
}

TEST_F(ProductsOnDevice, RefusesWhatItHasNot) {
  Harness harness;
  harness.start();
  std::mt19937 random(11);
  Tensor a(harness, 16, &random);
  lathe_matmul_call call = callOf(4, 4, 4);
  call.a = call.b = call.out = a.device;
  auto refused = [&](const lathe_matmul_call &call, lathe_status code) {
    runtime::Status status = harness.run(call);
    EXPECT_EQ(status.code(), code);
    return status.message();
  };
  lathe_matmul_call bad = call;
  bad = call, bad.dtype = LATHE_F64;
  EXPECT_THAT(refused(bad, LATHE_INTERNAL), HasSubstr("expected f32"));
  bad = call, bad.m = -1;
  EXPECT_THAT(refused(bad, LATHE_INTERNAL), HasSubstr("negative extent"));
  bad = call, bad.m = 400; // more rows than there are
  EXPECT_THAT(refused(bad, LATHE_DEVICE_LOST), HasSubstr("reaches outside of what is allocated"));
  harness.services.budget = harness.services.held;
  bad = call, bad.a_row = 9, bad.a_col = 2, bad.m = 1, bad.k = 2, bad.a_row = 0;
  bad.m = 3; // rows that repeat are copied
  EXPECT_THAT(refused(bad, LATHE_OVER_BUDGET), HasSubstr("a dense copy of an operand"));
}

TEST(Orient, KnowsWhatLibrariesRead) {
  auto text = [](Orientation o) {
    return o.possible ? std::string(o.transposed ? "T" : "N") + std::to_string(o.ld) : "none";
  };
  EXPECT_EQ(text(orient(3, 5, 5, 1)), "N5");
  EXPECT_EQ(text(orient(3, 5, 8, 1)), "N8");
  EXPECT_EQ(text(orient(3, 5, 1, 3)), "T3");
  EXPECT_EQ(text(orient(3, 5, 10, 2)), "none");
  EXPECT_EQ(text(orient(3, 5, 0, 1)), "none");
  EXPECT_EQ(text(orient(3, 5, 4, 1)), "none"); // rows overlap
  EXPECT_EQ(text(orient(1, 5, 77, 1)), "N5");
  EXPECT_EQ(text(orient(1, 5, 77, 4)), "T4");
  EXPECT_EQ(text(orient(3, 1, 7, 99)), "N7");
  EXPECT_EQ(text(orient(1, 1, 0, 0)), "N1");
}

} // namespace
