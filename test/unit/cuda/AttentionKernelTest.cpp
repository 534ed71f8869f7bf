//===- AttentionKernelTest.cpp - Attention on the machine -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/KernelSupport.h"

#include <array>
#include <memory>

namespace lathe::cuda {
namespace {

constexpr float kInfinity = INFINITY;

enum class Bias { none, full, padding, causal, allMasked, nan };

struct Case {
  int64_t s = 1, t = 1, d = 8, e = 8;
  int64_t sequences = 1, heads = 1, keyHeads = 1;
  Bias bias = Bias::none, second = Bias::none;
  double scale = 0.3, softcap = 0;
  bool zeroMasked = false, zeroNan = false;
  bool positions = false;
  int64_t window = 0;
  bool pages = false;
  bool transposed = false; ///< queries lie as [sequence, row, head, column], keys with rows innermost
  int64_t multiprocessors = 1;
  int64_t dtype = LATHE_F32;
};

/// Tensors of a case, and its row in double precision.
class AttentionRun {
public:
  explicit AttentionRun(const Case &c)
      : c(c), query(c.dtype, size_t(c.sequences * c.heads * c.s * c.d)),
        key(c.dtype, size_t(c.sequences * c.keyHeads * c.t * c.d)),
        value(c.dtype, size_t(c.sequences * c.keyHeads * c.t * c.e)),
        out(c.dtype, size_t(c.sequences * c.heads * c.s * c.e)) {
    query.randomize(1);
    key.randomize(2);
    value.randomize(3);
    for (size_t i = 0; i < out.size(); ++i)
      out.set(i, -77);
    call.dtype = c.dtype;
    call.scale = c.scale;
    call.softcap = c.softcap;
    call.zero_masked = c.zeroMasked;
    call.zero_nan = c.zeroNan;
    call.batch[0] = 1;
    call.batch[1] = c.sequences;
    call.batch[2] = c.heads;
    call.key_heads = c.keyHeads;
    call.s = c.s;
    call.t = c.t;
    call.d = c.d;
    call.e = c.e;
    call.key_cache = call.value_cache = -1;
    call.query = view(query, c.heads, c.s, c.d, c.transposed ? 1 : 0);
    call.key = view(key, c.keyHeads, c.t, c.d, c.transposed ? 2 : 0);
    call.value = view(value, c.keyHeads, c.t, c.e, 0);
    call.out = view(out, c.heads, c.s, c.e, c.transposed ? 1 : 0);
    for (Bias kind : {c.bias, c.second})
      if (kind != Bias::none)
        addBias(kind);
    for (int64_t i = 0; i < c.sequences * c.s; ++i)
      positions.push_back((i * 7 + c.t / 2) % std::max<int64_t>(c.t, 1));
    if (c.positions) {
      call.positions = positions.data();
      call.position_batch = c.s;
      call.position_row = 1;
      call.window = c.window;
    }
  }

  static lathe_attention_view view(Numbers &numbers, int64_t heads, int64_t rows, int64_t columns, int order) {
    lathe_attention_view view = {};
    view.data = numbers.data();
    view.batch[1] = heads * rows * columns;
    view.batch[2] = order == 1 ? columns : rows * columns;
    view.row = order == 1 ? heads * columns : order == 2 ? 1 : columns;
    view.col = order == 2 ? rows : 1;
    return view;
  }

  void addBias(Bias kind) {
    auto &bias = *biases.emplace_back(std::make_unique<Numbers>(c.dtype, size_t(c.heads * c.s * c.t)));
    bias.randomize(9);
    lathe_attention_view &at = call.bias[call.biases++] = view(bias, c.heads, c.s, c.t, 0);
    at.batch[1] = 0;
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t s = 0; s < c.s; ++s)
        for (int64_t t = 0; t < c.t; ++t) {
          auto index = size_t((h * c.s + s) * c.t + t);
          if (kind == Bias::padding)
            bias.set(index, t % 5 == 2 ? -kInfinity : 0);
          else if (kind == Bias::causal)
            bias.set(index, t <= s + c.t - c.s ? 0 : -kInfinity);
          else if (kind == Bias::allMasked && s % 2 == 1)
            bias.set(index, -kInfinity);
          else if (kind == Bias::nan && s == 1 && t == c.t / 2)
            bias.set(index, NAN);
        }
  }

  float at(const Numbers &numbers, const lathe_attention_view &view, int64_t sequence, int64_t head, int64_t row,
           int64_t column) const {
    return numbers.get(size_t(sequence * view.batch[1] + head * view.batch[2] + row * view.row + column * view.col));
  }

