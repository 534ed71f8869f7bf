//===- WidenFloats.cpp - Compute models of 16-bit floats in f32 ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Attention.h"
#include "passes/precision/Passes.h"

namespace lathe::precision {
#define GEN_PASS_DEF_WIDENFLOATSPASS
#include "passes/precision/Passes.h.inc"
} // namespace lathe::precision

using namespace mlir;

namespace lathe::precision {

static bool isHalf(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && (tensor.getElementType().isF16() || tensor.getElementType().isBF16());
}

Type typeOfProducts(func::FuncOp func) {
  Type found;
  func.walk([&](Operation *op) {
    if (!isa<MatmulOp, AttentionOp>(op) || !isHalf(op->getResult(0).getType()))
      return WalkResult::advance();
    found = cast<RankedTensorType>(op->getResult(0).getType()).getElementType();
    return WalkResult::interrupt();
  });
  return found;
}

bool hasWideAttention(func::FuncOp func) {
  auto isConstant = [](Value value) {
    for (Operation *op = value.getDefiningOp(); op; op = op->getOperand(0).getDefiningOp()) {
      if (isa<WeightOp, ConstantOp, DequantizeOp, DequantizeLog2Op>(op))
        return true;
      if (!isa<CastOp, TransposeOp, ReshapeOp>(op))
        return false;
    }
    return false;
  };
  WalkResult found = func.walk([&](Operation *op) {
    bool isWide =
        isa<MatmulOp, AttentionOp>(op) && cast<RankedTensorType>(op->getResult(0).getType()).getElementType().isF32();
    auto matmul = dyn_cast<MatmulOp>(op);
    if (!isWide || !matmul)
      return isWide ? WalkResult::interrupt() : WalkResult::advance();
    auto lhs = cast<RankedTensorType>(matmul.getLhs().getType());
    int64_t columns = lhs.getDimSize(lhs.getRank() - (matmul.getTransposeLhs() ? 2 : 1));
    bool isOfTensors = columns != 1 && !isConstant(matmul.getLhs()) && !isConstant(matmul.getRhs());
    return isOfTensors ? WalkResult::interrupt() : WalkResult::advance();
  });
  return found.wasInterrupted();
}

namespace {

/// Scalars and the like are constants of f32; what is larger stays as it is stored, and is widened by what reads it.
constexpr int64_t kMostElements = 1024;

struct WidenFloats : impl::WidenFloatsPassBase<WidenFloats> {
  using Base::Base;

  void runOnOperation() override {
    func::FuncOp func = getOperation();
    if (func.isExternal() || !typeOfProducts(func))
      return;
    SmallVector<Operation *> stored;
    func.walk([&](Operation *op) {
      if (isa<WeightOp, ConstantOp>(op) && isHalf(op->getResult(0).getType()))
        return stored.push_back(op);
      for (Value result : op->getResults())
        widen(result);
      if (op != func)
        for (Region &region : op->getRegions())
          for (BlockArgument argument : region.getArguments())
            widen(argument);
    });
    for (BlockArgument argument : func.getArguments())
      readWide(argument);
    for (Operation *op : stored)
      readWide(op);
    removeCasts(func);
    Operation *end = func.getBody().front().getTerminator();
    OpBuilder b(end);
    for (auto [operand, type] : llvm::zip_equal(end->getOpOperands(), func.getResultTypes()))
      if (operand.get().getType() != type)
        operand.set(b.create<CastOp>(operand.get().getLoc(), type, operand.get()));
  }

  Type wide(Type type) { return cast<RankedTensorType>(type).clone(Float32Type::get(&getContext())); }
  void widen(Value value) {
    if (isHalf(value.getType()))
      value.setType(wide(value.getType()));
  }

  void readWide(BlockArgument input) {
    if (!isHalf(input.getType()) || input.use_empty())
      return;
    OpBuilder b = OpBuilder::atBlockBegin(input.getOwner());
    auto cast = b.create<CastOp>(input.getLoc(), wide(input.getType()), input);
    input.replaceAllUsesExcept(cast, cast);
  }

  void readWide(Operation *stored) {
    SmallVector<OpOperand *> uses;
    for (OpOperand &use : stored->getUses()) {
      // What codes stand for is computed in f32 anyway.
      bool isScale = isa<DequantizeOp, DequantizeLog2Op>(use.getOwner()) && use.getOperandNumber() > 0;
      if (!isScale && !isa<CastOp>(use.getOwner()))
        uses.push_back(&use);
    }
    Value wideConstant = uses.empty() ? Value() : widened(dyn_cast<ConstantOp>(stored));
    for (OpOperand *use : uses) {
      OpBuilder b(use->getOwner()); // one for each reader, which makes it part of itself
      use->set(wideConstant
                   ? wideConstant
                   : b.create<CastOp>(stored->getLoc(), wide(stored->getResult(0).getType()), stored->getResult(0)));
    }
  }

  /// A small constant in f32.
  Value widened(ConstantOp constant) {
    auto dense = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
    if (!dense || dense.getNumElements() > kMostElements)
      return {};
    OpBuilder b(constant);
    auto numbers = dense.mapValues(b.getF32Type(), [](const APFloat &number) {
      APFloat result = number;
      bool isInexact = false;
      result.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &isInexact);
      return result.bitcastToAPInt();
    });
    return b.create<ConstantOp>(constant.getLoc(), wide(constant.getType()), cast<ElementsAttr>(numbers));
  }

  void removeCasts(func::FuncOp func) {
    SmallVector<CastOp> casts;
    func.walk([&](CastOp op) {
      if (op.getInput().getType() == op.getType())
        casts.push_back(op);
    });
    for (CastOp op : casts) {
      op.getResult().replaceAllUsesWith(op.getInput());
      op.erase();
    }
  }
};

} // namespace
} // namespace lathe::precision
