//===- Activations.cpp - Importers of activations -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Formula.h"

using namespace mlir;

namespace lathe::frontend {

Value Formula::expm1(Value x) {
  // Below, the quotient neither cancels nor divides by a small number.
  Value half = unary<TanhOp>(mul(x, number(0.5)));
  Value nearZero = div(mul(number(2), half), sub(number(1), half));
  return select(less(x, number(0.5)), nearZero, sub(unary<ExpOp>(x), number(1)));
}

Value Formula::log1p(Value x) {
  // The rounding of 1 + x is made good by the quotient.
  Value sum = add(number(1), x), rounded = sub(sum, number(1));
  Value result = mul(unary<LogOp>(sum), div(x, rounded));
  Value asItIs = node.make<OrOp>(node.builder.getI1Type(), compare(Comparison::eq, rounded, number(0)),
                                 compare(Comparison::eq, x, number(std::numeric_limits<double>::infinity())));
  return select(asItIs, x, result);
}

Value Formula::softplus(Value x) {
  return add(max(x, number(0)), log1p(unary<ExpOp>(unary<NegOp>(unary<AbsOp>(x)))));
}

LogicalResult floatFormula(Node &node, llvm::function_ref<Value(Formula &, Value)> formula) {
  Value x = node.input(0);
  Type type = Node::element(x);
  if (!isa<FloatType>(type))
    return node.invalid("expects floats");
  Type wide = type.getIntOrFloatBitWidth() < 32 ? node.builder.getF32Type() : type;
  Formula f{node, wide};
  return node.result(node.cast(formula(f, node.cast(x, wide)), type));
}

static LogicalResult importElu(Node &node) {
  double alpha = node.floatAttr("alpha", 1);
  return floatFormula(node, [&](Formula &f, Value x) {
    return f.select(f.less(x, f.number(0)), f.mul(f.number(alpha), f.expm1(x)), x);
  });
}

static LogicalResult importSelu(Node &node) {
  double alpha = node.floatAttr("alpha", static_cast<double>(1.67326319217681884765625f));
  double gamma = node.floatAttr("gamma", static_cast<double>(1.05070102214813232421875f));
  return floatFormula(node, [&](Formula &f, Value x) {
    Value negative = f.mul(f.number(alpha), f.expm1(x));
    return f.mul(f.number(gamma), f.select(f.less(x, f.number(0)), negative, x));
  });
}

static LogicalResult importCelu(Node &node) {
  double alpha = node.floatAttr("alpha", 1);
  if (alpha == 0)
    return node.invalid("expects an alpha other than 0");
  return floatFormula(node, [&](Formula &f, Value x) {
    Value zero = f.number(0), scale = f.number(alpha);
    return f.add(f.max(x, zero), f.min(f.mul(scale, f.expm1(f.div(x, scale))), zero));
  });
}

static LogicalResult importLeakyRelu(Node &node) {
  double alpha = node.floatAttr("alpha", static_cast<double>(0.01f));
  return floatFormula(node, [&](Formula &f, Value x) {
    return f.select(f.less(x, f.number(0)), f.mul(f.number(alpha), x), x);
  });
}

static LogicalResult importPRelu(Node &node) {
  Value x = node.input(0);
  Formula f{node, Node::element(x)};
  Value result = f.select(f.less(x, f.number(0)), f.mul(x, node.input(1)), x);
  if (result && Node::type(result) != Node::type(x))
    return node.invalid("expects a slope that broadcasts to the input");
  return node.result(result);
}

static LogicalResult importThresholdedRelu(Node &node) {
  double alpha = node.floatAttr("alpha", 1);
  return floatFormula(node, [&](Formula &f, Value x) {
    return f.select(f.compare(Comparison::le, x, f.number(alpha)), f.number(0), x);
  });
}

static Value hardSigmoid(Formula &f, Value x, double alpha, double beta) {
  Value line = f.add(f.mul(f.number(alpha), x), f.number(beta));
  return f.max(f.min(line, f.number(1)), f.number(0));
}

static LogicalResult importHardSigmoid(Node &node) {
  double alpha = node.floatAttr("alpha", static_cast<double>(0.2f)), beta = node.floatAttr("beta", 0.5);
  return floatFormula(node, [&](Formula &f, Value x) { return hardSigmoid(f, x, alpha, beta); });
}

static LogicalResult importHardSwish(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) { return f.mul(x, hardSigmoid(f, x, 1.0 / 6, 0.5)); });
}

static LogicalResult importSoftplus(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) { return f.softplus(x); });
}

static LogicalResult importMish(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) { return f.mul(x, f.unary<TanhOp>(f.softplus(x))); });
}

static LogicalResult importSoftsign(Node &node) {
  return floatFormula(node, [](Formula &f, Value x) { return f.div(x, f.add(f.number(1), f.unary<AbsOp>(x))); });
}

static LogicalResult importSwish(Node &node) {
  double alpha = node.floatAttr("alpha", 1);
  return floatFormula(node, [&](Formula &f, Value x) {
    Value scaled = alpha == 1 ? x : f.mul(x, f.number(alpha));
    return f.mul(x, f.unary<SigmoidOp>(scaled));
  });
}

static LogicalResult importGelu(Node &node) {
  Value x = node.input(0);
  std::string approximate = node.stringAttr("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    return node.invalid("expects approximate to be none or tanh, got '" + approximate + "'");
  auto kind = approximate == "tanh" ? GeluApproximation::tanh : GeluApproximation::erf;
  return node.result(node.make<GeluOp>(Node::element(x), x, kind));
}

ArrayRef<Operator> activationOperators() {
  static constexpr Operator table[] = {
      {"Elu", 13, 1, 1, 1, "alpha:f", importElu},
      {"Selu", 13, 1, 1, 1, "alpha:f gamma:f", importSelu},
      {"Celu", 13, 1, 1, 1, "alpha:f", importCelu},
      {"LeakyRelu", 13, 1, 1, 1, "alpha:f", importLeakyRelu},
      {"PRelu", 13, 2, 2, 1, "", importPRelu},
      {"ThresholdedRelu", 13, 1, 1, 1, "alpha:f", importThresholdedRelu},
      {"HardSigmoid", 13, 1, 1, 1, "alpha:f beta:f", importHardSigmoid},
      {"HardSwish", 14, 1, 1, 1, "", importHardSwish},
      {"Softplus", 13, 1, 1, 1, "", importSoftplus},
      {"Softsign", 13, 1, 1, 1, "", importSoftsign},
      {"Mish", 18, 1, 1, 1, "", importMish},
      {"Gelu", 20, 1, 1, 1, "approximate:s", importGelu},
      {"Silu", 13, 1, 1, 1, "", importSwish},
      {"Swish", 24, 1, 1, 1, "alpha:f", importSwish},
  };
  return table;
}

} // namespace lathe::frontend
