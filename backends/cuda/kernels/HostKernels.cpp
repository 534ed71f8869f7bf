//===- HostKernels.cpp - The kernels for the emulator ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/kernels/HostKernels.h"

#include "backends/cuda/kernels/AttentionMma.cu.h"
#include "backends/cuda/kernels/Matmul.cu.h"
#include "backends/cuda/kernels/Numbers.cu.h"
#include "backends/cuda/kernels/Quantized.cu.h"
#include "backends/cuda/kernels/QuantizedMma.cu.h"

#include <string_view>

namespace lathe::cuda {
namespace {

using namespace device;

struct Entry {
  std::string_view name;
  int64_t threads;
  MachineLaunch::Body body;
};

const Entry kEntries[] = {
#define LATHE_KERNEL(NAME, ARGS, THREADS, BODY)                                                                        \
  {#NAME, THREADS, [](lathe_lane *, const void *context) {                                                             \
     const ARGS &args = *static_cast<const ARGS *>(context);                                                           \
     BODY;                                                                                                             \
   }},
#include "backends/cuda/kernels/Kernels.inc"
#undef LATHE_KERNEL
};

} // namespace

MachineLaunch::Body hostKernel(std::string_view function, int64_t *threads) {
  for (const Entry &entry : kEntries)
    if (entry.name == function) {
      if (threads)
        *threads = entry.threads;
      return entry.body;
    }
  return nullptr;
}

} // namespace lathe::cuda
