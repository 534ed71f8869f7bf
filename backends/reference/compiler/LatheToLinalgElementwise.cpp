//===- LatheToLinalgElementwise.cpp - Elementwise operations --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include <limits>
#include <numbers>

using namespace mlir;

namespace lathe::reference {
namespace {

using S = ScalarBuilder;

//===----------------------------------------------------------------------===//
// Formulas. Operands are widened before, results narrowed after.
//===----------------------------------------------------------------------===//

Value number(S &s, Value like, double value) { return s.number(like.getType(), value); }

Value compute(S &s, NegOp, ValueRange x) {
  if (isa<FloatType>(x[0].getType()))
    return s.op<arith::NegFOp>(x[0]);
  return s.sub(number(s, x[0], 0), x[0]);
}

Value compute(S &s, AbsOp, ValueRange x) { return s.abs(x[0]); }

Value compute(S &s, SignOp, ValueRange x) {
  if (x[0].getType().isInteger(1))
    return x[0];
  Value zero = number(s, x[0], 0);
  if (s.isUnsigned)
    return s.select(s.compare(Comparison::eq, x[0], zero), zero, number(s, x[0], 1));
  Value rest = zero;
  if (isa<FloatType>(x[0].getType())) {
    Value nan = s.op<arith::CmpFOp>(arith::CmpFPredicate::UNO, x[0], x[0]);
    rest = s.select(nan, x[0], zero);
  }
  Value negative = s.select(s.compare(Comparison::lt, x[0], zero), number(s, x[0], -1), rest);
  return s.select(s.compare(Comparison::gt, x[0], zero), number(s, x[0], 1), negative);
}

Value compute(S &s, SqrtOp, ValueRange x) { return s.op<math::SqrtOp>(x[0]); }
Value compute(S &s, RsqrtOp, ValueRange x) { return s.div(number(s, x[0], 1), s.op<math::SqrtOp>(x[0])); }
Value compute(S &s, ReciprocalOp, ValueRange x) { return s.div(number(s, x[0], 1), x[0]); }
Value compute(S &s, ExpOp, ValueRange x) { return s.op<math::ExpOp>(x[0]); }
Value compute(S &s, LogOp, ValueRange x) { return s.op<math::LogOp>(x[0]); }
Value compute(S &s, ErfOp, ValueRange x) { return s.op<math::ErfOp>(x[0]); }
Value compute(S &s, TanhOp, ValueRange x) { return s.op<math::TanhOp>(x[0]); }
Value compute(S &s, SinOp, ValueRange x) { return s.op<math::SinOp>(x[0]); }
Value compute(S &s, CosOp, ValueRange x) { return s.op<math::CosOp>(x[0]); }
Value compute(S &s, FloorOp, ValueRange x) { return s.op<math::FloorOp>(x[0]); }
Value compute(S &s, CeilOp, ValueRange x) { return s.op<math::CeilOp>(x[0]); }
Value compute(S &s, RoundOp, ValueRange x) { return s.op<math::RoundEvenOp>(x[0]); }
Value compute(S &s, AtanOp, ValueRange x) { return s.op<math::AtanOp>(x[0]); }
Value compute(S &s, NotOp, ValueRange x) { return s.op<arith::XOrIOp>(x[0], number(s, x[0], -1)); }
Value compute(S &s, ReluOp, ValueRange x) { return s.max(x[0], number(s, x[0], 0)); }

Value compute(S &s, SigmoidOp, ValueRange x) {
  Value one = number(s, x[0], 1);
  Value exponential = s.op<math::ExpOp>(s.op<arith::NegFOp>(x[0]));
  return s.div(one, s.add(one, exponential));
}

Value compute(S &s, GeluOp op, ValueRange x) {
  Value one = number(s, x[0], 1), half = s.mul(number(s, x[0], 0.5), x[0]);
  if (op.getApproximation() == GeluApproximation::erf) {
    Value scaled = s.mul(x[0], number(s, x[0], std::numbers::sqrt2 / 2));
    return s.mul(half, s.add(one, s.op<math::ErfOp>(scaled)));
  }
  // sqrt(2/pi) * (x + 0.044715 x^3)
  Value cube = s.mul(s.mul(x[0], x[0]), x[0]);
  Value inner = s.add(x[0], s.mul(number(s, x[0], 0.044715), cube));
  Value scaled = s.mul(number(s, x[0], std::numbers::sqrt2 * std::numbers::inv_sqrtpi), inner);
  return s.mul(half, s.add(one, s.op<math::TanhOp>(scaled)));
}

Value compute(S &s, SwishOp op, ValueRange x) {
  Value scaled = s.mul(x[0], number(s, x[0], -op.getBeta().convertToDouble()));
  return s.div(x[0], s.add(number(s, x[0], 1), s.op<math::ExpOp>(scaled)));
}

Value compute(S &s, IsNanOp, ValueRange x) { return s.op<arith::CmpFOp>(arith::CmpFPredicate::UNO, x[0], x[0]); }

Value compute(S &s, IsInfOp, ValueRange x) {
  return s.compare(Comparison::eq, s.abs(x[0]), number(s, x[0], std::numeric_limits<double>::infinity()));
}

Value compute(S &s, AddOp, ValueRange x) { return s.add(x[0], x[1]); }
Value compute(S &s, SubOp, ValueRange x) { return s.sub(x[0], x[1]); }
Value compute(S &s, MulOp, ValueRange x) { return s.mul(x[0], x[1]); }
Value compute(S &s, DivOp, ValueRange x) { return s.div(x[0], x[1]); }
Value compute(S &s, MinOp, ValueRange x) { return s.min(x[0], x[1]); }
Value compute(S &s, MaxOp, ValueRange x) { return s.max(x[0], x[1]); }
Value compute(S &s, AndOp, ValueRange x) { return s.op<arith::AndIOp>(x[0], x[1]); }
Value compute(S &s, OrOp, ValueRange x) { return s.op<arith::OrIOp>(x[0], x[1]); }
Value compute(S &s, XorOp, ValueRange x) { return s.op<arith::XOrIOp>(x[0], x[1]); }

/// The instruction takes no distance from the width on.
template <typename OpTy> Value shift(S &s, ValueRange x, Value beyond) {
  Value width = number(s, x[1], x[1].getType().getIntOrFloatBitWidth());
  Value inside = s.op<arith::CmpIOp>(arith::CmpIPredicate::ult, x[1], width);
  return s.select(inside, s.op<OpTy>(x[0], s.select(inside, x[1], number(s, x[1], 0))), beyond);
}

Value compute(S &s, ShiftLeftOp, ValueRange x) { return shift<arith::ShLIOp>(s, x, number(s, x[0], 0)); }

Value compute(S &s, ShiftRightOp, ValueRange x) {
  Value zero = number(s, x[0], 0);
  if (s.isUnsigned || x[0].getType().isInteger(1))
    return shift<arith::ShRUIOp>(s, x, zero);
  Value sign = s.select(s.compare(Comparison::lt, x[0], zero), number(s, x[0], -1), zero);
  return shift<arith::ShRSIOp>(s, x, sign);
}

/// By squaring, over the bits of the exponent; wraps as the product does.
Value integerPower(S &s, Value base, Value exponent) {
  Type type = base.getType();
  Value one = s.number(type, 1), zero = s.number(type, 0), minusOne = s.number(type, -1);
  auto loop = s.builder.create<scf::ForOp>(
      s.loc, s.index(0), s.index(type.getIntOrFloatBitWidth() - (s.isUnsigned ? 0 : 1)), s.index(1),
      ValueRange{one, base, exponent}, [&](OpBuilder &nested, Location loc, Value, ValueRange state) {
        S body(nested, loc);
        Value odd = body.compare(Comparison::ne, body.op<arith::AndIOp>(state[2], one), zero);
        Value power = body.select(odd, body.mul(state[0], state[1]), state[0]);
        Value square = body.mul(state[1], state[1]);
        Value rest = body.op<arith::ShRUIOp>(state[2], one);
        nested.create<scf::YieldOp>(loc, ValueRange{power, square, rest});
      });
  if (s.isUnsigned)
    return loop.getResult(0);
  // Below zero only 1 and -1 have an integer power other than 0.
  Value odd = s.compare(Comparison::ne, s.op<arith::AndIOp>(exponent, one), zero);
  Value alternating = s.select(odd, minusOne, one);
  Value inverse = s.select(s.compare(Comparison::eq, base, minusOne), alternating, zero);
  inverse = s.select(s.compare(Comparison::eq, base, one), one, inverse);
  return s.select(s.compare(Comparison::lt, exponent, zero), inverse, loop.getResult(0));
}

Value compute(S &s, PowOp, ValueRange x) {
  if (isa<FloatType>(x[0].getType()))
    return s.op<math::PowFOp>(x[0], x[1]);
  if (x[0].getType().isInteger(1)) // x^0 is 1, x^1 is x
    return s.op<arith::OrIOp>(x[0], s.op<arith::XOrIOp>(x[1], number(s, x[1], 1)));
  return integerPower(s, x[0], x[1]);
}

Value compute(S &s, ModOp op, ValueRange x) {
  Value a = x[0], b = x[1], zero = number(s, a, 0), remainder;
  if (a.getType().isInteger(1)) // x mod 0 is 0, and so is x mod 1
    return zero;
  if (isa<FloatType>(a.getType())) {
    remainder = s.op<arith::RemFOp>(a, b);
  } else if (s.isUnsigned) {
    Value divisor = s.select(s.compare(Comparison::eq, b, zero), number(s, b, 1), b);
    return s.op<arith::RemUIOp>(a, divisor);
  } else {
    // The remainder by 1 is 0, which is what division by 0 and -1 shall give; their instruction would trap.
    Value byZero = s.compare(Comparison::eq, b, zero), byMinusOne = s.compare(Comparison::eq, b, number(s, b, -1));
    Value divisor = s.select(s.op<arith::OrIOp>(byZero, byMinusOne), number(s, b, 1), b);
    remainder = s.op<arith::RemSIOp>(a, divisor);
  }
  if (op.getTruncated())
    return remainder;
  Value signsDiffer =
      s.op<arith::XOrIOp>(s.compare(Comparison::lt, remainder, zero), s.compare(Comparison::lt, b, zero));
  Value moved = s.op<arith::AndIOp>(s.compare(Comparison::ne, remainder, zero), signsDiffer);
  return s.select(moved, s.add(remainder, b), remainder);
}

Value compute(S &s, CompareOp op, ValueRange x) { return s.compare(op.getPredicate(), x[0], x[1]); }
Value compute(S &s, SelectOp, ValueRange x) { return s.select(x[0], x[1], x[2]); }
Value compute(S &s, CastOp op, ValueRange x) {
  return s.cast(x[0], tensorType(op.getResult()).getElementType(), hasUnsignedResult(op),
                op.getOverflows());
}

/// Operations that move elements, or that widen on their own.
template <typename OpTy> constexpr bool keepsOperandTypes = llvm::is_one_of<OpTy, SelectOp, CastOp>::value;

//===----------------------------------------------------------------------===//
// Patterns
//===----------------------------------------------------------------------===//

/// Extent of a dynamic axis of the result: that of an operand whose axis doesn't broadcast.
Value resultExtent(OpBuilder &builder, Operation *op, int64_t axis) {
  int64_t rank = tensorType(op->getResult(0)).getRank();
  Value fallback;
  for (Value operand : op->getOperands()) {
    RankedTensorType type = tensorType(operand);
    int64_t own = axis - (rank - type.getRank());
    if (own < 0)
      continue;
    if (type.isDynamicDim(own))
      return extentOf(builder, op->getLoc(), operand, own);
    if (!fallback || type.getDimSize(own) != 1)
      fallback = extentOf(builder, op->getLoc(), operand, own);
  }
  return fallback;
}

template <typename OpTy> FailureOr<Value> lowerElementwise(OpTy op, PatternRewriter &rewriter) {
  RankedTensorType type = op.getResult().getType();
  Value init =
      createEmpty(rewriter, op.getLoc(), type, [&](int64_t axis) { return resultExtent(rewriter, op, axis); });
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  SmallVector<TypedAttr> splats;
  for (Value operand : op->getOperands()) {
    splats.push_back(splatConstant(operand));
    if (splats.back())
      continue;
    inputs.push_back(operand);
    maps.push_back(broadcastMap(tensorType(operand), type));
  }
  return createParallel(rewriter, op.getLoc(), inputs, maps, init, [&](S &s, ValueRange args) {
    s.isUnsigned = isUnsigned(op);
    SmallVector<Value> operands;
    size_t next = 0;
    for (TypedAttr splat : splats) {
      Value operand = splat ? s.op<arith::ConstantOp>(splat) : args[next++];
      operands.push_back(keepsOperandTypes<OpTy> ? operand : s.widen(operand));
    }
    Value value = compute(s, op, operands);
    return s.narrow(value, type.getElementType());
  });
}

template <typename... OpTys> void addElementwise(RewritePatternSet &patterns) {
  (addPattern<OpTys>(patterns, lowerElementwise<OpTys>), ...);
}

} // namespace

void populateElementwise(RewritePatternSet &patterns) {
  addElementwise<NegOp, AbsOp, SignOp, SqrtOp, RsqrtOp, ReciprocalOp, ExpOp, LogOp, ErfOp, TanhOp, SinOp, CosOp,
                 AtanOp, ShiftLeftOp, ShiftRightOp,
                 SigmoidOp, ReluOp, FloorOp, CeilOp, RoundOp, NotOp, GeluOp, SwishOp, IsNanOp, IsInfOp, AddOp, SubOp, MulOp,
                 DivOp, PowOp, MinOp, MaxOp, AndOp, OrOp, XorOp, ModOp, CompareOp, SelectOp, CastOp>(patterns);
}

} // namespace lathe::reference
