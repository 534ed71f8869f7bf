//===- Indices.cpp - Index values and shapes as tensors -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Emitter.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::frontend {

std::optional<int64_t> Emitter::constantIndex(Value index) {
  if (auto constant = index.getDefiningOp<arith::ConstantOp>())
    if (auto value = dyn_cast<IntegerAttr>(constant.getValue()))
      return value.getInt();
  return std::nullopt;
}

Name Emitter::scalarIndex(Value value) {
  if (std::optional<int64_t> constant = constantIndex(value))
    return integer(*constant);
  Name &cached = known["scalar " + of(value)];
  if (cached.empty())
    cached = squeeze(of(value));
  return cached;
}

Name Emitter::indices(ValueRange values) {
  Names parts;
  Ints run;
  auto flush = [&] {
    if (!run.empty())
      parts.push_back(ints(run));
    run.clear();
  };
  for (Value value : values) {
    if (std::optional<int64_t> constant = constantIndex(value)) {
      run.push_back(*constant);
      continue;
    }
    flush();
    parts.push_back(of(value));
  }
  flush();
  if (parts.empty())
    return ints({});
  if (parts.size() == 1)
    return parts.front();
  std::string key = "indices";
  for (const Name &part : parts)
    key += "\n" + part;
  Name &cached = known[key];
  if (cached.empty())
    cached = concat(parts, 0);
  return cached;
}

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

/// The value of an expression over symbols and constants; empty where it has other parts.
Name Emitter::expression(const SymExpr &expr, unsigned depth) {
  Name sum;
  for (const auto &[monomial, coefficient] : expr.getTerms()) {
    Name product = coefficient != 1 || monomial.atoms.empty() ? ints({coefficient}) : "";
    for (const SymAtomRef &atom : monomial.atoms) {
      Name factor = atom->op == SymOp::symbol ? symbol(atom->name, depth) : "";
      if (factor.empty())
        return "";
      product = product.empty() ? factor : binary("Mul", product, factor);
    }
    sum = sum.empty() ? product : binary("Add", sum, product);
  }
  return sum.empty() ? ints({0}) : sum;
}

Name Emitter::symbol(StringRef name, unsigned depth) {
  constexpr unsigned kDeepest = 16;
  if (auto it = known.find(("symbol " + name).str()); it != known.end())
    return it->second;
  if (depth > kDeepest)
    return "";
  Name found;
  // An element of an integer input, which is called `input[position]`.
  if (SymExpr::isInputElement(name)) {
    auto [input, position] = name.drop_back().rsplit('[');
    int64_t number;
    for (BlockArgument argument : main.getArguments()) {
      auto attribute = main.getArgAttrOfType<StringAttr>(argument.getArgNumber(), LatheDialect::kNameAttr);
      if (attribute && attribute.getValue() == input && !position.getAsInteger(10, number)) {
        Name flat = node("Reshape", {of(argument), ints({-1})});
        found = cast(node("Gather", {flat, ints({number})}, {{"axis", int64_t(0)}}), element(argument), builder().getI64Type());
      }
    }
  }
  // First the extents that are the symbol alone, then those that can be solved for it.
  for (bool isAlone : {true, false})
    for (BlockArgument argument : main.getArguments()) {
      auto dims = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), LatheDialect::kDimsAttr);
      for (auto [axis, text] : llvm::enumerate(dims ? dims.getValue() : ArrayRef<Attribute>())) {
        std::optional<SymExpr> dim = isa<StringAttr>(text) ? SymExpr::parse(cast<StringAttr>(text).getValue()) : std::nullopt;
        if (!found.empty() || !dim)
          continue;
        int64_t factor = 0;
        SymExpr rest;
        for (const auto &[monomial, coefficient] : dim->getTerms()) {
          bool isIt = monomial.atoms.size() == 1 && monomial.atoms.front()->op == SymOp::symbol && monomial.atoms.front()->name == name;
          SymExpr term(coefficient);
          for (const SymAtomRef &atom : monomial.atoms)
            term = term * SymExpr::atom(atom);
          if (isIt)
            factor = coefficient;
          else
            rest = rest + term;
        }
        SmallVector<std::string> others;
        rest.collectSymbols(others);
        if (factor == 0 || llvm::is_contained(others, name) || (isAlone && (factor != 1 || !rest.isConstant(0))))
          continue;
        Name value = extent(of(argument), static_cast<int64_t>(axis));
        if (!rest.isConstant(0)) {
          Name minus = expression(rest, depth + 1);
          if (minus.empty())
            continue;
          value = binary("Sub", value, minus);
        }
        found = factor == 1 ? value : binary("Div", value, ints({factor}));
      }
    }
  if (!found.empty())
    known[("symbol " + name).str()] = found;
  return found;
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

