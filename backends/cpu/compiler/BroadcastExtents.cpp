//===- BroadcastExtents.cpp - Operands of an extent of at most one --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Selector.h"

using namespace mlir;

namespace lathe::cpu {

/// The operand with extents of one where they are at most one, and the result's are others.
static Value withExtentsOfOne(Operation *op, Value operand, const SymShape &result, ShapeContext &shapes) {
  auto type = cast<RankedTensorType>(operand.getType());
  SymShape shape = *shapes.shapeOf(operand), padded = shape;
  size_t skip = result.size() - shape.size();
  for (auto [i, dim] : llvm::enumerate(padded))
    if (!dim.constant() && dim != result[skip + i] && shapes.atLeast(dim, 0) && shapes.atMost(dim, 1))
      dim = 1;
  if (padded == shape)
    return operand;
  OpBuilder b(op);
  Location loc = op->getLoc();
  Type element = type.getElementType();
  auto scalar = RankedTensorType::get({}, element);
  Attribute zero = b.getZeroAttr(element);
  Value value = b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, zero));
  SmallVector<Value> low(shape.size(), b.create<arith::ConstantIndexOp>(loc, 0)), extents;
  for (auto [i, dim] : llvm::enumerate(padded))
    extents.push_back(!dim.constant() ? b.create<DimOp>(loc, b.getIndexType(), operand, i).getResult()
                                      : b.create<arith::ConstantIndexOp>(loc, *dim.constant()).getResult());
  return b.create<PadOp>(loc, RankedTensorType::get(staticDims(padded), element), operand, value, low, extents);
}

void padExtentsOfOne(func::FuncOp main, ShapeContext &shapes) {
  SmallVector<Operation *> ops;
  main.walk([&](Operation *op) {
    if (op->hasTrait<OpTrait::BroadcastingElementwise>() || isa<BroadcastOp>(op))
      ops.push_back(op);
  });
  for (Operation *op : ops) {
    SymShape result = *shapes.shapeOf(op->getResult(0));
    for (OpOperand &operand : op->getOpOperands())
      if (isa<RankedTensorType>(operand.get().getType()))
        operand.set(withExtentsOfOne(op, operand.get(), result, shapes));
  }
}

} // namespace lathe::cpu
