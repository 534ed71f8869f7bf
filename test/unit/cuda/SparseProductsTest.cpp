//===- SparseProductsTest.cpp - Products by cuSPARSELt on the device ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/SmallFloats.h"
#include "test/unit/cuda/DeviceNumbers.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>
#include <unistd.h>

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;
using testing::AllOf;
using testing::HasSubstr;

namespace {

struct Case {
  int64_t type = LATHE_F16, dtype = LATHE_F32;
  int64_t m = 8, n = 16, k = 32, batch = 1;
  int64_t activation = LATHE_ACT_NONE;
  bool bias = false, multiplier = false, residual = false;
  bool transposed = false;    ///< the weight lies as [n, k]
  bool narrowA = false;       ///< a has the weight's type already, where dtype is f32
  bool narrowOut = false;     ///< and so the result
  int64_t gap = 0, shift = 0; ///< between rows; numbers before the first
  double scale = 1;           ///< of the left side
};

/// A weight of which of each four numbers along k two are zeros, or one, where it `isWrong` somewhere.
struct Weight {
  Numbers numbers;
  int64_t n, k;
  bool transposed;

  Weight(int64_t type, int64_t n, int64_t k, bool transposed, bool isWrong = false)
      : numbers(type, static_cast<size_t>(n * k)), n(n), k(k), transposed(transposed) {
    std::mt19937 random(7);
    numbers.randomize(9);
    for (int64_t j = 0; j < n; ++j)
      for (int64_t group = 0; group < k / 4; ++group) {
        int64_t first = random() % 4, second = (first + 1 + random() % 3) % 4;
        numbers.set(at(group * 4 + first, j), 0);
        numbers.set(at(group * 4 + second, j), random() % 8 ? 0.0f : -0.0f);
        if (isWrong && j == n - 1 && group == k / 4 - 1)
          for (int64_t i = 0; i < 3; ++i)
            numbers.set(at(group * 4 + i, j), 0.5f);
      }
  }
  size_t at(int64_t l, int64_t j) const { return static_cast<size_t>(transposed ? j * k + l : l * n + j); }
  void addTo(Services &services) {
    services.addConstant(static_cast<lathe_dtype>(numbers.dtype), transposed ? n : k, transposed ? k : n,
                         numbers.narrow);
    services.setHalfZeros(transposed ? 2 : 1);
  }
};

float rounded(int64_t dtype, float value) {
  if (dtype == LATHE_F32)
    return value;
  if (dtype == LATHE_BF16)
    return runtime::bfloatValue(runtime::toBfloat(value));
  return runtime::halfValue(runtime::toHalf(std::fmin(std::fmax(value, -65504.0f), 65504.0f)));
}

/// A call, its operands, and what comes out of it.
class SparseCall {
public:
  SparseCall(Harness &harness, const Case &c, const Weight &weight, int64_t index = 0)
      : c(c), weight(weight), row(c.k + c.gap), outRow(c.n + c.gap), typeA(c.narrowA ? c.type : c.dtype),
        typeOut(c.narrowOut ? c.type : c.dtype), a(harness, typeA, c.batch * c.m * row + c.shift + 1, 1, c.scale),
        bias(harness, c.dtype, c.n, 2), multiplier(harness, c.dtype, c.batch * c.m * outRow + 1, 3),
        residual(harness, c.dtype, c.batch * c.m * outRow + 1, 4),
        out(harness, typeOut, c.batch * c.m * outRow + 1, 0) {
    call.dtype = c.dtype;
    call.weight = index;
    call.alpha = 0.5;
    call.activation = c.activation;
    call.m = c.m, call.n = c.n, call.k = c.k;
    call.a_row = row, call.a_col = 1, call.out_row = outRow;
    call.b_row = c.transposed ? 1 : c.n, call.b_col = c.transposed ? c.k : 1;
    call.batch[0] = call.batch[1] = 1, call.batch[2] = c.batch;
    call.a_batch[2] = c.m * row, call.out_batch[2] = c.m * outRow;
    auto bytesOf = [&](bool narrow) {
      return !narrow || c.dtype != LATHE_F32 ? LATHE_BYTES_NONE
             : c.type == LATHE_F16           ? LATHE_BYTES_F16
                                             : LATHE_BYTES_BF16;
    };
    call.a_bytes = bytesOf(c.narrowA), call.out_bytes = bytesOf(c.narrowOut);
    call.a = static_cast<char *>(a.device) + c.shift * (typeA == LATHE_F32 ? 4 : 2);
    call.out = out.device;
    call.bias = c.bias ? bias.device : nullptr;
    call.multiplier = c.multiplier ? multiplier.device : nullptr;
    call.residual = c.residual ? residual.device : nullptr;
  }

