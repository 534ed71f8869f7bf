//===- Lathe.h - The lathe dialect ------------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_LATHE_H
#define LATHE_DIALECTS_LATHE_LATHE_H

#include "dialects/lathe/SymbolicShape.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::OpTrait {
/// Each element of the result is a function of one element of each operand; shapes broadcast as numpy's do.
template <typename ConcreteOp>
class BroadcastingElementwise : public TraitBase<ConcreteOp, BroadcastingElementwise> {};
} // namespace mlir::OpTrait

#include "dialects/lathe/LatheDialect.h.inc"
#include "dialects/lathe/LatheEnums.h.inc"
#include "dialects/lathe/LatheInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/lathe/LatheAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/lathe/LatheOps.h.inc"

namespace lathe {

/// Creates an operation with one tensor result, with the result's shape inferred in `context`. Fails, after an error
/// at `loc`, where operands don't fit together. `args` are the operands and attributes of OpTy's builder that takes the result type first.
template <typename OpTy, typename... Args>
mlir::FailureOr<OpTy> createInferred(mlir::OpBuilder &builder, mlir::Location loc, ShapeContext &context,
                                     mlir::Type elementType, Args &&...args) {
  auto placeholder = mlir::RankedTensorType::get({}, elementType);
  auto op = builder.create<OpTy>(loc, placeholder, std::forward<Args>(args)...);
  mlir::FailureOr<SymShape> shape = op.inferSymbolicShape(context);
  if (mlir::failed(shape)) {
    op.erase();
    return mlir::failure();
  }
  op.getResult().setType(mlir::RankedTensorType::get(staticDims(*shape), elementType));
  context.setShape(op.getResult(), std::move(*shape));
  return op;
}

} // namespace lathe

#endif // LATHE_DIALECTS_LATHE_LATHE_H
