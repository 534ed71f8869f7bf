//===- ExpandSingle.cpp - The frequent functions of f32 -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Without branches, tables and divisions where that is possible. The coefficients have the least largest relative error
// in their interval (iteratively reweighted least squares at Chebyshev nodes, in extended precision).
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/MathBuilder.h"
#include <limits>
#include <numbers>

using namespace mlir;

namespace lathe::cpu {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// ln 2 as a sum: the first part has zeros at its end, so that small multiples of it are exact.
constexpr double kLn2High = 0x1.62e4p-1, kLn2Low = 0x1.7f7d1cf79abcap-20;
constexpr int64_t kMantissaBits = 23;

/// e^x = 2^k e^r with |r| below (ln 2) / 2. At most 1 unit from the exact result; 0 where that is below the
/// normal numbers: a sum or a product of others costs a hundred cycles, and masked attention is full of them.
Value expSingle(MathBuilder &s, Value x) {
  constexpr double kZeroBelow = -87.33654, kInfiniteAbove = 89;
  // Numbers there are as far apart as integers: in the last bits stands twice the exponent's bias, and k.
  constexpr double kShift = 0x1.8p23 + 2 * 127;
  // What gives 0 goes another way.
  Value some = s.op<arith::CmpFOp>(arith::CmpFPredicate::UGE, x, s.number(kZeroBelow));
  Value y = s.select(some, s.atMost(x, s.number(kInfiniteAbove)), s.number(0));
  Value shifted = s.fma(y, s.number(std::numbers::log2e), s.number(kShift));
  Value k = s.sub(shifted, s.number(kShift));
  Value rest = s.fma(k, s.number(-kLn2Low), s.fma(k, s.number(-kLn2High), y));
  Value power = s.polynomial(
      {1, 1, 0.49999993437193635, 0.1666652047547409, 0.04166838990474168, 0.008368735773534074, 0.0013814557683319358},
      rest);
  // 2^k as two factors of about 2^(k/2), which are finite where 2^k is not; shifts drop what stands above.
  Value bits = s.bits(shifted), half = s.op<arith::ShRUIOp>(bits, s.integer(1));
  Value first = s.fromBits(s.shiftLeft(half, kMantissaBits));
  Value second = s.fromBits(s.shiftLeft(s.minus(bits, half), kMantissaBits));
  return s.select(some, s.mul(s.mul(power, first), second), s.number(0));
}

/// log(2^k m) with m in [sqrt(1/2), sqrt(2)). At most 1 unit from the exact result.
Value logSingle(MathBuilder &s, Value x) {
  constexpr double kSmallestNormal = 0x1p-126;
  constexpr int64_t kSqrtHalfBits = 0x3f3504f3;
  Value tiny = s.less(x, s.number(kSmallestNormal));
  Value bits = s.bits(s.select(tiny, s.mul(x, s.number(0x1p24)), x));
  Value k = s.op<arith::ShRSIOp>(s.minus(bits, s.integer(kSqrtHalfBits)), s.integer(kMantissaBits));
  Value f = s.sub(s.fromBits(s.minus(bits, s.shiftLeft(k, kMantissaBits))), s.number(1));
  Value exponent = s.add(s.toFloat(k), s.select(tiny, s.number(-24), s.number(0)));
  Value square = s.mul(f, f);
  Value tail = s.polynomial({0.3333333170969453, -0.2500082105624741, 0.20001226667333757, -0.16623356478227722,
                             0.14201762470541107, -0.1316019506793863, 0.12761550337349015, -0.07634429837106013},
                            f);
  Value result = s.fma(s.mul(square, f), tail, s.mul(exponent, s.number(kLn2Low)));
  result = s.add(s.fma(square, s.number(-0.5), result), f);
  result = s.fma(exponent, s.number(kLn2High), result);
  result = s.select(s.equal(x, s.number(0)), s.number(-kInfinity), result);
  result = s.select(s.less(x, s.number(0)), s.number(std::numeric_limits<double>::quiet_NaN()), result);
  // NaN and infinity are their own logarithms.
  return s.select(s.less(x, s.number(kInfinity)), result, x);
}

/// a P(a^2) / Q(a^2) for a = |x|, where the function is not 1 within a rounding.
static Value oddRational(MathBuilder &s, Value x, double limit, ArrayRef<double> numerator,
                         ArrayRef<double> denominator) {
  Value a = s.atMost(s.abs(x), s.number(limit)), z = s.mul(a, a);
  Value ratio = s.div(s.mul(a, s.polynomial(numerator, z)), s.polynomial(denominator, z));
  return s.op<math::CopySignOp>(s.atMost(ratio, s.number(1)), x);
}

/// At most 6 units from the exact result.
Value tanhSingle(MathBuilder &s, Value x) {
  return oddRational(s, x, 9.01,
                     {1, 0.13679919610985009, 0.0038683333275751288, 2.8007564816739323e-05, 3.0585250334773764e-08,
                      -1.2203610626891634e-11},
                     {1, 0.4701325167289063, 0.027245859516959313, 0.00039386407187590286, 1.2873736431122998e-06});
}

/// At most 7 units from the exact result.
Value erfSingle(MathBuilder &s, Value x) {
  return oddRational(
      s, x, 3.925,
      {1.1283791454048833, 0.19078337212397187, 0.05279016085587105, 0.0037795675338914217, 0.0002848038766610022,
       2.041927116556687e-06},
      {1, 0.5024100819271311, 0.11425727235269205, 0.0149973629253871, 0.001165195191716215, 3.8003370292377824e-05});
}

} // namespace lathe::cpu
