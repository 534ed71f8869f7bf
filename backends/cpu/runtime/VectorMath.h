//===- VectorMath.h - Functions of vectors of floats ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Included behind the header of one instruction set's Vector. Errors are the largest found on a million numbers and
// more of each function's range (test/unit/runtime/VectorMathTest.cpp).
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_VECTORMATH_H
#define LATHE_BACKENDS_CPU_RUNTIME_VECTORMATH_H

namespace {

/// coefficients[0] + coefficients[1] x + ...
template <int N> inline Vector polynomial(const float (&coefficients)[N], Vector x) {
  Vector sum = Vector::all(coefficients[N - 1]);
  for (int i = N - 2; i >= 0; --i)
    sum = fma(sum, x, Vector::all(coefficients[i]));
  return sum;
}

/// e^x: 2^n times a polynomial of what is left of x, which is at most ln 2 / 2. 1 ulp; subnormal results are right; NaN stays.
inline Vector exp(Vector x) {
  // Beyond these it is 0 or infinite.
  Vector y = atMost(atLeast(x, Vector::all(-105)), Vector::all(90));
  Vector n = roundToNearest(y * Vector::all(0x1.715476p0f));
  // ln 2 in two parts, of which the first has zeros at its end.
  Vector rest = fma(n, Vector::all(-0x1.7f7d1cp-20f), fma(n, Vector::all(-0x1.62e4p-1f), y));
  // The Taylor series, whose first term that is left out is below 2^-26 of the sum.
  constexpr float kCoefficients[] = {1.0f,         1.0f,          1.0f / 2,       1.0f / 6,
                                     1.0f / 24,    1.0f / 120,    1.0f / 720,     1.0f / 5040};
  return scaleByPower(polynomial(kCoefficients, rest), n);
}

/// x times a quotient of polynomials of x^2, fitted so that the largest relative error is least. 6 ulp, 4e-7; NaN stays.
inline Vector erf(Vector x) {
  constexpr float kOver[] = {0x1.20dd74p+0f, 0x1.86b32ap-3f, 0x1.b0715cp-5f,
                             0x1.ef52ecp-9f, 0x1.2a9ec8p-12f, 0x1.1210dp-19f};
  constexpr float kUnder[] = {1.0f, 0x1.013a82p-1f, 0x1.d3fa1cp-4f, 0x1.eb65c4p-7f, 0x1.316970p-10f, 0x1.3eca26p-15f};
  // From there on it is 1, exactly: products with 1 - erf of large numbers are to vanish.
  Vector y = atMost(atLeast(x, Vector::all(-3.93f)), Vector::all(3.93f)), square = y * y;
  return signBeyond(x, 3.93f, y * polynomial(kOver, square) / polynomial(kUnder, square));
}

/// As erf. 6 ulp, 4e-7; NaN stays.
inline Vector tanh(Vector x) {
  constexpr float kOver[] = {1.0f, 0x1.20c07ep-3f, 0x1.220f34p-8f, 0x1.629e74p-15f, 0x1.dd8010p-24f, 0x1.433586p-35f};
  constexpr float kUnder[] = {1.0f, 0x1.e5b594p-2f, 0x1.de6e5ap-6f, 0x1.0694f8p-11f, 0x1.5d7c28p-19f, 0x1.959bf8p-29f};
  Vector y = atMost(atLeast(x, Vector::all(-9.02f)), Vector::all(9.02f)), square = y * y;
  return signBeyond(x, 9.02f, y * polynomial(kOver, square) / polynomial(kUnder, square));
}

/// 1 / (1 + e^-x). 2 ulp; NaN stays.
inline Vector sigmoid(Vector x) {
  Vector one = Vector::all(1);
  return one / (one + exp(Vector::zero() - x));
}

} // namespace

#endif // LATHE_BACKENDS_CPU_RUNTIME_VECTORMATH_H
