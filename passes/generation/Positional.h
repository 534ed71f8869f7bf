//===- Positional.h - Values that depend on positions alone -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_GENERATION_POSITIONAL_H
#define LATHE_PASSES_GENERATION_POSITIONAL_H

#include "passes/generation/Uniform.h"
#include "llvm/ADT/MapVector.h"
#include <map>

namespace lathe::generation {

/// What is made of an axis along the sequence.
enum class Extent : uint8_t {
  none, ///< it is no such axis
  rows, ///< the new tokens, of each sequence its own
  last, ///< those of them whose logits are wanted: the last one, or more
  all   ///< all positions, from 0 to the longest sequence's end
};
using Extents = llvm::SmallVector<Extent, 4>;

/// Names of the old program and values of the new one.
struct StepFrame {
  std::string batch, sequence; ///< symbols of the old program; of the new tokens the latter, too
  mlir::Value positions;       ///< [B, S], i64
  mlir::Value lastPositions;   ///< [B, count]
  SymExpr count = 1;           ///< of the tokens whose logits are wanted
};

/// Makes values of the old program that no token and no source input changes again, in the new one. What a row has is another
/// number in each sequence: such a value gets the sequences as a first axis of its own, before the axes that it has for
/// a batch of one.
class Positional {
public:
  struct Made {
    mlir::Value value;
    bool batched = false;
  };

  Positional(mlir::OpBuilder &b, const StepFrame &frame, ShapeContext &before, ShapeContext &after)
      : b(b), frame(frame), before(before), after(after) {}

  /// Of a value of the old program; nullopt, with `why`, where that is not to be had.
  std::optional<Made> make(mlir::Value value, const Extents &extents);
  /// The extents of a value whose axes along the sequence are all of one kind.
  std::optional<Extents> uniform(mlir::Value value, Extent kind);
  /// A dimension of the old program, of an axis of such an extent; the batch stays, or is one.
  std::optional<SymExpr> dimension(const SymExpr &dim, Extent extent, bool keepsBatch);
  mlir::Value host(mlir::Location loc, const SymExpr &expr) { return materialize(b, loc, expr); }
  /// Gives the sequences' axis the place of axis `axis` of `rank`; null where the value has something there.
  mlir::Value align(const Made &made, size_t rank, size_t axis);
  /// The operation with other operands, its shape inferred; index operands are of extents of `kind`.
  mlir::Value rebuild(mlir::Operation *op, llvm::ArrayRef<mlir::Value> operands, Extent kind, bool keepsBatch);
  /// The same of operations with several results; null where a shape is not known.
  mlir::Operation *rebuildAll(mlir::Operation *op, llvm::ArrayRef<mlir::Value> operands, Extent kind, bool keepsBatch);

  std::string why;
  mlir::Operation *at = nullptr;

private:
  std::optional<Made> compute(mlir::Value value, const Extents &extents);
  std::optional<Made> elementwise(mlir::Operation *op, const Extents &extents);
  std::optional<Made> reshape(ReshapeOp op, const Extents &extents);
  std::optional<Made> broadcast(BroadcastOp op, const Extents &extents);
  std::optional<Made> transpose(TransposeOp op, const Extents &extents);
  std::optional<Made> concat(ConcatOp op, const Extents &extents);
  std::optional<Made> slice(SliceOp op, const Extents &extents);
  std::optional<Made> gather(GatherOp op, const Extents &extents);
  std::optional<Made> matmul(MatmulOp op, const Extents &extents);
  /// All positions are made, and of them the rows taken.
  std::optional<Made> pick(mlir::Value value, const Extents &extents);
  /// Rows along an axis of something that has no sequences' axis yet.
  std::optional<Made> rowsOf(mlir::Value value, int64_t axis, Extent kind, const SymExpr &offset, mlir::Location loc);
  std::optional<Made> refuse(mlir::Operation *op, const llvm::Twine &reason);
  mlir::Value shaped(mlir::Location loc, mlir::Value value, llvm::ArrayRef<SymExpr> dims);
  SymExpr batch() { return SymExpr::symbol(frame.batch); }
  /// With ones before its axes, so that it has `rank` of them beside the sequences'.
  mlir::Value padded(mlir::Location loc, const Made &made, size_t rank);

  template <typename OpTy, typename... Args> mlir::Value create(mlir::Location loc, mlir::Type element, Args &&...args) {
    auto made = createInferred<OpTy>(b, loc, after, element, std::forward<Args>(args)...);
    return mlir::succeeded(made) ? made->getResult() : mlir::Value();
  }

  mlir::OpBuilder &b;
  const StepFrame &frame;
  ShapeContext &before, &after;
  std::map<std::pair<void *, std::vector<uint8_t>>, Made> known;
};

} // namespace lathe::generation

#endif // LATHE_PASSES_GENERATION_POSITIONAL_H
