//===- Trigonometry.cpp - Importers of trigonometric functions ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// By way of the few functions that the dialect has, in forms that don't cancel.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Formula.h"
#include <numbers>

using namespace mlir;

namespace lathe::frontend {

/// From here on the logarithm of 2x is all that is left of asinh and acosh, and squares might overflow.
static constexpr double kLarge = 1e10;

static LogicalResult importTan(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) { return f.div(f.unary<SinOp>(x), f.unary<CosOp>(x)); });
}

static LogicalResult importAtan(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) { return f.unary<AtanOp>(x); });
}

static LogicalResult importAsin(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) {
    Value one = f.number(1), cosine = f.unary<SqrtOp>(f.mul(f.sub(one, x), f.add(one, x)));
    return f.unary<AtanOp>(f.div(x, cosine));
  });
}

static LogicalResult importAcos(Node &node) {
  // The tangent of half the angle; out of the domain the root is NaN.
  return floatFormula(node, [](Formula &f, Value x) {
    Value one = f.number(1), squared = f.div(f.sub(one, x), f.add(one, x));
    return f.mul(f.number(2), f.unary<AtanOp>(f.unary<SqrtOp>(squared)));
  });
}

/// exp(x) / 2 as two factors, since exp(x) overflows before it.
static Value halfExp(Formula &f, Value x) {
  Value root = f.unary<ExpOp>(f.mul(x, f.number(0.5)));
  return f.mul(root, f.mul(root, f.number(0.5)));
}

static LogicalResult importCosh(Node &node) {
  return floatFormula(node,
                      [](Formula &f, Value x) { return f.add(halfExp(f, x), halfExp(f, f.unary<NegOp>(x))); });
}

static LogicalResult importSinh(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) {
    Value t = f.unary<TanhOp>(f.mul(x, f.number(0.5)));
    Value nearZero = f.div(f.mul(f.number(2), t), f.sub(f.number(1), f.mul(t, t)));
    Value elsewhere = f.sub(halfExp(f, x), halfExp(f, f.unary<NegOp>(x)));
    return f.select(f.less(f.unary<AbsOp>(x), f.number(1)), nearZero, elsewhere);
  });
}

static Value logOfTwice(Formula &f, Value x) { return f.add(f.unary<LogOp>(x), f.number(std::numbers::ln2)); }

static LogicalResult importAsinh(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) {
    Value one = f.number(1), a = f.unary<AbsOp>(x), square = f.mul(a, a);
    Value root = f.unary<SqrtOp>(f.add(square, one));
    Value middle = f.log1p(f.add(a, f.div(square, f.add(one, root))));
    Value result = f.select(f.compare(Comparison::gt, a, f.number(kLarge)), logOfTwice(f, a), middle);
    return f.mul(f.unary<SignOp>(x), result);
  });
}

static LogicalResult importAcosh(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) {
    Value t = f.sub(x, f.number(1));
    Value root = f.unary<SqrtOp>(f.mul(t, f.add(x, f.number(1))));
    return f.select(f.compare(Comparison::gt, x, f.number(kLarge)), logOfTwice(f, x), f.log1p(f.add(t, root)));
  });
}

static LogicalResult importAtanh(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) {
    Value a = f.unary<AbsOp>(x);
    Value half = f.mul(f.number(0.5), f.log1p(f.div(f.add(a, a), f.sub(f.number(1), a))));
    return f.mul(f.unary<SignOp>(x), half);
  });
}

ArrayRef<Operator> trigonometryOperators() {
  static constexpr Operator table[] = {
      {"Tan", 13, 1, 1, 1, "", importTan},     {"Atan", 13, 1, 1, 1, "", importAtan},
      {"Asin", 13, 1, 1, 1, "", importAsin},   {"Acos", 13, 1, 1, 1, "", importAcos},
      {"Sinh", 13, 1, 1, 1, "", importSinh},   {"Cosh", 13, 1, 1, 1, "", importCosh},
      {"Asinh", 13, 1, 1, 1, "", importAsinh}, {"Acosh", 13, 1, 1, 1, "", importAcosh},
      {"Atanh", 13, 1, 1, 1, "", importAtanh},
  };
  return table;
}

} // namespace lathe::frontend
