//===- Machine.cpp - Runs kernels for a GPU on the CPU --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Machine.h"
#include "backends/cuda/emulator/Block.h"

#include <algorithm>
#include <cstring>
#include <thread>

namespace lathe::cuda {

struct Machine::State {
  explicit State(const Options &options) : options(options), global(options.race_bytes) {}

  Options options;
  PagedRaces global;
  std::vector<std::unique_ptr<Worker>> workers;
  uint32_t nextBlock = 1; ///< number of the next launch's first block
};

Machine::Machine() : Machine(Options()) {}
Machine::Machine(const Options &options) : state_(new State(options)) {}
Machine::~Machine() = default;

namespace {

MachineResult refuse(const MachineLaunch &launch, const std::string &text) {
  return {MachineError::configuration, std::string("kernel '") + launch.name + "': " + text};
}

MachineResult check(const MachineLaunch &launch, const MachineLimits &limits) {
  if (!launch.body)
    return refuse(launch, "there is no such function");
  int64_t threads = 1;
  for (int i = 0; i < 3; ++i) {
    if (launch.grid[i] == 0 || launch.grid[i] > limits.grid[i])
      return refuse(launch, "expects from 1 to " + std::to_string(limits.grid[i]) + " blocks in dimension " +
                                std::to_string(i) + ", found " + std::to_string(launch.grid[i]));
    if (launch.block[i] == 0 || launch.block[i] > limits.block[i])
      return refuse(launch, "expects from 1 to " + std::to_string(limits.block[i]) + " threads in dimension " +
                                std::to_string(i) + " of a block, found " + std::to_string(launch.block[i]));
    threads *= launch.block[i];
  }
  int64_t most = launch.most_threads ? launch.most_threads : limits.threads_of_block;
  if (threads > most)
    return refuse(launch,
                  "expects at most " + std::to_string(most) + " threads in a block, found " + std::to_string(threads));
  if (launch.shared_bytes < 0 || launch.shared_bytes > limits.shared_bytes)
    return refuse(launch, "expects at most " + std::to_string(limits.shared_bytes) +
                              " bytes of shared memory in a block, found " + std::to_string(launch.shared_bytes));
  return {};
}

struct ImageCall {
  lathe_lane_fn function;
  void *failures;
  const void *args;
  int64_t count;
};

void callImage(lathe_lane *lane, const void *context) {
  const auto &call = *static_cast<const ImageCall *>(context);
  call.function(lane, call.failures, call.args, call.count);
}

} // namespace

MachineResult Machine::run(const MachineLaunch &launch) {
  State &state = *state_;
  MachineResult refused = check(launch, state.options.limits);
  if (refused.failed())
    return refused;
  LaunchState shared;
  shared.launch = &launch;
  shared.options = &state.options;
  shared.global = &state.global;
  shared.blocks = int64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  // Records of earlier launches are told by the numbers of their blocks, as long as there are numbers.
  int64_t left = int64_t(~0u) - state.nextBlock;
  if (shared.blocks > left || state.global.pages() > state.global.maxPages() / 2) {
    state.global.clear();
    state.workers.clear();
    state.nextBlock = 1;
  }
  shared.firstBlock = state.nextBlock;
  state.nextBlock += uint32_t(std::min(shared.blocks, int64_t(~0u) - state.nextBlock));

  auto count = size_t(std::max(int64_t(1), std::min(int64_t(state.options.threads), shared.blocks)));
  shared.alone = count == 1;
  while (state.workers.size() < count)
    state.workers.push_back(std::make_unique<Worker>());
  std::vector<std::thread> threads;
  for (size_t i = 1; i < count; ++i)
    threads.emplace_back([&shared, worker = state.workers[i].get()] { worker->run(shared); });
  state.workers[0]->run(shared);
  for (std::thread &thread : threads)
    thread.join();
  return shared.result;
}

MachineResult Machine::run(const MachineLaunch &launch, lathe_lane_fn function, void *failures, const void *args,
                           int64_t count) {
  ImageCall call = {function, failures, args, count};
  MachineLaunch whole = launch;
  whole.body = function ? callImage : nullptr;
  whole.context = &call;
  return run(whole);
}

namespace lane {

namespace {
Lane &self(lathe_lane *lane) { return *static_cast<Lane *>(lane); }

template <typename T> T fetch(lathe_lane *lane, T *address, T value) {
  self(lane).worker->access(self(lane), address, sizeof(T),
                            LATHE_ACCESS_READ | LATHE_ACCESS_WRITE | LATHE_ACCESS_ATOMIC);
  T old;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  T sum;
  do {
    sum = old + value;
  } while (!__atomic_compare_exchange(address, &old, &sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}
} // namespace

lathe_lane *current() {
  Worker *worker = Worker::current();
  return worker ? worker->lane() : nullptr;
}

void mma(lathe_lane *lane, MmaType type, uint32_t d[4], const uint32_t a[4], const uint32_t b[2], const uint32_t c[4]) {
  Lane &own = self(lane);
  std::memcpy(own.in, a, 16);
  std::memcpy(own.in + 4, b, 8);
  std::memcpy(own.in + 6, c, 16);
  own.worker->together(own, Together::mma, int64_t(type), ~0u);
  std::memcpy(d, own.out, 16);
}

void ldmatrix(lathe_lane *lane, uint32_t *out, int count, bool transposed, const void *row) {
  Lane &own = self(lane);
  own.row = row;
  own.worker->together(own, Together::matrix, count * 2 + transposed, ~0u);
  std::memcpy(out, own.out, size_t(count) * 4);
}

void copyLater(lathe_lane *lane, void *to, const void *from) {
  Lane &own = self(lane);
  own.worker->access(own, from, 16, LATHE_ACCESS_READ | LATHE_ACCESS_GLOBAL);
  own.worker->access(own, to, 16, LATHE_ACCESS_WRITE | LATHE_ACCESS_SHARED);
  std::memset(to, 0xff, 16);
  own.copies.push_back({to, from});
}

void awaitCopies(lathe_lane *lane) {
  Lane &own = self(lane);
  for (const LateCopy &copy : own.copies) {
    own.worker->access(own, copy.to, 16, LATHE_ACCESS_WRITE | LATHE_ACCESS_SHARED); // others may not have looked
    std::memcpy(copy.to, copy.from, 16);
  }
  own.copies.clear();
}

float atomicAdd(lathe_lane *lane, float *address, float value) { return fetch(lane, address, value); }
int32_t atomicAdd(lathe_lane *lane, int32_t *address, int32_t value) { return fetch(lane, address, value); }

int64_t atomicCas(lathe_lane *lane, int64_t *address, int64_t expected, int64_t value) {
  self(lane).worker->access(self(lane), address, 8, LATHE_ACCESS_READ | LATHE_ACCESS_WRITE | LATHE_ACCESS_ATOMIC);
  __atomic_compare_exchange(address, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

} // namespace lane
} // namespace lathe::cuda