  void check() {
    SCOPED_TRACE(testing::Message() << "type " << c.type << " dtype " << c.dtype << " " << c.batch << "x" << c.m << "x"
                                    << c.n << "x" << c.k << " act " << c.activation << " gap " << c.gap << " narrow "
                                    << c.narrowA << c.narrowOut);
    Numbers got = out.read();
    std::vector<bool> isResult(got.size());
    double step = std::ldexp(1, c.type == LATHE_F16 ? -11 : -8);
    for (int64_t i = 0; i < c.batch * c.m; ++i)
      for (int64_t j = 0; j < c.n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < c.k; ++l)
          sum += double(rounded(c.type, a.host.get(static_cast<size_t>(c.shift + i * row + l)))) *
                 weight.numbers.get(weight.at(l, j));
        auto at = static_cast<size_t>(i * outRow + j);
        double limit = c.type == LATHE_F16 ? 65504 : 1e38, factor = c.multiplier ? multiplier.host.get(at) : 1;
        sum = std::fmin(std::fmax(0.5 * sum, -limit), limit);
        double x = activated(c.activation, sum + (c.bias ? bias.host.get(static_cast<size_t>(j)) : 0));
        x = x * factor + (c.residual ? residual.host.get(at) : 0);
        double tolerance = 1.2 * step * std::fabs(sum) * std::fabs(factor) + 1e-4;
        tolerance += typeOut == LATHE_F32 ? 0 : step * std::fabs(x);
        ASSERT_NEAR(got.get(at), x, tolerance) << i << ", " << j;
        isResult[at] = true;
      }
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_TRUE(isResult[i] || std::isnan(got.get(i))) << i << ": written outside of the result";
  }

  const Case c;
  const Weight &weight;
  const int64_t row, outRow, typeA, typeOut;
  DeviceNumbers a, bias, multiplier, residual, out;
  lathe_matmul_call call = {};
};

class SparseProductsOf : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override {
    for (const char *name : {"LATHE_CUDA_NO_CUSPARSELT", "LATHE_CUDA_VERBOSE", "LATHE_CUDA_CHOICES"})
      unsetenv(name);
    emulatorSettings() = {};
    EXPECT_EQ(emulatorStatistics().allocations, 0u);
    EXPECT_EQ(emulatorStatistics().handles, 0);
  }
  static int64_t sparse() { return emulatorStatistics().sparseProducts; }
  /// How many products the library computes in a run.
  static int64_t run(Harness &harness, const SparseCall &product) {
    int64_t before = sparse();
    runtime::Status status = harness.run(product.call);
    EXPECT_FALSE(status.failed()) << status.message();
    return sparse() - before;
  }
  /// What a run of a fresh session says of a product; how many the library has computed is added.
  static std::string told(const Case &c, const Weight &weight, uint64_t privateBudget = UINT64_MAX) {
    setenv("LATHE_CUDA_VERBOSE", "1", 1);
    Harness harness;
    Weight own = weight;
    own.addTo(harness.services);
    harness.start();
    harness.services.privateBudget = privateBudget;
    testing::internal::CaptureStderr();
    SparseCall product(harness, c, weight);
    int64_t count = run(harness, product);
    run(harness, product); // says nothing anew
    std::string text = testing::internal::GetCapturedStderr();
    product.check();
    return text + std::to_string(count);
  }
};

