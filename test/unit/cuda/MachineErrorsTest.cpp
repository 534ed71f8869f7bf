//===- MachineErrorsTest.cpp - Kernels that are wrong on purpose ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/MachineSupport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lathe::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class MachineErrors : public testing::Test {
protected:
  /// The error of a kernel; afterwards the machine still works.
  template <typename Kernel>
  MachineResult fails(uint32_t blocks, uint32_t threads, int64_t shared, const Kernel &kernel,
                      const DeviceMemory *memory = nullptr) {
    MachineResult result = runKernel(machine, blocks, threads, shared, kernel, memory);
    std::vector<int> order;
    auto right = [&](Thread t) {
      t.sync();
      order.push_back(int(t.x()));
    };
    EXPECT_EQ(runKernel(machine, 1, 48, 0, right).message, "");
    EXPECT_EQ(order.size(), 48u);
    return result;
  }

  Machine machine;
};

TEST_F(MachineErrors, ThreadEndsWithoutTheBarrier) {
  auto kernel = [](Thread t) {
    if (t.x() != 33)
      t.sync(4);
  };
  MachineResult result = fails(2, 64, 0, kernel);
  EXPECT_EQ(result.error, MachineError::barrier);
  EXPECT_THAT(result.message, AllOf(HasSubstr("kernel 'test', block (0, 0, 0), thread (33, 0, 0)"), HasSubstr("site 4"),
                                    HasSubstr("thread (0, 0, 0)")));
}

TEST_F(MachineErrors, ThreadEndedBeforeTheBarrier) {
  auto kernel = [](Thread t) {
    if (t.x() != 0)
      t.sync();
  };
  MachineResult result = fails(1, 64, 0, kernel);
  EXPECT_EQ(result.error, MachineError::barrier);
  EXPECT_THAT(result.message, HasSubstr("without which thread (0, 0, 0) ended"));
}

TEST_F(MachineErrors, BarriersOfDifferentSites) {
  auto kernel = [](Thread t) { t.sync(t.x() < 32 ? 1 : 2); };
  MachineResult result = fails(1, 64, 0, kernel);
  EXPECT_EQ(result.error, MachineError::barrier);
  EXPECT_THAT(result.message, HasSubstr("waits at barrier 2, thread (0, 0, 0) at barrier 1"));
}

TEST_F(MachineErrors, BarrierInsteadOfAShuffle) {
  auto kernel = [](Thread t) {
    if (t.x() % 32 == 7)
      t.sync();
    else
      t.shuffle(LATHE_SHUFFLE_DOWN, 1, 1);
  };
  MachineResult result = fails(1, 64, 0, kernel);
  EXPECT_EQ(result.error, MachineError::warp);
  EXPECT_THAT(result.message, HasSubstr("thread (7, 0, 0) waits at a barrier"));
}

TEST_F(MachineErrors, LanesDisagree) {
  auto kernel = [](Thread t) {
    if (t.x() == 7)
      t.lane->machine->vote(t.lane, LATHE_VOTE_ALL, ~0u, 1);
    else
      t.shuffle(LATHE_SHUFFLE_DOWN, 1, 1);
  };
  MachineResult result = fails(1, 32, 0, kernel);
  EXPECT_EQ(result.error, MachineError::warp);
  EXPECT_THAT(result.message, AllOf(HasSubstr("thread (7, 0, 0): comes to a vote"), HasSubstr("a shuffle")));
}

TEST_F(MachineErrors, MasksOverlap) {
  auto kernel = [](Thread t) { t.warpSync(t.x() < 16 ? ~0u : 0xffff0000u); };
  EXPECT_EQ(fails(1, 32, 0, kernel).error, MachineError::warp);
}

TEST_F(MachineErrors, MaskWithoutItself) {
  auto kernel = [](Thread t) { t.warpSync(0xff); };
  MachineResult result = fails(1, 32, 0, kernel);
  EXPECT_EQ(result.error, MachineError::warp);
  EXPECT_THAT(result.message, HasSubstr("thread (8, 0, 0): calls a warp barrier with the mask 0xff"));
}

TEST_F(MachineErrors, ProductNeedsAWholeWarp) {
  auto kernel = [](Thread t) {
    uint32_t words[4] = {};
    lane::mma(t.lane, lane::MmaType::f16, words, words, words, words);
  };
  EXPECT_EQ(fails(1, 20, 0, kernel).error, MachineError::warp);
}

