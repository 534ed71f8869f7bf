//===- IntegerProductsTest.cpp - Products by weights of few bits on the device -===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/Harness.h"
#include "test/unit/cuda/KernelSupport.h"
#include "test/unit/runtime/QuantizedSupport.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;

namespace {

class IntegerProducts : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override { EXPECT_EQ(emulatorStatistics().allocations, 0u); }
};

struct Case {
  runtime::QuantizedLayout layout;
  int64_t m, rounding = LATHE_QUANTIZE_NONE;
  int64_t activation = LATHE_ACT_NONE;
  bool bias = false, residual = false, multiplier = false, isOwnMultiplier = false;
  bool spread = false; ///< no stride of a is 1
  int64_t batch = 1;
};

lathe_matmul_call callOf(const Case &c) {
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.alpha = 1;
  call.activation = c.activation;
  call.m = c.m, call.n = c.layout.n, call.k = c.layout.k;
  call.a_row = c.spread ? 2 * call.k + 1 : call.k, call.a_col = c.spread ? 2 : 1;
  call.out_row = call.n + 1;
  call.batch[0] = call.batch[2] = 1, call.batch[1] = c.batch;
  call.a_batch[1] = c.m * call.a_row, call.out_batch[1] = c.m * call.out_row;
  call.a_quantization = c.rounding;
  call.a_scale = 0.02;
  call.a_zero = c.rounding == LATHE_QUANTIZE_STATIC ? -7 : 0;
  return call;
}

/// A row as the product reads it.
std::vector<float> leftRow(const lathe_matmul_call &call, const float *row) {
  std::vector<float> result;
  float most = 0;
  for (int64_t l = 0; l < call.k; ++l) {
    result.push_back(row[l * call.a_col]);
    most = std::max(most, std::fabs(result.back()));
  }
  auto scale = static_cast<float>(call.a_scale), zero = static_cast<float>(call.a_zero);
  if (call.a_quantization == LATHE_QUANTIZE_ROWS)
    scale = most > 0 ? most / 127 : 1;
  for (float &value : result)
    if (call.a_quantization != LATHE_QUANTIZE_NONE)
      value = (std::clamp(std::nearbyint(value * (1 / scale)) + zero, -128.0f, 127.0f) - zero) * scale;
  return result;
}

void check(const Case &c, int64_t *integerProducts = nullptr) {
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
  call.out = c.isOwnMultiplier ? multiplier.device : out.device;
  call.bias = c.bias ? bias.device : nullptr;
  call.residual = c.residual ? residual.device : nullptr;
  call.multiplier = c.multiplier ? multiplier.device : nullptr;
  int64_t before = emulatorStatistics().products[kBlasS8];
  for (int round = 0; round < (c.isOwnMultiplier ? 1 : 2); ++round) {
    runtime::Status status = harness.run(call);
    ASSERT_FALSE(status.failed()) << status.message();
  }
  if (integerProducts)
    *integerProducts = emulatorStatistics().products[kBlasS8] - before;
  std::vector<float> got = c.isOwnMultiplier ? multiplier.read() : out.read();
  for (int64_t i = 0; i < c.batch * c.m; ++i) {
    std::vector<float> left = leftRow(call, a.host.data() + i * call.a_row);
    for (int64_t j = 0; j < call.n; ++j) {
      double x = 0, size = 0;
      for (int64_t l = 0; l < call.k; ++l) {
        double term = double(left[size_t(l)]) * weight.dense[size_t(l * call.n + j)];
        x += term;
        size += std::fabs(term);
      }
      auto at = size_t(i * call.out_row + j);
      x = activated(c.activation, x + (c.bias ? bias.host[size_t(j)] : 0));
      x = x * (c.multiplier ? multiplier.host[at] : 1) + (c.residual ? residual.host[at] : 0);
      ASSERT_NEAR(got[at], x, 2e-6 * (1 + size) * (c.multiplier ? 2 : 1)) << i << ", " << j;
    }
  }
}

runtime::QuantizedLayout bytesOf(int64_t k, int64_t n, float zero = 128) {
  runtime::QuantizedLayout layout;
  layout.k = layout.group = k;
  layout.n = n;
  layout.zero = zero;
  return layout;
}

TEST_F(IntegerProducts, OfManyRowsAreTheLibrarys) {
  for (int64_t rounding : {LATHE_QUANTIZE_ROWS, LATHE_QUANTIZE_STATIC})
    for (int64_t k : {1, 16, 67})
      for (int64_t n : {1, 17})
        for (int64_t m : {1, 8, 9, 33}) {
          int64_t products = 0;
          check({bytesOf(k, n), m, rounding}, &products);
          EXPECT_EQ(products, m > 8 ? 2 : 0);
        }
}

