//===- MachineTest.cpp - Kernels that are right ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "test/unit/cuda/MachineSupport.h"

#include "runtime/SmallFloats.h"

#include <gtest/gtest.h>
#include <numeric>

namespace lathe::cuda {
namespace {

TEST(Machine, RunsEveryThreadOfEveryBlockOnce) {
  for (int threads : {1, 3}) {
    Machine::Options options;
    options.threads = threads;
    Machine machine(options);
    std::vector<int> hits(2 * 3 * 2 * 5 * 2 * 1);
    auto body = [](lathe_lane *lane, const void *context) {
      auto *out = *static_cast<int *const *>(context);
      uint32_t block = lane->block[0] + 2 * (lane->block[1] + 3 * lane->block[2]);
      uint32_t thread = lane->thread[0] + 5 * lane->thread[1];
      ++out[block * 10 + thread];
    };
    int *out = hits.data();
    MachineLaunch launch;
    launch.body = body;
    launch.context = &out;
    launch.grid[0] = 2, launch.grid[1] = 3, launch.grid[2] = 2;
    launch.block[0] = 5, launch.block[1] = 2;
    MachineResult result = machine.run(launch);
    EXPECT_EQ(result.message, "");
    EXPECT_EQ(hits, std::vector<int>(hits.size(), 1));
  }
}

TEST(Machine, ReducesThroughSharedMemory) {
  Machine machine;
  for (uint32_t threads : {1u, 7u, 32u, 33u, 256u, 1000u, 1024u}) {
    std::vector<float> in(threads * 3), out(3);
    std::iota(in.begin(), in.end(), 1.0f);
    TestMemory memory;
    memory.add(in);
    memory.add(out);
    auto kernel = [&](Thread t) {
      float sum = t.get(&in[t.blockX() * threads + t.x()]);
      for (uint32_t delta = 16; delta; delta /= 2) {
        float other = t.shuffleDown(sum, delta);
        if (t.x() % 32 + delta < 32 && t.x() + delta < threads)
          sum += other;
      }
      if (t.x() % 32 == 0)
        t.put(t.shared<float>() + t.x() / 32, sum);
      t.sync();
      if (t.x() == 0) {
        float total = 0;
        for (uint32_t w = 0; w < (threads + 31) / 32; ++w)
          total += t.get(t.shared<float>() + w);
        t.put(&out[t.blockX()], total);
      }
    };
    MachineResult result = runKernel(machine, 3, threads, 128, kernel, &memory);
    ASSERT_EQ(result.message, "");
    for (uint32_t b = 0; b < 3; ++b)
      EXPECT_EQ(out[b], std::accumulate(&in[b * threads], &in[b * threads] + threads, 0.0f)) << threads;
  }
}

TEST(Machine, ScansWithBarriers) {
  Machine machine;
  for (uint32_t threads : {1u, 17u, 100u}) {
    std::vector<int> out(threads);
    auto kernel = [&](Thread t) {
      int *cells = t.shared<int>();
      t.put(cells + t.x(), int(t.x()) + 1);
      t.sync(0);
      for (uint32_t delta = 1; delta < threads; delta *= 2) {
        int other = t.x() >= delta ? t.get(cells + t.x() - delta) : 0;
        t.sync(1);
        t.put(cells + t.x(), t.get(cells + t.x()) + other);
        t.sync(2);
      }
      t.put(&out[t.x()], t.get(cells + t.x()));
    };
    MachineResult result = runKernel(machine, 1, threads, threads * 4, kernel);
    ASSERT_EQ(result.message, "");
    for (uint32_t i = 0; i < threads; ++i)
      EXPECT_EQ(out[i], int(i + 1) * int(i + 2) / 2);
  }
}

TEST(Machine, TransposesThroughSharedMemory) {
  Machine::Options options;
  options.threads = 2;
  Machine machine(options);
  constexpr int rows = 37, columns = 70;
  std::vector<float> in(rows * columns), out(rows * columns, -1);
  std::iota(in.begin(), in.end(), 0.0f);
  TestMemory memory;
  memory.add(in);
  memory.add(out);
  constexpr int across = (columns + 15) / 16, down = (rows + 15) / 16;
  auto kernel = [&](Thread t) {
    int x = int(t.x() % 16), y = int(t.x() / 16), left = int(t.blockX()) % across * 16,
        top = int(t.blockX()) / across * 16;
    float *tile = t.shared<float>();
    if (top + y < rows && left + x < columns)
      t.put(tile + y * 17 + x, t.get(&in[(top + y) * columns + left + x]));
    t.sync();
    if (top + x < rows && left + y < columns)
      t.put(&out[(left + y) * rows + top + x], t.get(tile + x * 17 + y));
  };
  MachineResult result = runKernel(machine, across * down, 256, 16 * 17 * 4, kernel, &memory);
  ASSERT_EQ(result.message, "");
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c)
      ASSERT_EQ(out[c * rows + r], in[r * columns + c]);
}

TEST(Machine, ShufflesAsThePtxManualSays) {
  Machine machine;
  std::vector<uint32_t> up(32), down(32), butterfly(32), index(32), narrow(32), apart(32);
  auto kernel = [&](Thread t) {
    uint32_t x = t.x();
    up[x] = t.shuffle(LATHE_SHUFFLE_UP, x, 3, 0);
    down[x] = t.shuffle(LATHE_SHUFFLE_DOWN, x, 30, 31);
    butterfly[x] = t.shuffle(LATHE_SHUFFLE_BUTTERFLY, x, 5, 31);
    index[x] = t.shuffle(LATHE_SHUFFLE_INDEX, x, 40, 31); // five bits of the lane count
    // Segments of 8 lanes: __shfl_down_sync(…, 3, 8).
    narrow[x] = t.shuffle(LATHE_SHUFFLE_DOWN, x, 3, (32 - 8) << 8 | 31);
    // Half of the warp, whose lanes read one that takes no part.
    uint32_t mask = x < 16 ? 0xffffu : 0xffff0000u;
    apart[x] = t.shuffle(LATHE_SHUFFLE_INDEX, x, 20, 31, mask);
  };
  MachineResult result = runKernel(machine, 1, 32, 0, kernel);
  ASSERT_EQ(result.message, "");
  for (uint32_t x = 0; x < 32; ++x) {
    EXPECT_EQ(up[x], x < 3 ? x : x - 3);
    EXPECT_EQ(down[x], x + 30 < 32 ? x + 30 : x);
    EXPECT_EQ(butterfly[x], x ^ 5);
    EXPECT_EQ(index[x], 8u);
    EXPECT_EQ(narrow[x], x % 8 + 3 < 8 ? x + 3 : x);
    EXPECT_EQ(apart[x], x < 16 ? x : 20u);
  }
}

TEST(Machine, Votes) {
  Machine machine;
  std::vector<uint32_t> ballots(40), all(40), any(40), uniform(40);
  auto kernel = [&](Thread t) {
    auto vote = [&](lathe_vote kind, bool value) { return t.lane->machine->vote(t.lane, kind, ~0u, value); };
    uint32_t x = t.x();
    ballots[x] = vote(LATHE_VOTE_BALLOT, x % 2);
    all[x] = vote(LATHE_VOTE_ALL, x >= 32);
    any[x] = vote(LATHE_VOTE_ANY, x == 5);
    uniform[x] = vote(LATHE_VOTE_UNIFORM, x < 16);
  };
  MachineResult result = runKernel(machine, 1, 40, 0, kernel); // the second warp has 8 lanes
  ASSERT_EQ(result.message, "");
  EXPECT_EQ(ballots[3], 0xaaaaaaaau);
  EXPECT_EQ(ballots[39], 0xaau);
  EXPECT_EQ(all[0], 0u);
  EXPECT_EQ(all[33], 1u);
  EXPECT_EQ(any[31], 1u);
  EXPECT_EQ(any[32], 0u);
  EXPECT_EQ(uniform[0], 0u);
  EXPECT_EQ(uniform[32], 1u);
}

TEST(Machine, LanesThatEndedAreNotWaitedFor) {
  Machine machine;
  std::vector<uint32_t> out(32);
  auto kernel = [&](Thread t) {
    if (t.x() >= 20)
      return;
    out[t.x()] = t.lane->machine->vote(t.lane, LATHE_VOTE_BALLOT, ~0u, 1);
  };
  MachineResult result = runKernel(machine, 1, 32, 0, kernel);
  ASSERT_EQ(result.message, "");
  EXPECT_EQ(out[0], (1u << 20) - 1);
}

TEST(Machine, AddsAtomically) {
  Machine::Options options;
  options.threads = 2;
  Machine machine(options);
  std::vector<float> sum(1);
  std::vector<int32_t> count(1);
  auto kernel = [&](Thread t) {
    lane::atomicAdd(t.lane, &sum[0], 0.5f);
    lane::atomicAdd(t.lane, &count[0], 1);
  };
  MachineResult result = runKernel(machine, 4, 100, 0, kernel);
  ASSERT_EQ(result.message, "");
  EXPECT_EQ(sum[0], 200.0f);
  EXPECT_EQ(count[0], 400);
}

/// One product of fragments, which lanes gather by the manual's formulas.
struct MmaCase {
  lane::MmaType type;
  int k;
};

class MachineMma : public testing::TestWithParam<MmaCase> {};

uint32_t pack(lane::MmaType type, const int *values) {
  if (type == lane::MmaType::s8)
    return uint32_t(uint8_t(values[0])) | uint32_t(uint8_t(values[1])) << 8 | uint32_t(uint8_t(values[2])) << 16 |
           uint32_t(uint8_t(values[3])) << 24;
  if (type == lane::MmaType::tf32) {
    float value = float(values[0]);
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
  }
  auto convert = type == lane::MmaType::f16 ? runtime::toHalf : runtime::toBfloat;
  return uint32_t(convert(float(values[0]))) | uint32_t(convert(float(values[1]))) << 16;
}

TEST_P(MachineMma, EqualsALoop) {
  auto [type, k] = GetParam();
  int per = k == 8 ? 1 : k == 16 ? 2 : 4; // elements of a word
  std::vector<int> a(16 * k), b(k * 8), c(16 * 8), d(16 * 8), expected(16 * 8);
  for (size_t i = 0; i < a.size(); ++i)
    a[i] = int(i * 7 % 23) - 11;
  for (size_t i = 0; i < b.size(); ++i)
    b[i] = int(i * 5 % 19) - 9;
  for (size_t i = 0; i < c.size(); ++i)
    c[i] = int(i) - 50;
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 8; ++n) {
      expected[m * 8 + n] = c[m * 8 + n];
      for (int i = 0; i < k; ++i)
        expected[m * 8 + n] += a[m * k + i] * b[i * 8 + n];
    }
  Machine machine;
  auto kernel = [&, type = type, k = k](Thread t) {
    int group = int(t.x()) / 4, quad = int(t.x()) % 4;
    uint32_t wa[4], wb[2], wc[4], wd[4];
    for (int r = 0; r < 4; ++r)
      wa[r] = pack(type, &a[(group + r % 2 * 8) * k + quad * per + r / 2 * 4 * per]);
    for (int r = 0; r < 2; ++r) {
      int column[4];
      for (int i = 0; i < per; ++i)
        column[i] = b[(quad * per + i + r * 4 * per) * 8 + group];
      wb[r] = pack(type, column);
    }
    for (int r = 0; r < 4; ++r) {
      int value = c[(group + r / 2 * 8) * 8 + quad * 2 + r % 2];
      float real = float(value);
      std::memcpy(&wc[r], type == lane::MmaType::s8 ? static_cast<void *>(&value) : &real, 4);
    }
    lane::mma(t.lane, type, wd, wa, wb, wc);
    for (int r = 0; r < 4; ++r) {
      int value;
      float real;
      std::memcpy(&value, &wd[r], 4);
      std::memcpy(&real, &wd[r], 4);
      d[(group + r / 2 * 8) * 8 + quad * 2 + r % 2] = type == lane::MmaType::s8 ? value : int(real);
    }
  };
  MachineResult result = runKernel(machine, 1, 32, 0, kernel);
  ASSERT_EQ(result.message, "");
  EXPECT_EQ(d, expected);
}

