//===- AttentionPagesTest.cpp - Attention over a cache's pages --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/CpuFeatures.h"
#include "test/unit/runtime/AttentionServices.h"

#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <new>
#include <random>

using namespace lathe;
using runtime::CacheLayout;
using runtime::CacheRows;
using runtime::Status;
using Services = test::AttentionServices;

namespace {

/// Rows of sequences in pages of their own, as a cache keeps them.
struct Pages {
  Pages(std::vector<int64_t> rows, const CacheLayout &layout, unsigned seed) : counts(std::move(rows)) {
    std::mt19937 random(seed);
    constexpr int64_t kOffset = 192; // of another cache in the same pages
    for (int64_t count : counts) {
      std::vector<const unsigned char *> own;
      for (int64_t page = 0; page * CacheRows::kPageRows < count; ++page) {
        auto bytes = static_cast<size_t>(kOffset + layout.bytes());
        auto &data = memory.emplace_back(new (std::align_val_t(64)) unsigned char[bytes]);
        // What nobody has written is NaN, as f32 and as bf16.
        std::memset(data.get(), 0xff, bytes);
        for (int64_t head = 0; head < layout.heads; ++head)
          for (int64_t row = page * CacheRows::kPageRows; row < std::min(count, (page + 1) * CacheRows::kPageRows); ++row) {
            std::vector<float> numbers;
            for (int64_t i = 0; i < layout.size; ++i)
              numbers.push_back(static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 500);
            layout.store(data.get() + kOffset + head * layout.headBytes(), row % CacheRows::kPageRows, numbers.data(), 1);
          }
        own.push_back(data.get());
      }
      addresses.push_back(std::move(own));
    }
    for (const auto &own : addresses)
      pointers.push_back(own.data());
    view = {pointers.data(), counts.data(), kOffset, static_cast<int64_t>(counts.size()), /*inOrder=*/false, layout};
  }

  /// A row as the layout alone reads it.
  std::vector<float> row(size_t sequence, int64_t head, int64_t row) const {
    std::vector<float> numbers(static_cast<size_t>(view.layout.size));
    view.layout.load(addresses[sequence][static_cast<size_t>(row / CacheRows::kPageRows)] + view.offset + head * view.layout.headBytes(),
                     row % CacheRows::kPageRows, numbers.data(), 1);
    return numbers;
  }

