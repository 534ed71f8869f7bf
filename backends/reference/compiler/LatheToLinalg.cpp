//===- LatheToLinalg.cpp - The pass, constants and shapes -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "backends/reference/compiler/Passes.h"
#include "mlir/Transforms/DialectConversion.h"

using namespace mlir;

namespace lathe {
#define GEN_PASS_DEF_LATHETOLINALG
#include "backends/reference/compiler/Passes.h.inc"

namespace reference {
namespace {

FailureOr<Value> lowerDim(DimOp op, PatternRewriter &rewriter) {
  return extentOf(rewriter, op.getLoc(), op.getInput(), op.getAxis());
}

FailureOr<Value> lowerToIndex(ToIndexOp op, PatternRewriter &rewriter) {
  ScalarBuilder s(rewriter, op.getLoc());
  s.isUnsigned = isUnsigned(op);
  SmallVector<Value> position;
  if (tensorType(op.getInput()).getRank() == 1)
    position.push_back(s.index(op.getPosition()));
  return s.toIndex(s.op<tensor::ExtractOp>(op.getInput(), position));
}

FailureOr<Value> lowerFromIndex(FromIndexOp op, PatternRewriter &rewriter) {
  RankedTensorType type = op.getResult().getType();
  if (!type.hasStaticShape())
    return rewriter.notifyMatchFailure(op, "the number of values is static, the result's type is not");
  ScalarBuilder s(rewriter, op.getLoc());
  SmallVector<Value> elements;
  for (Value value : op.getValues())
    elements.push_back(s.fromIndex(value, type.getElementType()));
  return s.op<tensor::FromElementsOp>(type, elements);
}

FailureOr<Value> lowerShapeOf(ShapeOfOp op, PatternRewriter &rewriter) {
  RankedTensorType type = op.getResult().getType();
  if (!type.hasStaticShape())
    return rewriter.notifyMatchFailure(op, "the rank is static, the result's type is not");
  ScalarBuilder s(rewriter, op.getLoc());
  SmallVector<Value> elements;
  for (int64_t axis = 0; axis < tensorType(op.getInput()).getRank(); ++axis) {
    Value extent = extentOf(rewriter, op.getLoc(), op.getInput(), axis);
    elements.push_back(s.fromIndex(extent, type.getElementType()));
  }
  return s.op<tensor::FromElementsOp>(type, elements);
}

struct LowerRequire : OpRewritePattern<RequireOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(RequireOp op, PatternRewriter &rewriter) const override {
    ScalarBuilder s(rewriter, op.getLoc());
    Value holds = s.compare(Comparison::ne, op.getCondition(), s.index(0));
    rewriter.replaceOpWithNewOp<cf::AssertOp>(op, holds, op.getMessageAttr());
    return success();
  }
};

struct LatheToLinalgPass : impl::LatheToLinalgBase<LatheToLinalgPass> {
  void runOnOperation() override {
    if (failed(refuseUnsigned()) || failed(lowerControlFlow(getOperation())))
      return signalPassFailure();
    RewritePatternSet patterns(&getContext());
    populateLatheToLinalgPatterns(patterns);
    ConversionTarget target(getContext());
    target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
    target.addIllegalDialect<LatheDialect>();
    // Constants follow on their own: a conversion folds first, and a constant folds to itself without end.
    target.addLegalOp<SymbolOp, WeightOp, ConstantOp>();
    if (failed(applyPartialConversion(getOperation(), target, std::move(patterns))))
      return signalPassFailure();
    lowerConstants();
    eraseDead();
  }

  // Said here and on the operation, since a conversion doesn't pass on why patterns refused.
  LogicalResult refuseUnsigned() {
    WalkResult result = getOperation()->walk([](Operation *op) {
      if (!isa_and_nonnull<LatheDialect>(op->getDialect()) || isa<WeightOp>(op))
        return WalkResult::advance();
      for (Type type : llvm::concat<const Type>(SmallVector<Type>(op->getOperandTypes()),
                                                SmallVector<Type>(op->getResultTypes()))) {
        auto tensor = dyn_cast<RankedTensorType>(type);
        if (!tensor || isa<FloatType>(tensor.getElementType()) || tensor.getElementType().isSignlessInteger())
          continue;
        op->emitOpError() << "is not lowered on elements of type " << tensor.getElementType()
                          << ", only on floats and signless integers";
        return WalkResult::interrupt();
      }
      return WalkResult::advance();
    });
    return failure(result.wasInterrupted());
  }

  void lowerConstants() {
    SmallVector<ConstantOp> constants;
    getOperation()->walk([&](ConstantOp op) { constants.push_back(op); });
    IRRewriter rewriter(&getContext());
    for (ConstantOp op : constants) {
      rewriter.setInsertionPoint(op);
      rewriter.replaceOpWithNewOp<arith::ConstantOp>(op, cast<TypedAttr>(op.getValue()));
    }
  }

  // Constants that were taken into bodies and extents that turned out static.
  void eraseDead() {
    SmallVector<Operation *> ops;
    getOperation()->walk([&](Operation *op) {
      if (isa<arith::ConstantOp, tensor::DimOp, SymbolOp, WeightOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : llvm::reverse(ops))
      if (op->use_empty())
        op->erase();
  }
};

} // namespace
} // namespace reference

void populateLatheToLinalgPatterns(RewritePatternSet &patterns) {
  reference::populateElementwise(patterns);
  reference::populateQuantization(patterns);
  reference::populateReduction(patterns);
  reference::populateMovement(patterns);
  reference::populateWindows(patterns);
  reference::populateScatter(patterns);
  reference::populateSparse(patterns);
  reference::addPattern<DimOp>(patterns, reference::lowerDim);
  reference::addPattern<ToIndexOp>(patterns, reference::lowerToIndex);
  patterns.add<reference::LowerRequire>(patterns.getContext());
  reference::addPattern<FromIndexOp>(patterns, reference::lowerFromIndex);
  reference::addPattern<ShapeOfOp>(patterns, reference::lowerShapeOf);
}

} // namespace lathe
