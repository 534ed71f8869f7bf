//===- NarrowWeights.cpp - Store weights in 16 bits ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/precision/Passes.h"
#include "dialects/lathe/NodeAction.h"
#include "llvm/ADT/StringMap.h"

namespace lathe::precision {
#define GEN_PASS_DEF_NARROWWEIGHTSPASS
#include "passes/precision/Passes.h.inc"
} // namespace lathe::precision

using namespace mlir;

namespace lathe::precision {

bool canNarrow(WeightOp weight) {
  auto type = cast<RankedTensorType>(weight.getType());
  return type.getElementType().isF32() && type.getRank() >= 2 && !weight->use_empty() &&
         llvm::all_of(weight->getUses(), [&](OpOperand &use) {
           if (isa<MatmulOp>(use.getOwner()))
             return use.getOperandNumber() == 1 && type.getRank() == 2;
           return isa<GatherOp>(use.getOwner()) && use.getOperandNumber() == 0;
         });
}

namespace {

struct NarrowWeights : impl::NarrowWeightsPassBase<NarrowWeights> {
  using Base::Base;

  /// Null for f32; nullopt for any other name than that of a type to store.
  std::optional<Type> typeOf(StringRef name) {
    MLIRContext *context = &getContext();
    if (name == "bf16")
      return Type(BFloat16Type::get(context));
    if (name == "f16")
      return Type(Float16Type::get(context));
    return name == "f32" ? std::optional<Type>(Type()) : std::nullopt;
  }

  void runOnOperation() override {
    func::FuncOp func = getOperation();
    auto refuse = [&](StringRef text) {
      func.emitError() << "expects a type of bf16, f16 or f32, got '" << text << "'";
      signalPassFailure();
    };
    std::optional<Type> usual = typeOf(type);
    if (!usual)
      return refuse(type);
    llvm::StringMap<Type> exceptions;
    for (StringRef entry : types) {
      auto [name, text] = entry.rsplit('=');
      std::optional<Type> own = typeOf(text);
      if (!own)
        return refuse(text);
      exceptions[name] = *own;
    }
    SmallVector<WeightOp> weights;
    func.walk([&](WeightOp weight) { weights.push_back(weight); });
    for (WeightOp weight : weights) {
      auto it = exceptions.find(weight.getName());
      Type element = it == exceptions.end() ? *usual : it->second;
      if (element && canNarrow(weight) && mayChange(weight))
        narrow(weight, element);
    }
  }

  static void narrow(WeightOp weight, Type element) {
    auto wide = cast<RankedTensorType>(weight.getType());
    OpBuilder b(weight->getContext());
    b.setInsertionPointAfter(weight);
    SmallVector<OpOperand *> uses;
    for (OpOperand &use : weight->getUses())
      uses.push_back(&use);
    Value stored = b.create<CastOp>(weight.getLoc(), wide.clone(element), weight.getResult());
    // One for each reader, which makes it part of itself.
    for (OpOperand *use : uses) {
      b.setInsertionPoint(use->getOwner());
      use->set(b.create<CastOp>(weight.getLoc(), wide, stored));
    }
  }
};

} // namespace
} // namespace lathe::precision
