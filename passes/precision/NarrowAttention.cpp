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
    auto type = mlir::TypeAttr::get(mlir::BFloat16Type::get(&getContext()));
    getOperation().walk([&](AttentionOp op) {
      if (!op.getArithmetic() && mlir::cast<mlir::RankedTensorType>(op.getType()).getElementType().isF32())
        op.setArithmeticAttr(type);
    });
  }
};

} // namespace
} // namespace lathe::precision
