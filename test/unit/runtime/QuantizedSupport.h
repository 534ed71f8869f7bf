//===- QuantizedSupport.h - Quantized weights of tests ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_QUANTIZEDSUPPORT_H
#define LATHE_TEST_UNIT_RUNTIME_QUANTIZEDSUPPORT_H

#include "backends/cpu/runtime/CpuBackend.h"
#include "backends/cpu/runtime/PackQuantized.h"
#include "runtime/Backend.h"
#include "runtime/Mapping.h"

#include <cmath>
#include <gtest/gtest.h>
#include <memory>
#include <random>

namespace lathe::test {

/// A module made of quantized constants, and a session on it, without an artifact.
class QuantizedServices final : public runtime::ModuleServices, public runtime::SessionServices {
public:
  QuantizedServices(int threads, std::string isa) : isa_(std::move(isa)) {
    EXPECT_FALSE(pool_.start(threads, cpu::cpuBackend().threadStart()).failed());
  }

  void start() {
    ASSERT_FALSE(cpu::cpuBackend().createModule(*this, &module_).failed());
    ASSERT_FALSE(module_->createSession(*this, &session_).failed());
  }

  /// `packed` has the layout's bytes, from a multiple of 64 on.
  int64_t add(const runtime::QuantizedLayout &layout, const void *packed) {
    runtime::Constant constant;
    constant.name = "weight";
    constant.type = runtime::dataType(LATHE_F32);
    constant.dims = {layout.k, layout.n};
    constant.size = static_cast<uint64_t>(layout.bytes());
    constant.quantized = layout;
    manifest_.constants.push_back(std::move(constant));
    data_.push_back(packed);
    return static_cast<int64_t>(data_.size()) - 1;
  }

  int64_t add(const runtime::SparseLayout &layout, const void *packed) {
    runtime::Constant constant;
    constant.name = "weight";
    constant.type = runtime::dataType(LATHE_F32);
    constant.dims = {layout.k, layout.n};
    constant.size = static_cast<uint64_t>(layout.bytes());
    constant.sparse = layout;
    manifest_.constants.push_back(std::move(constant));
    data_.push_back(packed);
    return static_cast<int64_t>(data_.size()) - 1;
  }
  /// A plain [k, n] matrix, which is packed when it is first used.
  int64_t add(int64_t k, int64_t n, const float *dense) {
    runtime::Constant constant;
    constant.name = "weight";
    constant.type = runtime::dataType(LATHE_F32);
    constant.dims = {k, n};
    constant.size = static_cast<uint64_t>(k * n * 4);
    manifest_.constants.push_back(std::move(constant));
    data_.push_back(dense);
    return static_cast<int64_t>(data_.size()) - 1;
  }

  runtime::Status matmul(const lathe_matmul_call &call) {
    failure_ = {};
    session_->beginRun();
    session_->matmul(call);
    session_->endRun();
    return failure_;
  }
  runtime::Status prepare(const lathe_matmul_call &call) {
    failure_ = {};
    session_->prepareMatmul(call);
    return failure_;
  }
  int64_t rows(const lathe_rows_call &call) {
    failure_ = {};
    return session_->dequantizeRows(call);
  }
  const runtime::Status &failed() const { return failure_; }

  const runtime::Manifest &manifest() const override { return manifest_; }
  const void *constant(size_t index) const override { return data_[index]; }
  bool chargePrivate(uint64_t) override { return true; }
  const runtime::Program &program() const override { return program_; }
  runtime::ThreadPool &pool() override { return pool_; }
  void fail(runtime::Status status) override { failure_ = std::move(status); }
  bool charge(int64_t) override { return true; }
  std::string_view isa() const override { return isa_; }

private:
  std::string isa_;
  runtime::ThreadPool pool_;
  runtime::Manifest manifest_;
  runtime::Program program_;
  std::vector<const void *> data_;
  runtime::Status failure_;
  std::unique_ptr<runtime::BackendModule> module_;
  std::unique_ptr<runtime::BackendSession> session_;
};

/// A matrix of random codes: what it is made of, its packed form and its numbers.
struct RandomQuantized {
  runtime::QuantizedLayout layout;
  std::vector<uint8_t> codes;
  std::vector<float> scales, zeros, table;
  runtime::Buffer packed;
  std::vector<float> dense; ///< [k, n]