TEST_F(SparseProductsOf, ManyShapesTypesAndEpilogues) {
  std::mt19937 random(5);
  auto pick = [&](std::initializer_list<int64_t> values) { return values.begin()[random() % values.size()]; };
  for (int64_t type : {LATHE_F16, LATHE_BF16})
    for (bool transposed : {false, true})
      for (int64_t n : {16, 48}) {
        Harness harness;
        Case c;
        c.type = type, c.transposed = transposed, c.n = n;
        c.k = pick({16, 32, 80});
        Weight weight(type, n, c.k, transposed);
        weight.addTo(harness.services);
        harness.start();
        for (int trial = 0; trial < 20; ++trial) {
          c.dtype = random() % 3 ? int64_t(LATHE_F32) : type;
          c.m = pick({0, 1, 2, 7, 8, 9, 16, 33}), c.batch = pick({1, 1, 3, 8});
          c.activation = pick({LATHE_ACT_NONE, LATHE_ACT_RELU, LATHE_ACT_GELU_ERF, LATHE_ACT_SILU});
          c.bias = random() % 2, c.multiplier = random() % 4 == 0, c.residual = random() % 3 == 0;
          if (random() % 3 == 0)
            c.activation = LATHE_ACT_NONE, c.bias = c.multiplier = c.residual = false;
          c.narrowA = random() % 2, c.narrowOut = random() % 2;
          c.gap = pick({0, 0, 3, 8}), c.shift = pick({0, 0, 1});
          SparseCall product(harness, c, weight);
          EXPECT_EQ(run(harness, product), c.m > 0);
          product.check();
          if (HasFatalFailure())
            return;
        }
      }
}

TEST_F(SparseProductsOf, ResultsBeyondF16AreItsLargest) {
  for (bool narrow : {false, true}) {
    Case c;
    c.scale = 60000, c.narrowOut = narrow;
    Weight weight(c.type, c.n, c.k, false);
    Harness harness;
    weight.addTo(harness.services);
    harness.start();
    SparseCall product(harness, c, weight);
    EXPECT_EQ(run(harness, product), 1);
    product.check();
  }
}

/// Products in a row read what the first of them rounded, also where dense ones are among them.
TEST_F(SparseProductsOf, OneLeftSideShareItsRoundedForm) {
  Harness harness;
  Case c;
  c.m = 9; // fewer no dense product shares
  Weight sparse(c.type, c.n, c.k, false), dense(c.type, c.n, c.k, false, /*isWrong=*/true);
  sparse.addTo(harness.services);
  dense.addTo(harness.services);
  harness.start();
  SparseCall first(harness, c, dense, 1), second(harness, c, sparse, 0), third(harness, c, dense, 1);
  second.call.a = third.call.a = first.call.a;
  second.call.a_again = third.call.a_again = 1;
  for (int round = 0; round < 2; ++round) {
    runtime::Status status = harness.runCalls([&] {
      for (SparseCall *product : {&first, &second, &third})
        harness.session->matmul(product->call);
    });
    ASSERT_FALSE(status.failed()) << status.message();
    for (SparseCall *product : {&first, &second, &third})
      product->check();
  }
}

TEST_F(SparseProductsOf, OtherExtentsAndZerosAreDense) {
  Case c;
  c.k = 40;
  EXPECT_THAT(
      told(c, Weight(c.type, c.n, c.k, false)),
      AllOf(
          HasSubstr("lathe: kernel 'product' (node 'MatMul_0'): product by the own kernel, not cuSPARSELt: its weight "
                    "is [40, 16], expected multiples of 16\n"),
          testing::EndsWith("\n0")));
  c.m = 9; // more rows are the library's
  EXPECT_THAT(told(c, Weight(c.type, c.n, c.k, false)),
              HasSubstr("product by cuBLASLt, not cuSPARSELt: its weight is"));
  c = Case();
  c.n = 24;
  EXPECT_THAT(told(c, Weight(c.type, c.n, c.k, false)), testing::EndsWith("\n0"));
  // Whatever the artifact says: nothing is pruned here.
  c = Case();
  EXPECT_THAT(told(c, Weight(c.type, c.n, c.k, false, /*isWrong=*/true)),
              AllOf(HasSubstr("not cuSPARSELt: its zeros are not 2:4\n"), testing::EndsWith("\n0")));
  EXPECT_THAT(told(c, Weight(c.type, c.n, c.k, false)),
              AllOf(HasSubstr("product by cuSPARSELt 1000\n"), testing::EndsWith("\n1")));
}