TEST_F(IntegerProducts, WithZeroPointsAndEpilogues) {
  for (int64_t rounding : {LATHE_QUANTIZE_ROWS, LATHE_QUANTIZE_STATIC})
    for (bool spread : {false, true}) {
      Case c = {bytesOf(35, 21, 100), 7, rounding, LATHE_ACT_GELU_ERF, true, true};
      c.batch = 3;
      c.spread = spread;
      c.layout.scale = runtime::ScaleType::f16;
      check(c);
      c.layout.zeros = runtime::ZeroType::u8;
      c.multiplier = true;
      check(c);
      c.isOwnMultiplier = true;
      check(c);
    }
}

/// Bytes of `count` codes on the device.
struct DeviceBytes {
  std::vector<uint8_t> host;
  void *device = nullptr;
  Harness &harness;

  DeviceBytes(Harness &harness, size_t count, std::mt19937 &random) : host(count), harness(harness) {
    for (uint8_t &byte : host)
      byte = static_cast<uint8_t>(random());
    EXPECT_FALSE(harness.session->allocate(count, &device).failed());
    EXPECT_FALSE(harness.session->upload(device, host.data(), count).failed());
  }
  ~DeviceBytes() { harness.session->release(device); }
  DeviceBytes(const DeviceBytes &) = delete;
  void download() {
    EXPECT_FALSE(harness.session->download(host.data(), device, host.size()).failed());
    EXPECT_FALSE(harness.session->wait().failed());
  }
};

/// Left sides and results that are bytes, by few and by many rows, where they lie and from copies.
void checkBytes(const runtime::QuantizedLayout &layout, int64_t m, int64_t aBytes, int64_t outBytes, bool hasGaps,
                int64_t *launches = nullptr) {
  SCOPED_TRACE(describe(layout) + " m " + std::to_string(m) + " bytes " + std::to_string(aBytes) + " to " +
               std::to_string(outBytes));
  RandomQuantized weight(layout, 5);
  Harness harness;
  harness.services.addQuantized(weight.layout, weight.packed.data());
  harness.start();
  Case c = {layout, m, LATHE_QUANTIZE_STATIC, LATHE_ACT_GELU_ERF, true, true};
  c.batch = 2;
  lathe_matmul_call call = callOf(c);
  call.a_row = call.k + (hasGaps ? 3 : 0);
  call.out_row = call.n + (hasGaps ? 1 : 0);
  call.a_batch[1] = m * call.a_row, call.out_batch[1] = m * call.out_row;
  call.a_bytes = aBytes, call.out_bytes = outBytes;
  call.out_scale = 0.05 * double(call.k);
  call.out_zero = 4;
  std::mt19937 random(9);
  auto inputs = size_t(2 * m * call.a_row), results = size_t(2 * m * call.out_row);
  DeviceBytes bytes(harness, inputs, random), out(harness, results, random);
  Tensor numbers(harness, inputs, &random), bias(harness, size_t(call.n), &random), residual(harness, results, &random),
      wide(harness, results, nullptr);
  call.a = aBytes ? bytes.device : numbers.device;
  call.out = outBytes ? out.device : wide.device;
  call.bias = bias.device;
  call.residual = residual.device;
  for (int round = 0; round < 2; ++round) {
    int64_t before = emulatorStatistics().launches;
    runtime::Status status = harness.run(call);
    ASSERT_FALSE(status.failed()) << status.message();
    if (launches)
      *launches = emulatorStatistics().launches - before;
  }
  out.download();
  std::vector<float> got = wide.read();
  auto codeOf = [](uint8_t byte, int64_t kind) {
    return double(int8_t(kind == LATHE_BYTES_UNSIGNED ? byte ^ 0x80 : byte));
  };
  for (int64_t i = 0; i < 2 * m; ++i) {
    std::vector<float> left = leftRow(call, numbers.host.data() + i * call.a_row);
    for (int64_t l = 0; l < call.k && aBytes; ++l)
      left[size_t(l)] =
          float((codeOf(bytes.host[size_t(i * call.a_row + l)], aBytes) - double(call.a_zero)) * call.a_scale);
    for (int64_t j = 0; j < call.n; ++j) {
      double x = 0, size = 0;
      for (int64_t l = 0; l < call.k; ++l) {
        double term = double(left[size_t(l)]) * weight.dense[size_t(l * call.n + j)];
        x += term;
        size += std::fabs(term);
      }
      auto at = size_t(i * call.out_row + j);
      x = activated(c.activation, x + bias.host[size_t(j)]) + residual.host[at];
      double error = 4e-6 * (1 + size);
      if (!outBytes) {
        ASSERT_NEAR(got[at], x, error) << i << ", " << j;
        continue;
      }
      // A step is half of it off at most, or one where the number lies between two.
      double code = std::clamp(x / call.out_scale + double(call.out_zero), -128.0, 127.0);
      ASSERT_NEAR(codeOf(out.host[at], outBytes), code, 0.5 + error / call.out_scale) << i << ", " << j;
    }
  }
}

