//===- Passes.h - Passes that choose types ------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRECISION_PASSES_H
#define LATHE_PASSES_PRECISION_PASSES_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Pass/Pass.h"

namespace lathe::precision {
#define GEN_PASS_DECL
#include "passes/precision/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/precision/Passes.h.inc"

/// The 16-bit float that a program's matrix products or attentions are of: that of the first; null where none is of such.
mlir::Type typeOfProducts(mlir::func::FuncOp func);
/// Whether the program has attentions, or products as they are made of, that are of f32: of two tensors, neither of which is a constant,
/// but for products over one column, as positions are multiplied by frequencies.
bool hasWideAttention(mlir::func::FuncOp func);

/// Whether narrow-weights may store a weight in fewer bits: all that read it would widen it as they do.
bool canNarrow(WeightOp weight);
} // namespace lathe::precision

#endif // LATHE_PASSES_PRECISION_PASSES_H
