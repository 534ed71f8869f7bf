//===- Arithmetic.h - Elementwise formulas of importers ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_ARITHMETIC_H
#define LATHE_FRONTENDS_ONNX_ARITHMETIC_H

#include "frontends/onnx/Node.h"

namespace lathe::frontend {

/// Elementwise operations on tensors of one element type, which broadcast.
struct Arithmetic {
  Node &node;
  mlir::Type type;
  using Value = mlir::Value;

  Value number(double value) const { return node.scalar(type, value); }
  /// An extent as a scalar.
  Value of(const SymExpr &extent) const {
    std::optional<int64_t> constant = extent.constant();
    return constant && !mlir::isa<mlir::IntegerType>(type) ? number(static_cast<double>(*constant))
                                                           : node.cast(node.indexScalar(extent), type);
  }
  /// 0, 1, … below the extent.
  Value range(const SymExpr &extent) const {
    mlir::Type integers = node.builder.getI64Type();
    return node.cast(node.make<RangeOp>(integers, node.index(0), node.index(extent), node.index(1)), type);
  }
  Value add(Value a, Value b) const { return node.make<AddOp>(type, a, b); }
  Value sub(Value a, Value b) const { return node.make<SubOp>(type, a, b); }
  Value mul(Value a, Value b) const { return node.make<MulOp>(type, a, b); }
  Value div(Value a, Value b) const { return node.make<DivOp>(type, a, b); }
  Value min(Value a, Value b) const { return node.make<MinOp>(type, a, b); }
  Value max(Value a, Value b) const { return node.make<MaxOp>(type, a, b); }
  Value floor(Value a) const { return node.make<FloorOp>(type, a); }
  Value clamp(Value a, Value low, Value high) const { return max(min(a, high), low); }
  Value compare(Comparison predicate, Value a, Value b) const {
    return node.make<CompareOp>(node.builder.getI1Type(), predicate, a, b);
  }
  Value select(Value c, Value a, Value b) const { return node.make<SelectOp>(type, c, a, b); }
  /// A vector along an axis of a tensor of `rank`.
  Value along(Value vector, int64_t axis, int64_t rank) const {
    if (!vector)
      return {};
    llvm::SmallVector<Value> dims(rank, node.index(1));
    dims[axis] = node.dim(vector, 0);
    return node.reshape(vector, dims);
  }
};

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_ARITHMETIC_H
