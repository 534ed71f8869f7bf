//===- LatheToLinalgNarrowFloats.cpp - Floats of 8 bits -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Processors that convert 8-bit floats are rare, so they are taken apart and put together as integers.
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "llvm/ADT/APFloat.h"
#include <cmath>
#include <limits>

using namespace mlir;

namespace lathe::reference {
namespace {

/// How the bits are used: a sign, then exponent and mantissa.
struct Format {
  unsigned mantissa; ///< bits
  int bias;
  int64_t largest; ///< bits of the largest finite value
  /// Bits of infinity and of NaN; -1 where there is no infinity. Bits above the NaN are NaN as well.
  int64_t infinity, nan;
  bool signedZero; ///< else the bits of a negative zero are the only NaN
};

Format formatOf(Type type) {
  const llvm::fltSemantics &semantics = cast<FloatType>(type).getFloatSemantics();
  unsigned mantissa = llvm::APFloat::semanticsPrecision(semantics) - 1;
  int bias = 1 - llvm::APFloat::semanticsMinExponent(semantics);
  auto largest = static_cast<int64_t>(llvm::APFloat::getLargest(semantics).bitcastToAPInt().getZExtValue());
  bool signedZero = llvm::APFloat::getZero(semantics, /*Negative=*/true).isNegative();
  if (!signedZero)
    return {mantissa, bias, largest, -1, 0x80, false};
  bool infinite = llvm::APFloat::getInf(semantics).isInfinity();
  int64_t infinity = infinite ? largest + 1 : -1;
  return {mantissa, bias, largest, infinity, infinite ? largest + 2 : largest + 1, true};
}

} // namespace

Value ScalarBuilder::decodeNarrow(Value value) {
  Format format = formatOf(value.getType());
  Type i8 = builder.getIntegerType(8), i32 = builder.getI32Type(), f32 = builder.getF32Type();
  auto integer = [&](int64_t x) { return op<arith::ConstantOp>(builder.getIntegerAttr(i32, x)); };
  auto compareInts = [&](arith::CmpIPredicate p, Value a, int64_t b) {
    return op<arith::CmpIOp>(p, a, integer(b));
  };
  Value bits = op<arith::ExtUIOp>(i32, op<arith::BitcastOp>(i8, value));
  Value magnitude = op<arith::AndIOp>(bits, integer(0x7f));
  // A normal number by its bits; one below as a multiple of the smallest, since f32's own numbers below the normal ones
  // may be off.
  Value shifted = op<arith::ShLIOp>(magnitude, integer(23 - format.mantissa));
  Value normal = op<arith::BitcastOp>(
      f32, op<arith::AddIOp>(shifted, integer(static_cast<int64_t>(127 - format.bias) << 23)));
  int lowest = 1 - format.bias - static_cast<int>(format.mantissa);
  Value small = mul(op<arith::SIToFPOp>(f32, magnitude), number(f32, std::ldexp(1.0, lowest)));
  Value result = select(compareInts(arith::CmpIPredicate::slt, magnitude, int64_t(1) << format.mantissa), small, normal);
  if (format.infinity >= 0)
    result = select(compareInts(arith::CmpIPredicate::eq, magnitude, format.infinity),
                    number(f32, std::numeric_limits<double>::infinity()), result);
  Value nan = number(f32, std::numeric_limits<double>::quiet_NaN());
  if (format.signedZero)
    result = select(compareInts(arith::CmpIPredicate::sge, magnitude, format.nan), nan, result);
  Value negative = compareInts(arith::CmpIPredicate::sge, bits, 0x80);
  result = select(negative, op<arith::NegFOp>(result), result);
  return format.signedZero ? result : select(compareInts(arith::CmpIPredicate::eq, bits, format.nan), nan, result);
}

Value ScalarBuilder::encodeNarrow(Value value, Type type, bool overflows) {
  Format format = formatOf(type);
  Type i8 = builder.getIntegerType(8), i32 = builder.getI32Type(), f32 = builder.getF32Type();
  auto integer = [&](int64_t x) { return op<arith::ConstantOp>(builder.getIntegerAttr(i32, x)); };
  Value bits = op<arith::BitcastOp>(i32, value);
  Value sign = op<arith::AndIOp>(op<arith::ShRUIOp>(bits, integer(24)), integer(0x80));
  Value magnitude = op<arith::AndIOp>(bits, integer(0x7fffffff));
  // Half of what is cut off is added, less one where the digit above is even; a carry goes into the exponent.
  int64_t cut = 23 - format.mantissa;
  Value odd = op<arith::AndIOp>(op<arith::ShRUIOp>(magnitude, integer(cut)), integer(1));
  Value rounded = op<arith::AddIOp>(op<arith::AddIOp>(magnitude, integer((int64_t(1) << (cut - 1)) - 1)), odd);
  Value normal = op<arith::SubIOp>(op<arith::ShRUIOp>(rounded, integer(cut)),
                                   integer(static_cast<int64_t>(127 - format.bias) << format.mantissa));
  // Below the normal numbers: a multiple of the smallest one.
  Value size = op<arith::BitcastOp>(f32, magnitude);
  Value isSmall = compare(Comparison::lt, size, number(f32, std::ldexp(1.0, 1 - format.bias)));
  Value scale = number(f32, std::ldexp(1.0, format.bias - 1 + static_cast<int>(format.mantissa)));
  // The conversion of what is not small may be poison.
  Value multiple = mul(select(isSmall, size, number(f32, 0)), scale);
  Value small = op<arith::FPToSIOp>(i32, op<math::RoundEvenOp>(multiple));
  Value code = select(isSmall, small, normal);
  Value beyond = op<arith::CmpIOp>(arith::CmpIPredicate::sgt, code, integer(format.largest));
  int64_t limit = !overflows ? format.largest : format.infinity >= 0 ? format.infinity : format.nan;
  code = select(beyond, integer(limit), code);
  code = select(op<arith::CmpFOp>(arith::CmpFPredicate::UNO, value, value), integer(format.nan), code);
  Value isZero = op<arith::CmpIOp>(arith::CmpIPredicate::eq, code, integer(0));
  if (!format.signedZero)
    sign = select(isZero, integer(0), sign);
  return op<arith::BitcastOp>(type, op<arith::TruncIOp>(i8, op<arith::OrIOp>(code, sign)));
}

} // namespace lathe::reference
