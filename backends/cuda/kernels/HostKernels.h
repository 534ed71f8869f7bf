//===- HostKernels.h - The kernels for the emulator -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_HOSTKERNELS_H
#define LATHE_BACKENDS_CUDA_KERNELS_HOSTKERNELS_H

#include "backends/cuda/emulator/Machine.h"

#include <string_view>

namespace lathe::cuda {

/// What runs a function of kernelsPtx() on the machine, with the address of its arguments as MachineLaunch::context.
/// NULL where there is no such kernel. `threads`: becomes the most that a block of it has.
MachineLaunch::Body hostKernel(std::string_view function, int64_t *threads = nullptr);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_KERNELS_HOSTKERNELS_H