TEST_F(SparseProductsOf, AMachineWithoutTheLibraryAreDense) {
  Case c;
  Weight weight(c.type, c.n, c.k, false);
  emulatorSettings().hasSparseLt = false;
  EXPECT_THAT(told(c, weight),
              AllOf(HasSubstr("not cuSPARSELt: 'libcusparseLt.so.0' can't be opened\n"), testing::EndsWith("\n0")));
  emulatorSettings().hasSparseLt = true;
  setenv("LATHE_CUDA_NO_CUSPARSELT", "1", 1);
  EXPECT_THAT(told(c, weight), AllOf(HasSubstr("LATHE_CUDA_NO_CUSPARSELT is set\n"), testing::EndsWith("\n0")));
  unsetenv("LATHE_CUDA_NO_CUSPARSELT");
  // As much as the handle wants is there, but no room for a second form of the weight.
  EXPECT_THAT(told(c, weight, 64),
              AllOf(HasSubstr("would pass the module's memory budget\n"), testing::EndsWith("\n0")));
}

TEST_F(SparseProductsOf, AWeightAreOfOneCompressedForm) {
  Harness harness;
  Case c;
  Weight weight(c.type, c.n, c.k, false);
  weight.addTo(harness.services);
  harness.start();
  uint64_t before = harness.services.privateBudget;
  SparseCall product(harness, c, weight);
  EXPECT_EQ(run(harness, product), 1);
  uint64_t bytes = before - harness.services.privateBudget;
  EXPECT_EQ(bytes, uint64_t(c.n * c.k / 4 * 5));
  CudaSession second(*harness.module, harness.services);
  ASSERT_FALSE(second.start().failed());
  second.beginRun();
  second.matmul(product.call);
  second.endRun();
  int64_t failed = -1;
  EXPECT_FALSE(second.finish(&failed).failed());
  product.check();
  EXPECT_EQ(before - harness.services.privateBudget, bytes);
}

TEST_F(SparseProductsOf, RunsThatRepeatArePartsOfGraphs) {
  for (bool delays : {false, true}) {
    emulatorSettings() = {};
    emulatorSettings().delays = delays;
    Harness harness;
    Case c;
    c.m = 3, c.bias = true;
    Weight weight(c.type, c.n, c.k, true);
    c.transposed = true;
    weight.addTo(harness.services);
    harness.start();
    SparseCall product(harness, c, weight);
    int64_t held = emulatorStatistics().sparseProducts;
    ASSERT_FALSE(harness.runCalls([&] { harness.session->prepareMatmul(product.call); }).failed());
    EXPECT_EQ(emulatorStatistics().sparseProducts, held); // prepared, not computed
    size_t allocations = emulatorStatistics().allocations;
    for (int i = 0; i < 4; ++i) {
      int64_t graphs = emulatorStatistics().graphs;
      EXPECT_EQ(run(harness, product), 1);
      EXPECT_EQ(emulatorStatistics().graphs - graphs, i > 0);
      product.check();
    }
    EXPECT_EQ(emulatorStatistics().allocations, allocations);
  }
}

