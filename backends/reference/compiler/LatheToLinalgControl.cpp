//===- LatheToLinalgControl.cpp - Branches and loops to scf ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/IR/Dominance.h"

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

/// Whether the values that an expression mentions are known before an operation.
bool isKnownBefore(const SymExpr &expr, Operation *op, DominanceInfo &dominance) {
  return llvm::all_of(expr.getTerms(), [&](const auto &term) {
    return llvm::all_of(term.first.atoms, [&](const SymAtomRef &atom) {
      if (atom->op == SymOp::value)
        return dominance.properlyDominates(atom->value, op);
      return llvm::all_of(atom->args, [&](const SymExpr &arg) { return isKnownBefore(arg, op, dominance); });
    });
  });
}

/// Extents of what loops gather, an entry for each dynamic one, as index values before the loop.
using GatheredExtents = DenseMap<std::pair<Operation *, unsigned>, SmallVector<Value>>;

/// Sizes of a tensor of `count` entries.
SmallVector<OpFoldResult> mixedSizes(RewriterBase &rewriter, OpFoldResult count, RankedTensorType entry,
                                     ArrayRef<Value> extents) {
  SmallVector<OpFoldResult> sizes{count};
  for (int64_t extent : entry.getShape()) {
    if (!ShapedType::isDynamic(extent)) {
      sizes.push_back(rewriter.getIndexAttr(extent));
      continue;
    }
    sizes.push_back(extents.front());
    extents = extents.drop_front();
  }
  return sizes;
}

/// Writes them while the operations that shapes follow from are there.
LogicalResult writeExtents(RewriterBase &rewriter, LoopOp op, ShapeContext &shapes, DominanceInfo &dominance,
                           GatheredExtents &extents) {
  rewriter.setInsertionPoint(op);
  for (unsigned i = op.getNumStates(); i + 1 < op.getNumResults(); ++i) {
    FailureOr<SymShape> shape = shapes.shapeOf(op.getTensors()[i]);
    if (failed(shape))
      return failure();
    auto entry = cast<RankedTensorType>(op.getYielded(i).getType());
    for (int64_t axis = 0; axis < entry.getRank(); ++axis) {
      const SymExpr &extent = (*shape)[axis + 1];
      if (!entry.isDynamicDim(axis))
        continue;
      if (!isKnownBefore(extent, op, dominance))
        return op.emitOpError()
               << "is lowered where the extents of what is gathered of all iterations are known before "
               << "it, got another one for axis " << axis << " of " << entry;
      extents[{op, i}].push_back(materialize(rewriter, op.getLoc(), extent));
    }
  }
  return success();
}

void lowerLoop(RewriterBase &rewriter, LoopOp op, GatheredExtents &extents) {
  Location loc = op.getLoc();
  rewriter.setInsertionPoint(op);
  size_t states = op.getNumStates();
  Value zero = rewriter.create<arith::ConstantIndexOp>(loc, 0);
  Value rows = rewriter.create<arith::MaxSIOp>(loc, op.getLimit(), zero);
  SmallVector<Value> start{zero, isNotZero(rewriter, op.getCondition())};
  for (auto [i, init] : llvm::enumerate(op.getInit()))
    start.push_back(castTo(rewriter, init, op.getState(i).getType()));
  for (unsigned i = states; i + 1 < op.getNumResults(); ++i) {
    auto entry = cast<RankedTensorType>(op.getYielded(i).getType());
    start.push_back(rewriter.create<tensor::EmptyOp>(loc, mixedSizes(rewriter, rows, entry, extents[{op, i}]),
                                                     entry.getElementType()));
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
    SmallVector<OpFoldResult> offsets(entry.getRank() + 1, rewriter.getIndexAttr(0));
    SmallVector<OpFoldResult> sizes = mixedSizes(rewriter, rewriter.getIndexAttr(1), entry, extents[{op, i}]);
    offsets[0] = after->getArgument(0);
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
}

} // namespace

LogicalResult lowerControlFlow(Operation *root) {
  SmallVector<Operation *> ops;
  root->walk([&](Operation *op) {
    if (isa<IfOp, LoopOp>(op))
      ops.push_back(op);
  });
  IRRewriter rewriter(root->getContext());
  GatheredExtents extents;
  {
    // Of the program as it was: lowering replaces the values that shapes are remembered for.
    ShapeContext shapes;
    DominanceInfo dominance(root);
    for (Operation *op : ops)
      if (auto loop = dyn_cast<LoopOp>(op); loop && failed(writeExtents(rewriter, loop, shapes, dominance, extents)))
        return failure();
  }
  for (Operation *op : ops) {
    if (auto branch = dyn_cast<IfOp>(op))
      lowerIf(rewriter, branch);
    else
      lowerLoop(rewriter, cast<LoopOp>(op), extents);
  }
  return success();
}

} // namespace lathe::reference
