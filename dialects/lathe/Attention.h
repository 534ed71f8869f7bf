//===- Attention.h - The operation lathe.attention --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_ATTENTION_H
#define LATHE_DIALECTS_LATHE_ATTENTION_H

#include "dialects/lathe/Lathe.h"

#define GET_OP_CLASSES
#include "dialects/lathe/LatheAttentionOps.h.inc"

namespace lathe {

/// Writes what lathe.attention stands for before it: products, a softmax and what is between. Returns the result; the
/// operation stays. Fails after an error.
mlir::FailureOr<mlir::Value> decomposeAttention(mlir::OpBuilder &builder, AttentionOp op);

} // namespace lathe

#endif // LATHE_DIALECTS_LATHE_ATTENTION_H
