//===- Combiners.cpp - Sums, maxima and the like of loops -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Combiners.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::cpu {

bool isCombiner(Operation *op) {
  if (isa<arith::AddFOp, arith::MulFOp>(op))
    return bitEnumContainsAll(cast<arith::ArithFastMathInterface>(op).getFastMathFlagsAttr().getValue(),
                              arith::FastMathFlags::reassoc);
  return isa<arith::MaximumFOp, arith::MinimumFOp, arith::MaxNumFOp, arith::AddIOp, arith::MulIOp, arith::MaxSIOp,
             arith::MinSIOp, arith::MaxUIOp, arith::MinUIOp, arith::AndIOp, arith::OrIOp, arith::XOrIOp>(op);
}

TypedAttr neutralOf(Operation *combiner, Type type) {
  Builder b(combiner->getContext());
  auto infinity = [&](bool negative) {
    return b.getFloatAttr(type, APFloat::getInf(cast<FloatType>(type).getFloatSemantics(), negative));
  };
  unsigned bits = type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
  auto integer = [&](const APInt &value) { return b.getIntegerAttr(type, value); };
  return TypeSwitch<Operation *, TypedAttr>(combiner)
      .Case<arith::AddFOp>([&](auto) { return b.getFloatAttr(type, -0.0); })
      .Case<arith::MulFOp>([&](auto) { return b.getFloatAttr(type, 1.0); })
      .Case<arith::MaximumFOp, arith::MaxNumFOp>([&](auto) { return infinity(true); })
      .Case<arith::MinimumFOp>([&](auto) { return infinity(false); })
      .Case<arith::MulIOp>([&](auto) { return integer(APInt(bits, 1)); })
      .Case<arith::AndIOp, arith::MinUIOp>([&](auto) { return integer(APInt::getAllOnes(bits)); })
      .Case<arith::MaxSIOp>([&](auto) { return integer(APInt::getSignedMinValue(bits)); })
      .Case<arith::MinSIOp>([&](auto) { return integer(APInt::getSignedMaxValue(bits)); })
      .Default([&](Operation *) { return integer(APInt::getZero(bits)); });
}

Value combine(OpBuilder &b, Location loc, Operation *combiner, Value first, Value second) {
  if (isa<arith::MaxNumFOp>(combiner)) // which is one instruction for a state that is a number
    return b.create<arith::SelectOp>(loc, b.create<arith::CmpFOp>(loc, arith::CmpFPredicate::OGT, second, first),
                                     second, first);
  OperationState state(loc, combiner->getName(), {first, second}, {first.getType()}, combiner->getAttrs());
  return b.create(state)->getResult(0);
}

} // namespace lathe::cpu
