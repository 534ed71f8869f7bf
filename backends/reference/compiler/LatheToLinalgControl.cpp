//===- LatheToLinalgControl.cpp - Branches and loops to scf ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;

namespace lathe::reference {
namespace {

/// One of the two types may know more of the extents.
Value castTo(RewriterBase &rewriter, Value value, Type type) {
  return value.getType() == type ? value : rewriter.create<tensor::CastOp>(value.getLoc(), type, value).getResult();
}

Value isNotZero(RewriterBase &rewriter, Value index) {
  Value zero = rewriter.create<arith::ConstantIndexOp>(index.getLoc(), 0);
  return rewriter.create<arith::CmpIOp>(index.getLoc(), arith::CmpIPredicate::ne, index, zero);
}

void lowerIf(RewriterBase &rewriter, IfOp op) {
  rewriter.setInsertionPoint(op);
  Value truth = isNotZero(rewriter, op.getCondition());
  auto branch = rewriter.create<scf::IfOp>(op.getLoc(), op.getResultTypes(), truth, /*withElseRegion=*/true);
  for (auto [from, to] : {std::pair(&op.getThenRegion(), &branch.getThenRegion()),
                          std::pair(&op.getElseRegion(), &branch.getElseRegion())}) {
    to->takeBody(*from);
    Operation *yield = to->front().getTerminator();
    rewriter.setInsertionPoint(yield);
    SmallVector<Value> values;
    for (auto [value, type] : llvm::zip_equal(yield->getOperands(), op.getResultTypes()))
      values.push_back(castTo(rewriter, value, type));
    rewriter.replaceOpWithNewOp<scf::YieldOp>(yield, values);
  }
  rewriter.replaceOp(op, branch.getResults());
}

/// A tensor for what is gathered of `count` iterations; null where the extents of an entry are not static.
Value emptyRows(RewriterBase &rewriter, Location loc, Value count, RankedTensorType entry) {
  if (!entry.hasStaticShape())
    return {};
  SmallVector<OpFoldResult> sizes{count};
  for (int64_t extent : entry.getShape())
    sizes.push_back(rewriter.getIndexAttr(extent));
  return rewriter.create<tensor::EmptyOp>(loc, sizes, entry.getElementType());
}

LogicalResult lowerLoop(RewriterBase &rewriter, LoopOp op) {
  Location loc = op.getLoc();
  rewriter.setInsertionPoint(op);
  size_t states = op.getNumStates();
  Value zero = rewriter.create<arith::ConstantIndexOp>(loc, 0);
  Value rows = rewriter.create<arith::MaxSIOp>(loc, op.getLimit(), zero);
  SmallVector<Value> start{zero, isNotZero(rewriter, op.getCondition())};
  for (auto [i, init] : llvm::enumerate(op.getInit()))
    start.push_back(castTo(rewriter, init, op.getState(i).getType()));
  for (size_t i = states; i + 1 < op.getNumResults(); ++i) {
    start.push_back(emptyRows(rewriter, loc, rows, cast<RankedTensorType>(op.getYielded(i).getType())));
    if (!start.back())
      return op.emitOpError() << "is lowered where the extents of what is gathered of all iterations are static, got "
                              << op.getYielded(i).getType();
  }
  SmallVector<Type> types(ValueRange(start).getTypes());
  SmallVector<Location> locations(types.size(), loc);
  auto loop = rewriter.create<scf::WhileOp>(loc, types, start);
  Block *before = rewriter.createBlock(&loop.getBefore(), {}, types, locations);
  Value below = rewriter.create<arith::CmpIOp>(loc, arith::CmpIPredicate::slt, before->getArgument(0), op.getLimit());
  rewriter.create<scf::ConditionOp>(loc, rewriter.create<arith::AndIOp>(loc, below, before->getArgument(1)),
                                    before->getArguments());

  Block *after = rewriter.createBlock(&loop.getAfter(), {}, types, locations);
  SmallVector<Value> arguments{after->getArgument(0)};
  llvm::append_range(arguments, after->getArguments().slice(2, states));
  Operation *yield = op.getBody().front().getTerminator();
  rewriter.mergeBlocks(&op.getBody().front(), after, arguments);
  rewriter.setInsertionPoint(yield);
  Value one = rewriter.create<arith::ConstantIndexOp>(loc, 1);
  SmallVector<Value> next{rewriter.create<arith::AddIOp>(loc, after->getArgument(0), one),
                          isNotZero(rewriter, yield->getOperand(0))};
  for (size_t i = 0; i + 2 < types.size(); ++i) {
    Value value = yield->getOperand(i + 1);
    if (i < states) {
      next.push_back(castTo(rewriter, value, types[i + 2]));
      continue;
    }
    auto entry = cast<RankedTensorType>(value.getType());
    SmallVector<OpFoldResult> offsets(entry.getRank() + 1, rewriter.getIndexAttr(0)), sizes{rewriter.getIndexAttr(1)};
    offsets[0] = after->getArgument(0);
    for (int64_t extent : entry.getShape())
      sizes.push_back(rewriter.getIndexAttr(extent));
    SmallVector<OpFoldResult> strides(offsets.size(), rewriter.getIndexAttr(1));
    next.push_back(
        rewriter.create<tensor::InsertSliceOp>(loc, value, after->getArgument(i + 2), offsets, sizes, strides));
  }
  rewriter.replaceOpWithNewOp<scf::YieldOp>(yield, next);

  rewriter.setInsertionPointAfter(loop);
  SmallVector<Value> results{loop.getResult(0)};
  for (auto [result, value] : llvm::zip_equal(op.getTensors(), loop.getResults().drop_front(2)))
    results.push_back(castTo(rewriter, value, result.getType()));
  rewriter.replaceOp(op, results);
  return success();
}

} // namespace

LogicalResult lowerControlFlow(Operation *root) {
  SmallVector<Operation *> ops;
  root->walk([&](Operation *op) {
    if (isa<IfOp, LoopOp>(op))
      ops.push_back(op);
  });
  IRRewriter rewriter(root->getContext());
  for (Operation *op : ops) {
    if (auto branch = dyn_cast<IfOp>(op))
      lowerIf(rewriter, branch);
    else if (failed(lowerLoop(rewriter, cast<LoopOp>(op))))
      return failure();
  }
  return success();
}

} // namespace lathe::reference
