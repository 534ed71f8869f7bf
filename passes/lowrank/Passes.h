//===- Passes.h - Passes for weights of low rank ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_PASSES_H
#define LATHE_PASSES_LOWRANK_PASSES_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace lathe::lowrank {
#define GEN_PASS_DECL
#include "passes/lowrank/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/lowrank/Passes.h.inc"

/// What order-matrix-chains does, to one program.
void orderMatrixChains(mlir::func::FuncOp program);

/// Why a use of a matrix can't read its factors instead; empty where it can.
std::string whyNotFactors(mlir::OpOperand &use);
} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_PASSES_H
