//===- WideProducts.cpp - Products of 16-bit floats by way of f32 ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Passes.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace lathe::cpu {
#define GEN_PASS_DEF_CPUWIDEPRODUCTSPASS
#include "backends/cpu/compiler/Passes.h.inc"
} // namespace lathe::cpu

using namespace mlir;

namespace lathe::cpu {
namespace {

bool isHalf(Value value) {
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  return element.isF16() || element.isBF16();
}

/// The values in f32. What codes stand for is computed in f32 anyway, and is rounded nowhere then.
Value widened(PatternRewriter &rewriter, Location loc, Value value) {
  auto type = cast<RankedTensorType>(value.getType()).clone(rewriter.getF32Type());
  if (auto op = value.getDefiningOp<DequantizeOp>())
    return rewriter.create<DequantizeOp>(op.getLoc(), type, op.getInput(), op.getScale(), op.getZeroPoint(),
                                         op.getAxisAttr(), op.getBlockSizeAttr());
  if (auto op = value.getDefiningOp<DequantizeLog2Op>())
    return rewriter.create<DequantizeLog2Op>(op.getLoc(), type, op.getInput(), op.getScale(), op.getAxisAttr(),
                                             op.getBlockSizeAttr());
  return rewriter.create<CastOp>(loc, type, value);
}

struct WideProduct : OpRewritePattern<MatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getType());
    if (!isHalf(op.getResult()))
      return rewriter.notifyMatchFailure(op, "not a product of 16-bit floats");
    Value lhs = widened(rewriter, op.getLoc(), op.getLhs()), rhs = widened(rewriter, op.getLoc(), op.getRhs());
    Value product = rewriter.create<MatmulOp>(op.getLoc(), type.clone(rewriter.getF32Type()), lhs, rhs,
                                              op.getTransposeLhs(), op.getTransposeRhs());
    rewriter.replaceOpWithNewOp<CastOp>(op, type, product);
    return success();
  }
};

/// Rows of codes, and of weights where these are about to become codes.
struct WideLookup : OpRewritePattern<GatherOp> {
  WideLookup(MLIRContext *context, bool ofWeights) : OpRewritePattern(context), ofWeights(ofWeights) {}

  LogicalResult matchAndRewrite(GatherOp op, PatternRewriter &rewriter) const override {
    Value table = op.getInput();
    bool isCodes = table.getDefiningOp<DequantizeOp>() || table.getDefiningOp<DequantizeLog2Op>();
    if (!isHalf(table) || op.getAxis() != 0 || !(isCodes || (ofWeights && table.getDefiningOp<WeightOp>())))
      return rewriter.notifyMatchFailure(op, "not a lookup of rows of 16-bit floats that codes stand for");
    auto type = cast<RankedTensorType>(op.getType());
    Value rows = rewriter.create<GatherOp>(op.getLoc(), type.clone(rewriter.getF32Type()),
                                           widened(rewriter, op.getLoc(), table), op.getIndices(), op.getAxis());
    rewriter.replaceOpWithNewOp<CastOp>(op, type, rows);
    return success();
  }
  bool ofWeights;
};

struct CpuWideProducts : impl::CpuWideProductsPassBase<CpuWideProducts> {
  using Base::Base;

  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<WideProduct>(&getContext());
    patterns.add<WideLookup>(&getContext(), lookups);
    if (failed(applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
} // namespace lathe::cpu
