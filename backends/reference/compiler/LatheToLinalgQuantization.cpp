//===- LatheToLinalgQuantization.cpp - Scaled values ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include <cmath>

using namespace mlir;

namespace lathe::reference {
namespace {

using S = ScalarBuilder;

/// The element of a scale or zero point that belongs to the element that a body computes.
template <typename OpTy> Value parameter(S &s, OpTy op, Value tensor) {
  if (TypedAttr splat = splatConstant(tensor))
    return s.op<arith::ConstantOp>(splat);
  SmallVector<Value> indices;
  if (op.getBlockSize()) {
    indices = loopIndices(s, 0, tensorType(op.getInput()).getRank());
    Value &own = indices[*op.getAxis()];
    own = s.op<arith::DivUIOp>(own, s.index(static_cast<int64_t>(*op.getBlockSize())));
  } else if (op.getAxis()) {
    indices.push_back(s.op<linalg::IndexOp>(static_cast<int64_t>(*op.getAxis())));
  }
  return s.op<tensor::ExtractOp>(tensor, indices);
}

/// An element of a quantized tensor as a float.
Value toFloat(S &s, Value value, Type type, bool isUnsigned) {
  S own(s.builder, s.loc);
  own.isUnsigned = isUnsigned;
  return own.cast(value, type);
}

FailureOr<Value> lowerDequantize(DequantizeOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  AffineMap identity = rewriter.getMultiDimIdentityMap(type.getRank());
  Type scaleType = computeType(tensorType(op.getScale()).getElementType()), resultType = computeType(type.getElementType());
  Type wide = scaleType.isF64() ? scaleType : resultType;
  Value init = createEmptyLike(rewriter, loc, op.getInput(), type.getElementType());
  return createParallel(rewriter, loc, op.getInput(), identity, init, [&](S &s, ValueRange x) {
    Value q = x[0], zero = op.getZeroPoint() ? parameter(s, op, op.getZeroPoint()) : Value();
    bool unsignedInput = isUnsigned(op);
    if (zero && q.getType().isInteger(32)) {
      // The difference is exact before it becomes a float.
      S own(s.builder, s.loc);
      own.isUnsigned = unsignedInput;
      Type i64 = rewriter.getI64Type();
      q = s.op<arith::SubIOp>(own.cast(q, i64), own.cast(zero, i64));
      unsignedInput = false;
      zero = {};
    }
    Value result = toFloat(s, q, wide, unsignedInput);
    if (zero)
      result = s.sub(result, toFloat(s, zero, wide, unsignedInput));
    result = s.mul(result, s.cast(parameter(s, op, op.getScale()), wide));
    return s.cast(result, type.getElementType());
  });
}

FailureOr<Value> lowerQuantize(QuantizeOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Type element = type.getElementType(), scaleType = tensorType(op.getScale()).getElementType();
  AffineMap identity = rewriter.getMultiDimIdentityMap(type.getRank());
  Value init = createEmptyLike(rewriter, loc, op.getInput(), element);
  return createParallel(rewriter, loc, op.getInput(), identity, init, [&](S &s, ValueRange x) {
    Value quotient = s.div(s.widen(x[0]), s.widen(parameter(s, op, op.getScale())));
    quotient = s.widen(s.narrow(quotient, scaleType));
    bool isUnsigned = hasUnsignedResult(op), isInteger = isa<IntegerType>(element);
    if (isInteger)
      quotient = s.op<math::RoundEvenOp>(quotient);
    if (op.getZeroPoint())
      quotient = s.add(quotient, toFloat(s, parameter(s, op, op.getZeroPoint()), quotient.getType(), isUnsigned));
    if (unsigned width = element.getIntOrFloatBitWidth(); isInteger && width < 8) { // which a cast wraps to
      int64_t low = isUnsigned ? 0 : -(int64_t(1) << (width - 1)), high = low + (int64_t(1) << width) - 1;
      Type type = quotient.getType();
      quotient = s.max(s.min(quotient, s.number(type, static_cast<double>(high))), s.number(type, static_cast<double>(low)));
    }
    return s.cast(quotient, element, isUnsigned, op.getOverflows());
  });
}

} // namespace

void populateQuantization(RewritePatternSet &patterns) {
  addPattern<DequantizeOp>(patterns, lowerDequantize);
  addPattern<QuantizeOp>(patterns, lowerQuantize);
}

} // namespace lathe::reference
