//===- RegisterCuda.cpp - The devices of CUDA, linked into tests *- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Tests look behind the backend, so they have it as part of themselves and not in its library.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/CudaBackend.h"

static const bool registered = [] {
  lathe::runtime::registerBackend(lathe::cuda::cudaBackend());
  lathe::runtime::registerBackend(lathe::cuda::cudaEmulatorBackend());
  return true;
}();
