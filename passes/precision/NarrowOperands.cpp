//===- NarrowOperands.cpp - Keep what products read in 16 bits ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Attention.h"
#include "dialects/lathe/NodeAction.h"
#include "dialects/lathe/ValueNames.h"
#include "passes/precision/Passes.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::precision {
#define GEN_PASS_DEF_NARROWOPERANDSPASS
#include "passes/precision/Passes.h.inc"
} // namespace lathe::precision

using namespace mlir;

namespace lathe::precision {
namespace {

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

bool isHalf(Type element) { return element.isF16() || element.isBF16(); }

/// The 16-bit type of the weight that a product widens; null where it has no such weight.
Type weightType(MatmulOp product) {
  auto widening = product.getRhs().getDefiningOp<CastOp>();
  if (!widening || tensorType(widening.getInput()).getRank() != 2)
    return {};
  Operation *stored = widening.getInput().getDefiningOp();
  if (auto rounding = dyn_cast_or_null<CastOp>(stored))
    stored = rounding.getInput().getDefiningOp();
  Type element = tensorType(widening.getInput()).getElementType();
  return isa_and_nonnull<WeightOp, ConstantOp>(stored) && isHalf(element) ? element : Type();
}

/// All that reads a value: products with weights of one type, through reshapes.
class Readers {
public:
  Readers(Value value, Block *block) : block(block) { areAll = add(value) && type; }

  bool areAll;
  Type type; ///< of the weights

private:
  bool add(Value value) {
    for (OpOperand &use : value.getUses()) {
      Operation *user = use.getOwner();
      if (user->getBlock() != block)
        return false;
      if (auto reshape = dyn_cast<ReshapeOp>(user); reshape && use.getOperandNumber() == 0) {
        if (!add(reshape.getResult()))
          return false;
        continue;
      }
      auto product = dyn_cast<MatmulOp>(user);
      Type own = product && use.getOperandNumber() == 0 ? weightType(product) : Type();
      if (!own || (type && own != type))
        return false;
      type = own;
    }
    return true;
  }

  Block *block;
};

/// Whether a kernel of our own, or a product's last step, computes a value, and may as well write it in 16 bits.
bool isComputedByUs(Value value) {
  Operation *op = value.getDefiningOp();
  while (isa_and_nonnull<TransposeOp>(op))
    op = op->getOperand(0).getDefiningOp();
  if (!op || isa<AttentionOp, CacheOp, IfOp, LoopOp, ConstantOp, WeightOp, ReshapeOp>(op))
    return false;
  auto product = dyn_cast<MatmulOp>(op);
  return !product || (op == value.getDefiningOp() && weightType(product));
}

class Narrowing {
public:
  Narrowing(Value value, Type type) : value(value), type(type), b(value.getContext()) {
    b.setInsertionPointAfterValue(value);
  }

  void run() {
    SmallVector<OpOperand *> uses = usesOf(value);
    Location loc = withoutValue(value.getLoc());
    Value bounded = value;
    if (type.isF16()) { // whose infinities are nothing that products should sum up
      constexpr float kMost = 65504.0f;
      bounded = b.create<MaxOp>(loc, bounded.getType(), bounded, number(loc, -kMost));
      bounded = b.create<MinOp>(loc, bounded.getType(), bounded, number(loc, kMost));
    }
    replace(uses, b.create<CastOp>(loc, tensorType(value).clone(type), bounded));
  }

private:
  static SmallVector<OpOperand *> usesOf(Value of) {
    SmallVector<OpOperand *> uses;
    for (OpOperand &use : of.getUses())
      uses.push_back(&use);
    return uses;
  }

  Value number(Location loc, float x) {
    auto scalar = RankedTensorType::get({}, b.getF32Type());
    return b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, x));
  }

  /// Gives readers of numbers of f32 those of 16 bits: reshapes move these, products get them widened.
  void replace(ArrayRef<OpOperand *> uses, Value narrow) {
    Value wide;
    for (OpOperand *use : uses) {
      if (auto reshape = dyn_cast<ReshapeOp>(use->getOwner())) {
        SmallVector<OpOperand *> behind = usesOf(reshape.getResult());
        b.setInsertionPoint(reshape);
        Operation *moved = b.clone(*reshape);
        moved->setLoc(withoutValue(reshape.getLoc()));
        moved->setOperand(0, narrow);
        moved->getResult(0).setType(tensorType(reshape.getResult()).clone(type));
        b.setInsertionPointAfter(moved);
        replace(behind, moved->getResult(0));
        reshape->erase();
        continue;
      }
      if (!wide) {
        b.setInsertionPointAfterValue(narrow);
        wide = b.create<CastOp>(narrow.getLoc(), tensorType(narrow).clone(b.getF32Type()), narrow);
      }
      use->set(wide);
    }
  }

  Value value;
  Type type;
  OpBuilder b;
};

struct NarrowOperands : impl::NarrowOperandsPassBase<NarrowOperands> {
  using Base::Base;

  void runOnOperation() override {
    llvm::SmallSetVector<Value, 16> values;
    getOperation().walk([&](MatmulOp product) {
      Value value = product.getLhs();
      if (!tensorType(value).getElementType().isF32() || !weightType(product))
        return;
      while (auto reshape = value.getDefiningOp<ReshapeOp>())
        value = reshape.getInput();
      values.insert(value);
    });
    for (Value value : values) {
      Operation *op = value.getDefiningOp();
      if (!op || !isComputedByUs(value) || isWidened(op))
        continue;
      if (Readers readers(value, op->getBlock()); readers.areAll && mayChange(op))
        Narrowing(value, readers.type).run();
    }
  }

  /// Whether it has 16 bits already.
  static bool isWidened(Operation *op) {
    auto widening = dyn_cast<CastOp>(op);
    return widening && isHalf(tensorType(widening.getInput()).getElementType());
  }
};

} // namespace
} // namespace lathe::precision
