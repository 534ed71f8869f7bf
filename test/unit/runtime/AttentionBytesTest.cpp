//===- AttentionBytesTest.cpp - Attention by bytes against loops -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/CpuFeatures.h"
#include "test/unit/runtime/AttentionServices.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <memory>
#include <new>
#include <random>

using namespace lathe;
using runtime::CacheLayout;
using runtime::CacheRows;
using runtime::Status;
using Services = test::AttentionServices;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLowest = std::numeric_limits<float>::lowest();

enum class Mask { none, full, padding, lowest, causal, rows, nan };

struct Case {
  int64_t s = 1, t = 1, d = 1, e = 1;
  int64_t batch = 1, heads = 2, keyHeads = 2;
  Mask mask = Mask::none;
  bool turned = false;  ///< columns lie apart, else heads do
  bool limited = false; ///< by positions, as of the end of a text
  int64_t window = 0;
  double scale = 0, softcap = 0; ///< scale: 0 is by the size
  bool zeroMasked = false, zeroNan = false;
  int threads = 1;

  double factor() const { return scale != 0 ? scale : 1 / std::sqrt(static_cast<double>(std::max<int64_t>(d, 1))); }
};

/// [batch, heads, rows, columns], in memory [batch, rows, heads, columns] or [batch, heads, columns, rows].
struct Tensor {
  std::vector<float> data;
  lathe_attention_view view = {};

  Tensor(int64_t batch, int64_t heads, int64_t rows, int64_t columns, bool turned, unsigned seed) {
    view.col = turned ? rows : 1;
    view.row = turned ? 1 : heads * columns;
    view.batch[2] = turned ? rows * columns : columns;
    view.batch[1] = heads * rows * columns;
    view.batch[0] = batch * view.batch[1];
    std::mt19937 random(seed);
    data.resize(static_cast<size_t>(view.batch[0]) + 1);
    for (float &value : data)
      value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500;
    view.data = data.data();
  }

  float &at(int64_t b, int64_t h, int64_t row, int64_t col) {
    return data[static_cast<size_t>(b * view.batch[1] + h * view.batch[2] + row * view.row + col * view.col)];
  }
};

void fillMask(const Case &c, Tensor &bias) {
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t s = 0; s < c.s; ++s)
      for (int64_t t = 0; t < c.t; ++t) {
        float &x = bias.at(b, 0, s, t);
        bool padded = t >= c.t - (b * 37 + 19) % std::max<int64_t>(c.t, 1);
        if (c.mask == Mask::padding || c.mask == Mask::lowest)
          x = !padded ? 0 : c.mask == Mask::padding ? -kInfinity : kLowest;
        else if (c.mask == Mask::causal)
          x = t <= s + c.t - c.s ? 0 : -kInfinity;
        else if (c.mask == Mask::rows && s % 3)
          x = s % 3 == 1 ? -kInfinity : kLowest;
        else if (c.mask == Mask::nan)
          x = s == 1 && t == c.t / 2 ? NAN : t > c.t / 2 ? -kInfinity : x;
      }
}

/// A call with all that it reads, and the loops that it is compared with.
struct Attention {
  Case c;
  Tensor q, k, v, out, bias;
  std::vector<int64_t> positions;
  lathe_attention_call call = {};