TEST_F(MachineErrors, RaceOnSharedMemory) {
  // A reduction that forgot a barrier.
  auto kernel = [](Thread t) {
    t.put(t.shared<float>() + t.x(), 1.0f);
    if (t.x() == 0)
      t.sync(0), t.get(t.shared<float>() + 63);
    else
      t.sync(0), t.put(t.shared<float>() + t.x(), 2.0f);
  };
  MachineResult result = fails(1, 64, 256, kernel);
  EXPECT_EQ(result.error, MachineError::race);
  EXPECT_THAT(result.message, AllOf(HasSubstr("of shared memory at offset 252"), HasSubstr("which thread (")));
}

TEST_F(MachineErrors, ReadThenWrittenBesideIt) {
  auto kernel = [](Thread t) {
    t.put(t.shared<int>() + t.x(), 0);
    t.sync();
    int next = t.get(t.shared<int>() + (t.x() + 1) % t.size());
    t.put(t.shared<int>() + t.x(), next); // needs a barrier
  };
  EXPECT_EQ(fails(1, 40, 160, kernel).error, MachineError::race);
  auto right = [](Thread t) {
    t.put(t.shared<int>() + t.x(), 0);
    t.sync(0);
    int next = t.get(t.shared<int>() + (t.x() + 1) % t.size());
    t.sync(1);
    t.put(t.shared<int>() + t.x(), next);
  };
  EXPECT_EQ(runKernel(machine, 2, 40, 160, right).message, "");
}

TEST_F(MachineErrors, ShufflesOrderNoMemoryButWarpBarriersDo) {
  auto kernel = [](bool barrier) {
    return [barrier](Thread t) {
      t.put(t.shared<int>() + t.x(), int(t.x()));
      if (barrier)
        t.warpSync();
      else
        t.shuffle(LATHE_SHUFFLE_DOWN, 1, 1);
      t.get(t.shared<int>() + (t.x() ^ 1));
    };
  };
  EXPECT_EQ(fails(1, 32, 128, kernel(false)).error, MachineError::race);
  EXPECT_EQ(runKernel(machine, 1, 32, 128, kernel(true)).message, "");
}

TEST_F(MachineErrors, WarpBarriersOrderNoOtherWarps) {
  auto kernel = [](Thread t) {
    t.put(t.shared<int>() + t.x(), int(t.x()));
    t.warpSync();
    t.get(t.shared<int>() + (t.x() ^ 32));
  };
  EXPECT_EQ(fails(1, 64, 256, kernel).error, MachineError::race);
}

TEST_F(MachineErrors, HalvesOfAWordAreNoRace) {
  auto kernel = [](Thread t) {
    t.put(t.shared<uint8_t>() + t.x(), uint8_t(t.x()));
    t.sync();
    t.get(t.shared<uint8_t>() + (t.x() + 1) % 32);
  };
  EXPECT_EQ(runKernel(machine, 1, 32, 32, kernel).message, "");
}

TEST_F(MachineErrors, RaceOfBlocksOnGlobalMemory) {
  std::vector<float> out(64);
  auto kernel = [&](Thread t) { t.put(&out[t.x()], float(t.blockX())); };
  MachineResult result = fails(3, 64, 0, kernel);
  EXPECT_EQ(result.error, MachineError::race);
  EXPECT_THAT(result.message, AllOf(HasSubstr("block (1, 0, 0), thread (0, 0, 0): writes 4 bytes of global memory"),
                                    HasSubstr("of block (0, 0, 0)")));
  auto one = [&](Thread t) { t.put(&out[t.x()], 1.0f); };
  EXPECT_EQ(runKernel(machine, 1, 64, 0, one).message, ""); // another launch
}

TEST_F(MachineErrors, AtomicAndPlainRace) {
  std::vector<float> out(1);
  auto kernel = [&](Thread t) {
    if (t.x() == 3)
      t.get(&out[0]);
    else
      lane::atomicAdd(t.lane, &out[0], 1.0f);
  };
  EXPECT_EQ(fails(1, 4, 0, kernel).error, MachineError::race);
}

TEST_F(MachineErrors, OutOfBounds) {
  std::vector<float> data(100);
  TestMemory memory;
  memory.add(data);
  auto kernel = [&](Thread t) { t.get(data.data() + t.x()); };
  MachineResult result = fails(1, 128, 0, kernel, &memory);
  EXPECT_EQ(result.error, MachineError::bounds);
  EXPECT_THAT(result.message, AllOf(HasSubstr("thread (100, 0, 0): accesses 4 bytes"),
                                    HasSubstr("400 bytes behind the begin of the nearest allocation, of 400 bytes")));
  auto before = [&](Thread t) { t.get(data.data() - 1 + t.x()); };
  EXPECT_THAT(fails(1, 1, 0, before, &memory).message, HasSubstr("4 bytes before the nearest allocation"));
  TestMemory none;
  EXPECT_THAT(fails(1, 1, 0, before, &none).message, HasSubstr("nothing is allocated"));
}

