//===- FloatElements.cpp - Floats that are known without data -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/SymExprDetail.h"
#include <cmath>

using namespace mlir;

namespace lathe {

std::optional<double> detail::floatElement(ShapeContext &context, Value tensor, int64_t position, int depth) {
  constexpr int kDeepest = 32;
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  Operation *op = tensor.getDefiningOp();
  if (!op || !type || !type.hasStaticShape() || position >= type.getNumElements() || depth > kDeepest)
    return std::nullopt;
  if (isa<IntegerType>(type.getElementType())) {
    std::optional<SymExpr> value = context.element(tensor, position);
    std::optional<int64_t> number = value ? value->constant() : std::nullopt;
    return number ? std::optional(static_cast<double>(*number)) : std::nullopt;
  }
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    auto dense = dyn_cast<DenseFPElementsAttr>(constant.getValue());
    if (!dense)
      return std::nullopt;
    APFloat number = *(dense.value_begin<APFloat>() + position);
    bool lossy;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
    return number.convertToDouble();
  }
  if (!type.getElementType().isF32() && !type.getElementType().isF64())
    return std::nullopt;
  auto get = [&](unsigned i) {
    Value operand = op->getOperand(i);
    int64_t elements = cast<RankedTensorType>(operand.getType()).hasStaticShape()
                           ? cast<RankedTensorType>(operand.getType()).getNumElements()
                           : 0;
    bool fits = elements == 1 || elements == type.getNumElements();
    return fits ? floatElement(context, operand, elements == 1 ? 0 : position, depth + 1) : std::nullopt;
  };
  auto rounded = [&](double number) {
    return std::optional(type.getElementType().isF32() ? static_cast<double>(static_cast<float>(number)) : number);
  };
  // Of one operand each.
  if (isa<ReshapeOp, CastOp, SqrtOp, FloorOp, CeilOp>(op)) {
    std::optional<double> x = get(0);
    if (!x)
      return std::nullopt;
    return rounded(isa<SqrtOp>(op)    ? std::sqrt(*x)
                   : isa<FloorOp>(op) ? std::floor(*x)
                   : isa<CeilOp>(op)  ? std::ceil(*x)
                                      : *x);
  }
  if (isa<AddOp, SubOp, MulOp, DivOp, PowOp>(op)) {
    std::optional<double> x = get(0), y = get(1);
    if (!x || !y)
      return std::nullopt;
    return rounded(isa<AddOp>(op)   ? *x + *y
                   : isa<SubOp>(op) ? *x - *y
                   : isa<MulOp>(op) ? *x * *y
                   : isa<DivOp>(op) ? *x / *y
                                    : std::pow(*x, *y));
  }
  return std::nullopt;
}

} // namespace lathe
