//===- CachesTest.cpp - Attention and its caches on the device --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/generation/KvCache.h"
#include "test/unit/cuda/Harness.h"

#include <gmock/gmock.h>

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;
using runtime::Cache;
using runtime::CacheRows;
using runtime::KvCache;
using testing::HasSubstr;

namespace {

constexpr int64_t kHeads = 2, kColumns = 8;

/// Keys and values that are appended, and keys that are given once.
std::vector<Cache> caches() {
  std::vector<Cache> result(3);
  for (Cache &cache : result) {
    cache.layout.heads = kHeads;
    cache.layout.size = kColumns;
  }
  result[0].name = "keys", result[1].name = "values", result[2].name = "fixed";
  result[0].appended = result[1].appended = true;
  return result;
}

/// A cache of a session, which ends before it.
struct Caches {
  Harness harness;
  std::vector<Cache> described = caches();
  int64_t held = 0;
  std::unique_ptr<KvCache> cache;

  /// `type`: of the rows that are appended.
  explicit Caches(const char *type = "f32", bool rotated = false) {
    for (size_t i = 0; i < 2; ++i) {
      described[i].layout.setType(type);
      described[i].layout.rotated = rotated;
    }
    emulatorSettings() = {};
    harness.start();
    cache = std::make_unique<KvCache>(
        described,
        [this](int64_t bytes) {
          held += bytes;
          return true;
        },
        harness.session.get());
  }

