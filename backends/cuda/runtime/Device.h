//===- Device.h - A GPU, or what plays one ----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_DEVICE_H
#define LATHE_BACKENDS_CUDA_RUNTIME_DEVICE_H

#include "backends/cuda/runtime/BlasApi.h"
#include "backends/cuda/runtime/DriverApi.h"

#include <mutex>
#include <string>

namespace lathe::cuda {

/// The first device of a driver, and its primary context. Thread-safe.
class Device {
public:
  /// Opens it; UNSUPPORTED_DEVICE with the reason in one line where there is none.
  runtime::Status open(const DriverApi &driver, bool isEmulated = false);
  Device() = default;
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  const DriverApi &driver() const { return driver_; }
  /// Whether kernels are images for the emulator.
  bool isEmulated() const { return isEmulated_; }
  int multiprocessors() const { return multiprocessors_; }
  const std::string &name() const { return name_; }
  /// Compute capability, such as 90.
  int capability() const { return capability_; }
  int driverVersion() const { return driverVersion_; }
  int maxSharedBytes() const { return maxSharedBytes_; }
  /// Whether memory is allocated and released in the order of streams.
  bool hasPools() const { return hasPools_; }
  Context context() const { return context_; }

  /// What the driver says to a result: OUT_OF_MEMORY, DEVICE_LOST after which nothing works any more, INTERNAL. `what`
  /// says what was asked for.
  runtime::Status status(int result, const char *what) const;
  /// The driver's words.
  std::string describe(int result) const;

  /// Makes the device's context the thread's for a while.
  class Current {
  public:
    explicit Current(const Device &device) : device_(device) { device_.driver_.contextPush(device_.context_); }
    ~Current() {
      Context popped = nullptr;
      device_.driver_.contextPop(&popped);
    }
    Current(const Current &) = delete;
    Current &operator=(const Current &) = delete;

  private:
    const Device &device_;
  };

private:
  DriverApi driver_;
  DeviceOrdinal ordinal_ = 0;
  Context context_ = nullptr;
  std::string name_;
  int capability_ = 0, driverVersion_ = 0, maxSharedBytes_ = 0;
  int multiprocessors_ = 1;
  bool hasPools_ = false, isEmulated_ = false;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_DEVICE_H
