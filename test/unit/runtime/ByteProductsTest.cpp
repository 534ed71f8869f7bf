//===- ByteProductsTest.cpp - Products from and to bytes --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "ProductSupport.h"
#include "QuantizedSupport.h"

#include <gtest/gtest.h>

using namespace lathe;
using namespace lathe::runtime;
using namespace lathe::test;

namespace {

struct Case {
  int64_t m, k, n, bits, group;
  int64_t aBytes, outBytes;
  int64_t aZero = 0, outZero = 0;
  int64_t padA = 0, padOut = 0;
  bool bias = false, multiplier = false, residual = false;
  int64_t activation = LATHE_ACT_NONE;
  int64_t batch = 1;
};

unsigned char flipOf(int64_t bytes) { return bytes == LATHE_BYTES_UNSIGNED ? 0x80 : 0; }

void check(const Case &c, const RandomQuantized &weight, int threads, const std::string &isa) {
  SCOPED_TRACE(join("m ", c.m, " k ", c.k, " n ", c.n, " bits ", c.bits, " group ", c.group, " from ", c.aBytes,
                    " zero ", c.aZero, " to ", c.outBytes, " zero ", c.outZero, " pad ", c.padA, " batch ", c.batch,
                    " ", isa));
  constexpr float kScale = 0.02f, kOutScale = 0.05f;
  QuantizedServices services(threads, isa);
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.weight = services.add(weight.layout, weight.packed.data());
  call.activation = c.activation;
  call.alpha = 1;
  call.m = c.m, call.n = c.n, call.k = c.k;
  call.a_row = c.k + c.padA, call.a_col = 1, call.out_row = c.n + c.padOut;
  call.batch[0] = call.batch[1] = 1, call.batch[2] = c.batch;
  // Items are apart from each other by more than their rows.
  int64_t aItem = c.m * call.a_row + (c.batch > 1 ? 3 : 0), outItem = c.m * call.out_row + (c.batch > 1 ? 5 : 0);
  call.a_batch[2] = aItem, call.out_batch[2] = outItem;
  call.a_quantization = LATHE_QUANTIZE_STATIC;
  call.a_scale = kScale, call.a_zero = c.aZero, call.a_bytes = c.aBytes;
  call.out_bytes = c.outBytes, call.out_scale = kOutScale, call.out_zero = c.outZero;
  std::vector<float> numbers = randomValues(aItem * c.batch - c.padA, 1);
  // What the numbers become, and exactly as many bytes as may be read.
  std::vector<int8_t> codes;
  std::vector<unsigned char> bytes;
  for (float number : numbers) {
    codes.push_back(static_cast<int8_t>(
        std::clamp(std::nearbyint(number * (1 / kScale)) + static_cast<float>(c.aZero), -128.0f, 127.0f)));
    bytes.push_back(static_cast<unsigned char>(codes.back()) ^ flipOf(c.aBytes));
  }
  std::vector<float> bias = randomValues(c.n, 3), multiplier = randomValues(outItem * c.batch, 4),
                     residual = randomValues(outItem * c.batch, 5);
  std::vector<float> out(static_cast<size_t>(outItem * c.batch), 77);
  std::vector<unsigned char> outBytes(out.size(), 77);
  call.a = c.aBytes ? static_cast<const void *>(bytes.data()) : numbers.data();
  call.out = c.outBytes ? static_cast<void *>(outBytes.data()) : out.data();
  call.bias = c.bias ? bias.data() : nullptr;
  call.multiplier = c.multiplier ? multiplier.data() : nullptr;
  call.residual = c.residual ? residual.data() : nullptr;
  services.start();
  Status status = services.matmul(call);
  ASSERT_FALSE(status.failed()) << status.message();
  for (int64_t item = 0; item < c.batch; ++item)
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.n; ++j) {
        double sum = 0, size = 0;
        for (int64_t k = 0; k < c.k; ++k) {
          double term = (codes[static_cast<size_t>(item * aItem + i * call.a_row + k)] - static_cast<double>(c.aZero)) *
                        kScale * weight.dense[static_cast<size_t>(k * c.n + j)];
          sum += term;
          size += std::fabs(term);
        }
        auto at = static_cast<size_t>(item * outItem + i * call.out_row + j);
        double value = sum + (c.bias ? bias[static_cast<size_t>(j)] : 0);
        if (c.activation == LATHE_ACT_RELU)
          value = value > 0 ? value : 0;
        value = value * (c.multiplier ? multiplier[at] : 1) + (c.residual ? residual[at] : 0);
        double error = 2e-6 * (4 + size);
        if (!c.outBytes) {
          ASSERT_NEAR(out[at], value, error) << "row " << i << ", column " << j;
          continue;
        }
        // Within what rounding makes of an error of the sum: a step only where the number lies between two.
        double exact = std::clamp(value / kOutScale + static_cast<double>(c.outZero), -128.0, 127.0);
        ASSERT_NEAR(static_cast<int8_t>(outBytes[at] ^ flipOf(c.outBytes)), exact, 0.5 + error / kOutScale + 1e-4)
            << "row " << i << ", column " << j;
      }
      for (int64_t j = c.n; j < call.out_row; ++j) {
        auto at = static_cast<size_t>(item * outItem + i * call.out_row + j);
        ASSERT_EQ(outBytes[at], 77);
        ASSERT_EQ(out[at], 77);
      }
    }
}

