//===- Block.h - The threads of a block and their turns ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_EMULATOR_BLOCK_H
#define LATHE_BACKENDS_CUDA_EMULATOR_BLOCK_H

#include "backends/cuda/emulator/Fiber.h"
#include "backends/cuda/emulator/Machine.h"
#include "backends/cuda/emulator/Races.h"

#include <atomic>
#include <memory>
#include <vector>

namespace lathe::cuda {

class Worker;

/// What lanes of a warp do together.
enum class Together : uint8_t { barrier, shuffle, vote, mma, matrix };

/// 16 bytes that are on their way to shared memory.
struct LateCopy {
  void *to;
  const void *from;
};

struct Lane : lathe_lane {
  Worker *worker;
  uint32_t index; ///< in the block
  enum class State : uint8_t { notStarted, runs, barrier, warp, ended } state;
  Fiber *fiber;
  int64_t site; ///< of the barrier where it waits
  // Of what it does together with others.
  uint32_t mask;
  uint32_t in[12];
  uint32_t out[4];
  const void *row;
  uint32_t clocks[32];
  std::vector<LateCopy> copies; ///< that the thread has not waited for
};

/// Lanes of a warp that have come to do something together, and wait for the others of `mask`.
struct Gathering {
  Together what;
  int64_t detail; ///< the kind of shuffle or vote, the site of a barrier, the type of a product, the shape of loaded
                  ///< matrices
  uint32_t mask, arrived;
};

struct Warp {
  uint32_t ended; ///< lanes that ended or never were
  std::vector<Gathering> gatherings;
};

/// What all workers of a launch share.
struct LaunchState {
  const MachineLaunch *launch;
  const Machine::Options *options;
  PagedRaces *global;
  uint32_t firstBlock; ///< numbers blocks for the race detection
  int64_t blocks;
  bool alone; ///< one thread of the host runs all blocks
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  MachineResult result;
};

/// Runs blocks, one after another, on the thread that calls.
class Worker {
public:
  Worker();
  ~Worker();

  /// Takes blocks until there are no more or one fails.
  void run(LaunchState &launch);

  // What threads call; see lathe_lane_table.
  void barrier(Lane &lane, int64_t site);
  void together(Lane &lane, Together what, int64_t detail, uint32_t mask);
  void access(Lane &lane, const void *address, int64_t bytes, int64_t kind);
  /// Ends the launch, because of what text_ says. Nothing is destroyed that the thread's stack holds, so no text may be
  /// there.
  [[noreturn]] void fail(const Lane &lane, MachineError error);

  static Worker *current();
  Lane *lane() const { return lane_; }

private:
  bool prepare(LaunchState &launch);
  void runBlock(int64_t block);
  void runThreads();
  static void fiberEntry(void *worker);
  void start(Lane &lane);
  void end(Lane &lane);
  void wait(Lane &lane);
  void ready(Lane &lane);
  Fiber *fresh();
  void leave();
  void stuck();
  void complete(Warp &warp, size_t gathering, uint32_t warpIndex);
  void perform(const Gathering &gathering, Lane *lanes);
  void performShuffle(const Gathering &gathering, Lane *lanes);
  void performVote(const Gathering &gathering, Lane *lanes);
  void checkBounds(Lane &lane, uintptr_t address, int64_t bytes);
  void checkRace(Lane &lane, uintptr_t address, int64_t bytes, int64_t kind, bool shared);
  std::string place(const Lane &lane) const;
  std::string threadText(uint32_t index) const;
  void record(MachineError error, std::string message);

  LaunchState *launch_ = nullptr;
  std::string text_;
  std::unique_ptr<Fiber> main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber *> free_;
  std::vector<Lane> lanes_;
  std::vector<Warp> warps_;
  std::vector<uint32_t> ready_; ///< a ring, of lanes
  size_t readyBegin_ = 0, readyCount_ = 0;
  std::vector<unsigned char> sharedMemory_;
  unsigned char *shared_ = nullptr;
  int64_t sharedBytes_ = 0;
  RangeRaces sharedRaces_;
  PagedRaces::Recent recentPages_;
  Allocation lastAllocations_[4];
  unsigned lastAllocation_ = 0;

  Fiber *running_ = nullptr;
  Lane *lane_ = nullptr;
  uint32_t threads_ = 0, nextThread_ = 0, ended_ = 0, arrived_ = 0;
  uint32_t firstArrived_ = 0, firstEnded_ = 0;
  int64_t site_ = 0;
  int64_t block_ = 0;
  uint32_t epoch_ = 0;
  bool failed_ = false;
};

/// Products of fragments, and matrices from shared memory, for the 32 lanes of a warp.
void performMma(int64_t type, Lane *lanes);
void performLoadMatrix(int count, bool transposed, Lane *lanes);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_EMULATOR_BLOCK_H