TEST_F(SparseProductsOf, ADeviceAreTimedBesideDenseOnes) {
  std::string file =
      (std::filesystem::temp_directory_path() / ("lathe-sparse-" + std::to_string(getpid()) + ".json")).string();
  setenv("LATHE_CUDA_CHOICES", file.c_str(), 1);
  auto played = [&](float dense, std::vector<float> bySparse) {
    emulatorSettings().algorithmMilliseconds = {dense};
    emulatorSettings().sparseMilliseconds = std::move(bySparse);
    Harness harness;
    Case c;
    c.m = 9; // whose dense product is cuBLASLt's
    Weight weight(c.type, c.n, c.k, false);
    weight.addTo(harness.services);
    harness.start();
    SparseCall product(harness, c, weight);
    int64_t first = run(harness, product), second = run(harness, product);
    product.check();
    return std::tuple(first, second, second ? emulatorStatistics().lastSparse : -1);
  };
  EXPECT_EQ(played(3, {2, 1, 4}), std::tuple(13, 1, 1)); // four times three to time it
  EXPECT_EQ(played(3, {9, 9, 9}), std::tuple(1, 1, 1));  // the file knows
  EXPECT_EQ(played(3, {2}), std::tuple(5, 1, 0));        // there is no such algorithm any more
  std::filesystem::remove(file);
  EXPECT_EQ(played(1, {2, 3}), std::tuple(8, 0, -1));
  EXPECT_EQ(played(9, {2, 3}), std::tuple(0, 0, -1));
  std::filesystem::remove(file);
}

/// A matrix [16, 16] of two numbers of a type, as an artifact holds it.
std::vector<unsigned char> storedSparse(runtime::SparseLayout &layout, runtime::SparseValues values) {
  layout.k = layout.n = 16;
  layout.values = values;
  layout.group = values == runtime::SparseValues::i8 ? 8 : 0;
  layout.fours = 1;
  std::vector<unsigned char> image(static_cast<size_t>(layout.bytes()));
  image[4] = 1; // where the lists of the next panel begin
  for (unsigned char list = 0; list < 64; ++list)
    image[static_cast<size_t>(layout.orderOffset()) + list] = list ^ 2; // that of column 2 is the first
  image[static_cast<size_t>(layout.foursOffset())] = 1;
  unsigned char *rows = image.data() + layout.rowsOffset(), *at = image.data() + layout.valuesOffset();
  rows[0] = 0, rows[1] = 9; // and twice row 0, with zeros that fill the list up
  for (int i = 0; i < 2; ++i) {
    float value = i ? -2.0f : 3.0f;
    uint16_t bits = values == runtime::SparseValues::f16 ? runtime::toHalf(value) : runtime::toBfloat(value);
    if (values == runtime::SparseValues::f32)
      memcpy(at + i * 4, &value, 4);
    else if (values == runtime::SparseValues::i8)
      at[i] = static_cast<unsigned char>(static_cast<signed char>(value));
    else
      memcpy(at + i * 2, &bits, 2);
  }
  for (int64_t i = 0; i < 64 * layout.blockScales(); ++i) { // of column 2 half for rows 0 to 7, a quarter for the rest
    float scale = i == 2 * layout.blockScales() ? 0.5f : i == 2 * layout.blockScales() + 1 ? 0.25f : NAN;
    memcpy(image.data() + layout.scalesOffset() + i * 4, &scale, 4);
  }
  return image;
}