  explicit Attention(const Case &c)
      : c(c), q(c.batch, c.heads, c.s, c.d, c.turned, 1), k(c.batch, c.keyHeads, c.t, c.d, c.turned, 2),
        v(c.batch, c.keyHeads, c.t, c.e, c.turned, 3), out(c.batch, c.heads, c.s, c.e, c.turned, 4),
        bias(c.batch, 1, c.s, c.t, false, 5) {
    call.dtype = LATHE_F32;
    call.arithmetic = LATHE_I8;
    call.scale = c.factor();
    call.softcap = c.softcap;
    call.zero_masked = c.zeroMasked, call.zero_nan = c.zeroNan;
    call.batch[0] = 1, call.batch[1] = c.batch, call.batch[2] = c.heads;
    call.key_heads = c.keyHeads;
    call.s = c.s, call.t = c.t, call.d = c.d, call.e = c.e;
    call.query = q.view, call.key = k.view, call.value = v.view, call.out = out.view;
    call.key_cache = call.value_cache = -1;
    if (c.mask != Mask::none) {
      fillMask(c, bias);
      call.biases = 1;
      call.bias[0] = bias.view;
      call.bias[0].batch[2] = 0;
    }
    if (!c.limited)
      return;
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t s = 0; s < c.s; ++s)
        positions.push_back(s + c.t - c.s - b);
    call.positions = positions.data();
    call.position_batch = c.s, call.position_row = 1;
    call.window = c.window;
  }

  std::vector<double> rowOf(int64_t b, int64_t h, int64_t s) {
    int64_t keyHead = h / (c.heads / c.keyHeads);
    std::vector<double> scores(static_cast<size_t>(c.t)), row(static_cast<size_t>(c.e));
    double most = -INFINITY, sum = 0;
    for (int64_t t = 0; t < c.t; ++t) {
      double x = 0;
      for (int64_t i = 0; i < c.d; ++i)
        x += static_cast<double>(q.at(b, h, s, i)) * k.at(b, keyHead, t, i);
      x *= c.factor();
      if (c.softcap > 0)
        x = c.softcap * std::tanh(x / c.softcap);
      if (call.biases)
        x = static_cast<float>(x + static_cast<double>(bias.at(b, 0, s, t))); // absorbs as f32 does
      int64_t last = c.limited ? positions[static_cast<size_t>(b * c.s + s)] : c.t;
      if (t > last || (c.window > 0 && t <= last - c.window))
        x = -INFINITY;
      scores[static_cast<size_t>(t)] = x;
      most = std::isnan(x) || std::isnan(most) ? NAN : std::max(most, x);
    }
    for (double &x : scores)
      sum += x = std::exp(x - most);
    for (int64_t e = 0; e < c.e; ++e)
      for (int64_t t = 0; t < c.t; ++t) {
        double weight = scores[static_cast<size_t>(t)] / sum;
        bool isZero = c.zeroNan ? std::isnan(weight) : c.zeroMasked && most == -INFINITY;
        row[static_cast<size_t>(e)] += (isZero ? 0 : weight) * v.at(b, keyHead, t, e);
      }
    return row;
  }

  /// Returns the root of the mean square of the errors as a share of that of the results; no error is above `bound`.
  double compare(double bound) {
    double errors = 0, results = 0;
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t h = 0; h < c.heads; ++h)
        for (int64_t s = 0; s < c.s; ++s) {
          std::vector<double> row = rowOf(b, h, s);
          for (int64_t e = 0; e < c.e; ++e) {
            double want = row[static_cast<size_t>(e)], got = out.at(b, h, s, e);
            if (std::isnan(want) ? !std::isnan(got) : !(std::abs(got - want) <= bound)) {
              ADD_FAILURE() << "at " << b << "," << h << "," << s << "," << e << ": expected " << want << ", got "
                            << got;
              return INFINITY;
            }
            if (std::isnan(want))
              continue;
            errors += (got - want) * (got - want);
            results += want * want;
          }
        }
    return results > 0 ? std::sqrt(errors / results) : 0;
  }
};

/// Whether the backend multiplies bytes where it may.
bool multipliesBytes(const char *isa) { return std::strcmp(isa, "avx512") == 0 && runtime::hasVnni(); }

