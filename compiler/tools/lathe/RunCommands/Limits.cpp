//===- Limits.cpp - What this machine can do at most ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Limits.h"
#include "runtime/ThreadPool.h"
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <immintrin.h>
#include <memory>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

using namespace lathe::tool;

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Keeps a value that nothing else uses.
template <typename T> void keep(const T &value) { __asm__ volatile("" : : "m"(value) : "memory"); }

/// Seconds that `run(thread)` takes on all threads at once: from the first start to the last end.
template <typename Run> double together(int threads, Run run) {
  std::atomic<int> waiting{threads};
  std::vector<double> starts(static_cast<size_t>(threads)), ends(static_cast<size_t>(threads));
  auto body = [&](int thread) {
    for (--waiting; waiting > 0;)
      std::this_thread::yield();
    starts[static_cast<size_t>(thread)] = seconds();
    run(thread);
    ends[static_cast<size_t>(thread)] = seconds();
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread)
    others.emplace_back(body, thread);
  body(0);
  for (std::thread &other : others)
    other.join();
  return *std::max_element(ends.begin(), ends.end()) - *std::min_element(starts.begin(), starts.end());
}

/// Work per second of `run(thread, repetitions)` on all threads at once: the best of several trials of some 10 ms, or of one
/// repetition where that takes longer.
template <typename Run> double best(int threads, double workPerRepetition, Run run) {
  constexpr double kShortest = 0.01;
  int64_t repetitions = 1;
  for (double time = 0; time < kShortest; repetitions *= 2) {
    double start = seconds();
    run(0, repetitions);
    time = seconds() - start;
  }
  repetitions /= 2;
  constexpr int kTrials = 7;
  double fastest = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    double time = together(threads, [&](int thread) { run(thread, repetitions); });
    fastest = std::max(fastest, static_cast<double>(repetitions) * threads * workPerRepetition / time);
  }
  return fastest;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

/// Sums that don't wait for each other: two units of four cycles need eight.
constexpr int kChains = 12;

__attribute__((target("avx2,fma"))) void fmaAvx2(int, int64_t repetitions) {
  __m256 sums[kChains], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1e-3f);
  for (__m256 &sum : sums)
    sum = b;
  for (int64_t i = 0; i < repetitions; ++i)
    for (__m256 &sum : sums)
      sum = _mm256_fmadd_ps(sum, a, b);
  keep(sums);
}

__attribute__((target("avx512f"))) void fmaAvx512(int, int64_t repetitions) {
  __m512 sums[kChains], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1e-3f);
  for (__m512 &sum : sums)
    sum = b;
  for (int64_t i = 0; i < repetitions; ++i)
    for (__m512 &sum : sums)
      sum = _mm512_fmadd_ps(sum, a, b);
  keep(sums);
}

__attribute__((target("avx512f,avx512vnni"))) void vnni(int, int64_t repetitions) {
  __m512i sums[kChains], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-2);
  for (__m512i &sum : sums)
    sum = b;
  for (int64_t i = 0; i < repetitions; ++i)
    for (__m512i &sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, a, b);
      __asm__("" : "+v"(sum)); // else the loop has a closed form
    }
  keep(sums);
}

__attribute__((target("avx512f,avx512bf16"))) void avx512Bf16(int, int64_t repetitions) {
  const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f00)), b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3a83));
  __m512 sums[kChains];
  for (__m512 &sum : sums)
    sum = _mm512_set1_ps(1e-3f);
  for (int64_t i = 0; i < repetitions; ++i)
    for (__m512 &sum : sums)
      sum = _mm512_dpbf16_ps(sum, a, b);
  keep(sums);
}

struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const TileConfig kTiles;

__attribute__((target("amx-tile,amx-bf16"))) void amxBf16(int, int64_t repetitions) {
  _tile_loadconfig(&kTiles);
  for (int64_t i = 0; i < repetitions; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

__attribute__((target("amx-tile,amx-int8"))) void amxInt8(int, int64_t repetitions) {
  _tile_loadconfig(&kTiles);
  for (int64_t i = 0; i < repetitions; ++i) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 7);
    _tile_dpbssd(2, 5, 6);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_release();
}

/// Operations of a repetition, two a multiplication with its addition: `products` of them in each of `lanes`.
constexpr double operations(int lanes, int chains, int products = 1) { return 2.0 * lanes * chains * products; }

bool hasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool hasAvx512() { return __builtin_cpu_supports("avx512f"); }
bool hasVnni() { return hasAvx512() && __builtin_cpu_supports("avx512vnni"); }
bool hasAvx512Bf16() { return hasAvx512() && __builtin_cpu_supports("avx512bf16"); }
/// Linux lends the tiles to a process that asks for them.
bool hasTiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool lent = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return __builtin_cpu_supports("amx-tile") && lent;
}
bool hasAmxBf16() { return __builtin_cpu_supports("amx-bf16") && hasTiles(); }
bool hasAmxInt8() { return __builtin_cpu_supports("amx-int8") && hasTiles(); }
bool always() { return true; }

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

__attribute__((target("avx2"))) void readAvx2(const char *begin, size_t bytes) {
  __m256i sums[8] = {};
  for (size_t at = 0; at < bytes; at += sizeof(sums))
    for (size_t i = 0; i < 8; ++i)
      sums[i] = _mm256_xor_si256(sums[i], _mm256_load_si256(reinterpret_cast<const __m256i *>(begin + at) + i));
  keep(sums);
}

