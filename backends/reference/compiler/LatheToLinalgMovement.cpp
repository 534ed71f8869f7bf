//===- LatheToLinalgMovement.cpp - Operations that move elements ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;

namespace lathe::reference {
namespace {

using S = ScalarBuilder;

Value copyElement(S &, ValueRange args) { return args[0]; }

FailureOr<Value> lowerTranspose(TransposeOp op, PatternRewriter &rewriter) {
  ArrayRef<int64_t> permutation = op.getPermutation();
  RankedTensorType type = op.getResult().getType();
  Value init = createEmpty(rewriter, op.getLoc(), type, [&](int64_t axis) {
    return extentOf(rewriter, op.getLoc(), op.getInput(), permutation[axis]);
  });
  SmallVector<AffineExpr> exprs(type.getRank());
  for (auto [axis, from] : llvm::enumerate(permutation))
    exprs[from] = rewriter.getAffineDimExpr(axis);
  AffineMap map = AffineMap::get(type.getRank(), 0, exprs, rewriter.getContext());
  return createParallel(rewriter, op.getLoc(), op.getInput(), map, init, copyElement);
}

//===----------------------------------------------------------------------===//
// Reshape and broadcast
//===----------------------------------------------------------------------===//

Value elementCount(OpBuilder &builder, Location loc, Value tensor) {
  Value count = builder.create<arith::ConstantIndexOp>(loc, 1);
  for (int64_t axis = 0; axis < tensorType(tensor).getRank(); ++axis)
    count = builder.create<arith::MulIOp>(loc, count, extentOf(builder, loc, tensor, axis));
  return count;
}

FailureOr<Value> lowerReshape(ReshapeOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  S s(rewriter, loc);
  RankedTensorType type = op.getResult().getType();
  SmallVector<Value> extents;
  std::optional<int64_t> inferred;
  for (auto [axis, dim] : llvm::enumerate(op.getDims())) {
    std::optional<int64_t> constant = getConstantIntValue(dim);
    if (!type.isDynamicDim(axis)) {
      extents.push_back(s.index(type.getDimSize(axis)));
    } else if (constant == -1) {
      inferred = axis;
      extents.push_back(s.index(1));
    } else if (constant == 0 && op.getZeroCopies()) {
      extents.push_back(extentOf(rewriter, loc, op.getInput(), axis));
    } else {
      extents.push_back(dim);
    }
  }
  if (inferred) {
    Value others = s.index(1);
    for (Value extent : extents)
      others = s.op<arith::MulIOp>(others, extent);
    // Of no elements at all; the instruction traps on a division by zero.
    others = s.op<arith::MaxSIOp>(others, s.index(1));
    extents[*inferred] = s.op<arith::DivSIOp>(elementCount(rewriter, loc, op.getInput()), others);
  }
  auto shapeType = RankedTensorType::get({type.getRank()}, rewriter.getIndexType());
  Value shape = rewriter.create<tensor::FromElementsOp>(loc, shapeType, extents);
  return Value(rewriter.create<tensor::ReshapeOp>(loc, type, op.getInput(), shape));
}

FailureOr<Value> lowerBroadcast(BroadcastOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value input = op.getInput();
  RankedTensorType inputType = tensorType(input);
  int64_t rank = type.getRank(), missing = rank - inputType.getRank();
  int64_t dimsMissing = rank - static_cast<int64_t>(op.getDims().size());
  ShapeContext context;
  FailureOr<SymShape> shape = context.shapeOf(input);

  // Axes of the input that are known only when it runs to be 1 or as long as the result. No map expresses both.
  SmallVector<bool> mayRepeat(rank, false);
  for (int64_t axis = missing; axis < rank; ++axis) {
    int64_t own = axis - missing;
    if (!inputType.isDynamicDim(own) || axis < dimsMissing)
      continue;
    SymExpr target = context.indexValue(op.getDims()[axis - dimsMissing]);
    mayRepeat[axis] = !target.isConstant(1) && (failed(shape) || (*shape)[own] != target);
  }
  S s(rewriter, loc);
  Value init = createEmpty(rewriter, loc, type, [&](int64_t axis) {
    int64_t own = axis - missing;
    if (own < 0 || inputType.getDimSize(own) == 1)
      return Value(op.getDims()[axis - dimsMissing]);
    Value extent = extentOf(rewriter, loc, input, own);
    if (!mayRepeat[axis])
      return extent;
    Value isOne = s.compare(Comparison::eq, extent, s.index(1));
    return s.select(isOne, op.getDims()[axis - dimsMissing], extent);
  });
  if (llvm::none_of(mayRepeat, [](bool may) { return may; }))
    return createParallel(rewriter, loc, input, broadcastMap(inputType, type), init, copyElement);

  SmallVector<Value> extents(rank);
  for (int64_t axis = missing; axis < rank; ++axis)
    if (mayRepeat[axis])
      extents[axis] = extentOf(rewriter, loc, input, axis - missing);
  return createParallel(rewriter, loc, {}, {}, init, [&](S &body, ValueRange) {
    SmallVector<Value> indices = loopIndices(body, missing, rank);
    for (auto [own, index] : llvm::enumerate(indices)) {
      if (inputType.getDimSize(own) == 1)
        index = body.index(0);
      else if (Value extent = extents[missing + own])
        index = body.select(body.compare(Comparison::eq, extent, body.index(1)), body.index(0), index);
    }
    return body.op<tensor::ExtractOp>(input, indices);
  });
}

//===----------------------------------------------------------------------===//
// Concat and slice
//===----------------------------------------------------------------------===//

/// The element at `indices` of the pieces [first, last), which begin at offsets[first]. Many are halved, so that the
/// branches do not nest as deep as there are pieces.
Value readPiece(S &s, ValueRange pieces, ArrayRef<Value> offsets, ArrayRef<Value> indices, int64_t axis, size_t first, size_t last) {
  constexpr size_t kFew = 8;
  if (first + 1 == last) {
    SmallVector<Value> own(indices);
    if (first > 0)
      own[axis] = s.op<arith::SubIOp>(indices[axis], offsets[first]);
    return s.op<tensor::ExtractOp>(pieces[first], own);
  }
  size_t middle = last - first <= kFew ? first + 1 : first + (last - first) / 2;
  auto part = [&](size_t begin, size_t end) {
    return [&, begin, end](OpBuilder &nested, Location loc) {
      S body(nested, loc);
      nested.create<scf::YieldOp>(loc, readPiece(body, pieces, offsets, indices, axis, begin, end));
    };
  };
  Value inside = s.compare(Comparison::lt, indices[axis], offsets[middle]);
  return s.builder.create<scf::IfOp>(s.loc, inside, part(first, middle), part(middle, last)).getResult(0);
}

FailureOr<Value> lowerConcat(ConcatOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  int64_t rank = type.getRank(), axis = op.getAxis();
  ValueRange pieces = op.getInputs();
  S s(rewriter, loc);
  SmallVector<Value> offsets{s.index(0)};
  for (Value piece : pieces) {
    Value extent = extentOf(rewriter, loc, piece, axis);
    offsets.push_back(offsets.size() == 1 ? extent : s.op<arith::AddIOp>(offsets.back(), extent));
  }
  Value init = createEmpty(rewriter, loc, type, [&](int64_t own) {
    return own == axis ? offsets.back() : extentOf(rewriter, loc, pieces.front(), own);
  });
  return createParallel(rewriter, loc, {}, {}, init, [&](S &body, ValueRange) {
    return readPiece(body, pieces, offsets, loopIndices(body, 0, rank), axis, 0, pieces.size());
  });
}

/// A bound counted from the end where negative, clamped to [low, extent + high].
Value clampBound(S &s, Value bound, Value extent, int64_t low, int64_t high) {
  Value wrapped =
      s.select(s.compare(Comparison::lt, bound, s.index(0)), s.op<arith::AddIOp>(bound, extent), bound);
  Value last = high == 0 ? extent : s.op<arith::AddIOp>(extent, s.index(high));
  // In this order an axis without elements gives a start below 0, so that nothing is left to read.
  return s.op<arith::MinSIOp>(s.op<arith::MaxSIOp>(wrapped, s.index(low)), last);
}

FailureOr<Value> lowerSlice(SliceOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  int64_t rank = type.getRank();
  Value input = op.getInput();
  S s(rewriter, loc);
  SmallVector<Value> starts(rank), lengths(rank);
  SmallVector<int64_t> steps(rank, 1);
  for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
    int64_t step = op.getSteps()[i];
    Value extent = extentOf(rewriter, loc, input, axis);
    // Downwards, the last element is the first to read, and the end may stand one before the first.
    int64_t below = step > 0 ? 0 : -1;
    steps[axis] = step;
    starts[axis] = clampBound(s, op.getStarts()[i], extent, 0, below);
    if (!type.isDynamicDim(axis))
      continue;
    Value end = clampBound(s, op.getEnds()[i], extent, below, below);
    Value span = step > 0 ? s.op<arith::SubIOp>(end, starts[axis]) : s.op<arith::SubIOp>(starts[axis], end);
    span = s.op<arith::MaxSIOp>(span, s.index(0));
    int64_t stride = std::abs(step);
    if (stride > 1)
      span = s.op<arith::DivSIOp>(s.op<arith::AddIOp>(span, s.index(stride - 1)), s.index(stride));
    lengths[axis] = span;
  }
  Value init = createEmpty(rewriter, loc, type, [&](int64_t axis) {
    return lengths[axis] ? lengths[axis] : extentOf(rewriter, loc, input, axis);
  });
  return createParallel(rewriter, loc, {}, {}, init, [&](S &body, ValueRange) {
    SmallVector<Value> indices = loopIndices(body, 0, rank);
    for (auto [axis, index] : llvm::enumerate(indices)) {
      if (!starts[axis])
        continue;
      if (steps[axis] != 1)
        index = body.op<arith::MulIOp>(index, body.index(steps[axis]));
      index = body.op<arith::AddIOp>(index, starts[axis]);
    }
    return body.op<tensor::ExtractOp>(input, indices);
  });
}

//===----------------------------------------------------------------------===//
// Gathers
//===----------------------------------------------------------------------===//

FailureOr<Value> lowerGather(GatherOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value input = op.getInput(), indices = op.getIndices();
  int64_t rank = type.getRank(), indicesRank = tensorType(indices).getRank();
  int64_t axis = op.getAxis();
  Value init = createEmpty(rewriter, loc, type, [&](int64_t own) {
    if (own < axis)
      return extentOf(rewriter, loc, input, own);
    if (own < axis + indicesRank)
      return extentOf(rewriter, loc, indices, own - axis);
    return extentOf(rewriter, loc, input, own - indicesRank + 1);
  });
  Value extent = extentOf(rewriter, loc, input, axis);
  AffineMap map = rewriter.getMultiDimIdentityMap(rank).getSliceMap(axis, indicesRank);
  return createParallel(rewriter, loc, indices, map, init, [&](S &s, ValueRange args) {
    s.isUnsigned = isUnsigned(op, 1);
    SmallVector<Value> position = loopIndices(s, 0, axis);
    position.push_back(s.checkedIndex(s.toIndex(args[0]), extent));
    llvm::append_range(position, loopIndices(s, axis + indicesRank, rank));
    return s.op<tensor::ExtractOp>(input, position);
  });
}

FailureOr<Value> lowerGatherElements(GatherElementsOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value input = op.getInput(), indices = op.getIndices();
  int64_t rank = type.getRank(), axis = op.getAxis();
  Value init = createEmptyLike(rewriter, loc, indices, type.getElementType());
  if (init.getType() != type) // a result typed with less or more than the indices tell
    init = createEmpty(rewriter, loc, type, [&](int64_t own) { return extentOf(rewriter, loc, indices, own); });
  Value extent = extentOf(rewriter, loc, input, axis);
  return createParallel(rewriter, loc, indices, rewriter.getMultiDimIdentityMap(rank), init,
                        [&](S &s, ValueRange args) {
                          s.isUnsigned = isUnsigned(op, 1);
                          SmallVector<Value> position = loopIndices(s, 0, rank);
                          position[axis] = s.checkedIndex(s.toIndex(args[0]), extent);
                          return s.op<tensor::ExtractOp>(input, position);
                        });
}

FailureOr<Value> lowerGatherND(GatherNDOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value input = op.getInput(), indices = op.getIndices();
  int64_t rank = type.getRank(), batch = op.getBatchDims();
  int64_t leading = tensorType(indices).getRank() - 1, length = tensorType(indices).getDimSize(leading);
  Value init = createEmpty(rewriter, loc, type, [&](int64_t own) {
    return own < leading ? extentOf(rewriter, loc, indices, own)
                         : extentOf(rewriter, loc, input, own - leading + batch + length);
  });
  SmallVector<Value> extents;
  for (int64_t i = 0; i < length; ++i)
    extents.push_back(extentOf(rewriter, loc, input, batch + i));
  return createParallel(rewriter, loc, {}, {}, init, [&](S &s, ValueRange) {
    s.isUnsigned = isUnsigned(op, 1);
    SmallVector<Value> loops = loopIndices(s, 0, rank);
    SmallVector<Value> position(loops.begin(), loops.begin() + batch);
    for (auto [i, extent] : llvm::enumerate(extents)) {
      SmallVector<Value> tuple(loops.begin(), loops.begin() + leading);
      tuple.push_back(s.index(i));
      position.push_back(s.checkedIndex(s.toIndex(s.op<tensor::ExtractOp>(indices, tuple)), extent));
    }
    position.append(loops.begin() + leading, loops.end());
    return s.op<tensor::ExtractOp>(input, position);
  });
}

//===----------------------------------------------------------------------===//
// Range
//===----------------------------------------------------------------------===//

FailureOr<Value> lowerRange(RangeOp op, PatternRewriter &rewriter) {
  RankedTensorType type = op.getResult().getType();
  S s(rewriter, op.getLoc());
  Value start = op.getStart(), step = op.getStep();
  bool constantStep = getConstantIntValue(step).value_or(0) != 0;
  Value init = createEmpty(rewriter, op.getLoc(), type, [&](int64_t) {
    Value zero = s.index(0), one = s.index(1);
    Value up = s.compare(Comparison::gt, step, zero);
    Value span = s.op<arith::SubIOp>(op.getLimit(), start);
    span = s.select(up, span, s.op<arith::SubIOp>(zero, span));
    Value stride = s.select(up, step, s.op<arith::SubIOp>(zero, step));
    Value divisor = constantStep ? stride : s.op<arith::MaxSIOp>(stride, one);
    Value rounded = s.op<arith::AddIOp>(s.op<arith::MaxSIOp>(span, zero), s.op<arith::SubIOp>(divisor, one));
    Value length = s.op<arith::DivSIOp>(rounded, divisor);
    // A step of 0 gives one element, whose computation reports it.
    return constantStep ? length : s.select(s.compare(Comparison::eq, step, zero), one, length);
  });
  return createParallel(rewriter, op.getLoc(), {}, {}, init, [&](S &body, ValueRange) {
    if (!constantStep) {
      Value nonZero = body.compare(Comparison::ne, step, body.index(0));
      body.builder.create<cf::AssertOp>(body.loc, nonZero, "the step of a range is 0");
    }
    Value offset = body.op<arith::MulIOp>(body.op<linalg::IndexOp>(0), step);
    return body.fromIndex(body.op<arith::AddIOp>(start, offset), type.getElementType());
  });
}

} // namespace

void populateMovement(RewritePatternSet &patterns) {
  addPattern<TransposeOp>(patterns, lowerTranspose);
  addPattern<ReshapeOp>(patterns, lowerReshape);
  addPattern<BroadcastOp>(patterns, lowerBroadcast);
  addPattern<ConcatOp>(patterns, lowerConcat);
  addPattern<SliceOp>(patterns, lowerSlice);
  addPattern<GatherOp>(patterns, lowerGather);
  addPattern<GatherElementsOp>(patterns, lowerGatherElements);
  addPattern<GatherNDOp>(patterns, lowerGatherND);
  addPattern<RangeOp>(patterns, lowerRange);
}

} // namespace lathe::reference
