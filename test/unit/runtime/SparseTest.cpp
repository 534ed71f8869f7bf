//===- SparseTest.cpp - Products with matrices with zeros -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "SparseSupport.h"
#include "ProductSupport.h"

#include "runtime/CpuFeatures.h"

#include <gtest/gtest.h>

using namespace lathe;
using namespace lathe::runtime;
using namespace lathe::test;

namespace {

struct Case {
  int64_t m = 1;
  int64_t batch = 1;
  bool transposeA = false;
  int64_t padA = 0, padOut = 0; ///< additional elements between rows
  bool bias = false, multiplier = false, residual = false;
  int64_t activation = LATHE_ACT_NONE;
  double alpha = 1;
};

void check(const RandomSparse &weight, const Case &c, const std::string &isa, int threads) {
  int64_t k = weight.layout.k, n = weight.layout.n, aRow = (c.transposeA ? c.m : k) + c.padA, outRow = n + c.padOut;
  int64_t aItem = aRow * (c.transposeA ? k : c.m) + 3, outItem = outRow * c.m + 5;
  std::vector<float> a = randomValues(aItem * c.batch + 1, 1), bias = randomValues(n, 2);
  std::vector<float> multiplier = randomValues(outItem * c.batch + 1, 3),
                     residual = randomValues(outItem * c.batch + 1, 4);
  std::vector<float> out(static_cast<size_t>(outItem * c.batch + 1), -77);
  QuantizedServices services(threads, isa);
  lathe_matmul_call call = {};
  call.weight = services.add(weight.layout, weight.packed.data());
  services.start();
  call.alpha = c.alpha;
  call.activation = c.activation;
  call.a = a.data();
  call.out = out.data();
  call.bias = c.bias ? bias.data() : nullptr;
  call.multiplier = c.multiplier ? multiplier.data() : nullptr;
  call.residual = c.residual ? residual.data() : nullptr;
  call.m = c.m, call.n = n, call.k = k;
  call.a_row = c.transposeA ? 1 : aRow, call.a_col = c.transposeA ? aRow : 1;
  call.out_row = outRow;
  call.batch[0] = c.batch, call.batch[1] = call.batch[2] = 1;
  call.a_batch[0] = aItem, call.out_batch[0] = outItem;
  Status status = services.matmul(call);
  ASSERT_FALSE(status.failed()) << status.message();
  for (int64_t item = 0; item < c.batch; ++item)
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t j = 0; j < outRow; ++j) {
        auto at = static_cast<size_t>(item * outItem + i * outRow + j);
        if (j >= n) {
          if (i + 1 < c.m) {
            ASSERT_EQ(out[at], -77) << "written between rows";
          }
          continue;
        }
        double sum = 0;
        for (int64_t x = 0; x < k; ++x)
          sum += static_cast<double>(a[static_cast<size_t>(item * aItem + i * call.a_row + x * call.a_col)]) *
                 static_cast<double>(weight.dense[static_cast<size_t>(x * n + j)]);
        sum = sum * c.alpha + (c.bias ? static_cast<double>(bias[static_cast<size_t>(j)]) : 0);
        sum = c.activation == LATHE_ACT_RELU ? std::max(sum, 0.0) : sum;
        sum = (c.multiplier ? sum * static_cast<double>(multiplier[at]) : sum) +
              (c.residual ? static_cast<double>(residual[at]) : 0);
        ASSERT_NEAR(static_cast<double>(out[at]), sum, 1e-5 * std::sqrt(static_cast<double>(k)) + 1e-6)
            << "[" << k << ", " << n << "] " << name(weight.layout.values) << " height " << weight.layout.height
            << " m " << c.m << " item " << item << " at " << i << ", " << j << " " << isa;
      }
}

SparseLayout layoutOf(int64_t k, int64_t n, SparseValues values, int64_t group = 0) {
  SparseLayout layout;
  layout.k = k, layout.n = n, layout.values = values;
  layout.group = values == SparseValues::i8 ? (group ? group : k) : 0;
  return layout;
}

TEST(Sparse, ShapesAndTypes) {
  for (const std::string &isa : instructionSets())
    for (auto [k, n] : {std::pair(1, 1), std::pair(5, 3), std::pair(64, 64), std::pair(255, 65), std::pair(300, 130),
                        std::pair(517, 64)})
      for (SparseValues values : {SparseValues::f32, SparseValues::f16, SparseValues::bf16, SparseValues::i8})
        for (int64_t height : {1, 4}) {
          RandomSparse weight(layoutOf(k, n, values), 0.7, 1, 1, 5, height);
          for (int64_t m : {1, 3, 4, 7, 8, 13, 16, 31, 33, 70}) {
            Case c;
            c.m = m;
            check(weight, c, isa, 1);
          }
        }
}

