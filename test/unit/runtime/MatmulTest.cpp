//===- MatmulTest.cpp - Matmuls against plain loops -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "ProductSupport.h"

#include "backends/cpu/runtime/CpuBackend.h"
#include "backends/cpu/runtime/GemmPlan.h"
#include "backends/cpu/runtime/MatmulPlan.h"
#include "backends/cpu/runtime/PackWeights.h"
#include "runtime/Backend.h"
#include "runtime/CpuFeatures.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace lathe;
using test::activated;
using test::randomValues;
using runtime::Constant;
using runtime::Manifest;
using runtime::Status;

namespace {

/// A module made of constants, and a session on it, without an artifact.
class Services final : public runtime::ModuleServices, public runtime::SessionServices {
public:
  explicit Services(int threads, std::string isa = "avx2") : isa_(std::move(isa)) {
    EXPECT_FALSE(pool_.start(threads, cpu::cpuBackend().threadStart()).failed());
  }

  void start() {
    ASSERT_FALSE(cpu::cpuBackend().createModule(*this, &module_).failed());
    ASSERT_FALSE(module_->createSession(*this, &session_).failed());
  }

  int64_t addPlain(const std::vector<float> &data, std::vector<int64_t> dims) {
    Constant constant;
    constant.name = "weight";
    constant.type = runtime::dataType(LATHE_F32);
    constant.dims = std::move(dims);
    constant.size = data.size() * 4;
    data_.push_back(data);
    manifest_.constants.push_back(std::move(constant));
    return static_cast<int64_t>(data_.size()) - 1;
  }

  int64_t addPacked(const std::vector<float> &packed, const runtime::PackedLayout &layout,
                    lathe_dtype type = LATHE_F32) {
    int64_t index = addPlain(packed, {layout.dims[0], layout.dims[1]});
    Constant &constant = manifest_.constants.back();
    constant.type = runtime::dataType(type);
    constant.size = static_cast<uint64_t>(layout.elements()) * constant.type->size;
    constant.packed = layout;
    return index;
  }

  Status matmul(const lathe_matmul_call &call) {
    failure_ = {};
    session_->beginRun();
    session_->matmul(call);
    session_->endRun();
    return failure_;
  }

  const Manifest &manifest() const override { return manifest_; }
  const void *constant(size_t index) const override { return data_[index].data(); }
  bool chargePrivate(uint64_t bytes) override {
    privateBytes += bytes;
    return true;
  }
  const runtime::Program &program() const override { return program_; }
  runtime::ThreadPool &pool() override { return pool_; }
  void fail(Status status) override { failure_ = std::move(status); }
  bool charge(int64_t) override { return true; }

  std::string_view isa() const override { return isa_; }

  uint64_t privateBytes = 0;

private:
  std::string isa_;
  runtime::ThreadPool pool_;
  Manifest manifest_;
  runtime::Program program_;
  std::vector<std::vector<float>> data_;
  Status failure_;
  std::unique_ptr<runtime::BackendModule> module_;
  std::unique_ptr<runtime::BackendSession> session_;
};

enum class Weight { none, plain, transposed, packed, foreign };

struct Case {
  int64_t m = 1, n = 1, k = 1;
  int64_t batch[3] = {1, 1, 1};
  bool transposeA = false, transposeB = false;
  bool broadcastA = false, broadcastB = false;
  int64_t padA = 0, padB = 0, padOut = 0; ///< additional elements between rows
  int64_t stretch = 1;                    ///< distance of neighbours in a and b
  bool bias = false;
  int multiplier = 0; ///< 1 apart, 2 in place
  int residual = 0;   ///< likewise
  int64_t activation = LATHE_ACT_NONE;
  double alpha = 1;
  Weight weight = Weight::none;
  lathe_dtype weightType = LATHE_F32; ///< of a packed one
  /// Heads as attention has them: [batch, rows, heads, width] seen as [batch, heads, rows, width].
  bool heads = false;
};

std::string describe(const Case &c) {
  return runtime::join(c.m, "x", c.k, "x", c.n, " batch ", c.batch[0], ",", c.batch[1], ",", c.batch[2], " tA ",
                       int(c.transposeA), " tB ", int(c.transposeB), " bA ", int(c.broadcastA), " bB ",
                       int(c.broadcastB), " pad ", c.padA, ",", c.padB, ",", c.padOut, " stretch ", c.stretch, " bias ",
                       int(c.bias), " multiplier ", c.multiplier, " residual ", c.residual, " act ", c.activation, " alpha ", c.alpha, " weight ",
                       int(c.weight), " of type ", int(c.weightType), " heads ", int(c.heads));
}

/// Lays a matrix out; returns the elements that one item takes.
int64_t strides(int64_t rows, int64_t cols, bool transpose, int64_t pad, int64_t stretch, int64_t *row, int64_t *col) {
  int64_t inner = transpose ? rows : cols, outer = transpose ? cols : rows;
  int64_t outerStride = inner * stretch + pad;
  *row = transpose ? stretch : outerStride;
  *col = transpose ? outerStride : stretch;
  return std::max<int64_t>(outer * outerStride, 1);
}

void batchStrides(const int64_t (&batch)[3], int64_t item, bool broadcast, int64_t (&out)[3]) {
  int64_t stride = broadcast ? 0 : item;
  for (int i = 2; i >= 0; --i) {
    out[i] = stride;
    stride *= batch[i];
  }
}

/// The 16 bits of a number that bf16 or f16 can hold, which of those in [-1, 1] are written here only.
uint16_t bitsOf(float value, lathe_dtype type) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (type == LATHE_BF16)
    return static_cast<uint16_t>(bits >> 16);
  uint32_t sign = bits >> 31 << 15, exponent = bits >> 23 & 0xff;
  return static_cast<uint16_t>(exponent == 0 ? sign : sign | (exponent - 112) << 10 | (bits >> 13 & 0x3ff));
}

