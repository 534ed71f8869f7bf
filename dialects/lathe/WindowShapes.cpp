//===- WindowShapes.cpp - Shapes of pads and sliding windows --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"

using namespace mlir;

namespace lathe {

/// Extents of a result as index operands.
static FailureOr<SymShape> extentOperands(Operation *op, StringRef what, OperandRange extents, ShapeContext &context) {
  SymShape result;
  for (auto [i, extent] : llvm::enumerate(extents)) {
    result.push_back(context.indexValue(extent));
    if (context.atMost(result.back(), -1))
      return op->emitOpError() << "expects " << what << " of at least 0, got " << result.back().str() << " at position "
                               << i;
  }
  return result;
}

FailureOr<SymShape> PadOp::inferSymbolicShape(ShapeContext &context) {
  FailureOr<SymShape> shape = context.shapeOf(getInput()), value = context.shapeOf(getValue());
  if (failed(shape) || failed(value))
    return failure();
  if (!value->empty()) {
    emitOpError() << "expects a scalar to pad with, got rank " << value->size();
    return failure();
  }
  if (getLow().size() != shape->size() || getExtents().size() != shape->size()) {
    emitOpError() << "expects a low pad and an extent for each of " << shape->size() << " axes, got " << getLow().size()
                  << " and " << getExtents().size();
    return failure();
  }
  return extentOperands(*this, "extents", getExtents(), context);
}

FailureOr<SymShape> WindowsOp::inferSymbolicShape(ShapeContext &context) {
  constexpr int64_t kLargest = INT32_MAX; // so that no position overflows
  FailureOr<SymShape> shape = context.shapeOf(getInput());
  if (failed(shape))
    return failure();
  size_t spatial = getKernel().size();
  SmallVector<size_t> counts{getLow().size(), getExtents().size(), getStrides().size(), getDilations().size(),
                             getBaseDilations().size()};
  if (!llvm::all_equal(counts) || counts.front() != spatial) {
    emitOpError() << "expects a low pad, an extent, a stride, a dilation and a base dilation for each of " << spatial
                  << " kernel sizes, got " << counts[0] << ", " << counts[1] << ", " << counts[2] << ", " << counts[3]
                  << " and " << counts[4];
    return failure();
  }
  if (spatial < 1 || spatial > shape->size()) {
    emitOpError() << "expects windows over 1 to " << shape->size() << " axes, got " << spatial;
    return failure();
  }
  for (auto [name, values, lowest] :
       {std::tuple("strides", getStrides(), int64_t(1)), std::tuple("dilations", getDilations(), -kLargest),
        std::tuple("base dilations", getBaseDilations(), int64_t(1))})
    for (int64_t value : values)
      if (value < lowest || value > kLargest) {
        emitOpError() << "expects " << name << " from " << lowest << " to " << kLargest << ", got " << value;
        return failure();
      }
  FailureOr<SymShape> extents = extentOperands(*this, "extents", getExtents(), context);
  FailureOr<SymShape> kernel = extentOperands(*this, "kernel sizes", getKernel(), context);
  if (failed(extents) || failed(kernel))
    return failure();
  SymShape result(shape->begin(), shape->end() - static_cast<ptrdiff_t>(spatial));
  llvm::append_range(result, *extents);
  llvm::append_range(result, *kernel);
  return result;
}

} // namespace lathe
