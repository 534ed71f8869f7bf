//===- KvCacheTest.cpp - Pages of keys and values ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/KvCache.h"
#include "runtime/Manifest.h"
#include "runtime/ThreadPool.h"

#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

using namespace lathe::runtime;

namespace {

constexpr int64_t kPage = CacheRows::kPageRows, kHeads = 2, kSize = 3;

class KvCacheTest : public testing::Test {
protected:
  KvCacheTest() {
    for (const char *name : {"keys", "values", "source"}) {
      Cache entry;
      entry.name = name;
      entry.layout.heads = kHeads;
      entry.layout.size = kSize;
      entry.appended = entry.name != "source";
      caches.push_back(entry);
    }
    EXPECT_FALSE(pool.start(2, nullptr).failed());
    cache = std::make_unique<KvCache>(caches, [this](int64_t bytes) {
      if (charged + bytes > budget)
        return false;
      charged += bytes;
      return true;
    });
  }

  /// Bytes of a page of what is appended: keys and values.
  static constexpr int64_t kPageBytes = 2 * kHeads * kPage * kSize * sizeof(float);

  static float element(float seed, int64_t head, int64_t row, int64_t column) {
    return seed + static_cast<float>(head * 100000 + row * 10 + column);
  }

  Status execute(int64_t index, bool read, int64_t sequences, int64_t rows, std::vector<float> &data) {
    lathe_cache_call call = {};
    call.cache = index;
    call.dtype = LATHE_F32;
    call.read = read;
    call.data = data.data();
    int64_t sizes[4] = {sequences, kHeads, rows, kSize}, stride = 1;
    for (int axis = 3; axis >= 0; --axis) {
      call.sizes[axis] = sizes[axis];
      call.strides[axis] = stride;
      stride *= sizes[axis];
    }
    return cache->execute(call, pool);
  }

  /// Appends `rows` rows to each sequence, of keys, and of values which are 0.5 more. Row r of sequence i is that of
  /// seeds[i].
  Status append(const std::vector<KvCache::Sequence *> &sequences, const std::vector<float> &seeds, int64_t rows) {
    for (KvCache::Sequence *sequence : sequences)
      if (Status status = cache->reserve(*sequence, rows); status.failed())
        return status;
    if (Status status = cache->begin(sequences, rows); status.failed())
      return status;
    for (int64_t which : {0, 1}) {
      std::vector<float> data;
      for (size_t i = 0; i < sequences.size(); ++i)
        for (int64_t head = 0; head < kHeads; ++head)
          for (int64_t row = 0; row < rows; ++row)
            for (int64_t column = 0; column < kSize; ++column)
              data.push_back(element(seeds[i] + 0.5f * static_cast<float>(which), head,
                                     sequences[i]->appended.count + row, column));
      if (Status status = execute(which, false, static_cast<int64_t>(sequences.size()), rows, data); status.failed())
        return status;
    }
    cache->commit();
    return success();
  }

  /// Reads `rows` rows; what a sequence has is of its seed, and zeros follow.
  void expectRows(const std::vector<KvCache::Sequence *> &sequences, const std::vector<float> &seeds, int64_t rows) {
    ASSERT_FALSE(cache->begin(sequences, 0).failed());
    std::vector<float> data(sequences.size() * static_cast<size_t>(kHeads * rows * kSize), -1);
    ASSERT_FALSE(execute(1, true, static_cast<int64_t>(sequences.size()), rows, data).failed());
    size_t at = 0;
    for (size_t i = 0; i < sequences.size(); ++i)
      for (int64_t head = 0; head < kHeads; ++head)
        for (int64_t row = 0; row < rows; ++row)
          for (int64_t column = 0; column < kSize; ++column) {
            bool has = row < sequences[i]->appended.count;
            ASSERT_EQ(data[at++], has ? element(seeds[i] + 0.5f, head, row, column) : 0)
                << i << " " << head << " " << row;
          }
  }

