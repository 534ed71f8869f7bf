//===- Passes.h - Passes that simplify imported graphs ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_SIMPLIFY_PASSES_H
#define LATHE_PASSES_SIMPLIFY_PASSES_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Pass/Pass.h"

namespace lathe::simplify {
#define GEN_PASS_DECL
#include "passes/simplify/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/simplify/Passes.h.inc"

/// The phase "simplify" of a compilation, on modules.
void buildPipeline(mlir::OpPassManager &passes);
} // namespace lathe::simplify

#endif // LATHE_PASSES_SIMPLIFY_PASSES_H