TEST(ByteProducts, Shapes) {
  int which = 0;
  for (auto [k, n, group] :
       {std::array<int64_t, 3>{1, 1, 1}, {33, 17, 16}, {64, 64, 64}, {192, 130, 32}, {128, 100, 128}, {4224, 40, 4224}})
    for (int64_t bits : {8, 4})
      for (int64_t m : {1, 2, 5, 6, 29, 140})
        for (int64_t aBytes : {LATHE_BYTES_NONE, LATHE_BYTES_SIGNED, LATHE_BYTES_UNSIGNED})
          for (int64_t outBytes : {LATHE_BYTES_NONE, LATHE_BYTES_SIGNED, LATHE_BYTES_UNSIGNED}) {
            ++which;
            if ((aBytes == LATHE_BYTES_NONE && outBytes == LATHE_BYTES_NONE) || (m * k * n > 1000000 && which % 5))
              continue;
            Case c{m, k, n, bits, group, aBytes, outBytes};
            c.aZero = which % 2 ? which % 200 - 100 : 0;
            c.outZero = which % 3 ? which % 150 - 75 : 0;
            c.padA = which % 4, c.padOut = which % 3;
            c.bias = which % 2 == 0, c.multiplier = which % 5 == 0, c.residual = which % 7 == 0;
            c.activation = which % 3 == 0 ? LATHE_ACT_RELU : LATHE_ACT_NONE;
            c.batch = which % 11 == 0 ? 3 : 1;
            QuantizedLayout layout;
            layout.k = k, layout.n = n, layout.bits = bits, layout.zero = static_cast<float>(layout.entries() / 2);
            layout.group = group < k && group % layout.unitRows() == 0 ? group : k;
            RandomQuantized weight(layout, 7);
            for (const std::string &isa : instructionSets())
              check(c, weight, 1 + which % 3, isa);
          }
}

