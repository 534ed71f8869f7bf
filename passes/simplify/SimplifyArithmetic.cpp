//===- SimplifyArithmetic.cpp - Cheaper forms of the same arithmetic ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/ValueNames.h"
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

  /// The transpose of the last two axes, all others in their place, whose result an operand is, perhaps widened or
  /// rounded.
  static TransposeOp transposeOf(Value operand) {
    auto cast = operand.getDefiningOp<CastOp>();
    auto transpose = (cast ? cast.getInput() : operand).getDefiningOp<TransposeOp>();
    if (!transpose)
      return {};
    ArrayRef<int64_t> permutation = transpose.getPermutation();
    int64_t rank = permutation.size();
    if (rank < 2 || permutation[rank - 1] != rank - 2 || permutation[rank - 2] != rank - 1)
      return {};
    for (int64_t i = 0; i < rank - 2; ++i)
      if (permutation[i] != i)
        return {};
    return transpose;
  }

  /// What is read instead of `operand`, as it lies before the transpose.
  static Value untransposed(Value operand, TransposeOp transpose, PatternRewriter &rewriter) {
    auto cast = operand.getDefiningOp<CastOp>();
    if (!cast)
      return transpose.getInput();
    auto element = mlir::cast<RankedTensorType>(operand.getType()).getElementType();
    auto type = mlir::cast<RankedTensorType>(transpose.getInput().getType()).clone(element);
    Operation *moved = rewriter.clone(*cast);
    moved->setLoc(withoutValue(cast.getLoc()));
    moved->setOperand(0, transpose.getInput());
    moved->getResult(0).setType(type);
    return moved->getResult(0);
  }

  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    TransposeOp lhs = transposeOf(op.getLhs()), rhs = transposeOf(op.getRhs());
    if (!lhs && !rhs)
      return rewriter.notifyMatchFailure(op, "no operand is a transpose of the last two axes");
    rewriter.modifyOpInPlace(op, [&] {
      if (lhs) {
        op.getLhsMutable().assign(untransposed(op.getLhs(), lhs, rewriter));
        op.setTransposeLhs(!op.getTransposeLhs());
      }
      if (rhs) {
        op.getRhsMutable().assign(untransposed(op.getRhs(), rhs, rewriter));
        op.setTransposeRhs(!op.getTransposeRhs());
      }
    });
    return success();
  }
};

/// What a product sums over may come in any order. A weight with its rows in another one is read as it lies, by which
/// quantized weights stay what kernels know, where the other side's columns are picked in that order.
struct GatherIntoMatmul : OpRewritePattern<MatmulOp> {
  using OpRewritePattern::OpRewritePattern;

