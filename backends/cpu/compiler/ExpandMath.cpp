//===- ExpandMath.cpp - Functions that no library offers ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Without branches, so that they take vectors; but for fmod, which iterates. Polynomials are those of Taylor on
// intervals where they end below the last bit: these functions are rare enough in f64 for the longer ones not to
// matter. f32 has its own where they are frequent (ExpandSingle.cpp).
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/ExpandMath.h"
#include "backends/cpu/compiler/MathBuilder.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include <limits>
#include <numbers>

using namespace mlir;

namespace lathe::cpu {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kSmallestNormal = std::numeric_limits<double>::min();
// ln 2 and pi/2 as sums: the first part has zeros at its end, so that small multiples of it are exact.
constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;
constexpr double kHalfPi[] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54, -0x1.f1976b7ed8fbcp-110};

/// The functions of f64.
struct Arithmetic : MathBuilder {
  /// A whole number below 2^51 as an integer.
  Value toInteger(Value x) {
    constexpr double kShift = 0x1.8p52; // numbers there are as far apart as integers
    return minus(bits(add(x, number(kShift))), integer(llvm::bit_cast<int64_t>(kShift)));
  }

  /// 2^k for an integer k of a normal number.
  Value powerOfTwo(Value k) { return fromBits(op<arith::ShLIOp>(op<arith::AddIOp>(k, integer(1023)), integer(52))); }

  /// x 2^k, in two steps since 2^k may leave the normal numbers where the product does not.
  Value scale(Value x, Value k) {
    Value half = op<arith::ShRSIOp>(k, integer(1));
    return mul(mul(x, powerOfTwo(half)), powerOfTwo(op<arith::SubIOp>(k, half)));
  }

  /// x = m 2^k with m in [1, 2), for x above 0.
  std::pair<Value, Value> split(Value x) {
    Value tiny = less(x, number(kSmallestNormal));
    Value bitsOfX = bits(select(tiny, mul(x, number(0x1p54)), x));
    Value k =
        op<arith::SubIOp>(op<arith::ShRUIOp>(bitsOfX, integer(52)), select(tiny, integer(1023 + 54), integer(1023)));
    Value fraction = op<arith::AndIOp>(bitsOfX, integer((int64_t(1) << 52) - 1));
    return {fromBits(op<arith::OrIOp>(fraction, integer(int64_t(1023) << 52))), k};
  }

  Value exp(Value x);
  Value log(Value x);
  Value sine(Value x, bool cosine);
  Value tanh(Value x);
  Value atan(Value x);
  Value erf(Value x);
  Value pow(Value x, Value y);
  Value fmod(Value x, Value y);
};

/// Coefficients 1/first!, 1/(first + step)!, ...
SmallVector<double> inverseFactorials(int first, int step, int count, bool alternating = false) {
  SmallVector<double> result;
  double factorial = 1;
  for (int i = 1, next = first; static_cast<int>(result.size()) < count; ++i) {
    if (i - 1 == next) {
      bool negative = alternating && result.size() % 2;
      result.push_back((negative ? -1 : 1) / factorial);
      next += step;
    }
    factorial *= i;
  }
  return result;
}

Value Arithmetic::exp(Value x) {
  // Beyond these the result is 0 or infinite. NaN goes to the lower one, and is put back at the end.
  Value y = select(less(number(-800), x), x, number(-800));
  y = select(less(y, number(800)), y, number(800));
  Value k = op<math::RoundEvenOp>(mul(y, number(std::numbers::log2e)));
  Value rest = fma(k, number(-kLn2Low), fma(k, number(-kLn2High), y));
  Value result = scale(polynomial(inverseFactorials(0, 1, 15), rest), toInteger(k));
  return select(isNan(x), x, result);
}

Value Arithmetic::log(Value x) {
  auto [m, k] = split(x);
  Value large = less(number(std::numbers::sqrt2), m);
  m = select(large, mul(m, number(0.5)), m);
  k = select(large, op<arith::AddIOp>(k, integer(1)), k);
  // log m = 2 artanh s
  Value s = div(sub(m, number(1)), add(m, number(1))), z = mul(s, s);
  SmallVector<double> c;
  for (int i = 0; i < 13; ++i)
    c.push_back(2.0 / (2 * i + 1));
  Value exponent = toFloat(k);
  Value result = fma(exponent, number(kLn2High), fma(exponent, number(kLn2Low), mul(s, polynomial(c, z))));
  result = select(equal(x, number(0)), number(-kInfinity), result);
  result = select(less(x, number(0)), number(kNan), result);
  // NaN and infinity are their own logarithms.
  return select(less(x, number(kInfinity)), result, x);
}