TEST_F(MachineErrors, OutsideOfSharedMemory) {
  auto kernel = [](Thread t) { t.put(t.shared<float>() + t.x(), 0.0f); };
  MachineResult result = fails(1, 65, 256, kernel);
  EXPECT_EQ(result.error, MachineError::bounds);
  EXPECT_THAT(result.message, HasSubstr("at offset 256 of 256 bytes of shared memory"));
}

TEST_F(MachineErrors, Misaligned) {
  auto kernel = [](Thread t) { t.lane->machine->access(t.lane, t.lane->shared + 4, 16, LATHE_ACCESS_READ); };
  EXPECT_EQ(fails(1, 1, 256, kernel).error, MachineError::alignment);
}

TEST_F(MachineErrors, SharedMemoryByInstructionsForGlobal) {
  float cell = 0;
  auto kernel = [](Thread t) {
    t.lane->machine->access(t.lane, t.lane->shared, 4, LATHE_ACCESS_READ | LATHE_ACCESS_GLOBAL);
  };
  auto other = [&](Thread t) { t.lane->machine->access(t.lane, &cell, 4, LATHE_ACCESS_WRITE | LATHE_ACCESS_SHARED); };
  MachineResult result = fails(1, 1, 16, kernel);
  EXPECT_EQ(result.error, MachineError::bounds);
  EXPECT_THAT(result.message, HasSubstr("accesses shared memory by an instruction that is for global memory"));
  EXPECT_EQ(fails(1, 1, 16, other).error, MachineError::bounds);
}

/// What is asked for has to be there, though nobody reads it.
TEST_F(MachineErrors, AsksForWhatIsNotThere) {
  std::vector<float> data(4);
  TestMemory memory;
  memory.add(data);
  auto ask = [](const float *address) {
    return [address](Thread t) { t.lane->machine->access(t.lane, address, 1, LATHE_ACCESS_GLOBAL); };
  };
  EXPECT_EQ(runKernel(machine, 1, 64, 0, ask(data.data() + 3), &memory).message, "");
  EXPECT_EQ(fails(1, 1, 0, ask(data.data() + 4), &memory).error, MachineError::bounds);
}

TEST_F(MachineErrors, CopiesThatOthersWaitFor) {
  alignas(16) uint32_t from[64] = {};
  auto kernel = [&](Thread t) {
    auto *cells = t.shared<uint32_t>();
    lane::copyLater(t.lane, cells + t.x() * 4, from + t.x() * 4);
    if (t.x() == 0)
      lane::awaitCopies(t.lane);
    t.get(cells + (t.x() + 1) % 2 * 4); // no barrier
  };
  EXPECT_EQ(fails(1, 2, 64, kernel).error, MachineError::race);
}

TEST_F(MachineErrors, LaunchesThatNoDeviceTakes) {
  auto kernel = [](Thread) {};
  EXPECT_THAT(fails(1, 1025, 0, kernel).message, HasSubstr("expects from 1 to 1024 threads"));
  EXPECT_EQ(fails(0, 32, 0, kernel).error, MachineError::configuration);
  EXPECT_THAT(fails(1, 32, 1 << 20, kernel).message, HasSubstr("bytes of shared memory in a block, found 1048576"));
  MachineLaunch launch;
  EXPECT_EQ(machine.run(launch, nullptr, nullptr, nullptr, 0).error, MachineError::configuration);
  launch.body = [](lathe_lane *, const void *) {};
  launch.most_threads = 128;
  launch.block[0] = 128;
  EXPECT_EQ(machine.run(launch).message, "");
  launch.block[0] = 129;
  EXPECT_THAT(machine.run(launch).message, HasSubstr("expects at most 128 threads in a block, found 129"));
}

TEST_F(MachineErrors, OneOfManyHostThreadsFails) {
  Machine::Options options;
  options.threads = 4;
  Machine several(options);
  auto kernel = [](Thread t) {
    t.sync(0);
    if (t.blockX() != 17 || t.x() != 5)
      t.sync(1);
  };
  MachineResult result = runKernel(several, 40, 64, 0, kernel);
  EXPECT_EQ(result.error, MachineError::barrier);
  EXPECT_THAT(result.message, HasSubstr("block (17, 0, 0)"));
}

} // namespace
} // namespace lathe::cuda
