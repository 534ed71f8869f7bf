//===- FusionTest.cpp - Calls that share a kernel, and that do not ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Fusion.h"
#include "test/unit/cuda/Harness.h"
#include "test/unit/runtime/QuantizedSupport.h"

#include <gmock/gmock.h>

using namespace lathe;
using namespace lathe::cuda;
using runtime::Computation;
using testing::ElementsAre;

namespace {

constexpr int64_t kColumns = 32;
/// Addresses that nothing is read of.
float *at(int64_t number) { return reinterpret_cast<float *>(number * 4096); }

/// What a launch's arguments say of a dense buffer.
void describe(std::vector<int64_t> &args, const void *data, const std::vector<int64_t> &sizes) {
  args.push_back(0);
  args.push_back(reinterpret_cast<int64_t>(data));
  args.push_back(0);
  args.insert(args.end(), sizes.begin(), sizes.end());
  args.insert(args.end(), sizes.size(), 1); // strides, which follow from the sizes
}

class Fusing : public testing::Test, protected Fusion::Sink {
protected:
  void SetUp() override {
    emulatorSettings() = {};
    for (int64_t n : {32, 32, 16, 48}) {
      runtime::QuantizedLayout layout;
      layout.k = kColumns, layout.n = n, layout.bits = 4, layout.group = 32;
      test::RandomQuantized weight(layout, 1);
      harness.services.addQuantized(weight.layout, weight.packed.data());
    }
    runtime::QuantizedLayout other;
    other.k = kColumns, other.n = 32, other.bits = 8, other.group = 32;
    test::RandomQuantized weight(other, 1);
    harness.services.addQuantized(weight.layout, weight.packed.data());
    for (lathe_dtype type : {LATHE_F16, LATHE_F16, LATHE_BF16, LATHE_F32, LATHE_F32})
      harness.services.addConstant(type, kColumns, 32, std::vector<uint32_t>(kColumns * 32));
    harness.services.addConstant(LATHE_F16, kColumns, 32, std::vector<uint16_t>(kColumns * 32));
    harness.services.setHalfZeros(1);
    harness.start();
    program.kernels.resize(3);
    Computation norm;
    norm.columns = kColumns;
    norm.arguments[0] = 0, norm.arguments[1] = 56, norm.arguments[3] = 96;
    norm.epsilon = 1e-6;
    program.kernels[0].computes = norm;
    Computation rotation;
    rotation.operation = Computation::Operation::rotateHalf;
    rotation.columns = 8;
    for (int i = 0; i < 4; ++i)
      rotation.arguments[i] = i * 88;
    rotation.order[1] = 2, rotation.order[2] = 1;
    program.kernels[1].computes = rotation;
    fusion = std::make_unique<Fusion>(*harness.module, program, static_cast<Fusion::Sink &>(*this), true);
  }

  void norm(const void *x, const void *out, int64_t rows = 1) {
    std::vector<int64_t> args;
    describe(args, x, {rows, kColumns});
    describe(args, at(900), {kColumns});
    describe(args, out, {rows, kColumns});
    launch(0, rows, args);
  }
  void rotate(const void *x, const void *out, int64_t heads, int64_t cosine = 901) {
    std::vector<int64_t> args;
    describe(args, x, {1, 1, heads, 8});
    describe(args, at(cosine), {1, 1, 1, 8});
    describe(args, at(902), {1, 1, 1, 8});
    describe(args, out, {1, heads, 1, 8});
    launch(1, heads, args);
  }
  void launch(int64_t kernel, int64_t count, const std::vector<int64_t> &args) {
    LaunchCall call = {};
    call.count = count;
    call.argsBytes = int64_t(args.size() * 8);
    fusion->launch(kernel, call, args.data());
  }
  static lathe_matmul_call call(int64_t weight, const void *a, void *out, int64_t m = 1) {
    lathe_matmul_call call = {};
    call.dtype = LATHE_F32;
    call.weight = weight;
    call.alpha = 1;
    call.a = a;
    call.out = out;
    call.m = m, call.k = kColumns;
    call.n = std::vector<int64_t>{32, 32, 16, 48, 32, 32, 32, 32, 32, 32, 32}[size_t(weight)];
    call.a_row = kColumns, call.a_col = 1, call.out_row = call.n;
    call.b_row = call.n, call.b_col = 1;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    return call;
  }
  void product(int64_t weight, const void *a, void *out, int64_t m = 1) { fusion->product(call(weight, a, out, m)); }
  void append(const void *data, int64_t heads) {
    CacheArgs args = {};
    args.data = const_cast<void *>(data);
    args.sizes[0] = args.sizes[2] = 1, args.sizes[1] = heads, args.sizes[3] = 8;
    args.strides[0] = heads * 8, args.strides[1] = args.strides[2] = 8, args.strides[3] = 1;
    args.pages = reinterpret_cast<void *const *const *>(at(903));
    args.counts = reinterpret_cast<const int64_t *>(at(904));
    LaunchCall call = {};
    call.argsBytes = sizeof(args);
    fusion->append(2, args, call);
  }
  /// What was made since the last time.
  std::vector<std::string> made() {
    fusion->flush();
    return std::exchange(calls, {});
  }

