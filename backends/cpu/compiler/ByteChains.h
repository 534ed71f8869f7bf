//===- ByteChains.h - Numbers that stay integers ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_BYTECHAINS_H
#define LATHE_BACKENDS_CPU_COMPILER_BYTECHAINS_H

#include "dialects/lathe/Lathe.h"
#include <optional>

namespace lathe::cpu {

/// How numbers become integers of 8 bits: round(x / scale) + zero, from -128 to 127; of unsigned ones zero is 128 less.
struct StaticRounding {
  double scale = 1;
  int64_t zero = 0;
  bool operator==(const StaticRounding &other) const { return scale == other.scale && zero == other.zero; }
};

/// That of a quantize or dequantize operation by one constant scale above 0, to or from 8 bits; none for any other
/// operation.
std::optional<StaticRounding> staticRounding(mlir::Operation *op);

/// Lets products with weights of integers read the bytes that their left sides are made of, where these are a tensor
/// anyway, are read by several products, or are written by what computes the numbers: another such product, or a
/// generated kernel.
void readBytes(mlir::ArrayRef<MatmulOp> products);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_BYTECHAINS_H
