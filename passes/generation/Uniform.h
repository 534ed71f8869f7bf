//===- Uniform.h - Values all of whose elements are one number --*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_GENERATION_UNIFORM_H
#define LATHE_PASSES_GENERATION_UNIFORM_H

#include "dialects/lathe/Lathe.h"

namespace lathe::generation {

/// Makes what moves or computes with elements that are all the same number a broadcast of that number.
void replaceUniform(mlir::Block &block);

/// The expression with other ones for some symbols; nullopt where it depends on data.
std::optional<SymExpr> substitute(const SymExpr &expr, const llvm::StringMap<SymExpr> &symbols, ShapeContext &context);

} // namespace lathe::generation

#endif // LATHE_PASSES_GENERATION_UNIFORM_H
