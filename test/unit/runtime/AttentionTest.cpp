//===- AttentionTest.cpp - Attention against plain loops --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/AttentionKernels.h"
#include "runtime/CpuFeatures.h"
#include "test/unit/runtime/AttentionServices.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <random>

using namespace lathe;
using runtime::Status;
using Services = test::AttentionServices;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

enum class Layout { plain, heads, transposed, sparse };
enum class Bias { none, full, perHead, padding, causal, causalLowest, window, column, allMasked, nan };

struct Case {
  int64_t s = 1, t = 1, d = 1, e = 1;
  int64_t batch[3] = {1, 1, 1};
  int64_t keyHeads = 0; ///< 0: as many as the query has
  Layout layout = Layout::plain;
  Bias bias = Bias::none, second = Bias::none;
  double scale = 1, softcap = 0;
  bool zeroMasked = false, zeroNan = false;
  int threads = 1;
};

std::string describe(const Case &c) {
  return runtime::join(c.s, "x", c.t, "x", c.d, "x", c.e, " batch ", c.batch[0], ",", c.batch[1], ",", c.batch[2],
                       " key heads ", c.keyHeads, " layout ", int(c.layout), " bias ", int(c.bias), ",", int(c.second),
                       " scale ", c.scale, " softcap ", c.softcap, " zero ", int(c.zeroMasked), int(c.zeroNan),
                       " threads ", c.threads);
}

/// A tensor [b0, b1, h, rows, cols] in some order of axes.
struct Tensor {
  std::vector<float> data;
  lathe_attention_view view = {};

  Tensor() = default;
  Tensor(const int64_t (&batch)[3], int64_t rows, int64_t cols, Layout layout, unsigned seed) {
    int64_t gap = layout == Layout::sparse ? 2 : 1;
    int64_t count = batch[0] * batch[1] * batch[2] * rows * cols * gap + 1;
    if (layout == Layout::heads) { // [b0, b1, rows, h, cols]
      view.col = 1;
      view.batch[2] = cols;
      view.row = batch[2] * cols;
      view.batch[1] = rows * view.row;
    } else {
      view.col = layout == Layout::transposed ? rows : gap;
      view.row = layout == Layout::transposed ? 1 : cols * gap;
      view.batch[2] = rows * cols * gap;
      view.batch[1] = batch[2] * view.batch[2];
    }
    view.batch[0] = batch[1] * view.batch[1];
    std::mt19937 random(seed);
    data.resize(static_cast<size_t>(count));
    for (float &value : data)
      value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500;
    view.data = data.data();
  }
  Tensor(Tensor &&) = default;
  Tensor &operator=(Tensor &&) = default;

  float &at(int64_t i, int64_t j, int64_t h, int64_t row, int64_t col) const {
    return static_cast<float *>(
        view.data)[i * view.batch[0] + j * view.batch[1] + h * view.batch[2] + row * view.row + col * view.col];
  }
};

