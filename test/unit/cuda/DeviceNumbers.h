//===- DeviceNumbers.h - Numbers of a test on the device -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_CUDA_DEVICENUMBERS_H
#define LATHE_TEST_UNIT_CUDA_DEVICENUMBERS_H

#include "test/unit/cuda/Harness.h"
#include "test/unit/cuda/KernelSupport.h"

#include <cmath>
#include <gtest/gtest.h>

namespace lathe::test {

/// Numbers of a type on the device of a harness, for as long as this lives.
struct DeviceNumbers {
  cuda::Numbers host;
  void *device = nullptr;
  Harness &harness;

  /// Random ones times `scale`, or, where `seed` is 0, NaN.
  DeviceNumbers(Harness &harness, int64_t dtype, int64_t count, unsigned seed, double scale = 1)
      : host(dtype, static_cast<size_t>(count)), harness(harness) {
    if (seed)
      host.randomize(seed);
    for (size_t i = 0; scale != 1 && i < host.size(); ++i)
      host.set(i, static_cast<float>(host.get(i) * scale));
    EXPECT_FALSE(harness.session->allocate(bytes(), &device).failed());
    clear(seed == 0);
  }
  ~DeviceNumbers() { harness.session->release(device); }
  DeviceNumbers(const DeviceNumbers &) = delete;
  size_t bytes() const { return host.size() * (host.dtype == LATHE_F32 ? 4 : 2); }
  /// Writes the host's numbers again, or NaN.
  void clear(bool isNan) {
    for (size_t i = 0; isNan && i < host.size(); ++i)
      host.set(i, NAN);
    EXPECT_FALSE(harness.session->upload(device, host.data(), bytes()).failed());
  }
  cuda::Numbers read() {
    cuda::Numbers result = host;
    EXPECT_FALSE(harness.session->download(result.data(), device, bytes()).failed());
    EXPECT_FALSE(harness.session->wait().failed());
    return result;
  }
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_CUDA_DEVICENUMBERS_H
