//===- Values.cpp - Constants and parameters of a program -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/fusion/Values.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace lathe::fusion {

/// How far expressions are followed: patterns are smaller, and programs of hostile depth must not take the stack.
static constexpr int kDepth = 16;

static std::optional<double> numberOf(Value value, int depth) {
  Operation *op = value.getDefiningOp();
  if (!op || depth == 0)
    return std::nullopt;
  if (isa<CastOp, BroadcastOp, ReshapeOp>(op)) {
    auto type = dyn_cast<FloatType>(cast<RankedTensorType>(value.getType()).getElementType());
    if (!type || type.getWidth() < 16)
      return std::nullopt; // what is cast to it may become another number
    return numberOf(op->getOperand(0), depth - 1);
  }
  auto constant = dyn_cast<ConstantOp>(op);
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  if (!dense || !dense.isSplat())
    return std::nullopt;
  if (isa<DenseFPElementsAttr>(dense)) {
    APFloat number = dense.getSplatValue<APFloat>();
    bool loses = false;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &loses);
    return number.convertToDouble();
  }
  auto integer = dyn_cast<IntegerType>(dense.getElementType());
  if (!integer || integer.getWidth() > 64)
    return std::nullopt;
  APInt number = dense.getSplatValue<APInt>();
  return integer.isUnsigned() || integer.getWidth() == 1 ? static_cast<double>(number.getZExtValue())
                                                         : static_cast<double>(number.getSExtValue());
}

std::optional<double> numberOf(Value value) { return numberOf(value, kDepth); }

double tolerance(Type type) {
  if (type.isBF16())
    return 0x1p-7;
  return type.getIntOrFloatBitWidth() < 32 ? 0x1p-9 : 1e-5;
}

bool isNear(double value, double expected, Type type) {
  return std::abs(value - expected) <= tolerance(type) * std::abs(expected);
}

std::string text(double value) {
  std::string result;
  llvm::raw_string_ostream(result) << llvm::format("%.7g", value);
  return result;
}

static bool isParameter(Value value, int depth) {
  Operation *op = value.getDefiningOp();
  if (!op || depth == 0)
    return false;
  if (isa<ConstantOp, WeightOp>(op))
    return true;
  if (!op->hasTrait<OpTrait::BroadcastingElementwise>() && !isa<ReshapeOp, BroadcastOp, TransposeOp, DequantizeOp>(op))
    return false;
  return llvm::all_of(op->getOperands(), [&](Value operand) {
    return !isa<RankedTensorType>(operand.getType()) || isParameter(operand, depth - 1);
  });
}

bool isParameter(Value value) { return isParameter(value, 6); }

Value withoutWidening(Value value) {
  for (auto op = value.getDefiningOp<CastOp>(); op; op = value.getDefiningOp<CastOp>()) {
    Type from = cast<RankedTensorType>(op.getInput().getType()).getElementType();
    Type to = cast<RankedTensorType>(op.getType()).getElementType();
    if (!isa<FloatType>(from) || !isa<FloatType>(to) || from.getIntOrFloatBitWidth() >= to.getIntOrFloatBitWidth())
      break;
    value = op.getInput();
  }
  return value;
}

SmallVector<Operation *> operationsBetween(ValueRange inputs, Value root) {
  llvm::SetVector<Operation *> found;
  SmallVector<Value> worklist{root};
  while (!worklist.empty()) {
    Value value = worklist.pop_back_val();
    Operation *op = value.getDefiningOp();
    if (!op || llvm::is_contained(inputs, value) || !isa<SymbolicShapeOpInterface>(op) ||
        (value != root && isParameter(value)) || !found.insert(op))
      continue;
    worklist.append(op->operand_begin(), op->operand_end());
  }
  SmallVector<Operation *> result, around; // of blocks around the root's, there is no order between them
  for (Operation *op : found)
    (op->getBlock() == root.getParentBlock() ? result : around).push_back(op);
  llvm::sort(result, [](Operation *a, Operation *b) { return a->isBeforeInBlock(b); });
  result.insert(result.begin(), around.begin(), around.end());
  return result;
}

} // namespace lathe::fusion
