//===- Work.h - What a program has to compute -------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_WORK_H
#define LATHE_COMPILER_WORK_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <map>
#include <string>

namespace lathe {

/// Operations of the matrix products of a program in the lathe dialect, two for each multiplication with its addition, over
/// symbolic dimensions and by the type that the processor may multiply in: "f32", "f16", "bf16", "f64" or "i8", which is that of
/// operands as they are stored or rounded (a weight of bf16, activations and a weight of 8 bits). Of a weight with zeros what is
/// stored counts. Branches count as all taken, the body of a loop as run once.
std::map<std::string, SymExpr> matmulOperations(mlir::func::FuncOp function);

} // namespace lathe

#endif // LATHE_COMPILER_WORK_H
