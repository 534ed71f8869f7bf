//===- FloatProductsTest.cpp - Products of 8-bit floats on the device -----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/QuantizedProducts.h"

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;

namespace {

class FloatProducts : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override {
    EXPECT_EQ(emulatorStatistics().allocations, 0u);
    emulatorSettings() = {};
  }
};

runtime::QuantizedLayout floatsOf(int64_t k, int64_t n) {
  runtime::QuantizedLayout layout;
  layout.values = runtime::CodeValues::e4m3;
  layout.k = layout.group = k;
  layout.n = n;
  layout.zero = 0;
  return layout;
}

/// Of 9.0 with scales, else with ones, and of none before 8.9: the left side is rounded alike.
TEST_F(FloatProducts, OfManyRowsAreTheLibrarys) {
  for (int capability : {80, 89, 90, 100}) {
    SCOPED_TRACE(capability);
    emulatorSettings().capability = capability;
    for (int64_t k : {1, 16, 67})
      for (int64_t n : {1, 17, 32})
        for (int64_t m : {0, 1, 8, 9, 33}) {
          int64_t products = 0;
          check({floatsOf(k, n), m, LATHE_QUANTIZE_ROWS_E4M3}, &products, kBlasE4m3);
          EXPECT_EQ(products, m > 8 && capability > 80 ? 2 : 0);
        }
  }
}

TEST_F(FloatProducts, WithEpilogues) {
  for (int capability : {80, 89, 90})
    for (bool spread : {false, true})
      for (int64_t n : {21, 32}) {
        emulatorSettings().capability = capability;
        Case c = {floatsOf(35, n), 7, LATHE_QUANTIZE_ROWS_E4M3, LATHE_ACT_GELU_ERF, true, true};
        c.batch = 3;
        c.spread = spread;
        c.layout.scale = runtime::ScaleType::bf16;
        check(c);
        c.multiplier = true;
        check(c);
        c.isOwnMultiplier = true;
        check(c);
      }
}

/// What the library can do alone is not touched by a kernel behind it.
TEST_F(FloatProducts, AreTheLibrarysAlone) {
  auto launches = [](auto change) {
    Case c = {floatsOf(48, 32), 9, LATHE_QUANTIZE_ROWS_E4M3};
    c.isDense = c.residual = c.isOwnResidual = true;
    change(c);
    int64_t before = emulatorStatistics().launches, products = 0;
    check(c, &products, kBlasE4m3);
    EXPECT_EQ(products, 1);
    return emulatorStatistics().launches - before;
  };
  int64_t alone = launches([](Case &) {}); // the weight, and the left side
  EXPECT_EQ(alone, 2);
  EXPECT_EQ(launches([](Case &c) { c.batch = 3; }), alone); // batches that are rows
  EXPECT_EQ(launches([](Case &c) { c.bias = true; }), alone + 1);
  EXPECT_EQ(launches([](Case &c) { c.activation = LATHE_ACT_RELU; }), alone + 1);
  EXPECT_EQ(launches([](Case &c) { c.isDense = false; }), alone + 1); // rows of 33 numbers
  EXPECT_EQ(launches([](Case &c) { c.layout.n = 31; }), alone + 1);
  emulatorSettings().capability = 89;
  EXPECT_EQ(launches([](Case &) {}), alone + 1);
}

/// Scales of groups, zero points and other floats are numbers before they are multiplied.
TEST_F(FloatProducts, OfOtherWeightsAreOfNumbers) {
  for (runtime::QuantizedLayout layout : layoutsFor(64, 17, 32)) {
    bool isFloat = layout.values == runtime::CodeValues::e4m3 || layout.values == runtime::CodeValues::e5m2;
    for (int64_t m : {1, 9, 33}) {
      int64_t products = 0;
      if (isFloat)
        check({layout, m, LATHE_QUANTIZE_ROWS_E4M3}, &products, kBlasE4m3);
      EXPECT_EQ(products, 0);
    }
  }
  int64_t products = 0;
  check({floatsOf(32, 32), 33, LATHE_QUANTIZE_ROWS}, &products, kBlasE4m3); // rounded to integers
  EXPECT_EQ(products, 0);
  check({floatsOf(32, 32), 33}, &products, kBlasE4m3); // not rounded
  EXPECT_EQ(products, 0);
}

/// Runs a product of ten rows with a weight [24, 32]; how many the library has computed, and the result.
std::pair<int64_t, std::vector<float>> run(OpenBlas openBlas, const std::vector<float> &rows, uint64_t budget) {
  RandomQuantized weight(floatsOf(24, 32), 5);
  Harness harness;
  harness.services.addQuantized(weight.layout, weight.packed.data());
  harness.start(emulatorDriver(), openBlas);
  harness.services.privateBudget = budget;
  lathe_matmul_call call = callOf({weight.layout, 10, LATHE_QUANTIZE_ROWS_E4M3});
  Tensor a(harness, rows.size(), nullptr), out(harness, 330, nullptr);
  EXPECT_FALSE(harness.session->upload(a.device, rows.data(), rows.size() * 4).failed());
  call.a = a.device, call.out = out.device;
  int64_t before = emulatorStatistics().products[kBlasE4m3];
  for (int round = 0; round < 2; ++round) {
    runtime::Status status = harness.run(call);
    EXPECT_FALSE(status.failed()) << status.message();
  }
  return {emulatorStatistics().products[kBlasE4m3] - before, out.read()};
}

std::vector<float> someRows() {
  std::mt19937 random(9);
  std::vector<float> rows(240);
  for (float &value : rows)
    value = static_cast<float>(random() % 200) / 50 - 2;
  return rows;
}

