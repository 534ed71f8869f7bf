//===- Formula.h - Elementwise formulas of importers ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_FORMULA_H
#define LATHE_FRONTENDS_ONNX_FORMULA_H

#include "frontends/onnx/Node.h"

namespace lathe::frontend {

/// Formulas over tensors of one type. Like Node's, its functions accept null operands and yield null after a failure.
struct Formula {
  Node &node;
  mlir::Type type; ///< of elements

  mlir::Value number(double value) { return node.scalar(type, value); }
  mlir::Value add(mlir::Value a, mlir::Value b) { return node.make<AddOp>(type, a, b); }
  mlir::Value sub(mlir::Value a, mlir::Value b) { return node.make<SubOp>(type, a, b); }
  mlir::Value mul(mlir::Value a, mlir::Value b) { return node.make<MulOp>(type, a, b); }
  mlir::Value div(mlir::Value a, mlir::Value b) { return node.make<DivOp>(type, a, b); }
  mlir::Value min(mlir::Value a, mlir::Value b) { return node.make<MinOp>(type, a, b); }
  mlir::Value max(mlir::Value a, mlir::Value b) { return node.make<MaxOp>(type, a, b); }
  template <typename OpTy> mlir::Value unary(mlir::Value a) { return node.make<OpTy>(type, a); }
  mlir::Value compare(Comparison predicate, mlir::Value a, mlir::Value b) {
    return node.make<CompareOp>(node.builder.getI1Type(), predicate, a, b);
  }
  mlir::Value less(mlir::Value a, mlir::Value b) { return compare(Comparison::lt, a, b); }
  mlir::Value select(mlir::Value c, mlir::Value a, mlir::Value b) { return node.make<SelectOp>(type, c, a, b); }

  /// exp(x) - 1 and log(1 + x), which keep their digits near zero.
  mlir::Value expm1(mlir::Value x);
  mlir::Value log1p(mlir::Value x);
  mlir::Value softplus(mlir::Value x);
};

/// Gives the node the result of a formula over its first input, which must be of floats; narrow ones are computed in f32.
mlir::LogicalResult floatFormula(Node &node, llvm::function_ref<mlir::Value(Formula &, mlir::Value)> formula);

} // namespace lathe::frontend

#endif // LATHE_FRONTENDS_ONNX_FORMULA_H
