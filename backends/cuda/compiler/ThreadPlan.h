//===- ThreadPlan.h - Which threads compute a kernel's rows -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_COMPILER_THREADPLAN_H
#define LATHE_BACKENDS_CUDA_COMPILER_THREADPLAN_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/MapVector.h"

namespace lathe::cuda {

/// What a thread is given.
enum class Mapping {
  kernel,   ///< all there is: a single thread
  rows,     ///< whole rows
  elements, ///< elements of rows
  columns,  ///< columns of the rows of its block
};

struct ThreadPlan {
  Mapping mapping = Mapping::kernel;
  mlir::scf::ForOp rows; ///< null with Mapping::kernel
  /// With Mapping::columns, loops that the threads of a block share, and what combines their states; with
  /// Mapping::elements, the one over them.
  llvm::MapVector<mlir::scf::ForOp, llvm::SmallVector<mlir::Operation *>> shared;
};

/// The plan for a kernel (frame, arguments, begin, end).
ThreadPlan planThreads(mlir::func::FuncOp kernel);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_COMPILER_THREADPLAN_H
