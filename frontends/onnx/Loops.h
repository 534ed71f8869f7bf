//===- Loops.h - Loops in what operators import as --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_LOOPS_H
#define LATHE_FRONTENDS_ONNX_LOOPS_H

#include "frontends/onnx/Compose.h"

namespace lathe::frontend {

/// Gives a result of a branch or loop that has just been made the extents that are known of it.
mlir::LogicalResult inferType(Node &node, mlir::Value result);

/// What an iteration gives to the next one, and what is kept of each.
struct LoopStep {
  mlir::Value condition; ///< index; the loop goes on where it is not 0
  llvm::SmallVector<mlir::Value> state, scanned;
};

struct LoopResults {
  llvm::SmallVector<mlir::Value> state, scanned; ///< scanned: of all iterations along a new first axis
};

/// The body for an iteration, whose number is an index value, and the state before it; nullopt after a failure.
using LoopBody = llvm::function_ref<std::optional<LoopStep>(mlir::Value number, llvm::ArrayRef<mlir::Value> state)>;

/// A lathe.loop: iterations below `limit`, while the condition before them is not 0 (both index values).
std::optional<LoopResults> makeLoop(Node &node, mlir::Value limit, mlir::Value condition,
                                    llvm::ArrayRef<mlir::Value> init, LoopBody body);
/// `length` iterations (an index value), side by side where they are few: `size` is about how many operations the body
/// has.
std::optional<LoopResults> forEach(Node &node, mlir::Value length, llvm::ArrayRef<mlir::Value> init, int64_t size,
                                   LoopBody body);

/// Iterations of a body of about `size` operations that are written out.
bool isShortLoop(int64_t iterations, int64_t size);

/// One entry of a tensor along an axis, which the result lacks; `number` is an index value within the extent.
mlir::Value entryAt(Node &node, mlir::Value tensor, mlir::Value number, int64_t axis);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_LOOPS_H
