//===- Work.cpp - What a program has to compute ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Work.h"
#include "compiler/Manifest.h"
#include "dialects/lathe/Attention.h"

using namespace mlir;

namespace lathe {

std::map<std::string, SymExpr> matmulOperations(func::FuncOp function) {
  std::map<std::string, SymExpr> result;
  ShapeContext shapes;
  function.walk([&](MatmulOp op) {
    FailureOr<SymShape> a = shapes.shapeOf(op.getLhs()), product = shapes.shapeOf(op.getResult());
    if (failed(a) || failed(product))
      return;
    SymExpr operations = SymExpr(2) * (*a)[a->size() - (op.getTransposeLhs() ? 2 : 1)];
    for (const SymExpr &dim : *product)
      operations = operations * dim;
    Type element = op.getResult().getType().getElementType();
    // Products of integers are sums of 32 bits over 8-bit numbers.
    std::string type = element.isInteger(32) ? "i8" : typeName(element);
    SymExpr &sum = result[type];
    sum = sum + operations;
  });
  function.walk([&](AttentionOp op) {
    FailureOr<SymShape> query = shapes.shapeOf(op.getQuery()), key = shapes.shapeOf(op.getKey()),
                        output = shapes.shapeOf(op.getResult());
    if (failed(query) || failed(key) || failed(output))
      return;
    SymExpr operations = SymExpr(2) * (query->back() + output->back()) * (*key)[key->size() - 2];
    for (const SymExpr &dim : llvm::drop_end(*output))
      operations = operations * dim;
    SymExpr &sum = result[typeName(op.getResult().getType().getElementType())];
    sum = sum + operations;
  });
  return result;
}

} // namespace lathe
