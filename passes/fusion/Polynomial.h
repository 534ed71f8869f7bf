//===- Polynomial.h - Expressions as polynomials ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_FUSION_POLYNOMIAL_H
#define LATHE_PASSES_FUSION_POLYNOMIAL_H

#include "dialects/lathe/Lathe.h"
#include <array>

namespace lathe::fusion {

/// A value that is nonlinear in x: an operation's result, or the inverse of one.
struct Atom {
  mlir::Value value;
  mlir::Value inverse;
};

/// sum over i of (plain[i] + times[i] * atom) x^i.
struct Polynomial {
  static constexpr int kDegree = 3;
  using Coefficients = std::array<double, kDegree + 1>;
  Coefficients plain{}, times{};

  /// slope * x
  static Polynomial line(double slope);
  /// x/2 * (1 + sign * atom)
  static Polynomial half(double sign);

  bool isNear(const Polynomial &other, mlir::Type type) const;
  /// As a message tells it, `atom` by the name.
  std::string str(llvm::StringRef atom = "") const;
};

/// What elementwise arithmetic makes of x and the atom, whatever its order and grouping; none, if it is no such polynomial.
std::optional<Polynomial> polynomialOf(mlir::Value value, mlir::Value x, const Atom &atom = {});

/// The values that a polynomial may be one of: `value` itself and what arithmetic with constants computes it from, nearest first.
llvm::SmallVector<mlir::Value> variablesOf(mlir::Value value);

/// The way up from an atom, through the arithmetic that uses it.
struct Ascent {
  mlir::Value root;              ///< the last value that is a polynomial, or the first that is accepted
  Polynomial form;               ///< of the root
  mlir::Operation *elsewhere = nullptr; ///< a user that is not on the way of a value that is
  mlir::Value shared;            ///< that value
  bool accepted = false;
};
Ascent ascend(mlir::Value x, const Atom &atom, llvm::function_ref<bool(const Polynomial &)> accept);

} // namespace lathe::fusion

#endif // LATHE_PASSES_FUSION_POLYNOMIAL_H
