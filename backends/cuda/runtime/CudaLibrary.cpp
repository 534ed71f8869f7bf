//===- CudaLibrary.cpp - The library of the devices of CUDA -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/CudaBackend.h"
#include "runtime/BackendLibrary.h"

using namespace lathe;

static runtime::Status openCuda(runtime::BackendHost &, std::vector<runtime::Backend *> &backends) {
  backends = {&cuda::cudaBackend(), &cuda::cudaEmulatorBackend()};
  return runtime::success();
}

const lathe_backend_library *lathe_backend_v1() {
  static const lathe_backend_library library = {runtime::kBackendBuild, openCuda};
  return &library;
}
