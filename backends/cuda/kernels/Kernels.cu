//===- Kernels.cu - The kernels for the device ----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Compiled to PTX by clang alone: no header and no library of a toolkit.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/kernels/AttentionMma.cu.h"
#include "backends/cuda/kernels/Matmul.cu.h"
#include "backends/cuda/kernels/Numbers.cu.h"
#include "backends/cuda/kernels/Quantized.cu.h"
#include "backends/cuda/kernels/QuantizedMma.cu.h"

using namespace lathe::cuda;
using namespace lathe::cuda::device;

#define LATHE_KERNEL(NAME, ARGS, THREADS, BODY)                                                                        \
  extern "C" __attribute__((global, launch_bounds(THREADS, 2))) void NAME(const ARGS args) { BODY; }
#include "backends/cuda/kernels/Kernels.inc"
