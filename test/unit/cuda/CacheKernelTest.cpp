//===- CacheKernelTest.cpp - Caches of codes on the machine ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/KernelSupport.h"

#include "runtime/Status.h"

#include <memory>

namespace lathe::cuda {
namespace {

using runtime::CacheLayout;

constexpr int64_t kSequences = 2, kHeads = 2, kRows = 70, kOffset = 64;

CacheLayout layoutOf(const char *type, int64_t size, int64_t group, bool rotated) {
  CacheLayout layout;
  layout.heads = kHeads;
  layout.size = size;
  layout.group = group;
  layout.rotated = rotated;
  EXPECT_TRUE(layout.setType(type));
  return layout;
}

/// Pages of two sequences, which have 60 and 3 rows before `kRows` are put behind them.
struct Codes {
  explicit Codes(const CacheLayout &layout) : layout(layout), x(size_t(kSequences * kHeads * kRows * layout.size)) {
    std::mt19937 random(3);
    for (float &value : x)
      value = float(int(random() % 2001) - 1000) / 300;
    x[5] = 40; // a large one
    for (int64_t i = 0; i < layout.size; ++i)
      x[size_t(layout.size * 7 + i)] = 0; // no steps
    x[size_t(layout.size * 9 + 1)] = NAN;
    for (int64_t s = 0; s < kSequences; ++s) {
      for (int64_t page = 0; page * 64 < counts[size_t(s)] + kRows; ++page)
        tables[s].push_back(pages.emplace_back(std::make_unique<Page>(size_t(kOffset + layout.bytes())))->data());
      memory.add(tables[s]);
      sequences.push_back(tables[s].data());
    }
    for (auto &page : pages)
      memory.add(*page);
    memory.add(x);
    memory.add(counts);
    memory.add(after);
    memory.add(sequences);
  }

  CacheArgs args() {
    // Data lie as [sequence, row, head, column].
    int64_t size = layout.size;
    CacheArgs args = {};
    args.data = x.data();
    args.sizes[0] = kSequences, args.sizes[1] = kHeads, args.sizes[2] = kRows, args.sizes[3] = size;
    args.strides[0] = kRows * kHeads * size, args.strides[1] = size, args.strides[2] = kHeads * size,
    args.strides[3] = 1;
    args.pages = sequences.data();
    args.counts = counts.data();
    args.offset = kOffset;
    args.head_bytes = layout.headBytes();
    args.codes = codesArgs(layout);
    args.rotation = layout.rotation();
    return args;
  }
  void launch(const CacheArgs &args, bool read) {
    KernelLaunch launch;
    std::string why;
    ASSERT_TRUE(cacheLaunch(args, 4, read, &launch, &why)) << why;
    launchOn(memory, launch);
  }
  const unsigned char *head(int64_t sequence, int64_t head, int64_t row) const {
    return static_cast<unsigned char *>(tables[sequence][size_t(row / 64)]) + kOffset + head * layout.headBytes();
  }
  std::vector<float> row(int64_t sequence, int64_t h, int64_t row) const {
    std::vector<float> numbers(size_t(layout.size));
    layout.load(head(sequence, h, row), row % 64, numbers.data(), 1);
    return numbers;
  }

