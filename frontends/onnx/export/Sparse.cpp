//===- Sparse.cpp - Matrices with zeros as nodes --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// What is stored goes to its places in zeros, by ScatterElements and ScatterND; of a bitmap each element takes its own.
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Sparse.h"
#include "frontends/onnx/export/Emitter.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

int64_t ceilDiv(int64_t a, int64_t b) { return a / b + (a % b != 0); }

class SparseNodes {
public:
  SparseNodes(Emitter &e, SparseToDenseOp op) : e(e), op(op), rows(op.getShape()[0]), columns(op.getShape()[1]) {
    Type own = Emitter::element(op.getValues());
    type = own.isBF16() ? Type(e.builder().getF32Type()) : own; // runtimes scatter few types
    values = e.cast(e.of(op.getValues()), own, type);
  }

  void emit(SparseFormat format);

private:
  Name filled(ArrayRef<int64_t> shape, const Name &value) { return e.node("Expand", {value, e.ints(shape)}); }
  Name zeros(ArrayRef<int64_t> shape) { return filled(shape, e.number(type, 0)); }
  Name whole(Value integers) { return e.cast(e.of(integers), Emitter::element(integers), e.builder().getI64Type()); }
  Name slice(const Name &value, int64_t begin, int64_t end, int64_t axis) {
    return e.node("Slice", {value, e.ints({begin}), e.ints({end}), e.ints({axis})});
  }
  Name reshape(const Name &value, ArrayRef<int64_t> shape) {
    return e.node("Reshape", {value, e.ints(shape)}, {{"allowzero", int64_t(1)}});
  }
  /// The row of each stored element, or block, of the format's pointers.
  Name rowsOfStored(int64_t rows);
  Name csr();
  Name bsr();
  Name bitmap();
  Name groups();

  Emitter &e;
  SparseToDenseOp op;
  int64_t rows, columns;
  Type type;
  Name values;
};

Name SparseNodes::rowsOfStored(int64_t rows) {
  // Each row but the first adds one from where it begins.
  int64_t stored = cast<RankedTensorType>(op.getIndices().getType()).getDimSize(0);
  Name begins = slice(whole(op.getPointers()), 1, std::max<int64_t>(rows, 1), 0);
  Name marks =
      e.node("ScatterElements",
             {filled({stored + 1}, e.integer(0)), begins, filled({std::max<int64_t>(rows, 1) - 1}, e.integer(1))},
             {{"axis", int64_t(0)}, {"reduction", std::string("add")}});
  return slice(e.node("CumSum", {marks, e.integer(0)}), 0, stored, 0);
}

Name SparseNodes::csr() {
  Name flat = e.binary("Add", e.binary("Mul", rowsOfStored(rows), e.ints({columns})), whole(op.getIndices()));
  Name dense = e.node("ScatterElements", {zeros({rows * columns}), flat, values}, {{"axis", int64_t(0)}});
  return reshape(dense, {rows, columns});
}

Name SparseNodes::bsr() {
  int64_t height = (*op.getBlock())[0], width = (*op.getBlock())[1];
  int64_t down = ceilDiv(rows, height), across = ceilDiv(columns, width);
  Name flat = e.binary("Add", e.binary("Mul", rowsOfStored(down), e.ints({across})), whole(op.getIndices()));
  Name blocks = e.node("ScatterND", {zeros({down * across, height, width}), e.unsqueeze(flat, {1}), values});
  Name dense = e.transpose(reshape(blocks, {down, across, height, width}), {0, 2, 1, 3});
  dense = reshape(dense, {down * height, across * width});
  if (down * height != rows)
    dense = slice(dense, 0, rows, 0);
  return across * width != columns ? slice(dense, 0, columns, 1) : dense;
}

Name SparseNodes::bitmap() {
  if (cast<RankedTensorType>(op.getValues().getType()).getNumElements() == 0)
    return zeros({rows, columns});
  int64_t bytes = ceilDiv(columns, 8);
  Name bits = e.binary("Div", e.unsqueeze(whole(op.getIndices()), {2}), e.ints({1, 2, 4, 8, 16, 32, 64, 128}));
  bits = reshape(e.node("Mod", {bits, e.ints({2})}), {rows, bytes * 8});
  if (bytes * 8 != columns)
    bits = slice(bits, 0, columns, 1);
  // Rows are stored one behind the other, so that an element's place is how many there are before it in all rows.
  Name count = e.node("CumSum", {reshape(bits, {rows * columns}), e.integer(0)});
  Name place = e.binary("Max", e.binary("Sub", count, e.ints({1})), e.ints({0}));
  Name taken = e.node("Gather", {values, reshape(place, {rows, columns})}, {{"axis", int64_t(0)}});
  return e.where(e.binary("Greater", bits, e.ints({0})), taken, e.number(type, 0));
}

Name SparseNodes::groups() {
  auto axis = static_cast<int64_t>(*op.getAxis()), m = static_cast<int64_t>(*op.getM());
  auto stored = cast<RankedTensorType>(op.getValues().getType());
  int64_t count = ceilDiv(op.getShape()[axis], m), n = count > 0 ? stored.getDimSize(axis) / count : 1;
  Ints begins;
  for (int64_t i = 0; i < n * count; ++i)
    begins.push_back(i / n * m);
  Ints along{1, 1}, shape{rows, columns};
  along[axis] = n * count;
  shape[axis] = count * m;
  Name places = e.binary("Add", whole(op.getIndices()), reshape(e.ints(begins), along));
  Name dense = e.node("ScatterElements", {zeros(shape), places, values}, {{"axis", axis}});
  return shape[axis] == op.getShape()[axis] ? dense : slice(dense, 0, op.getShape()[axis], axis);
}

void SparseNodes::emit(SparseFormat format) {
  Name dense = format == SparseFormat::csr      ? csr()
               : format == SparseFormat::bsr    ? bsr()
               : format == SparseFormat::bitmap ? bitmap()
                                                : groups();
  e.define(op.getResult(), e.cast(dense, type, Emitter::element(op.getResult())));
}

} // namespace

LogicalResult Emitter::emitSparse(Operation *op) {
  auto sparse = llvm::cast<SparseToDenseOp>(op);
  SparseNodes(*this, sparse).emit(*parseSparseFormat(sparse.getFormat()));
  return success();
}

} // namespace lathe::frontend
