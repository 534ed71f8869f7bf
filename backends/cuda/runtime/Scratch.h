//===- Scratch.h - Memory that calls of a session share ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_SCRATCH_H
#define LATHE_BACKENDS_CUDA_RUNTIME_SCRATCH_H

#include "backends/cuda/runtime/Device.h"
#include "backends/cuda/runtime/Replay.h"
#include "runtime/Backend.h"

namespace lathe::cuda {

/// Memory of the device that grows, never shrinks, and counts against the session's budget. The device's context is
/// current in all calls.
class Scratch {
public:
  /// `replay`: whose graphs use it; or null.
  Scratch(const Device &device, runtime::SessionServices &services, Stream stream, Replay *replay)
      : device_(device), services_(services), stream_(stream), replay_(replay) {}
  ~Scratch() { drop(); }
  Scratch(const Scratch &) = delete;

  /// Makes at least `bytes` available for `what`; the old content is then gone. OVER_BUDGET, OUT_OF_MEMORY.
  runtime::Status reserve(uint64_t bytes, const char *what);
  DevicePointer address() const { return address_; }

private:
  void drop();

  const Device &device_;
  runtime::SessionServices &services_;
  Stream stream_;
  Replay *replay_;
  DevicePointer address_ = 0;
  uint64_t bytes_ = 0;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_SCRATCH_H