Value Arithmetic::sine(Value x, bool cosine) {
  Value inRange = less(abs(x), number(0x1p50));
  Value angle = select(inRange, x, number(0));
  Value k = op<math::RoundEvenOp>(mul(angle, number(std::numbers::inv_pi * 2)));
  Value rest = angle;
  for (double part : kHalfPi)
    rest = fma(k, number(-part), rest);
  Value quadrant = toInteger(k);
  if (cosine)
    quadrant = op<arith::AddIOp>(quadrant, integer(1));
  Value z = mul(rest, rest);
  Value sinRest = mul(rest, polynomial(inverseFactorials(1, 2, 9, true), z));
  Value cosRest = polynomial(inverseFactorials(0, 2, 9, true), z);
  auto bit = [&](int64_t mask) {
    return op<arith::CmpIOp>(arith::CmpIPredicate::ne, op<arith::AndIOp>(quadrant, integer(mask)), integer(0));
  };
  Value result = select(bit(1), cosRest, sinRest);
  result = select(bit(2), neg(result), result);
  if (!cosine) // the sign of a zero is lost in the angle's reduction
    result = select(equal(x, number(0)), x, result);
  // Of infinity it is NaN.
  return select(inRange, result, mul(x, number(0)));
}

Value Arithmetic::tanh(Value x) {
  Value a = abs(x), twice = add(a, a);
  // Near 0 exp(2a) - 1 would lose digits.
  Value small = mul(twice, polynomial(inverseFactorials(1, 1, 17), twice));
  Value nearZero = div(small, add(small, number(2)));
  Value elsewhere = sub(number(1), div(number(2), add(exp(twice), number(1))));
  return op<math::CopySignOp>(select(less(a, number(0.3)), nearZero, elsewhere), x);
}

Value Arithmetic::atan(Value x) {
  Value a = abs(x), one = number(1);
  // Above 1 it is pi/2 - atan(1/a), so y is in [0, 1]; then twice what halves the angle, down to tan(pi/16).
  Value inverted = less(one, a), y = select(inverted, div(one, a), a);
  for (int i = 0; i < 2; ++i)
    y = div(y, add(one, op<math::SqrtOp>(fma(y, y, one))));
  SmallVector<double> series; // 1 - z/3 + z^2/5 - …
  for (int i = 0; i < 12; ++i)
    series.push_back((i % 2 ? -1.0 : 1.0) / (2 * i + 1));
  Value angle = mul(mul(y, number(4)), polynomial(series, mul(y, y)));
  // Not the other way round: NaN is to pass.
  Value result = select(inverted, sub(number(kHalfPi[0]), angle), angle);
  return select(isNan(x), x, op<math::CopySignOp>(result, x));
}

Value Arithmetic::erf(Value x) {
  Value a = abs(x), square = mul(a, a), decay = exp(neg(square));
  // Below 2.5: 2/sqrt(pi) a exp(-a^2) (1 + 2a^2/3 (1 + 2a^2/5 (1 + ...))), without cancellation.
  Value t = add(square, square), sum = number(1);
  for (int i = 56; i > 0; --i)
    sum = fma(mul(t, number(1.0 / (2 * i + 1))), sum, number(1));
  Value series = mul(mul(a, mul(decay, number(2 * std::numbers::inv_sqrtpi))), sum);
  // Above: the continued fraction of 1 - erf.
  Value fraction = a;
  for (int i = 30; i > 0; --i)
    fraction = add(a, div(number(0.5 * i), fraction));
  Value rest = sub(number(1), div(mul(decay, number(std::numbers::inv_sqrtpi)), fraction));
  Value result = select(less(a, number(6)), select(less(a, number(2.5)), series, rest), number(1));
  return select(isNan(x), x, op<math::CopySignOp>(result, x));
}

Value Arithmetic::pow(Value x, Value y) {
  Value one = number(1), zero = number(0), a = abs(x), half = mul(y, number(0.5));
  auto isWhole = [&](Value v) { return equal(op<math::FloorOp>(v), v); };
  Value result = exp(mul(y, log(a)));
  result = select(equal(a, one), one, result); // the logarithm is 0, which infinity must not meet
  Value whole = isWhole(y);
  Value odd = both(whole, op<arith::XOrIOp>(isWhole(half), truth(true)));
  Value finiteNegative = both(less(x, zero), less(number(-kInfinity), x));
  Value undefined = both(finiteNegative, op<arith::XOrIOp>(whole, truth(true)));
  result = select(odd, op<math::CopySignOp>(result, x), result);
  result = select(undefined, number(kNan), result);
  result = select(op<arith::OrIOp>(isNan(x), isNan(y)), number(kNan), result);
  // Whatever the other is, even NaN.
  return select(op<arith::OrIOp>(equal(x, one), equal(y, zero)), one, result);
}