  std::vector<double> expected(int64_t sequence, int64_t head, int64_t s, int64_t keys) const {
    int64_t keyHead = head / (c.heads / c.keyHeads), first = 0, end = keys;
    if (c.positions) {
      int64_t position = positions[size_t(sequence * c.s + s)];
      end = std::min(end, position + 1);
      first = c.window ? std::max<int64_t>(position + 1 - c.window, 0) : 0;
    }
    std::vector<double> scores;
    double most = -INFINITY, sum = 0;
    for (int64_t t = first; t < end; ++t) {
      double x = 0;
      for (int64_t d = 0; d < c.d; ++d)
        x += double(at(query, call.query, sequence, head, s, d)) * at(key, call.key, sequence, keyHead, t, d);
      x *= c.scale;
      if (c.softcap > 0)
        x = c.softcap * std::tanh(x / c.softcap);
      for (size_t b = 0; b < biases.size(); ++b)
        x += at(*biases[b], call.bias[b], sequence, head, s, t);
      scores.push_back(x);
      most = std::isnan(x) || std::isnan(most) ? NAN : std::max(most, x);
    }
    for (double &x : scores)
      sum += x = std::exp(x - most);
    std::vector<double> row(size_t(c.e));
    for (int64_t e = 0; e < c.e; ++e)
      for (size_t t = 0; t < scores.size(); ++t) {
        double weight = scores[t] / sum;
        bool isZero = c.zeroNan ? std::isnan(weight) : c.zeroMasked && most == -INFINITY;
        row[size_t(e)] += (isZero ? 0 : weight) * at(value, call.value, sequence, keyHead, first + int64_t(t), e);
      }
    return row;
  }

  const Case c;
  Numbers query, key, value, out;
  std::vector<std::unique_ptr<Numbers>> biases;
  std::vector<int64_t> positions;
  lathe_attention_call call = {};
};

/// Rows of all sequences in pages, of which the last has fewer rows than it holds.
struct Pages {
  std::vector<std::vector<float>> data;
  std::vector<std::vector<const void *>> tables;
  std::vector<const void *const *> sequences;

  Pages(const AttentionRun &run, const Numbers &numbers, const lathe_attention_view &view, int64_t columns,
        const std::vector<int64_t> &counts) {
    const Case &c = run.c;
    for (int64_t s = 0; s < c.sequences; ++s) {
      auto &table = tables.emplace_back();
      for (int64_t first = 0; first < counts[size_t(s)]; first += 64) {
        auto &page = data.emplace_back(size_t(4 + c.keyHeads * 64 * columns), NAN);
        for (int64_t h = 0; h < c.keyHeads; ++h)
          for (int64_t row = first; row < std::min(first + 64, counts[size_t(s)]); ++row)
            for (int64_t i = 0; i < columns; ++i)
              page[size_t(4 + (h * 64 + row - first) * columns + i)] = run.at(numbers, view, s, h, row, i);
        table.push_back(page.data());
      }
    }
    for (auto &table : tables)
      sequences.push_back(table.data());
  }
  void addTo(TestMemory &memory, RowsArgs *rows, int64_t columns) const {
    for (auto &page : data)
      memory.add(page);
    for (auto &table : tables)
      memory.add(table);
    memory.add(sequences);
    rows->pages = sequences.data();
    rows->offset = 16;
    rows->head_bytes = 64 * columns * 4;
    rows->view.data = nullptr;
  }
};

void check(const Case &c) {
  SCOPED_TRACE(testing::Message() << c.s << "x" << c.t << "x" << c.d << "x" << c.e << " heads " << c.heads << "/"
                                  << c.keyHeads << " sequences " << c.sequences << " pages " << c.pages << " positions "
                                  << c.positions << " window " << c.window << " type " << c.dtype << " processors "
                                  << c.multiprocessors);
  AttentionRun run(c);
  TestMemory memory;
  for (Numbers *numbers : {&run.query, &run.key, &run.value, &run.out})
    numbers->addTo(memory);
  for (auto &bias : run.biases)
    bias->addTo(memory);
  memory.add(run.positions);
  AttentionArgs args = attentionArgs(run.call);
  std::vector<int64_t> counts;
  for (int64_t s = 0; s < c.sequences; ++s)
    counts.push_back(c.pages ? std::max<int64_t>(c.t - s * 3, 0) : c.t);
  std::unique_ptr<Pages> keys, values;
  if (c.pages) {
    keys = std::make_unique<Pages>(run, run.key, run.call.key, c.d, counts);
    values = std::make_unique<Pages>(run, run.value, run.call.value, c.e, counts);
    keys->addTo(memory, &args.key, c.d);
    values->addTo(memory, &args.value, c.e);
    memory.add(counts);
    args.counts = counts.data();
  }
  AttentionLaunches launches;
  std::string why;
  ASSERT_TRUE(attentionLaunches(args, c.dtype, c.t, c.multiprocessors, &launches, &why)) << why;
  bool mma = c.dtype != LATHE_F32 && c.heads / c.keyHeads * c.s >= 16 && c.d <= 128 && c.e <= 128;
  if (!launches.attention.function.empty())
    EXPECT_EQ(launches.attention.function.find("_r64_") != std::string::npos, mma) << launches.attention.function;
  std::vector<float> scratch(size_t(launches.scratch_bytes / 4), NAN);
  memory.add(scratch);
  launches.setScratch(scratch.data());
  launchOn(memory, launches.attention);
  launchOn(memory, launches.combine);
  for (int64_t sequence = 0; sequence < c.sequences; ++sequence)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t s = 0; s < c.s; ++s) {
        std::vector<double> row = run.expected(sequence, h, s, counts[size_t(sequence)]);
        for (int64_t e = 0; e < c.e; ++e)
          expectClose(run.at(run.out, run.call.out, sequence, h, s, e), row[size_t(e)], run.out.tolerance());
        if (testing::Test::HasFailure())
          FAIL() << "sequence " << sequence << ", head " << h << ", row " << s;
      }
}