TEST(Sparse, GroupsOfScales) {
  for (const std::string &isa : instructionSets())
    for (int64_t group : {1, 32, 128, 256})
      for (int64_t height : {1, 4}) {
        RandomSparse weight(layoutOf(300, 70, SparseValues::i8, group), 0.5, 1, 1, 6, height);
        Case c;
        c.m = 5;
        check(weight, c, isa, 1);
      }
}

TEST(Sparse, AllZerosAndNone) {
  for (const std::string &isa : instructionSets())
    for (double zeros : {0.0, 1.0}) {
      RandomSparse weight(layoutOf(260, 66, SparseValues::f32), zeros, 1, 1, 7);
      EXPECT_EQ(weight.layout.fours == 0, zeros == 1.0);
      Case c;
      c.m = 9;
      c.bias = true;
      check(weight, c, isa, 1);
    }
}

TEST(Sparse, EpiloguesStridesAndThreads) {
  RandomSparse weight(layoutOf(600, 200, SparseValues::f32), 0.9, 1, 1, 8);
  for (const std::string &isa : instructionSets())
    for (int threads : {1, 2})
      for (bool transposeA : {false, true})
        for (int64_t m : {1, 6, 77}) {
          Case c;
          c.m = m;
          c.batch = 3;
          c.transposeA = transposeA;
          c.padA = 5, c.padOut = 7;
          c.bias = c.multiplier = c.residual = true;
          c.activation = LATHE_ACT_RELU;
          c.alpha = 0.5;
          check(weight, c, isa, threads);
        }
}

TEST(Sparse, NothingToMultiply) {
  RandomSparse weight(layoutOf(10, 10, SparseValues::f32), 0.5, 1, 1, 9);
  Case c;
  c.m = 0;
  check(weight, c, instructionSets().front(), 1);
}

TEST(Sparse, StripsOfBlocksHaveFewerFours) {
  auto fours = [](int64_t tall, int64_t wide, int64_t height) {
    return RandomSparse(layoutOf(256, 256, SparseValues::f32), 0.9, tall, wide, 10, height).layout.fours;
  };
  EXPECT_GT(4 * fours(1, 1, 4), 3 * fours(1, 1, 1));
  EXPECT_LT(3 * fours(1, 16, 4), fours(1, 16, 1));
  EXPECT_LT(3 * fours(4, 4, 4), fours(4, 4, 1));
}

TEST(Sparse, WrongImagesAreRefused) {
  RandomSparse weight(layoutOf(300, 70, SparseValues::f32), 0.5, 1, 1, 11);
  auto refused = [&](int64_t at, int value) {
    auto *image = static_cast<unsigned char *>(weight.packed.data());
    unsigned char old = image[at];
    image[at] = static_cast<unsigned char>(value);
    QuantizedServices services(1, instructionSets().front());
    lathe_matmul_call call = {};
    call.weight = services.add(weight.layout, image);
    services.start();
    std::vector<float> a(300), out(70);
    call.a = a.data(), call.out = out.data();
    call.m = 1, call.n = call.out_row = 70, call.k = call.a_row = 300, call.a_col = 1;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.alpha = 1;
    bool failed = services.matmul(call).failed();
    image[at] = old;
    return failed;
  };
  EXPECT_FALSE(refused(weight.layout.rowsOffset(), 255)); // beyond the matrix, but within what is read of the left side
  EXPECT_TRUE(refused(4, 255));
  EXPECT_TRUE(refused(weight.layout.orderOffset(), 64));
  EXPECT_TRUE(refused(weight.layout.foursOffset(), 65));
}

TEST(Sparse, LayoutsThatCannotBe) {
  std::string why;
  SparseLayout layout = layoutOf(300, 70, SparseValues::i8, 32);
  EXPECT_TRUE(layout.valid(&why));
  layout.group = 48;
  EXPECT_FALSE(layout.valid(&why));
  EXPECT_EQ(why, "must have groups of all rows, or of a power of two that divides 256, found 48");
  layout = layoutOf(300, 70, SparseValues::f32);
  layout.height = 2;
  EXPECT_FALSE(layout.valid(&why));
  layout.height = 1;
  layout.fours = 1 << 20;
  EXPECT_FALSE(layout.valid(&why));
  layout.fours = 0;
  layout.k = layout.n = SparseLayout::kMaxExtent;
  EXPECT_FALSE(layout.valid(&why));
}

} // namespace
