//===- CompressedWeight.h - Weights that stay compressed --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_COMPRESSEDWEIGHT_H
#define LATHE_BACKENDS_CPU_COMPILER_COMPRESSEDWEIGHT_H

#include "dialects/lathe/Lathe.h"

namespace lathe::cpu {

/// The entry of `kernel.constants` of a matrix that kernels read as its expression's constants, packed; null where there are none
/// for such an expression. `transposed`: it is [n, k] to the product, or a table [n, k].
mlir::DictionaryAttr compressedContent(mlir::Value dense, bool transposed);

/// Likewise of a matrix with zeros, of which only products have kernels.
mlir::DictionaryAttr sparseContent(mlir::Value dense, bool transposed);

/// A constant as such an entry tells where its bytes are; null for anything else.
mlir::DictionaryAttr constantSource(mlir::Value value);

/// Whether a value is a weight that carries such an entry.
bool isCompressed(mlir::Value value);
/// Whether it is one that is stored without its zeros.
bool isSparse(mlir::Value value);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_COMPRESSEDWEIGHT_H
