//===- Precision.h - Which weights are stored in 16 bits ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PRECISION_H
#define LATHE_COMPILER_PRECISION_H

#include "compiler/Compile.h"
#include "compiler/Manifest.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe {

/// Chooses a type for each weight that can be narrowed, from the range of its elements. `precision` is "bf16", "f16" or
/// "auto": f16, whose steps are eight times finer, or bf16 where f16 does not reach. A weight that leaves the range of the type
/// that is asked for, or is lost in the smallest numbers of it, stays f32. So does one that some of the programs can't narrow, as
/// they share it. False with `error` set where a weight can't be read.
bool choosePrecision(llvm::ArrayRef<mlir::func::FuncOp> programs, WeightFiles &files, const std::string &precision, PrecisionPlan &plan,
                     std::string &error);

/// Stores vectors of 16 bits that are widened, such as biases and factors of norms, in f32: what reads them does so often, and they are
/// small. False with `error` set where one can't be read.
bool widenVectors(mlir::func::FuncOp program, WeightFiles &files, std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_PRECISION_H
