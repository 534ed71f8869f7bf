//===- MachineSupport.h - Kernels of tests ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_CUDA_MACHINESUPPORT_H
#define LATHE_TEST_UNIT_CUDA_MACHINESUPPORT_H

#include "backends/cuda/emulator/Machine.h"

#include <cstring>
#include <vector>

namespace lathe::cuda {

/// What a kernel does, with the table of the machine in short words.
struct Thread {
  lathe_lane *lane;

  uint32_t x() const { return lane->thread[0]; }
  uint32_t blockX() const { return lane->block[0]; }
  uint32_t size() const { return lane->block_size[0]; }
  void sync(int64_t site = 0) const { lane->machine->barrier(lane, site); }
  void warpSync(uint32_t mask = ~0u, int64_t site = 0) const { lane->machine->warp_barrier(lane, mask, site); }
  uint32_t shuffle(lathe_shuffle kind, uint32_t value, uint32_t operand, uint32_t clamp = 31,
                   uint32_t mask = ~0u) const {
    return lane->machine->shuffle(lane, kind, mask, value, operand, clamp);
  }
  float shuffleDown(float value, uint32_t delta) const {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits = shuffle(LATHE_SHUFFLE_DOWN, bits, delta);
    std::memcpy(&value, &bits, 4);
    return value;
  }
  template <typename T> T get(const T *address) const {
    lane->machine->access(lane, address, sizeof(T), LATHE_ACCESS_READ);
    return *address;
  }
  template <typename T> void put(T *address, T value) const {
    lane->machine->access(lane, address, sizeof(T), LATHE_ACCESS_WRITE);
    *address = value;
  }
  template <typename T> T *shared() const { return reinterpret_cast<T *>(lane->shared); }
};

/// Allocations of a test.
class TestMemory : public DeviceMemory {
public:
  template <typename T> void add(const std::vector<T> &data) {
    allocations.push_back({data.data(), int64_t(data.size() * sizeof(T))});
  }
  bool find(const void *address, Allocation *nearest) const override {
    int64_t best = INT64_MAX;
    for (const Allocation &each : allocations) {
      int64_t offset = static_cast<const char *>(address) - static_cast<const char *>(each.address);
      int64_t distance = offset < 0 ? -offset : offset < each.bytes ? 0 : offset - each.bytes + 1;
      if (distance < best) {
        best = distance;
        *nearest = each;
      }
    }
    return best != INT64_MAX;
  }

  std::vector<Allocation> allocations;
};

/// Runs `kernel(Thread)` with `blocks` blocks of `threads` threads.
template <typename Kernel>
MachineResult runKernel(Machine &machine, uint32_t blocks, uint32_t threads, int64_t shared, const Kernel &kernel,
                        const DeviceMemory *memory = nullptr) {
  MachineLaunch launch;
  launch.name = "test";
  launch.body = [](lathe_lane *lane, const void *context) { (*static_cast<const Kernel *>(context))(Thread{lane}); };
  launch.context = &kernel;
  launch.grid[0] = blocks;
  launch.block[0] = threads;
  launch.shared_bytes = shared;
  launch.memory = memory;
  return machine.run(launch);
}

} // namespace lathe::cuda

#endif // LATHE_TEST_UNIT_CUDA_MACHINESUPPORT_H