INSTANTIATE_TEST_SUITE_P(Types, MachineMma,
                         testing::Values(MmaCase{lane::MmaType::f16, 16}, MmaCase{lane::MmaType::bf16, 16},
                                         MmaCase{lane::MmaType::tf32, 8}, MmaCase{lane::MmaType::s8, 32}));

TEST(Machine, LoadsMatrices) {
  Machine machine;
  std::vector<uint32_t> plain(32 * 4), transposed(32 * 4);
  auto kernel = [&](Thread t) {
    auto *cells = t.shared<uint16_t>(); // four matrices of 8x8, element = 1000 * matrix + 10 * row + column
    for (int i = 0; i < 8; ++i)
      t.put(cells + t.x() * 8 + i, uint16_t(t.x() / 8 * 1000 + t.x() % 8 * 10 + i));
    t.warpSync();
    lane::ldmatrix(t.lane, &plain[t.x() * 4], 4, false, cells + t.x() * 8);
    lane::ldmatrix(t.lane, &transposed[t.x() * 4], 4, true, cells + t.x() * 8);
  };
  MachineResult result = runKernel(machine, 1, 32, 512, kernel);
  ASSERT_EQ(result.message, "");
  for (uint32_t lane = 0; lane < 32; ++lane)
    for (uint32_t m = 0; m < 4; ++m) {
      uint32_t row = lane / 4, column = lane % 4 * 2;
      EXPECT_EQ(plain[lane * 4 + m], (m * 1000 + row * 10 + column) | (m * 1000 + row * 10 + column + 1) << 16);
      EXPECT_EQ(transposed[lane * 4 + m], (m * 1000 + column * 10 + row) | (m * 1000 + (column + 1) * 10 + row) << 16);
    }
}