  struct Free {
    void operator()(unsigned char *data) const { operator delete[](data, std::align_val_t(64)); }
  };
  std::vector<int64_t> counts;
  std::vector<std::unique_ptr<unsigned char[], Free>> memory;
  std::vector<std::vector<const unsigned char *>> addresses;
  std::vector<const unsigned char *const *> pointers;
  CacheRows view;
};

/// Codes of keys and of values: bits, columns of a group, and whether they are symmetric and rotated.
struct Kind {
  int64_t bits = 32, group = 0;
  bool symmetric = true, rotated = false;
  CacheLayout layout(int64_t heads, int64_t size) const { return {heads, size, bits, group, symmetric, rotated}; }
};

void check(const char *isa, int threads, int64_t heads, int64_t keyHeads, int64_t queries, int64_t d, int64_t e, int64_t window,
           Kind keyKind = {}, Kind valueKind = {}) {
  SCOPED_TRACE(runtime::join(isa, " threads ", threads, " heads ", heads, "/", keyHeads, " queries ", queries,
                             " sizes ", d, ",", e, " window ", window, " bits ", keyKind.bits, ",", valueKind.bits, " groups ",
                             keyKind.group, ",", valueKind.group, " symmetric ", keyKind.symmetric, ",", valueKind.symmetric, " rotated ", keyKind.rotated));
  const char *why = nullptr;
  if (!runtime::supportsIsa(isa, &why))
    return;
  std::vector<int64_t> counts = {queries, queries + 63, queries + 64, queries + 300};
  auto sequences = static_cast<int64_t>(counts.size());
  Pages keys(counts, keyKind.layout(keyHeads, d), 1), values(counts, valueKind.layout(keyHeads, e), 2);
  std::mt19937 random(3);
  std::vector<float> query(static_cast<size_t>(sequences * heads * queries * d)),
      out(static_cast<size_t>(sequences * heads * queries * e));
  for (float &x : query)
    x = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000;
  std::vector<int64_t> positions;
  for (int64_t count : counts)
    for (int64_t s = 0; s < queries; ++s)
      positions.push_back(s == 1 ? -1 : count - queries + s); // one that sees nothing
  lathe_attention_call call = {};
  call.dtype = LATHE_F32;
  call.scale = 0.5;
  call.zero_masked = 1;
  call.batch[0] = 1, call.batch[1] = sequences, call.batch[2] = heads;
  call.key_heads = keyHeads;
  call.s = queries, call.t = counts.back(), call.d = d, call.e = e;
  call.query.data = query.data(), call.out.data = out.data();
  call.query.col = call.out.col = 1;
  call.query.row = d, call.out.row = e;
  call.query.batch[2] = queries * d, call.out.batch[2] = queries * e;
  call.query.batch[1] = heads * queries * d, call.out.batch[1] = heads * queries * e;
  call.positions = positions.data();
  call.position_batch = queries, call.position_row = 1;
  call.window = window;
  // Keys and values that are codes stay what these stand for.
  const bool isNarrow = std::string_view(isa) == "avx512_bf16";
  call.arithmetic = isNarrow ? LATHE_BF16 : LATHE_F32;
  const double error = isNarrow && keyKind.bits == 32 && valueKind.bits == 32 ? 3e-2 : 2e-5;
  Services services(threads, isa);
  Status status = services.attention(call, &keys.view, &values.view);
  ASSERT_FALSE(status.failed()) << status.message();
  for (int64_t b = 0; b < sequences; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t s = 0; s < queries; ++s) {
        int64_t last = positions[static_cast<size_t>(b * queries + s)], head = h / (heads / keyHeads);
        int64_t first = window > 0 ? std::max<int64_t>(0, last - window + 1) : 0;
        std::vector<double> scores;
        double most = -INFINITY, sum = 0;
        std::vector<std::vector<float>> rows;
        for (int64_t t = first; t <= last; ++t) {
          double x = 0;
          std::vector<float> key = keys.row(static_cast<size_t>(b), head, t);
          rows.push_back(values.row(static_cast<size_t>(b), head, t));
          for (int64_t c = 0; c < d; ++c)
            x += static_cast<double>(query[static_cast<size_t>(((b * heads + h) * queries + s) * d + c)]) *
                 static_cast<double>(key[static_cast<size_t>(c)]);
          scores.push_back(x * 0.5);
          most = std::max(most, x * 0.5);
        }
        for (double &x : scores)
          sum += x = std::exp(x - most);
        for (int64_t c = 0; c < e; ++c) {
          double expected = 0;
          for (int64_t t = first; t <= last; ++t)
            expected += scores[static_cast<size_t>(t - first)] / sum *
                        static_cast<double>(rows[static_cast<size_t>(t - first)][static_cast<size_t>(c)]);
          ASSERT_NEAR(out[static_cast<size_t>(((b * heads + h) * queries + s) * e + c)], expected, error)
              << b << " " << h << " " << s << " " << c;
        }
      }
}

TEST(AttentionPages, EqualsAPlainLoop) {
  for (const char *isa : {"avx2", "avx512", "avx512_bf16"})
    for (int threads : {1, 3})
      for (int64_t queries : {1, 2, 17, 70})
        for (int64_t window : {0, 1, 63, 64, 65, 200}) {
          check(isa, threads, 4, 4, queries, 16, 16, window);
          check(isa, threads, 6, 2, queries, 33, 8, window);
          check(isa, threads, 8, 1, queries, 64, 64, window);
        }
}

/// Codes where they are dequantized for many queries, and where a single query reads them itself.
TEST(AttentionPages, OfCodes) {
  const Kind kinds[] = {{8, 0, true}, {8, 16, false}, {4, 0, true}, {4, 32, false}, {4, 16, false}, {8, 32, true},
                        {8, 0, true, true}, {4, 32, false, true}};
  for (const char *isa : {"avx2", "avx512", "avx512_bf16"})
    for (const Kind &kind : kinds)
      for (int64_t queries : {1, 2, 19})
        for (int64_t window : {0, 65}) {
          check(isa, 3, 4, 4, queries, 64, 64, window, kind, kind);
          check(isa, 1, 2, 2, queries, 33, 8, window, kind, kind);
          check(isa, 1, 6, 2, queries, 80, 1, window, kind, kind);
        }
  for (const char *isa : {"avx2", "avx512", "avx512_bf16"})
    for (int64_t queries : {1, 5}) {
      check(isa, 2, 3, 3, queries, 64, 40, 0, {}, {4, 32, false});
      check(isa, 2, 3, 3, queries, 40, 64, 0, {8, 0, true}, {});
      check(isa, 2, 3, 3, queries, 256, 96, 0, {4, 64, true, true}, {8, 0, true});
    }
}

} // namespace
