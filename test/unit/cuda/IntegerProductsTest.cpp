//===- IntegerProductsTest.cpp - Products by weights of few bits on the device -===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/QuantizedProducts.h"

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;

namespace {

class IntegerProducts : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override { EXPECT_EQ(emulatorStatistics().allocations, 0u); }
};

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