TEST_F(SparseProductsOf, WeightsStoredWithoutZerosAreUnpacked) {
  std::mt19937 random(2);
  for (auto values :
       {runtime::SparseValues::f32, runtime::SparseValues::f16, runtime::SparseValues::bf16, runtime::SparseValues::i8})
    for (bool isTold : {false, true}) {
      Harness harness;
      runtime::SparseLayout layout;
      harness.services.addSparse(layout, storedSparse(layout, values));
      harness.services.addSparse(layout, storedSparse(layout, values)); // the second is not the first
      harness.services.setHalfZeros(isTold ? 1 : 0);
      harness.start();
      Tensor a(harness, 32, &random), out(harness, 32, nullptr);
      lathe_matmul_call call = {};
      call.dtype = LATHE_F32;
      call.weight = 1;
      call.alpha = 1;
      call.m = 2, call.n = call.k = 16;
      call.a_row = call.out_row = call.b_col = 16, call.a_col = call.b_row = 1; // whatever it says: it lies as [k, n]
      call.batch[0] = call.batch[1] = call.batch[2] = 1;
      call.a = a.device, call.out = out.device;
      int64_t before = sparse();
      runtime::Status status = harness.run(call);
      ASSERT_FALSE(status.failed()) << status.message();
      bool isNarrow = values == runtime::SparseValues::f16 || values == runtime::SparseValues::bf16;
      EXPECT_EQ(sparse() - before, isTold && isNarrow);
      std::vector<float> got = out.read();
      bool isInteger = values == runtime::SparseValues::i8;
      for (size_t i = 0; i < 2; ++i)
        for (size_t j = 0; j < 16; ++j) {
          double x = (isInteger ? 1.5 : 3) * a.host[i * 16] - (isInteger ? 0.5 : 2) * a.host[i * 16 + 9];
          EXPECT_NEAR(got[i * 16 + j], j == 2 ? x : 0, isNarrow ? 0.1 : 1e-5);
        }
    }
}

TEST_F(SparseProductsOf, WeightsStoredWithoutZerosAreChecked) {
  Harness harness;
  runtime::SparseLayout layout;
  std::vector<unsigned char> image = storedSparse(layout, runtime::SparseValues::f16);
  image[static_cast<size_t>(layout.foursOffset()) + 1] = 65;
  harness.services.addSparse(layout, image);
  auto device = std::make_shared<Device>();
  ASSERT_FALSE(device->open(emulatorDriver(), true).failed());
  CudaModule module(device, harness.services, [](int, BlasApi *api) {
    *api = emulatorBlas();
    return runtime::success();
  });
  runtime::Status status = module.start();
  EXPECT_EQ(status.code(), LATHE_INVALID_ARTIFACT);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("constant 'weight' has a list"), HasSubstr("65 fours")));
}

//===----------------------------------------------------------------------===//
// The library that is played
//===----------------------------------------------------------------------===//

/// What the library says to a description, and why.
class Played : public SparseProductsOf {
protected:
  void SetUp() override {
    SparseProductsOf::SetUp();
    ASSERT_FALSE(emulatorSparseLt(&api).failed());
    ASSERT_EQ(api.init(&handle), kSparseLtSuccess);
  }
  void TearDown() override {
    EXPECT_EQ(api.destroy(&handle), kSparseLtSuccess);
    SparseProductsOf::TearDown();
  }
  std::string words(int status) { return status ? api.statusText(status) : ""; }
  std::string dense(SparseLtMatrix *matrix, int64_t rows, int64_t cols, int64_t ld, uint32_t alignment = 16,
                    int type = kBlasF16) {
    return words(api.denseInit(&handle, matrix, rows, cols, ld, alignment, type, kSparseLtByRows));
  }
  std::string structured(SparseLtMatrix *matrix, int64_t rows, int64_t cols, int type = kBlasF16) {
    return words(api.structuredInit(&handle, matrix, rows, cols, cols, 16, type, kSparseLtByRows, kSparseLtHalfZeros));
  }
  std::string product(SparseLtProduct *product, const SparseLtMatrix &a, const SparseLtMatrix &b,
                      const SparseLtMatrix &d, int compute = kSparseLtComputeF32) {
    return words(api.productInit(&handle, product, kSparseLtPlain, kSparseLtTransposed, &a, &b, &d, &d, compute));
  }

  CurrentDevice current;
  SparseLtApi api;
  SparseLtHandle handle;
};

