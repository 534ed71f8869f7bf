//===- Circulants.h - Weights of circulant blocks ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_CIRCULANTS_H
#define LATHE_PASSES_LOWRANK_CIRCULANTS_H

#include "passes/lowrank/methods/Circulant.h"
#include "passes/quantization/Expressions.h"

namespace lathe::lowrank {

/// Replaces a matrix of f32, [outputs, inputs] where `transposed`, else [inputs, outputs], by the expression that its
/// blocks are gathered by from their first columns. False after a failure of `make`.
bool replaceByCirculant(mlir::Value weight, llvm::StringRef name, bool transposed, mlir::Type stored,
                        const Circulant &circulant, const compression::MakeConstant &make);

/// Computes a product with a matrix of circulant blocks by the Fourier transforms of its inputs and of the blocks,
/// which are products with small constants. The product's left side has its inputs as last axis, and a shape that does
/// not follow from data. The product is left without readers. False after a failure of `make`.
bool multiplyByCirculant(MatmulOp product, llvm::StringRef name, mlir::Type stored, const Circulant &circulant,
                         ShapeContext &shapes, const compression::MakeConstant &make);

/// Names of the constants: of the first columns, and of their transform.
std::string circulantName(llvm::StringRef name);
std::string spectrumName(llvm::StringRef name);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_CIRCULANTS_H
