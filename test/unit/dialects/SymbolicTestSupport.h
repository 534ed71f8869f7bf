//===- SymbolicTestSupport.h - Oracle of symbolic arithmetic ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Two ways to the value of the same formula: an expression built by the algebra, evaluated for values of its symbols,
// and plain 64-bit arithmetic that knows nothing of the algebra. They must agree for every value of the symbols.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_DIALECTS_SYMBOLICTESTSUPPORT_H
#define LATHE_TEST_UNIT_DIALECTS_SYMBOLICTESTSUPPORT_H

#include "dialects/lathe/SymbolicShape.h"
#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <vector>

namespace lathe {

inline void PrintTo(const SymExpr &expr, std::ostream *os) { *os << expr.str(); }

namespace test {

using Values = std::map<std::string, int64_t>;
using Random = std::mt19937;

inline int64_t pick(Random &random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

//===----------------------------------------------------------------------===//
// Plain arithmetic
//===----------------------------------------------------------------------===//

/// Largest whole number that is at most a / b, by its definition rather than by a trick: none for a division by zero.
inline std::optional<int64_t> plainFloorDiv(int64_t a, int64_t b) {
  if (b == 0)
    return std::nullopt;
  int64_t quotient = a / b;
  // Where the quotient was rounded up, towards zero, quotient * b lies on the other side of a.
  if (b > 0 ? quotient * b > a : quotient * b < a)
    --quotient;
  return quotient;
}

inline int64_t plainClampedIndex(int64_t x, int64_t d, int64_t low, int64_t high) {
  return std::max(std::min(x < 0 ? x + d : x, d + high), low);
}

//===----------------------------------------------------------------------===//
// Value of an expression
//===----------------------------------------------------------------------===//

inline std::optional<int64_t> evaluate(const SymExpr &expr, const Values &values);

inline std::optional<int64_t> evaluate(const SymAtom &atom, const Values &values) {
  if (atom.op == SymOp::symbol) {
    auto it = values.find(atom.name);
    return it == values.end() ? std::nullopt : std::optional(it->second);
  }
  if (atom.op == SymOp::value)
    return std::nullopt;
  std::vector<int64_t> args;
  for (const SymExpr &arg : atom.args) {
    auto value = evaluate(arg, values);
    if (!value)
      return std::nullopt;
    args.push_back(*value);
  }
  switch (atom.op) {
  case SymOp::product:
    return static_cast<int64_t>(static_cast<uint64_t>(args[0]) * static_cast<uint64_t>(args[1]));
  case SymOp::floor_div:
    return plainFloorDiv(args[0], args[1]);
  case SymOp::mod: {
    auto quotient = plainFloorDiv(args[0], args[1]);
    return quotient ? std::optional(args[0] - *quotient * args[1]) : std::nullopt;
  }
  case SymOp::min:
    return std::min(args[0], args[1]);
  case SymOp::max:
    return std::max(args[0], args[1]);
  case SymOp::wrap:
    return args[0] < 0 ? args[0] + args[1] : args[0];
  case SymOp::broadcast:
    return args[0] == 1 ? args[1] : args[0];
  case SymOp::eq:
    return args[0] == args[1];
  case SymOp::lt:
    return args[0] < args[1];
  case SymOp::select:
    return args[0] != 0 ? args[1] : args[2];
  case SymOp::symbol:
  case SymOp::value:
    break;
  }
  return std::nullopt;
}

/// Value of `expr`, modulo 2^64 as the algebra computes; none where it divides by zero or depends on data.
inline std::optional<int64_t> evaluate(const SymExpr &expr, const Values &values) {
  uint64_t sum = 0;
  for (const auto &[monomial, coefficient] : expr.getTerms()) {
    auto product = static_cast<uint64_t>(coefficient);
    for (const SymAtomRef &atom : monomial.atoms) {
      auto value = evaluate(*atom, values);
      if (!value)
        return std::nullopt;
      product *= static_cast<uint64_t>(*value);
    }
    sum += product;
  }
  return static_cast<int64_t>(sum);
}

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

/// Dimensions without a range, dimensions with one, and elements of an integer input, which may be negative.
struct TestSymbol {
  const char *name;
  int64_t min, max;
  bool ranged;
};
inline constexpr TestSymbol kSymbols[] = {{"n", 0, 40, false}, {"m", 0, 40, false},        {"one", 1, 1, true},
                                          {"b", 1, 8, true},   {"s", 2, 30, true},         {"upTo4", 0, 4, true},
                                          {"k", 5, 9, true},   {"ids[0]", -20, 20, false}, {"ids[1]", -20, 20, false}};

inline void addRanges(ShapeContext &context) {
  for (const TestSymbol &symbol : kSymbols)
    if (symbol.ranged)
      context.ranges[symbol.name] = {symbol.min, symbol.max};
}

/// Values of all symbols, half of them at or beside the bounds and zero, where rules go wrong.
inline Values randomValues(Random &random) {
  Values values;
  for (const TestSymbol &symbol : kSymbols) {
    int64_t value = pick(random, symbol.min, symbol.max);
    switch (random() % 8) {
    case 0:
      value = symbol.min;
      break;
    case 1:
      value = symbol.max;
      break;
    case 2:
      value = 0;
      break;
    case 3:
      value = pick(random, -1, 1);
      break;
    }
    values[symbol.name] = std::clamp(value, symbol.min, symbol.max);
  }
  return values;
}

inline std::string describe(const Values &values) {
  std::string text;
  for (const auto &[name, value] : values)
    text += (text.empty() ? "" : ", ") + name + " = " + std::to_string(value);
  return text;
}

/// A sum of up to `terms` products of up to `degree` symbols.
inline SymExpr randomPolynomial(Random &random, int terms = 3, int degree = 2, int64_t lowest = -6) {
  SymExpr sum;
  for (int64_t t = pick(random, 1, terms); t > 0; --t) {
    SymExpr product(pick(random, lowest, 6));
    for (int64_t d = pick(random, 0, degree); d > 0; --d)
      product = product * SymExpr::symbol(kSymbols[random() % std::size(kSymbols)].name);
    sum = sum + product;
  }
  return sum;
}

//===----------------------------------------------------------------------===//
// Formulas
//===----------------------------------------------------------------------===//

/// A tree of operations, computed by the algebra (build) or by plain arithmetic (value).
struct Formula {
  enum Op { constant, symbol, add, sub, mul, floorDiv, ceilDiv, mod, min, max, eq, lt, select, clampedIndex, kOps };
  Op op = constant;
  int64_t number = 0; ///< of a constant; for clampedIndex which of kClamps
  std::string name;   ///< of a symbol
  std::vector<Formula> args;

  /// Bounds that numpy's slices clamp with: start or end going forward, start going back, end going back.
  static constexpr std::pair<int64_t, int64_t> kClamps[] = {{0, 0}, {0, -1}, {-1, -1}};

  static Formula random(Random &random, int depth) {
    Formula formula;
    if (depth == 0 || random() % 6 == 0) {
      if (random() % 3 == 0) {
        formula.number = pick(random, -9, 9);
      } else {
        formula.op = symbol;
        formula.name = kSymbols[random() % std::size(kSymbols)].name;
      }
      return formula;
    }
    formula.op = static_cast<Op>(pick(random, add, kOps - 1));
    formula.number = pick(random, 0, std::size(kClamps) - 1);
    for (int i = 0; i < (formula.op == select ? 3 : 2); ++i)
      formula.args.push_back(Formula::random(random, depth - 1));
    return formula;
  }

  SymExpr build(ShapeContext &context) const {
    std::vector<SymExpr> x;
    for (const Formula &arg : args)
      x.push_back(arg.build(context));
    switch (op) {
    case constant:
      return number;
    case symbol:
      return SymExpr::symbol(name);
    case add:
      return x[0] + x[1];
    case sub:
      return x[0] - x[1];
    case mul:
      return x[0] * x[1];
    case floorDiv:
      return context.floorDiv(x[0], x[1]);
    case ceilDiv:
      return context.ceilDiv(x[0], x[1]);
    case mod:
      return context.mod(x[0], x[1]);
    case min:
      return context.min(x[0], x[1]);
    case max:
      return context.max(x[0], x[1]);
    case eq:
      return context.eq(x[0], x[1]);
    case lt:
      return context.lt(x[0], x[1]);
    case select:
      return context.select(x[0], x[1], x[2]);
    case clampedIndex:
      return context.clampedIndex(x[0], x[1], kClamps[number].first, kClamps[number].second);
    case kOps:
      break;
    }
    return {};
  }

  /// None where the formula divides by zero, or reaches numbers that no shape has and that could overflow.
  std::optional<int64_t> value(const Values &values) const {
    std::vector<int64_t> x;
    for (const Formula &arg : args) {
      auto value = arg.value(values);
      if (!value || std::abs(*value) > (int64_t(1) << 30))
        return std::nullopt;
      x.push_back(*value);
    }
    switch (op) {
    case constant:
      return number;
    case symbol:
      return values.at(name);
    case add:
      return x[0] + x[1];
    case sub:
      return x[0] - x[1];
    case mul:
      return x[0] * x[1];
    case floorDiv:
      return plainFloorDiv(x[0], x[1]);
    case ceilDiv: {
      auto floor = plainFloorDiv(x[0], x[1]);
      return floor ? std::optional(*floor + (*floor * x[1] != x[0])) : std::nullopt;
    }
    case mod: {
      auto quotient = plainFloorDiv(x[0], x[1]);
      return quotient ? std::optional(x[0] - *quotient * x[1]) : std::nullopt;
    }
    case min:
      return std::min(x[0], x[1]);
    case max:
      return std::max(x[0], x[1]);
    case eq:
      return x[0] == x[1];
    case lt:
      return x[0] < x[1];
    case select:
      return x[0] != 0 ? x[1] : x[2];
    case clampedIndex:
      return plainClampedIndex(x[0], x[1], kClamps[number].first, kClamps[number].second);
    case kOps:
      break;
    }
    return std::nullopt;
  }
};

} // namespace test
} // namespace lathe

#endif // LATHE_TEST_UNIT_DIALECTS_SYMBOLICTESTSUPPORT_H
