//===- ExpandMath.h - Functions that no library offers ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_EXPANDMATH_H
#define LATHE_BACKENDS_CPU_COMPILER_EXPANDMATH_H

#include "mlir/IR/PatternMatch.h"

namespace lathe::cpu {

/// Scalar functions in f64 arithmetic, to about 1e-15 of the result: f64 exp, log, sin, cos, tanh, erf, pow, fmod; and
/// of f32 those whose usual polynomials fail somewhere: log (denormal numbers), sin and cos (large angles), pow
/// (special values), fmod; and the best of a loop's elements, which LLVM vectorizes. Sine and cosine are exact up to angles of 2^50, and 0 beyond.
void populateExpandMathPatterns(mlir::RewritePatternSet &patterns);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_EXPANDMATH_H