/// Numbers that both bf16 and f16 can hold.
void coarsen(std::vector<float> &values) {
  for (float &value : values)
    value = std::nearbyint(value * 64) / 64;
}

void setWeight(const Case &c, Services &services, lathe_matmul_call &call, const std::vector<float> &b) {
  if (c.weight == Weight::none)
    return;
  call.b = nullptr;
  if (c.weight == Weight::plain || c.weight == Weight::transposed) {
    call.weight = services.addPlain(b, {c.k, c.n});
    return;
  }
  cpu::WeightLayout layout;
  std::string error;
  ASSERT_TRUE(cpu::preferredWeightLayout(c.k, c.n, c.weightType, &layout, &error)) << error;
  if (c.weightType != LATHE_F32) {
    std::vector<uint16_t> narrow;
    for (float value : b)
      narrow.push_back(bitsOf(value, c.weightType));
    std::vector<float> packed(static_cast<size_t>(layout.layout.elements()) / 2);
    cpu::packWeights(layout, c.weightType, narrow.data(), call.b_row, call.b_col, packed.data());
    call.weight = services.addPacked(packed, layout.layout, c.weightType);
    return;
  }
  if (c.weight == Weight::foreign) {
    // As some other machine would have packed it.
    layout.layout = {};
    layout.layout.blockCount = 2;
    layout.layout.blocks[0] = 8;
    layout.layout.blocks[1] = 4;
    layout.layout.blockDims[0] = 1;
    layout.layout.dims[0] = c.k;
    layout.layout.dims[1] = c.n;
    layout.layout.paddedDims[0] = (c.k + 3) / 4 * 4;
    layout.layout.paddedDims[1] = (c.n + 7) / 8 * 8;
    layout.layout.strides[1] = 32;
    layout.layout.strides[0] = layout.layout.paddedDims[1] / 8 * 32;
    ASSERT_TRUE(layout.layout.valid());
  }
  std::vector<float> packed(static_cast<size_t>(layout.layout.elements()));
  cpu::packWeights(layout, LATHE_F32, b.data(), call.b_row, call.b_col, packed.data());
  call.weight = services.addPacked(packed, layout.layout);
  // What generated code would pass for the logical matrix.
  call.b_row = c.n;
  call.b_col = 1;
}

void setHeads(const Case &c, lathe_matmul_call &call) {
  int64_t heads = c.batch[2];
  call.a_row = heads * c.k;
  call.a_col = 1;
  call.a_batch[2] = c.k;
  call.b_row = 1; // keys, transposed
  call.b_col = heads * c.k;
  call.b_batch[2] = c.k;
  call.a_batch[1] = c.m * heads * c.k;
  call.b_batch[1] = c.n * heads * c.k;
  call.a_batch[0] = call.a_batch[1] * c.batch[1];
  call.b_batch[0] = call.b_batch[1] * c.batch[1];
}

