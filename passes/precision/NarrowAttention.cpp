//===- NarrowAttention.cpp - Let attention multiply in 16 bits ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Attention.h"
#include "passes/precision/Passes.h"

namespace lathe::precision {
#define GEN_PASS_DEF_NARROWATTENTIONPASS
#include "passes/precision/Passes.h.inc"

namespace {

struct NarrowAttention : impl::NarrowAttentionPassBase<NarrowAttention> {
  using Base::Base;

  void runOnOperation() override {
    if (type != "bf16" && type != "f16") {
      getOperation().emitError() << "expects a type of bf16 or f16, got '" << type << "'";
      return signalPassFailure();
    }
    mlir::MLIRContext *context = &getContext();
    auto arithmetic = mlir::TypeAttr::get(type == "bf16" ? mlir::Type(mlir::BFloat16Type::get(context))
                                                         : mlir::Type(mlir::Float16Type::get(context)));
    getOperation().walk([&](AttentionOp op) {
      if (!op.getArithmetic() && mlir::cast<mlir::RankedTensorType>(op.getType()).getElementType().isF32())
        op.setArithmeticAttr(arithmetic);
    });
  }
};

} // namespace
} // namespace lathe::precision
