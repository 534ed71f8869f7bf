//===- LatheToLinalgWindows.cpp - Pads and sliding windows ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;

namespace lathe::reference {
namespace {

using S = ScalarBuilder;

/// input[indices] where `inside`, which is null where that is known to hold, else `outside`. A branch rather than a
/// clamped index: there may be no element to read, and the address stays linear in the loops.
Value readInside(S &s, Value input, ArrayRef<Value> indices, Value inside, Value outside) {
  if (!inside)
    return s.op<tensor::ExtractOp>(input, indices);
  auto branch = s.builder.create<scf::IfOp>(
      s.loc, inside,
      [&](OpBuilder &nested, Location loc) {
        nested.create<scf::YieldOp>(loc, nested.create<tensor::ExtractOp>(loc, input, indices).getResult());
      },
      [&](OpBuilder &nested, Location loc) { nested.create<scf::YieldOp>(loc, outside); });
  return branch.getResult(0);
}

/// Adds `0 <= index < extent` to a condition.
Value andWithin(S &s, Value condition, Value index, Value extent) {
  // As unsigned values, what is negative is above every extent.
  Value within = s.op<arith::CmpIOp>(arith::CmpIPredicate::ult, index, extent);
  return condition ? s.op<arith::AndIOp>(condition, within) : within;
}

FailureOr<Value> lowerPad(PadOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType(), inputType = tensorType(op.getInput());
  int64_t rank = type.getRank();
  Value input = op.getInput(), value = op.getValue();
  Value init = createEmpty(rewriter, loc, type, [&](int64_t axis) { return Value(op.getExtents()[axis]); });
  SmallVector<Value> extents;
  for (int64_t axis = 0; axis < rank; ++axis) {
    bool whole = getConstantIntValue(op.getLow()[axis]) == 0 && !type.isDynamicDim(axis) &&
                 !inputType.isDynamicDim(axis) && type.getDimSize(axis) <= inputType.getDimSize(axis);
    extents.push_back(whole ? Value() : extentOf(rewriter, loc, input, axis));
  }
  return createParallel(rewriter, loc, {}, {}, init, [&](S &s, ValueRange) {
    SmallVector<Value> indices = loopIndices(s, 0, rank);
    Value inside;
    for (auto [axis, index] : llvm::enumerate(indices)) {
      if (!extents[axis])
        continue;
      index = s.op<arith::SubIOp>(index, op.getLow()[axis]);
      inside = andWithin(s, inside, index, extents[axis]);
    }
    return readInside(s, input, indices, inside, inside ? s.op<tensor::ExtractOp>(value, ValueRange{}) : Value());
  });
}

TypedAttr paddingOf(Type type, const APFloat &padding, bool isUnsigned) {
  if (auto floatType = dyn_cast<FloatType>(type))
    return FloatAttr::get(type, padding.convertToDouble());
  APSInt value(type.getIntOrFloatBitWidth(), /*isUnsigned=*/isUnsigned || type.isInteger(1));
  bool exact;
  padding.convertToInteger(value, APFloat::rmTowardZero, &exact); // saturates
  return IntegerAttr::get(type, value);
}

FailureOr<Value> lowerWindows(WindowsOp op, PatternRewriter &rewriter) {
  Location loc = op.getLoc();
  RankedTensorType type = op.getResult().getType();
  Value input = op.getInput();
  int64_t spatial = op.getKernel().size(), leading = tensorType(input).getRank() - spatial;
  Value init = createEmpty(rewriter, loc, type, [&](int64_t axis) {
    if (axis < leading)
      return extentOf(rewriter, loc, input, axis);
    axis -= leading;
    return Value(axis < spatial ? op.getExtents()[axis] : op.getKernel()[axis - spatial]);
  });
  SmallVector<Value> extents;
  for (int64_t i = 0; i < spatial; ++i)
    extents.push_back(extentOf(rewriter, loc, input, leading + i));
  return createParallel(rewriter, loc, {}, {}, init, [&](S &s, ValueRange) {
    SmallVector<Value> indices = loopIndices(s, 0, leading), windows = loopIndices(s, leading, leading + spatial);
    SmallVector<Value> offsets = loopIndices(s, leading + spatial, leading + 2 * spatial);
    auto scaled = [&](Value index, int64_t factor) {
      return factor == 1 ? index : s.op<arith::MulIOp>(index, s.index(factor));
    };
    Value inside;
    for (int64_t i = 0; i < spatial; ++i) {
      Value position = scaled(windows[i], op.getStrides()[i]);
      if (getConstantIntValue(op.getKernel()[i]) != 1)
        position = s.op<arith::AddIOp>(position, scaled(offsets[i], op.getDilations()[i]));
      if (getConstantIntValue(op.getLow()[i]) != 0)
        position = s.op<arith::SubIOp>(position, op.getLow()[i]);
      if (int64_t base = op.getBaseDilations()[i]; base != 1) {
        Value rest = s.op<arith::RemSIOp>(position, s.index(base));
        Value element = s.compare(Comparison::eq, rest, s.index(0));
        inside = inside ? s.op<arith::AndIOp>(inside, element) : element;
        position = s.op<arith::DivSIOp>(position, s.index(base));
      }
      inside = andWithin(s, inside, position, extents[i]);
      indices.push_back(position);
    }
    return readInside(s, input, indices, inside,
                      s.op<arith::ConstantOp>(paddingOf(type.getElementType(), op.getPadding(), isUnsigned(op))));
  });
}

} // namespace

void populateWindows(RewritePatternSet &patterns) {
  addPattern<PadOp>(patterns, lowerPad);
  addPattern<WindowsOp>(patterns, lowerWindows);
}

} // namespace lathe::reference
