//===- LaunchSupport.h - What launches are put together by ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_KERNELS_LAUNCHSUPPORT_H
#define LATHE_BACKENDS_CUDA_KERNELS_LAUNCHSUPPORT_H

#include "backends/cuda/kernels/Kernels.h"
#include "runtime/DataType.h"
#include "runtime/Status.h"

#include <cstring>
#include <type_traits>

namespace lathe::cuda {

constexpr int64_t kMostBlocks = 2147483647;

inline int64_t divideUp(int64_t a, int64_t b) { return a / b + (a % b != 0); }

template <typename Args> void setArgs(const Args &args, KernelLaunch *launch) {
  static_assert(sizeof(Args) <= sizeof launch->args && alignof(Args) <= 8, "arguments have a bound");
  static_assert(std::is_trivially_copyable_v<Args>, "arguments are copied");
  launch->args_bytes = sizeof args;
  std::memcpy(launch->args, &args, sizeof args);
}

/// The part of a kernel's name that tells its type.
inline bool suffixOf(int64_t dtype, const char **suffix, std::string *why) {
  switch (dtype) {
  case LATHE_F32:
    *suffix = "f32";
    return true;
  case LATHE_F16:
    *suffix = "f16";
    return true;
  case LATHE_BF16:
    *suffix = "bf16";
    return true;
  default: {
    const runtime::DataType *type = runtime::dataType(static_cast<lathe_dtype>(dtype));
    *why = runtime::join("the cuda backend has no such kernel for type ", type ? type->name : "?",
                         "; expected f32, f16 or bf16");
    return false;
  }
  }
}

inline bool setGrid(int64_t blocks, KernelLaunch *launch, std::string *why) {
  if (blocks > kMostBlocks) {
    *why = runtime::join("expected at most ", kMostBlocks, " blocks, got ", blocks);
    return false;
  }
  launch->grid = static_cast<uint32_t>(blocks);
  return true;
}

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_KERNELS_LAUNCHSUPPORT_H
