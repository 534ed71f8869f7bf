//===- KernelSupport.h - Launches hand-written kernels in tests -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_CUDA_KERNELSUPPORT_H
#define LATHE_TEST_UNIT_CUDA_KERNELSUPPORT_H

#include "backends/cuda/kernels/HostKernels.h"
#include "backends/cuda/kernels/Kernels.h"
#include "runtime/SmallFloats.h"
#include "test/unit/cuda/MachineSupport.h"
#include "test/unit/runtime/ProductSupport.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

namespace lathe::cuda {

using test::activated;

/// Runs a launch on a machine that knows of `memory` alone.
inline void launchOn(const TestMemory &memory, const KernelLaunch &launch) {
  if (launch.function.empty())
    return;
  static Machine machine;
  MachineLaunch call;
  call.name = launch.function.c_str();
  call.body = hostKernel(launch.function, &call.most_threads);
  call.context = launch.args;
  call.grid[0] = launch.grid;
  call.grid[1] = launch.grid_y;
  call.grid[2] = launch.grid_z;
  call.block[0] = launch.block;
  call.shared_bytes = launch.shared_bytes;
  call.memory = &memory;
  ASSERT_NE(call.body, nullptr) << launch.function;
  EXPECT_EQ(machine.run(call).message, "");
}

/// Numbers of a type, as the device has them.
struct Numbers {
  int64_t dtype;
  std::vector<float> wide;
  std::vector<uint16_t> narrow;

  explicit Numbers(int64_t type, size_t count = 0) : dtype(type) {
    wide.resize(type == LATHE_F32 ? count : 0);
    narrow.resize(type == LATHE_F32 ? 0 : count);
  }
  size_t size() const { return dtype == LATHE_F32 ? wide.size() : narrow.size(); }
  void *data() { return dtype == LATHE_F32 ? static_cast<void *>(wide.data()) : narrow.data(); }
  float get(size_t i) const {
    return dtype == LATHE_F32   ? wide[i]
           : dtype == LATHE_F16 ? runtime::halfValue(narrow[i])
                                : runtime::bfloatValue(narrow[i]);
  }
  void set(size_t i, float value) {
    if (dtype == LATHE_F32)
      wide[i] = value;
    else
      narrow[i] = dtype == LATHE_F16 ? runtime::toHalf(value) : runtime::toBfloat(value);
  }
  void addTo(TestMemory &memory) const {
    if (dtype == LATHE_F32)
      memory.add(wide);
    else
      memory.add(narrow);
  }
  void randomize(unsigned seed) {
    std::mt19937 random(seed);
    for (size_t i = 0; i < size(); ++i)
      set(i, float(int(random() % 2001) - 1000) / 500);
  }
  /// How far a sum of a few rounded terms may be off.
  double tolerance() const { return dtype == LATHE_F32 ? 2e-5 : dtype == LATHE_F16 ? 4e-3 : 3e-2; }
};

inline void expectClose(double actual, double expected, double tolerance) {
  if (std::isnan(expected))
    EXPECT_TRUE(std::isnan(actual)) << actual;
  else
    EXPECT_NEAR(actual, expected, tolerance * (1 + std::fabs(expected)));
}

} // namespace lathe::cuda

#endif // LATHE_TEST_UNIT_CUDA_KERNELSUPPORT_H
