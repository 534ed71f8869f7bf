//===- Passes.h - Passes that recognise composite operations ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_FUSION_PASSES_H
#define LATHE_PASSES_FUSION_PASSES_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Pass/Pass.h"

namespace lathe::fusion {
#define GEN_PASS_DECL
#include "passes/fusion/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/fusion/Passes.h.inc"

/// The phase "fuse" of a compilation, on modules. With `explain`, functions tell what fused and what nearly did (Report.h).
void buildPipeline(mlir::OpPassManager &passes, bool explain = false);
} // namespace lathe::fusion

#endif // LATHE_PASSES_FUSION_PASSES_H
