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

namespace {
/// Each element is computed once, however often it is used.
struct FloatElements {
  ShapeContext &context;
  llvm::DenseMap<std::pair<Value, int64_t>, std::optional<double>> known;
  int depth = 0;

  explicit FloatElements(ShapeContext &context) : context(context) {}

  std::optional<double> get(Value tensor, int64_t position) {
    constexpr int kDeepest = 32;
    auto [it, isNew] = known.try_emplace({tensor, position});
    if (!isNew || depth > kDeepest)
      return it->second;
    ++depth;
    std::optional<double> result = compute(tensor, position);
    --depth;
    return known[{tensor, position}] = result;
  }
  std::optional<double> compute(Value tensor, int64_t position);
};
} // namespace

std::optional<double> FloatElements::compute(Value tensor, int64_t position) {
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  Operation *op = tensor.getDefiningOp();
  if (!op || !type || !type.hasStaticShape() || position >= type.getNumElements())
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
  auto operandOf = [&](unsigned i) {
    Value operand = op->getOperand(i);
    int64_t elements = cast<RankedTensorType>(operand.getType()).hasStaticShape()
                           ? cast<RankedTensorType>(operand.getType()).getNumElements()
                           : 0;
    bool fits = elements == 1 || elements == type.getNumElements();
    return fits ? get(operand, elements == 1 ? 0 : position) : std::nullopt;
  };
  auto rounded = [&](double number) {
    return std::optional(type.getElementType().isF32() ? static_cast<double>(static_cast<float>(number)) : number);
  };
  // Of one operand each.
  if (isa<ReshapeOp, CastOp, SqrtOp, FloorOp, CeilOp>(op)) {
    std::optional<double> x = operandOf(0);
    if (!x)
      return std::nullopt;
    return rounded(isa<SqrtOp>(op)    ? std::sqrt(*x)
                   : isa<FloorOp>(op) ? std::floor(*x)
                   : isa<CeilOp>(op)  ? std::ceil(*x)
                                      : *x);
  }
  if (isa<AddOp, SubOp, MulOp, DivOp, PowOp>(op)) {
    std::optional<double> x = operandOf(0), y = operandOf(1);
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

std::optional<double> detail::floatElement(ShapeContext &context, Value tensor, int64_t position) {
  return FloatElements(context).get(tensor, position);
}

} // namespace lathe
