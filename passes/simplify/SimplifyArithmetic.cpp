//===- SimplifyArithmetic.cpp - Cheaper forms of the same arithmetic ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/simplify/Passes.h"

namespace lathe::simplify {
#define GEN_PASS_DEF_SIMPLIFYARITHMETICPASS
#include "passes/simplify/Passes.h.inc"
} // namespace lathe::simplify

using namespace mlir;

namespace lathe::simplify {
namespace {

struct PowByConstant : OpRewritePattern<PowOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(PowOp op, PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getType());
    auto constant = op.getRhs().getDefiningOp<ConstantOp>();
    auto dense = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
    if (!dense || !dense.isSplat())
      return rewriter.notifyMatchFailure(op, "the exponent is not one float constant");
    if (op.getLhs().getType() != type)
      return rewriter.notifyMatchFailure(op, "the exponent broadcasts the base");
    double exponent = dense.getSplatValue<APFloat>().convertToDouble();
    Value x = op.getLhs();
    if (exponent == 1.0)
      rewriter.replaceOp(op, x);
    else if (exponent == 2.0)
      rewriter.replaceOpWithNewOp<MulOp>(op, type, x, x);
    else if (exponent == 3.0)
      rewriter.replaceOpWithNewOp<MulOp>(op, type, rewriter.create<MulOp>(op.getLoc(), type, x, x), x);
    else if (exponent == 0.5)
      rewriter.replaceOpWithNewOp<SqrtOp>(op, type, x);
    else
      return rewriter.notifyMatchFailure(op, "no cheaper form for this exponent");
    return success();
  }
};

struct TransposeIntoMatmul : OpRewritePattern<MatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  /// The operand before a transpose that swaps the last two axes and keeps the others.
  static Value untransposed(Value operand) {
    auto transpose = operand.getDefiningOp<TransposeOp>();
    if (!transpose)
      return {};
    ArrayRef<int64_t> permutation = transpose.getPermutation();
    int64_t rank = permutation.size();
    if (rank < 2 || permutation[rank - 1] != rank - 2 || permutation[rank - 2] != rank - 1)
      return {};
    for (int64_t i = 0; i < rank - 2; ++i)
      if (permutation[i] != i)
        return {};
    return transpose.getInput();
  }

  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    Value lhs = untransposed(op.getLhs()), rhs = untransposed(op.getRhs());
    if (!lhs && !rhs)
      return rewriter.notifyMatchFailure(op, "no operand is a transpose of the last two axes");
    rewriter.modifyOpInPlace(op, [&] {
      if (lhs) {
        op.getLhsMutable().assign(lhs);
        op.setTransposeLhs(!op.getTransposeLhs());
      }
      if (rhs) {
        op.getRhsMutable().assign(rhs);
        op.setTransposeRhs(!op.getTransposeRhs());
      }
    });
    return success();
  }
};

struct ReshapeOfReshape : OpRewritePattern<ReshapeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ReshapeOp op, PatternRewriter &rewriter) const override {
    auto inner = op.getInput().getDefiningOp<ReshapeOp>();
    if (!inner)
      return rewriter.notifyMatchFailure(op, "the input is not a reshape");
    if (op.getZeroCopies())
      return rewriter.notifyMatchFailure(op, "dimensions may be copied from the input");
    rewriter.modifyOpInPlace(op, [&] { op.getInputMutable().assign(inner.getInput()); });
    return success();
  }
};

/// A weight of another shape is the same bytes: as a constant, it can be prepared when the model is loaded.
struct ReshapeOfWeight : OpRewritePattern<ReshapeOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(ReshapeOp op, PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getType());
    if (!type.hasStaticShape())
      return rewriter.notifyMatchFailure(op, "the result's shape is not static");
    if (!op.getInput().hasOneUse())
      return rewriter.notifyMatchFailure(op, "the input is used elsewhere and would be stored twice");
    if (auto weight = op.getInput().getDefiningOp<WeightOp>()) {
      rewriter.replaceOpWithNewOp<WeightOp>(op, type, weight.getName(), weight.getFile(), weight.getOffset());
      return success();
    }
    auto constant = op.getInput().getDefiningOp<ConstantOp>();
    auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
    if (!dense)
      return rewriter.notifyMatchFailure(op, "the input is not a constant");
    rewriter.replaceOpWithNewOp<ConstantOp>(op, type, dense.reshape(type));
    return success();
  }
};

struct SimplifyArithmetic : impl::SimplifyArithmeticPassBase<SimplifyArithmetic> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<PowByConstant, TransposeIntoMatmul, ReshapeOfReshape, ReshapeOfWeight>(&getContext());
    if (failed(applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
} // namespace lathe::simplify
