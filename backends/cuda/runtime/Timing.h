//===- Timing.h - How long work takes on the device -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_TIMING_H
#define LATHE_BACKENDS_CUDA_RUNTIME_TIMING_H

#include "backends/cuda/runtime/Device.h"

#include <functional>

namespace lathe::cuda {

/// The least time, in milliseconds, of a few calls of `start`, which puts work into the stream, behind one that may
/// load code; -1 where it does not start after all. Fails as the driver does. The device's context is current.
runtime::Status leastTime(const Device &device, Stream stream, const std::function<runtime::Status()> &start,
                          float *milliseconds);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_TIMING_H
