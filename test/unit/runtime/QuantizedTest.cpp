//===- QuantizedTest.cpp - Products with quantized weights ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "QuantizedSupport.h"
#include "ProductSupport.h"

#include "runtime/CpuFeatures.h"

#include <gtest/gtest.h>

using namespace lathe;
using namespace lathe::runtime;
using namespace lathe::test;

namespace {

struct Case {
  QuantizedLayout layout;
  int64_t m = 1;
  int64_t batch[3] = {1, 1, 1};
  bool transposeA = false;
  int64_t padA = 0, padOut = 0; ///< additional elements between rows
  bool bias = false;
  int multiplier = 0; ///< 1 apart, 2 in place
  int residual = 0;   ///< likewise
  int64_t activation = LATHE_ACT_NONE;
  double alpha = 1;
  int64_t quantization = LATHE_QUANTIZE_NONE;
  double aScale = 1;
  int64_t aZero = 0;
};

/// What a row of the left side becomes.
std::vector<double> quantized(const Case &c, std::vector<float> row) {
  float scale = static_cast<float>(c.aScale), most = 0;
  if (c.quantization == LATHE_QUANTIZE_ROWS) {
    for (float value : row)
      most = std::max(most, std::fabs(value));
    scale = most > 0 ? most / 127 : 1;
  }
  std::vector<double> result;
  for (float value : row) {
    float code = std::nearbyint(value * (1 / scale)) + static_cast<float>(c.aZero);
    result.push_back(c.quantization == LATHE_QUANTIZE_NONE
                         ? static_cast<double>(value)
                         : (static_cast<double>(std::clamp(code, -128.0f, 127.0f)) - static_cast<double>(c.aZero)) * scale);
  }
  return result;
}

void check(const Case &c, const RandomQuantized &weight, int threads, const std::string &isa) {
  SCOPED_TRACE(join(describe(c.layout), " m ", c.m, " batch ", c.batch[0], ",", c.batch[1], ",", c.batch[2], " tA ",
                    int(c.transposeA), " pad ", c.padA, ",", c.padOut, " bias ", int(c.bias), " multiplier ", c.multiplier,
                    " residual ", c.residual, " act ", c.activation, " alpha ", c.alpha, " quantization ", c.quantization, " by ", c.aScale, ", ", c.aZero, " threads ", threads, " ", isa));
  int64_t k = c.layout.k, n = c.layout.n, items = c.batch[0] * c.batch[1] * c.batch[2];
  QuantizedServices services(threads, isa);
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.weight = services.add(weight.layout, weight.packed.data());
  call.activation = c.activation;
  call.alpha = c.alpha;
  call.a_quantization = c.quantization;
  call.a_scale = c.aScale, call.a_zero = c.aZero;
  call.m = c.m, call.n = n, call.k = k;
  call.a_row = c.transposeA ? 1 : k + c.padA;
  call.a_col = c.transposeA ? c.m + c.padA : 1;
  call.out_row = n + c.padOut;
  int64_t aItem = c.transposeA ? k * call.a_col : c.m * call.a_row, outItem = c.m * call.out_row;
  for (int i = 2, a = static_cast<int>(aItem), out = static_cast<int>(outItem); i >= 0; --i) {
    call.batch[i] = c.batch[i];
    call.a_batch[i] = a, call.out_batch[i] = out;
    a *= static_cast<int>(c.batch[i]), out *= static_cast<int>(c.batch[i]);
  }
  // Exactly as long as what may be read.
  std::vector<float> a = randomValues(aItem * items - (c.transposeA ? 0 : c.padA), 1);
  std::vector<float> bias = randomValues(n, 3), residual = randomValues(outItem * items, 4);
  std::vector<float> multiplier = randomValues(outItem * items, 5);
  std::vector<float> out(static_cast<size_t>(outItem * items), 77.0f);
  if (c.residual == 2 || c.multiplier == 2)
    out = c.residual == 2 ? residual : multiplier;
  std::vector<float> before = out;
  call.a = a.data();
  call.bias = c.bias ? bias.data() : nullptr;
  call.out = out.data();
  call.multiplier = c.multiplier == 2 ? out.data() : c.multiplier == 1 ? multiplier.data() : nullptr;
  call.residual = c.residual == 2 ? out.data() : c.residual == 1 ? residual.data() : nullptr;
  services.start();
  Status prepared = services.prepare(call);
  ASSERT_FALSE(prepared.failed()) << prepared.message();
  for (int round = 0; round < 2; ++round) {
    out = before;
    Status status = services.matmul(call);
    ASSERT_FALSE(status.failed()) << status.message();
  }
  std::vector<double> sums(static_cast<size_t>(n)), magnitudes(static_cast<size_t>(n));
  for (int64_t i = 0; i < items; ++i) {
    int64_t index[3] = {i / c.batch[2] / c.batch[1], i / c.batch[2] % c.batch[1], i % c.batch[2]};
    int64_t aAt = 0, outAt = 0;
    for (int d = 0; d < 3; ++d) {
      aAt += index[d] * call.a_batch[d];
      outAt += index[d] * call.out_batch[d];
    }
    for (int64_t m = 0; m < c.m; ++m) {
      std::fill(sums.begin(), sums.end(), 0);
      std::fill(magnitudes.begin(), magnitudes.end(), 0);
      std::vector<float> numbers;
      for (int64_t j = 0; j < k; ++j)
        numbers.push_back(a[static_cast<size_t>(aAt + m * call.a_row + j * call.a_col)]);
      std::vector<double> row = quantized(c, numbers);
      for (int64_t j = 0; j < k; ++j) {
        double left = row[static_cast<size_t>(j)];
        const float *right = &weight.dense[static_cast<size_t>(j * n)];
        for (int64_t x = 0; x < n; ++x) {
          sums[static_cast<size_t>(x)] += left * right[x];
          magnitudes[static_cast<size_t>(x)] += std::fabs(left * right[x]);
        }
      }
      for (int64_t x = 0; x < n; ++x) {
        auto at = static_cast<size_t>(outAt + m * call.out_row + x);
        auto column = static_cast<size_t>(x);
        double value = activated(c.activation, c.alpha * sums[column] + (c.bias ? bias[column] : 0));
        value = value * (c.multiplier ? multiplier[at] : 1) + (c.residual ? residual[at] : 0);
        ASSERT_NEAR(out[at], value, 2e-6 * (4 + magnitudes[column])) << "row " << m << " of item " << i << ", column " << x;
      }
      for (int64_t x = n; x < call.out_row; ++x)
        ASSERT_EQ(out[static_cast<size_t>(outAt + m * call.out_row + x)],
                  before[static_cast<size_t>(outAt + m * call.out_row + x)]);
    }
  }
}

void checkAll(const Case &c, std::initializer_list<int> threads = {1, 3}) {
  RandomQuantized weight(c.layout, 7);
  for (int count : threads)
    for (const std::string &isa : instructionSets()) {
      check(c, weight, count, isa);
      if (c.quantization != LATHE_QUANTIZE_NONE && isa == "avx512") // without VNNI
        check(c, weight, count, "avx512bw");
    }
}

/// Layouts of integers.
std::vector<QuantizedLayout> integerLayouts(int64_t k, int64_t n, int64_t group) {
  std::vector<QuantizedLayout> result;
  for (const QuantizedLayout &layout : layoutsFor(k, n, group))
    if (layout.values == CodeValues::integer)
      result.push_back(layout);
  return result;
}

TEST(QuantizedIntegers, Shapes) {
  for (auto [k, n, group] : {std::array<int64_t, 3>{1, 1, 1}, {33, 17, 16}, {200, 70, 64}, {300, 130, 32}, {515, 64, 256}})
    for (const QuantizedLayout &layout : integerLayouts(k, n, group))
      for (int64_t quantization : {LATHE_QUANTIZE_ROWS, LATHE_QUANTIZE_STATIC})
        for (int64_t m : {1, 2, 3, 4, 5, 6, 11, 29, 140}) {
          Case c;
          c.layout = layout;
          c.m = m;
          c.quantization = quantization;
          c.aScale = 0.0075, c.aZero = m % 3 == 0 ? 0 : m % 3 == 1 ? -20 : 111;
          if (quantization == LATHE_QUANTIZE_ROWS)
            c.aZero = 0;
          c.bias = m % 2;
          c.padA = m % 3;
          checkAll(c, {m > 20 ? 2 : 1});
        }
}

TEST(QuantizedIntegers, DeepWithEpilogues) {
  for (int64_t k : {4096, 4099, 9000})
    for (int64_t group : {int64_t(64), k, int64_t(4128)})
      for (int64_t m : {1, 7, 40}) {
        Case c;
        c.layout.k = k, c.layout.n = 100, c.layout.bits = group == 64 ? 4 : 8, c.layout.group = std::min(group, k);
        c.layout.zero = 7;
        c.m = m;
        c.quantization = m == 7 ? LATHE_QUANTIZE_STATIC : LATHE_QUANTIZE_ROWS;
        c.aScale = 0.01, c.aZero = m == 7 ? 5 : 0;
        c.bias = true;
        c.activation = LATHE_ACT_RELU;
        c.multiplier = 1, c.residual = 2;
        c.alpha = 0.5;
        checkAll(c, {3});
      }
}

TEST(QuantizedIntegers, BatchesAndTransposedLeftSides) {
  for (bool transposeA : {false, true})
    for (int64_t m : {1, 3, 50}) {
      Case c;
      c.layout.k = 75, c.layout.n = 100, c.layout.group = 16, c.layout.zeros = ZeroType::u8;
      c.m = m;
      c.batch[0] = 2, c.batch[2] = 3;
      c.transposeA = transposeA;
      c.padA = 2;
      c.quantization = LATHE_QUANTIZE_ROWS;
      checkAll(c);
    }
}

TEST(QuantizedIntegers, ExtremeNumbers) {
  // The largest codes of both sides, and rows of nothing.
  for (int64_t bits : {8, 4, 3, 2})
    for (int64_t zero : {0, 255}) {
      QuantizedLayout layout;
      layout.k = 4096, layout.n = 16, layout.bits = bits, layout.group = 4096;
      layout.zero = static_cast<float>(std::min<int64_t>(zero, layout.entries() - 1));
      RandomQuantized weight(layout, 1);
      std::vector<uint8_t> codes(static_cast<size_t>(layout.k * layout.n), static_cast<uint8_t>(zero ? 0 : layout.entries() - 1));
      std::vector<float> ones(16, 1);
      cpu::packQuantized(weight.layout, {codes.data(), 16, 1, ones.data(), nullptr, nullptr}, weight.packed.data());
      for (std::string isa : {"avx2", "avx512", "avx512bw"}) {
        const char *why = nullptr;
        if (!supportsIsa(isa == "avx2" ? "avx2" : "avx512", &why))
          continue;
        QuantizedServices services(1, isa);
        lathe_matmul_call call = {};
        call.weight = services.add(weight.layout, weight.packed.data());
        services.start();
        std::vector<float> a(2 * 4096, -127), out(2 * 16, 5);
        std::fill_n(a.begin(), 4096, 0.0f);
        call.a = a.data(), call.out = out.data();
        call.alpha = 1;
        call.m = 2, call.n = call.out_row = 16, call.k = call.a_row = 4096;
        call.a_col = call.batch[0] = call.batch[1] = call.batch[2] = 1;
        call.a_quantization = LATHE_QUANTIZE_ROWS;
        ASSERT_FALSE(services.matmul(call).failed());
        float expected = (zero ? 1.0f : -1.0f) * 127 * 4096 * static_cast<float>(layout.entries() - 1);
        for (size_t i = 0; i < 16; ++i) {
          EXPECT_EQ(out[i], 0) << isa;
          EXPECT_NEAR(out[16 + i], expected, 1e-6 * std::fabs(expected)) << isa << " " << bits << " bits";
        }
      }
    }
}

TEST(QuantizedIntegers, RefusesWhatItCannotDo) {
  QuantizedLayout layout;
  layout.k = 8, layout.n = 16, layout.group = 8;
  RandomQuantized weight(layout, 1);
  layout.values = CodeValues::e4m3;
  RandomQuantized floats(layout, 1);
  QuantizedServices services(1, "avx2");
  services.add(weight.layout, weight.packed.data());
  services.add(floats.layout, floats.packed.data());
  services.start();
  std::vector<float> values(128);
  auto message = [&](auto change) {
    lathe_matmul_call call = {};
    call.a = call.out = values.data();
    call.alpha = call.a_scale = 1;
    call.m = call.batch[0] = call.batch[1] = call.batch[2] = call.a_col = 1;
    call.k = call.a_row = 8;
    call.n = call.out_row = 16;
    call.a_quantization = LATHE_QUANTIZE_STATIC;
    change(call);
    return services.matmul(call).message();
  };
  EXPECT_EQ(message([](auto &) {}), "");
  EXPECT_NE(message([](auto &call) { call.a_quantization = 3; }).find("unknown quantization 3"), std::string::npos);
  EXPECT_NE(message([](auto &call) { call.weight = 1; }).find("a weight of integers, found values e4m3"), std::string::npos);
  EXPECT_NE(message([](auto &call) { call.a_scale = 0; }).find("expected a scale above 0"), std::string::npos);
  EXPECT_NE(message([](auto &call) { call.a_scale = NAN; }).find("expected a scale above 0"), std::string::npos);
  EXPECT_NE(message([](auto &call) { call.a_zero = 128; }).find("a zero point from -128 to 127"), std::string::npos);
  EXPECT_NE(message([&](auto &call) {
              call.weight = -1;
              call.b = values.data() + 64;
              call.b_row = 1, call.b_col = 8;
            }).find("needs a quantized weight"),
            std::string::npos);
}

TEST(Quantized, EveryKind) {
  for (auto [k, n, group] : {std::array<int64_t, 3>{1, 1, 1}, {33, 17, 16}, {200, 70, 64}, {300, 130, 32}, {515, 64, 256}})
    for (const QuantizedLayout &layout : layoutsFor(k, n, group))
      for (int64_t m : {1, 5, 29}) {
        Case c;
        c.layout = layout;
        c.m = m;
        c.bias = n == 70;
        checkAll(c, {1});
      }
}

/// The formats whose loops are apart from the others'.
std::vector<QuantizedLayout> someLayouts(int64_t k, int64_t n, int64_t group) {
  std::vector<QuantizedLayout> result;
  for (const QuantizedLayout &layout : layoutsFor(k, n, group))
    if (layout.values != CodeValues::codebook || (layout.dimension == 4 && layout.bits == 8))
      result.push_back(layout);
  return result;
}

TEST(Quantized, RowsOfTheLeftSide) {
  for (const QuantizedLayout &layout : someLayouts(131, 150, 64))
    for (int64_t m : {1, 2, 3, 4, 6, 7, 12, 140}) {
      Case c;
      c.layout = layout;
      c.m = m;
      c.padA = m % 2;
      checkAll(c, {2});
    }
}

TEST(Quantized, DeepAndWide) {
  for (int64_t m : {1, 4, 30})
    for (const QuantizedLayout &layout : someLayouts(2500, 340, 128)) {
      if (layout.zeros == ZeroType::scale)
        continue;
      Case c;
      c.layout = layout;
      c.m = m;
      checkAll(c, {3});
    }
}

/// Up to d rows go by tables, more by panels that are made numbers.
TEST(Quantized, FewRowsOfCodebooks) {
  int which = 0;
  for (auto [k, n, group] : {std::array<int64_t, 3>{5, 3, 5}, {130, 70, 64}, {2100, 100, 256}})
    for (const QuantizedLayout &layout : layoutsFor(k, n, group)) {
      if (layout.values != CodeValues::codebook)
        continue;
      for (int64_t m : {1, 2, 3, 4, 6, 7}) {
        Case c;
        c.layout = layout;
        c.m = m;
        c.batch[2] = ++which % 3 == 0 ? 2 : 1;
        c.transposeA = which % 2;
        c.padA = which % 4;
        c.bias = which % 5 == 0;
        c.residual = which % 3;
        c.activation = which % 7 == 0 ? LATHE_ACT_RELU : LATHE_ACT_NONE;
        checkAll(c, {1 + which % 3});
      }
    }
}

TEST(Quantized, Epilogues) {
  for (int64_t activation = LATHE_ACT_NONE; activation <= LATHE_ACT_SIGMOID; ++activation)
    for (int residual : {0, 1, 2})
      for (int multiplier : {0, 1, 2})
        for (int64_t m : {2, 9}) {
          if (residual == 2 && multiplier == 2)
            continue;
          Case c;
          c.layout.k = 70, c.layout.n = 90, c.layout.bits = 4, c.layout.group = 32, c.layout.zero = 8;
          c.m = m;
          c.activation = activation;
          c.bias = residual != 1;
          c.residual = residual;
          c.multiplier = multiplier;
          c.alpha = m == 2 ? 0.125 : 1;
          c.padOut = multiplier;
          checkAll(c, {2});
        }
}

TEST(Quantized, BatchesAndTransposedLeftSides) {
  for (bool transposeA : {false, true})
    for (int64_t m : {1, 3, 50})
      for (int64_t bits : {8, 4}) {
        Case c;
        c.layout.k = 75, c.layout.n = 100, c.layout.bits = bits, c.layout.group = 16, c.layout.zeros = ZeroType::u8;
        c.m = m;
        c.batch[0] = 2, c.batch[2] = 3;
        c.transposeA = transposeA;
        c.padA = 2;
        checkAll(c);
      }
}

TEST(Quantized, RefusesWhatItCannotDo) {
  QuantizedLayout layout;
  layout.k = 8, layout.n = 16, layout.group = 8;
  RandomQuantized weight(layout, 1);
  QuantizedServices services(1, "avx2");
  lathe_matmul_call call = {};
  call.weight = services.add(weight.layout, weight.packed.data());
  services.start();
  std::vector<float> values(16);
  call.a = call.out = values.data();
  call.alpha = 1;
  call.m = call.batch[0] = call.batch[1] = call.batch[2] = call.a_col = 1;
  call.k = call.a_row = 8;
  call.n = call.out_row = 8;
  EXPECT_NE(services.matmul(call).message().find("a quantized weight of [8, 16] is used as a [8, 8] matrix"), std::string::npos);
  call.n = call.out_row = 16;
  call.dtype = LATHE_F64;
  EXPECT_NE(services.matmul(call).message().find("expected f32"), std::string::npos);
  call.dtype = LATHE_F32;
  EXPECT_FALSE(services.matmul(call).failed());
  call.k = 0;
  values.assign(16, 5);
  EXPECT_FALSE(services.matmul(call).failed());
  EXPECT_EQ(values, std::vector<float>(16, 0));
}

TEST(Quantized, RowsOfTables) {
  for (const QuantizedLayout &layout : layoutsFor(67, 130, 32)) {
    SCOPED_TRACE(describe(layout));
    RandomQuantized table(layout, 3);
    QuantizedServices services(2, "avx2");
    lathe_rows_call call = {};
    call.weight = services.add(table.layout, table.packed.data());
    services.start();
    std::vector<int64_t> indices = {0, 7, 129, 7, -1, 7, 130, 7, -130, 7, -131, 7, 64};
    std::vector<float> out(7 * 70, 5);
    call.indices = indices.data();
    call.index_type = LATHE_I64;
    call.index_stride = 2;
    call.count = 7;
    call.out = out.data();
    call.out_row = 70;
    EXPECT_EQ(services.rows(call), 2);
    EXPECT_FALSE(services.failed().failed());
    std::vector<int32_t> narrow;
    std::vector<float> again(7 * 70, 5);
    for (size_t i = 0; i < indices.size(); i += 2)
      narrow.push_back(static_cast<int32_t>(indices[i]));
    call.indices = narrow.data(), call.index_type = LATHE_I32, call.index_stride = 1, call.out = again.data();
    EXPECT_EQ(services.rows(call), 2);
    EXPECT_EQ(out, again);
    for (size_t i = 0; i < 7; ++i)
      for (size_t k = 0; k < 70; ++k) {
        int64_t row = narrow[i] < 0 ? narrow[i] + 130 : narrow[i];
        float expected = k >= 67 ? 5 : row < 0 || row >= 130 ? 0 : table.dense[k * 130 + static_cast<size_t>(row)];
        ASSERT_EQ(out[i * 70 + k], expected) << i << ", " << k;
      }
    call.index_type = LATHE_F32;
    services.rows(call);
    EXPECT_NE(services.failed().message().find("must be of type i64 or i32"), std::string::npos);
    call.weight = 9;
    services.rows(call);
    EXPECT_NE(services.failed().message().find("is not quantized"), std::string::npos);
  }
}

} // namespace