__attribute__((target("avx512f"))) void readAvx512(const char *begin, size_t bytes) {
  __m512i sums[8] = {};
  for (size_t at = 0; at < bytes; at += sizeof(sums))
    for (size_t i = 0; i < 8; ++i)
      sums[i] = _mm512_xor_si512(sums[i], _mm512_load_si512(reinterpret_cast<const __m512i *>(begin + at) + i));
  keep(sums);
}

struct Free {
  void operator()(char *memory) const { free(memory); }
};

/// Reads of `bytes` a thread, each from memory of its own.
double readBandwidth(int threads, size_t bytes) {
  bytes = std::max<size_t>(bytes / 4096, 1) * 4096;
  std::vector<std::unique_ptr<char, Free>> buffers;
  for (int thread = 0; thread < threads; ++thread) {
    buffers.emplace_back(static_cast<char *>(aligned_alloc(4096, bytes)));
    if (!buffers.back())
      return 0;
    memset(buffers.back().get(), 1, bytes);
  }
  auto read = hasAvx512() ? readAvx512 : readAvx2;
  return best(threads, static_cast<double>(bytes), [&](int thread, int64_t repetitions) {
    for (int64_t i = 0; i < repetitions; ++i)
      read(buffers[static_cast<size_t>(thread)].get(), bytes);
  });
}

size_t cacheSize(int name, size_t otherwise) {
  long size = sysconf(name);
  return size > 0 ? static_cast<size_t>(size) : otherwise;
}

double readL2(int threads) { return readBandwidth(threads, cacheSize(_SC_LEVEL2_CACHE_SIZE, 1 << 20) / 2); }

double readL3(int threads) {
  size_t l2 = cacheSize(_SC_LEVEL2_CACHE_SIZE, 1 << 20), l3 = cacheSize(_SC_LEVEL3_CACHE_SIZE, 16 << 20);
  // Larger than the second cache; of the third one half, since others use it, too.
  return readBandwidth(threads, std::max(l3 / 2 / static_cast<size_t>(threads), 2 * l2));
}

/// Passes over more than any cache holds.
double readMemory(int threads) {
  size_t l3 = cacheSize(_SC_LEVEL3_CACHE_SIZE, 16 << 20), bytes = std::max<size_t>(4 * l3, 256 << 20);
  return readBandwidth(threads, bytes / static_cast<size_t>(threads));
}

//===----------------------------------------------------------------------===//
// Threads
//===----------------------------------------------------------------------===//

/// A loop in which each thread waits for all others: what it costs to have them there, and to know that they are done.
double forkJoin(int threads) {
  lathe::runtime::ThreadPool pool;
  if (pool.start(threads, nullptr).failed())
    return 0;
  struct Meeting {
    std::atomic<int> missing;
  } meeting{};
  auto meet = [](void *context, int64_t, int64_t, int) {
    std::atomic<int> &missing = static_cast<Meeting *>(context)->missing;
    for (--missing; missing > 0;)
      _mm_pause();
  };
  double fastest = 1;
  for (int trial = 0; trial < 50; ++trial) {
    constexpr int kLoops = 100;
    double start = seconds();
    for (int i = 0; i < kLoops; ++i) {
      meeting.missing = threads;
      pool.parallelFor(threads, 1, meet, &meeting);
    }
    fastest = std::min(fastest, (seconds() - start) / kLoops);
  }
  return fastest;
}

constexpr double kGiga = 1e9;

} // namespace

const std::vector<Limit> &lathe::tool::limits() {
  static const std::vector<Limit> all = {
      {"fma_avx2_gflops", "f32, AVX2 FMA", "GFLOP/s",
       [](int threads) { return best(threads, operations(8, kChains), fmaAvx2) / kGiga; }, hasAvx2},
      {"fma_avx512_gflops", "f32, AVX-512 FMA", "GFLOP/s",
       [](int threads) { return best(threads, operations(16, kChains), fmaAvx512) / kGiga; }, hasAvx512},
      {"vnni_int8_gops", "int8, AVX-512 VNNI", "GOP/s",
       [](int threads) { return best(threads, operations(16, kChains, 4), vnni) / kGiga; }, hasVnni},
      {"avx512_bf16_gflops", "bf16, AVX-512 BF16", "GFLOP/s",
       [](int threads) { return best(threads, operations(16, kChains, 2), avx512Bf16) / kGiga; }, hasAvx512Bf16},
      {"amx_bf16_gflops", "bf16, AMX", "GFLOP/s",
       [](int threads) { return best(threads, operations(16 * 16, 4, 32), amxBf16) / kGiga; }, hasAmxBf16},
      {"amx_int8_gops", "int8, AMX", "GOP/s",
       [](int threads) { return best(threads, operations(16 * 16, 4, 64), amxInt8) / kGiga; }, hasAmxInt8},
      {"l2_gb_s", "reads from the second cache", "GB/s", [](int threads) { return readL2(threads) / kGiga; }, hasAvx2},
      {"l3_gb_s", "reads from the third cache", "GB/s", [](int threads) { return readL3(threads) / kGiga; }, hasAvx2},
      {"dram_gb_s", "reads from memory", "GB/s", [](int threads) { return readMemory(threads) / kGiga; }, hasAvx2},
      {"fork_join_us", "start and end of a parallel loop", "us", [](int threads) { return forkJoin(threads) * 1e6; },
       always},
  };
  return all;
}

double lathe::tool::measureLimit(const char *key, int threads) {
  for (const Limit &limit : limits())
    if (!strcmp(limit.key, key))
      return limit.isThere() ? limit.measure(threads) : 0;
  return 0;
}
