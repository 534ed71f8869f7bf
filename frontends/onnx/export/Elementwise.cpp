//===- Elementwise.cpp - Elementwise operations as nodes ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// ONNX allows more types than runtimes have kernels for. Integers below 32 bits and bf16 are computed in wider types that all have:
// the result, cut off or rounded, is the same.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Compute.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::frontend {

Type computedType(Type type, bool wraps) {
  Builder b(type.getContext());
  if (type.isBF16() || isa<Float8E4M3FNType, Float8E4M3FNUZType, Float8E5M2Type, Float8E5M2FNUZType, Float8E4M3Type>(type))
    return b.getF32Type();
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer)
    return type;
  if (integer.getWidth() < 32)
    return b.getI32Type();
  return integer.isUnsigned() && (integer.getWidth() == 32 || wraps) ? Type(b.getI64Type()) : type;
}

namespace {

/// An elementwise operation on operands in a wider type.
struct Elementwise {
  Emitter &e;
  Operation *op;
  bool wraps = true; ///< whether the low bits of the result follow from those of the operands

  Type type() const { return computedType(Emitter::element(op->getOperand(0)), wraps); }
  Name operand(unsigned i) const {
    return e.cast(e.of(op->getOperand(i)), Emitter::element(op->getOperand(i)), type());
  }
  LogicalResult done(const Name &name) const {
    e.define(op->getResult(0), e.cast(name, type(), Emitter::element(op->getResult(0))));
    return success();
  }
  LogicalResult simple(StringRef name, NodeAttributes attributes = {}) const {
    Names inputs;
    for (unsigned i = 0; i < op->getNumOperands(); ++i)
      inputs.push_back(operand(i));
    return done(e.node(name, inputs, attributes));
  }
};

/// A choice between values of `type`, in one that runtimes choose in.
Name choose(Emitter &e, const Name &condition, const Name &a, const Name &b, Type type) {
  Type wide = type.isInteger(1) || type.isUnsignedInteger(8) ? type : computedType(type, /*wraps=*/true);
  return e.cast(e.where(condition, e.cast(a, type, wide), e.cast(b, type, wide)), wide, type);
}

/// The divisor of integers, of which 0 is replaced by 1, and where it was 0.
std::pair<Name, Name> divisor(Emitter &e, const Name &b, Type type) {
  Name zero = e.node("Equal", {b, e.number(type, 0)});
  return {choose(e, zero, e.number(type, 1), b, type), zero};
}

bool isNonZeroConstant(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  return dense && isa<IntegerType>(dense.getElementType()) &&
         llvm::all_of(dense.getValues<APInt>(), [](const APInt &value) { return !value.isZero(); });
}

LogicalResult emitDivision(const Elementwise &c, Emitter &e) {
  Operation *op = c.op;
  Type type = c.type();
  Name a = c.operand(0), b = c.operand(1);
  bool truncated = isa<ModOp>(op) && cast<ModOp>(op).getTruncated(), isMod = isa<ModOp>(op);
  if (isa<FloatType>(type)) {
    if (!isMod)
      return c.done(e.binary("Div", a, b));
    if (truncated)
      return c.done(e.node("Mod", {a, b}, {{"fmod", int64_t(1)}}));
    // The remainder with the divisor's sign: that of C, moved by the divisor where the signs differ.
    Name rest = e.node("Mod", {a, b}, {{"fmod", int64_t(1)}}), zero = e.number(type, 0);
    Name differ = e.binary("Xor", e.binary("Less", rest, zero), e.binary("Less", b, zero));
    Name moves = e.binary("And", differ, e.node("Not", {e.binary("Equal", rest, zero)}));
    return c.done(e.where(moves, e.binary("Add", rest, b), rest));
  }
  auto quotient = [&](const Name &by) {
    return isMod ? e.node("Mod", {a, by}, {{"fmod", int64_t(truncated)}}) : e.binary("Div", a, by);
  };
  if (isNonZeroConstant(op->getOperand(1)))
    return c.done(quotient(b));
  auto [safe, isZero] = divisor(e, b, type);
  return c.done(choose(e, isZero, e.number(type, 0), quotient(safe), type));
}

/// Nodes shift unsigned numbers of 64 bits, by less than that.
LogicalResult emitShift(Emitter &e, Operation *op) {
  Type type = Emitter::element(op->getResult(0)), u64 = IntegerType::get(op->getContext(), 64, IntegerType::Unsigned);
  Type i64 = IntegerType::get(op->getContext(), 64);
  int64_t width = type.getIntOrFloatBitWidth();
  bool isLeft = isa<ShiftLeftOp>(op), isSigned = !type.isUnsignedInteger();
  // Amounts as unsigned numbers of the type's width.
  Type asUnsigned = IntegerType::get(op->getContext(), static_cast<unsigned>(width), IntegerType::Unsigned);
  Name amount = e.cast(e.cast(e.of(op->getOperand(1)), type, asUnsigned), asUnsigned, u64);
  Name isShort = e.binary("Less", e.cast(amount, u64, i64), e.number(i64, static_cast<double>(width)));
  isShort = e.binary("And", isShort, e.node("GreaterOrEqual", {e.cast(amount, u64, i64), e.number(i64, 0)}));
  Name by = e.cast(e.where(isShort, e.cast(amount, u64, i64), e.number(i64, 0)), i64, u64);
  auto shift = [&](const Name &value) {
    return e.cast(e.node("BitShift", {e.cast(value, i64, u64), by}, {{"direction", std::string(isLeft ? "LEFT" : "RIGHT")}}), u64, i64);
  };
  Name x = e.cast(e.of(op->getOperand(0)), type, i64), zero = e.number(i64, 0), result;
  if (isLeft || !isSigned) {
    result = e.where(isShort, shift(x), zero);
  } else {
    // Below 0, -1 - x is not, and a quotient of it that is rounded towards zero is one of x rounded down.
    Name minusOne = e.number(i64, -1), negative = e.binary("Less", x, zero), flipped = e.binary("Sub", minusOne, x);
    Name size = shift(e.where(negative, flipped, x));
    size = e.where(isShort, size, zero);
    result = e.where(negative, e.binary("Sub", minusOne, size), size);
  }
  e.define(op->getResult(0), e.cast(result, i64, type));
  return success();
}

LogicalResult emitSelect(Emitter &e, SelectOp op) {
  Type type = Emitter::element(op.getResult());
  e.define(op.getResult(), choose(e, e.of(op.getCondition()), e.of(op.getTrueValue()), e.of(op.getFalseValue()), type));
  return success();
}

LogicalResult emitCompare(Emitter &e, CompareOp op) {
  Type type = Emitter::element(op.getLhs());
  bool isEquality = op.getPredicate() == Comparison::eq || op.getPredicate() == Comparison::ne;
  // Numbers of 64 bits keep their order only as what they are.
  Type wide = isEquality && type.isInteger(1) ? type : computedType(type, /*wraps=*/isEquality);
  Name a = e.cast(e.of(op.getLhs()), type, wide), b = e.cast(e.of(op.getRhs()), type, wide);
  StringRef names[] = {"Equal", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"};
  Name result = e.binary(names[static_cast<unsigned>(op.getPredicate())], a, b);
  e.define(op.getResult(), op.getPredicate() == Comparison::ne ? e.node("Not", {result}) : result);
  return success();
}

/// To a type of fewer bits than a model's: the value of the bits that stay.
Name cutOff(Emitter &e, const Name &value, Type from, Type to) {
  auto integer = cast<IntegerType>(to);
  Type i32 = IntegerType::get(to.getContext(), 32);
  auto count = static_cast<double>(1u << integer.getWidth());
  Name rest = e.node("Mod", {e.cast(value, from, i32), e.number(i32, count)});
  if (!integer.isUnsigned())
    rest = e.where(e.binary("GreaterOrEqual", rest, e.number(i32, count / 2)), e.binary("Sub", rest, e.number(i32, count)), rest);
  return e.cast(rest, i32, to);
}

LogicalResult emitCast(Emitter &e, CastOp op) {
  Type from = Emitter::element(op.getInput()), to = Emitter::element(op.getResult());
  auto integer = dyn_cast<IntegerType>(to);
  if (integer && integer.getWidth() > 1 && integer.getWidth() < 8) {
    if (from != to)
      e.define(op.getResult(), cutOff(e, e.of(op.getInput()), from, to));
    else
      e.define(op.getResult(), e.of(op.getInput()));
    return success();
  }
  if (op.getOverflows()) {
    e.define(op.getResult(), e.node("Cast", {e.of(op.getInput())}, {{"to", int64_t(onnxDataType(to))}, {"saturate", int64_t(0)}}));
    return success();
  }
  e.define(op.getResult(), e.cast(e.of(op.getInput()), from, to));
  return success();
}

StringRef unaryName(Operation *op) {
  return llvm::TypeSwitch<Operation *, StringRef>(op)
      .Case([](NegOp) { return "Neg"; })
      .Case([](AbsOp) { return "Abs"; })
      .Case([](SignOp) { return "Sign"; })
      .Case([](SqrtOp) { return "Sqrt"; })
      .Case([](ReciprocalOp) { return "Reciprocal"; })
      .Case([](ExpOp) { return "Exp"; })
      .Case([](LogOp) { return "Log"; })
      .Case([](ErfOp) { return "Erf"; })
      .Case([](TanhOp) { return "Tanh"; })
      .Case([](SinOp) { return "Sin"; })
      .Case([](CosOp) { return "Cos"; })
      .Case([](SigmoidOp) { return "Sigmoid"; })
      .Case([](FloorOp) { return "Floor"; })
      .Case([](CeilOp) { return "Ceil"; })
      .Case([](RoundOp) { return "Round"; })
      .Case([](AtanOp) { return "Atan"; })
      .Case([](AddOp) { return "Add"; })
      .Case([](SubOp) { return "Sub"; })
      .Case([](MulOp) { return "Mul"; })
      .Default([](Operation *) { return ""; });
}

} // namespace

LogicalResult Emitter::emitElementwise(Operation *op) {
  Elementwise c{*this, op};
  bool isBool = op->getNumOperands() > 0 && element(op->getOperand(0)).isInteger(1);
  if (StringRef name = unaryName(op); !name.empty())
    return c.simple(name);
  Elementwise exact{*this, op, /*wraps=*/false};
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](RsqrtOp) { return c.done(node("Reciprocal", {node("Sqrt", {c.operand(0)})})); })
      .Case([&](ReluOp) {
        return isa<FloatType>(c.type()) ? c.simple("Relu") : exact.done(binary("Max", exact.operand(0), number(exact.type(), 0)));
      })
      .Case([&](PowOp) { return exact.simple("Pow"); })
      .Case([&](MinOp) { return exact.simple("Min"); })
      .Case([&](MaxOp) { return exact.simple("Max"); })
      .Case<DivOp, ModOp>([&](Operation *) { return emitDivision(exact, *this); })
      .Case([&](NotOp) {
        define(op->getResult(0), node(isBool ? "Not" : "BitwiseNot", {of(op->getOperand(0))}));
        return success();
      })
      .Case<AndOp, OrOp, XorOp>([&](Operation *) {
        StringRef kind = isa<AndOp>(op) ? "And" : isa<OrOp>(op) ? "Or" : "Xor";
        define(op->getResult(0), binary(isBool ? kind.str() : ("Bitwise" + kind).str(), of(op->getOperand(0)), of(op->getOperand(1))));
        return success();
      })
      .Case<ShiftLeftOp, ShiftRightOp>([&](Operation *) { return emitShift(*this, op); })
      .Case([&](GeluOp gelu) {
        need(20);
        return c.simple("Gelu", {{"approximate", std::string(gelu.getApproximation() == GeluApproximation::tanh ? "tanh" : "none")}});
      })
      .Case([&](SwishOp swish) {
        Name x = c.operand(0);
        double beta = swish.getBeta().convertToDouble();
        Name scaled = beta == 1 ? x : binary("Mul", x, number(c.type(), beta));
        return c.done(binary("Mul", x, node("Sigmoid", {scaled})));
      })
      .Case<IsNanOp, IsInfOp>([&](Operation *) {
        Type type = c.type();
        // Kernels for the narrow ones are rare.
        Type wide = type.isF16() ? Type(builder().getF32Type()) : type;
        define(op->getResult(0), node(isa<IsNanOp>(op) ? "IsNaN" : "IsInf", {cast(c.operand(0), type, wide)}));
        return success();
      })
      .Case([&](CompareOp compare) { return emitCompare(*this, compare); })
      .Case([&](SelectOp select) { return emitSelect(*this, select); })
      .Case([&](CastOp castOp) { return emitCast(*this, castOp); })
      .Default([&](Operation *) { return fail(op, "its elements can't be computed by nodes"); });
}

} // namespace lathe::frontend