Tensor makeBias(Bias kind, const Case &c, unsigned seed) {
  int64_t one = 1;
  int64_t none[3] = {1, 1, 1}, heads[3] = {1, 1, c.batch[2]}, first[3] = {c.batch[0], 1, 1};
  Tensor bias;
  switch (kind) {
  case Bias::full:
    bias = Tensor(c.batch, c.s, c.t, Layout::plain, seed);
    break;
  case Bias::perHead:
    bias = Tensor(heads, c.s, c.t, Layout::plain, seed);
    bias.view.batch[0] = bias.view.batch[1] = 0;
    break;
  case Bias::column: // as a gathered relative bias lies: the columns are not dense
    bias = Tensor(heads, c.s, c.t, Layout::sparse, seed);
    bias.view.batch[0] = bias.view.batch[1] = 0;
    break;
  case Bias::padding:
    bias = Tensor(first, one, c.t, Layout::plain, seed);
    bias.view.batch[1] = bias.view.batch[2] = bias.view.row = 0;
    for (int64_t i = 0; i < c.batch[0]; ++i)
      for (int64_t t = 0; t < c.t; ++t)
        bias.at(i, 0, 0, 0, t) = t < c.t - (i * 37 + 19) % std::max<int64_t>(c.t, 1) ? 0 : kLowest;
    break;
  default:
    bias = Tensor(none, c.s, c.t, Layout::plain, seed);
    bias.view.batch[0] = bias.view.batch[1] = bias.view.batch[2] = 0;
    for (int64_t s = 0; s < c.s; ++s)
      for (int64_t t = 0; t < c.t; ++t) {
        int64_t last = s + c.t - c.s;
        bool seen = kind == Bias::window ? t <= last && t > last - 20 : t <= last;
        float mask = kind == Bias::causalLowest ? kLowest : -kInfinity;
        float &value = bias.at(0, 0, 0, s, t);
        if (kind == Bias::allMasked)
          value = s % 3 == 1 ? -kInfinity : s % 3 == 2 ? kLowest : value;
        else if (kind == Bias::nan)
          value = s == 1 && t == c.t / 2 ? NAN : t > c.t / 2 ? -kInfinity : value;
        else
          value = seen ? 0 : mask;
      }
  }
  return bias;
}

/// To the nearest number of bf16.
float toBfloat(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
  std::memcpy(&x, &bits, sizeof bits);
  return x;
}

/// One row in double precision, of operands that are rounded to bf16 before where `narrow`.
std::vector<double> expectedRow(const Case &c, const lathe_attention_call &call, const Tensor &q, const Tensor &k,
                                const Tensor &v, const Tensor (&biases)[2], int64_t i, int64_t j, int64_t h, int64_t s,
                                bool narrow) {
  auto rounded = [&](float x) { return narrow ? toBfloat(x) : x; };
  // What is rounded is the query times the scale.
  float before = narrow ? static_cast<float>(c.scale) : 1.0f;
  double behind = narrow ? 1 : c.scale;
  int64_t keyHead = h / (c.batch[2] / call.key_heads);
  std::vector<double> scores(static_cast<size_t>(c.t));
  double most = -INFINITY, sum = 0;
  for (int64_t t = 0; t < c.t; ++t) {
    double x = 0;
    for (int64_t d = 0; d < c.d; ++d)
      x += static_cast<double>(rounded(before * q.at(i, j, h, s, d))) * rounded(k.at(i, j, keyHead, t, d));
    x *= behind;
    if (c.softcap > 0)
      x = c.softcap * std::tanh(x / c.softcap);
    for (int64_t b = 0; b < call.biases; ++b)
      x = static_cast<float>(x + static_cast<double>(biases[b].at(i, j, h, s, t))); // absorbs as f32 does
    scores[static_cast<size_t>(t)] = x;
    most = std::isnan(x) || std::isnan(most) ? NAN : std::max(most, x);
  }
  for (double &x : scores)
    sum += x = std::exp(x - most);
  std::vector<double> row(static_cast<size_t>(c.e));
  for (int64_t e = 0; e < c.e; ++e)
    for (int64_t t = 0; t < c.t; ++t) {
      double weight = scores[static_cast<size_t>(t)] / sum;
      bool isZero = c.zeroNan ? std::isnan(weight) : c.zeroMasked && most == -INFINITY;
      row[static_cast<size_t>(e)] += (isZero ? 0 : weight) * rounded(v.at(i, j, keyHead, t, e));
    }
  return row;
}

bool isNear(double want, float got, double error) {
  return std::isnan(want) ? std::isnan(got) : std::abs(got - want) <= error;
}

/// Weights are rounded to bf16, relative to the best of those seen so far; values are at most 2.
constexpr double kNarrowError = 2 * 2 * 0x1p-9 + 5e-4;

