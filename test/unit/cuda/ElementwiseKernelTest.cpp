//===- ElementwiseKernelTest.cpp - Products, epilogues, copies, caches ----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/KernelSupport.h"

#include <numeric>

namespace lathe::cuda {
namespace {

struct Case {
  int64_t m = 1, n = 1, k = 1;
  int64_t batch[3] = {1, 1, 1};
  int64_t activation = LATHE_ACT_NONE;
  bool bias = false, multiplier = false, residual = false, transposed = false;
  int64_t dtype = LATHE_F32;
};

/// A product with gaps between its rows, and what it should be.
struct Product {
  explicit Product(const Case &c)
      : c(c), count(c.batch[0] * c.batch[1] * c.batch[2]), row(c.n + 3), a(c.dtype, size_t(count * c.m * c.k)),
        b(c.dtype, size_t(c.k * c.n)), bias(c.dtype, size_t(c.n)), multiplier(c.dtype, size_t(count * c.m * row)),
        residual(c.dtype, size_t(count * c.m * row)), out(c.dtype, size_t(count * c.m * row)) {
    unsigned seed = 1;
    for (Numbers *numbers : {&a, &b, &bias, &multiplier, &residual, &out}) {
      numbers->randomize(seed++);
      numbers->addTo(memory);
    }
    before = out;
    call.dtype = c.dtype;
    call.weight = -1;
    call.activation = c.activation;
    call.alpha = 0.5;
    call.a = a.data();
    call.b = b.data();
    call.bias = c.bias ? bias.data() : nullptr;
    call.multiplier = c.multiplier ? multiplier.data() : nullptr;
    call.residual = c.residual ? residual.data() : nullptr;
    call.out = out.data();
    call.m = c.m, call.n = c.n, call.k = c.k;
    call.a_row = c.transposed ? 1 : c.k, call.a_col = c.transposed ? c.m : 1;
    call.b_row = c.transposed ? 1 : c.n, call.b_col = c.transposed ? c.k : 1;
    call.out_row = row;
    for (int i = 2; i >= 0; --i) {
      int64_t inner = i == 2 ? 1 : c.batch[i + 1] * (i == 0 ? c.batch[2] : 1);
      call.batch[i] = c.batch[i];
      call.a_batch[i] = inner * c.m * c.k;
      call.out_batch[i] = inner * c.m * row;
    }
  }

  void check(bool product) const {
    for (int64_t i = 0; i < count * c.m; ++i)
      for (int64_t n = 0; n < row; ++n) {
        auto at = size_t(i * row + n);
        if (n >= c.n) {
          EXPECT_EQ(out.get(at), before.get(at)) << "between rows";
          continue;
        }
        double x = product ? 0 : before.get(at);
        for (int64_t k = 0; product && k < c.k; ++k)
          x += double(a.get(size_t(i / c.m * c.m * c.k + i % c.m * call.a_row + k * call.a_col))) *
               b.get(size_t(k * call.b_row + n * call.b_col));
        x = activated(c.activation, 0.5 * x + (c.bias ? bias.get(size_t(n)) : 0));
        if (c.multiplier)
          x *= multiplier.get(at);
        if (c.residual)
          x += residual.get(at);
        expectClose(out.get(at), x, out.tolerance());
      }
  }