/// A left side that several products read is rounded once, and anew when it is said to have changed.
TEST(ByteProducts, AgainUsesWhatTheProductBeforeLeft) {
  constexpr int64_t kRows = 5, kDepth = 96, kColumns = 24;
  QuantizedLayout layout;
  layout.k = kDepth, layout.n = kColumns, layout.group = kDepth, layout.zero = 128;
  RandomQuantized first(layout, 1), second(layout, 2);
  for (const std::string &isa : instructionSets()) {
    QuantizedServices services(2, isa);
    services.add(first.layout, first.packed.data());
    services.add(second.layout, second.packed.data());
    services.start();
    std::vector<float> a = randomValues(kRows * kDepth, 3);
    auto run = [&](int64_t weight, bool again, int64_t rows, int64_t quantization) {
      std::vector<float> out(static_cast<size_t>(kRows * kColumns));
      lathe_matmul_call call = {};
      call.dtype = LATHE_F32;
      call.weight = weight;
      call.alpha = call.a_scale = 1;
      call.m = rows, call.n = call.out_row = kColumns, call.k = call.a_row = kDepth;
      call.a_col = call.batch[0] = call.batch[1] = call.batch[2] = 1;
      call.a_quantization = quantization;
      call.a_again = again;
      call.a = a.data(), call.out = out.data();
      Status status = services.matmul(call);
      EXPECT_FALSE(status.failed()) << status.message();
      return out;
    };
    auto own = run(1, false, kRows, LATHE_QUANTIZE_ROWS);
    run(0, false, kRows, LATHE_QUANTIZE_ROWS);
    EXPECT_EQ(run(1, true, kRows, LATHE_QUANTIZE_ROWS), own);
    // What is left is that of another plan.
    run(0, false, kRows, LATHE_QUANTIZE_STATIC);
    EXPECT_EQ(run(1, true, kRows, LATHE_QUANTIZE_ROWS), own);
    run(0, false, 2, LATHE_QUANTIZE_ROWS);
    EXPECT_EQ(run(1, true, kRows, LATHE_QUANTIZE_ROWS), own);
    // Whoever says so while the numbers change gets those before: what was left is what is read.
    run(0, false, kRows, LATHE_QUANTIZE_ROWS);
    for (float &number : a)
      number = -number;
    EXPECT_EQ(run(1, true, kRows, LATHE_QUANTIZE_ROWS), own);
    EXPECT_NE(run(1, false, kRows, LATHE_QUANTIZE_ROWS), own);
  }
}

/// Bytes that were rounded by rows give what the product gives that rounds these rows itself, with sums of the bytes
/// and without.
TEST(ByteProducts, RowsThatWereRounded) {
  int which = 0;
  for (auto [k, n, group] :
       {std::array<int64_t, 3>{1, 1, 1}, {33, 17, 16}, {64, 64, 64}, {192, 130, 32}, {768, 100, 768}, {4224, 40, 4224}})
    for (int64_t bits : {8, 4})
      for (int64_t m : {0, 1, 5, 6, 29, 140}) {
        QuantizedLayout layout;
        layout.k = k, layout.n = n, layout.bits = bits,
        layout.zero = static_cast<float>(layout.entries() / 2) - (which % 2 ? 1 : 0);
        layout.group = group < k && group % layout.unitRows() == 0 ? group : k;
        RandomQuantized weight(layout, 7);
        std::vector<float> numbers = randomValues(m * k, 1), scales;
        std::vector<int8_t> bytes;
        std::vector<int32_t> sums;
        for (int64_t row = 0; row < m; ++row) {
          const float *first = numbers.data() + row * k;
          float largest = 0;
          for (int64_t i = 0; i < k; ++i)
            largest = std::max(largest, std::fabs(first[i]));
          scales.push_back(largest / 127);
          sums.push_back(0);
          for (int64_t i = 0; i < k; ++i) {
            bytes.push_back(static_cast<int8_t>(std::nearbyint(first[i] * (1 / scales.back()))));
            sums.back() += bytes.back();
          }
        }
        for (const std::string &isa : instructionSets()) {
          SCOPED_TRACE(join("m ", m, " k ", k, " n ", n, " bits ", bits, " group ", layout.group, " ", isa));
          QuantizedServices services(1 + which++ % 3, isa);
          services.add(weight.layout, weight.packed.data());
          services.start();
          auto run = [&](const void *a, int64_t aBytes, const float *aScales, const int32_t *aSums) {
            std::vector<float> out(static_cast<size_t>(m * n), 77);
            lathe_matmul_call call = {};
            call.dtype = LATHE_F32;
            call.alpha = call.a_scale = 1;
            // As a batch, whose rows are those of one matrix.
            call.m = m % 5 ? m : m / 5, call.batch[2] = m % 5 ? 1 : 5, call.a_batch[2] = call.m * k,
            call.out_batch[2] = call.m * n;
            call.k = call.a_row = k, call.n = call.out_row = n;
            call.a_col = call.batch[0] = call.batch[1] = 1;
            call.a_quantization = LATHE_QUANTIZE_ROWS;
            call.a = a, call.a_bytes = aBytes, call.a_scales = aScales, call.a_sums = aSums, call.out = out.data();
            Status status = services.matmul(call);
            EXPECT_FALSE(status.failed()) << status.message();
            return out;
          };
          auto own = run(numbers.data(), LATHE_BYTES_NONE, nullptr, nullptr);
          if (m == 0)
            continue;
          EXPECT_EQ(run(bytes.data(), LATHE_BYTES_SIGNED, scales.data(), sums.data()), own);
          EXPECT_EQ(run(bytes.data(), LATHE_BYTES_SIGNED, scales.data(), nullptr), own);
        }
      }
}

