//===- FuseGelu.cpp - Gaussian error linear units -------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/fusion/Passes.h"
#include "passes/fusion/Polynomial.h"
#include "passes/fusion/Report.h"
#include "passes/fusion/Values.h"
#include <numbers>

namespace lathe::fusion {
#define GEN_PASS_DEF_FUSEGELUPASS
#include "passes/fusion/Passes.h.inc"
} // namespace lathe::fusion

using namespace mlir;

namespace lathe::fusion {
namespace {

struct FuseGelu : impl::FuseGeluPassBase<FuseGelu> {
  using FuseGeluPassBase::FuseGeluPassBase;
  void runOnOperation() override {
    Fuser fuser(getOperation(), "gelu", explain);
    fuser.forEach<ErfOp, TanhOp>([&](Operation *op) { match(op, fuser); });
  }

  static void match(Operation *anchor, Fuser &fuser) {
    bool isErf = isa<ErfOp>(anchor);
    Value argument = anchor->getOperand(0);
    Atom atom{anchor->getResult(0), {}};
    Type type = cast<RankedTensorType>(argument.getType()).getElementType();
    Polynomial expected = Polynomial::line(isErf ? std::numbers::sqrt2 / 2 : std::numbers::sqrt2 * std::numbers::inv_sqrtpi);
    expected.plain[3] = isErf ? 0 : 0.044715 * expected.plain[1];
    Polynomial negative = expected;
    for (double &factor : negative.plain)
      factor = -factor;

    Attempt nearest(anchor);
    for (Value x : variablesOf(argument)) {
      std::optional<Polynomial> inner = polynomialOf(argument, x);
      // Without the cube a tanh is that of something else.
      if (!inner || inner->plain[1] == 0 || (!isErf && inner->plain[3] == 0))
        continue;
      bool isNegative = inner->plain[1] < 0, isArgument = inner->isNear(isNegative ? negative : expected, type);
      Polynomial whole = Polynomial::half(isNegative ? -1 : 1);
      Ascent ascent = ascend(x, atom, [&](const Polynomial &form) { return form.isNear(whole, type); });
      Attempt attempt(anchor);
      // One of both conditions is what makes it near.
      StringRef name = isErf ? "erf" : "tanh";
      bool linear = ascent.form.plain[1] != 0 && ascent.form.times[1] != 0;
      if (ascent.accepted || (isArgument && linear))
        attempt.resembles();
      if (attempt.require(isArgument, "the argument of " + name + " is " + expected.str(),
                          "expects " + name + "(" + expected.str() + "), got " + name + "(" +
                              (isNegative ? "-" : "") + inner->str() + ")",
                          "correct the constants of the argument") &&
          attempt.require(ascent.accepted, "the result is 0.5 x (1 + " + name + ")",
                          "expects 0.5 x + 0.5 x " + name + ", got " + ascent.form.str(name),
                          "correct the constants, and let what follows use this value as a whole",
                          ascent.root.getDefiningOp()) &&
          attempt.require(!ascent.elsewhere, "the values between are used by nothing else",
                          "a value within the expression is used elsewhere, too",
                          "let the other user compute its own value, or use the result", ascent.elsewhere) &&
          attempt.require(ascent.root.getType() == x.getType(), "the constants do not broadcast x",
                          "a constant's shape enlarges x", "use scalar constants", ascent.root.getDefiningOp())) {
        SmallVector<Operation *> covered = operationsBetween(x, ascent.root);
        Operation *root = ascent.root.getDefiningOp();
        OpBuilder b(root);
        auto gelu = b.create<GeluOp>(root->getLoc(), root->getResult(0).getType(), x,
                                     isErf ? GeluApproximation::erf : GeluApproximation::tanh);
        fuser.replace(root, gelu, covered);
        return;
      }
      if (attempt.near && (!nearest.near || attempt.met.size() > nearest.met.size()))
        nearest = attempt;
    }
    fuser.missed(nearest);
  }
};

} // namespace
} // namespace lathe::fusion
