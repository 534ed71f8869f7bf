//===- caches.cpp - Speed of attention over caches of codes ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//     lathe_bench_caches [THREADS [TOKENS [ISA]]]
//
// Times the attention of one token to TOKENS (4096) rows of keys and values, and of 64 tokens to them, with caches of
// several layers in turn, so that they come from memory, the formats alternating; prints the least of the rounds for
// each: microseconds, bytes of the cache in a second, and what putting 64 new rows into it takes.
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/Attention.h"
#include "runtime/CpuFeatures.h"
#include "runtime/Mapping.h"
#include "runtime/ThreadPool.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace lathe;
using namespace lathe::runtime;

namespace {

constexpr int kLayers = 12, kRounds = 15;
constexpr int64_t kPage = CacheLayout::kPageRows, kSize = 64;

double now() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Format {
  const char *name;
  int64_t bits, group;
  bool symmetric;
};
constexpr Format kFormats[] = {
    {"f32", 32, 0, true}, {"int8", 8, 0, true}, {"int4, groups of 32", 4, 32, false}, {"int4, rows", 4, 0, true}};

/// Keys and values of one format.
struct Subject {
  const Format &format;
  CacheLayout layout;
  std::vector<Buffer> pages;
  std::vector<const unsigned char *> addresses[kLayers];
  int64_t count;
  double one = 1e30, many = 1e30, store = 1e30;

  Subject(const Format &format, int64_t heads, int64_t tokens)
      : format(format), layout{heads, kSize, format.bits, format.group, format.symmetric, /*rotated=*/true},
        count(tokens) {
    std::vector<float> row(kSize);
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = static_cast<float>((i * 37) % 101) / 50 - 1;
    for (auto &layer : addresses)
      for (int64_t page = 0; page < tokens; page += kPage) {
        Buffer &buffer = pages.emplace_back();
        if (!buffer.reserve(static_cast<size_t>(2 * layout.bytes())))
          exit(1);
        for (int64_t head = 0; head < 2 * heads; ++head)
          for (int64_t i = 0; i < kPage; ++i)
            layout.store(buffer.data() + head * layout.headBytes(), i, row.data(), 1);
        layer.push_back(buffer.data());
      }
  }

  int64_t bytes() const { return 2 * layout.bytes() / kPage * count; }

  /// Microseconds of a layer.
  double attend(const cpu::AttentionKernels &kernels, ThreadPool &pool, int64_t heads, int64_t queries,
                std::vector<float> &query, std::vector<float> &out, Buffer &scratch, Buffer &parts) {
    lathe_attention_call call = {};
    call.dtype = LATHE_F32;
    call.scale = 0.125;
    call.batch[0] = call.batch[1] = 1, call.batch[2] = heads;
    call.key_heads = layout.heads;
    call.s = queries, call.t = count, call.d = call.e = kSize;
    call.query.data = query.data(), call.out.data = out.data();
    call.query.col = call.out.col = 1;
    call.query.row = call.out.row = kSize;
    call.query.batch[2] = call.out.batch[2] = queries * kSize;
    double start = now();
    for (auto &layer : addresses) {
      const unsigned char *const *pagesOf = layer.data();
      CacheRows keys{&pagesOf, &count, 0, 1, false, layout}, values{&pagesOf, &count, layout.bytes(), 1, false, layout};
      cpu::AttentionPlan plan(call, pool.threads(), &keys, &values);
      if (!scratch.reserve(plan.scratchBytes() * static_cast<size_t>(pool.threads())) ||
          !parts.reserve(plan.partBytes()))
        exit(1);
      struct Loop {
        const cpu::AttentionPlan *plan;
        const cpu::AttentionKernels *kernels;
        Buffer *scratch, *parts;
      } loop{&plan, &kernels, &scratch, &parts};
      auto run = [](void *context, int64_t begin, int64_t end, int thread) {
        auto *loop = static_cast<Loop *>(context);
        auto *own =
            reinterpret_cast<float *>(loop->scratch->data() + static_cast<size_t>(thread) * loop->plan->scratchBytes());
        auto *left = reinterpret_cast<float *>(loop->parts->data());
        for (int64_t i = begin; i < end; ++i)
          loop->plan->run(*loop->kernels, i / loop->plan->parts(), i % loop->plan->parts(), left, own);
      };
      pool.parallelFor(plan.blocks() * plan.parts(), 1, run, &loop);
      for (int64_t i = 0; i < plan.blocks() && plan.parts() > 1; ++i)
        plan.combine(kernels, i, reinterpret_cast<float *>(parts.data()), reinterpret_cast<float *>(scratch.data()));
    }
    return (now() - start) / kLayers;
  }

  /// Microseconds of 64 rows of all heads, on one thread.
  double put(const std::vector<float> &rows) {
    double start = now();
    for (int64_t head = 0; head < 2 * layout.heads; ++head)
      for (int64_t i = 0; i < kPage; ++i)
        layout.store(pages[0].data() + head * layout.headBytes(), i, rows.data() + i * kSize, 1);
    return now() - start;
  }
};

void measure(const cpu::AttentionKernels &kernels, ThreadPool &pool, int64_t heads, int64_t keyHeads, int64_t tokens) {
  std::vector<Subject> subjects;
  for (const Format &format : kFormats)
    subjects.emplace_back(format, keyHeads, tokens);
  std::vector<float> query(static_cast<size_t>(heads * kPage * kSize), 0.25f), out(query.size());
  for (size_t i = 0; i < query.size(); ++i)
    query[i] = static_cast<float>((i * 29) % 97) / 97 - 0.5f;
  Buffer scratch, parts;
  for (int round = 0; round < kRounds; ++round)
    for (Subject &subject : subjects) {
      subject.one = std::min(subject.one, subject.attend(kernels, pool, heads, 1, query, out, scratch, parts));
      if (round < 2)
        subject.many = std::min(subject.many, subject.attend(kernels, pool, heads, kPage, query, out, scratch, parts));
      subject.store = std::min(subject.store, subject.put(query));
    }
  for (const Subject &subject : subjects)
    printf("%2ld/%-2ld heads  %-20s %5ld B a token  one token %8.1f us  %5.1f GB/s   64 tokens %9.1f us   64 new rows "
           "%7.1f us\n",
           heads, keyHeads, subject.format.name, 2 * subject.layout.bytes() / kPage, subject.one,
           static_cast<double>(subject.bytes()) / subject.one / 1e3, subject.many, subject.store);
}

} // namespace

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 2;
  int64_t tokens = argc > 2 ? std::max<int64_t>(atoll(argv[2]) / kPage, 1) * kPage : 4096;
  const char *why = nullptr;
  std::string isa = argc > 3 ? argv[3] : supportsIsa("avx512", &why) ? "avx512" : "avx2";
  ThreadPool pool;
  if (pool.start(threads, nullptr).failed())
    return 1;
  printf("%ld tokens, heads of %ld, %d threads, %s\n", tokens, kSize, threads, isa.c_str());
  for (auto [heads, keyHeads] : {std::pair<int64_t, int64_t>{12, 12}, {14, 2}, {32, 8}})
    measure(cpu::attentionKernels(isa, LATHE_F32), pool, heads, keyHeads, tokens);
  return 0;
}
