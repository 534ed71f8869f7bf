//===- Causal.h - Which keys a mask lets a query see ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_GENERATION_CAUSAL_H
#define LATHE_PASSES_GENERATION_CAUSAL_H

#include "dialects/lathe/Attention.h"

namespace lathe::generation {

/// What the biases of an attention say of queries and keys that are counted alike.
struct Visibility {
  bool isCausal = false;                 ///< a query sees no later key
  std::optional<int64_t> window;         ///< it sees as many keys as this, itself included
  llvm::SmallVector<mlir::Value> biases; ///< what is left to add, made before the attention
};

/// Takes the comparisons of a query's and a key's number apart from the rest of the biases.
Visibility readMasks(AttentionOp op, ShapeContext &shapes);

} // namespace lathe::generation

#endif // LATHE_PASSES_GENERATION_CAUSAL_H
