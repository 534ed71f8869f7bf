//===- BlasApi.cpp - cuBLASLt, as far as it is used -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/BlasApi.h"

#include <dlfcn.h>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;

runtime::Status cuda::openBlas(const char *const *libraries, BlasApi *api) {
  std::string names;
  for (const char *const *library = libraries; *library; ++library) {
    names += runtime::join(names.empty() ? "" : ", ", "'", *library, "'");
    void *handle = dlopen(*library, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
      continue;
    BlasApi result;
    const char *missing = nullptr;
#define LATHE_CUDA_SYMBOL(returned, member, symbol, parameters)                                                        \
  result.member = reinterpret_cast<decltype(result.member)>(dlsym(handle, symbol));                                    \
  if (!result.member)                                                                                                  \
    missing = symbol;
    LATHE_CUDA_BLAS(LATHE_CUDA_SYMBOL)
#undef LATHE_CUDA_SYMBOL
    if (missing) {
      dlclose(handle);
      return failure(LATHE_UNSUPPORTED_DEVICE, "'", *library, "' has no ", missing);
    }
    *api = result;
    return runtime::success();
  }
  return failure(LATHE_UNSUPPORTED_DEVICE, "matrix products need cuBLASLt, and none of ", names,
                 " can be opened; install NVIDIA's cuBLAS or put its folder into LD_LIBRARY_PATH");
}

const char *const *cuda::blasLibraries(int driverVersion) {
  static const char *const kLibraries[] = {"libcublasLt.so.13", "libcublasLt.so.12", nullptr};
  return driverVersion < 13000 ? kLibraries + 1 : kLibraries;
}