  using Page = std::vector<unsigned char>;
  CacheLayout layout;
  std::vector<float> x;
  const std::vector<int64_t> counts = {60, 3}, after = {130, 73};
  std::vector<std::unique_ptr<Page>> pages;
  std::vector<void *> tables[kSequences];
  std::vector<void *const *> sequences;
  TestMemory memory;
};

/// All kinds, or every `step`-th of them.
std::vector<CacheLayout> layouts(int step = 1) {
  std::vector<CacheLayout> result;
  int count = 0;
  for (const char *type : {"i8", "u8", "i4", "u4"})
    for (bool rotated : {false, true})
      for (auto [size, group] : {std::pair(6, 0), {48, 16}, {64, 0}, {80, 32}, {256, 64}})
        if (count++ % step == 0)
          result.push_back(layoutOf(type, size, group, rotated));
  return result;
}

std::string describe(const CacheLayout &layout) {
  return runtime::join(layout.bits, " bits, symmetric ", int(layout.symmetric), ", ", layout.size, " columns by ",
                       layout.group, ", rotation ", layout.rotation());
}

TEST(CacheCodes, KeepsTheBytesOfTheProcessor) {
  for (const CacheLayout &layout : layouts()) {
    SCOPED_TRACE(describe(layout));
    Codes codes(layout);
    codes.launch(codes.args(), false);
    for (int64_t s = 0; s < kSequences; ++s)
      for (int64_t h = 0; h < kHeads; ++h)
        for (int64_t i = 0; i < kRows; ++i) {
          std::vector<unsigned char> head(size_t(layout.headBytes()));
          const float *x = &codes.x[size_t(((s * kRows + i) * kHeads + h) * layout.size)];
          int64_t at = codes.counts[size_t(s)] + i;
          layout.store(head.data(), at % 64, x, 1);
          std::vector<float> expected(size_t(layout.size));
          layout.load(head.data(), at % 64, expected.data(), 1);
          std::vector<float> actual = codes.row(s, h, at);
          for (size_t c = 0; c < expected.size(); ++c)
            if (!std::isnan(expected[c]) || !std::isnan(actual[c]))
              ASSERT_EQ(actual[c], expected[c]) << s << " " << h << " " << i << " " << c;
        }
  }
}

TEST(CacheCodes, Reads) {
  for (const CacheLayout &layout : layouts(3)) {
    SCOPED_TRACE(describe(layout));
    Codes codes(layout);
    codes.launch(codes.args(), false);
    std::vector<float> out(size_t(kSequences * kHeads * 140 * layout.size), -5.0f);
    codes.memory.add(out);
    CacheArgs args = codes.args();
    args.data = out.data();
    args.counts = codes.after.data();
    args.sizes[2] = 140;
    args.strides[0] = 140 * kHeads * layout.size;
    codes.launch(args, true);
    for (int64_t s = 0; s < kSequences; ++s)
      for (int64_t h = 0; h < kHeads; ++h)
        for (int64_t row = codes.counts[size_t(s)]; row < 140; ++row) {
          bool there = row < codes.after[size_t(s)];
          std::vector<float> expected = there ? codes.row(s, h, row) : std::vector<float>(size_t(layout.size));
          for (int64_t c = 0; c < layout.size; ++c)
            expectClose(out[size_t(((s * 140 + row) * kHeads + h) * layout.size + c)], expected[size_t(c)], 1e-6);
        }
  }
}

/// One row of attention to the 70 and 73 - 3 rows that were put last, in double precision.
TEST(CacheCodes, Attention) {
  for (const CacheLayout &layout : layouts(3)) {
    SCOPED_TRACE(describe(layout));
    Codes codes(layout);
    codes.x[size_t(layout.size * 9 + 1)] = 1; // nothing that is not a number
    CacheArgs append = codes.args();
    const std::vector<int64_t> none = {0, 0}, some = {kRows, kRows};
    codes.memory.add(none);
    codes.memory.add(some);
    append.counts = none.data();
    codes.launch(append, false);
    int64_t size = layout.size;
    std::vector<float> query(size_t(kSequences * kHeads * size)), out(query.size());
    for (size_t i = 0; i < query.size(); ++i)
      query[i] = float(int(i * 37 % 101) - 50) / 80;
    std::vector<float> rotated = query;
    codes.memory.add(rotated);
    codes.memory.add(out);
    AttentionArgs args = {};
    args.query = {rotated.data(), {0, kHeads * size, size}, size, 1};
    args.out = {out.data(), {0, kHeads * size, size}, size, 1};
    args.batch[0] = 1, args.batch[1] = kSequences, args.batch[2] = kHeads, args.key_heads = kHeads;
    args.s = 1, args.d = args.e = size;
    args.counts = some.data();
    args.scale = 0.2;
    args.key.pages = args.value.pages = codes.sequences.data();
    args.key.offset = args.value.offset = kOffset;
    args.key.head_bytes = args.value.head_bytes = layout.headBytes();
    args.key.codes = args.value.codes = codesArgs(layout);
    RotateArgs rotate = {args.query, args.query, {1, kSequences, kHeads}, 1, size, layout.rotation()};
    KernelLaunch launch;
    std::string why;
    ASSERT_TRUE(rotateLaunch(rotate, &launch, &why)) << why;
    launchOn(codes.memory, launch);
    AttentionLaunches launches;
    ASSERT_TRUE(attentionLaunches(args, LATHE_F32, kRows, 1, &launches, &why)) << why;
    launchOn(codes.memory, launches.attention);
    rotate.from = rotate.to = args.out;
    ASSERT_TRUE(rotateLaunch(rotate, &launch, &why)) << why;
    launchOn(codes.memory, launch);
    for (int64_t s = 0; s < kSequences; ++s)
      for (int64_t h = 0; h < kHeads; ++h) {
        const float *q = &query[size_t((s * kHeads + h) * size)];
        std::vector<double> expected(static_cast<size_t>(size));
        double sum = 0;
        for (int64_t t = 0; t < kRows; ++t) {
          std::vector<float> row = codes.row(s, h, t);
          double score = 0;
          for (int64_t c = 0; c < size; ++c)
            score += double(q[c]) * row[size_t(c)];
          double weight = std::exp(score * 0.2);
          sum += weight;
          for (int64_t c = 0; c < size; ++c)
            expected[size_t(c)] += weight * row[size_t(c)];
        }
        for (int64_t c = 0; c < size; ++c)
          expectClose(out[size_t((s * kHeads + h) * size + c)], expected[size_t(c)] / sum, 1e-4);
      }
  }
}

TEST(CacheCodes, Refuses) {
  RotateArgs rotate = {};
  rotate.columns = 48;
  rotate.rotation = 32;
  KernelLaunch launch;
  std::string why;
  EXPECT_FALSE(rotateLaunch(rotate, &launch, &why));
  EXPECT_EQ(why, "expected a power of two of columns to rotate that divides 48, got 32");
  AttentionArgs args = {};
  const void *const *pages[1] = {};
  args.key.pages = pages;
  args.key.codes.bits = 8;
  AttentionLaunches launches;
  EXPECT_FALSE(attentionLaunches(args, LATHE_F16, 1, 1, &launches, &why));
  EXPECT_EQ(why, "the cuda backend has attention to caches of codes for type f32 only; found f16");
}

} // namespace
} // namespace lathe::cuda
