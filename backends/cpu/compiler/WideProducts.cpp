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

struct WideProduct : OpRewritePattern<MatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getType());
    if (!type.getElementType().isF16() && !type.getElementType().isBF16())
      return rewriter.notifyMatchFailure(op, "not a product of 16-bit floats");
    auto widened = [&](Value operand) -> Value {
      auto narrow = cast<RankedTensorType>(operand.getType());
      return rewriter.create<CastOp>(op.getLoc(), narrow.clone(rewriter.getF32Type()), operand);
    };
    Value lhs = widened(op.getLhs()), rhs = widened(op.getRhs());
    Value product = rewriter.create<MatmulOp>(op.getLoc(), type.clone(rewriter.getF32Type()), lhs, rhs, op.getTransposeLhs(),
                                              op.getTransposeRhs());
    rewriter.replaceOpWithNewOp<CastOp>(op, type, product);
    return success();
  }
};

struct CpuWideProducts : impl::CpuWideProductsPassBase<CpuWideProducts> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<WideProduct>(&getContext());
    if (failed(applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
} // namespace lathe::cpu
