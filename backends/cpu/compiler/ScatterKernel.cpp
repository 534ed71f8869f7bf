//===- ScatterKernel.cpp - Loops from a scatter ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/RowKernel.h"
#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "dialects/kernel/Kernel.h"

using namespace mlir;

namespace lathe::cpu {
namespace {

class ScatterEmitter {
public:
  ScatterEmitter(Operation *op, func::FuncOp kernel, int64_t check)
      : op(op), kernel(kernel), check(check), b(kernel.getContext()), loc(op->getLoc()) {}

  void run();

private:
  Value index(int64_t value) { return b.create<arith::ConstantIndexOp>(loc, value); }
  Value extent(Value buffer, int64_t axis) { return b.create<memref::DimOp>(loc, buffer, axis); }
  SmallVector<Value> loops(Value buffer, int64_t first, int64_t end);
  Value read(ArrayRef<Value> at, int64_t axis, Value &inBounds);
  void write(ArrayRef<Value> place, ArrayRef<Value> from);
  void emit(ScatterElementsOp scatter);
  void emit(ScatterNDOp scatter);
  ScatterKind kind() {
    if (auto elements = dyn_cast<ScatterElementsOp>(op))
      return elements.getKind();
    return cast<ScatterNDOp>(op).getKind();
  }
  Type element(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

  Operation *op;
  func::FuncOp kernel;
  int64_t check;
  OpBuilder b;
  Location loc;
  Value frame, indices, updates, out;
};

/// Opens a loop for each of the axes.
SmallVector<Value> ScatterEmitter::loops(Value buffer, int64_t first, int64_t end) {
  SmallVector<Value> places;
  for (int64_t axis = first; axis < end; ++axis) {
    auto loop = b.create<scf::ForOp>(loc, index(0), extent(buffer, axis), index(1));
    b.setInsertionPointToStart(loop.getBody());
    places.push_back(loop.getInductionVar());
  }
  return places;
}

/// An index along an axis of the result, which nothing is written to where it is out of bounds.
Value ScatterEmitter::read(ArrayRef<Value> at, int64_t axis, Value &inBounds) {
  Value raw = b.create<memref::LoadOp>(loc, indices, at), size = extent(out, axis);
  bool isUnsigned = element(op->getOperand(1)).isUnsignedInteger();
  Value value = isUnsigned ? b.create<arith::IndexCastUIOp>(loc, b.getIndexType(), raw).getResult()
                           : b.create<arith::IndexCastOp>(loc, b.getIndexType(), raw).getResult();
  Value negative = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::slt, value, index(0));
  Value fromEnd = b.create<arith::AddIOp>(loc, value, size);
  value = b.create<arith::SelectOp>(loc, negative, fromEnd, value);
  Value fits = b.create<arith::CmpIOp>(loc, arith::CmpIPredicate::ult, value, size);
  inBounds = inBounds ? b.create<arith::AndIOp>(loc, inBounds, fits).getResult() : fits;
  return value;
}

void ScatterEmitter::write(ArrayRef<Value> place, ArrayRef<Value> from) {
  Value update = b.create<memref::LoadOp>(loc, updates, from);
  if (kind() != ScatterKind::assign) {
    reference::ScalarBuilder scalars(b, loc);
    Type type = element(op->getOperand(0));
    scalars.isUnsigned = type.isUnsignedInteger();
    bool isBool = type.isInteger(1); // a byte in buffers
    auto unpacked = [&](Value value) {
      return isBool ? scalars.compare(Comparison::ne, value, scalars.number(value.getType(), 0)) : value;
    };
    Value old = b.create<memref::LoadOp>(loc, out, place);
    Type stored = update.getType();
    update = reference::combineScattered(scalars, kind(), unpacked(old), unpacked(update));
    if (isBool)
      update = b.create<arith::ExtUIOp>(loc, stored, update);
  }
  b.create<memref::StoreOp>(loc, update, out, place);
}

void ScatterEmitter::emit(ScatterElementsOp scatter) {
  int64_t rank = scatter.getResult().getType().getRank();
  SmallVector<Value> at = loops(indices, 0, rank), place(at);
  Value inBounds;
  place[scatter.getAxis()] = read(at, scatter.getAxis(), inBounds);
  b.create<kernel::CheckOp>(loc, frame, inBounds, check);
  auto guard = b.create<scf::IfOp>(loc, inBounds, /*withElseRegion=*/false);
  b.setInsertionPointToStart(guard.thenBlock());
  write(place, at);
}

void ScatterEmitter::emit(ScatterNDOp scatter) {
  auto indicesType = cast<RankedTensorType>(scatter.getIndices().getType());
  int64_t leading = indicesType.getRank() - 1, depth = indicesType.getDimSize(leading);
  SmallVector<Value> from = loops(indices, 0, leading), at(from), place;
  Value inBounds;
  at.push_back({});
  for (int64_t i = 0; i < depth; ++i) {
    at.back() = index(i);
    place.push_back(read(at, i, inBounds));
  }
  b.create<kernel::CheckOp>(loc, frame, inBounds, check);
  auto guard = b.create<scf::IfOp>(loc, inBounds, /*withElseRegion=*/false);
  b.setInsertionPointToStart(guard.thenBlock());
  SmallVector<Value> rest = loops(out, depth, scatter.getResult().getType().getRank());
  place.append(rest);
  from.append(rest);
  write(place, from);
}

void ScatterEmitter::run() {
  Block *entry = &kernel.getBody().front();
  b.setInsertionPointToStart(entry);
  frame = entry->getArgument(0);
  int64_t offset = 0;
  auto argument = [&](Value tensor) {
    MemRefType type = bufferType(cast<RankedTensorType>(tensor.getType()));
    Value value = b.create<kernel::ArgOp>(loc, type, entry->getArgument(1), offset);
    offset += argumentBytes(type);
    return value;
  };
  indices = argument(op->getOperand(1));
  updates = argument(op->getOperand(2));
  out = argument(op->getResult(0));
  if (auto elements = dyn_cast<ScatterElementsOp>(op))
    emit(elements);
  else
    emit(cast<ScatterNDOp>(op));
  b.setInsertionPointToEnd(entry);
  b.create<func::ReturnOp>(loc);
}

} // namespace

void emitScatterKernel(Operation *op, func::FuncOp kernel, llvm::function_ref<int64_t(Location, StringRef)> addCheck) {
  int64_t check = addCheck(op->getLoc(), "index out of range: an index is not within the extent of its axis");
  ScatterEmitter(op, kernel, check).run();
}

} // namespace lathe::cpu