/// Before a thread waits for its copies they are not there, whatever barrier it went through.
TEST(Machine, CopiesLater) {
  Machine machine;
  alignas(16) uint32_t from[32 * 4];
  for (uint32_t i = 0; i < 32 * 4; ++i)
    from[i] = i;
  std::vector<uint32_t> early(32), late(32);
  auto kernel = [&](Thread t) {
    auto *cells = t.shared<uint32_t>();
    lane::copyLater(t.lane, cells + t.x() * 4, from + t.x() * 4);
    t.sync(0);
    early[t.x()] = t.get(cells + (t.x() + 1) % 32 * 4);
    t.sync(1);
    lane::awaitCopies(t.lane);
    t.sync(2);
    late[t.x()] = t.get(cells + (t.x() + 1) % 32 * 4);
  };
  ASSERT_EQ(runKernel(machine, 2, 32, 512, kernel).message, "");
  for (uint32_t i = 0; i < 32; ++i) {
    EXPECT_EQ(early[i], ~0u);
    EXPECT_EQ(late[i], (i + 1) % 32 * 4);
  }
}

void image(lathe_lane *lane, void *failures, const void *args, int64_t count) {
  int64_t item = int64_t(lane->block[0]) * lane->block_size[0] + lane->thread[0];
  if (item < count)
    static_cast<int64_t *>(failures)[item] = *static_cast<const int64_t *>(args) + item;
}

TEST(Machine, RunsFunctionsOfImages) {
  Machine machine;
  MachineLaunch launch;
  launch.grid[0] = 2;
  launch.block[0] = 4;
  int64_t out[8] = {}, args = 10;
  MachineResult result = machine.run(launch, image, out, &args, 7);
  ASSERT_EQ(result.message, "");
  EXPECT_EQ(out[6], 16);
  EXPECT_EQ(out[7], 0);
}

} // namespace
} // namespace lathe::cuda
