//===- LatheToLinalgSparse.cpp - Matrices with zeros ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Each element of a matrix looks for what is stored of its row, as in LatheToLinalgScatter.cpp.
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "dialects/lathe/Sparse.h"

using namespace mlir;

namespace lathe::reference {
namespace {

using S = ScalarBuilder;

/// The element of the matrix whose place is `place`.
class StoredElement {
public:
  StoredElement(S &s, SparseToDenseOp op) : s(s), op(op), place(loopIndices(s, 0, 2)) {
    zero = s.number(tensorType(op.getValues()).getElementType(), 0);
  }

  Value find(SparseFormat format);

private:
  static Value read(S &s, Value tensor, ArrayRef<Value> at) {
    S own(s.builder, s.loc);
    own.isUnsigned = true;
    return own.toIndex(s.op<tensor::ExtractOp>(tensor, at));
  }
  Value stored() { return extentOf(s.builder, s.loc, op.getValues(), 0); }
  /// Where row `row` of pointers begins, and how many elements it has; neither beyond what is stored.
  std::pair<Value, Value> rangeOf(Value row);
  Value findInRow();
  Value findBit();
  Value findInGroup();

  S &s;
  SparseToDenseOp op;
  SmallVector<Value> place;
  Value zero;
};

std::pair<Value, Value> StoredElement::rangeOf(Value row) {
  Value next = s.op<arith::AddIOp>(row, s.index(1)), all = stored();
  Value begin = s.op<arith::MinUIOp>(read(s, op.getPointers(), row), all);
  Value end = s.op<arith::MinUIOp>(read(s, op.getPointers(), next), all);
  end = s.op<arith::MaxUIOp>(begin, end);
  return {begin, s.op<arith::SubIOp>(end, begin)};
}

Value StoredElement::findInRow() {
  Value row = place[0], column = place[1];
  SmallVector<Value> within;
  if (auto block = op.getBlock()) {
    Value height = s.index((*block)[0]), width = s.index((*block)[1]);
    within = {s.op<arith::RemUIOp>(row, height), s.op<arith::RemUIOp>(column, width)};
    row = s.op<arith::DivUIOp>(row, height);
    column = s.op<arith::DivUIOp>(column, width);
  }
  auto [begin, count] = rangeOf(row);
  Value first = begin;
  return reduceLoop(s, count, zero, [&](S &step, Value position, Value found) {
    SmallVector<Value> at{step.op<arith::AddIOp>(first, position)};
    Value hit = step.compare(Comparison::eq, read(step, op.getIndices(), at), column);
    at.append(within);
    return step.select(hit, step.op<tensor::ExtractOp>(op.getValues(), at), found);
  });
}

Value StoredElement::findBit() {
  Value row = place[0];
  auto bit = [&](S &body, Value column) {
    Value eight = body.index(8);
    Value byte = read(body, op.getIndices(), {row, body.op<arith::DivUIOp>(column, eight)});
    Value shifted = body.op<arith::ShRUIOp>(byte, body.op<arith::RemUIOp>(column, eight));
    return body.op<arith::AndIOp>(shifted, body.index(1));
  };
  Value before = reduceLoop(s, place[1], s.index(0), [&](S &step, Value column, Value count) {
    return step.op<arith::AddIOp>(count, bit(step, column));
  });
  auto [begin, count] = rangeOf(row);
  Value first = begin;
  Value isStored = s.op<arith::AndIOp>(s.compare(Comparison::ne, bit(s, place[1]), s.index(0)),
                                       s.compare(Comparison::lt, before, count));
  return conditional(
      s, isStored,
      [&](S &inner) {
        return inner.op<tensor::ExtractOp>(op.getValues(), ValueRange{inner.op<arith::AddIOp>(first, before)});
      },
      zero);
}

Value StoredElement::findInGroup() {
  auto axis = static_cast<int64_t>(*op.getAxis()), m = static_cast<int64_t>(*op.getM());
  int64_t groups = (op.getShape()[axis] + m - 1) / m,
          n = tensorType(op.getValues()).getDimSize(axis) / std::max<int64_t>(groups, 1);
  Value group = s.op<arith::DivUIOp>(place[axis], s.index(m)), within = s.op<arith::RemUIOp>(place[axis], s.index(m));
  Value first = s.op<arith::MulIOp>(group, s.index(n));
  return reduceLoop(s, s.index(n), zero, [&](S &step, Value position, Value found) {
    SmallVector<Value> at(place);
    at[axis] = step.op<arith::AddIOp>(first, position);
    Value hit = step.compare(Comparison::eq, read(step, op.getIndices(), at), within);
    return step.select(hit, step.op<tensor::ExtractOp>(op.getValues(), at), found);
  });
}

Value StoredElement::find(SparseFormat format) {
  switch (format) {
  case SparseFormat::csr:
  case SparseFormat::bsr:
    return findInRow();
  case SparseFormat::bitmap:
    return findBit();
  case SparseFormat::n_of_m:
    return findInGroup();
  }
  llvm_unreachable("all formats are handled");
}

FailureOr<Value> lowerSparseToDense(SparseToDenseOp op, PatternRewriter &rewriter) {
  RankedTensorType type = op.getResult().getType();
  Value init = createEmpty(rewriter, op.getLoc(), type, [](int64_t) { return Value(); });
  return createParallel(rewriter, op.getLoc(), {}, {}, init, [&](S &s, ValueRange) {
    return StoredElement(s, op).find(*parseSparseFormat(op.getFormat()));
  });
}

} // namespace

void populateSparse(RewritePatternSet &patterns) { addPattern<SparseToDenseOp>(patterns, lowerSparseToDense); }

} // namespace lathe::reference
