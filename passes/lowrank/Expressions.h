//===- Expressions.h - Weights of low rank as expressions -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_EXPRESSIONS_H
#define LATHE_PASSES_LOWRANK_EXPRESSIONS_H

#include "passes/lowrank/methods/Factors.h"
#include "passes/quantization/Expressions.h"

namespace lathe::lowrank {

/// Replaces a matrix of f32, [outputs, inputs] where `transposed`, else [inputs, outputs], by the product of its
/// factors, which are stored as `stored`: f32, or f16 or bf16 that are widened. False after a failure of `make`.
bool replaceByFactors(mlir::Value weight, llvm::StringRef name, bool transposed, mlir::Type stored,
                      const Factors &factors, const std::vector<float> &rest,
                      const compression::MakeConstant &make);

/// Names of the constants of the factors: that on the side of the inputs, and that on the side of the outputs.
std::string inputFactorName(llvm::StringRef name);
std::string outputFactorName(llvm::StringRef name);
/// And of what they leave.
std::string restName(llvm::StringRef name);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_EXPRESSIONS_H