  void make(int64_t kind, int64_t, std::initializer_list<Replay::Part> parts) override {
    std::vector<unsigned char> bytes;
    for (const Replay::Part &part : parts) {
      auto *from = static_cast<const unsigned char *>(part.data);
      bytes.insert(bytes.end(), from, from + part.bytes);
    }
    if (kind != kProductGroupCall) {
      calls.push_back(kind == kGeneratedCall ? "generated" : kind == kWrittenCall ? "append" : "product");
      return;
    }
    ASSERT_EQ(bytes.size(), sizeof(group));
    memcpy(&group, bytes.data(), sizeof(group));
    calls.push_back((group.norm.kind ? "norm and " : "") + std::to_string(group.count) +
                    (group.isChained ? " chained" : " products"));
  }
  void makeWritten(int64_t, const KernelLaunch &launch) override {
    EXPECT_EQ(launch.function, "lathe_step_rows_f32");
    memcpy(&rows, launch.args, sizeof(rows));
    calls.push_back("rows of " + std::to_string(rows.count));
  }

  test::Harness harness;
  runtime::Program program;
  std::unique_ptr<Fusion> fusion;
  std::vector<std::string> calls;
  ProductGroup group = {};
  StepRowsArgs rows = {};
};

TEST_F(Fusing, ANormAndTheProductsThatReadIt) {
  norm(at(1), at(2));
  product(0, at(2), at(3));
  product(2, at(2), at(4));
  product(3, at(2), at(5));
  EXPECT_THAT(made(), ElementsAre("norm and 3 products"));
  EXPECT_EQ(group.x, at(1));
  EXPECT_EQ(group.norm.out, at(2));
  EXPECT_EQ(group.norm.gain, at(900));
  norm(at(1), at(2), 8);
  product(0, at(2), at(3), 8);
  EXPECT_THAT(made(), ElementsAre("norm and 1 products"));
}

TEST_F(Fusing, NoNormOfOtherRows) {
  norm(at(1), at(2));
  product(0, at(3), at(4)); // reads something else
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
  norm(at(1), at(2), 9); // more rows than one block takes
  product(0, at(2), at(3), 9);
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
  norm(at(1), at(1)); // in place: other blocks would read what is written
  product(0, at(1), at(3));
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
  norm(at(1), at(2));
  product(0, at(2), at(1)); // over what is normalized
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
  norm(at(1), at(2));
  launch(2, 1, {});
  product(0, at(2), at(3));
  EXPECT_THAT(made(), ElementsAre("generated", "generated", "product"));
}

TEST_F(Fusing, AGateAndWhatItMultiplies) {
  lathe_matmul_call up = call(1, at(2), at(4));
  up.multiplier = at(3);
  product(0, at(2), at(3));
  fusion->product(up);
  EXPECT_THAT(made(), ElementsAre("2 chained"));
  up.out = at(3); // in place
  product(0, at(2), at(3));
  fusion->product(up);
  product(0, at(2), at(6));
  EXPECT_THAT(made(), ElementsAre("2 chained", "product"));
}

TEST_F(Fusing, NoProductsThatReadOrOverwriteAnother) {
  product(0, at(2), at(3));
  product(0, at(3), at(4)); // another left side
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  product(0, at(2), at(3));
  product(0, at(2), at(3) + 31); // one number of the result
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  lathe_matmul_call sum = call(2, at(2), at(4));
  sum.residual = at(3); // of another shape
  product(0, at(2), at(3));
  fusion->product(sum);
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  fusion->product(sum);
  product(0, at(2), at(3)); // over what the first adds
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  product(0, at(2), at(3));
  product(4, at(2), at(4)); // of 8 bits
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  lathe_matmul_call rounded = call(1, at(2), at(4));
  rounded.a_quantization = LATHE_QUANTIZE_ROWS;
  product(0, at(2), at(3));
  fusion->product(rounded);
  EXPECT_THAT(made(), ElementsAre("product", "product"));
}

/// What is there as bytes, or goes there, takes a kernel of its own.
TEST_F(Fusing, NoProductsOfOtherTypes) {
  for (int64_t type : {LATHE_BYTES_SIGNED, LATHE_BYTES_UNSIGNED, LATHE_BYTES_F16}) {
    lathe_matmul_call first = call(0, at(2), at(3)), second = call(1, at(2), at(4));
    first.a_bytes = second.a_bytes = type;
    fusion->product(first);
    fusion->product(second);
    EXPECT_THAT(made(), ElementsAre("product", "product"));
    norm(at(1), at(2));
    second.a_bytes = LATHE_BYTES_NONE;
    second.out_bytes = type;
    fusion->product(second);
    EXPECT_THAT(made(), ElementsAre("generated", "product"));
  }
  lathe_matmul_call half = call(0, at(2), at(3));
  half.dtype = LATHE_F16;
  norm(at(1), at(2));
  fusion->product(half);
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
}

/// Weights 5 and 6 are of f16, 7 of bf16, 8 and 9 of f32.
TEST_F(Fusing, ProductsByNumbers) {
  for (int64_t weight : {5, 8}) {
    norm(at(1), at(2));
    product(weight, at(2), at(3));
    product(weight + 1, at(2), at(4));
    EXPECT_THAT(made(), ElementsAre("norm and 2 products"));
    EXPECT_EQ(group.norm.narrow, 0);
    lathe_matmul_call up = call(weight + 1, at(2), at(4));
    up.multiplier = at(3);
    product(weight, at(2), at(3));
    fusion->product(up);
    EXPECT_THAT(made(), ElementsAre("2 chained"));
  }
  product(5, at(2), at(3));
  product(7, at(2), at(4)); // of another type
  product(8, at(2), at(5));
  product(0, at(2), at(6));
  EXPECT_THAT(made(), ElementsAre("product", "product", "product", "product"));
  lathe_matmul_call across = call(6, at(2), at(4));
  across.b_row = 1, across.b_col = kColumns;
  product(5, at(2), at(3));
  fusion->product(across);
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  lathe_matmul_call spread = call(6, at(2), at(4));
  spread.b_row = 64, spread.b_col = 2; // the library's, which gets a copy
  product(5, at(2), at(3));
  fusion->product(spread);
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  product(5, at(2), at(3), 9); // many rows
  product(6, at(2), at(4), 9);
  EXPECT_THAT(made(), ElementsAre("product", "product"));
}

/// Weight 10 has zeros in the pattern 2:4: which library multiplies by it is timed for each product.
TEST_F(Fusing, NoProductsByHalfZerosWhereTheirLibraryIs) {
  test::CurrentDevice current;
  product(5, at(2), at(3));
  product(10, at(2), at(4));
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  setenv("LATHE_CUDA_NO_CUSPARSELT", "1", 1);
  test::Harness without;
  without.services.addConstant(LATHE_F16, kColumns, 32, std::vector<uint16_t>(kColumns * 32));
  without.services.setHalfZeros(1);
  without.start();
  Fusion joins(*without.module, program, static_cast<Fusion::Sink &>(*this), true);
  lathe_matmul_call first = call(0, at(2), at(3)), second = call(0, at(2), at(4));
  joins.product(first);
  joins.product(second);
  joins.flush();
  unsetenv("LATHE_CUDA_NO_CUSPARSELT");
  EXPECT_THAT(made(), ElementsAre("2 products"));
}

/// Norms that leave 16 bits, products that read and write them.
TEST_F(Fusing, ProductsOf16Bits) {
  auto narrow = [&](int64_t weight, const void *a, void *out) {
    lathe_matmul_call result = call(weight, a, out);
    result.a_bytes = weight == 7 ? LATHE_BYTES_BF16 : LATHE_BYTES_F16;
    return result;
  };
  program.kernels[0].computes->type = LATHE_F16;
  norm(at(1), at(2));
  fusion->product(narrow(5, at(2), at(3)));
  EXPECT_THAT(made(), ElementsAre("norm and 1 products"));
  EXPECT_EQ(group.norm.narrow, 1);
  norm(at(1), at(2));
  fusion->product(narrow(5, at(2), at(2) + 16)); // right behind what the norm leaves
  EXPECT_THAT(made(), ElementsAre("norm and 1 products"));
  norm(at(1), at(2));
  fusion->product(narrow(5, at(2), at(2) + 15)); // over its last numbers
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
  norm(at(1), at(2));
  product(5, at(2), at(3)); // reads f32
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
  norm(at(1), at(2));
  fusion->product(narrow(7, at(2), at(3))); // reads bf16
  EXPECT_THAT(made(), ElementsAre("generated", "product"));
  lathe_matmul_call up = narrow(6, at(2), at(4));
  up.multiplier = at(3);
  up.out_bytes = LATHE_BYTES_F16;
  fusion->product(narrow(5, at(2), at(3)));
  fusion->product(up);
  EXPECT_THAT(made(), ElementsAre("2 chained"));
  up.out = at(3); // in place, but numbers lie elsewhere
  fusion->product(narrow(5, at(2), at(3)));
  fusion->product(up);
  EXPECT_THAT(made(), ElementsAre("product", "product"));
  up.out_bytes = LATHE_BYTES_BF16; // of f16 that is the library's
  fusion->product(narrow(5, at(2), at(3)));
  fusion->product(up);
  EXPECT_THAT(made(), ElementsAre("product", "product"));
}

TEST_F(Fusing, RotationsAndCaches) {
  rotate(at(1), at(2), 4);
  rotate(at(3), at(4), 2);
  append(at(4), 2);
  append(at(5), 2);
  EXPECT_THAT(made(), ElementsAre("rows of 3"));
  EXPECT_EQ(rows.parts[0].pages, nullptr);
  EXPECT_NE(rows.parts[1].pages, nullptr);
  EXPECT_EQ(rows.parts[1].strides[1], 8); // heads lie within rows
  EXPECT_EQ(rows.parts[2].from, at(5));
  EXPECT_EQ(rows.parts[2].cosine, nullptr);
  append(at(5), 2);
  append(at(6), 2);
  EXPECT_THAT(made(), ElementsAre("rows of 2"));
}

TEST_F(Fusing, NoRotationsOfWhatAnotherWrites) {
  rotate(at(1), at(2), 4);
  rotate(at(2), at(3), 4);
  EXPECT_THAT(made(), ElementsAre("generated", "generated"));
  rotate(at(1), at(1), 4); // in place
  append(at(1), 4);
  EXPECT_THAT(made(), ElementsAre("generated", "append"));
  rotate(at(1), at(2), 4);
  append(at(2), 2); // a part of it
  EXPECT_THAT(made(), ElementsAre("generated", "append"));
  rotate(at(1), at(901), 4); // over the angles
  EXPECT_THAT(made(), ElementsAre("generated"));
  for (int i = 0; i < 4; ++i)
    append(at(10 + i), 2);
  EXPECT_THAT(made(), ElementsAre("rows of 3", "append"));
}

TEST_F(Fusing, NothingWhereItIsOff) {
  Fusion off(*harness.module, program, static_cast<Fusion::Sink &>(*this), false);
  off.product(call(0, at(2), at(3)));
  off.product(call(1, at(2), at(4)));
  EXPECT_THAT(calls, ElementsAre("product", "product"));
}

} // namespace