void check(const Case &c, int threads, const std::string &isa) {
  SCOPED_TRACE(describe(c) + " threads " + std::to_string(threads) + " " + isa);
  Services services(threads, isa);
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.weight = -1;
  call.activation = c.activation;
  call.alpha = c.alpha;
  call.m = c.m;
  call.n = c.n;
  call.k = c.k;
  int64_t aItem = strides(c.m, c.k, c.transposeA, c.padA, c.stretch, &call.a_row, &call.a_col);
  int64_t bItem =
      strides(c.k, c.n, c.transposeB || c.weight == Weight::transposed, c.padB, c.stretch, &call.b_row, &call.b_col);
  call.out_row = c.n + c.padOut;
  int64_t outItem = c.m * call.out_row;
  int64_t items = c.batch[0] * c.batch[1] * c.batch[2];
  for (int i = 0; i < 3; ++i)
    call.batch[i] = c.batch[i];
  batchStrides(c.batch, aItem, c.broadcastA, call.a_batch);
  batchStrides(c.batch, bItem, c.broadcastB || c.weight != Weight::none, call.b_batch);
  batchStrides(c.batch, outItem, false, call.out_batch);
  if (c.heads)
    setHeads(c, call);
  std::vector<float> a = randomValues(std::max<int64_t>(aItem * items, 1), 1);
  std::vector<float> b = randomValues(std::max<int64_t>(bItem * items, 1), 2);
  if (c.weightType != LATHE_F32)
    coarsen(b);
  if (isa != runtime::codeIsa(isa) && c.weightType == LATHE_BF16)
    coarsen(a); // they are rounded to bf16
  std::vector<float> bias = randomValues(c.n, 3);
  std::vector<float> residual = randomValues(outItem * items, 4);
  std::vector<float> multiplier = randomValues(outItem * items, 5);
  // What lies between rows of the output must stay.
  std::vector<float> out(static_cast<size_t>(outItem * items), 77.0f);
  if (c.residual == 2 || c.multiplier == 2)
    out = c.residual == 2 ? residual : multiplier;
  std::vector<float> before = out;
  call.a = a.data();
  call.b = b.data();
  call.bias = c.bias ? bias.data() : nullptr;
  call.out = out.data();
  call.multiplier = c.multiplier == 2 ? out.data() : c.multiplier == 1 ? multiplier.data() : nullptr;
  call.residual = c.residual == 2 ? out.data() : c.residual == 1 ? residual.data() : nullptr;
  int64_t bRow = call.b_row, bCol = call.b_col;
  setWeight(c, services, call, b);
  services.start();

  for (int round = 0; round < 2; ++round) {
    out = before;
    Status status = services.matmul(call);
    ASSERT_FALSE(status.failed()) << status.message();
    std::vector<float> expected = before;
    for (int64_t i = 0; i < items; ++i) {
      int64_t index[3] = {i / c.batch[2] / c.batch[1], i / c.batch[2] % c.batch[1], i % c.batch[2]};
      int64_t aAt = 0, bAt = 0, outAt = 0;
      for (int d = 0; d < 3; ++d) {
        aAt += index[d] * call.a_batch[d];
        bAt += index[d] * call.b_batch[d];
        outAt += index[d] * call.out_batch[d];
      }
      for (int64_t m = 0; m < c.m; ++m)
        for (int64_t n = 0; n < c.n; ++n) {
          double sum = 0;
          for (int64_t k = 0; k < c.k; ++k)
            sum += static_cast<double>(a[static_cast<size_t>(aAt + m * call.a_row + k * call.a_col)]) *
                   b[static_cast<size_t>(bAt + k * bRow + n * bCol)];
          sum = activated(c.activation, c.alpha * sum + (c.bias ? bias[static_cast<size_t>(n)] : 0));
          auto at = static_cast<size_t>(outAt + m * call.out_row + n);
          sum *= c.multiplier ? multiplier[at] : 1;
          expected[at] = static_cast<float>(sum + (c.residual ? residual[at] : 0));
        }
    }
    double tolerance = 1e-4 * (1 + std::sqrt(static_cast<double>(c.k)) / 10);
    for (size_t i = 0; i < out.size(); ++i)
      ASSERT_NEAR(out[i], expected[i], tolerance) << "element " << i << " of " << out.size();
  }
}

/// With all instruction sets whose loops differ and that the machine has.
void check(const Case &c, int threads) {
  for (const std::string &isa : test::instructionSets())
    if (isa == "avx2" || c.weight != Weight::none)
      check(c, threads, isa);
}

