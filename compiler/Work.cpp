//===- Work.cpp - What a program has to compute ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Work.h"
#include "compiler/Manifest.h"
#include "dialects/lathe/Attention.h"
#include "dialects/lathe/Sparse.h"

using namespace mlir;

namespace lathe {
namespace {

/// What computes a value, but for what only lays it out anew.
Operation *sourceOf(Value value) {
  Operation *op = value.getDefiningOp();
  while (op && isa<TransposeOp, ReshapeOp>(op))
    op = op->getOperand(0).getDefiningOp();
  return op;
}

/// Whether a value of floats is one of integers of at most 8 bits that were scaled: stored so, or just rounded to them.
bool isOfIntegers(Value value) {
  auto scaled = llvm::dyn_cast_if_present<DequantizeOp>(sourceOf(value));
  auto type = scaled ? dyn_cast<IntegerType>(scaled.getInput().getType().getElementType()) : IntegerType();
  return type && type.getWidth() <= 8;
}

bool isStoredAsBfloats(Value value) {
  auto widened = llvm::dyn_cast_if_present<CastOp>(sourceOf(value));
  return widened && widened.getInput().getType().getElementType().isBF16();
}

/// The type that a product may be multiplied in without more rounding than the program says: kernels need not, but no
/// processor does so faster than this one.
std::string multipliedType(MatmulOp op) {
  Type element = op.getResult().getType().getElementType();
  // Products of integers are sums of 32 bits over 8-bit numbers.
  if (element.isInteger(32) || (isOfIntegers(op.getLhs()) && isOfIntegers(op.getRhs())))
    return "i8";
  return element.isF32() && isStoredAsBfloats(op.getRhs()) ? "bf16" : typeName(element);
}

/// How many elements of a matrix of constants are stored, where its zeros are not.
std::optional<int64_t> storedElements(Value value) {
  Operation *op = sourceOf(value);
  if (auto scaled = llvm::dyn_cast_if_present<DequantizeOp>(op))
    op = sourceOf(scaled.getInput());
  auto sparse = llvm::dyn_cast_if_present<SparseToDenseOp>(op);
  return sparse ? std::optional(cast<RankedTensorType>(sparse.getValues().getType()).getNumElements()) : std::nullopt;
}

SymExpr operationsOf(MatmulOp op, const SymShape &lhs, const SymShape &product) {
  // Each row meets each element of the right side once.
  std::optional<int64_t> stored = storedElements(op.getRhs());
  SymExpr operations = SymExpr(2) * (stored ? SymExpr(*stored) : lhs[lhs.size() - (op.getTransposeLhs() ? 2 : 1)]);
  for (const SymExpr &dim : stored ? llvm::drop_end(product) : llvm::make_range(product.begin(), product.end()))
    operations = operations * dim;
  return operations;
}

} // namespace

std::map<std::string, SymExpr> matmulOperations(func::FuncOp function) {
  std::map<std::string, SymExpr> result;
  ShapeContext shapes;
  auto add = [&](const std::string &type, const SymExpr &operations) {
    SymExpr &sum = result[type];
    sum = sum + operations;
  };
  function.walk([&](MatmulOp op) {
    FailureOr<SymShape> lhs = shapes.shapeOf(op.getLhs()), product = shapes.shapeOf(op.getResult());
    if (succeeded(lhs) && succeeded(product))
      add(multipliedType(op), operationsOf(op, *lhs, *product));
  });
  function.walk([&](AttentionOp op) {
    FailureOr<SymShape> query = shapes.shapeOf(op.getQuery()), key = shapes.shapeOf(op.getKey()),
                        output = shapes.shapeOf(op.getResult());
    if (failed(query) || failed(key) || failed(output))
      return;
    SymExpr operations = SymExpr(2) * (query->back() + output->back()) * (*key)[key->size() - 2];
    for (const SymExpr &dim : llvm::drop_end(*output))
      operations = operations * dim;
    add(typeName(op.getArithmetic().value_or(op.getResult().getType().getElementType())), operations);
  });
  return result;
}

} // namespace lathe