  const Case c;
  int64_t count, row;
  Numbers a, b, bias, multiplier, residual, out, before{0};
  TestMemory memory;
  lathe_matmul_call call = {};
};

void checkProduct(const Case &c) {
  SCOPED_TRACE(testing::Message() << c.m << "x" << c.n << "x" << c.k << " type " << c.dtype << " act " << c.activation);
  Product product(c);
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(matmulLaunch(matmulArgs(product.call), c.dtype, &launch, &why)) << why;
  launchOn(product.memory, launch);
  product.check(true);
}

void checkEpilogue(const Case &c) {
  SCOPED_TRACE(testing::Message() << c.m << "x" << c.n << " type " << c.dtype << " act " << c.activation);
  Product product(c);
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(epilogueLaunch(epilogueArgs(product.call), c.dtype, &launch, &why)) << why;
  launchOn(product.memory, launch);
  product.check(false);
}

TEST(MatmulKernel, Shapes) {
  for (int64_t m : {0, 1, 17, 65})
    for (int64_t n : {0, 1, 33, 70})
      for (int64_t k : {0, 1, 17, 40})
        checkProduct({m, n, k});
}

TEST(MatmulKernel, BatchesStridesAndTypes) {
  Case c{5, 7, 19, {2, 3, 2}};
  checkProduct(c);
  c.transposed = true;
  checkProduct(c);
  c.bias = c.multiplier = c.residual = true;
  for (int64_t dtype : {LATHE_F32, LATHE_F16, LATHE_BF16}) {
    c.dtype = dtype;
    checkProduct(c);
  }
}

TEST(EpilogueKernel, Activations) {
  for (int64_t activation = LATHE_ACT_NONE; activation <= LATHE_ACT_SIGMOID; ++activation)
    for (int flags = 0; flags < 8; ++flags) {
      Case c{3, 37, 0, {1, 2, 2}};
      c.activation = activation;
      c.bias = flags & 1;
      c.multiplier = flags & 2;
      c.residual = flags & 4;
      c.dtype = flags == 7 ? LATHE_BF16 : flags == 3 ? LATHE_F16 : LATHE_F32;
      checkEpilogue(c);
    }
  checkEpilogue({0, 5});
  checkEpilogue({5, 0});
  checkEpilogue({300, 300}); // more elements than a block has threads
}

TEST(EpilogueKernel, FarNumbers) {
  Product product({1, 6, 0});
  const float far[] = {-INFINITY, INFINITY, NAN, -200, 200, 1e30f};
  for (int64_t activation = LATHE_ACT_RELU; activation <= LATHE_ACT_SIGMOID; ++activation) {
    for (size_t i = 0; i < 6; ++i)
      product.out.set(i, far[i]);
    product.call.activation = activation;
    product.call.alpha = 1;
    KernelLaunch launch;
    std::string why;
    ASSERT_TRUE(epilogueLaunch(epilogueArgs(product.call), LATHE_F32, &launch, &why)) << why;
    launchOn(product.memory, launch);
    auto get = [&](size_t i) { return product.out.get(i); };
    EXPECT_TRUE(std::isnan(get(2))) << activation;
    bool linear = activation != LATHE_ACT_TANH && activation != LATHE_ACT_SIGMOID;
    EXPECT_EQ(get(4), linear ? 200.0f : 1.0f) << activation;
    EXPECT_EQ(get(5), linear ? 1e30f : 1.0f) << activation;
    EXPECT_NEAR(get(3), activation == LATHE_ACT_TANH ? -1.0f : 0.0f, 1e-30) << activation;
    EXPECT_EQ(get(1), linear ? INFINITY : 1.0f) << activation;
  }
}

TEST(CopyKernel, StridesOfFiveAxes) {
  const int64_t sizes[5] = {2, 3, 1, 4, 5};
  std::vector<uint64_t> from(2 * 3 * 4 * 5), to(from.size());
  std::iota(from.begin(), from.end(), 1);
  TestMemory memory;
  memory.add(from);
  memory.add(to);
  CopyArgs args = {from.data(), to.data(), {}, {60, 20, 0, 5, 1}, {1, 2, 0, 6, 24}};
  std::copy(sizes, sizes + 5, args.sizes);
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(copyLaunch(args, 8, &launch, &why)) << why;
  launchOn(memory, launch);
  for (int64_t a = 0; a < 2; ++a)
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t c = 0; c < 4; ++c)
        for (int64_t d = 0; d < 5; ++d)
          ASSERT_EQ(to[size_t(a + b * 2 + c * 6 + d * 24)], from[size_t(a * 60 + b * 20 + c * 5 + d)]);
  std::vector<uint8_t> bytes(100, 7), copied(100);
  memory.add(bytes);
  memory.add(copied);
  CopyArgs simple = {bytes.data(), copied.data(), {1, 1, 1, 1, 99}, {0, 0, 0, 0, 1}, {0, 0, 0, 0, 1}};
  ASSERT_TRUE(copyLaunch(simple, 1, &launch, &why));
  launchOn(memory, launch);
  EXPECT_EQ(copied[98], 7);
  EXPECT_EQ(copied[99], 0);
  simple.sizes[2] = 0;
  ASSERT_TRUE(copyLaunch(simple, 1, &launch, &why));
  EXPECT_TRUE(launch.function.empty());
  EXPECT_FALSE(copyLaunch(simple, 3, &launch, &why));
}

/// Three tensors of other extents and strides each: some move two numbers at a time, some one.
TEST(ConvertRowsKernel, NarrowsAndWidens) {
  struct Shape {
    int64_t rows[4], columns, gap; ///< between rows of what is narrowed
  };
  const Shape shapes[3] = {{{2, 1, 3, 5}, 70, 2}, {{1, 2, 2, 7}, 9, 0}, {{1, 1, 1, 3}, 8, 3}};
  for (int64_t dtype : {LATHE_F16, LATHE_BF16}) {
    std::vector<Numbers> wide, narrow, back;
    TestMemory memory;
    CopyArgs to[3] = {}, from[3] = {};
    for (int i = 0; i < 3; ++i) {
      const Shape &shape = shapes[i];
      int64_t rows = shape.rows[0] * shape.rows[1] * shape.rows[2] * shape.rows[3], row = shape.columns + shape.gap;
      wide.emplace_back(LATHE_F32, size_t(rows * row));
      narrow.emplace_back(dtype, size_t(rows * shape.columns));
      back.emplace_back(LATHE_F32, size_t(rows * row));
      wide.back().randomize(unsigned(i) + 1);
      for (size_t at = 0; at < back.back().size(); ++at)
        back.back().set(at, -77);
      CopyArgs &args = to[i];
      args.from = wide.back().data(), args.to = narrow.back().data();
      args.sizes[4] = shape.columns, args.from_strides[4] = args.to_strides[4] = 1;
      int64_t step = 1;
      for (int axis = 3; axis >= 0; --axis) {
        args.sizes[axis] = shape.rows[axis];
        args.from_strides[axis] = step * row, args.to_strides[axis] = step * shape.columns;
        step *= shape.rows[axis];
      }
      from[i] = args;
      from[i].from = args.to, from[i].to = back.back().data();
      std::swap(from[i].from_strides, from[i].to_strides);
    }
    wide[0].set(1, 1e30f), wide[1].set(2, -1e30f), wide[2].set(3, NAN);
    for (auto *numbers : {&wide, &narrow, &back})
      for (const Numbers &each : *numbers)
        each.addTo(memory);
    KernelLaunch launch;
    std::string why;
    ASSERT_TRUE(convertRowsLaunch(to, 3, dtype, false, &launch, &why)) << why;
    launchOn(memory, launch);
    ASSERT_TRUE(convertRowsLaunch(from, 3, dtype, true, &launch, &why)) << why;
    launchOn(memory, launch);
    for (int i = 0; i < 3; ++i) {
      int64_t columns = shapes[i].columns, row = columns + shapes[i].gap;
      for (size_t at = 0; at < wide[size_t(i)].size(); ++at) {
        int64_t column = int64_t(at) % row;
        float value = back[size_t(i)].get(at), given = wide[size_t(i)].get(at);
        if (column >= columns) {
          ASSERT_EQ(value, -77) << "between rows";
          continue;
        }
        Numbers rounded(dtype, 1);
        rounded.set(0, dtype == LATHE_F16 && std::fabs(given) > 65504 ? std::copysign(65504.0f, given) : given);
        if (std::isnan(given))
          ASSERT_TRUE(std::isnan(value));
        else
          ASSERT_EQ(value, rounded.get(0)) << "tensor " << i << " at " << at;
      }
    }
  }
}

TEST(ConvertRowsKernel, Refuses) {
  CopyArgs tensors[4] = {};
  KernelLaunch launch;
  std::string why;
  EXPECT_FALSE(convertRowsLaunch(tensors, 4, LATHE_F16, false, &launch, &why));
  EXPECT_EQ(why, "expected 1 to 3 tensors of f16 or bf16, got 4 of f16");
  EXPECT_FALSE(convertRowsLaunch(tensors, 1, LATHE_F32, false, &launch, &why));
  ASSERT_TRUE(convertRowsLaunch(tensors, 1, LATHE_F16, false, &launch, &why)) << why;
  EXPECT_TRUE(launch.function.empty()); // of no elements
  CacheArgs cache = {};
  EXPECT_FALSE(cacheNarrowLaunch(cache, LATHE_F32, &launch, &why));
  EXPECT_EQ(why, "expected to make f16 or bf16 of a cache of f32, got f32 of f32");
  cache.codes.bits = 8;
  EXPECT_FALSE(cacheNarrowLaunch(cache, LATHE_BF16, &launch, &why));
  EXPECT_EQ(why, "expected to make f16 or bf16 of a cache of f32, got bf16 of codes");
}

TEST(CacheKernel, AppendsAndReads) {
  constexpr int64_t sequences = 2, heads = 3, size = 5, added = 70;
  const std::vector<int64_t> counts = {60, 3};
  std::vector<std::vector<float>> pages(6, std::vector<float>(2 + heads * 64 * size, -1.0f));
  std::vector<void *> table[2];
  std::vector<void *const *> tables;
  TestMemory memory;
  for (auto &page : pages) {
    memory.add(page);
    table[tables.size() + (&page - pages.data()) / 3].push_back(page.data());
  }
  for (auto &each : table) {
    memory.add(each);
    tables.push_back(each.data());
  }
  std::vector<float> rows(sequences * heads * added * size), read(sequences * heads * 150 * size, -2.0f);
  std::iota(rows.begin(), rows.end(), 0.0f);
  memory.add(tables);
  memory.add(counts);
  memory.add(rows);
  memory.add(read);
  // Data lie as [sequence, row, head, column].
  CacheArgs args = {rows.data(),
                    {sequences, heads, added, size},
                    {added * heads * size, size, heads * size, 1},
                    tables.data(),
                    counts.data(),
                    8,
                    64 * size * 4,
                    {},
                    1};
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(cacheLaunch(args, 4, false, &launch, &why)) << why;
  launchOn(memory, launch);
  std::vector<int64_t> after = {130, 73};
  memory.add(after);
  args.counts = after.data();
  args.data = read.data();
  args.sizes[2] = 150;
  args.strides[0] = 150 * heads * size;
  ASSERT_TRUE(cacheLaunch(args, 4, true, &launch, &why)) << why;
  launchOn(memory, launch);
  for (int64_t s = 0; s < sequences; ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t row = 0; row < 150; ++row)
        for (int64_t i = 0; i < size; ++i) {
          float value = read[size_t(((s * 150 + row) * heads + h) * size + i)];
          int64_t own = row - counts[size_t(s)];
          float expected = row >= after[size_t(s)] ? 0.0f
                           : own < 0               ? -1.0f
                                                   : rows[size_t(((s * added + own) * heads + h) * size + i)];
          ASSERT_EQ(value, expected) << s << " " << h << " " << row << " " << i;
        }
  for (int64_t dtype : {LATHE_F16, LATHE_BF16}) {
    Numbers narrow(dtype, read.size()), rounded(dtype, 1);
    narrow.addTo(memory);
    args.data = narrow.data();
    ASSERT_TRUE(cacheNarrowLaunch(args, dtype, &launch, &why)) << why;
    launchOn(memory, launch);
    for (size_t i = 0; i < read.size(); ++i) {
      rounded.set(0, read[i]);
      ASSERT_EQ(narrow.get(i), rounded.get(0)) << i;
    }
  }
}

} // namespace
} // namespace lathe::cuda