/// Code for "avx512_bf16" is asked for arithmetic of bf16. A block of one query is f32 all the same.
void check(const Case &c, const char *isa) {
  SCOPED_TRACE(describe(c) + " " + isa);
  const char *why = nullptr;
  if (!runtime::supportsIsa(isa, &why))
    return;
  Services services(c.threads, isa);
  const bool isNarrow = std::string_view(isa) == "avx512_bf16";
  lathe_attention_call call = {};
  call.dtype = LATHE_F32;
  call.arithmetic = isNarrow ? LATHE_BF16 : LATHE_F32;
  call.scale = c.scale;
  call.softcap = c.softcap;
  call.zero_masked = c.zeroMasked;
  call.zero_nan = c.zeroNan;
  std::memcpy(call.batch, c.batch, sizeof call.batch);
  call.key_heads = c.keyHeads ? c.keyHeads : c.batch[2];
  call.s = c.s, call.t = c.t, call.d = c.d, call.e = c.e;
  int64_t keyBatch[3] = {c.batch[0], c.batch[1], call.key_heads};
  Tensor q(c.batch, c.s, c.d, c.layout, 1), k(keyBatch, c.t, c.d, c.layout, 2), v(keyBatch, c.t, c.e, c.layout, 3);
  Tensor out(c.batch, c.s, c.e, c.layout, 4), before(c.batch, c.s, c.e, c.layout, 4);
  Tensor biases[2];
  for (Bias kind : {c.bias, c.second})
    if (kind != Bias::none) {
      biases[call.biases] = makeBias(kind, c, 5 + static_cast<unsigned>(call.biases));
      call.bias[call.biases] = biases[call.biases].view;
      ++call.biases;
    }
  call.query = q.view, call.key = k.view, call.value = v.view, call.out = out.view;
  Status status = services.attention(call);
  ASSERT_FALSE(status.failed()) << status.message();
  for (int64_t i = 0; i < c.batch[0]; ++i)
    for (int64_t j = 0; j < c.batch[1]; ++j)
      for (int64_t h = 0; h < c.batch[2]; ++h)
        for (int64_t s = 0; s < c.s; ++s) {
          std::vector<double> row = expectedRow(c, call, q, k, v, biases, i, j, h, s, false), rounded;
          if (isNarrow)
            rounded = expectedRow(c, call, q, k, v, biases, i, j, h, s, true);
          for (int64_t e = 0; e < c.e; ++e) {
            float got = out.at(i, j, h, s, e);
            double want = row[static_cast<size_t>(e)];
            ASSERT_TRUE(isNear(want, got, 2e-5) ||
                        (isNarrow && isNear(rounded[static_cast<size_t>(e)], got, kNarrowError)))
                << "at " << i << "," << j << "," << h << "," << s << "," << e << ": expected " << want << ", got "
                << got;
            before.at(i, j, h, s, e) = got;
          }
        }
  EXPECT_EQ(0, std::memcmp(out.data.data(), before.data.data(), out.data.size() * 4)) << "wrote between the results";
}

void checkBoth(Case c) {
  for (int threads : {1, 3}) {
    c.threads = threads;
    check(c, "avx512");
    check(c, "avx512_bf16");
    check(c, "avx2");
  }
}

TEST(Attention, Shapes) {
  for (int64_t s : {1, 2, 15, 16, 17, 49, 64, 65, 130})
    for (int64_t t : {1, 3, 16, 49, 128, 129, 300})
      for (int64_t d : {1, 8, 32, 33, 64, 96})
        if ((s + t + d) % 3 != 0 || s == 49)
          checkBoth({s,
                     t,
                     d,
                     d == 33 ? 47 : d,
                     {1, 1, 2},
                     0,
                     (s + t) % 2 ? Layout::heads : Layout::plain,
                     Bias::none,
                     Bias::none,
                     1 / std::sqrt(static_cast<double>(d))});
}

