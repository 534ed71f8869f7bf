//===- AttentionContrib.h - ONNX Runtime's attentions -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_ATTENTIONCONTRIB_H
#define LATHE_FRONTENDS_ONNX_ATTENTIONCONTRIB_H

#include "frontends/onnx/Compose.h"

namespace lathe::frontend {

/// false, after a failure that was recorded.
inline bool refuse(mlir::LogicalResult) { return false; }

/// What follows queries, keys and values of [batch, heads, sequence, size] is the same for all of the operators.
struct Heads {
  mlir::Value q, k, v;
};

struct Masks {
  mlir::Value kept; ///< a mask of integers, or lengths
  mlir::Value bias; ///< is added to the scores
  bool causal = false;
};

/// The output, [batch, sequence, heads * size].
mlir::Value attend(Compose &c, const Heads &heads, const Masks &masks);

/// Extents of queries, keys and values in the merged projection; empty after a failure.
llvm::SmallVector<int64_t> projectionSizes(Node &node, mlir::Value weights);

/// Part `i` of a tensor of [batch, sequence, heads, parts, size], as [batch, heads, sequence, size].
mlir::Value packedPart(Compose &c, mlir::Value packed, int64_t i);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_ATTENTIONCONTRIB_H
