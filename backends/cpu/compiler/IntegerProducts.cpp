//===- IntegerProducts.cpp - Products of bytes by way of f32 --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Passes.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace lathe::cpu {
#define GEN_PASS_DEF_CPUINTEGERPRODUCTSPASS
#include "backends/cpu/compiler/Passes.h.inc"
} // namespace lathe::cpu

using namespace mlir;

namespace lathe::cpu {
namespace {

/// Whole numbers up to here are exact in f32, and so are sums that never leave them.
constexpr int64_t kLargestExact = int64_t(1) << 24;
/// Parts of the inner dimension that are worth a product of their own, and how many of them.
constexpr int64_t kShortestPart = 64, kMostParts = 64;

struct Range {
  int64_t low, high;
  int64_t magnitude() const { return std::max(-low, high); }
};

/// What values integers take that were widened from bytes; nullopt where that is not seen.
std::optional<Range> rangeOf(Value value, int depth = 0) {
  Operation *op = value.getDefiningOp();
  if (!op || depth > 8)
    return std::nullopt;
  if (auto widened = dyn_cast<CastOp>(op)) {
    auto from = dyn_cast<IntegerType>(cast<RankedTensorType>(widened.getInput().getType()).getElementType());
    if (!from || from.getWidth() > 8)
      return std::nullopt;
    int64_t count = int64_t(1) << from.getWidth();
    return from.isUnsigned() || from.getWidth() == 1 ? Range{0, count - 1} : Range{-count / 2, count / 2 - 1};
  }
  if (auto difference = dyn_cast<SubOp>(op)) {
    std::optional<Range> a = rangeOf(difference.getLhs(), depth + 1), b = rangeOf(difference.getRhs(), depth + 1);
    if (!a || !b)
      return std::nullopt;
    return Range{a->low - b->high, a->high - b->low};
  }
  if (isa<ReshapeOp, TransposeOp, BroadcastOp, SliceOp>(op))
    return rangeOf(op->getOperand(0), depth + 1);
  return std::nullopt;
}

struct IntegerProduct : OpRewritePattern<MatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    auto type = cast<RankedTensorType>(op.getType());
    if (!type.getElementType().isSignlessInteger(32))
      return rewriter.notifyMatchFailure(op, "not a product in i32");
    std::optional<Range> a = rangeOf(op.getLhs()), b = rangeOf(op.getRhs());
    if (!a || !b)
      return rewriter.notifyMatchFailure(op, "the operands are not bytes that were widened");
    auto lhsType = cast<RankedTensorType>(op.getLhs().getType()), rhsType = cast<RankedTensorType>(op.getRhs().getType());
    int64_t lhsAxis = lhsType.getRank() - (op.getTransposeLhs() ? 2 : 1);
    int64_t rhsAxis = rhsType.getRank() - (op.getTransposeRhs() ? 1 : 2);
    int64_t inner = lhsType.getDimSize(lhsAxis);
    if (ShapedType::isDynamic(inner) || rhsType.getDimSize(rhsAxis) != inner || inner < 1)
      return rewriter.notifyMatchFailure(op, "the inner dimension is not static");
    int64_t part = (kLargestExact - 1) / std::max<int64_t>(a->magnitude() * b->magnitude(), 1);
    if (part < inner)
      part -= part % kShortestPart;
    if (part < std::min(inner, kShortestPart) || llvm::divideCeil(inner, part) > kMostParts)
      return rewriter.notifyMatchFailure(op, "sums of products are exact in f32 over too few of them");

    Location loc = op.getLoc();
    Type f32 = rewriter.getF32Type();
    Value lhs = rewriter.create<CastOp>(loc, lhsType.clone(f32), op.getLhs());
    Value rhs = rewriter.create<CastOp>(loc, rhsType.clone(f32), op.getRhs());
    Value sum;
    for (int64_t start = 0; start < inner; start += part) {
      int64_t end = std::min(start + part, inner);
      Value product = rewriter.create<MatmulOp>(loc, type.clone(f32), slice(rewriter, loc, lhs, lhsAxis, start, end),
                                                slice(rewriter, loc, rhs, rhsAxis, start, end), op.getTransposeLhs(),
                                                op.getTransposeRhs());
      product = rewriter.create<CastOp>(loc, type, product);
      sum = sum ? rewriter.create<AddOp>(loc, type, sum, product).getResult() : product;
    }
    rewriter.replaceOp(op, sum);
    return success();
  }

  static Value slice(OpBuilder &builder, Location loc, Value value, int64_t axis, int64_t start, int64_t end) {
    auto type = cast<RankedTensorType>(value.getType());
    if (start == 0 && end == type.getDimSize(axis))
      return value;
    SmallVector<int64_t> shape(type.getShape());
    shape[axis] = end - start;
    Value from = builder.create<arith::ConstantIndexOp>(loc, start), to = builder.create<arith::ConstantIndexOp>(loc, end);
    return builder.create<SliceOp>(loc, type.clone(shape), value, ValueRange{from}, ValueRange{to}, ArrayRef<int64_t>{axis},
                                   ArrayRef<int64_t>{1});
  }
};

struct CpuIntegerProducts : impl::CpuIntegerProductsPassBase<CpuIntegerProducts> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<IntegerProduct>(&getContext());
    if (failed(applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
} // namespace lathe::cpu
