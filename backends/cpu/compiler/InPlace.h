//===- InPlace.h - Operands whose place a result may take -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_INPLACE_H
#define LATHE_BACKENDS_CPU_COMPILER_INPLACE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe::cpu {

/// Arguments of `group` (see RowKernel.h) that its kernel reads only at the element that it is about to write: the
/// result may lie where such an argument does. None where something is reduced, since the result's rows then hold other
/// values in between.
llvm::SmallVector<int64_t> findInPlace(mlir::func::FuncOp group);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_INPLACE_H
