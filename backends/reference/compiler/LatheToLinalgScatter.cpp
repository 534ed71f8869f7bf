//===- LatheToLinalgScatter.cpp - Scatters and the best of an axis --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Each element of a result looks for what concerns it: slow, but without an order among elements.
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"

using namespace mlir;

namespace lathe::reference {
namespace {

using S = ScalarBuilder;

//===----------------------------------------------------------------------===//
// Top k
//===----------------------------------------------------------------------===//

/// Element x at place i comes before element y at place j. Total, so that every place has a rank of its own.
Value comesBefore(S &s, bool smallest, Value x, Value i, Value y, Value j) {
  auto either = [&](Value a, Value b) { return s.op<arith::OrIOp>(a, b); };
  auto both = [&](Value a, Value b) { return s.op<arith::AndIOp>(a, b); };
  Value better = s.compare(smallest ? Comparison::lt : Comparison::gt, x, y);
  Value equal = s.compare(Comparison::eq, x, y);
  if (isa<FloatType>(x.getType())) {
    Value xIsNan = s.compare(Comparison::ne, x, x), yIsNan = s.compare(Comparison::ne, y, y);
    Value one = s.op<arith::ConstantIntOp>(1, 1);
    better = either(better, smallest ? both(yIsNan, s.op<arith::XOrIOp>(xIsNan, one))
                                     : both(xIsNan, s.op<arith::XOrIOp>(yIsNan, one)));
    equal = either(equal, both(xIsNan, yIsNan));
  }
  return either(better, both(equal, s.compare(Comparison::lt, i, j)));
}

// The element of rank r is found in r + 1 scans, each for the best that comes after the one before.
FailureOr<Value> lowerTopK(TopKOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value input = op.getInput();
  int64_t rank = type.getRank(), axis = op.getAxis();
  Value extent = extentOf(rewriter, loc, input, axis);
  Value init = createEmpty(rewriter, loc, type, [&](int64_t own) {
    return own == axis ? op.getK() : extentOf(rewriter, loc, input, own);
  });
  return createParallel(rewriter, loc, {}, {}, init, [&](S &s, ValueRange) {
    s.isUnsigned = isUnsigned(op);
    SmallVector<Value> indices = loopIndices(s, 0, rank);
    Value rounds = s.op<arith::AddIOp>(indices[axis], s.index(1)), none = s.index(-1);
    auto read = [&](S &body, Value place) {
      indices[axis] = body.op<arith::MaxSIOp>(place, body.index(0));
      return body.widen(body.op<tensor::ExtractOp>(input, indices));
    };
    Value place = reduceLoop(s, rounds, none, [&](S &round, Value, Value last) {
      Value lastElement = read(round, last), isFirst = round.compare(Comparison::lt, last, round.index(0));
      return reduceLoop(round, extent, none, [&](S &scan, Value position, Value best) {
        Value element = read(scan, position), bestElement = read(scan, best);
        Value isLeft = scan.op<arith::OrIOp>(
            isFirst, comesBefore(scan, op.getSmallest(), lastElement, last, element, position));
        Value isBetter = scan.op<arith::OrIOp>(
            scan.compare(Comparison::lt, best, scan.index(0)),
            comesBefore(scan, op.getSmallest(), element, position, bestElement, best));
        return scan.select(scan.op<arith::AndIOp>(isLeft, isBetter), position, best);
      });
    });
    return s.fromIndex(place, type.getElementType());
  });
}

//===----------------------------------------------------------------------===//
// Scatters
//===----------------------------------------------------------------------===//

/// An element of the indices, counted from the start and checked.
template <typename OpTy> Value readIndex(S &s, OpTy op, ArrayRef<Value> at, Value extent) {
  S own(s.builder, s.loc);
  own.isUnsigned = isUnsigned(op, 1);
  return s.checkedIndex(own.toIndex(s.op<tensor::ExtractOp>(op.getIndices(), at)), extent);
}

FailureOr<Value> lowerScatterElements(ScatterElementsOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value input = op.getInput(), indices = op.getIndices(), updates = op.getUpdates();
  int64_t rank = type.getRank(), axis = op.getAxis();
  Value extent = extentOf(rewriter, loc, input, axis), count = extentOf(rewriter, loc, indices, axis);
  SmallVector<Value> limits(rank); // of axes along which the indices may be shorter than the input
  for (int64_t own = 0; own < rank; ++own)
    if (own != axis && (tensorType(indices).isDynamicDim(own) ||
                        tensorType(indices).getDimSize(own) != tensorType(input).getDimSize(own)))
      limits[own] = extentOf(rewriter, loc, indices, own);
  Value init = createEmpty(rewriter, loc, type, [&](int64_t own) { return extentOf(rewriter, loc, input, own); });
  return createParallel(
      rewriter, loc, input, rewriter.getMultiDimIdentityMap(rank), init, [&](S &s, ValueRange args) {
        s.isUnsigned = isUnsigned(op);
        SmallVector<Value> place = loopIndices(s, 0, rank);
        Value own = place[axis], within;
        for (int64_t i = 0; i < rank; ++i)
          if (limits[i]) {
            Value inside = s.compare(Comparison::lt, place[i], limits[i]);
            within = within ? s.op<arith::AndIOp>(within, inside) : inside;
          }
        auto scan = [&](S &body) {
          return reduceLoop(body, count, args[0], [&](S &step, Value position, Value value) {
            SmallVector<Value> at(place);
            at[axis] = position;
            Value index = readIndex(step, op, at, extent);
            Value hit = step.compare(Comparison::eq, index, own);
            return conditional(
                step, hit,
                [&](S &inner) { return combineScattered(inner, op.getKind(), value, inner.op<tensor::ExtractOp>(updates, at)); },
                value);
          });
        };
        return within ? conditional(s, within, scan, args[0]) : scan(s);
      });
}

/// The value at `place` after the updates whose tuples begin with the loops of `tuple`.
Value scanTuples(S &s, ScatterNDOp op, ArrayRef<Value> place, ArrayRef<Value> counts, ArrayRef<Value> extents,
                 SmallVector<Value> tuple, Value value) {
  if (tuple.size() < counts.size())
    return reduceLoop(s, counts[tuple.size()], value, [&](S &step, Value position, Value state) {
      SmallVector<Value> longer(tuple);
      longer.push_back(position);
      return scanTuples(step, op, place, counts, extents, std::move(longer), state);
    });
  Value hit;
  SmallVector<Value> at(tuple);
  at.push_back({});
  for (auto [i, extent] : llvm::enumerate(extents)) {
    at.back() = s.index(static_cast<int64_t>(i));
    Value index = readIndex(s, op, at, extent);
    Value equal = s.compare(Comparison::eq, index, place[i]);
    hit = hit ? s.op<arith::AndIOp>(hit, equal) : equal;
  }
  tuple.append(place.begin() + extents.size(), place.end());
  return conditional(
      s, hit,
      [&](S &inner) { return combineScattered(inner, op.getKind(), value, inner.op<tensor::ExtractOp>(op.getUpdates(), tuple)); },
      value);
}

FailureOr<Value> lowerScatterND(ScatterNDOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType(), indicesType = tensorType(op.getIndices());
  Value input = op.getInput();
  int64_t rank = type.getRank(), leading = indicesType.getRank() - 1;
  SmallVector<Value> counts, extents;
  for (int64_t i = 0; i < leading; ++i)
    counts.push_back(extentOf(rewriter, loc, op.getIndices(), i));
  for (int64_t i = 0; i < indicesType.getDimSize(leading); ++i)
    extents.push_back(extentOf(rewriter, loc, input, i));
  Value init = createEmpty(rewriter, loc, type, [&](int64_t own) { return extentOf(rewriter, loc, input, own); });
  return createParallel(rewriter, loc, input, rewriter.getMultiDimIdentityMap(rank), init, [&](S &s, ValueRange args) {
    s.isUnsigned = isUnsigned(op);
    return scanTuples(s, op, loopIndices(s, 0, rank), counts, extents, {}, args[0]);
  });
}

} // namespace

Value combineScattered(ScalarBuilder &s, ScatterKind kind, Value old, Value update) {
  Type type = old.getType();
  Value a = s.widen(old), b = s.widen(update);
  switch (kind) {
  case ScatterKind::assign:
    return update;
  case ScatterKind::add:
    return s.narrow(s.add(a, b), type);
  case ScatterKind::mul:
    return s.narrow(s.mul(a, b), type);
  case ScatterKind::max:
    return s.narrow(s.max(a, b), type);
  case ScatterKind::min:
    return s.narrow(s.min(a, b), type);
  }
  llvm_unreachable("all kinds are handled");
}

void populateScatter(RewritePatternSet &patterns) {
  addPattern<TopKOp>(patterns, lowerTopK);
  addPattern<ScatterElementsOp>(patterns, lowerScatterElements);
  addPattern<ScatterNDOp>(patterns, lowerScatterND);
}

} // namespace lathe::reference