  /// For each place among `extent` the one that takes it; nothing where it is no permutation.
  static std::optional<SmallVector<int64_t>> inverse(Value indices, int64_t extent) {
    auto constant = indices.getDefiningOp<ConstantOp>();
    auto dense = constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue()) : DenseIntElementsAttr();
    if (!dense || dense.getType().getRank() != 1 || dense.getNumElements() != extent)
      return std::nullopt;
    SmallVector<int64_t> places(extent, -1);
    for (auto [i, index] : llvm::enumerate(dense.getValues<APInt>())) {
      int64_t place = index.getSExtValue();
      place += place < 0 ? extent : 0;
      if (place < 0 || place >= extent || places[place] >= 0)
        return std::nullopt;
      places[place] = static_cast<int64_t>(i);
    }
    return places;
  }

  LogicalResult matchAndRewrite(MatmulOp op, PatternRewriter &rewriter) const override {
    auto gather = op.getRhs().getDefiningOp<GatherOp>();
    if (!gather)
      return rewriter.notifyMatchFailure(op, "the right side is not gathered");
    auto weight = cast<RankedTensorType>(gather.getInput().getType());
    int64_t axis = weight.getRank() - (op.getTransposeRhs() ? 1 : 2);
    if (static_cast<int64_t>(gather.getAxis()) != axis || weight.isDynamicDim(axis))
      return rewriter.notifyMatchFailure(op, "it is not gathered along what the product sums over");
    std::optional<SmallVector<int64_t>> order = inverse(gather.getIndices(), weight.getDimSize(axis));
    if (!order)
      return rewriter.notifyMatchFailure(op, "the indices are no constant permutation");
    auto left = cast<RankedTensorType>(op.getLhs().getType());
    auto type = RankedTensorType::get({static_cast<int64_t>(order->size())}, rewriter.getI64Type());
    Value indices =
        rewriter.create<ConstantOp>(gather.getLoc(), type, DenseElementsAttr::get(type, ArrayRef<int64_t>(*order)));
    int64_t leftAxis = left.getRank() - (op.getTransposeLhs() ? 2 : 1);
    SmallVector<int64_t> shape(left.getShape());
    shape[leftAxis] = weight.getDimSize(axis);
    Value picked = rewriter.create<GatherOp>(gather.getLoc(), left.clone(shape), op.getLhs(), indices, leftAxis);
    rewriter.modifyOpInPlace(op, [&] {
      op.getLhsMutable().assign(picked);
      op.getRhsMutable().assign(gather.getInput());
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

/// Leading parts of a weight, such as the experts of a mixture, are weights further on in the file.
struct SliceOfWeight : OpRewritePattern<SliceOp> {
  using OpRewritePattern::OpRewritePattern;

  /// The first row of a slice of whole rows within bounds.
  static std::optional<int64_t> firstRow(Operation *op, RankedTensorType weight) {
    auto slice = dyn_cast<SliceOp>(op);
    if (!slice || slice.getAxes() != ArrayRef<int64_t>{0} || slice.getSteps() != ArrayRef<int64_t>{1})
      return std::nullopt;
    std::optional<int64_t> start = getConstantIntValue(OpFoldResult(slice.getStarts()[0]));
    auto type = cast<RankedTensorType>(slice.getType());
    if (!start || *start < 0 || !type.hasStaticShape() || *start + type.getDimSize(0) > weight.getDimSize(0))
      return std::nullopt;
    return start;
  }

  LogicalResult matchAndRewrite(SliceOp op, PatternRewriter &rewriter) const override {
    auto weight = op.getInput().getDefiningOp<WeightOp>();
    if (!weight)
      return rewriter.notifyMatchFailure(op, "the input is not a weight");
    auto whole = cast<RankedTensorType>(weight.getType()), type = cast<RankedTensorType>(op.getType());
    int64_t rows = 0;
    for (Operation *user : weight->getUsers()) {
      if (!firstRow(user, whole))
        return rewriter.notifyMatchFailure(op, "the weight has users other than slices of whole rows");
      rows += cast<RankedTensorType>(user->getResult(0).getType()).getDimSize(0);
    }
    if (rows > whole.getDimSize(0))
      return rewriter.notifyMatchFailure(op, "parts of the weight would be stored twice");
    int64_t bytes = llvm::divideCeil(whole.getElementTypeBitWidth(), 8);
    int64_t rowBytes = whole.getDimSize(0) ? whole.getNumElements() / whole.getDimSize(0) * bytes : 0;
    // Its own name: what else is said of the weight is not of each of its parts.
    int64_t first = *firstRow(op, whole);
    std::string name = (weight.getName() + "[" + Twine(first) + ":" + Twine(first + type.getDimSize(0)) + "]").str();
    rewriter.replaceOpWithNewOp<WeightOp>(op, type, name, weight.getFile(),
                                          static_cast<int64_t>(weight.getOffset()) + first * rowBytes);
    return success();
  }
};

struct SimplifyArithmetic : impl::SimplifyArithmeticPassBase<SimplifyArithmetic> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns
        .add<PowByConstant, TransposeIntoMatmul, GatherIntoMatmul, ReshapeOfReshape, ReshapeOfWeight, SliceOfWeight>(
            &getContext());
    if (failed(applyPatternsAndFoldGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }
};

} // namespace
} // namespace lathe::simplify