double check(const Case &c, const char *isa = "avx512") {
  SCOPED_TRACE(runtime::join(c.s, "x", c.t, "x", c.d, "x", c.e, " batch ", c.batch, " heads ", c.heads, "/", c.keyHeads,
                             " mask ", int(c.mask), " turned ", int(c.turned), " limited ", int(c.limited), " window ",
                             c.window, " softcap ", c.softcap, " threads ", c.threads, " ", isa));
  const char *why = nullptr;
  if (!runtime::supportsIsa(isa, &why))
    return 0;
  Services services(c.threads, isa);
  Attention attention(c);
  Status status = services.attention(attention.call);
  EXPECT_FALSE(status.failed()) << status.message();
  // Values are up to 2, rounded to steps of up to 2 / 127 as keys are, and probabilities to 1 / 255.
  return attention.compare(multipliesBytes(isa) ? 0.15 : 2e-5);
}

TEST(AttentionBytes, Shapes) {
  for (int64_t s : {1, 15, 17, 33, 64, 65, 130})
    for (int64_t t : {31, 32, 49, 64, 127, 300})
      for (int64_t d : {1, 3, 33, 64, 80})
        if ((s + t + d) % 4 == 0)
          check({s, t, d, d == 33 ? 47 : d, 1, 2, 2});
  for (int64_t t : {0, 1, 40})
    for (int64_t d : {0, 5})
      for (int64_t e : {0, 5})
        check({20, t, d, e, 2, 2, 2});
  check({0, 40, 8, 8});
  check({40, 40, 8, 8, 0});
}

TEST(AttentionBytes, HeadsAndThreads) {
  for (int threads : {1, 3})
    for (int64_t keyHeads : {1, 2, 4})
      for (bool turned : {false, true}) {
        Case c{17, 90, 24, 32, 2, 8, keyHeads, Mask::full, turned};
        c.threads = threads;
        c.scale = -0.2;
        check(c);
      }
  Case few{400, 130, 16, 16, 1, 1, 1}; // one head, whose queries threads share
  few.threads = 4;
  check(few);
}

TEST(AttentionBytes, Masks) {
  for (Mask mask : {Mask::full, Mask::padding, Mask::lowest, Mask::causal, Mask::rows, Mask::nan})
    for (int zero : {0, 1, 2}) {
      Case c{70, 150, 16, 16, 2, 2, 2, mask};
      c.zeroMasked = zero == 1, c.zeroNan = zero == 2;
      check(c);
    }
  for (double cap : {1.0, 50.0}) {
    Case c{33, 65, 32, 32, 1, 2, 2, Mask::causal};
    c.softcap = cap;
    check(c);
  }
}

TEST(AttentionBytes, Limits) {
  for (int64_t window : {0, 1, 63, 65, 200})
    for (int64_t s : {16, 70, 150}) {
      Case c{s, 150, 16, 16, 2, 4, 2, Mask::none, false, true, window};
      c.threads = 2;
      check(c);
    }
}

/// What rounding costs, and that it is there: a kernel of floats would not be off at all.
TEST(AttentionBytes, RoundsItsOperands) {
  for (int64_t t : {32, 128, 500, 2000}) {
    Case c{48, t, 64, 64};
    EXPECT_LT(check(c, "avx2"), 1e-5) << t;
    const char *why = nullptr;
    if (!runtime::supportsIsa("avx512", &why) || !multipliesBytes("avx512"))
      continue;
    double error = check(c);
    EXPECT_GT(error, 1e-4) << t;
    EXPECT_LT(error, 0.025) << t;
    c.s = 8; // too few
    EXPECT_LT(check(c), 1e-5) << t;
  }
}

/// A mean that all keys have costs nothing.
TEST(AttentionBytes, KeysThatAreFarFromZero) {
  const char *why = nullptr;
  if (!runtime::supportsIsa("avx512", &why) || !multipliesBytes("avx512"))
    GTEST_SKIP() << "no products of bytes";
  Services services(1, "avx512");
  Attention attention({64, 64, 32, 32});
  for (int64_t t = 0; t < 64; ++t)
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t i = 0; i < 32; ++i)
        attention.k.at(0, h, t, i) += i % 4 == 0 ? 60 : 0;
  ASSERT_FALSE(services.attention(attention.call).failed());
  EXPECT_LT(attention.compare(0.3), 0.03);
}

