//===- NumbersKernelTest.cpp - Products of few rows by numbers ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/KernelSupport.h"

#include <gmock/gmock.h>
#include <memory>

namespace lathe::cuda {
namespace {

struct NumbersCase {
  int64_t type = LATHE_BF16; ///< of weights
  bool transposed = false;
  int64_t m = 1, k = 40;
  std::vector<int64_t> n = {17};
  bool isChained = false;
  int64_t norm = 0;   ///< NormArgs::kind
  bool left = false;  ///< the left side, or what the norm leaves, has the weight's type
  bool out = false;   ///< so has the result
  bool sides = false; ///< so have all
  int64_t gap = 0;    ///< between rows, or columns, of weights
  bool ends = false;  ///< with bias, activation, residual
  size_t shift = 0;   ///< of weights, in numbers
};

float rounded(int64_t type, double value) {
  Numbers one(type, 1);
  if (type == LATHE_F16)
    value = std::clamp(value, -65504.0, 65504.0);
  one.set(0, float(value));
  return one.get(0);
}

/// Rows that are multiplied, before they are rounded.
std::vector<double> leftSide(const NumbersCase &c, const Numbers &a, const Numbers &gain, const Numbers &bias) {
  std::vector<double> result(a.size());
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = a.get(i);
  for (int64_t i = 0; i < c.m && c.norm != 0; ++i) {
    double *row = &result[size_t(i * c.k)], mean = 0, variance = 0;
    for (int64_t l = 0; l < c.k && c.norm == 2; ++l)
      mean += row[l] / double(c.k);
    for (int64_t l = 0; l < c.k; ++l)
      variance += (row[l] - mean) * (row[l] - mean) / double(c.k);
    for (int64_t l = 0; l < c.k; ++l)
      row[l] =
          (row[l] - mean) / std::sqrt(variance + 1e-5) * gain.get(size_t(l)) + (c.norm == 2 ? bias.get(size_t(l)) : 0);
  }
  return result;
}

void check(const NumbersCase &c) {
  SCOPED_TRACE(testing::Message() << "type " << c.type << (c.transposed ? " transposed" : "") << " m " << c.m << " k "
                                  << c.k << " n " << testing::PrintToString(c.n) << " norm " << c.norm << " gap "
                                  << c.gap << " shift " << c.shift << (c.left ? " left" : "") << (c.out ? " out" : "")
                                  << (c.sides ? " sides" : ""));
  NumbersWeight form = {c.type, c.transposed, 0};
  int64_t sideType = c.sides ? c.type : int64_t(LATHE_F32), leftType = c.left && c.norm == 0 ? c.type : sideType;
  int64_t bytes = c.type == LATHE_F16 ? LATHE_BYTES_F16 : LATHE_BYTES_BF16;
  Numbers a(leftType, size_t(c.m * c.k)), gain(LATHE_F32, size_t(c.k)), shift(LATHE_F32, size_t(c.k)),
      normed(c.left ? c.type : int64_t(LATHE_F32), size_t(c.m * c.k));
  TestMemory memory;
  unsigned seed = 3;
  for (Numbers *numbers : {&a, &gain, &shift, &normed}) {
    numbers->randomize(seed++);
    numbers->addTo(memory);
  }
  size_t parts = c.n.size();
  std::vector<Numbers> weights, outs, biases, residuals;
  for (size_t p = 0; p < parts; ++p) {
    int64_t step = (c.transposed ? c.k : c.n[p]) + c.gap, count = (c.transposed ? c.n[p] : c.k) * step;
    weights.emplace_back(c.type, size_t(count) + c.shift);
    outs.emplace_back(c.out ? c.type : sideType, size_t(c.m * c.n[p]));
    biases.emplace_back(sideType, size_t(c.n[p]));
    residuals.emplace_back(sideType, size_t(c.m * c.n[p]));
  }
  NumbersGroupArgs args = {};
  args.count = int64_t(parts);
  args.isChained = c.isChained;
  if (c.norm != 0)
    args.norm = {c.norm, gain.wide.data(), c.norm == 2 ? shift.wide.data() : nullptr, normed.data(), 1e-5, c.left};
  for (size_t p = 0; p < parts; ++p) {
    for (Numbers *numbers : {&weights[p], &outs[p], &biases[p], &residuals[p]}) {
      numbers->randomize(seed++);
      numbers->addTo(memory);
    }
    lathe_matmul_call call = {};
    call.dtype = sideType;
    call.a = a.data();
    call.m = c.m, call.n = c.n[p], call.k = c.k;
    call.a_row = c.k, call.a_col = 1, call.out_row = c.n[p];
    call.a_bytes = c.left && !c.sides ? bytes : int64_t(LATHE_BYTES_NONE);
    call.out_bytes = c.out && !c.sides ? bytes : int64_t(LATHE_BYTES_NONE);
    call.out = outs[p].data();
    call.alpha = 0.5;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    if (c.ends) {
      call.activation = LATHE_ACT_GELU_ERF;
      call.bias = biases[p].data();
      call.residual = residuals[p].data();
    }
    if (c.isChained && p == 1)
      call.multiplier = outs[0].data();
    form.step = (c.transposed ? c.k : c.n[p]) + c.gap;
    size_t size = c.type == LATHE_F32 ? 4 : 2;
    NumbersMatmulArgs own =
        numbersMatmulArgs(call, form, static_cast<unsigned char *>(weights[p].data()) + c.shift * size);
    if (c.norm != 0)
      own.narrow_left = 0;
    if (p == 0)
      args.first = own;
    else
      args.others[p - 1] = numbersPart(own);
  }
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(numbersGroupLaunch(args, form, &launch, &why)) << why;
  launchOn(memory, launch);

  std::vector<double> x = leftSide(c, a, gain, shift);
  for (size_t i = 0; i < x.size() && c.norm != 0; ++i)
    ASSERT_NEAR(normed.get(i), x[i], (c.left ? normed.tolerance() : 1e-5) * (1 + std::fabs(x[i])));
  for (size_t i = 0; i < x.size();
       ++i) // of what the norm leaves, so that neighbours of a step's middle are no failures
    x[i] = rounded(c.type, c.norm != 0 ? normed.get(i) : x[i]);
  std::vector<double> gate;
  for (size_t p = 0; p < parts; ++p)
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t j = 0; j < c.n[p]; ++j) {
        double sum = 0, size = 1;
        int64_t step = (c.transposed ? c.k : c.n[p]) + c.gap;
        for (int64_t l = 0; l < c.k; ++l) {
          double weight = weights[p].get(c.shift + size_t(c.transposed ? j * step + l : l * step + j));
          sum += x[size_t(i * c.k + l)] * weight;
          size += std::fabs(x[size_t(i * c.k + l)] * weight);
        }
        sum *= 0.5;
        auto at = size_t(i * c.n[p] + j);
        if (c.ends)
          sum = activated(LATHE_ACT_GELU_ERF, sum + biases[p].get(size_t(j))) + residuals[p].get(at);
        if (c.isChained && p == 0)
          gate.push_back(outs[0].get(at));
        if (c.isChained && p == 1)
          sum *= gate[size_t(i * c.n[0] + j)];
        double most = outs[p].tolerance() * (1 + std::fabs(sum));
        // Where a norm in f32 is rounded on the way a neighbouring number may be right, too.
        if (c.norm != 0 && !c.left && c.type != LATHE_F32)
          most += (c.type == LATHE_F16 ? 1e-3 : 1e-2) * size;
        ASSERT_NEAR(outs[p].get(at), sum, most + 1e-5 * size * (c.isChained ? 1 + std::fabs(sum) : 1))
            << p << ", " << i << ", " << j;
      }
}

TEST(NumbersKernel, Shapes) {
  for (int64_t type : {LATHE_F32, LATHE_F16, LATHE_BF16})
    for (bool transposed : {false, true})
      for (int64_t m : {1, 3, 9})
        for (int64_t k : {1, 7, 33, 64})
          for (int64_t n : {1, 8, 17}) {
            NumbersCase c;
            c.type = type, c.transposed = transposed, c.m = m, c.k = k, c.n = {n};
            check(c);
          }
}

/// Of several chunks of rows, and of blocks of all widths.
TEST(NumbersKernel, Sizes) {
  for (int64_t type : {LATHE_F32, LATHE_BF16})
    for (bool transposed : {false, true}) {
      NumbersCase c;
      c.type = type, c.transposed = transposed;
      c.k = 4104, c.n = {5};
      check(c);
      c.m = 2, c.k = 1030;
      check(c);
      c.k = 9;
      for (auto [m, n] : {std::pair<int64_t, int64_t>(1, 2100), {1, 8300}, {2, 1100}, {2, 4500}}) {
        c.m = m, c.n = {n};
        check(c);
      }
    }
}

/// Rows, or columns, that no 16 bytes begin, and weights that begin anywhere.
TEST(NumbersKernel, OfAnyAlignment) {
  for (int64_t type : {LATHE_F32, LATHE_F16, LATHE_BF16})
    for (bool transposed : {false, true})
      for (int64_t gap : {0, 1, 8})
        for (size_t shift : {0, 1, 8}) {
          NumbersCase c;
          c.type = type, c.transposed = transposed, c.gap = gap, c.shift = shift;
          c.m = 2, c.k = 40, c.n = {24};
          check(c);
        }
}

TEST(NumbersKernel, SidesOf16Bits) {
  for (int64_t type : {LATHE_F16, LATHE_BF16})
    for (bool transposed : {false, true})
      for (int sides = 0; sides < 5; ++sides) {
        NumbersCase c;
        c.type = type, c.transposed = transposed, c.m = 3, c.ends = true;
        c.sides = sides == 4;
        c.left = c.sides || sides % 2, c.out = c.sides || sides / 2;
        check(c);
      }
}

TEST(NumbersKernel, ProductsOfOneLeftSide) {
  for (bool transposed : {false, true})
    for (int64_t m : {1, 8})
      for (const std::vector<int64_t> &n : {std::vector<int64_t>{16, 17}, {33, 1, 20}}) {
        NumbersCase c;
        c.transposed = transposed, c.m = m, c.n = n;
        check(c);
      }
}

TEST(NumbersKernel, GatesAndWhatTheyMultiply) {
  for (int64_t type : {LATHE_F32, LATHE_F16})
    for (bool transposed : {false, true})
      for (int64_t m : {1, 5}) {
        NumbersCase c;
        c.type = type, c.transposed = transposed, c.m = m, c.n = {40, 40}, c.isChained = true;
        check(c);
        c.norm = 1;
        check(c);
      }
}

TEST(NumbersKernel, NormalizedLeftSides) {
  for (int64_t type : {LATHE_F32, LATHE_F16, LATHE_BF16})
    for (bool transposed : {false, true})
      for (int64_t m : {1, 8})
        for (int64_t k : {1, 40, 600})
          for (int64_t norm : {1, 2})
            for (bool left : {false, true}) {
              NumbersCase c;
              c.type = type, c.transposed = transposed, c.m = m, c.k = k, c.norm = norm, c.n = {5, 18};
              c.left = left && type != LATHE_F32;
              check(c);
            }
}

/// f16 is no infinity where f32 is beyond it.
TEST(NumbersKernel, StaysWithinBounds) {
  Numbers a(LATHE_F32, 2), weight(LATHE_F16, 2), out(LATHE_F16, 1);
  a.set(0, 1e9f), a.set(1, -1e9f);
  weight.set(0, 2), weight.set(1, -2);
  TestMemory memory;
  for (Numbers *numbers : {&a, &weight, &out})
    numbers->addTo(memory);
  lathe_matmul_call call = {};
  call.dtype = LATHE_F32;
  call.a = a.data(), call.out = out.data();
  call.m = call.n = 1, call.k = 2;
  call.a_row = 2, call.a_col = 1, call.out_row = 1;
  call.alpha = 1;
  call.batch[0] = call.batch[1] = call.batch[2] = 1;
  call.out_bytes = LATHE_BYTES_F16;
  NumbersWeight form = {LATHE_F16, false, 1};
  NumbersGroupArgs args = {};
  args.count = 1;
  args.first = numbersMatmulArgs(call, form, weight.data());
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(numbersGroupLaunch(args, form, &launch, &why)) << why;
  launchOn(memory, launch);
  EXPECT_EQ(out.get(0), 65504);
}

TEST(NumbersKernel, RefusesWhatItHasNot) {
  KernelLaunch launch;
  std::string why;
  NumbersGroupArgs args = {};
  args.count = 4;
  EXPECT_FALSE(numbersGroupLaunch(args, NumbersWeight(), &launch, &why));
  EXPECT_EQ(why, "expected from 1 to 3 products of one left side, got 4");
  args.count = 1;
  EXPECT_FALSE(numbersGroupLaunch(args, {LATHE_F64, false, 1}, &launch, &why));
  EXPECT_THAT(why, testing::HasSubstr("expected f32, f16 or bf16"));
}

} // namespace
} // namespace lathe::cuda