void checkAll(const Case &c) {
  for (int threads : {1, 3})
    check(c, threads);
}

TEST(Matmul, Shapes) {
  for (int64_t m : {1, 2, 5, 64, 130})
    for (int64_t n : {1, 3, 16, 64, 200})
      for (int64_t k : {1, 2, 17, 64, 300}) {
        Case c;
        c.m = m, c.n = n, c.k = k;
        checkAll(c);
      }
}

TEST(Matmul, EmptyExtents) {
  for (int which = 0; which < 4; ++which)
    for (bool bias : {false, true}) {
      Case c;
      c.m = which == 0 ? 0 : 5;
      c.n = which == 1 ? 0 : 7;
      c.k = which == 2 ? 0 : 9;
      c.batch[1] = which == 3 ? 0 : 2;
      c.bias = bias;
      c.residual = bias ? 1 : 0;
      c.multiplier = c.residual;
      c.activation = LATHE_ACT_GELU_ERF;
      if (which == 3 || c.m == 0 || c.n == 0) {
        c.padOut = 0;
      }
      checkAll(c);
    }
}

TEST(Matmul, Strides) {
  for (bool transposeA : {false, true})
    for (bool transposeB : {false, true})
      for (int64_t pad : {0, 5})
        for (int64_t stretch : {1, 2}) {
          Case c;
          c.m = 70, c.n = 130, c.k = 40;
          c.transposeA = transposeA;
          c.transposeB = transposeB;
          c.padA = c.padB = c.padOut = pad;
          c.stretch = stretch;
          checkAll(c);
          c.activation = LATHE_ACT_SILU;
          c.bias = true;
          c.residual = 1;
          checkAll(c);
          c.m = 1;
          checkAll(c);
          c.m = 70;
          c.n = 1;
          checkAll(c);
          c.k = 1;
          checkAll(c);
        }
}

TEST(Matmul, Epilogues) {
  for (int64_t activation = LATHE_ACT_NONE; activation <= LATHE_ACT_SIGMOID; ++activation)
    for (bool bias : {false, true})
      for (int residual : {0, 1, 2})
        for (double alpha : {1.0, 0.125})
          for (int64_t padOut : {0, 3})
            for (Weight weight : {Weight::none, Weight::packed}) {
              Case c;
              c.m = 37, c.n = 96, c.k = 33;
              c.activation = activation;
              c.bias = bias;
              c.residual = residual;
              c.alpha = alpha;
              c.padOut = padOut;
              c.weight = weight;
              check(c, 2);
            }
}

TEST(Matmul, Multipliers) {
  for (lathe_dtype type : {LATHE_F32, LATHE_BF16})
    for (int64_t m : {1, 7, 140})
      for (int64_t n : {1, 17, 130})
        for (int64_t k : {1, 33, 900})
          for (int multiplier : {1, 2})
            for (int residual : {0, 1}) {
              Case c;
              c.m = m, c.n = n, c.k = k;
              c.activation = LATHE_ACT_SILU;
              c.bias = true;
              c.multiplier = multiplier;
              c.residual = residual;
              c.weight = Weight::packed;
              c.weightType = type;
              c.padOut = k == 33 ? 3 : 0;
              checkAll(c);
            }
  // A product of computed values has no such step.
  Services services(1);
  float one = 1;
  lathe_matmul_call call{};
  call.weight = -1;
  call.alpha = 1;
  call.a = call.b = call.multiplier = &one;
  float out = 0;
  call.out = &out;
  call.m = call.n = call.k = call.a_row = call.a_col = call.b_row = call.b_col = call.out_row = 1;
  call.batch[0] = call.batch[1] = call.batch[2] = 1;
  services.start();
  EXPECT_NE(services.matmul(call).message().find("a multiplier of a matmul without a constant"), std::string::npos);
}

TEST(Matmul, LongSumsWithResidualInPlace) {
  // oneDNN cuts long sums into pieces that it keeps in the output.
  for (Weight weight : {Weight::none, Weight::packed})
    for (int64_t m : {1, 40, 300}) {
      Case c;
      c.m = m, c.n = 192, c.k = 3072;
      c.residual = 2;
      c.bias = true;
      c.activation = LATHE_ACT_GELU_TANH;
      c.weight = weight;
      checkAll(c);
    }
}