/// Numbers that have no scale are left to floats.
TEST(AttentionBytes, UnusualNumbers) {
  for (float unusual : {kInfinity, NAN, 3e30f, 1e-30f})
    for (int where : {0, 1, 2}) {
      if (unusual < 1 && where > 0)
        continue; // others of the mean, or of the column, are as usual
      std::vector<float> results[2];
      for (int64_t arithmetic : {LATHE_F32, LATHE_I8}) {
        Services services(1, runtime::bestIsa());
        Attention attention({64, 64, 16, 16});
        Tensor &x = where == 0 ? attention.q : where == 1 ? attention.k : attention.v;
        for (int64_t i = 0; i < 16; ++i)
          x.at(0, 0, 5, i) = x.at(0, 1, 5, i) = unusual;
        attention.call.arithmetic = arithmetic;
        ASSERT_FALSE(services.attention(attention.call).failed());
        results[arithmetic == LATHE_I8] = attention.out.data;
      }
      // Other blocks of the same keys are, too.
      EXPECT_EQ(0, std::memcmp(results[0].data(), results[1].data(), results[0].size() * 4)) << unusual << " " << where;
    }
}

/// Rows in the pages of a cache are read as rows of a tensor are; codes stay what they stand for.
TEST(AttentionBytes, Pages) {
  const char *why = nullptr;
  if (!runtime::supportsIsa("avx512", &why))
    GTEST_SKIP() << why;
  for (int64_t bits : {32, 8}) {
    Attention attention({40, 100, 32, 32, 1, 4, 2, Mask::none, false, true, 70});
    CacheLayout layout{2, 32, bits};
    std::vector<std::vector<float>> memory; // whose numbers stay where they are
    std::vector<const unsigned char *> pages[2];
    for (int which : {0, 1})
      for (int64_t page = 0; page < 2; ++page) {
        std::vector<float> &bytes = memory.emplace_back(static_cast<size_t>(layout.bytes() / 4 + 16), NAN);
        auto *data = reinterpret_cast<unsigned char *>(bytes.data());
        for (int64_t row = page * 64; row < std::min<int64_t>(100, page * 64 + 64); ++row)
          for (int64_t head = 0; head < 2; ++head) {
            std::vector<float> numbers;
            for (int64_t i = 0; i < 32; ++i)
              numbers.push_back((which ? attention.v : attention.k).at(0, head, row, i));
            layout.store(data + head * layout.headBytes(), row % 64, numbers.data(), 1);
          }
        pages[which].push_back(data);
      }
    int64_t count = 100;
    const unsigned char *const *tables[2] = {pages[0].data(), pages[1].data()};
    CacheRows rows[2];
    for (int which : {0, 1}) {
      rows[which].layout = layout;
      rows[which].sequences = 1;
      rows[which].counts = &count;
      rows[which].pages = &tables[which];
    }
    std::vector<float> results[2];
    for (int64_t arithmetic : {LATHE_F32, LATHE_I8}) {
      Services services(1, "avx512");
      attention.call.arithmetic = arithmetic;
      ASSERT_FALSE(services.attention(attention.call, &rows[0], &rows[1]).failed());
      results[arithmetic == LATHE_I8] = attention.out.data;
      EXPECT_LT(attention.compare(0.15), 0.03);
    }
    bool areEqual = std::memcmp(results[0].data(), results[1].data(), results[0].size() * 4) == 0;
    EXPECT_EQ(areEqual, bits == 8 || !multipliesBytes("avx512")) << bits;
  }
}

TEST(AttentionBytes, Budget) {
  Services services(1, runtime::bestIsa());
  services.budget = 1000;
  Attention attention({64, 64, 16, 16});
  EXPECT_EQ(services.attention(attention.call).code(), LATHE_OVER_BUDGET);
}

} // namespace