TEST(Attention, NothingToDo) {
  for (int64_t s : {0, 1, 5})
    for (int64_t t : {0, 1, 5})
      for (int64_t d : {0, 1, 5})
        for (int64_t e : {0, 1, 5})
          checkBoth({s, t, d, e, {2, 1, 2}});
  checkBoth({4, 4, 4, 4, {0, 1, 2}});
  checkBoth({4, 4, 4, 4, {2, 0, 2}});
  checkBoth({4, 0, 4, 4, {2, 1, 2}, 0, Layout::plain, Bias::padding, Bias::none, 1, 0, true});
}

TEST(Attention, Layouts) {
  for (Layout layout : {Layout::plain, Layout::heads, Layout::transposed, Layout::sparse})
    for (int64_t s : {1, 20, 70})
      for (Bias bias : {Bias::none, Bias::full})
        checkBoth({s, 37, 24, 40, {2, 3, 2}, 0, layout, bias});
}

TEST(Attention, Biases) {
  for (Bias bias : {Bias::full, Bias::perHead, Bias::padding, Bias::causal, Bias::causalLowest, Bias::window,
                    Bias::column, Bias::allMasked, Bias::nan})
    for (int zero : {0, 1, 2}) {
      Case c{70, 150, 16, 16, {2, 1, 2}, 0, Layout::heads, bias, Bias::none, 0.25, 0, zero == 1, zero == 2};
      checkBoth(c);
      for (Bias second : {Bias::full, Bias::padding, Bias::causalLowest}) {
        c.second = second;
        checkBoth(c);
      }
      c.second = Bias::none;
      for (int64_t t : {5, 64, 400}) {
        c.s = std::min<int64_t>(t, 70);
        c.t = t;
        check(c, "avx512");
        check(c, "avx512_bf16");
        check(c, "avx2");
      }
    }
}

TEST(Attention, Softcap) {
  for (double cap : {1.0, 5.0, 50.0})
    checkBoth({33, 65, 32, 32, {1, 1, 2}, 0, Layout::plain, Bias::causal, Bias::none, 0.3, cap});
}

TEST(Attention, SharedHeads) {
  for (int64_t keyHeads : {1, 2, 4})
    for (int64_t s : {1, 3, 17, 90})
      for (Bias bias : {Bias::none, Bias::full, Bias::padding, Bias::causalLowest})
        checkBoth({s, 90, 32, 32, {2, 1, 8}, keyHeads, Layout::heads, bias, Bias::none, 0.2});
}

/// Fewer blocks of queries than threads: keys are cut.
TEST(Attention, Parts) {
  for (int64_t t : {511, 512, 777, 2000, 5000})
    for (Bias bias :
         {Bias::none, Bias::full, Bias::padding, Bias::causal, Bias::causalLowest, Bias::allMasked, Bias::nan})
      for (int64_t s : {1, 2, 5}) {
        Case c{s, t, 64, 48, {1, 1, 1}, 0, Layout::plain, bias, Bias::none, 0.125};
        c.threads = 4;
        check(c, "avx512");
        check(c, "avx512_bf16");
        check(c, "avx2");
        c.zeroNan = true;
        check(c, "avx512");
      }
}

TEST(Attention, Errors) {
  Services services(1, "avx2");
  lathe_attention_call call = {};
  call.dtype = LATHE_F16;
  EXPECT_EQ(services.attention(call).message(),
            "kernel '0': the cpu backend has no attention for type f16; expected f32");
  call.dtype = LATHE_F32;
  call.batch[0] = call.batch[1] = 1;
  call.batch[2] = 3;
  call.key_heads = 2;
  EXPECT_EQ(services.attention(call).message(),
            "kernel '0': expected query heads that are a multiple of the key heads, got 3 and 2");
  call.key_heads = 0;
  EXPECT_EQ(services.attention(call).code(), LATHE_INTERNAL);
  call.key_heads = 3;
  call.s = -1;
  EXPECT_EQ(services.attention(call).message(), "kernel '0': negative extent in attention");
  call.s = 1;
  call.biases = 3;
  EXPECT_EQ(services.attention(call).message(), "kernel '0': expected at most 2 biases, got 3");
  call.biases = 0;
  call.e = 1;
  services.budget = 100;
  EXPECT_EQ(services.attention(call).code(), LATHE_OVER_BUDGET);
}

