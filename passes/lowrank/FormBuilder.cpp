//===- FormBuilder.cpp - Operations that tensor forms are made of ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/FormBuilder.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace lathe::lowrank {

SymShape FormBuilder::shape(Value tensor) {
  FailureOr<SymShape> found = shapes.shapeOf(tensor);
  return succeeded(found) ? *found : SymShape();
}

SymShape FormBuilder::shapeWith(Value tensor, size_t count, ArrayRef<int64_t> inner) {
  SymShape result = shape(tensor);
  result.resize(result.size() - std::min(count, result.size()));
  for (int64_t extent : inner)
    result.push_back(SymExpr(extent));
  return result;
}

Value FormBuilder::reshape(Value tensor, const SymShape &to) {
  if (!tensor || shape(tensor) == to)
    return tensor;
  SmallVector<Value> dims;
  for (const SymExpr &dim : to) {
    if (dim.dependsOnData())
      return {};
    dims.push_back(dim.constant() ? b.create<arith::ConstantIndexOp>(loc, *dim.constant()).getResult()
                                  : materialize(b, loc, dim));
  }
  auto op = createInferred<ReshapeOp>(b, loc, shapes, elementOf(tensor), tensor, dims, /*zero_copies=*/false);
  return succeeded(op) ? op->getResult() : Value();
}

Value FormBuilder::reshapeTo(Value tensor, ArrayRef<int64_t> to) {
  SymShape dims;
  for (int64_t extent : to)
    dims.push_back(SymExpr(extent));
  return reshape(tensor, dims);
}

Value FormBuilder::transpose(Value tensor, ArrayRef<int64_t> permutation) {
  if (!tensor)
    return {};
  auto op = createInferred<TransposeOp>(b, loc, shapes, elementOf(tensor), tensor, b.getDenseI64ArrayAttr(permutation));
  return succeeded(op) ? op->getResult() : Value();
}

Value FormBuilder::matmul(Value lhs, Value rhs, bool transposeRhs) {
  if (!lhs || !rhs)
    return {};
  auto op = createInferred<MatmulOp>(b, loc, shapes, elementOf(lhs), lhs, rhs, UnitAttr(),
                                     transposeRhs ? b.getUnitAttr() : UnitAttr());
  return succeeded(op) ? op->getResult() : Value();
}

Value FormBuilder::gather(Value tensor, Value indices, int64_t axis) {
  if (!tensor || !indices)
    return {};
  auto op = createInferred<GatherOp>(b, loc, shapes, elementOf(tensor), tensor, indices, b.getI64IntegerAttr(axis));
  return succeeded(op) ? op->getResult() : Value();
}

Value FormBuilder::number(Value like, int64_t value) {
  if (!like)
    return {};
  auto type = RankedTensorType::get({}, elementOf(like));
  return b.create<ConstantOp>(loc, type, DenseElementsAttr::get(type, b.getIntegerAttr(type.getElementType(), value)));
}

Value FormBuilder::selectBelow(Value lhs, Value rhs, Value a, Value c) {
  if (!lhs || !rhs || !a || !c)
    return {};
  auto below = createInferred<CompareOp>(b, loc, shapes, b.getI1Type(), Comparison::lt, lhs, rhs);
  if (failed(below))
    return {};
  auto op = createInferred<SelectOp>(b, loc, shapes, elementOf(a), below->getResult(), a, c);
  return succeeded(op) ? op->getResult() : Value();
}

void replaceUses(Value old, Value by) {
  by.setType(old.getType());
  old.replaceAllUsesWith(by);
}

void eraseDead(ArrayRef<Value> values) {
  llvm::SetVector<Operation *> open; // one of them may be an operand of another, and be it twice
  auto add = [&](Value value) {
    if (Operation *op = value.getDefiningOp())
      open.insert(op);
  };
  llvm::for_each(values, add);
  while (!open.empty()) {
    Operation *op = open.pop_back_val();
    if (!op->use_empty()) // comes again with what reads it
      continue;
    llvm::for_each(op->getOperands(), add);
    op->erase();
  }
}

} // namespace lathe::lowrank
