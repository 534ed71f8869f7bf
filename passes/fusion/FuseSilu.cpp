//===- FuseSilu.cpp - Silu and the quick form of gelu ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/fusion/Passes.h"
#include "passes/fusion/Polynomial.h"
#include "passes/fusion/Report.h"
#include "passes/fusion/Values.h"
#include <cmath>
#include <limits>

namespace lathe::fusion {
#define GEN_PASS_DEF_FUSESILUPASS
#include "passes/fusion/Passes.h.inc"
} // namespace lathe::fusion

using namespace mlir;

namespace lathe::fusion {
namespace {

struct FuseSilu : impl::FuseSiluPassBase<FuseSilu> {
  using FuseSiluPassBase::FuseSiluPassBase;
  void runOnOperation() override {
    Fuser fuser(getOperation(), "silu", explain);
    fuser.forEach<SigmoidOp, TanhOp, ExpOp>([&](Operation *op) { match(op, fuser); });
  }

  static void match(Operation *anchor, Fuser &fuser) {
    Value argument = anchor->getOperand(0);
    Type type = cast<RankedTensorType>(argument.getType()).getElementType();
    Atom atom{anchor->getResult(0), {}};
    Polynomial whole;
    whole.times[1] = 1;
    double factor = 1; // of the argument of the sigmoid
    if (isa<TanhOp>(anchor)) {
      whole = Polynomial::half(1);
      factor = 2;
    } else if (isa<ExpOp>(anchor)) {
      Value denominator = onePlus(atom.value);
      if (!denominator)
        return;
      atom = {{}, denominator};
      factor = -1;
    }
    Attempt nearest(anchor);
    for (Value x : variablesOf(argument)) {
      std::optional<Polynomial> inner = polynomialOf(argument, x);
      if (!inner || !inner->isNear(Polynomial::line(inner->plain[1]), type) || inner->plain[1] == 0 ||
          std::abs(inner->plain[1]) > std::numeric_limits<float>::max() / 2)
        continue;
      Ascent ascent = ascend(x, atom, [&](const Polynomial &form) { return form.isNear(whole, type); });
      Attempt attempt(anchor);
      if (!attempt.require(ascent.accepted, "the result is x times the sigmoid of a multiple of x"))
        continue;
      attempt.resembles();
      if (attempt.require(!ascent.elsewhere, "the sigmoid is used by nothing else",
                          "a value within the expression is used elsewhere, too",
                          "let the other user compute its own value, or use the result", ascent.elsewhere) &&
          attempt.require(ascent.root.getType() == x.getType(), "the constants do not broadcast x",
                          "a constant's shape enlarges x", "use scalar constants", ascent.root.getDefiningOp())) {
        double beta = factor * inner->plain[1];
        // What was meant: the difference is within the rounding of the constants.
        for (double exact : {1.0, 1.702})
          if (isNear(beta, exact, type))
            beta = exact;
        SmallVector<Operation *> covered = operationsBetween(x, ascent.root);
        Operation *root = ascent.root.getDefiningOp();
        OpBuilder b(root);
        fuser.kind = beta == 1.702 ? "quick_gelu" : "silu";
        fuser.replace(root, b.create<SwishOp>(root->getLoc(), root->getResult(0).getType(), x, APFloat(beta)), covered);
        fuser.kind = "silu";
        return;
      }
      if (!nearest.near)
        nearest = attempt;
    }
    fuser.missed(nearest);
  }

  /// The sum of one and a value that nothing else uses.
  static Value onePlus(Value value) {
    SmallVector<Operation *> users = usersOf(value);
    auto add = users.size() == 1 ? dyn_cast<AddOp>(users[0]) : AddOp();
    if (!add || add->getBlock() != value.getParentBlock())
      return {};
    Value other = add.getLhs() == value ? add.getRhs() : add.getLhs();
    return numberOf(other) == 1.0 ? add.getResult() : Value();
  }
};

} // namespace
} // namespace lathe::fusion