Value Arithmetic::fmod(Value x, Value y) {
  Value a = abs(x), divisor = abs(y);
  Value defined = both(less(a, number(kInfinity)), less(number(0), divisor));
  Value exponent = split(divisor).second;
  Type f64 = b.getF64Type();
  auto loop = b.create<scf::WhileOp>(
      loc, TypeRange{f64}, ValueRange{select(defined, a, number(kNan))},
      [&](OpBuilder &nested, Location, ValueRange state) {
        Value more = nested.create<arith::CmpFOp>(loc, arith::CmpFPredicate::OGE, state[0], divisor);
        nested.create<scf::ConditionOp>(loc, more, state);
      },
      [&](OpBuilder &nested, Location, ValueRange state) {
        Arithmetic body{{nested, loc, f64}};
        // Subtract the divisor times 2^k as often as it goes, with k so high that the quotient is an exact number. What
        // is left is then a multiple of the last bit of the subtrahend, and below it: exact as well.
        Value k =
            body.op<arith::SubIOp>(body.split(state[0]).second, body.op<arith::AddIOp>(exponent, body.integer(51)));
        k = body.op<arith::MaxSIOp>(k, body.integer(0));
        Value step = body.scale(divisor, k);
        Value quotient = body.op<math::FloorOp>(body.div(state[0], step));
        Value rest = body.fma(body.neg(quotient), step, state[0]);
        // The quotient may have been rounded up.
        rest = body.select(body.less(rest, body.number(0)), body.add(rest, step), rest);
        nested.create<scf::YieldOp>(loc, rest);
      });
  return op<math::CopySignOp>(loop.getResult(0), x);
}

using Function = Value (*)(Arithmetic &, ValueRange);

/// Computes an operation on f64, and on f32 by a function of its own or by way of f64.
template <typename OpTy> struct Expand : OpRewritePattern<OpTy> {
  using Single = Value (*)(MathBuilder &, Value);
  Expand(MLIRContext *context, Function function, Single single = nullptr)
      : OpRewritePattern<OpTy>(context, /*benefit=*/2), function(function), single(single) {}
  LogicalResult matchAndRewrite(OpTy op, PatternRewriter &rewriter) const override {
    Type type = op.getType(), element = getElementTypeOrSelf(type);
    if (!element.isF64() && !element.isF32())
      return rewriter.notifyMatchFailure(op, "of another type than is expanded");
    Arithmetic arithmetic{{rewriter, op.getLoc(), type}};
    if (element.isF32() && single) {
      rewriter.replaceOp(op, single(arithmetic, op->getOperand(0)));
      return success();
    }
    SmallVector<Value> operands(op->getOperands());
    if (element.isF32()) {
      arithmetic.type = arithmetic.like(rewriter.getF64Type());
      for (Value &operand : operands)
        operand = arithmetic.op<arith::ExtFOp>(arithmetic.type, operand);
    }
    Value result = function(arithmetic, operands);
    rewriter.replaceOp(op, element.isF32() ? arithmetic.op<arith::TruncFOp>(type, result) : result);
    return success();
  }
  Function function;
  Single single;
};

/// The best of a loop, as the one operation that LLVM vectorizes such loops of; the comparisons that are faster elsewhere
/// are a chain of one element after another.
template <typename OpTy, typename IntrinsicOp> struct BestOfLoop : OpRewritePattern<OpTy> {
  using OpRewritePattern<OpTy>::OpRewritePattern;
  LogicalResult matchAndRewrite(OpTy op, PatternRewriter &rewriter) const override {
    auto isState = [](Value value) {
      auto argument = dyn_cast<BlockArgument>(value);
      return argument && isa_and_nonnull<scf::ForOp>(argument.getOwner()->getParentOp());
    };
    if (!op.getType().isF32() && !op.getType().isF64())
      return rewriter.notifyMatchFailure(op, "of another type than the processor compares");
    if (!isState(op.getLhs()) && !isState(op.getRhs()))
      return rewriter.notifyMatchFailure(op, "not of a loop's state");
    rewriter.replaceOpWithNewOp<IntrinsicOp>(op, op.getLhs(), op.getRhs());
    return success();
  }
};

} // namespace

void populateExpandMathPatterns(RewritePatternSet &patterns) {
  MLIRContext *context = patterns.getContext();
  patterns.add<BestOfLoop<arith::MaximumFOp, LLVM::MaximumOp>, BestOfLoop<arith::MinimumFOp, LLVM::MinimumOp>>(context);
  patterns.add<Expand<math::ExpOp>>(context, [](Arithmetic &s, ValueRange x) { return s.exp(x[0]); }, expSingle);
  patterns.add<Expand<math::TanhOp>>(context, [](Arithmetic &s, ValueRange x) { return s.tanh(x[0]); }, tanhSingle);
  patterns.add<Expand<math::ErfOp>>(context, [](Arithmetic &s, ValueRange x) { return s.erf(x[0]); }, erfSingle);
  patterns.add<Expand<math::AtanOp>>(context, [](Arithmetic &s, ValueRange x) { return s.atan(x[0]); });
  patterns.add<Expand<math::LogOp>>(context, [](Arithmetic &s, ValueRange x) { return s.log(x[0]); }, logSingle);
  patterns.add<Expand<math::SinOp>>(context, [](Arithmetic &s, ValueRange x) { return s.sine(x[0], false); });
  patterns.add<Expand<math::CosOp>>(context, [](Arithmetic &s, ValueRange x) { return s.sine(x[0], true); });
  patterns.add<Expand<math::PowFOp>>(context, [](Arithmetic &s, ValueRange x) { return s.pow(x[0], x[1]); });
  patterns.add<Expand<arith::RemFOp>>(context, [](Arithmetic &s, ValueRange x) { return s.fmod(x[0], x[1]); });
}

} // namespace lathe::cpu
