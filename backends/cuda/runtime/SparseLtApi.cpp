//===- SparseLtApi.cpp - cuSPARSELt, as far as it is used -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/SparseLtApi.h"

#include <dlfcn.h>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;

runtime::Status cuda::openSparseLt(const char *library, SparseLtApi *api) {
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    return failure(LATHE_UNSUPPORTED_DEVICE, "'", library, "' can't be opened");
  SparseLtApi result;
  const char *missing = nullptr;
#define LATHE_CUDA_OPTIONAL(member, symbol, parameters)                                                                \
  result.member = reinterpret_cast<decltype(result.member)>(dlsym(handle, symbol));
#define LATHE_CUDA_SYMBOL(member, symbol, parameters)                                                                  \
  LATHE_CUDA_OPTIONAL(member, symbol, parameters)                                                                      \
  if (!result.member)                                                                                                  \
    missing = symbol;
  LATHE_CUDA_SPARSELT(LATHE_CUDA_SYMBOL, LATHE_CUDA_OPTIONAL)
#undef LATHE_CUDA_SYMBOL
#undef LATHE_CUDA_OPTIONAL
  result.statusText = reinterpret_cast<const char *(*)(int)>(dlsym(handle, "cusparseLtGetErrorName"));
  auto *property = reinterpret_cast<int (*)(int, int *)>(dlsym(handle, "cusparseLtGetProperty"));
  int version[2] = {};
  if (!missing &&
      (!property || property(0, version) != kSparseLtSuccess || property(1, version + 1) != kSparseLtSuccess))
    missing = "cusparseLtGetProperty";
  // Before 0.6 numbers had other meanings, and 1.0 may give them new ones.
  constexpr int kFirstMinor = 6;
  if (missing || version[0] != 0 || version[1] < kFirstMinor) {
    dlclose(handle);
    return missing ? failure(LATHE_UNSUPPORTED_DEVICE, "'", library, "' has no ", missing)
                   : failure(LATHE_UNSUPPORTED_DEVICE, "'", library, "' is version ", version[0], ".", version[1],
                             ", expected 0.6 or newer, before 1.0");
  }
  *api = result;
  return runtime::success();
}
