//===- LatheDialect.cpp - The lathe dialect -------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Attention.h"
#include "dialects/lathe/Sparse.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

#include "dialects/lathe/LatheDialect.cpp.inc"
#include "dialects/lathe/LatheEnums.cpp.inc"
#include "dialects/lathe/LatheInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/lathe/LatheAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/lathe/LatheOps.cpp.inc"

namespace lathe {

void LatheDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/lathe/LatheOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/lathe/LatheAttentionOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/lathe/LatheSparseOps.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/lathe/LatheAttrs.cpp.inc"
      >();
}

Operation *LatheDialect::materializeConstant(OpBuilder &builder, Attribute value, Type type, Location loc) {
  if (auto elements = dyn_cast<ElementsAttr>(value); elements && isa<RankedTensorType>(type))
    return builder.create<ConstantOp>(loc, type, elements);
  if (auto typed = dyn_cast<TypedAttr>(value); typed && isa<IndexType>(type))
    return builder.create<arith::ConstantOp>(loc, type, typed);
  return nullptr;
}

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

OpFoldResult CastOp::fold(FoldAdaptor) { return getInput().getType() == getType() ? OpFoldResult(getInput()) : nullptr; }

OpFoldResult TransposeOp::fold(FoldAdaptor) {
  if (getInput().getType() != getType())
    return nullptr;
  for (auto [i, axis] : llvm::enumerate(getPermutation()))
    if (static_cast<int64_t>(i) != axis)
      return nullptr;
  return getInput();
}

OpFoldResult ReshapeOp::fold(FoldAdaptor) {
  // With one dynamic dimension at most, equal types are equal shapes.
  auto type = cast<RankedTensorType>(getType());
  return getInput().getType() == type && type.getNumDynamicDims() <= 1 ? OpFoldResult(getInput()) : nullptr;
}

OpFoldResult BroadcastOp::fold(FoldAdaptor) {
  auto type = cast<RankedTensorType>(getType());
  return getInput().getType() == type && type.hasStaticShape() ? OpFoldResult(getInput()) : nullptr;
}

OpFoldResult ConcatOp::fold(FoldAdaptor) {
  return getInputs().size() == 1 && getInputs()[0].getType() == getType() ? OpFoldResult(getInputs()[0]) : nullptr;
}

LogicalResult WeightOp::verify() {
  auto type = getResult().getType();
  if (!type.getElementType().isIntOrFloat())
    return emitOpError() << "expects elements of an integer or float type, got " << type.getElementType();
  if (static_cast<int64_t>(getOffset()) < 0)
    return emitOpError() << "expects an offset of at least 0, got " << static_cast<int64_t>(getOffset());
  return success();
}

LogicalResult DimOp::verify() {
  auto rank = cast<RankedTensorType>(getInput().getType()).getRank();
  auto axis = static_cast<int64_t>(getAxis());
  if (axis < 0 || axis >= rank)
    return emitOpError() << "expects an axis within rank " << rank << ", got " << axis;
  return success();
}

LogicalResult ToIndexOp::verify() {
  auto type = cast<RankedTensorType>(getInput().getType());
  auto position = static_cast<int64_t>(getPosition());
  if (type.getRank() > 1)
    return emitOpError() << "expects a tensor of rank 0 or 1, got rank " << type.getRank();
  if (position < 0 || (type.hasStaticShape() && position >= type.getNumElements()))
    return emitOpError() << "expects a position within " << type << ", got " << position;
  return success();
}

} // namespace lathe
