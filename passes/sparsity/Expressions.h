//===- Expressions.h - Weights with zeros as expressions --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_SPARSITY_EXPRESSIONS_H
#define LATHE_PASSES_SPARSITY_EXPRESSIONS_H

#include "passes/quantization/Expressions.h"
#include "passes/sparsity/Formats.h"

namespace lathe::sparsity {

/// Replaces a constant matrix, of f32, f16, bf16 or i8, by the expression of a stored one of the same type. Each reader
/// gets an expression of its own over the same constants, as kernels take it into themselves. False after a failure of
/// `make`.
bool replaceBySparse(mlir::Value weight, llvm::StringRef name, const Stored &stored,
                     const compression::MakeConstant &make);

} // namespace lathe::sparsity

#endif // LATHE_PASSES_SPARSITY_EXPRESSIONS_H
