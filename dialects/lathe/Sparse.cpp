//===- Sparse.cpp - The shapes of lathe.sparse_to_dense -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Sparse.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;

#define GET_OP_CLASSES
#include "dialects/lathe/LatheSparseOps.cpp.inc"

namespace lathe {

static constexpr StringLiteral kFormats[] = {"csr", "bsr", "bitmap", "n_of_m"};
/// Places in a group are at most so many.
static constexpr int64_t kMostOfGroup = 16;

StringRef nameOf(SparseFormat format) { return kFormats[static_cast<size_t>(format)]; }

std::optional<SparseFormat> parseSparseFormat(StringRef name) {
  for (auto [i, known] : llvm::enumerate(kFormats))
    if (name == known)
      return static_cast<SparseFormat>(i);
  return std::nullopt;
}

static int64_t ceilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

/// What goes with one format alone.
static LogicalResult verifyParameters(SparseToDenseOp op, SparseFormat format) {
  bool isBlocks = format == SparseFormat::bsr, isGroups = format == SparseFormat::n_of_m;
  auto block = op.getBlock();
  if (isBlocks != block.has_value() || (block && (block->size() != 2 || (*block)[0] < 1 || (*block)[1] < 1)))
    return op.emitOpError() << "expects " << (isBlocks ? "a block of two extents above 0" : "no block")
                            << " with format '" << op.getFormat() << "', got " << op.getBlockAttr();
  int64_t m = op.getM() ? static_cast<int64_t>(*op.getM()) : 0,
          axis = op.getAxis() ? static_cast<int64_t>(*op.getAxis()) : -1;
  bool fits = isGroups ? m >= 2 && m <= kMostOfGroup && (axis == 0 || axis == 1) : !op.getM() && !op.getAxis();
  if (!fits)
    return op.emitOpError() << "expects "
                            << (isGroups ? "groups of m = 2 to 16 elements along axis 0 or 1"
                                         : "neither groups of m elements nor an axis")
                            << " with format '" << op.getFormat() << "', got m = " << op.getMAttr()
                            << " and axis = " << op.getAxisAttr();
  return success();
}

static LogicalResult verifyTypes(SparseToDenseOp op, SparseFormat format) {
  Type values = getElementTypeOrSelf(op.getValues().getType());
  if (!values.isF32() && !values.isF16() && !values.isBF16() && !values.isSignlessInteger(8))
    return op.emitOpError() << "expects values of f32, f16, bf16 or i8, got " << values;
  bool areBytes = format == SparseFormat::bitmap || format == SparseFormat::n_of_m;
  auto fits = [](Type type, bool isByte) {
    unsigned width = type.getIntOrFloatBitWidth();
    return isByte ? width == 8 : width >= 8 && width <= 64;
  };
  Type indices = getElementTypeOrSelf(op.getIndices().getType());
  if (!fits(indices, areBytes))
    return op.emitOpError() << "expects indices of integers of " << (areBytes ? "8" : "8 to 64")
                            << " bits with format '" << op.getFormat() << "', got " << indices;
  if (op.getPointers() && !fits(getElementTypeOrSelf(op.getPointers().getType()), false))
    return op.emitOpError() << "expects pointers of integers of 8 to 64 bits, got "
                            << getElementTypeOrSelf(op.getPointers().getType());
  return success();
}

static LogicalResult verifyExtents(SparseToDenseOp op, SparseFormat format) {
  auto values = cast<RankedTensorType>(op.getValues().getType()),
       indices = cast<RankedTensorType>(op.getIndices().getType());
  auto pointers = op.getPointers() ? cast<RankedTensorType>(op.getPointers().getType()) : RankedTensorType();
  int64_t rows = op.getShape()[0], columns = op.getShape()[1], count = values.getRank() > 0 ? values.getDimSize(0) : 0;
  SmallVector<int64_t> expectedValues{count}, expectedIndices{count}, expectedPointers{rows + 1};
  if (format == SparseFormat::bsr) {
    ArrayRef<int64_t> block = *op.getBlock();
    expectedValues.append(block.begin(), block.end());
    expectedPointers = {ceilDiv(rows, block[0]) + 1};
  } else if (format == SparseFormat::bitmap) {
    expectedIndices = {rows, ceilDiv(columns, 8)};
  } else if (format == SparseFormat::n_of_m) {
    auto axis = static_cast<int64_t>(*op.getAxis()), m = static_cast<int64_t>(*op.getM());
    int64_t groups = ceilDiv(op.getShape()[axis], m);
    int64_t stored = values.getRank() == 2 ? values.getDimSize(axis) : 0;
    int64_t n = groups > 0 ? std::clamp<int64_t>(stored / groups, 1, m) : 1;
    expectedValues = {rows, columns};
    expectedValues[axis] = n * groups;
    expectedIndices = expectedValues;
    expectedPointers = {};
  }
  for (auto [what, type, expected] :
       {std::tuple("values", values, expectedValues), std::tuple("indices", indices, expectedIndices),
        std::tuple("pointers", pointers, expectedPointers)}) {
    if (!type && expected.empty())
      continue;
    if (!type || expected.empty() || type.getShape() != ArrayRef<int64_t>(expected)) {
      InFlightDiagnostic error = op.emitOpError() << "expects " << what;
      if (expected.empty())
        error << " with other formats than '" << op.getFormat() << "' alone";
      else
        error << " of shape [" << llvm::ArrayRef<int64_t>(expected) << "]";
      if (type)
        return error << ", got " << type;
      return error << ", got none";
    }
  }
  return success();
}

FailureOr<SymShape> SparseToDenseOp::inferSymbolicShape(ShapeContext &) {
  std::optional<SparseFormat> format = parseSparseFormat(getFormat());
  if (!format) {
    emitOpError() << "expects format 'csr', 'bsr', 'bitmap' or 'n_of_m', got '" << getFormat() << "'";
    return failure();
  }
  bool isStatic =
      llvm::all_of(getOperandTypes(), [](Type type) { return cast<RankedTensorType>(type).hasStaticShape(); });
  constexpr int64_t kMostExtent = int64_t(1) << 31;
  bool isShape = getShape().size() == 2 &&
                 llvm::all_of(getShape(), [](int64_t extent) { return extent >= 0 && extent <= kMostExtent; });
  if (!isStatic || !isShape) {
    emitOpError() << "expects a shape of two extents, none negative or above 2^31, and operands of static shape, got ["
                  << getShape() << "] and " << getOperandTypes();
    return failure();
  }
  if (failed(verifyParameters(*this, *format)) || failed(verifyTypes(*this, *format)) ||
      failed(verifyExtents(*this, *format)))
    return failure();
  return SymShape{SymExpr(getShape()[0]), SymExpr(getShape()[1])};
}

} // namespace lathe