TEST(AttentionKernel, Shapes) {
  for (auto [s, t] : {std::pair(1, 1), {1, 33}, {17, 17}, {33, 70}, {40, 5}, {3, 0}, {0, 3}})
    check({s, t, 8, 12});
  check({5, 40, 65, 3});
  check({5, 40, 1, 65});
  check({5, 40, 130, 130});
  check({2, 9, 0, 4}); // all scores are 0
  check({2, 9, 4, 0});
  check({3, 35, 20, 300}); // more columns than a block has
}

TEST(AttentionKernel, GroupedQueries) {
  check({3, 40, 16, 16, 2, 6, 2});
  check({1, 70, 16, 16, 3, 8, 1});
  check({13, 33, 16, 16, 2, 4, 4});
  Case c{4, 40, 16, 16, 2, 6, 3};
  c.transposed = true;
  check(c);
}

TEST(AttentionKernel, MatrixInstructions) {
  for (int64_t dtype : {LATHE_F16, LATHE_BF16})
    for (auto [s, t, d, e] : {std::array<int64_t, 4>{16, 1, 8, 16},
                              {17, 33, 64, 64},
                              {65, 70, 24, 5},
                              {20, 40, 72, 128},
                              {33, 0, 8, 8},
                              {16, 31, 0, 3},
                              {40, 300, 16, 16}})
      for (int64_t multiprocessors : {1, 64}) {
        Case c{s, t, d, e, 2, 2, 1};
        c.dtype = dtype;
        c.multiprocessors = multiprocessors;
        check(c);
        c.transposed = true; // keys have no rows of 16 bytes
        c.bias = Bias::full;
        c.second = Bias::causal;
        c.softcap = 2;
        check(c);
        if (t > 100)
          continue;
        c.softcap = 0;
        c.positions = true;
        c.window = 40;
        check(c);
      }
}

TEST(AttentionKernel, MaskedRowsOfMatrixInstructions) {
  for (Bias bias : {Bias::allMasked, Bias::nan})
    for (int flags = 0; flags < 4; ++flags) {
      Case c{18, 40, 8, 8};
      c.dtype = LATHE_F16;
      c.bias = bias;
      c.zeroMasked = flags & 1;
      c.zeroNan = flags & 2;
      check(c);
    }
}

TEST(AttentionKernel, Types) {
  for (int64_t dtype : {LATHE_F16, LATHE_BF16}) {
    Case c{9, 40, 24, 24, 1, 2, 1};
    c.dtype = dtype;
    c.bias = Bias::padding;
    check(c);
  }
}

TEST(AttentionKernel, Biases) {
  for (Bias bias : {Bias::full, Bias::padding, Bias::causal})
    for (Bias second : {Bias::none, Bias::full}) {
      Case c{10, 41, 8, 8, 2, 2, 1};
      c.bias = bias;
      c.second = second;
      c.softcap = second == Bias::full ? 1.5 : 0;
      check(c);
    }
}

TEST(AttentionKernel, MaskedRows) {
  for (Bias bias : {Bias::allMasked, Bias::nan})
    for (int flags = 0; flags < 4; ++flags)
      for (int64_t multiprocessors : {1, 16}) {
        Case c{4, 300, 8, 8};
        c.bias = bias;
        c.zeroMasked = flags & 1;
        c.zeroNan = flags & 2;
        c.multiprocessors = multiprocessors;
        check(c);
      }
}

TEST(AttentionKernel, PositionsAndWindows) {
  for (int64_t window : {0, 1, 20, 1000})
    for (int64_t multiprocessors : {1, 16}) {
      Case c{7, 290, 8, 8, 2, 2, 2};
      c.positions = true;
      c.window = window;
      c.multiprocessors = multiprocessors;
      check(c);
    }
}

TEST(AttentionKernel, SplitsKeys) {
  for (int64_t t : {128, 257, 1000}) {
    Case c{1, t, 16, 20, 2, 4, 2};
    c.multiprocessors = 132;
    check(c);
  }
}

TEST(AttentionKernel, CachePages) {
  for (int64_t t : {1, 64, 65, 300})
    for (int64_t multiprocessors : {1, 16}) {
      Case c{2, t, 16, 12, 2, 4, 2};
      c.pages = true;
      c.multiprocessors = multiprocessors;
      check(c);
      c.positions = true;
      c.window = 70;
      check(c);
    }
}

TEST(AttentionKernel, RefusesOtherTypes) {
  AttentionLaunches launches;
  std::string why;
  EXPECT_FALSE(attentionLaunches(AttentionArgs(), LATHE_I64, 1, 1, &launches, &why));
  EXPECT_EQ(why, "the cuda backend has no such kernel for type i64; expected f32, f16 or bf16");
}

} // namespace
} // namespace lathe::cuda
