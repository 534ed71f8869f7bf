//===- Passes.h - Passes of the CPU backend's compile half ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_PASSES_H
#define LATHE_BACKENDS_CPU_COMPILER_PASSES_H

#include "dialects/kernel/Kernel.h"
#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"

namespace lathe::cpu {
#define GEN_PASS_DECL
#include "backends/cpu/compiler/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "backends/cpu/compiler/Passes.h.inc"
} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_PASSES_H