TEST(ByteProducts, RefusesWhatItCannotDo) {
  QuantizedLayout layout;
  layout.k = 8, layout.n = 16, layout.group = 8;
  RandomQuantized weight(layout, 1);
  std::vector<float> dense(128);
  QuantizedServices services(1, instructionSets().empty() ? "avx2" : instructionSets().front());
  services.add(weight.layout, weight.packed.data());
  services.add(8, 16, dense.data());
  services.start();
  std::vector<float> values(128);
  auto message = [&](auto change) {
    lathe_matmul_call call = {};
    call.a = call.out = values.data();
    call.alpha = call.a_scale = call.out_scale = 1;
    call.m = call.batch[0] = call.batch[1] = call.batch[2] = call.a_col = call.b_col = 1;
    call.k = call.a_row = 8;
    call.n = call.out_row = call.b_row = 16;
    call.a_quantization = LATHE_QUANTIZE_STATIC;
    call.a_bytes = call.out_bytes = LATHE_BYTES_SIGNED;
    change(call);
    return services.matmul(call).message();
  };
  EXPECT_EQ(message([](auto &) {}), "");
  EXPECT_NE(message([](auto &call) {
              call.a_quantization = LATHE_QUANTIZE_ROWS;
            }).find("a matmul from bytes 1 of quantization 1 without scales of rows"),
            std::string::npos);
  float scale = 1;
  EXPECT_NE(message([&](auto &call) {
              call.a_scales = &scale;
            }).find("a matmul from bytes 1 of quantization 2 with scales of rows"),
            std::string::npos);
  EXPECT_NE(message([&](auto &call) {
              call.a_quantization = LATHE_QUANTIZE_ROWS;
              call.a_bytes = LATHE_BYTES_UNSIGNED;
              call.a_scales = &scale;
            }).find("a matmul from bytes 2 of quantization 1"),
            std::string::npos);
  EXPECT_NE(message([](auto &call) { call.a_bytes = 3; }).find("a matmul from bytes 3"), std::string::npos);
  EXPECT_NE(message([](auto &call) { call.out_bytes = -1; }).find("to bytes -1"), std::string::npos);
  EXPECT_NE(message([](auto &call) { call.out_scale = 0; }).find("the result of a matmul has scale 0"),
            std::string::npos);
  EXPECT_NE(message([](auto &call) { call.out_zero = 128; }).find("zero point 128"), std::string::npos);
  EXPECT_NE(message([](auto &call) { call.k = 0; }).find("sums over nothing"), std::string::npos);
  EXPECT_NE(message([](auto &call) {
              call.weight = 1;
              call.a_quantization = LATHE_QUANTIZE_NONE;
              call.a_bytes = LATHE_BYTES_NONE;
            }).find("to bytes needs a quantized weight"),
            std::string::npos);
}

} // namespace
