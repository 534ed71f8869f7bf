//===- LatheToLinalgReduction.cpp - Products, reductions, norms -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "dialects/lathe/Attention.h"

using namespace mlir;

namespace lathe::reference {
namespace {

using S = ScalarBuilder;
using utils::IteratorType;

TypedAttr zeroOf(OpBuilder &builder, Type type) { return cast<TypedAttr>(builder.getZeroAttr(type)); }

//===----------------------------------------------------------------------===//
// Matrix product
//===----------------------------------------------------------------------===//

/// Map of one side of a product; loops are the batch, m, n and, innermost, k.
AffineMap matmulMap(RankedTensorType operand, RankedTensorType result, int64_t row, int64_t column) {
  MLIRContext *context = operand.getContext();
  int64_t batch = result.getRank() - 2, missing = result.getRank() - operand.getRank();
  SmallVector<AffineExpr> exprs;
  for (int64_t axis = 0; axis + 2 < operand.getRank(); ++axis) {
    bool repeats = operand.getDimSize(axis) == 1 && result.getDimSize(missing + axis) != 1;
    exprs.push_back(repeats ? getAffineConstantExpr(0, context) : getAffineDimExpr(missing + axis, context));
  }
  exprs.push_back(getAffineDimExpr(batch + row, context));
  exprs.push_back(getAffineDimExpr(batch + column, context));
  return AffineMap::get(result.getRank() + 1, 0, exprs, context);
}

Value matmulExtent(OpBuilder &builder, MatmulOp op, int64_t axis) {
  Location loc = op.getLoc();
  int64_t rank = op.getResult().getType().getRank();
  Value lhs = op.getLhs(), rhs = op.getRhs();
  int64_t lhsRank = tensorType(lhs).getRank(), rhsRank = tensorType(rhs).getRank();
  if (axis == rank - 2)
    return extentOf(builder, loc, lhs, lhsRank - (op.getTransposeLhs() ? 1 : 2));
  if (axis == rank - 1)
    return extentOf(builder, loc, rhs, rhsRank - (op.getTransposeRhs() ? 2 : 1));
  Value fallback;
  for (Value operand : {lhs, rhs}) {
    int64_t own = axis - (rank - tensorType(operand).getRank());
    if (own < 0)
      continue;
    if (tensorType(operand).isDynamicDim(own))
      return extentOf(builder, loc, operand, own);
    if (!fallback || tensorType(operand).getDimSize(own) != 1)
      fallback = extentOf(builder, loc, operand, own);
  }
  return fallback;
}

/// Copies a tensor of the compute type to one of the element type, where they differ.
Value narrowTensor(OpBuilder &builder, Location loc, Value tensor, Type elementType) {
  if (tensorType(tensor).getElementType() == elementType)
    return tensor;
  AffineMap identity = builder.getMultiDimIdentityMap(tensorType(tensor).getRank());
  return createParallel(builder, loc, tensor, identity, createEmptyLike(builder, loc, tensor, elementType),
                        [&](S &s, ValueRange args) { return s.narrow(args[0], elementType); });
}

FailureOr<Value> lowerMatmul(MatmulOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  int64_t rank = type.getRank();
  Type accType = computeType(type.getElementType());
  Value init = createEmpty(rewriter, loc, RankedTensorType::get(type.getShape(), accType),
                           [&](int64_t axis) { return matmulExtent(rewriter, op, axis); });
  init = createFilled(rewriter, loc, init, zeroOf(rewriter, accType));
  // Loops m, n, k are 0, 1, 2 after the batch.
  bool transposeLhs = op.getTransposeLhs(), transposeRhs = op.getTransposeRhs();
  AffineMap lhsMap = matmulMap(tensorType(op.getLhs()), type, transposeLhs ? 2 : 0, transposeLhs ? 0 : 2);
  AffineMap rhsMap = matmulMap(tensorType(op.getRhs()), type, transposeRhs ? 1 : 2, transposeRhs ? 2 : 1);
  AffineMap initMap = rewriter.getMultiDimIdentityMap(rank + 1).dropResult(rank);
  SmallVector<IteratorType> iterators(rank, IteratorType::parallel);
  iterators.push_back(IteratorType::reduction);
  Value product = createGeneric(rewriter, loc, {op.getLhs(), op.getRhs()}, {lhsMap, rhsMap}, init, initMap, iterators,
                                [](S &s, ValueRange x) {
                                  Value term = s.mul(s.widen(x[0]), s.widen(x[1]), /*inSum=*/true);
                                  return s.add(x[2], term, /*inSum=*/true);
                                });
  return narrowTensor(rewriter, loc, product, type.getElementType());
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

/// Reduces `input` over `axes`, which are dropped. `combine` takes an element and the value so far; further `inputs`
/// are read by `maps`.
Value reduceAxes(OpBuilder &builder, Location loc, Value input, ArrayRef<int64_t> axes, TypedAttr init,
                 ArrayRef<Value> inputs, ArrayRef<AffineMap> maps, Body combine) {
  RankedTensorType type = tensorType(input);
  SmallVector<IteratorType> iterators(type.getRank(), IteratorType::parallel);
  for (int64_t axis : axes)
    iterators[axis] = IteratorType::reduction;
  SmallVector<int64_t> kept, shape;
  SmallVector<AffineExpr> exprs;
  for (int64_t axis = 0; axis < type.getRank(); ++axis) {
    if (iterators[axis] == IteratorType::reduction)
      continue;
    kept.push_back(axis);
    shape.push_back(type.getDimSize(axis));
    exprs.push_back(builder.getAffineDimExpr(axis));
  }
  auto resultType = RankedTensorType::get(shape, init.getType());
  Value empty = createEmpty(builder, loc, resultType,
                            [&](int64_t axis) { return extentOf(builder, loc, input, kept[axis]); });
  SmallVector<Value> allInputs{input};
  SmallVector<AffineMap> allMaps{builder.getMultiDimIdentityMap(type.getRank())};
  allInputs.append(inputs.begin(), inputs.end());
  allMaps.append(maps.begin(), maps.end());
  AffineMap initMap = AffineMap::get(type.getRank(), 0, exprs, builder.getContext());
  return createGeneric(builder, loc, allInputs, allMaps, createFilled(builder, loc, empty, init), initMap, iterators,
                       combine);
}

/// Number of elements along `axes`, as an index.
Value countAlong(OpBuilder &builder, Location loc, Value tensor, ArrayRef<int64_t> axes) {
  int64_t known = 1;
  Value count;
  for (int64_t axis : axes) {
    if (!tensorType(tensor).isDynamicDim(axis)) {
      known *= tensorType(tensor).getDimSize(axis);
      continue;
    }
    Value extent = extentOf(builder, loc, tensor, axis);
    count = count ? builder.create<arith::MulIOp>(loc, count, extent) : extent;
  }
  if (!count)
    return builder.create<arith::ConstantIndexOp>(loc, known);
  if (known == 1)
    return count;
  return builder.create<arith::MulIOp>(loc, count, builder.create<arith::ConstantIndexOp>(loc, known));
}

TypedAttr identityOf(OpBuilder &builder, Reduction kind, Type type, bool isUnsigned) {
  switch (kind) {
  case Reduction::max:
    return lowest(type, isUnsigned);
  case Reduction::min:
    return highest(type, isUnsigned);
  case Reduction::prod:
    return cast<TypedAttr>(builder.getOneAttr(type));
  default:
    return zeroOf(builder, type);
  }
}

Value combine(S &s, Reduction kind, Value x, Value acc) {
  switch (kind) {
  case Reduction::sum:
  case Reduction::mean:
    return s.add(acc, x, /*inSum=*/true);
  case Reduction::max:
    return s.max(acc, x);
  case Reduction::min:
    return s.min(acc, x);
  case Reduction::prod:
    return s.mul(acc, x, /*inSum=*/true);
  case Reduction::l1:
    return s.add(acc, s.abs(x), /*inSum=*/true);
  case Reduction::l2:
  case Reduction::sum_square:
    return s.add(acc, s.mul(x, x, /*inSum=*/true), /*inSum=*/true);
  }
  llvm_unreachable("all kinds are handled");
}

/// What is left to do with a reduced value.
Value finish(S &s, Reduction kind, Value reduced, Value count) {
  if (kind == Reduction::mean)
    return s.div(reduced, s.fromIndex(count, reduced.getType()));
  if (kind != Reduction::l2)
    return reduced;
  if (isa<FloatType>(reduced.getType()))
    return s.op<math::SqrtOp>(reduced);
  Value root = s.op<math::SqrtOp>(s.cast(reduced, s.builder.getF64Type()));
  return s.cast(root, reduced.getType(), s.isUnsigned);
}

FailureOr<Value> lowerReduce(ReduceOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Reduction kind = op.getKind();
  Value input = op.getInput();
  Type accType = computeType(type.getElementType());
  bool unsignedElements = isUnsigned(op);
  Value reduced = reduceAxes(rewriter, loc, input, op.getAxes(), identityOf(rewriter, kind, accType, unsignedElements),
                             {}, {}, [&](S &s, ValueRange x) {
                               s.isUnsigned = unsignedElements;
                               return combine(s, kind, s.widen(x[0]), x[1]);
                             });
  Value count = kind == Reduction::mean ? countAlong(rewriter, loc, input, op.getAxes()) : Value();
  bool dropped = !op.getKeepDims() || op.getAxes().empty();
  if (dropped && !count && kind != Reduction::l2 && accType == type.getElementType())
    return reduced;
  // Axis of the reduced tensor -> axis of the result.
  SmallVector<AffineExpr> exprs;
  for (int64_t axis = 0; axis < type.getRank(); ++axis)
    if (dropped || !llvm::is_contained(op.getAxes(), axis))
      exprs.push_back(rewriter.getAffineDimExpr(axis));
  AffineMap map = AffineMap::get(type.getRank(), 0, exprs, rewriter.getContext());
  Value init = createEmpty(rewriter, loc, type, [&](int64_t axis) {
    for (auto [own, expr] : llvm::enumerate(exprs))
      if (cast<AffineDimExpr>(expr).getPosition() == static_cast<unsigned>(axis))
        return extentOf(rewriter, loc, reduced, own);
    return Value(rewriter.create<arith::ConstantIndexOp>(loc, 1));
  });
  return createParallel(rewriter, loc, reduced, map, init, [&](S &s, ValueRange x) {
    s.isUnsigned = unsignedElements;
    return s.narrow(finish(s, kind, x[0], count), type.getElementType());
  });
}

//===----------------------------------------------------------------------===//
// Softmax and norms
//===----------------------------------------------------------------------===//

/// Map of a tensor without `axes` in loops over one with them.
AffineMap withoutAxes(OpBuilder &builder, int64_t rank, ArrayRef<int64_t> axes) {
  SmallVector<AffineExpr> exprs;
  for (int64_t axis = 0; axis < rank; ++axis)
    if (!llvm::is_contained(axes, axis))
      exprs.push_back(builder.getAffineDimExpr(axis));
  return AffineMap::get(rank, 0, exprs, builder.getContext());
}

/// Applies `body` to each element of a tensor of one value a row, in place of it.
Value mapRows(OpBuilder &builder, Location loc, Value rows, Body body) {
  Type type = tensorType(rows).getElementType();
  return createParallel(builder, loc, rows, builder.getMultiDimIdentityMap(tensorType(rows).getRank()),
                        createEmptyLike(builder, loc, rows, type), body);
}

FailureOr<Value> lowerSoftmax(SoftmaxOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  Value input = op.getInput();
  Type elementType = tensorType(input).getElementType(), accType = computeType(elementType);
  int64_t rank = tensorType(input).getRank();
  int64_t axis = op.getAxis();
  AffineMap identity = rewriter.getMultiDimIdentityMap(rank), rowMap = withoutAxes(rewriter, rank, axis);
  // The sign of a zero maximum doesn't matter, nor does NaN here: its exponential makes all of the row NaN.
  Value maximum = reduceAxes(rewriter, loc, input, axis, lowest(accType), {}, {}, [](S &s, ValueRange x) {
    return s.op<arith::MaxNumFOp>(x[1], s.widen(x[0]), arith::FastMathFlags::nsz);
  });
  Value exponentials =
      createParallel(rewriter, loc, {input, maximum}, {identity, rowMap},
                     createEmptyLike(rewriter, loc, input, accType), [](S &s, ValueRange x) {
                       return s.op<math::ExpOp>(s.sub(s.widen(x[0]), x[1]));
                     });
  Value sum = reduceAxes(rewriter, loc, exponentials, axis, zeroOf(rewriter, accType), {}, {},
                         [](S &s, ValueRange x) { return s.add(x[1], x[0], /*inSum=*/true); });
  // One division a row. The sum is at least 1.
  Value scale = mapRows(rewriter, loc, sum, [](S &s, ValueRange x) { return s.div(s.number(x[0].getType(), 1), x[0]); });
  return createParallel(rewriter, loc, {exponentials, scale}, {identity, rowMap},
                        createEmptyLike(rewriter, loc, input, elementType),
                        [&](S &s, ValueRange x) { return s.narrow(s.mul(x[0], x[1]), elementType); });
}

FailureOr<Value> lowerAttention(AttentionOp op, PatternRewriter &rewriter) { return decomposeAttention(rewriter, op); }

SmallVector<int64_t> axesFrom(int64_t axis, int64_t rank) {
  return llvm::to_vector(llvm::seq<int64_t>(axis, rank));
}

/// 1 / sqrt(sum / count + epsilon) of each row.
Value inverseDeviation(OpBuilder &builder, Location loc, Value squares, Value count, double epsilon) {
  return mapRows(builder, loc, squares, [&](S &s, ValueRange x) {
    Type type = x[0].getType();
    Value variance = s.div(x[0], s.fromIndex(count, type));
    Value root = s.op<math::SqrtOp>(s.add(variance, s.number(type, epsilon)));
    return s.div(s.number(type, 1), root);
  });
}

FailureOr<Value> lowerLayerNorm(LayerNormOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  Value input = op.getInput();
  RankedTensorType type = tensorType(input);
  Type elementType = type.getElementType(), accType = computeType(elementType);
  int64_t rank = type.getRank();
  SmallVector<int64_t> axes = axesFrom(op.getAxis(), rank);
  AffineMap identity = rewriter.getMultiDimIdentityMap(rank), rowMap = withoutAxes(rewriter, rank, axes);
  Value count = countAlong(rewriter, loc, input, axes);
  Value sum = reduceAxes(rewriter, loc, input, axes, zeroOf(rewriter, accType), {}, {},
                         [](S &s, ValueRange x) { return s.add(x[1], s.widen(x[0]), /*inSum=*/true); });
  Value mean = mapRows(rewriter, loc, sum,
                       [&](S &s, ValueRange x) { return s.div(x[0], s.fromIndex(count, x[0].getType())); });
  // Two passes: the difference of large squares would lose the variance of rows far from zero.
  Value squares =
      reduceAxes(rewriter, loc, input, axes, zeroOf(rewriter, accType), mean, rowMap, [](S &s, ValueRange x) {
        Value centered = s.sub(s.widen(x[0]), x[1]);
        return s.add(x[2], s.mul(centered, centered, /*inSum=*/true), /*inSum=*/true);
      });
  Value inverse = inverseDeviation(rewriter, loc, squares, count, op.getEpsilon().convertToDouble());
  SmallVector<Value> inputs{input, mean, inverse, op.getScale()};
  SmallVector<AffineMap> maps{identity, rowMap, rowMap, broadcastMap(tensorType(op.getScale()), type)};
  if (op.getBias()) {
    inputs.push_back(op.getBias());
    maps.push_back(broadcastMap(tensorType(op.getBias()), type));
  }
  return createParallel(rewriter, loc, inputs, maps, createEmptyLike(rewriter, loc, input, elementType),
                        [&](S &s, ValueRange x) {
                          Value normal = s.mul(s.sub(s.widen(x[0]), x[1]), x[2]);
                          Value result = s.mul(normal, s.widen(x[3]));
                          if (op.getBias())
                            result = s.add(result, s.widen(x[4]));
                          return s.narrow(result, elementType);
                        });
}

FailureOr<Value> lowerRmsNorm(RmsNormOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  Value input = op.getInput();
  RankedTensorType type = tensorType(input);
  Type elementType = type.getElementType(), accType = computeType(elementType);
  int64_t rank = type.getRank();
  SmallVector<int64_t> axes = axesFrom(op.getAxis(), rank);
  AffineMap identity = rewriter.getMultiDimIdentityMap(rank), rowMap = withoutAxes(rewriter, rank, axes);
  Value count = countAlong(rewriter, loc, input, axes);
  Value squares = reduceAxes(rewriter, loc, input, axes, zeroOf(rewriter, accType), {}, {}, [](S &s, ValueRange x) {
    return combine(s, Reduction::sum_square, s.widen(x[0]), x[1]);
  });
  Value inverse = inverseDeviation(rewriter, loc, squares, count, op.getEpsilon().convertToDouble());
  return createParallel(rewriter, loc, {input, inverse, op.getScale()},
                        {identity, rowMap, broadcastMap(tensorType(op.getScale()), type)},
                        createEmptyLike(rewriter, loc, input, elementType), [&](S &s, ValueRange x) {
                          Value normal = s.mul(s.widen(x[0]), x[1]);
                          return s.narrow(s.mul(normal, s.widen(x[2])), elementType);
                        });
}

//===----------------------------------------------------------------------===//
// Running sum
//===----------------------------------------------------------------------===//

// Each element sums its own range anew: quadratic along the axis, but without an order among elements.
FailureOr<Value> lowerCumSum(CumSumOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  Value input = op.getInput();
  Type elementType = tensorType(input).getElementType(), accType = computeType(elementType);
  int64_t rank = tensorType(input).getRank();
  int64_t axis = op.getAxis();
  Value extent = extentOf(rewriter, loc, input, axis);
  Value init = createEmptyLike(rewriter, loc, input, elementType);
  return createParallel(rewriter, loc, {}, {}, init, [&](S &s, ValueRange) {
    SmallVector<Value> indices = loopIndices(s, 0, rank);
    Value zero = s.index(0), one = s.index(1), own = indices[axis], next = s.op<arith::AddIOp>(own, one);
    Value from = !op.getReverse() ? zero : op.getExclusive() ? next : own;
    Value to = op.getReverse() ? extent : op.getExclusive() ? own : next;
    auto loop = s.builder.create<scf::ForOp>(
        s.loc, from, to, one, ValueRange{s.number(accType, 0)},
        [&](OpBuilder &nested, Location nestedLoc, Value position, ValueRange state) {
          S body(nested, nestedLoc);
          indices[axis] = position;
          Value element = body.op<tensor::ExtractOp>(input, indices);
          nested.create<scf::YieldOp>(nestedLoc, body.add(state[0], body.widen(element), /*inSum=*/true));
        });
    return s.narrow(loop.getResult(0), elementType);
  });
}

} // namespace

void populateReduction(RewritePatternSet &patterns) {
  addPattern<MatmulOp>(patterns, lowerMatmul);
  addPattern<ReduceOp>(patterns, lowerReduce);
  addPattern<AttentionOp>(patterns, lowerAttention);
  addPattern<SoftmaxOp>(patterns, lowerSoftmax);
  addPattern<LayerNormOp>(patterns, lowerLayerNorm);
  addPattern<RmsNormOp>(patterns, lowerRmsNorm);
  addPattern<CumSumOp>(patterns, lowerCumSum);
}

} // namespace lathe::reference
