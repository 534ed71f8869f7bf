//===- Expressions.h - Compressed weights as expressions --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_EXPRESSIONS_H
#define LATHE_PASSES_QUANTIZATION_EXPRESSIONS_H

#include "dialects/lathe/Lathe.h"
#include "passes/quantization/Layers.h"
#include "passes/quantization/methods/Codebook.h"
#include "passes/quantization/methods/DoubleQuantization.h"
#include "passes/quantization/methods/Quantized.h"
#include <functional>

namespace lathe::compression {

/// Keeps the row-major bytes of a constant (one for each integer below 8 bits) and gives what stands for them: a
/// lathe.weight, or a lathe.constant. Null after a failure.
using MakeConstant = std::function<mlir::Value(mlir::OpBuilder &builder, mlir::Location loc, mlir::RankedTensorType type,
                                               llvm::StringRef name, llvm::ArrayRef<char> bytes)>;

/// Replaces a matrix of f32, [outputs, inputs] where `transposed`, else [inputs, outputs], by the expression of a quantized one,
/// whose rows are outputs. Each reader gets an expression of its own over the same constants, as kernels take it into themselves.
/// False after a failure of `make`.
bool replaceByQuantized(mlir::Value weight, llvm::StringRef name, bool transposed, const quantization::Quantized &quantized,
                        const MakeConstant &make);
/// The same with scales that are an expression themselves, of codes of eight bits.
bool replaceByQuantized(mlir::Value weight, llvm::StringRef name, bool transposed,
                        const quantization::DoubleQuantized &quantized, const MakeConstant &make);

/// The same by codebooks of vectors. Where the number of inputs is no multiple of a vector's dimension, or outputs have codebooks of
/// their own, there is no expression: see hasExpression.
bool replaceByCodebook(mlir::Value weight, llvm::StringRef name, bool transposed, const quantization::CodebookQuantized &quantized,
                       const MakeConstant &make);
inline bool hasExpression(const quantization::CodebookQuantized &quantized) {
  return quantized.k % quantized.dimension == 0 && quantized.books() == 1;
}

} // namespace lathe::compression

#endif // LATHE_PASSES_QUANTIZATION_EXPRESSIONS_H