/// Queries, keys and values of 33 rows of 40 numbers, on `isa` by `arithmetic`.
std::vector<float> resultOf(const char *isa, int64_t arithmetic) {
  const int64_t batch[3] = {1, 1, 2};
  Services services(1, isa);
  lathe_attention_call call = {};
  call.dtype = LATHE_F32, call.arithmetic = arithmetic, call.scale = 0.3;
  std::memcpy(call.batch, batch, sizeof call.batch);
  call.key_heads = 2, call.s = call.t = 33, call.d = call.e = 40;
  Tensor x(batch, 33, 40, Layout::heads, 1), out(batch, 33, 40, Layout::heads, 2);
  call.query = call.key = call.value = x.view, call.out = out.view;
  EXPECT_EQ(services.attention(call).message(), "");
  return out.data;
}

/// Operands are rounded where that is asked for and faster, and nowhere else.
TEST(Attention, Arithmetic) {
  const char *why = nullptr;
  if (!runtime::supportsIsa("avx512", &why))
    GTEST_SKIP() << why;
  std::vector<float> single = resultOf("avx512", LATHE_F32);
  EXPECT_EQ(resultOf("avx512", LATHE_BF16), single);
  if (!runtime::supportsIsa("avx512_bf16", &why))
    GTEST_SKIP() << why;
  EXPECT_EQ(resultOf("avx512_bf16", LATHE_F32), single);
  std::vector<float> narrow = resultOf("avx512_bf16", LATHE_BF16);
  float most = 0;
  for (size_t i = 0; i < single.size(); ++i)
    most = std::max(most, std::abs(narrow[i] - single[i]));
  EXPECT_GT(most, 1e-4f);
  EXPECT_LT(most, 0.1f);
}

/// Units in the last place of the expected result.
double error(float got, double want) {
  float near = static_cast<float>(want);
  if (std::isnan(want) || std::isinf(near) || near == 0)
    return (std::isnan(want) ? std::isnan(got) : got == near) ? 0 : INFINITY;
  double unit = std::nextafter(std::abs(near), kInfinity) - std::abs(near);
  return std::abs(got - want) / unit;
}

void checkFunction(void (*function)(const float *, float *, int64_t), double (*oracle)(double), double low, double high,
                   double bound) {
  std::vector<float> x = {0.0f, -0.0f, kInfinity, -kInfinity, NAN, 88.7f, 89.5f, -87.3f, -90.0f, 1e-30f, 1e30f, -1e30f};
  for (int i = 0; i <= 200001; ++i)
    x.push_back(static_cast<float>(low + (high - low) * i / 200000));
  std::vector<float> y(x.size());
  function(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    double want = oracle(x[i]);
    if (std::abs(want) < 1.17549435e-38) // what is below the smallest normal number is 0
      want = want == 0 || y[i] == 0 ? 0 : want;
    double now = want == 0 && y[i] == 0 ? 0 : error(y[i], want);
    ASSERT_LE(now, bound) << "at " << x[i] << ": expected " << want << ", got " << y[i];
  }
}

TEST(Attention, Functions) {
  for (const cpu::AttentionKernels *kernels : {&cpu::kAttentionAvx512, &cpu::kAttentionAvx2}) {
    const char *why = nullptr;
    if (!runtime::supportsIsa(kernels->isa, &why))
      continue;
    SCOPED_TRACE(kernels->isa);
    checkFunction(kernels->exponential, std::exp, -100, 89, 2);
    checkFunction(kernels->exponential, std::exp, -1, 1, 2);
    checkFunction(kernels->hyperbolicTangent, std::tanh, -12, 12, 4);
    checkFunction(kernels->hyperbolicTangent, std::tanh, -0.01, 0.01, 4);
  }
}

} // namespace