  RandomQuantized(runtime::QuantizedLayout wanted, unsigned seed) : layout(wanted) {
    using runtime::CodeValues;
    cpu::setPanel(layout);
    std::string why;
    EXPECT_TRUE(layout.valid(&why)) << why;
    std::mt19937 random(seed);
    auto number = [&] { return static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000; };
    int64_t d = layout.dimension, n = layout.n, groups = layout.groups();
    codes.resize(static_cast<size_t>((layout.k + d - 1) / d * n));
    for (uint8_t &code : codes) {
      code = static_cast<uint8_t>(random() & ((1u << layout.bits) - 1));
      if (layout.values == CodeValues::e4m3 && (code & 0x7f) == 0x7f)
        code = 0;
      if (layout.values == CodeValues::e5m2) // of moderate size: numbers up to 57344 hide all others
        code = static_cast<uint8_t>((code & 0x80) | (code & 0x7f) % 0x44);
    }
    float range = layout.values == CodeValues::integer ? static_cast<float>(layout.entries()) / 2
                  : layout.values == CodeValues::e4m3  ? 64.0f : 1.0f;
    for (int64_t i = 0; i < groups * n; ++i) {
      float scale = (0.25f + std::fabs(number())) / range;
      scales.push_back(layout.scale == runtime::ScaleType::f32 ? scale
                       : layout.scale == runtime::ScaleType::e8m0 ? std::exp2(std::nearbyint(std::log2(scale)))
                       : std::ldexp(std::nearbyint(std::ldexp(scale, 10)), -10));
      if (layout.scale == runtime::ScaleType::bf16)
        scales.back() = std::exp2(std::nearbyint(std::log2(scale))) * 1.25f;
      zeros.push_back(layout.zeros == runtime::ZeroType::u8 ? static_cast<float>(random() % layout.entries())
                                                            : static_cast<float>(static_cast<int>(random() % 64)) / 8);
    }
    for (int64_t i = 0; i < layout.entries() * d; ++i)
      table.push_back(number());
    cpu::QuantizedSource source;
    source.codes = codes.data();
    source.codeRow = n;
    source.codeColumn = 1;
    source.scales = scales.data();
    source.zeros = zeros.data();
    source.table = table.data();
    EXPECT_TRUE(packed.reserve(static_cast<size_t>(layout.bytes())));
    cpu::packQuantized(layout, source, packed.data());
    dense.resize(static_cast<size_t>(layout.k * n));
    for (int64_t k = 0; k < layout.k; ++k)
      for (int64_t j = 0; j < n; ++j) {
        uint8_t code = codes[static_cast<size_t>(k / d * n + j)];
        auto at = static_cast<size_t>(k / layout.group * n + j);
        float value = code;
        if (layout.values == CodeValues::e4m3)
          value = decode(code, 4, 3);
        else if (layout.values == CodeValues::e5m2)
          value = decode(code, 5, 2);
        else if (layout.hasTable())
          value = table[static_cast<size_t>(code * d + k % d)];
        float zero = layout.zeros == runtime::ZeroType::constant ? layout.zero : zeros[at];
        dense[static_cast<size_t>(k * n + j)] = scales[at] * (value - zero);
      }
  }

  /// A float of 8 bits, by its definition.
  static float decode(uint8_t code, int exponentBits, int fractionBits) {
    int exponent = code >> fractionBits & ((1 << exponentBits) - 1), bias = (1 << (exponentBits - 1)) - 1;
    int fraction = code & ((1 << fractionBits) - 1);
    float value = exponent ? std::ldexp(static_cast<float>((1 << fractionBits) + fraction), exponent - bias - fractionBits)
                           : std::ldexp(static_cast<float>(fraction), 1 - bias - fractionBits);
    return code & 0x80 ? -value : value;
  }
};

/// x rounded to E4M3 by the definition: of all numbers the nearest, and of two that are as near the one with the even code.
inline float nearestE4m3(float x) {
  float best = 0;
  for (int code = 1; code < 0x7f; ++code) {
    float value = RandomQuantized::decode(static_cast<uint8_t>(code), 4, 3);
    double own = std::fabs(double(std::fabs(x)) - value), before = std::fabs(double(std::fabs(x)) - best);
    if (own < before || (own == before && code % 2 == 0))
      best = value;
  }
  return std::copysign(best, x);
}

/// Layouts of all kinds for [k, n]; groups of `group` rows where the kind can have them, else of all rows.
inline std::vector<runtime::QuantizedLayout> layoutsFor(int64_t k, int64_t n, int64_t group) {
  using namespace runtime;
  std::vector<QuantizedLayout> result;
  int which = 0;
  auto add = [&](CodeValues values, int64_t bits, int64_t dimension) {
    for (ZeroType zeros : {ZeroType::constant, ZeroType::u8, ZeroType::scale}) {
      QuantizedLayout layout;
      layout.k = k, layout.n = n;
      layout.values = values, layout.bits = bits, layout.dimension = dimension;
      layout.zeros = zeros;
      layout.zero = values == CodeValues::integer ? static_cast<float>(layout.entries() / 2) - (which % 3 == 0 ? 1 : 0)
                                                  : which % 2 * 0.25f;
      layout.scale = static_cast<ScaleType>(which++ % (zeros == ZeroType::scale ? 3 : 4));
      layout.group = group < k && group % layout.unitRows() == 0 ? group : k;
      result.push_back(layout);
    }
  };
  for (int64_t bits : {8, 4, 3, 2}) {
    add(CodeValues::integer, bits, 1);
    add(CodeValues::table, bits, 1);
    for (int64_t dimension : {2, 4, 8})
      add(CodeValues::codebook, bits, dimension);
  }
  add(CodeValues::e4m3, 8, 1);
  add(CodeValues::e5m2, 8, 1);
  return result;
}

inline std::string describe(const runtime::QuantizedLayout &layout) {
  return runtime::join("[", layout.k, ", ", layout.n, "] ", layout.bits, " bits ", name(layout.values), " d ", layout.dimension,
                       " group ", layout.group, " scale ", name(layout.scale), " zeros ", int(layout.zeros), " (", layout.zero,
                       ")");
}

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_QUANTIZEDSUPPORT_H
