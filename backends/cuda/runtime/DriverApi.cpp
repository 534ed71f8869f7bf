//===- DriverApi.cpp - The CUDA driver, as far as it is used -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/DriverApi.h"

#include <dlfcn.h>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;

runtime::Status cuda::openDriver(const char *library, DriverApi *api) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return failure(LATHE_UNSUPPORTED_DEVICE, "no NVIDIA driver: '", library, "' can't be opened");
  DriverApi result;
  const char *missing = nullptr;
#define LATHE_CUDA_OPTIONAL(member, symbol, parameters)                                                                \
  result.member = reinterpret_cast<decltype(result.member)>(dlsym(handle, symbol));
#define LATHE_CUDA_REQUIRED(member, symbol, parameters)                                                                \
  LATHE_CUDA_OPTIONAL(member, symbol, parameters)                                                                      \
  if (!result.member && !missing)                                                                                      \
    missing = symbol;
  LATHE_CUDA_DRIVER(LATHE_CUDA_REQUIRED, LATHE_CUDA_OPTIONAL)
#undef LATHE_CUDA_REQUIRED
#undef LATHE_CUDA_OPTIONAL
  if (missing) {
    dlclose(handle);
    return failure(LATHE_UNSUPPORTED_DEVICE, "the NVIDIA driver is too old: '", library, "' has no ", missing);
  }
  *api = result;
  return runtime::success();
}
