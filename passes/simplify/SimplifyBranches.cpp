//===- SimplifyBranches.cpp - Branches that are not needed as such --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "mlir/IR/Matchers.h"
#include "passes/simplify/Passes.h"

namespace lathe::simplify {
#define GEN_PASS_DEF_SIMPLIFYBRANCHESPASS
#include "passes/simplify/Passes.h.inc"
} // namespace lathe::simplify

using namespace mlir;

namespace lathe::simplify {
namespace {

/// Operations of a branch that are computed although the other one is taken: more would cost more than a branch does.
constexpr size_t kMostOperations = 16;

/// Costs little and reads nothing at places that may be out of range.
bool isCheap(Operation &op) {
  return op.hasTrait<OpTrait::BroadcastingElementwise>() || isa<arith::ArithDialect>(op.getDialect()) ||
         isa<ReshapeOp, TransposeOp, BroadcastOp, SliceOp, ConcatOp, PadOp, RangeOp, ShapeOfOp, FromIndexOp, DimOp,
             SymbolOp>(op);
}

bool isConstant(Operation &op) { return isa<ConstantOp, WeightOp, arith::ConstantOp>(op); }

/// Puts the operations of a region before the operation that has it, and gives what it yields.
SmallVector<Value> inlineRegion(Operation *op, Region &region) {
  Operation *yield = region.front().getTerminator();
  SmallVector<Value> values(yield->getOperands());
  yield->erase();
  op->getBlock()->getOperations().splice(op->getIterator(), region.front().getOperations());
  return values;
}

class Simplifier {
public:
  explicit Simplifier(ShapeContext &shapes) : shapes(shapes) {}

  LogicalResult run(Block &block) {
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto loop = dyn_cast<LoopOp>(op)) {
        RegionScope scope(shapes, loop.getBody());
        if (failed(run(loop.getBody().front())))
          return failure();
        dropUnused(loop);
      } else if (auto branch = dyn_cast<IfOp>(op)) {
        if (failed(simplify(branch)))
          return failure();
      } else {
        for (Value result : op.getResults())
          if (isa<RankedTensorType>(result.getType()) && failed(shapes.shapeOf(result)))
            return failure();
      }
    }
    return success();
  }

  /// Erased at the end: what is known of a result must not pass to a new one at its address.
  SmallVector<Operation *> dead;

private:
  void replace(Operation *op, ValueRange values) {
    op->replaceAllUsesWith(values);
    dead.push_back(op);
  }

  /// Whether it could be computed in vain.
  bool isCheapBranch(Region &region, size_t checksBefore) {
    size_t count = 0;
    for (Operation &op : region.front().without_terminator()) {
      if (!isConstant(op) && (!isCheap(op) || ++count > kMostOperations))
        return false;
      for (Value result : op.getResults())
        if (result.getType().isIndex() && shapes.indexValue(result).dependsOnData())
          return false;
    }
    return shapes.checks.size() == checksBefore;
  }

  LogicalResult simplify(IfOp branch) {
    IntegerAttr condition;
    if (matchPattern(branch.getCondition(), m_Constant(&condition))) {
      Region &taken = condition.getValue().isZero() ? branch.getElseRegion() : branch.getThenRegion();
      if (failed(run(taken.front())))
        return failure();
      replace(branch, inlineRegion(branch, taken));
      return success();
    }
    bool cheap = true;
    for (Region *region : {&branch.getThenRegion(), &branch.getElseRegion()}) {
      RegionScope scope(shapes, *region);
      size_t checks = shapes.checks.size();
      if (failed(run(region->front())))
        return failure();
      cheap = isCheapBranch(*region, checks) && cheap;
    }
    for (auto [yes, no] : llvm::zip(branch.getThenRegion().front().getTerminator()->getOperands(),
                                    branch.getElseRegion().front().getTerminator()->getOperands())) {
      FailureOr<SymShape> a = shapes.shapeOf(yes), b = shapes.shapeOf(no);
      if (failed(a) || failed(b))
        return failure();
      cheap = cheap && *a == *b;
    }
    if (!cheap) {
      dropUnused(branch);
      return success();
    }
    SmallVector<Value> yes = inlineRegion(branch, branch.getThenRegion());
    SmallVector<Value> no = inlineRegion(branch, branch.getElseRegion());
    OpBuilder b(branch);
    Value truth = truthOf(b, branch);
    SmallVector<Value> selected;
    for (auto [x, y] : llvm::zip_equal(yes, no)) {
      auto element = cast<RankedTensorType>(x.getType()).getElementType();
      FailureOr<SelectOp> select = createInferred<SelectOp>(b, branch.getLoc(), shapes, element, truth, x, y);
      if (failed(select))
        return failure();
      selected.push_back(*select);
    }
    replace(branch, selected);
    return success();
  }

  /// The condition as a scalar tensor.
  static Value truthOf(OpBuilder &b, IfOp branch) {
    Location loc = branch.getLoc();
    auto type = RankedTensorType::get({}, b.getI1Type());
    if (auto toIndex = branch.getCondition().getDefiningOp<ToIndexOp>())
      if (auto from = cast<RankedTensorType>(toIndex.getInput().getType());
          from.getElementType().isInteger(1) && from.hasStaticShape() && from.getNumElements() == 1)
        return from == type ? Value(toIndex.getInput())
                            : b.create<ReshapeOp>(loc, type, toIndex.getInput(), ValueRange{});
    auto integer = RankedTensorType::get({}, b.getI64Type());
    Value number = b.create<FromIndexOp>(loc, integer, ValueRange{branch.getCondition()});
    Value zero = b.create<ConstantOp>(loc, integer, DenseElementsAttr::get(integer, int64_t(0)));
    return b.create<CompareOp>(loc, type, Comparison::ne, number, zero);
  }

  /// Another operation over the same regions without the results, from `first` on, that nothing uses.
  void dropUnused(Operation *op, unsigned first) {
    llvm::BitVector unused(op->getNumResults());
    for (unsigned i = first; i < op->getNumResults(); ++i)
      if (op->getResult(i).use_empty())
        unused.set(i);
    if (unused.none())
      return;
    OpBuilder b(op);
    OperationState state(op->getLoc(), op->getName());
    state.addOperands(op->getOperands());
    state.addAttributes(op->getAttrs());
    SmallVector<Value> kept;
    for (Value result : op->getResults())
      if (!unused[cast<OpResult>(result).getResultNumber()]) {
        state.types.push_back(result.getType());
        kept.push_back(result);
      }
    for (Region &region : op->getRegions()) {
      Operation *yield = region.front().getTerminator();
      for (unsigned i = op->getNumResults(); i-- > first;)
        if (unused[i])
          yield->eraseOperand(i);
      state.addRegion()->takeBody(region);
    }
    Operation *fresh = b.create(state);
    for (auto [from, to] : llvm::zip_equal(kept, fresh->getResults()))
      from.replaceAllUsesWith(to);
    dead.push_back(op);
  }
  void dropUnused(IfOp op) { dropUnused(op, 0); }
  void dropUnused(LoopOp op) { dropUnused(op, 1 + op.getNumStates()); }

  ShapeContext &shapes;
};

struct SimplifyBranches : impl::SimplifyBranchesPassBase<SimplifyBranches> {
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (func.isExternal() || !func.getBody().hasOneBlock())
      return;
    ShapeContext shapes;
    Simplifier simplifier(shapes);
    if (failed(simplifier.run(func.getBody().front())))
      return signalPassFailure();
    for (Operation *op : simplifier.dead)
      op->erase();
  }
};

} // namespace
} // namespace lathe::simplify
