//===- Passes.h - Passes of the CUDA backend's compile half -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_COMPILER_PASSES_H
#define LATHE_BACKENDS_CUDA_COMPILER_PASSES_H

#include "dialects/kernel/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/Pass.h"

namespace lathe::cuda {
#define GEN_PASS_DECL
#include "backends/cuda/compiler/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "backends/cuda/compiler/Passes.h.inc"
} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_COMPILER_PASSES_H
