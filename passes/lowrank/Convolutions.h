//===- Convolutions.h - Convolutions of low rank ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_CONVOLUTIONS_H
#define LATHE_PASSES_LOWRANK_CONVOLUTIONS_H

#include "passes/lowrank/methods/Cp.h"
#include "passes/lowrank/methods/Tucker.h"
#include "passes/quantization/Expressions.h"

namespace lathe::lowrank {

/// A product of windows [n, channels, o…, e…] with a weight [outputs, channels x elements], as convolutions are
/// imported.
struct WindowProduct {
  WindowsOp windows;
  TransposeOp ordered; ///< [n, o…, channels, e…]
  ReshapeOp rows;      ///< [n, o, channels x elements]
  MatmulOp product;
  int64_t channels = 0, elements = 0; ///< of a window
};

/// The windows of a product whose right side is a weight; nothing where it is no convolution with windows of more than
/// one element, or windows that something else reads.
std::optional<WindowProduct> windowProduct(MatmulOp product);

/// Computes a convolution by its factors: channels become fewer, then windows of these are multiplied, then outputs
/// become as many as they were. `name` is the weight's; factors are stored as `stored`. False after a failure of
/// `make`.
bool replaceByTucker(const WindowProduct &convolution, llvm::StringRef name, mlir::Type stored,
                     const TuckerFactors &factors, const compression::MakeConstant &make);

/// Computes a convolution by the factors of a sum of products: channels become `rank`, each of which has a window of
/// its own, then outputs become as many as they were. False after a failure of `make`.
bool replaceByCp(const WindowProduct &convolution, llvm::StringRef name, mlir::Type stored, const CpFactors &factors,
                 const compression::MakeConstant &make);

/// Replaces a weight [outputs, channels x elements] by the expression of its factors, for programs that keep a weight
/// one value. False after a failure of `make`.
bool replaceByTuckerExpression(mlir::Value weight, llvm::StringRef name, mlir::Type stored,
                               const TuckerFactors &factors, const compression::MakeConstant &make);
bool replaceByCpExpression(mlir::Value weight, llvm::StringRef name, mlir::Type stored, const CpFactors &factors,
                           const compression::MakeConstant &make);

/// Names of the constants of the factors, in the order in which they are multiplied with.
std::vector<std::string> tuckerNames(llvm::StringRef name);
std::vector<std::string> cpNames(llvm::StringRef name);

} // namespace lathe::lowrank

#endif // LATHE_PASSES_LOWRANK_CONVOLUTIONS_H
