//===- FusedKernelTest.cpp - Kernels that do the work of several ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/KernelSupport.h"
#include "test/unit/cuda/RoundedTo.h"
#include "test/unit/runtime/QuantizedSupport.h"

#include <memory>

namespace lathe::cuda {
namespace {

using runtime::QuantizedLayout;
using test::RandomQuantized;

struct GroupCase {
  int64_t m = 1, k = 96;
  std::vector<int64_t> n = {40};
  bool isChained = false;
  int64_t norm = 0; ///< NormArgs::kind
  int64_t rounding = LATHE_QUANTIZE_NONE;
  int64_t bits = 4;
  int64_t arithmetic = LATHE_F32;
};

/// The left side that products read, and, in *normalized, what the norm leaves.
std::vector<double> leftSide(const GroupCase &c, const std::vector<float> &a, const std::vector<float> &gain,
                             const std::vector<float> &bias, std::vector<double> *normalized) {
  std::vector<double> result(a.begin(), a.end());
  for (int64_t i = 0; i < c.m; ++i) {
    double *row = &result[size_t(i * c.k)];
    double mean = 0, variance = 0;
    for (int64_t l = 0; l < c.k && c.norm == 2; ++l)
      mean += row[l] / double(c.k);
    for (int64_t l = 0; l < c.k; ++l)
      variance += (row[l] - mean) * (row[l] - mean) / double(c.k);
    for (int64_t l = 0; l < c.k && c.norm != 0; ++l)
      row[l] = (row[l] - mean) / std::sqrt(variance + 1e-5) * gain[size_t(l)] + (c.norm == 2 ? bias[size_t(l)] : 0);
  }
  *normalized = result;
  return result;
}

void check(const GroupCase &c) {
  SCOPED_TRACE("m " + std::to_string(c.m) + " k " + std::to_string(c.k) + " products " + std::to_string(c.n.size()) +
               " norm " + std::to_string(c.norm) + " rounding " + std::to_string(c.rounding) + " bits " +
               std::to_string(c.bits));
  Numbers a(LATHE_F32, size_t(c.m * c.k)), gain(LATHE_F32, size_t(c.k)), bias(LATHE_F32, size_t(c.k));
  std::vector<float> left(size_t(c.m * c.k), -7);
  TestMemory memory;
  unsigned seed = 3;
  for (Numbers *numbers : {&a, &gain, &bias}) {
    numbers->randomize(seed++);
    numbers->addTo(memory);
  }
  memory.add(left);
  QuantizedGroupArgs args = {};
  args.count = int64_t(c.n.size());
  args.isChained = c.isChained;
  if (c.norm != 0)
    args.norm = {c.norm, gain.wide.data(), c.norm == 2 ? bias.wide.data() : nullptr, left.data(), 1e-5, 0};
  std::vector<std::unique_ptr<RandomQuantized>> weights;
  std::vector<std::vector<float>> outs;
  for (size_t i = 0; i < c.n.size(); ++i) {
    QuantizedLayout layout;
    layout.k = c.k, layout.n = c.n[i], layout.bits = c.bits, layout.group = c.k > 32 ? 32 : c.k;
    if (c.rounding == LATHE_QUANTIZE_ROWS_E4M3)
      layout.values = runtime::CodeValues::e4m3;
    weights.push_back(std::make_unique<RandomQuantized>(layout, 5 + unsigned(i)));
    outs.emplace_back(size_t(c.m * c.n[i]));
  }
  for (size_t i = 0; i < c.n.size(); ++i) {
    memory.allocations.push_back({weights[i]->packed.data(), weights[i]->layout.bytes()});
    memory.add(outs[i]);
    lathe_matmul_call call = {};
    call.a = a.data();
    call.m = c.m, call.n = c.n[i], call.k = c.k;
    call.a_row = c.k, call.a_col = 1, call.out_row = c.n[i];
    call.out = outs[i].data();
    call.alpha = 1;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.a_quantization = c.rounding;
    call.arithmetic = c.arithmetic;
    call.a_scale = 0.02;
    call.a_zero = 3;
    if (c.isChained && i == 0)
      call.activation = LATHE_ACT_SILU;
    if (c.isChained && i == 1)
      call.multiplier = outs[0].data();
    QuantizedMatmulArgs own = quantizedMatmulArgs(call, weights[i]->layout, weights[i]->packed.data());
    setRounding(call, &own);
    if (i == 0)
      args.first = own;
    else
      args.others[i - 1] = quantizedPart(own);
  }
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(quantizedGroupLaunch(args, LATHE_F32, &launch, &why)) << why;
  EXPECT_EQ(launch.function.find("_mma_") != std::string::npos, c.arithmetic != LATHE_F32) << launch.function;
  launchOn(memory, launch);

  std::vector<double> normalized, x = leftSide(c, a.wide, gain.wide, bias.wide, &normalized);
  for (size_t i = 0; i < left.size() && c.norm != 0; ++i)
    EXPECT_NEAR(left[i], normalized[i], 1e-5 * (1 + std::fabs(normalized[i])));
  double most = 0, slack = 1e-5; // where numbers are rounded a neighbouring integer may be right, too
  for (int64_t i = 0; i < c.m && c.rounding != LATHE_QUANTIZE_NONE; ++i) {
    double *row = &x[size_t(i * c.k)], zero = 3;
    float scale = 0.02f;
    most = 0;
    for (int64_t l = 0; l < c.k; ++l)
      most = std::max(most, std::fabs(row[l]));
    if (c.rounding == LATHE_QUANTIZE_ROWS_E4M3) {
      scale = float(most) / 448.0f;
      for (int64_t l = 0; l < c.k; ++l)
        row[l] = test::nearestE4m3(float(row[l]) * (1.0f / scale)) * scale;
      slack = std::max<double>(slack, c.norm != 0 ? 33 * scale : 0); // the largest step is 32
      continue;
    }
    if (c.rounding == LATHE_QUANTIZE_ROWS)
      scale = most > 0 ? float(most) / 127.0f : 1.0f, zero = 0;
    for (int64_t l = 0; l < c.k; ++l)
      row[l] = (std::clamp(std::nearbyint(float(row[l]) * (1.0f / scale)) + zero, -128.0, 127.0) - zero) * scale;
    slack = std::max<double>(slack, c.norm != 0 ? 2 * scale : 0);
  }
  for (double &value : x)
    value = test::roundedTo(c.arithmetic, float(value));
  // What norms give may be rounded to a neighbour.
  double error = c.norm == 0 || c.arithmetic == LATHE_F32 ? 1e-5 : c.arithmetic == LATHE_F16 ? 1e-3 : 8e-3;
  std::vector<double> gate;
  for (size_t p = 0; p < c.n.size(); ++p)
    for (int64_t i = 0; i < c.m; ++i)
      for (int64_t j = 0; j < c.n[p]; ++j) {
        double sum = 0, size = 1, widest = 0;
        for (int64_t l = 0; l < c.k; ++l) {
          double weight = weights[p]->dense[size_t(l * c.n[p] + j)];
          sum += x[size_t(i * c.k + l)] * weight;
          size += std::fabs(x[size_t(i * c.k + l)] * weight);
          widest = std::max(widest, std::fabs(weight));
        }
        if (c.isChained && p == 0)
          gate.push_back(sum = activated(LATHE_ACT_SILU, sum));
        double factor = c.isChained && p == 1 ? gate[size_t(i * c.n[0] + j)] : 1;
        EXPECT_NEAR(outs[p][size_t(i * c.n[p] + j)], sum * factor,
                    (error * size + slack * widest) * (1 + std::fabs(factor)) * (c.isChained ? 20 : 1))
            << p << ", " << i << ", " << j;
      }
}

TEST(FusedKernel, ProductsOfOneLeftSide) {
  for (int64_t m : {1, 3, 8, 9})
    for (const std::vector<int64_t> &n : {std::vector<int64_t>{40}, {16, 17}, {33, 1, 20}}) {
      check({m, 96, n});
      check({m, 33, n, false, 0, LATHE_QUANTIZE_NONE, 8});
    }
}

TEST(FusedKernel, GatesAndWhatTheyMultiply) {
  for (int64_t m : {1, 5})
    for (int64_t bits : {4, 8}) {
      check({m, 96, {40, 40}, true, 0, LATHE_QUANTIZE_NONE, bits});
      check({m, 96, {17, 17}, true, 1, LATHE_QUANTIZE_NONE, bits});
    }
}

TEST(FusedKernel, NormalizedAndRoundedLeftSides) {
  for (int64_t m : {1, 2, 8})
    for (int64_t k : {1, 96, 2500}) // of several chunks
      for (int64_t norm : {0, 1, 2})
        for (int64_t rounding : {LATHE_QUANTIZE_NONE, LATHE_QUANTIZE_ROWS, LATHE_QUANTIZE_STATIC})
          check({m, k, {5, 18}, false, norm, rounding, 4});
}

TEST(FusedKernel, ByMatrixInstructions) {
  for (int64_t type : {LATHE_F16, LATHE_BF16})
    for (int64_t m : {2, 8, 9, 40}) {
      check({m, 96, {33, 1, 20}, false, 0, LATHE_QUANTIZE_NONE, 4, type});
      check({m, 2500, {5, 18}, false, m % 3, LATHE_QUANTIZE_NONE, 8, type});
      check({m, 96, {40, 40}, true, 0, LATHE_QUANTIZE_NONE, 8, type});
      check({m, 1, {17, 17}, true, 1, LATHE_QUANTIZE_NONE, 4, type});
    }
  for (int64_t n : {8200, 16400}) // blocks of 32 and 64 columns
    check({2, 33, {n, 90}, false, 2, LATHE_QUANTIZE_NONE, 8, LATHE_F16});
}

TEST(FusedKernel, LeftSidesThatAreRoundedToFloats) {
  for (int64_t m : {1, 8})
    for (int64_t k : {1, 96, 2500})
      for (int64_t norm : {0, 2})
        check({m, k, {5, 18}, false, norm, LATHE_QUANTIZE_ROWS_E4M3, 8});
}

TEST(FusedKernel, RefusesWhatItHasNot) {
  QuantizedGroupArgs args = {};
  QuantizedLayout layout;
  layout.k = layout.n = layout.group = 16;
  args.first.weight = quantizedArgs(layout, nullptr);
  KernelLaunch launch;
  std::string why;
  args.count = 4;
  EXPECT_FALSE(quantizedGroupLaunch(args, LATHE_F32, &launch, &why));
  EXPECT_EQ(why, "expected from 1 to 3 products of one left side, got 4");
  args.count = 1;
  args.norm.kind = 1;
  EXPECT_FALSE(quantizedGroupLaunch(args, LATHE_F16, &launch, &why));
  EXPECT_EQ(why, "the cuda backend normalizes and rounds left sides of type f32; found f16");
  args.first.quantization = LATHE_QUANTIZE_ROWS_E4M3;
  EXPECT_FALSE(quantizedGroupLaunch(args, LATHE_F32, &launch, &why));
  EXPECT_EQ(why, "the cuda backend rounds left sides to e4m3 for weights of 8-bit floats only; found integer8");
  StepRowsArgs rows = {};
  EXPECT_FALSE(stepRowsLaunch(rows, &launch, &why));
  EXPECT_EQ(why, "expected rows of 1 to 3 tensors, got 0");
}

/// Rows [2, heads, 2, d] of sequences that have 63 and 5 rows: one crosses into another page.
void checkRows(int64_t heads, int64_t d, bool isRotated, bool isKept) {
  constexpr int64_t kSequences = 2, kRows = 2, kOffset = 32;
  SCOPED_TRACE(std::to_string(heads) + " heads of " + std::to_string(d));
  int64_t count = kSequences * heads * kRows * d, headBytes = 64 * d * 4;
  Numbers x(LATHE_F32, size_t(count)), cosine(LATHE_F32, size_t(kSequences * kRows * d)), sine = cosine;
  std::vector<float> out(static_cast<size_t>(count));
  x.randomize(1), cosine.randomize(2), sine.randomize(3);
  std::vector<int64_t> counts = {63, 5};
  std::vector<std::vector<unsigned char>> pages(4, std::vector<unsigned char>(size_t(kOffset + heads * headBytes)));
  std::vector<void *> tables[2] = {{pages[0].data(), pages[1].data()}, {pages[2].data(), pages[3].data()}};
  std::vector<void *const *> sequences = {tables[0].data(), tables[1].data()};
  TestMemory memory;
  for (Numbers *numbers : {&x, &cosine, &sine})
    numbers->addTo(memory);
  memory.add(out), memory.add(counts), memory.add(sequences), memory.add(tables[0]), memory.add(tables[1]);
  for (auto &page : pages)
    memory.add(page);
  StepRowsArgs args = {};
  args.count = 2; // the second has no rows
  StepRowsPart &part = args.parts[0];
  part.from = x.wide.data(); // [sequence, row, head, column]
  part.sizes[0] = kSequences, part.sizes[1] = heads, part.sizes[2] = kRows, part.sizes[3] = d;
  part.strides[0] = kRows * heads * d, part.strides[1] = d, part.strides[2] = heads * d, part.strides[3] = 1;
  if (isRotated) {
    part.cosine = cosine.wide.data(), part.sine = sine.wide.data();
    part.angle_strides[0] = kRows * d, part.angle_strides[2] = d;
    part.out = out.data();
  }
  if (isKept)
    part.pages = sequences.data(), part.counts = counts.data(), part.offset = kOffset, part.head_bytes = headBytes;
  KernelLaunch launch;
  std::string why;
  ASSERT_TRUE(stepRowsLaunch(args, &launch, &why)) << why;
  launchOn(memory, launch);
  for (int64_t s = 0; s < kSequences; ++s)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t row = 0; row < kRows; ++row)
        for (int64_t column = 0; column < d; ++column) {
          const float *from = &x.wide[size_t(((s * kRows + row) * heads + h) * d)];
          double want = from[column];
          if (isRotated) {
            double turned = column < d / 2 ? -from[column + d / 2] : from[column - d / 2];
            size_t angle = size_t((s * kRows + row) * d + column);
            want = want * cosine.wide[angle] + turned * sine.wide[angle];
            EXPECT_NEAR(out[size_t(((s * heads + h) * kRows + row) * d + column)], want, 1e-5);
          }
          if (!isKept)
            continue;
          int64_t at = counts[size_t(s)] + row;
          auto *page = static_cast<const unsigned char *>(tables[s][size_t(at / 64)]) + kOffset + h * headBytes;
          EXPECT_NEAR(reinterpret_cast<const float *>(page)[at % 64 * d + column], want, 1e-5);
        }
}

TEST(FusedKernel, RowsOfAStep) {
  for (int64_t heads : {1, 3})
    for (int64_t d : {2, 16, 66}) {
      checkRows(heads, d, true, true);
      checkRows(heads, d, true, false);
    }
  checkRows(2, 7, false, true);
}

} // namespace
} // namespace lathe::cuda
