//===- InPlace.cpp - Operands whose place a result may take ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/InPlace.h"
#include "backends/cpu/compiler/RowKernel.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;

namespace lathe::cpu {
namespace {

/// Where the tensors of a group are read, seen from the element of the result that is written.
class Reads {
public:
  void atSame(Value tensor) { same.insert(tensor); }
  void anywhere(Value tensor) { other.insert(tensor); }
  bool isRead(Value tensor) const { return same.contains(tensor) || other.contains(tensor); }
  bool isSame(Value tensor) const { return same.contains(tensor) && !other.contains(tensor); }

  void follow(linalg::GenericOp op) {
    for (OpResult result : op->getResults()) {
      if (!isRead(result))
        continue;
      AffineMap written = op.getMatchingIndexingMap(op.getDpsInitOperand(result.getResultNumber()));
      for (OpOperand &operand : op->getOpOperands()) {
        if (!isa<RankedTensorType>(operand.get().getType()) || op.getMatchingBlockArgument(&operand).use_empty())
          continue;
        // One index of the result is one of the operand only where the maps are equal and cover all loops.
        bool moves = op.getMatchingIndexingMap(&operand) != written || !written.isPermutation();
        moves || !isSame(result) ? anywhere(operand.get()) : atSame(operand.get());
      }
    }
    op.getRegion().walk([&](Operation *inner) {
      if (isa<tensor::DimOp>(inner))
        return;
      for (Value value : inner->getOperands())
        if (isa<RankedTensorType>(value.getType()))
          anywhere(value);
    });
  }

private:
  llvm::DenseSet<Value> same, other;
};

} // namespace

SmallVector<int64_t> findInPlace(func::FuncOp group) {
  Block &block = group.getBody().front();
  Value root = block.getTerminator()->getOperand(0);
  auto elementBits = [](Value tensor) {
    return bufferType(cast<RankedTensorType>(tensor.getType())).getElementTypeBitWidth();
  };
  Reads reads;
  reads.atSame(root);
  // Users come before what they use.
  for (Operation &op : llvm::reverse(block.without_terminator())) {
    if (auto generic = dyn_cast<linalg::GenericOp>(op)) {
      if (generic.getNumReductionLoops() > 0)
        return {};
      reads.follow(generic);
    } else if (auto cast = dyn_cast<tensor::CastOp>(op)) {
      if (reads.isRead(cast.getResult()))
        reads.isSame(cast.getResult()) ? reads.atSame(cast.getSource()) : reads.anywhere(cast.getSource());
    } else if (!isa<tensor::DimOp>(op)) {
      for (Value operand : op.getOperands())
        if (isa<RankedTensorType>(operand.getType()))
          reads.anywhere(operand);
    }
  }
  SmallVector<int64_t> result;
  for (BlockArgument argument : block.getArguments())
    if (isa<RankedTensorType>(argument.getType()) && reads.isSame(argument) &&
        elementBits(argument) == elementBits(root))
      result.push_back(argument.getArgNumber());
  return result;
}

} // namespace lathe::cpu
