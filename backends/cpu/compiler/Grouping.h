//===- Grouping.h - Which operations share a generated kernel ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_GROUPING_H
#define LATHE_BACKENDS_CPU_COMPILER_GROUPING_H

#include "dialects/lathe/Lathe.h"
#include "llvm/ADT/MapVector.h"

namespace lathe::cpu {

/// A bias and activation that a matrix product applies itself.
struct Epilogue {
  mlir::Operation *last = nullptr; ///< the operation whose result the product then computes
  mlir::Value bias;
  int64_t activation = 0; ///< lathe_activation
};

/// What becomes of each operation of a lathe program.
struct Grouping {
  /// Operations of a generated kernel, in program order; by the operation whose result is stored.
  llvm::MapVector<mlir::Operation *, llvm::SmallVector<mlir::Operation *>> kernels;
  /// Matrix products of the library.
  llvm::DenseMap<mlir::Operation *, Epilogue> matmuls;
};

/// Written in the order of its updates, by a kernel of its own.
inline bool isScatter(mlir::Operation *op) { return llvm::isa<ScatterElementsOp, ScatterNDOp>(op); }

/// Groups the operations of a block, not those of regions within it. `library`: f32 products go to the library; `fuse`:
/// as the pass's options.
Grouping formGroups(mlir::Block &block, ShapeContext &shapes, bool fuse, bool library);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_GROUPING_H