TEST_F(IntegerProducts, OfBytesToBytes) {
  for (int64_t aBytes : {LATHE_BYTES_NONE, LATHE_BYTES_SIGNED, LATHE_BYTES_UNSIGNED})
    for (int64_t outBytes : {LATHE_BYTES_NONE, LATHE_BYTES_SIGNED, LATHE_BYTES_UNSIGNED})
      for (int64_t m : {1, 17})
        for (int64_t k : {32, 35}) {
          checkBytes(bytesOf(k, 19), m, aBytes, outBytes, false);
          checkBytes(bytesOf(k, 19, 100), m, aBytes, outBytes, true);
        }
  runtime::QuantizedLayout four;
  four.k = 64, four.n = 9, four.bits = 4, four.group = 32, four.zero = 8;
  for (int64_t m : {3, 33})
    checkBytes(four, m, LATHE_BYTES_SIGNED, LATHE_BYTES_UNSIGNED, false);
}

/// Rows that the library can take are read where they lie, and a result becomes bytes in the kernel that makes numbers
/// of sums.
TEST_F(IntegerProducts, CopiesNoBytesThatTheLibraryReads) {
  int64_t inPlace = 0, copied = 0, numbers = 0;
  checkBytes(bytesOf(32, 19), 17, LATHE_BYTES_SIGNED, LATHE_BYTES_SIGNED, false, &inPlace);
  checkBytes(bytesOf(35, 19), 17, LATHE_BYTES_SIGNED, LATHE_BYTES_SIGNED, false, &copied);
  checkBytes(bytesOf(32, 19), 17, LATHE_BYTES_NONE, LATHE_BYTES_NONE, false, &numbers);
  EXPECT_EQ(inPlace, copied - 1);
  EXPECT_EQ(inPlace, numbers - 1);
}

/// Zero points that are no integers, groups, and codes of other bits are numbers before they are multiplied.
TEST_F(IntegerProducts, OfOtherWeightsAreOfNumbers) {
  for (runtime::QuantizedLayout layout : layoutsFor(36, 17, 32)) {
    if (layout.bits == 8 && layout.zeros == runtime::ZeroType::scale)
      layout.group = 36;
    int64_t products = 0;
    check({layout, 33, LATHE_QUANTIZE_ROWS}, &products);
    EXPECT_EQ(products, 0);
    if (layout.bits == 8)
      check({layout, 9, LATHE_QUANTIZE_NONE, LATHE_ACT_SILU, true, true, true}, nullptr);
  }
}

TEST_F(IntegerProducts, WithoutRoomForAWeightOfIntegers) {
  RandomQuantized weight(bytesOf(24, 20), 5);
  Harness harness;
  harness.services.addQuantized(weight.layout, weight.packed.data());
  harness.start();
  harness.services.privateBudget = 100;
  lathe_matmul_call call = callOf({weight.layout, 10, LATHE_QUANTIZE_ROWS});
  std::mt19937 random(9);
  Tensor a(harness, 240, &random), out(harness, 210, nullptr);
  call.a = a.device, call.out = out.device;
  int64_t before = emulatorStatistics().products[kBlasS8];
  ASSERT_FALSE(harness.run(call).failed());
  EXPECT_EQ(emulatorStatistics().products[kBlasS8], before);
  for (int64_t i = 0; i < 10; ++i) {
    std::vector<float> left = leftRow(call, a.host.data() + i * 24);
    double x = 0;
    for (int64_t l = 0; l < 24; ++l)
      x += double(left[size_t(l)]) * weight.dense[size_t(l * 20 + 3)];
    EXPECT_NEAR(out.read()[size_t(i * 21 + 3)], x, 1e-4);
  }
}

} // namespace