void expectNear(const std::vector<float> &got, const std::vector<float> &expected) {
  for (size_t i = 0; i < 10; ++i)
    for (size_t j = 0; j < 32; ++j)
      EXPECT_NEAR(got[i * 33 + j], expected[i * 33 + j], 1e-4) << i << ", " << j;
}

/// Versions of the library that know no scales of rows multiply without, those that know no 8-bit floats do not.
TEST_F(FloatProducts, WithOlderLibraries) {
  OpenBlas withoutScales = [](int, BlasApi *api) {
    *api = emulatorBlas();
    api->descSet = [](BlasDesc desc, int attribute, const void *value, size_t bytes) {
      return attribute == kDescScaleModeA ? int(kBlasInvalidValue)
                                          : emulatorBlas().descSet(desc, attribute, value, bytes);
    };
    return runtime::success();
  };
  OpenBlas withoutFloats = [](int, BlasApi *api) {
    *api = emulatorBlas();
    api->layoutCreate = [](BlasLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
      return type == kBlasE4m3 ? int(kBlasNotSupported) : emulatorBlas().layoutCreate(layout, type, rows, cols, ld);
    };
    return runtime::success();
  };
  std::vector<float> rows = someRows();
  auto [products, expected] = run(Harness::openEmulatorBlas, rows, UINT64_MAX);
  EXPECT_EQ(products, 2);
  auto [unscaled, own] = run(withoutScales, rows, UINT64_MAX);
  EXPECT_EQ(unscaled, 2);
  expectNear(own, expected);
  auto [none, numbers] = run(withoutFloats, rows, UINT64_MAX);
  EXPECT_EQ(none, 0);
  expectNear(numbers, expected);
  auto [noRoom, expanded] = run(Harness::openEmulatorBlas, rows, 100);
  EXPECT_EQ(noRoom, 0);
  expectNear(expanded, expected);
}

/// A library that fails otherwise is no reason to compute something else.
TEST_F(FloatProducts, TellsFailures) {
  RandomQuantized weight(floatsOf(24, 32), 5);
  Harness harness;
  harness.services.addQuantized(weight.layout, weight.packed.data());
  harness.start(emulatorDriver(), [](int, BlasApi *api) {
    *api = emulatorBlas();
    api->heuristic = [](BlasHandle, BlasDesc, BlasLayout, BlasLayout, BlasLayout, BlasLayout, BlasPreference, int,
                        BlasHeuristic *, int *) { return int(kBlasInternalError); };
    return runtime::success();
  });
  lathe_matmul_call call = callOf({weight.layout, 10, LATHE_QUANTIZE_ROWS_E4M3});
  std::mt19937 random(9);
  Tensor a(harness, 240, &random), out(harness, 330, nullptr);
  call.a = a.device, call.out = out.device;
  EXPECT_NE(harness.run(call).message().find("choosing an algorithm"), std::string::npos);
}

TEST_F(FloatProducts, NeedWeightsOfSuch) {
  runtime::QuantizedLayout layout;
  layout.k = layout.group = 24, layout.n = 32, layout.zero = 128;
  RandomQuantized weight(layout, 5);
  Harness harness;
  harness.services.addQuantized(weight.layout, weight.packed.data());
  harness.start();
  std::mt19937 random(9);
  Tensor a(harness, 240, &random), out(harness, 330, nullptr);
  for (int64_t m : {1, 10}) {
    lathe_matmul_call call = callOf({weight.layout, m, LATHE_QUANTIZE_ROWS_E4M3});
    call.a = a.device, call.out = out.device;
    EXPECT_EQ(
        harness.run(call).message(),
        "kernel 'product' (node 'MatMul_0'): a product of 8-bit floats needs a weight of such, found values integer");
  }
}

/// Rows of zeros and of next to nothing, numbers that are subnormal, and what is no number.
TEST_F(FloatProducts, OfUnusualRows) {
  std::vector<float> rows = someRows();
  std::fill_n(rows.begin(), 24, 0.0f);
  std::fill_n(rows.begin() + 24, 24, 1e-38f);
  for (size_t i = 1; i < 24; ++i)
    rows[48 + i] = std::ldexp(1.0f, -static_cast<int>(i)); // down to and below the least number
  rows[48] = 1;
  rows[72 + 5] = NAN;
  rows[96 + 5] = INFINITY;
  for (int capability : {80, 89, 90}) {
    emulatorSettings().capability = capability;
    std::vector<float> got = run(Harness::openEmulatorBlas, rows, UINT64_MAX).second;
    RandomQuantized weight(floatsOf(24, 32), 5);
    lathe_matmul_call call = callOf({weight.layout, 10, LATHE_QUANTIZE_ROWS_E4M3});
    std::vector<float> left = leftRow(call, rows.data() + 48);
    for (size_t j = 0; j < 32; ++j) {
      EXPECT_EQ(got[j], 0);
      EXPECT_NEAR(got[33 + j], 0, 1e-30);
      double x = 0;
      for (size_t l = 0; l < 24; ++l)
        x += double(left[l]) * weight.dense[l * 32 + j];
      EXPECT_NEAR(got[66 + j], x, 1e-5);
      EXPECT_TRUE(std::isnan(got[99 + j])) << j;
      EXPECT_TRUE(std::isnan(got[132 + j])) << j;
    }
  }
}

/// Algorithms are timed with scales as without.
TEST_F(FloatProducts, AreTimed) {
  emulatorSettings().algorithmMilliseconds = {3, 1, 2};
  int64_t products = 0;
  check({floatsOf(48, 32), 9, LATHE_QUANTIZE_ROWS_E4M3}, &products, kBlasE4m3);
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 1);
  EXPECT_GT(products, 2);
}

} // namespace
