//===- Materialize.cpp - Code that computes expressions -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Materialize.h"
#include "dialects/lathe/Lathe.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace lathe {

namespace {
/// Writes expressions at one place. What is shared is written once.
struct Materializer {
  OpBuilder &builder;
  Location loc;
  WrittenAtoms &before; // written by others
  bool adds;
  WrittenAtoms shared = WrittenAtoms();

  Value write(const SymExpr &expr);
  Value write(const SymAtom &atom);
};
} // namespace

Value Materializer::write(const SymAtom &atom) {
  auto constant = [&](int64_t value) { return builder.create<arith::ConstantIndexOp>(loc, value); };
  if (atom.op == SymOp::symbol)
    return builder.create<SymbolOp>(loc, builder.getIndexType(), atom.name);
  if (atom.op == SymOp::value) {
    int64_t axis = *atom.args[0].constant();
    return axis < 0 ? atom.value : builder.create<DimOp>(loc, builder.getIndexType(), atom.value, axis).getResult();
  }
  SmallVector<Value> args;
  for (const SymExpr &arg : atom.args)
    args.push_back(write(arg));
  auto compare = [&](arith::CmpIPredicate predicate, Value a, Value b) {
    return builder.create<arith::CmpIOp>(loc, predicate, a, b).getResult();
  };
  auto choose = [&](Value c, Value a, Value b) { return builder.create<arith::SelectOp>(loc, c, a, b).getResult(); };
  using P = arith::CmpIPredicate;
  switch (atom.op) {
  case SymOp::floor_div:
  case SymOp::mod: {
    // A zero divisor only comes with shapes that a check rejects; the division must not trap before it does.
    Value divisor = choose(compare(P::eq, args[1], constant(0)), constant(1), args[1]);
    Value quotient = builder.create<arith::FloorDivSIOp>(loc, args[0], divisor);
    if (atom.op == SymOp::floor_div)
      return quotient;
    return builder.create<arith::SubIOp>(loc, args[0], builder.create<arith::MulIOp>(loc, quotient, divisor));
  }
  case SymOp::product:
    return builder.create<arith::MulIOp>(loc, args[0], args[1]);
  case SymOp::min:
    return builder.create<arith::MinSIOp>(loc, args[0], args[1]);
  case SymOp::max:
    return builder.create<arith::MaxSIOp>(loc, args[0], args[1]);
  case SymOp::wrap:
    return choose(compare(P::slt, args[0], constant(0)), builder.create<arith::AddIOp>(loc, args[0], args[1]), args[0]);
  case SymOp::broadcast:
    return choose(compare(P::eq, args[0], constant(1)), args[1], args[0]);
  case SymOp::eq:
    return choose(compare(P::eq, args[0], args[1]), constant(1), constant(0));
  case SymOp::lt:
    return choose(compare(P::slt, args[0], args[1]), constant(1), constant(0));
  case SymOp::select:
    return choose(compare(P::ne, args[0], constant(0)), args[1], args[2]);
  case SymOp::symbol:
  case SymOp::value:
    break;
  }
  return {};
}

Value Materializer::write(const SymExpr &expr) {
  Value sum;
  for (const auto &[monomial, coefficient] : expr.getTerms()) {
    Value product;
    auto multiply = [&](Value factor) {
      product = product ? builder.create<arith::MulIOp>(loc, product, factor).getResult() : factor;
    };
    for (const SymAtomRef &atom : monomial.atoms) {
      if (!atom->shared) {
        multiply(write(*atom));
        continue;
      }
      WrittenAtoms &added = adds ? before : shared;
      Value value = before.lookup(atom->key);
      if (!value && !adds)
        value = shared.lookup(atom->key);
      if (!value)
        added[atom->key] = value = write(*atom);
      multiply(value);
    }
    if (coefficient != 1 || !product)
      multiply(builder.create<arith::ConstantIndexOp>(loc, coefficient));
    sum = sum ? builder.create<arith::AddIOp>(loc, sum, product).getResult() : product;
  }
  return sum ? sum : builder.create<arith::ConstantIndexOp>(loc, 0).getResult();
}

Value materialize(OpBuilder &builder, Location loc, const SymExpr &expr) {
  WrittenAtoms none;
  return materialize(builder, loc, expr, none, /*adds=*/true);
}

Value materialize(OpBuilder &builder, Location loc, const SymExpr &expr, WrittenAtoms &written, bool adds) {
  return Materializer{builder, loc, written, adds}.write(expr);
}

SmallVector<int64_t, 4> staticDims(const SymShape &shape) {
  SmallVector<int64_t, 4> dims;
  for (const SymExpr &dim : shape) {
    auto constant = dim.constant();
    dims.push_back(constant && *constant >= 0 ? *constant : ShapedType::kDynamic);
  }
  return dims;
}

std::string str(const SymShape &shape) {
  return "[" + llvm::join(llvm::map_range(shape, [](const SymExpr &e) { return e.str(); }), ", ") + "]";
}

} // namespace lathe
