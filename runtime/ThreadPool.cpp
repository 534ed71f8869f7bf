//===- ThreadPool.cpp - Threads of a session --------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/ThreadPool.h"

#include <algorithm>
#include <climits>
#include <csignal>
#include <cstdio>
#include <immintrin.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace lathe::runtime;

namespace {

/// The pool whose task this thread executes, for nested loops.
thread_local const ThreadPool *activePool = nullptr;
thread_local int activeThread = 0;

/// About 50 microseconds: longer than the serial code between two kernels, shorter than a time slice.
constexpr int kSpins = 1200;
/// Chunks a thread, so that one that is held up does not hold up the others.
constexpr int64_t kChunksPerThread = 4;

void futexWait(std::atomic<uint32_t> &word, uint32_t value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void futexWake(std::atomic<uint32_t> &word, int count) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
}

uint32_t chunkOf(uint64_t ticket) { return static_cast<uint32_t>(ticket); }

int quotaProcessors() {
  // Control groups v2, as seen from inside a container.
  FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
  if (!file)
    return INT_MAX;
  long long quota = 0, period = 0;
  int fields = fscanf(file, "%lld %lld", &quota, &period);
  fclose(file);
  if (fields != 2 || quota <= 0 || period <= 0)
    return INT_MAX;
  return static_cast<int>(std::clamp<long long>((quota + period - 1) / period, 1, INT_MAX));
}

} // namespace

int ThreadPool::usableProcessors() {
  int processors = 1;
  // Machines with more processors than a cpu_set_t holds need a larger one.
  for (int capacity = CPU_SETSIZE; capacity <= 1 << 16; capacity *= 4) {
    cpu_set_t *set = CPU_ALLOC(static_cast<size_t>(capacity));
    size_t size = CPU_ALLOC_SIZE(static_cast<size_t>(capacity));
    if (!set)
      break;
    CPU_ZERO_S(size, set);
    bool ok = sched_getaffinity(0, size, set) == 0;
    if (ok)
      processors = CPU_COUNT_S(size, set);
    CPU_FREE(set);
    if (ok)
      break;
  }
  return std::max(1, std::min(processors, quotaProcessors()));
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  wake_.fetch_add(1);
  futexWake(wake_, INT_MAX);
  for (auto &worker : workers_)
    pthread_join(worker->thread, nullptr);
}

Status ThreadPool::start(int threads, void (*onStart)()) {
  onStart_ = onStart;
  // A thread that has no processor to itself would spin against the one that it waits for.
  spins_ = threads <= usableProcessors() ? kSpins : 0;
  // Signals are the host program's business: its handlers must not run on our threads.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  Status status;
  for (int i = 1; i < threads && !status.failed(); ++i) {
    auto worker = std::make_unique<Worker>();
    worker->pool = this;
    worker->index = i;
    if (pthread_create(&worker->thread, nullptr, workerMain, worker.get()) != 0)
      status = failure(LATHE_OUT_OF_MEMORY, "cannot start thread ", i + 1, " of ", threads, "; ask for fewer threads");
    else
      workers_.push_back(std::move(worker));
  }
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  return status;
}

void *ThreadPool::workerMain(void *argument) {
  auto *worker = static_cast<Worker *>(argument);
  if (worker->pool->onStart_)
    worker->pool->onStart_();
  worker->pool->workerLoop(worker->index);
  return nullptr;
}

bool ThreadPool::hasWork() const {
  uint32_t next = chunkOf(ticket_.load(std::memory_order_seq_cst));
  return next != kClosed && next < chunks_.load(std::memory_order_acquire);
}

void ThreadPool::workerLoop(int index) {
  activePool = this;
  activeThread = index;
  while (!stop_.load(std::memory_order_relaxed)) {
    if (work(index))
      continue;
    bool found = false;
    for (int i = 0; i < spins_ && !found; ++i) {
      _mm_pause();
      found = hasWork() || stop_.load(std::memory_order_relaxed);
    }
    if (found)
      continue;
    // The caller publishes a loop, then looks for sleepers; a worker announces its sleep, then looks for a loop. One
    // of the two sees the other.
    uint32_t seen = wake_.load(std::memory_order_seq_cst);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    if (!hasWork() && !stop_.load())
      futexWait(wake_, seen);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }
}

bool ThreadPool::work(int index) {
  bool worked = false;
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  for (;;) {
    uint32_t next = chunkOf(ticket);
    if (next == kClosed)
      return worked;
    Task task = task_.load(std::memory_order_acquire);
    void *context = context_.load(std::memory_order_acquire);
    int64_t count = count_.load(std::memory_order_acquire);
    int64_t chunk = chunk_.load(std::memory_order_acquire);
    uint32_t chunks = chunks_.load(std::memory_order_acquire);
    if (next >= chunks)
      return worked;
    // Success says that the loop is still the one the fields were read from.
    if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel, std::memory_order_acquire))
      continue;
    worked = true;
    int64_t begin = static_cast<int64_t>(next) * chunk;
    task(context, begin, std::min(count, begin + chunk), index);
    if (done_.fetch_add(1, std::memory_order_seq_cst) + 1 == chunks && callerSleeps_.load(std::memory_order_seq_cst))
      futexWake(done_, 1);
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

void ThreadPool::waitForAll(uint32_t chunks) {
  for (int i = 0; i < kSpins; ++i) {
    if (done_.load(std::memory_order_acquire) == chunks)
      return;
    _mm_pause();
  }
  callerSleeps_.store(1, std::memory_order_seq_cst);
  for (;;) {
    uint32_t done = done_.load(std::memory_order_seq_cst);
    if (done == chunks)
      break;
    futexWait(done_, done);
  }
  callerSleeps_.store(0, std::memory_order_relaxed);
}

void ThreadPool::parallelFor(int64_t count, int64_t grain, Task task, void *context) {
  if (count <= 0)
    return;
  grain = std::max<int64_t>(grain, 1);
  bool nested = activePool == this;
  // No piece is smaller than the grain: a little more than that is not worth a hand-over either, and pieces are equal.
  int64_t pieces = std::min(count / grain, threads() * kChunksPerThread);
  if (workers_.empty() || nested || pieces <= 1) {
    task(context, 0, count, nested ? activeThread : 0);
    return;
  }
  int64_t chunk = count / pieces + (count % pieces != 0);
  auto chunks = static_cast<uint32_t>(count / chunk + (count % chunk != 0));

  // Close the old loop before its fields change: see work().
  uint64_t loop = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  ticket_.store(loop << 32 | kClosed, std::memory_order_seq_cst);
  task_.store(task, std::memory_order_release);
  context_.store(context, std::memory_order_release);
  count_.store(count, std::memory_order_release);
  chunk_.store(chunk, std::memory_order_release);
  chunks_.store(chunks, std::memory_order_release);
  done_.store(0, std::memory_order_release);
  ticket_.store(loop << 32, std::memory_order_seq_cst);
  if (uint32_t sleepers = sleepers_.load(std::memory_order_seq_cst)) {
    wake_.fetch_add(1, std::memory_order_seq_cst);
    futexWake(wake_, static_cast<int>(std::min(sleepers, chunks - 1)));
  }
  const ThreadPool *outer = activePool;
  int outerThread = activeThread;
  activePool = this;
  activeThread = 0;
  work(0);
  activePool = outer;
  activeThread = outerThread;
  waitForAll(chunks);
}