TEST_F(Played, RefusesMatricesThatTheLibraryRefuses) {
  SparseLtMatrix matrix;
  EXPECT_EQ(structured(&matrix, 16, 32), "");
  EXPECT_THAT(structured(&matrix, 24, 32), HasSubstr("NOT_SUPPORTED: a structured matrix of [24, 32]"));
  EXPECT_THAT(structured(&matrix, 16, 40), HasSubstr("expected multiples of 16"));
  EXPECT_THAT(structured(&matrix, 0, 16), HasSubstr("a structured matrix of [0, 16]"));
  EXPECT_THAT(structured(&matrix, 16, 16, kBlasF32), HasSubstr("of type 0"));
  EXPECT_EQ(dense(&matrix, 8, 24, 32), "");
  EXPECT_THAT(dense(&matrix, 4, 24, 24), HasSubstr("a dense matrix of [4, 24]"));
  EXPECT_THAT(dense(&matrix, 8, 24, 28), HasSubstr("with rows of 28"));
  EXPECT_THAT(dense(&matrix, 8, 24, 16), HasSubstr("a leading dimension of 16"));
  EXPECT_THAT(dense(&matrix, 8, 24, 24, 8), HasSubstr("an alignment of 8 bytes"));
  SparseLtHandle none;
  EXPECT_EQ(api.denseInit(&none, &matrix, 8, 8, 8, 16, kBlasF16, kSparseLtByRows), kSparseLtInvalidValue);
  emulatorSettings().capability = 75;
  EXPECT_EQ(api.init(&none), kSparseLtArchMismatch);
}

TEST_F(Played, RefusesProductsThatTheLibraryRefuses) {
  SparseLtMatrix weight, left, out, other;
  SparseLtProduct made;
  ASSERT_EQ(structured(&weight, 16, 32), "");
  ASSERT_EQ(dense(&left, 8, 32, 32), "");
  ASSERT_EQ(dense(&out, 16, 8, 8), "");
  EXPECT_EQ(product(&made, weight, left, out), "");
  EXPECT_THAT(product(&made, left, weight, out), HasSubstr("structured matrix is not A alone"));
  EXPECT_THAT(product(&made, weight, left, out, 0), HasSubstr("a combination of types"));
  ASSERT_EQ(dense(&other, 8, 16, 16), "");
  EXPECT_THAT(product(&made, weight, other, out), HasSubstr("[16, 32] times [16, 8] into [16, 8]"));
  ASSERT_EQ(dense(&other, 8, 32, 32, 16, kBlasBf16), "");
  EXPECT_THAT(product(&made, weight, other, out), HasSubstr("a combination of types"));
  ASSERT_EQ(product(&made, weight, left, out), "");
  SparseLtSelection selection;
  ASSERT_EQ(api.selectionInit(&handle, &selection, &made, kSparseLtAnyAlgorithm), kSparseLtSuccess);
  int config = 1;
  EXPECT_THAT(words(api.selectionSet(&handle, &selection, kSparseLtConfig, &config, sizeof(config))),
              HasSubstr("algorithm 1 of 1"));
  SparseLtPlan plan;
  EXPECT_EQ(api.planInit(&handle, &plan, &made, &selection), kSparseLtSuccess);
  EXPECT_EQ(api.planDestroy(&plan), kSparseLtSuccess);
  EXPECT_THAT(words(api.planDestroy(&plan)), HasSubstr("an object that is not there"));
  float one = 1;
  Stream stream = nullptr;
  EXPECT_THAT(words(api.matmul(&handle, &plan, &one, &one, &one, &one, &one, &one, nullptr, &stream, 1)),
              HasSubstr("is gone"));
}

/// Where the library is, it is one that is known; else it is said why not.
TEST(SparseLibraryOf, AMachineIsOpenedOrItIsSaidWhyNot) {
  SparseLtApi api;
  if (runtime::Status status = openSparseLt("libcusparseLt.so.0", &api); status.failed())
    EXPECT_THAT(std::string(status.message()), HasSubstr("'libcusparseLt.so.0'"));
  else
    EXPECT_NE(api.matmul, nullptr);
  runtime::Status other = openSparseLt("libc.so.6", &api);
  EXPECT_THAT(std::string(other.message()), HasSubstr("'libc.so.6' has no cusparseLt"));
}

} // namespace
