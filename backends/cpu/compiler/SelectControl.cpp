//===- SelectControl.cpp - Branches and loops of a selected program -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The program branches and loops where the model does. Results and states get their buffers before, so that each side
// of a branch, and every iteration, finds them at the same place.
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Selector.h"
#include "dialects/kernel/Kernel.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace lathe::cpu {

Value Selector::viewAs(Value buffer, Value tensor) {
  auto type = bufferType(cast<RankedTensorType>(tensor.getType()));
  return buffer.getType() == type
             ? buffer
             : b.create<kernel::ViewOp>(tensor.getLoc(), type, buffer, dynamicDims(tensor)).getResult();
}

void Selector::place(Value tensor, Block &block, Value target) {
  Operation *producer = tensor.getDefiningOp();
  if (producer && producer->getBlock() == &block && stored.contains(producer))
    placed.try_emplace(tensor, target);
}

LogicalResult Selector::fill(Value tensor, Value target) {
  return placed.lookup(tensor) == target ? success() : emitGroup({}, tensor, viewAs(target, tensor));
}

LogicalResult Selector::emitIf(IfOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> results;
  for (Value result : op.getResults())
    results.push_back(destination(result));
  Value truth =
      b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ne, host(shapes.indexValue(op.getCondition())), host(0));
  auto branch = b.create<scf::IfOp>(loc, truth, /*withElseRegion=*/true);
  for (auto [from, to] :
       {std::pair(&op.getThenRegion(), branch.thenBlock()), std::pair(&op.getElseRegion(), branch.elseBlock())}) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(to);
    Block &block = from->front();
    SmallVector<Value> targets;
    for (auto [value, result] : llvm::zip_equal(block.getTerminator()->getOperands(), results)) {
      // The branch may know more of the shape than the result's type says.
      targets.push_back(viewAs(result, value));
      place(value, block, targets.back());
    }
    if (failed(emitBlock(block)))
      return failure();
    for (auto [value, target] : llvm::zip_equal(block.getTerminator()->getOperands(), targets))
      if (failed(fill(value, target)))
        return failure();
  }
  return success();
}

LogicalResult Selector::emitLoop(LoopOp op) {
  Location loc = op.getLoc();
  SmallVector<Value> results;
  for (Value result : op.getTensors())
    results.push_back(destination(result));
  for (auto [init, state] : llvm::zip(op.getInit(), results))
    if (failed(emitGroup({}, init, viewAs(state, init))))
      return failure();
  auto truth = [&](Value index) {
    return b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ne, host(shapes.indexValue(index)), host(0)).getResult();
  };
  Value limit = host(shapes.indexValue(op.getLimit()));
  SmallVector<Value> start{host(0), truth(op.getCondition())};
  SmallVector<Type> types{b.getIndexType(), b.getI1Type()};
  auto loop = b.create<scf::WhileOp>(loc, types, start);
  {
    OpBuilder::InsertionGuard guard(b);
    Block *before = b.createBlock(&loop.getBefore(), {}, types, {loc, loc});
    Value below = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::slt, before->getArgument(0), limit);
    b.create<scf::ConditionOp>(loc, b.create<arith::AndIOp>(loc, below, before->getArgument(1)),
                               before->getArguments());
    Block *after = b.createBlock(&loop.getAfter(), {}, types, {loc, loc});
    if (failed(emitBody(op, after->getArgument(0), results)))
      return failure();
    Value next = b.create<arith::AddIOp>(loc, after->getArgument(0), host(1));
    b.create<scf::YieldOp>(loc, ValueRange{next, truth(op.getNextCondition())});
  }
  define(op.getCount(), loop.getResult(0));
  return success();
}

/// The argument of the loop's body that a value is, whatever its shape.
static BlockArgument stateOf(Value value) {
  while (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  return dyn_cast<BlockArgument>(value);
}

LogicalResult Selector::emitBody(LoopOp op, Value number, ArrayRef<Value> results) {
  Block &block = op.getBody().front();
  define(op.getBody().getArgument(0), number);
  size_t states = op.getNumStates();
  for (size_t i = 0; i < states; ++i)
    buffers[op.getState(i)] = viewAs(results[i], op.getState(i));
  // What is gathered of all iterations is computed where it is to lie.
  SmallVector<Value> rows;
  for (size_t i = states; i < results.size(); ++i) {
    Value value = op.getYielded(i);
    auto type = bufferType(cast<RankedTensorType>(value.getType()));
    rows.push_back(b.create<kernel::RowOp>(op.getLoc(), type, results[i], number, dynamicDims(value)));
    place(value, block, rows.back());
  }
  if (failed(emitBlock(block)))
    return failure();
  for (auto [i, row] : llvm::enumerate(rows))
    if (failed(fill(op.getYielded(states + i), row)))
      return failure();
  // States change at once: what another state becomes is copied before that is overwritten.
  DenseMap<Value, Value> copies;
  for (size_t i = 0; i < states; ++i) {
    Value value = op.getYielded(i);
    BlockArgument state = stateOf(value);
    if (!state || state.getOwner() != &block || value == op.getState(i))
      continue;
    auto type = bufferType(cast<RankedTensorType>(value.getType()));
    Value copy = b.create<kernel::AllocOp>(op.getLoc(), type, dynamicDims(value));
    if (failed(emitGroup({}, value, copy)))
      return failure();
    copies[value] = copy;
  }
  for (size_t i = 0; i < states; ++i) {
    Value value = op.getYielded(i);
    if (value == op.getState(i))
      continue;
    Value before = buffers.lookup(value);
    if (Value copy = copies.lookup(value))
      buffers[value] = copy;
    if (failed(emitGroup({}, value, viewAs(results[i], value))))
      return failure();
    if (before)
      buffers[value] = before;
  }
  return success();
}

} // namespace lathe::cpu