LogicalResult Emitter::emitComparison(arith::CmpIOp op) {
  Name a = of(op.getLhs()), b = of(op.getRhs());
  if (op.getLhs().getType().isInteger(1)) {
    a = cast(a, builder().getI1Type(), builder().getI64Type());
    b = cast(b, builder().getI1Type(), builder().getI64Type());
  }
  using P = arith::CmpIPredicate;
  auto done = [&](Name name) {
    define(op.getResult(), std::move(name));
    return success();
  };
  switch (op.getPredicate()) {
  case P::eq:
    return done(binary("Equal", a, b));
  case P::ne:
    return done(node("Not", {binary("Equal", a, b)}));
  case P::slt:
    return done(binary("Less", a, b));
  case P::sle:
    return done(binary("LessOrEqual", a, b));
  case P::sgt:
    return done(binary("Greater", a, b));
  case P::sge:
    return done(binary("GreaterOrEqual", a, b));
  default:
    return fail(op, "expects a comparison of signed numbers");
  }
}

LogicalResult Emitter::emitIndex(Operation *op) {
  auto operand = [&](unsigned i) { return of(op->getOperand(i)); };
  auto done = [&](Name name) {
    define(op->getResult(0), std::move(name));
    return success();
  };
  // Of the quotient that is rounded down; a remainder has the divisor's sign.
  auto floorDiv = [&](Value a, Value b) {
    if (shapes.atLeast(shapes.indexValue(a), 0) && shapes.atLeast(shapes.indexValue(b), 0))
      return binary("Div", of(a), of(b));
    Name rest = node("Mod", {of(a), of(b)});
    return binary("Div", binary("Sub", of(a), rest), of(b));
  };
  bool isBool = op->getNumOperands() > 0 && op->getOperand(0).getType().isInteger(1);
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](arith::ConstantOp constant) {
        auto value = dyn_cast<IntegerAttr>(constant.getValue());
        if (!value)
          return fail(op, "expects an integer");
        return done(op->getResult(0).getType().isInteger(1) ? truth(value.getValue() != 0) : ints({value.getInt()}));
      })
      .Case([&](SymbolOp symbolOp) {
        Name value = symbol(symbolOp.getName(), 0);
        if (value.empty())
          return fail(op, "no input has the dimension '" + symbolOp.getName() + "'");
        names[op->getResult(0)] = value;
        return success();
      })
      .Case([&](DimOp dim) {
        names[op->getResult(0)] = extent(operand(0), dim.getAxis());
        return success();
      })
      .Case([&](ToIndexOp toIndex) {
        Name value = cast(operand(0), element(toIndex.getInput()), builder().getI64Type());
        if (rank(toIndex.getInput()) == 0)
          return done(node("Reshape", {value, ints({1})}));
        return done(node("Gather", {value, ints({static_cast<int64_t>(toIndex.getPosition())})}, {{"axis", int64_t(0)}}));
      })
      .Case([&](FromIndexOp fromIndex) {
        Name value = rank(fromIndex.getResult()) == 0 ? scalarIndex(fromIndex.getValues().front()) : indices(fromIndex.getValues());
        return done(cast(value, builder().getI64Type(), element(fromIndex.getResult())));
      })
      .Case([&](ShapeOfOp) { return done(node("Shape", {operand(0)})); })
      .Case([&](arith::AddIOp) { return done(binary("Add", operand(0), operand(1))); })
      .Case([&](arith::SubIOp) { return done(binary("Sub", operand(0), operand(1))); })
      .Case([&](arith::MulIOp) { return done(binary("Mul", operand(0), operand(1))); })
      .Case([&](arith::MinSIOp) { return done(binary("Min", operand(0), operand(1))); })
      .Case([&](arith::MaxSIOp) { return done(binary("Max", operand(0), operand(1))); })
      .Case([&](arith::DivSIOp) { return done(binary("Div", operand(0), operand(1))); })
      .Case([&](arith::RemSIOp) { return done(node("Mod", {operand(0), operand(1)}, {{"fmod", int64_t(1)}})); })
      .Case([&](arith::FloorDivSIOp) { return done(floorDiv(op->getOperand(0), op->getOperand(1))); })
      .Case([&](arith::CeilDivSIOp) {
        Name minus = node("Neg", {operand(0)}), rest = node("Mod", {minus, operand(1)});
        return done(node("Neg", {binary("Div", binary("Sub", minus, rest), operand(1))}));
      })
      .Case([&](arith::SelectOp) { return done(where(operand(0), operand(1), operand(2))); })
      .Case<arith::AndIOp, arith::OrIOp, arith::XOrIOp>([&](Operation *) {
        StringRef kind = isa<arith::AndIOp>(op) ? "And" : isa<arith::OrIOp>(op) ? "Or" : "Xor";
        return done(binary(isBool ? kind.str() : ("Bitwise" + kind).str(), operand(0), operand(1)));
      })
      .Case([&](arith::CmpIOp compare) { return emitComparison(compare); })
      .Case<arith::IndexCastOp, arith::IndexCastUIOp, arith::ExtUIOp>([&](Operation *) {
        return done(cast(operand(0), isBool ? Type(builder().getI1Type()) : Type(builder().getI64Type()), builder().getI64Type()));
      })
      .Default([&](Operation *) { return fail(op, "it is not an operation of the dialect's programs"); });
}

} // namespace lathe::frontend