  /// Appends rows [sequences, heads, rows, columns] to a cache, or reads as many first ones.
  runtime::Status move(int64_t index, Tensor &data, int64_t sequences, int64_t rows, bool read) {
    lathe_cache_call call = {0,
                             index,
                             LATHE_F32,
                             read,
                             data.device,
                             {sequences, kHeads, rows, kColumns},
                             {kHeads * rows * kColumns, rows * kColumns, kColumns, 1}};
    CacheRows view;
    if (runtime::Status status = cache->check(call, &view); status.failed())
      return status;
    return harness.runCalls([&] { harness.session->cache(call, view); });
  }
};

/// Row `row` of `head` of a sequence in [sequences, heads, rows, columns].
const float *rowOf(const std::vector<float> &data, int64_t rows, int64_t sequence, int64_t head, int64_t row) {
  return data.data() + ((sequence * kHeads + head) * rows + row) * kColumns;
}

TEST(CachesOnDevice, KeepRowsOfSequencesOfDifferentLengths) {
  Caches on;
  std::mt19937 random(1);
  KvCache::Sequence one, two;
  {
    // One has 70 rows, on two pages, and then both get three more.
    Tensor first(on.harness, 70 * kHeads * kColumns, &random), more(on.harness, 2 * 3 * kHeads * kColumns, &random);
    ASSERT_FALSE(on.cache->reserve(one, 70).failed());
    ASSERT_FALSE(on.cache->begin({&one}, 70).failed());
    ASSERT_FALSE(on.move(0, first, 1, 70, false).failed());
    on.cache->commit();
    ASSERT_FALSE(on.cache->reserve(one, 3).failed());
    ASSERT_FALSE(on.cache->reserve(two, 3).failed());
    ASSERT_FALSE(on.cache->begin({&one, &two}, 3).failed());
    ASSERT_FALSE(on.move(0, more, 2, 3, false).failed());
    Tensor all(on.harness, 2 * 80 * kHeads * kColumns, nullptr);
    ASSERT_FALSE(on.move(0, all, 2, 80, true).failed());
    on.cache->commit();
    std::vector<float> got = all.read();
    for (int64_t sequence = 0; sequence < 2; ++sequence)
      for (int64_t head = 0; head < kHeads; ++head)
        for (int64_t row = 0; row < 80; ++row)
          for (int64_t c = 0; c < kColumns; ++c) {
            int64_t had = sequence ? 0 : 70;
            float want = row < had       ? rowOf(first.host, 70, 0, head, row)[c]
                         : row < had + 3 ? rowOf(more.host, 3, sequence, head, row - had)[c]
                                         : 0;
            ASSERT_EQ(rowOf(got, 80, sequence, head, row)[c], want) << sequence << " " << head << " " << row;
          }
    // A copy shares pages until it writes to one.
    KvCache::Sequence copy = one;
    Tensor other(on.harness, kHeads * kColumns, &random), again(on.harness, 74 * kHeads * kColumns, nullptr);
    ASSERT_FALSE(on.cache->reserve(copy, 1).failed());
    ASSERT_FALSE(on.cache->begin({&copy}, 1).failed());
    ASSERT_FALSE(on.move(0, other, 1, 1, false).failed());
    ASSERT_FALSE(on.move(0, again, 1, 74, true).failed());
    on.cache->commit();
    got = again.read();
    EXPECT_EQ(rowOf(got, 74, 0, 1, 73)[2], rowOf(other.host, 1, 0, 1, 0)[2]);
    EXPECT_EQ(rowOf(got, 74, 0, 1, 72)[2], rowOf(more.host, 3, 0, 1, 2)[2]);
    EXPECT_EQ(rowOf(got, 74, 0, 0, 5)[2], rowOf(first.host, 70, 0, 0, 5)[2]);
  }
  EXPECT_GT(on.held, 0);
  one = two = {};
  EXPECT_EQ(on.held, 0);
}

TEST(CachesOnDevice, AreFilledFromTheHost) {
  Caches on;
  std::mt19937 random(2);
  KvCache::Sequence sequence;
  std::vector<float> data(kHeads * 67 * kColumns);
  for (float &value : data)
    value = static_cast<float>(random() % 100);
  ASSERT_FALSE(on.cache->fill(sequence, 2, data.data(), 67).failed());
  ASSERT_FALSE(on.cache->begin({&sequence}, 0).failed());
  Tensor got(on.harness, data.size(), nullptr);
  ASSERT_FALSE(on.move(2, got, 1, 67, true).failed());
  EXPECT_EQ(got.read(), data);
  sequence = {};
}

class AttentionOfCaches : public testing::TestWithParam<std::pair<const char *, bool>> {};

TEST_P(AttentionOfCaches, IsThatOfTheRows) {
  Caches on(GetParam().first, GetParam().second);
  std::mt19937 random(3);
  constexpr int64_t kRows = 70, kQueries = 5, kQueryHeads = 4;
  KvCache::Sequence sequence;
  {
    Tensor keys(on.harness, kRows * kHeads * kColumns, &random), values(on.harness, kRows * kHeads * kColumns, &random);
    Tensor queries(on.harness, kQueries * kQueryHeads * kColumns, &random);
    Tensor plain(on.harness, queries.host.size(), nullptr), cached(on.harness, queries.host.size(), nullptr);
    ASSERT_FALSE(on.cache->reserve(sequence, kRows).failed());
    ASSERT_FALSE(on.cache->begin({&sequence}, kRows).failed());
    ASSERT_FALSE(on.move(0, keys, 1, kRows, false).failed());
    ASSERT_FALSE(on.move(1, values, 1, kRows, false).failed());
    // What is left of the rows as codes.
    Tensor kept(on.harness, keys.host.size(), nullptr), keptValues(on.harness, keys.host.size(), nullptr);
    ASSERT_FALSE(on.move(0, kept, 1, kRows, true).failed());
    ASSERT_FALSE(on.move(1, keptValues, 1, kRows, true).failed());
    std::vector<float> keyValues = kept.read(), valueValues = keptValues.read();
    for (size_t i = 0; i < keyValues.size(); ++i)
      ASSERT_NEAR(keyValues[i], keys.host[i], GetParam().first[1] == '4' ? 0.4 : 0.04) << i;
    lathe_attention_call call = {};
    call.dtype = LATHE_F32;
    call.scale = 0.5;
    call.batch[0] = call.batch[1] = 1, call.batch[2] = kQueryHeads;
    call.key_heads = kHeads;
    call.s = kQueries, call.t = kRows, call.d = call.e = kColumns;
    call.query = {queries.device, {0, 0, kQueries * kColumns}, kColumns, 1};
    call.key = {kept.device, {0, 0, kRows * kColumns}, kColumns, 1};
    call.value = {keptValues.device, {0, 0, kRows * kColumns}, kColumns, 1};
    call.out = call.query;
    call.key_cache = call.value_cache = -1;
    call.out.data = plain.device;
    runtime::Status status = on.harness.runCalls([&] { on.harness.session->attention(call, nullptr, nullptr); });
    ASSERT_FALSE(status.failed()) << status.message();
    // The sum of weights times values, of one query by hand.
    std::vector<float> got = plain.read();
    double total = 0, sum = 0;
    for (int64_t t = 0; t < kRows; ++t) {
      double score = 0;
      for (int64_t c = 0; c < kColumns; ++c)
        score += double(queries.host[static_cast<size_t>((3 * kQueries + 2) * kColumns + c)]) *
                 rowOf(keyValues, kRows, 0, 1, t)[c];
      total += std::exp(score * 0.5);
      sum += std::exp(score * 0.5) * rowOf(valueValues, kRows, 0, 1, t)[4];
    }
    EXPECT_NEAR(got[static_cast<size_t>((3 * kQueries + 2) * kColumns + 4)], sum / total, 1e-4);

    CacheRows keyRows, valueRows;
    ASSERT_FALSE(on.cache->rows(0, &keyRows).failed());
    ASSERT_FALSE(on.cache->rows(1, &valueRows).failed());
    call.key_cache = 0, call.value_cache = 1, call.t = 0;
    call.key.data = call.value.data = nullptr;
    call.out.data = cached.device;
    status = on.harness.runCalls([&] { on.harness.session->attention(call, &keyRows, &valueRows); });
    ASSERT_FALSE(status.failed()) << status.message();
    std::vector<float> again = cached.read();
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(again[i], got[i], 1e-3) << i;
    call.d = 4;
    status = on.harness.runCalls([&] { on.harness.session->attention(call, &keyRows, &valueRows); });
    EXPECT_EQ(status.code(), LATHE_INTERNAL);
    EXPECT_THAT(status.message(), HasSubstr("does not fit a cache"));
    on.cache->commit();
  }
  sequence = {};
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionOfCaches,
                         testing::Values(std::pair("f32", false), std::pair("i8", false), std::pair("u8", true),
                                         std::pair("i4", true), std::pair("u4", false)));

/// Queries that are the last rows of sequences of one length are the library's, as far as types allow it.
TEST(AttentionOfCachesByLibrary, IsThatOfTheOwnKernel) {
  Caches on;
  std::mt19937 random(4);
  constexpr int64_t kBefore = 45, kNew = 30, kRows = kBefore + kNew, kQueryHeads = 4, kSequences = 2;
  KvCache::Sequence one, two, longer;
  {
    auto append = [&](std::vector<KvCache::Sequence *> sequences, int64_t rows, bool inOrder) {
      auto count = static_cast<int64_t>(sequences.size());
      Tensor keys(on.harness, static_cast<size_t>(count * rows * kHeads * kColumns), &random);
      Tensor values(on.harness, keys.host.size(), &random);
      for (KvCache::Sequence *sequence : sequences)
        EXPECT_FALSE(on.cache->reserve(*sequence, rows).failed());
      EXPECT_FALSE(on.cache->begin(sequences, rows, inOrder).failed());
      EXPECT_FALSE(on.move(0, keys, count, rows, false).failed());
      EXPECT_FALSE(on.move(1, values, count, rows, false).failed());
    };
    append({&one, &two}, kBefore, true);
    on.cache->commit();
    append({&one, &two}, kNew, true);
    Tensor queries(on.harness, kSequences * kQueryHeads * kNew * kColumns, &random);
    Tensor out(on.harness, queries.host.size(), nullptr);
    std::vector<int64_t> positions;
    for (int64_t i = 0; i < kSequences * kNew; ++i)
      positions.push_back(kBefore + i % kNew);
    void *device = nullptr;
    ASSERT_FALSE(on.harness.session->allocate(positions.size() * 8, &device).failed());
    ASSERT_FALSE(on.harness.session->upload(device, positions.data(), positions.size() * 8).failed());
    lathe_attention_call call = {};
    call.dtype = LATHE_F32;
    call.scale = 0.5;
    call.batch[0] = 1, call.batch[1] = kSequences, call.batch[2] = kQueryHeads;
    call.key_heads = kHeads;
    call.s = kNew, call.d = call.e = kColumns;
    call.query = {queries.device, {0, kQueryHeads * kNew * kColumns, kNew * kColumns}, kColumns, 1};
    call.out = call.query;
    call.out.data = out.device;
    call.key_cache = 0, call.value_cache = 1;
    call.positions = static_cast<const int64_t *>(device);
    call.position_batch = kNew, call.position_row = 1;
    int64_t byLibrary = 0;
    auto run = [&](int64_t arithmetic) {
      call.arithmetic = arithmetic;
      CacheRows keys, values;
      EXPECT_FALSE(on.cache->rows(0, &keys).failed());
      EXPECT_FALSE(on.cache->rows(1, &values).failed());
      int64_t before = emulatorStatistics().attentions;
      runtime::Status status = on.harness.runCalls([&] { on.harness.session->attention(call, &keys, &values); });
      EXPECT_FALSE(status.failed()) << status.message();
      byLibrary = emulatorStatistics().attentions - before;
      return out.read();
    };
    std::vector<float> exact = run(LATHE_F32);
    EXPECT_EQ(byLibrary, 0);
    for (int64_t arithmetic : {LATHE_BF16, LATHE_F16}) {
      std::vector<float> rounded = run(arithmetic);
      EXPECT_EQ(byLibrary, 1);
      for (size_t i = 0; i < exact.size(); ++i)
        ASSERT_NEAR(rounded[i], exact[i], arithmetic == LATHE_F16 ? 5e-3 : 4e-2) << i;
    }
    call.window = kRows;
    run(LATHE_BF16);
    EXPECT_EQ(byLibrary, 1);
    call.window = kRows - 1;
    run(LATHE_BF16);
    EXPECT_EQ(byLibrary, 0);
    call.window = 0;
    on.cache->commit();
    // Of other positions, and of sequences of different lengths, it knows nothing.
    ASSERT_FALSE(on.cache->begin({&one, &two}, 0).failed());
    EXPECT_EQ(run(LATHE_BF16).size(), exact.size());
    EXPECT_EQ(byLibrary, 0);
    append({&longer}, kRows + 3, true);
    on.cache->commit();
    ASSERT_FALSE(on.cache->begin({&one, &longer}, 0, true).failed());
    run(LATHE_BF16);
    EXPECT_EQ(byLibrary, 0);
    on.harness.session->release(device);
  }
  one = two = longer = {};
}

} // namespace
