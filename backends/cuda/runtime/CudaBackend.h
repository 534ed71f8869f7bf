//===- CudaBackend.h - The devices 'cuda' and 'cuda-emulator' ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_CUDABACKEND_H
#define LATHE_BACKENDS_CUDA_RUNTIME_CUDABACKEND_H

#include "runtime/Backend.h"

namespace lathe::cuda {

/// The first NVIDIA GPU, through its driver, which is opened when the first artifact asks for it. Lives as long as the
/// process.
runtime::Backend &cudaBackend();

/// The same on the emulator, which runs kernels on the processor and finds their mistakes.
runtime::Backend &cudaEmulatorBackend();

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_CUDABACKEND_H
