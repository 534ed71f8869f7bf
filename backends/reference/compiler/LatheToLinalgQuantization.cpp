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

FailureOr<Value> lowerDequantizeLog2(DequantizeLog2Op op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  AffineMap identity = rewriter.getMultiDimIdentityMap(type.getRank());
  Value init = createEmptyLike(rewriter, loc, op.getInput(), type.getElementType());
  return createParallel(rewriter, loc, op.getInput(), identity, init, [&](S &s, ValueRange x) {
    Type i32 = rewriter.getI32Type(), f32 = rewriter.getF32Type();
    auto number = [&](int64_t value) { return s.op<arith::ConstantOp>(rewriter.getI32IntegerAttr(value)); };
    int64_t width = x[0].getType().getIntOrFloatBitWidth(), sign = int64_t(1) << (width - 1);
    Value code = s.op<arith::ExtUIOp>(i32, x[0]);
    Value m = s.op<arith::AndIOp>(code, number(sign - 1));
    Value isNegative = s.op<arith::CmpIOp>(arith::CmpIPredicate::uge, code, number(sign));
    // The bits of 2^(m - (sign - 1)), a normal number for every m of 7 bits but 0.
    Value bits = s.op<arith::ShLIOp>(s.op<arith::AddIOp>(m, number(128 - sign)), number(23));
    Value magnitude = s.op<arith::BitcastOp>(f32, bits);
    Value zero = s.op<arith::ConstantOp>(rewriter.getF32FloatAttr(0));
    magnitude = s.op<arith::SelectOp>(s.op<arith::CmpIOp>(arith::CmpIPredicate::eq, m, number(0)), zero, magnitude);
    Value value = s.op<arith::SelectOp>(isNegative, s.op<arith::NegFOp>(magnitude), magnitude);
    Type wide = computeType(type.getElementType());
    value = s.mul(s.cast(value, wide), s.cast(parameter(s, op, op.getScale()), wide));
    return s.cast(value, type.getElementType());
  });
}

FailureOr<Value> lowerCodebookLookup(CodebookLookupOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value codes = op.getCodes(), codebook = op.getCodebook();
  int64_t entries = tensorType(codebook).getDimSize(0), axis = op.getAxis() ? *op.getAxis() : 0;
  int64_t length = op.getAxis() ? tensorType(codebook).getDimSize(1) : 1;
  Value init = createEmpty(rewriter, loc, type, [&](int64_t own) -> Value {
    Value extent = extentOf(rewriter, loc, codes, own);
    if (!op.getAxis() || own != axis)
      return extent;
    return rewriter.create<arith::MulIOp>(loc, extent, rewriter.create<arith::ConstantIndexOp>(loc, length));
  });
  return createParallel(rewriter, loc, {}, {}, init, [&](S &s, ValueRange) {
    SmallVector<Value> position = loopIndices(s, 0, type.getRank());
    Value within;
    if (op.getAxis()) {
      within = s.op<arith::RemUIOp>(position[axis], s.index(length));
      position[axis] = s.op<arith::DivUIOp>(position[axis], s.index(length));
    }
    Value code = s.op<tensor::ExtractOp>(codes, position);
    code = s.op<arith::IndexCastUIOp>(rewriter.getIndexType(), code);
    code = s.op<arith::MinUIOp>(code, s.index(entries - 1));
    SmallVector<Value> entry{code};
    if (within)
      entry.push_back(within);
    return s.op<tensor::ExtractOp>(codebook, entry);
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
  addPattern<DequantizeLog2Op>(patterns, lowerDequantizeLog2);
  addPattern<CodebookLookupOp>(patterns, lowerCodebookLookup);
}

} // namespace lathe::reference
