//===- Materialize.h - Code that computes many expressions ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_MATERIALIZE_H
#define LATHE_DIALECTS_LATHE_MATERIALIZE_H

#include "dialects/lathe/SymbolicShape.h"

namespace lathe {

/// Values of large atoms, by key, that were written where all later code can use them.
using WrittenAtoms = llvm::StringMap<mlir::Value>;

/// As materialize() of SymbolicShape.h, with what `written` has; with `adds`, what is written now is there next time.
/// Expressions that grow from one operation to the next are written piece by piece then, not each from its beginning.
mlir::Value materialize(mlir::OpBuilder &builder, mlir::Location loc, const SymExpr &expr, WrittenAtoms &written,
                        bool adds);

} // namespace lathe

#endif // LATHE_DIALECTS_LATHE_MATERIALIZE_H