  int64_t budget = INT64_MAX, charged = 0;
  std::vector<Cache> caches;
  ThreadPool pool;
  std::unique_ptr<KvCache> cache;
};

TEST_F(KvCacheTest, RowsOfManyLengthsInPages) {
  KvCache::Sequence a, b;
  ASSERT_FALSE(append({&a}, {1}, kPage - 1).failed());
  EXPECT_EQ(a.appended.pages.size(), 1u);
  ASSERT_FALSE(append({&a, &b}, {1, 7000}, 1).failed());
  EXPECT_EQ(a.appended.pages.size(), 1u);
  ASSERT_FALSE(append({&b, &a}, {7000, 1}, 2).failed());
  EXPECT_EQ(a.appended.pages.size(), 2u);
  EXPECT_EQ(b.appended.pages.size(), 1u);
  ASSERT_FALSE(append({&b}, {7000}, 3 * kPage).failed());
  EXPECT_EQ(b.appended.pages.size(), 4u);
  for (int64_t rows : {int64_t(0), int64_t(1), kPage - 1, kPage, kPage + 1, 3 * kPage + 3, 5 * kPage})
    expectRows({&a, &b}, {1, 7000}, rows);
  EXPECT_EQ(cache->bytes(), static_cast<uint64_t>(charged));
  EXPECT_GE(charged, 6 * kPageBytes);
  a = b = {};
  EXPECT_EQ(cache->bytes(), 0u);
  EXPECT_EQ(charged, 0);
}

TEST_F(KvCacheTest, CopiesSharePagesUntilOneWrites) {
  KvCache::Sequence a;
  ASSERT_FALSE(append({&a}, {1}, kPage + 5).failed());
  uint64_t before = cache->bytes();
  std::vector<KvCache::Sequence> forks(3, a);
  EXPECT_EQ(cache->bytes(), before);
  // Each goes on with rows of its own; the full page stays one.
  for (size_t i = 0; i < forks.size(); ++i)
    ASSERT_FALSE(append({&forks[i]}, {1}, 1).failed());
  EXPECT_EQ(cache->bytes(), before / 2 * 5);
  for (KvCache::Sequence &fork : forks) {
    EXPECT_EQ(fork.appended.pages[0], a.appended.pages[0]);
    EXPECT_NE(fork.appended.pages[1], a.appended.pages[1]);
  }
  ASSERT_FALSE(append({&forks[0], &forks[1]}, {1, 1}, kPage).failed());
  expectRows({&forks[0], &a, &forks[2], &forks[1]}, {1, 1, 1, 1}, 3 * kPage);
  // At the end of a page there is nothing to copy.
  KvCache::Sequence full;
  ASSERT_FALSE(append({&full}, {3}, kPage).failed());
  KvCache::Sequence other = full;
  before = cache->bytes();
  ASSERT_FALSE(append({&other}, {3}, 1).failed());
  EXPECT_EQ(cache->bytes(), before + before / 8);
  EXPECT_EQ(other.appended.pages[0], full.appended.pages[0]);
}

TEST_F(KvCacheTest, ForksThatReservedDoNotWriteToOneAnother) {
  KvCache::Sequence a;
  ASSERT_FALSE(append({&a}, {1}, kPage).failed());
  ASSERT_FALSE(cache->reserve(a, 2 * kPage).failed());
  KvCache::Sequence b = a; // shares the pages that are reserved
  ASSERT_FALSE(append({&a}, {1}, kPage + 1).failed());
  ASSERT_FALSE(append({&b}, {1}, 2).failed());
  expectRows({&a, &b}, {1, 1}, 2 * kPage + 2);
  EXPECT_NE(a.appended.pages[1], b.appended.pages[1]);
}

TEST_F(KvCacheTest, Truncation) {
  KvCache::Sequence a, b;
  ASSERT_FALSE(append({&a}, {1}, 2 * kPage + 3).failed());
  b = a;
  cache->truncate(b, kPage + 2);
  EXPECT_EQ(b.appended.count, kPage + 2);
  EXPECT_EQ(b.appended.pages.size(), 2u);
  ASSERT_FALSE(append({&b}, {1}, 4).failed());
  expectRows({&a, &b}, {1, 1}, 2 * kPage + 3);
  cache->truncate(a, 5 * kPage); // no more than there are
  EXPECT_EQ(a.appended.count, 2 * kPage + 3);
  cache->truncate(a, -1);
  EXPECT_EQ(a.appended.count, 0);
  EXPECT_TRUE(a.appended.pages.empty());
  expectRows({&b}, {1}, kPage + 6);
}

TEST_F(KvCacheTest, Budget) {
  budget = 2 * kPageBytes + kPageBytes / 2;
  KvCache::Sequence a, b;
  ASSERT_FALSE(append({&a}, {1}, kPage).failed());
  ASSERT_FALSE(append({&b}, {5}, 1).failed());
  Status status = append({&a}, {1}, 1);
  EXPECT_EQ(status.code(), LATHE_OVER_BUDGET);
  EXPECT_NE(std::string(status.message()).find("memory budget"), std::string::npos) << status.message();
  EXPECT_EQ(a.appended.count, kPage);
  expectRows({&a, &b}, {1, 5}, kPage);
  b = {};
  ASSERT_FALSE(append({&a}, {1}, 1).failed());
  expectRows({&a}, {1}, kPage + 1);
}

TEST_F(KvCacheTest, RowsThatDoNotGrow) {
  KvCache::Sequence a;
  int64_t rows = kPage + 2;
  std::vector<float> data(static_cast<size_t>(kHeads * rows * kSize));
  std::iota(data.begin(), data.end(), 1.0f);
  ASSERT_FALSE(cache->fill(a, 2, data.data(), rows).failed());
  KvCache::Sequence empty;
  ASSERT_FALSE(cache->begin({&a, &empty}, 0).failed());
  std::vector<float> back(2 * data.size(), -1);
  ASSERT_FALSE(execute(2, true, 2, rows, back).failed());
  EXPECT_TRUE(std::equal(data.begin(), data.end(), back.begin()));
  EXPECT_TRUE(
      std::all_of(back.begin() + static_cast<int64_t>(data.size()), back.end(), [](float x) { return x == 0; }));
  CacheRows view;
  ASSERT_FALSE(cache->rows(2, &view).failed());
  EXPECT_EQ(view.counts[0], rows);
  EXPECT_EQ(view.counts[1], 0);
  EXPECT_EQ(view.sequences, 2);
}

/// Pages of codes are shared, copied and counted as others; rows stay what they were when they came.
TEST_F(KvCacheTest, RowsOfCodes) {
  caches[0].layout.bits = 8;
  caches[1].layout.bits = 4;
  caches[1].layout.symmetric = false;
  caches[2].layout.bits = 8;
  cache = std::make_unique<KvCache>(caches, [this](int64_t bytes) {
    charged += bytes;
    return true;
  });
  auto rows = [](const CacheLayout &layout, std::vector<float> data) {
    std::vector<unsigned char> page(static_cast<size_t>(layout.bytes()));
    for (size_t at = 0; at < data.size(); at += kSize) {
      layout.store(page.data(), 0, data.data() + at, 1);
      layout.load(page.data(), 0, data.data() + at, 1);
    }
    return data;
  };
  auto append = [&](const std::vector<KvCache::Sequence *> &sequences, int64_t count, float seed) {
    std::vector<float> data(sequences.size() * static_cast<size_t>(kHeads * count * kSize));
    for (size_t i = 0; i < data.size(); ++i)
      data[i] = seed + std::sin(static_cast<float>(i));
    for (KvCache::Sequence *sequence : sequences)
      ASSERT_FALSE(cache->reserve(*sequence, count).failed());
    ASSERT_FALSE(cache->begin(sequences, count).failed());
    for (int64_t which : {0, 1})
      ASSERT_FALSE(execute(which, false, static_cast<int64_t>(sequences.size()), count, data).failed());
    cache->commit();
  };
  KvCache::Sequence a;
  append({&a}, kPage + 5, 3);
  // Codes of 8 bits with a scale; of 4 bits, in blocks of 16 bytes, with a scale and a lowest value.
  EXPECT_EQ(cache->bytes(), static_cast<uint64_t>(charged));
  int64_t page = kHeads * kPage * (kSize + 2) + kHeads * kPage * (16 + 4);
  EXPECT_GE(charged, 2 * page);
  EXPECT_LE(charged, 2 * (page + 4096));
  std::vector<float> before(static_cast<size_t>(kHeads * 2 * kPage * kSize)), after = before;
  ASSERT_FALSE(cache->begin({&a}, 0).failed());
  ASSERT_FALSE(execute(1, true, 1, 2 * kPage, before).failed());
  std::vector<float> first(static_cast<size_t>(kHeads * (kPage + 5) * kSize));
  for (size_t i = 0; i < first.size(); ++i)
    first[i] = 3 + std::sin(static_cast<float>(i));
  first = rows(caches[1].layout, first);
  for (int64_t head = 0; head < kHeads; ++head)
    for (int64_t i = 0; i < 2 * kPage * kSize; ++i) {
      bool has = i < (kPage + 5) * kSize;
      float expected = has ? first[static_cast<size_t>(head * (kPage + 5) * kSize + i)] : 0;
      ASSERT_EQ(before[static_cast<size_t>(head * 2 * kPage * kSize + i)], expected) << head << " " << i;
    }
  KvCache::Sequence b = a;
  append({&b}, 2, -7);
  EXPECT_EQ(a.appended.pages[0], b.appended.pages[0]);
  EXPECT_NE(a.appended.pages[1], b.appended.pages[1]);
  ASSERT_FALSE(cache->begin({&a}, 0).failed());
  ASSERT_FALSE(execute(1, true, 1, 2 * kPage, after).failed());
  EXPECT_EQ(before, after);
  std::vector<float> fixed(static_cast<size_t>(kHeads * 3 * kSize)), back(fixed.size());
  for (size_t i = 0; i < fixed.size(); ++i)
    fixed[i] = std::cos(static_cast<float>(i));
  ASSERT_FALSE(cache->fill(a, 2, fixed.data(), 3).failed());
  ASSERT_FALSE(cache->begin({&a}, 0).failed());
  ASSERT_FALSE(execute(2, true, 1, 3, back).failed());
  EXPECT_EQ(back, rows(caches[2].layout, fixed));
  a = b = {};
  EXPECT_EQ(charged, 0);
}

TEST_F(KvCacheTest, WhatDoesNotFitIsAnError) {
  KvCache::Sequence a;
  ASSERT_FALSE(append({&a}, {1}, 2).failed());
  EXPECT_TRUE(cache->begin({&a}, 2 * kPage).failed()); // not reserved
  ASSERT_FALSE(cache->begin({&a}, 0).failed());
  CacheRows view;
  EXPECT_TRUE(cache->rows(3, &view).failed());
  EXPECT_TRUE(cache->rows(-1, &view).failed());
  std::vector<float> data(static_cast<size_t>(2 * kHeads * 2 * kSize));
  EXPECT_TRUE(execute(0, true, 2, 2, data).failed());  // sequences
  EXPECT_TRUE(execute(0, false, 1, 2, data).failed()); // new rows
  EXPECT_TRUE(execute(2, false, 1, 0, data).failed()); // one that does not grow
  expectRows({&a}, {1}, 2);
}

} // namespace