TEST(Matmul, Batches) {
  for (bool broadcastA : {false, true})
    for (bool broadcastB : {false, true})
      for (int64_t padOut : {0, 2}) {
        Case c;
        c.m = 9, c.n = 20, c.k = 12;
        c.batch[0] = 2, c.batch[1] = 3, c.batch[2] = 5;
        c.broadcastA = broadcastA;
        c.broadcastB = broadcastB;
        c.padOut = padOut;
        c.transposeB = padOut != 0;
        c.alpha = 0.5;
        checkAll(c);
        c.m = 1;
        checkAll(c);
        c.batch[1] = 1;
        checkAll(c);
      }
}

TEST(Matmul, AttentionHeads) {
  for (int64_t rows : {1, 12, 128}) {
    Case c;
    c.m = c.n = rows;
    c.k = 64;
    c.batch[1] = 2;
    c.batch[2] = 12;
    c.heads = true;
    c.alpha = 0.125;
    checkAll(c);
  }
}

TEST(Matmul, Weights) {
  for (Weight weight : {Weight::plain, Weight::transposed, Weight::packed, Weight::foreign})
    for (int64_t m : {1, 3, 33, 129})
      for (int64_t n : {1, 16, 48, 384, 500, 1000})
        for (int64_t k : {5, 64, 383}) {
          Case c;
          c.m = m, c.n = n, c.k = k;
          c.weight = weight;
          c.bias = true;
          c.padOut = n == 48 ? 5 : 0;
          c.padA = k == 64 ? 3 : 0;
          checkAll(c);
        }
  Case c;
  c.m = 3, c.n = 384, c.k = 384;
  c.batch[1] = 4, c.batch[2] = 2;
  c.weight = Weight::packed;
  c.residual = 1;
  checkAll(c);
  c.padOut = 1;
  checkAll(c);
}

TEST(Matmul, NarrowWeights) {
  for (lathe_dtype type : {LATHE_BF16, LATHE_F16})
    for (int64_t m : {1, 2, 6, 7, 50, 170})
      for (int64_t n : {1, 16, 100, 384})
        for (int64_t k : {1, 64, 801}) {
          Case c;
          c.m = m, c.n = n, c.k = k;
          c.weight = Weight::packed;
          c.weightType = type;
          c.bias = true;
          c.activation = LATHE_ACT_SILU;
          c.residual = 1;
          checkAll(c);
        }
}

TEST(Matmul, TilesOfBf16) {
  for (int64_t m : {7, 16, 17, 31, 32, 33, 64, 140})
    for (int64_t n : {16, 31, 48, 130})
      for (int64_t k : {1, 31, 32, 33, 600, 1100}) {
        Case c;
        c.m = m, c.n = n, c.k = k;
        c.batch[2] = m == 17 ? 3 : 1;
        c.transposeA = m == 33;
        c.weight = Weight::packed;
        c.weightType = LATHE_BF16;
        c.multiplier = n == 48 ? 1 : 0;
        c.padOut = 3;
        checkAll(c);
      }
}

TEST(Matmul, TransposedLeftSideOfWeights) {
  for (int64_t m : {1, 5, 200}) {
    Case c;
    c.m = m, c.n = 130, c.k = 1700;
    c.weight = Weight::packed;
    c.transposeA = true;
    c.batch[1] = 2;
    c.activation = LATHE_ACT_RELU;
    checkAll(c);
  }
}

TEST(Matmul, UsesPackedWeightsInPlace) {
  cpu::WeightLayout layout;
  std::string error;
  ASSERT_TRUE(cpu::preferredWeightLayout(384, 1536, LATHE_F32, &layout, &error)) << error;
  std::vector<float> b = randomValues(384 * 1536, 1), packed(static_cast<size_t>(layout.layout.elements()));
  cpu::packWeights(layout, LATHE_F32, b.data(), 1536, 1, packed.data());
  Services services(3);
  lathe_matmul_call call = {};
  call.weight = services.addPacked(packed, layout.layout);
  services.start();
  std::vector<float> a = randomValues(200 * 384, 2), out(200 * 1536);
  call.alpha = 1;
  call.a = a.data();
  call.out = out.data();
  call.n = call.b_row = call.out_row = 1536;
  call.k = call.a_row = 384;
  call.a_col = call.b_col = call.batch[0] = call.batch[1] = call.batch[2] = 1;
  for (int64_t m : {1, 7, 64, 200}) {
    call.m = m;
    ASSERT_FALSE(services.matmul(call).failed());
  }
  EXPECT_EQ(services.privateBytes, 0u);
}

