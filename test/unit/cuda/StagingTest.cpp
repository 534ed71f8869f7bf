//===- StagingTest.cpp - Copies through pinned memory -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Staging.h"
#include "backends/cuda/emulator/Driver.h"

#include <gtest/gtest.h>
#include <numeric>

using namespace lathe;
using namespace lathe::cuda;

namespace {

class StagedCopies : public testing::Test {
protected:
  void SetUp() override {
    emulatorSettings() = {};
    emulatorSettings().delays = true;
    ASSERT_FALSE(device.open(driver, true).failed());
    driver.contextPush(device.context());
    ASSERT_EQ(driver.streamCreate(&stream, kStreamNonBlocking), kDriverSuccess);
    ASSERT_EQ(driver.memAlloc(&memory, kBytes), kDriverSuccess);
  }
  void TearDown() override {
    driver.memFree(memory);
    driver.streamDestroy(stream);
    Context popped = nullptr;
    driver.contextPop(&popped);
    emulatorSettings() = {};
    EXPECT_EQ(emulatorStatistics().pinned, 0u);
    EXPECT_EQ(held, 0);
  }
  bool charge(int64_t bytes) {
    if (bytes > 0 && held + bytes > budget)
      return false;
    held += bytes;
    most = std::max(most, held);
    return true;
  }
  /// Copies all bytes there in odd portions, and back in others.
  void roundTrip(Staging &staging) {
    std::vector<unsigned char> there(kBytes), back(kBytes);
    std::iota(there.begin(), there.end(), static_cast<unsigned char>(3));
    const std::vector<unsigned char> want = there;
    for (uint64_t at = 0, size = 1; at < kBytes; at += size, size = size * 3 + 1) {
      size = std::min(size, kBytes - at);
      ASSERT_FALSE(staging.upload(memory + at, there.data() + at, size).failed());
      std::fill_n(there.begin() + static_cast<ptrdiff_t>(at), size, 0); // may change after the call
    }
    for (uint64_t at = 0, size = 5000; at < kBytes; at += size, size = size * 2 + 7) {
      size = std::min(size, kBytes - at);
      ASSERT_FALSE(staging.download(back.data() + at, memory + at, size).failed());
    }
    ASSERT_FALSE(staging.arrive().failed());
    EXPECT_EQ(back, want);
  }

  static constexpr uint64_t kBytes = 50000;
  const DriverApi &driver = emulatorDriver();
  cuda::Device device;
  Stream stream = nullptr;
  DevicePointer memory = 0;
  int64_t held = 0, most = 0, budget = INT64_MAX;
};

TEST_F(StagedCopies, OfAnySizeThroughFewPieces) {
  for (size_t pieces : {1, 2, 4})
    for (uint64_t bytes : {4096u, 8192u, 65536u}) {
      most = 0;
      Staging staging(device, stream, bytes, pieces, [this](int64_t more) { return charge(more); });
      roundTrip(staging);
      roundTrip(staging);
      EXPECT_LE(most, static_cast<int64_t>(pieces * bytes));
      EXPECT_GE(emulatorStatistics().pinned, 1u);
      EXPECT_LE(emulatorStatistics().pinned, pieces);
    }
}

TEST_F(StagedCopies, GoWithoutPinnedMemoryWhereThereIsNone) {
  for (int64_t full : {0, 1, 2}) {
    emulatorSettings().pinnedUntilFull = full;
    Staging staging(device, stream, 4096, 4, [this](int64_t more) { return charge(more); });
    roundTrip(staging);
    EXPECT_EQ(emulatorStatistics().pinned, static_cast<size_t>(full));
  }
  emulatorSettings().pinnedUntilFull = -1;
  budget = 5000;
  Staging staging(device, stream, 4096, 4, [this](int64_t more) { return charge(more); });
  roundTrip(staging);
  EXPECT_EQ(emulatorStatistics().pinned, 1u);
}

TEST_F(StagedCopies, ThatNobodyWaitsForAreForgotten) {
  std::vector<unsigned char> back(100, 9);
  {
    Staging staging(device, stream, 4096, 2, [this](int64_t more) { return charge(more); });
    ASSERT_FALSE(staging.upload(memory, back.data(), 50).failed());
    ASSERT_FALSE(staging.download(back.data(), memory, 100).failed());
    staging.abandon();
    ASSERT_FALSE(staging.arrive().failed());
  }
  EXPECT_EQ(back, std::vector<unsigned char>(100, 9));
}

} // namespace
