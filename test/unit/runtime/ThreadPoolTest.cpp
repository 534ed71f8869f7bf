//===- ThreadPoolTest.cpp - Loops on several threads ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/ThreadPool.h"

#include <chrono>
#include <gtest/gtest.h>
#include <mutex>
#include <set>
#include <thread>

using lathe::runtime::ThreadPool;

namespace {

template <typename Fn> void loop(ThreadPool &pool, int64_t count, int64_t grain, Fn &&fn) {
  pool.parallelFor(
      count, grain,
      [](void *context, int64_t begin, int64_t end, int thread) {
        (*static_cast<std::remove_reference_t<Fn> *>(context))(begin, end, thread);
      },
      &fn);
}

TEST(ThreadPool, CoversEveryItemOnce) {
  for (int threads = 1; threads <= 4; ++threads) {
    ThreadPool pool;
    ASSERT_FALSE(pool.start(threads, nullptr).failed());
    EXPECT_EQ(pool.threads(), threads);
    for (int64_t count : {0, 1, 2, 3, 7, 16, 100, 1001, 12345})
      for (int64_t grain : {0, 1, 3, 64, 100000}) {
        std::vector<int> seen(static_cast<size_t>(count));
        loop(pool, count, grain, [&](int64_t begin, int64_t end, int thread) {
          EXPECT_TRUE(thread >= 0 && thread < threads);
          EXPECT_TRUE(end - begin >= std::min<int64_t>(grain, count) || end == count);
          for (int64_t i = begin; i < end; ++i)
            ++seen[static_cast<size_t>(i)];
        });
        for (int value : seen)
          ASSERT_EQ(value, 1) << threads << " " << count << " " << grain;
      }
  }
}

TEST(ThreadPool, CutsNoPieceBelowTheGrain) {
  ThreadPool pool;
  ASSERT_FALSE(pool.start(2, nullptr).failed());
  auto lengths = [&](int64_t count, int64_t grain) {
    std::mutex mutex;
    std::multiset<int64_t> result;
    loop(pool, count, grain, [&](int64_t begin, int64_t end, int) {
      std::lock_guard lock(mutex);
      result.insert(end - begin);
    });
    return result;
  };
  using Lengths = std::multiset<int64_t>;
  EXPECT_EQ(lengths(100, 100), Lengths{100});
  EXPECT_EQ(lengths(199, 100), Lengths{199});
  EXPECT_EQ(lengths(201, 100), (Lengths{100, 101}));
  EXPECT_EQ(lengths(300, 100), (Lengths{100, 100, 100}));
  EXPECT_EQ(lengths(8000, 100).size(), 8u);
}

TEST(ThreadPool, SurvivesManyLoopsAndPauses) {
  for (int threads : {2, 3, 4}) {
    ThreadPool pool;
    ASSERT_FALSE(pool.start(threads, nullptr).failed());
    int64_t expected = 0;
    std::atomic<int64_t> total{0};
    for (int round = 0; round < 5000; ++round) {
      int64_t count = round % 37;
      expected += count * (count - 1) / 2;
      loop(pool, count, 1, [&](int64_t begin, int64_t end, int) {
        int64_t sum = 0;
        for (int64_t i = begin; i < end; ++i)
          sum += i;
        total += sum;
      });
      if (round % 500 == 0)
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      ASSERT_EQ(total, expected);
    }
  }
}

TEST(ThreadPool, RunsNestedLoopsInline) {
  ThreadPool pool;
  ASSERT_FALSE(pool.start(3, nullptr).failed());
  std::atomic<int64_t> total{0};
  loop(pool, 20, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i)
      loop(pool, 10, 1, [&](int64_t innerBegin, int64_t innerEnd, int inner) {
        EXPECT_EQ(inner, thread);
        total += innerEnd - innerBegin;
      });
  });
  EXPECT_EQ(total, 200);
}

TEST(ThreadPool, StartsAndStops) {
  static std::atomic<int> started{0};
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool;
    ASSERT_FALSE(pool.start(4, [] { ++started; }).failed());
  }
  EXPECT_EQ(started, 150);
  EXPECT_GE(ThreadPool::usableProcessors(), 1);
}

TEST(ThreadPool, JoinsQuickly) {
  // Not a benchmark: catches waits that went to the kernel for every loop by an order of magnitude.
  if (ThreadPool::usableProcessors() < 2)
    GTEST_SKIP() << "needs two processors";
  ThreadPool pool;
  ASSERT_FALSE(pool.start(2, nullptr).failed());
  double best = 1e9;
  std::atomic<int> sink{0};
  for (int round = 0; round < 50; ++round) {
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i)
      loop(pool, 2, 1, [&](int64_t, int64_t, int) { sink.fetch_add(1, std::memory_order_relaxed); });
    best = std::min(best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  RecordProperty("microseconds_per_loop", std::to_string(best / 100));
  printf("fork and join: %.2f us\n", best / 100);
  EXPECT_LT(best / 100, 100);
}

} // namespace
