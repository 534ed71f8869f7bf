//===- ThreadPool.h - Threads of a session ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_THREADPOOL_H
#define LATHE_RUNTIME_THREADPOOL_H

#include "runtime/Status.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <pthread.h>

namespace lathe::runtime {

/// Threads that share loops with the thread that owns the pool. Each session has its own pool, so that sessions never
/// wait for each other; idle threads spin for some tens of microseconds, then sleep in the kernel.
class ThreadPool {
public:
  /// Executes [begin, end) on thread `thread`, 0 being the caller.
  using Task = void (*)(void *context, int64_t begin, int64_t end, int thread);

  ThreadPool() = default;
  ~ThreadPool();
  ThreadPool(const ThreadPool &) = delete;
  ThreadPool &operator=(const ThreadPool &) = delete;

  /// Starts `threads` - 1 workers; each calls `onStart`, if any, before anything else.
  Status start(int threads, void (*onStart)());

  /// Threads that work on a loop, the caller included.
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  /// Executes `task` over [0, count) in chunks of at least `grain` items, which threads take one after another, and
  /// returns when all are done. What the caller wrote before is visible to the task, and what the task wrote is
  /// visible after. Called from inside a task, runs the loop on the calling thread.
  void parallelFor(int64_t count, int64_t grain, Task task, void *context);

  /// Processors that this process may use: the affinity mask, bounded by the quota of its control group.
  static int usableProcessors();

private:
  struct Worker {
    ThreadPool *pool = nullptr;
    int index = 0;
    pthread_t thread{};
  };

  static void *workerMain(void *argument);
  void workerLoop(int index);
  /// Takes and executes chunks until there are none; returns whether there was one.
  bool work(int index);
  bool hasWork() const;
  void waitForAll(uint32_t chunks);

  // The ticket holds the number of the loop in its upper half and the next chunk in its lower half: a thread that was
  // late for a loop fails to take a chunk of it, so no loop has to wait for all threads to look at it.
  static constexpr uint32_t kClosed = UINT32_MAX;
  alignas(64) std::atomic<uint64_t> ticket_{kClosed};
  alignas(64) std::atomic<uint32_t> done_{0};
  std::atomic<uint32_t> callerSleeps_{0};
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> wake_{0};
  std::atomic<bool> stop_{false};

  // The loop. Atomic because late threads may read them while they change; the ticket tells them afterwards.
  alignas(64) std::atomic<Task> task_{nullptr};
  std::atomic<void *> context_{nullptr};
  std::atomic<int64_t> count_{0};
  std::atomic<int64_t> chunk_{0};
  std::atomic<uint32_t> chunks_{0};

  std::vector<std::unique_ptr<Worker>> workers_;
  void (*onStart_)() = nullptr;
  int spins_ = 0;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_THREADPOOL_H
