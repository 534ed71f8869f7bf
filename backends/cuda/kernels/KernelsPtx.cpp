//===- KernelsPtx.cpp - The kernels as text for the driver ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/kernels/Kernels.h"

#ifdef LATHE_KERNELS_PTX
asm(".pushsection .rodata\n"
    ".globl lathe_cuda_kernels_begin\n.hidden lathe_cuda_kernels_begin\n"
    ".globl lathe_cuda_kernels_end\n.hidden lathe_cuda_kernels_end\n"
    "lathe_cuda_kernels_begin:\n"
    ".incbin \"" LATHE_KERNELS_PTX "\"\n"
    "lathe_cuda_kernels_end:\n"
    ".byte 0\n" // what reads a text up to its end finds it
    ".popsection\n");
extern "C" const char lathe_cuda_kernels_begin[];
extern "C" const char lathe_cuda_kernels_end[];

std::string_view lathe::cuda::kernelsPtx() {
  return {lathe_cuda_kernels_begin, size_t(lathe_cuda_kernels_end - lathe_cuda_kernels_begin)};
}
#else
std::string_view lathe::cuda::kernelsPtx() { return {}; }
#endif
