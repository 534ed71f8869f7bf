//===- ControlFlow.cpp - Branches and loops of the lathe dialect ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;

namespace lathe {

/// One of the two may know more of the extents.
static bool fits(Type a, Type b) {
  return getElementTypeOrSelf(a) == getElementTypeOrSelf(b) && succeeded(verifyCompatibleShape(a, b));
}

static std::string text(TypeRange types) {
  std::string result;
  llvm::raw_string_ostream stream(result);
  stream << "(";
  llvm::interleaveComma(types, stream);
  stream << ")";
  return result;
}

/// The types of what a region yields, or takes, against those that are expected.
static LogicalResult verifyTypes(Operation *op, TypeRange got, TypeRange expected, StringRef what) {
  if (got.size() == expected.size() &&
      llvm::all_of(llvm::zip(got, expected), [](auto pair) { return fits(std::get<0>(pair), std::get<1>(pair)); }))
    return success();
  return op->emitOpError() << "expects " << what << " of types " << text(expected) << ", got " << text(got);
}

static FailureOr<YieldOp> terminatorOf(Operation *op, Region &region) {
  auto yield = region.front().empty() ? YieldOp() : dyn_cast<YieldOp>(region.front().back());
  if (yield)
    return yield;
  op->emitOpError() << "expects regions that end in lathe.yield";
  return failure();
}

RegionScope::RegionScope(ShapeContext &context, Region &region) : context(context), outer(context.guard) {
  auto truth = [&](const SymExpr &value) {
    return context.atLeast(value, 0) && context.atMost(value, 1) ? value : SymExpr(1) - context.eq(value, 0);
  };
  if (auto branch = dyn_cast_or_null<IfOp>(region.getParentOp())) {
    SymExpr condition = truth(context.indexValue(branch.getCondition()));
    context.guard = outer * (&region == &branch.getThenRegion() ? condition : SymExpr(1) - condition);
  } else if (auto loop = dyn_cast_or_null<LoopOp>(region.getParentOp())) {
    context.guard =
        outer * truth(context.indexValue(loop.getCondition())) * context.lt(0, context.indexValue(loop.getLimit()));
  }
}

//===----------------------------------------------------------------------===//
// lathe.if
//===----------------------------------------------------------------------===//

LogicalResult IfOp::verifyRegions() {
  for (Region *region : {&getThenRegion(), &getElseRegion()}) {
    FailureOr<YieldOp> yield = terminatorOf(*this, *region);
    if (failed(yield) ||
        failed(verifyTypes(*this, yield->getValues().getTypes(), getResultTypes(), "branches that yield values")))
      return failure();
  }
  return success();
}

FailureOr<SymShape> IfOp::inferArgumentShape(ShapeContext &, unsigned) { return failure(); }

FailureOr<SymShape> IfOp::inferResultShape(ShapeContext &context, unsigned result) {
  Value yes = getThenRegion().front().getTerminator()->getOperand(result);
  Value no = getElseRegion().front().getTerminator()->getOperand(result);
  FailureOr<SymShape> a = context.shapeOf(yes), b = context.shapeOf(no);
  if (failed(a) || failed(b))
    return failure();
  SymExpr condition = context.indexValue(getCondition());
  SymShape shape;
  for (auto [x, y] : llvm::zip_equal(*a, *b))
    shape.push_back(context.select(condition, x, y));
  return shape;
}

//===----------------------------------------------------------------------===//
// lathe.loop
//===----------------------------------------------------------------------===//

LogicalResult LoopOp::verifyRegions() {
  SmallVector<Type> carried{IndexType::get(getContext())};
  llvm::append_range(carried, getInit().getTypes());
  if (failed(verifyTypes(*this, getBody().getArgumentTypes(), carried, "a body that takes values")))
    return failure();
  FailureOr<YieldOp> yield = terminatorOf(*this, getBody());
  if (failed(yield))
    return failure();
  SmallVector<Type> results(getResultTypes());
  if (results.size() < carried.size())
    return emitOpError() << "expects results for " << getNumStates() << " states, got " << results.size() - 1;
  SmallVector<Type> expected{carried.front()};
  llvm::append_range(expected, ArrayRef(results).slice(1, getNumStates()));
  if (failed(verifyTypes(*this, carried, expected, "states")))
    return failure();
  for (Type type : ArrayRef(results).drop_front(carried.size())) {
    auto stacked = cast<RankedTensorType>(type);
    if (stacked.getRank() == 0)
      return emitOpError() << "expects tensors of all iterations to have an axis of iterations, got " << type;
    expected.push_back(RankedTensorType::get(stacked.getShape().drop_front(), stacked.getElementType()));
  }
  return verifyTypes(*this, yield->getValues().getTypes(), expected, "a body that yields values");
}

FailureOr<SymShape> LoopOp::inferArgumentShape(ShapeContext &context, unsigned argument) {
  return context.shapeOf(getInit()[argument - 1]);
}

FailureOr<SymShape> LoopOp::inferResultShape(ShapeContext &context, unsigned result) {
  FailureOr<SymShape> yielded = context.shapeOf(getYielded(result - 1));
  if (failed(yielded))
    return failure();
  if (result - 1 >= getNumStates()) {
    yielded->insert(yielded->begin(), context.max(context.indexValue(getLimit()), 0));
    return yielded;
  }
  FailureOr<SymShape> shape = context.shapeOf(getInit()[result - 1]);
  if (failed(shape))
    return failure();
  for (auto [axis, before, after] : llvm::enumerate(*shape, *yielded))
    if (failed(context.requireEqual(after, before, *this, "a state of a loop keeps its shape"))) {
      emitOpError() << "expects states that keep their shapes, got " << before.str() << " and then " << after.str()
                    << " for dimension " << axis << " of state " << result - 1;
      return failure();
    }
  return shape;
}

} // namespace lathe
