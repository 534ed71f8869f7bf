//===- VectorPlan.h - How a loop's iterations become lanes ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_VECTORPLAN_H
#define LATHE_BACKENDS_CPU_COMPILER_VECTORPLAN_H

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include <string>

namespace lathe::cpu {

/// What a value in a loop is to iterations side by side.
enum class LaneKind {
  uniform, ///< the same for all: stays a scalar
  linear,  ///< an integer that grows by one from lane to lane: the scalar of the first lane
  vector,
};

/// How the iterations of a loop are computed side by side.
struct VectorPlan {
  llvm::DenseMap<mlir::Value, LaneKind> kinds; ///< of values in the loop; what is not there is uniform
  /// For each of the loop's states, an operation that combines two of its values; they may be combined in any order.
  /// That which ignores NaN gives minus infinity where there is nothing else.
  llvm::SmallVector<mlir::Operation *> combiners;
  /// Operations that combine a state, and which operand that is.
  llvm::DenseMap<mlir::Operation *, unsigned> stateOperand;
  /// Reads at one place that only some lanes may ask for.
  llvm::DenseSet<mlir::Operation *> guarded;
  int64_t lanes = 0;
  int64_t operations = 0; ///< in the loop
  std::optional<int64_t> trips;

  LaneKind kindOf(mlir::Value value) const { return kinds.lookup(value); }
};

/// The plan for a loop; none where its iterations can't be, or had better not be, computed side by side: then `reason`
/// says why. Buffers that the loop reads at other places than it writes are taken to be others, as kernels' are.
std::optional<VectorPlan> planVectors(mlir::scf::ForOp loop, std::string &reason);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_VECTORPLAN_H
