//===- Polynomial.cpp - Expressions as polynomials ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/fusion/Polynomial.h"
#include "passes/fusion/Report.h"
#include "passes/fusion/Values.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;

namespace lathe::fusion {
namespace {

using Result = std::optional<Polynomial>;

bool isZero(const Polynomial::Coefficients &c) {
  return llvm::all_of(c, [](double value) { return value == 0; });
}

Polynomial sum(const Polynomial &a, const Polynomial &b, double factor) {
  Polynomial result;
  for (int i = 0; i <= Polynomial::kDegree; ++i) {
    result.plain[i] = a.plain[i] + factor * b.plain[i];
    result.times[i] = a.times[i] + factor * b.times[i];
  }
  return result;
}

Result product(const Polynomial &a, const Polynomial &b) {
  if (!isZero(a.times) && !isZero(b.times))
    return std::nullopt;
  Polynomial result;
  for (int i = 0; i <= Polynomial::kDegree; ++i)
    for (int j = 0; j <= Polynomial::kDegree; ++j) {
      double plain = a.plain[i] * b.plain[j], times = a.plain[i] * b.times[j] + a.times[i] * b.plain[j];
      if (i + j <= Polynomial::kDegree) {
        result.plain[i + j] += plain;
        result.times[i + j] += times;
      } else if (plain != 0 || times != 0) {
        return std::nullopt;
      }
    }
  return result;
}

/// Evaluates expressions, each value once.
class Evaluator {
public:
  Evaluator(Value x, const Atom &atom) : x(x), atom(atom) {}

  Result of(Value value, int depth) {
    if (auto it = known.find(value); it != known.end())
      return it->second;
    Result result = compute(value, depth);
    if (result)
      for (auto [plain, times] : llvm::zip(result->plain, result->times))
        if (!std::isfinite(plain) || !std::isfinite(times))
          result.reset();
    known[value] = result;
    return result;
  }

private:
  Result compute(Value value, int depth) {
    Polynomial result;
    if (value == x) {
      result.plain[1] = 1;
      return result;
    }
    if (value == atom.value) {
      result.times[0] = 1;
      return result;
    }
    if (std::optional<double> number = numberOf(value)) {
      result.plain[0] = *number;
      return result;
    }
    Operation *op = value.getDefiningOp();
    // Further up than a pattern reaches; what overflows a stack must not depend on the program.
    if (!op || depth == 0)
      return std::nullopt;
    auto operand = [&](unsigned i) { return of(op->getOperand(i), depth - 1); };
    auto both = [&](auto combine) -> Result {
      Result a = operand(0), b = a ? operand(1) : Result();
      return b ? combine(*a, *b) : Result();
    };
    return TypeSwitch<Operation *, Result>(op)
        .Case<AddOp>([&](auto) { return both([](auto &a, auto &b) -> Result { return sum(a, b, 1); }); })
        .Case<SubOp>([&](auto) { return both([](auto &a, auto &b) -> Result { return sum(a, b, -1); }); })
        .Case<MulOp>([&](auto) { return both([](auto &a, auto &b) { return product(a, b); }); })
        .Case<NegOp>([&](auto) {
          Result a = operand(0);
          return a ? Result(sum({}, *a, -1)) : Result();
        })
        .Case<DivOp>([&](DivOp div) -> Result {
          Polynomial factor;
          if (atom.inverse && div.getRhs() == atom.inverse) {
            factor.times[0] = 1;
          } else {
            std::optional<double> number = numberOf(div.getRhs());
            if (!number || *number == 0)
              return std::nullopt;
            factor.plain[0] = 1 / *number;
          }
          Result a = operand(0);
          return a ? product(*a, factor) : Result();
        })
        .Case<ReciprocalOp>([&](ReciprocalOp op) -> Result {
          if (!atom.inverse || op.getInput() != atom.inverse)
            return std::nullopt;
          Polynomial factor;
          factor.times[0] = 1;
          return factor;
        })
        .Case<PowOp>([&](PowOp op) -> Result {
          std::optional<double> exponent = numberOf(op.getRhs());
          Result base = exponent && (*exponent == 2 || *exponent == 3) ? operand(0) : Result(), result = base;
          for (int i = 1; result && i < *exponent; ++i)
            result = product(*result, *base);
          return result;
        })
        .Default([](Operation *) { return Result(); });
  }

  Value x;
  const Atom &atom;
  llvm::DenseMap<Value, Result> known;
};

constexpr int kDepth = 12;

} // namespace

Polynomial Polynomial::line(double slope) {
  Polynomial result;
  result.plain[1] = slope;
  return result;
}

Polynomial Polynomial::half(double sign) {
  Polynomial result = line(0.5);
  result.times[1] = 0.5 * sign;
  return result;
}

bool Polynomial::isNear(const Polynomial &other, Type type) const {
  auto near = [&](const Coefficients &a, const Coefficients &b) {
    for (auto [x, y] : llvm::zip(a, b))
      // What should be zero may be a difference of rounded constants.
      if (y == 0 ? std::abs(x) > 1e-7 : !fusion::isNear(x, y, type))
        return false;
    return true;
  };
  return near(plain, other.plain) && near(times, other.times);
}

std::string Polynomial::str(StringRef atom) const {
  std::string result;
  for (int i = 0; i <= kDegree; ++i)
    for (bool withAtom : {false, true}) {
      double factor = withAtom ? times[i] : plain[i];
      if (factor == 0)
        continue;
      result += (result.empty() ? "" : " + ") + text(factor);
      if (i > 0)
        result += i == 1 ? " x" : " x^" + std::to_string(i);
      if (withAtom)
        result += " " + atom.str();
    }
  return result.empty() ? "0" : result;
}

std::optional<Polynomial> polynomialOf(Value value, Value x, const Atom &atom) {
  return Evaluator(x, atom).of(value, kDepth);
}

SmallVector<Value> variablesOf(Value value) {
  llvm::SetVector<Value> found;
  found.insert(value);
  for (size_t i = 0; i < found.size() && found.size() < 32; ++i)
    if (Operation *op = found[i].getDefiningOp(); op && isa<AddOp, SubOp, MulOp, NegOp, DivOp, PowOp>(op))
      for (Value operand : op->getOperands())
        if (!numberOf(operand))
          found.insert(operand);
  return found.takeVector();
}

Ascent ascend(Value x, const Atom &atom, llvm::function_ref<bool(const Polynomial &)> accept) {
  Evaluator evaluator(x, atom);
  Ascent result;
  result.root = atom.value;
  Value next = atom.value ? atom.value : atom.inverse;
  // Each step is one operation of the pattern.
  for (int steps = 0; next && steps < kDepth; ++steps) {
    if (next != atom.inverse) {
      result.root = next;
      result.form = *evaluator.of(next, kDepth);
      if (accept(result.form)) {
        result.accepted = true;
        return result;
      }
    }
    Value from = next;
    next = {};
    for (Operation *user : usersOf(from)) {
      Value value = user->getNumResults() == 1 && user->getBlock() == from.getParentBlock() ? user->getResult(0) : Value();
      if (!next && value && evaluator.of(value, kDepth)) {
        next = value;
      } else if (!result.elsewhere) {
        result.elsewhere = user;
        result.shared = from;
      }
    }
    // The last value may have any users.
    if (!next && result.shared == from) {
      result.elsewhere = nullptr;
      result.shared = {};
    }
  }
  return result;
}

} // namespace lathe::fusion
