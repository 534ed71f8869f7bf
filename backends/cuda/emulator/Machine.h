//===- Machine.h - Runs kernels for a GPU on the CPU ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Executes a grid of threads. Every thread of a block that has to wait is a fiber; those that never wait run one after
// another on one stack. What a GPU leaves undefined is an error here: races between threads of a block or of a launch,
// accesses outside of what was allocated, barriers that some threads do not reach, lanes of a warp that disagree.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_EMULATOR_MACHINE_H
#define LATHE_BACKENDS_CUDA_EMULATOR_MACHINE_H

#include "backends/cuda/emulator/Emulation.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace lathe::cuda {

/// A piece of global memory.
struct Allocation {
  const void *address = nullptr;
  int64_t bytes = 0;
};

/// What is allocated on the device: the driver's part. Asked from several threads, while nothing is allocated or freed.
class DeviceMemory {
public:
  virtual ~DeviceMemory() = default;
  /// Finds the allocation that holds `address`, else the nearest one; false where there is none at all.
  virtual bool find(const void *address, Allocation *nearest) const = 0;
};

/// One launch of a kernel.
struct MachineLaunch {
  /// What a thread does; runs once for each. `context` is handed through. May not unwind: a launch that fails leaves
  /// its threads where they stand.
  using Body = void (*)(lathe_lane *lane, const void *context);

  const char *name = "kernel"; ///< for errors
  Body body = nullptr;
  const void *context = nullptr;
  uint32_t grid[3] = {1, 1, 1};
  uint32_t block[3] = {1, 1, 1};
  int64_t most_threads = 0;             ///< of a block, as the kernel says (.maxntid); 0: what the device has
  int64_t shared_bytes = 0;             ///< static and dynamic
  const DeviceMemory *memory = nullptr; ///< without it addresses of global memory are not checked
};

enum class MachineError {
  none,
  configuration, ///< the launch itself is refused: extents, too much shared memory, no kernel
  bounds,        ///< an access outside of all allocations, or of the block's shared memory
  alignment,     ///< an access at an address that its size does not divide
  race,          ///< two threads, one of which writes, with nothing between that orders them
  barrier,       ///< a barrier that not all threads reach
  warp,          ///< lanes of a warp that do not do the same together
  resources,     ///< no memory for stacks
};

struct MachineResult {
  MachineError error = MachineError::none;
  std::string message; ///< names the kernel, the block and the thread

  bool failed() const { return error != MachineError::none; }
};

/// Limits of the device that is played.
struct MachineLimits {
  int64_t threads_of_block = 1024;
  int64_t shared_bytes = 232448 - 1024; ///< of a block: what sm_90 lets a kernel ask for
  uint32_t block[3] = {1024, 1024, 64};
  uint32_t grid[3] = {2147483647u, 65535, 65535};
};

/// Keeps stacks and shadow memory for launches, one at a time. Not thread-safe.
class Machine {
public:
  struct Options {
    int threads = 1;          ///< of the host, among which blocks are shared out
    bool races_shared = true; ///< look for races on shared memory
    bool races_global = true; ///< and, between all threads of a launch, on global memory
    /// Bytes of global memory per launch up to which races are looked for; accesses to more of it are not.
    int64_t race_bytes = int64_t(64) << 20;
    size_t stack_bytes = size_t(128) << 10; ///< of a thread
    MachineLimits limits;
  };

  Machine();
  explicit Machine(const Options &options);
  ~Machine();
  Machine(const Machine &) = delete;
  Machine &operator=(const Machine &) = delete;

  /// Runs all threads; the first error ends the launch.
  MachineResult run(const MachineLaunch &launch);

  /// The same for a function of a code image (docs/design/0024-cuda.md).
  MachineResult run(const MachineLaunch &launch, lathe_lane_fn function, void *failures, const void *args,
                    int64_t count);

private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What threads do together and lathe_lane_table does not list, for device code that is compiled for the host as C++.
/// Each is called by all lanes of a warp. Layouts of fragments: PTX ISA, "Matrix Fragments for mma".
namespace lane {

/// The thread that runs on the calling thread of the host; NULL outside of launches.
lathe_lane *current();

enum class MmaType { f16, bf16, tf32, s8 };

/// mma.sync.aligned d = a * b + c: m16n8k16 of f16 and bf16 (four and two words of a and b), m16n8k8 of tf32 (four and
/// two), with f32 sums; m16n8k32 of s8 (four and two) with s32 sums, whose bits c and d hold.
void mma(lathe_lane *lane, MmaType type, uint32_t d[4], const uint32_t a[4], const uint32_t b[2], const uint32_t c[4]);

/// ldmatrix.sync.aligned.m8n8.x{count}[.trans].shared.b16: `row` is the address of this lane's row of 16 bytes in
/// shared memory.
void ldmatrix(lathe_lane *lane, uint32_t *out, int count, bool transposed, const void *row);

/// cp.async.cg.shared.global of 16 bytes, which may arrive at any time: they do when the thread waits for them, and
/// until then there is nothing to be read. cp.async.wait_all.
void copyLater(lathe_lane *lane, void *to, const void *from);
void awaitCopies(lathe_lane *lane);

/// Atomics on global or shared memory; return what was there.
float atomicAdd(lathe_lane *lane, float *address, float value);
int32_t atomicAdd(lathe_lane *lane, int32_t *address, int32_t value);
int64_t atomicCas(lathe_lane *lane, int64_t *address, int64_t expected, int64_t value);

} // namespace lane

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_EMULATOR_MACHINE_H