TEST(Matmul, RefusesWhatItCannotDo) {
  Services services(1);
  services.start();
  float value = 1;
  lathe_matmul_call call = {};
  call.m = call.n = call.k = call.batch[0] = call.batch[1] = call.batch[2] = 1;
  call.a = call.b = &value;
  call.out = &value;
  call.weight = -1;
  call.dtype = LATHE_BF16;
  EXPECT_EQ(services.matmul(call).message(), "kernel '0': the cpu backend has no matmul for type bf16; expected f32");
  call.dtype = LATHE_F32;
  call.weight = 3;
  call.b = nullptr;
  EXPECT_EQ(services.matmul(call).code(), LATHE_INTERNAL);
  call.m = -1;
  EXPECT_EQ(services.matmul(call).code(), LATHE_INTERNAL);
}

TEST(Matmul, TilingCoversTheProduct) {
  for (int64_t m : {1, 5, 31, 64, 128, 1000})
    for (int64_t n : {1, 63, 64, 65, 384, 3072})
      for (int64_t items : {1, 2, 24})
        for (int threads : {1, 2, 16}) {
          cpu::Tiling tiling = cpu::chooseTiling(m, n, 768, items, threads);
          EXPECT_TRUE(tiling.mTile >= 1 && tiling.mTile <= m);
          EXPECT_TRUE(tiling.nTile >= 1 && tiling.nTile <= n);
          EXPECT_TRUE(tiling.nTile == n || tiling.nTile % 64 == 0);
        }
}

TEST(Matmul, GemmTilingCoversTheProduct) {
  for (int64_t m : {1, 5, 31, 64, 128, 1000})
    for (int64_t n : {1, 63, 64, 65, 384, 3072, 50257})
      for (int64_t k : {1, 767, 3072})
        for (int64_t items : {1, 24})
          for (int threads : {1, 2, 16}) {
            cpu::GemmTiling tiling = cpu::chooseGemmTiling(m, n, k, items, threads);
            EXPECT_TRUE(tiling.rows >= 1 && tiling.rows <= m);
            EXPECT_TRUE(tiling.panels >= 1 && tiling.panels <= (n + 63) / 64);
            EXPECT_TRUE(tiling.depth >= 1 && tiling.depth <= k);
          }
}

TEST(Matmul, WeightsThatTakeLongToComeAreShared) {
  auto isShared = [](int64_t m, int64_t n, int64_t k, int threads) {
    return cpu::chooseGemmTiling(m, n, k, 1, threads).parallel;
  };
  EXPECT_TRUE(isShared(1, 256, 256, 2));
  EXPECT_FALSE(isShared(1, 256, 256, 1));
  EXPECT_FALSE(isShared(1, 64, 256, 2));
  EXPECT_FALSE(isShared(4, 64, 256, 2));
  EXPECT_TRUE(isShared(40, 64, 256, 2));
}

TEST(PackWeights, RoundTrips) {
  for (int64_t k : {1, 5, 64, 383})
    for (int64_t n : {1, 16, 48, 1000}) {
      cpu::WeightLayout layout;
      std::string error;
      ASSERT_TRUE(cpu::preferredWeightLayout(k, n, LATHE_F32, &layout, &error)) << error;
      ASSERT_TRUE(layout.layout.valid());
      std::vector<float> transposed = randomValues(k * n, 9);
      std::vector<float> packed(static_cast<size_t>(layout.bytes / 4), 5.0f), back(static_cast<size_t>(k * n));
      cpu::packWeights(layout, LATHE_F32, transposed.data(), 1, k, packed.data());
      runtime::unpack(layout.layout, 4, packed.data(), back.data());
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < n; ++j)
          ASSERT_EQ(back[static_cast<size_t>(i * n + j)], transposed[static_cast<size_t>(j * k + i)]);
      double sum = 0, expected = 0;
      for (float value : packed)
        sum += value;
      for (float value : transposed)
        expected += value;
      EXPECT_NEAR(sum, expected, 1e-2) << "padding is not zero";
    }
  cpu::WeightLayout layout;
  std::string error;
  EXPECT_FALSE(cpu::preferredWeightLayout(0, 3, LATHE_F32, &layout, &error));
  EXPECT_FALSE(cpu::preferredWeightLayout(3, 3, LATHE_F64, &layout, &error));
  EXPECT_NE(error, "");
}

} // namespace
