//===- SelectRounding.cpp - Rows that are rounded where they are computed -===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Selector.h"
#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "dialects/kernel/Kernel.h"
#include "runtime/Abi.h"

namespace lathe::cpu {
namespace {

/// Rows of a weight over which the sums of products stay integers, so that a row of the left side has one sum.
constexpr int64_t kMostSummed = 4096;
/// Bytes of a row that products read where they lie; of other lengths they are copied.
constexpr int64_t kLine = 64;

/// Whether a product rounds its left side by a scale for each row.
bool roundsRows(MatmulOp op) {
  auto rounding = op->getAttrOfType<DictionaryAttr>(kernel::kLhsQuantizationAttr);
  return rounding && !rounding.get("bytes") && rounding.getAs<IntegerAttr>("mode").getInt() == LATHE_QUANTIZE_ROWS;
}

/// Whether a product of integers takes what the bytes of a whole row add up to: its weight has one group.
bool readsSums(MatmulOp op) {
  int64_t k = cast<RankedTensorType>(op.getLhs().getType()).getShape().back();
  auto weight = op.getRhs().getDefiningOp<WeightOp>();
  auto content = weight ? weight->getAttrOfType<DictionaryAttr>(kernel::kCompressedAttr) : DictionaryAttr();
  auto group = content ? content.getAs<IntegerAttr>("group") : IntegerAttr();
  return group && group.getInt() >= k && k <= kMostSummed && k % kLine == 0;
}

/// What is as soon computed again as read, or is a norm, of which elements are cheap once its row is known.
bool isSoonComputed(Operation *op) {
  return isa<LayerNormOp, RmsNormOp, AddOp, SubOp, MulOp, NegOp, AbsOp, MaxOp, MinOp, ReluOp, CastOp>(op);
}

} // namespace

void Selector::findRoundedRows() {
  if (!fuse || device)
    return;
  main.walk([&](MatmulOp op) {
    auto it = grouping.matmuls.find(op);
    if (it == grouping.matmuls.end() || !roundsRows(op))
      return;
    Value x = it->second.lhs.tensor;
    auto type = cast<RankedTensorType>(x.getType());
    Operation *producer = x.getDefiningOp();
    // Others' results, such as products', are not computed row by row.
    if (!producer || !grouping.kernels.count(producer) || isScatter(producer) || producer->getNumResults() != 1 ||
        !type.getElementType().isF32() || type.isDynamicDim(type.getRank() - 1) || type.getShape().back() < 2)
      return;
    RoundedRows &rows = rounded[x];
    rows.hasSums |= readsSums(op);
    // What nothing but such products reads is nowhere stored as numbers.
    rows.isStored = !llvm::all_of(x.getUses(), [&](OpOperand &use) {
      auto product = dyn_cast<MatmulOp>(use.getOwner());
      auto own = product ? grouping.matmuls.find(product) : grouping.matmuls.end();
      return own != grouping.matmuls.end() && use.getOperandNumber() == 0 && product.getRhs() != x &&
             own->second.lhs.tensor == x && roundsRows(product);
    }) || !llvm::all_of(grouping.kernels[producer], isSoonComputed);
  });
}

void Selector::roundRows(func::FuncOp group, const RoundedRows &rounding) {
  using reference::createParallel;
  using S = reference::ScalarBuilder;
  Operation *terminator = group.getBody().front().getTerminator();
  Value x = terminator->getOperand(0);
  OpBuilder body(terminator);
  Location loc = group.getLoc();
  auto type = cast<RankedTensorType>(x.getType());
  Type f32 = body.getF32Type(), i32 = body.getI32Type(), i8 = body.getIntegerType(8);
  int64_t rank = type.getRank();
  AffineMap whole = body.getMultiDimIdentityMap(rank), ofRow = whole.dropResult(rank - 1);
  auto empty = [&](Type element, int64_t axes, int64_t last) {
    SmallVector<int64_t> shape(type.getShape().take_front(axes));
    if (axes == rank)
      shape.back() = last;
    return reference::createEmpty(body, loc, RankedTensorType::get(shape, element),
                                  [&](int64_t axis) { return reference::extentOf(body, loc, x, axis); });
  };
  auto reduce = [&](Value input, TypedAttr first, reference::Body combine) {
    SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
    iterators.back() = utils::IteratorType::reduction;
    Value init = reference::createFilled(body, loc, empty(first.getType(), rank - 1, 0), first);
    return reference::createGeneric(body, loc, input, whole, init, ofRow, iterators, combine);
  };
  // One number for each row, with a last axis.
  auto perRow = [&](Value rows, reference::Body compute) {
    return createParallel(body, loc, rows, ofRow,
                          empty(cast<RankedTensorType>(rows.getType()).getElementType(), rank, 1), compute);
  };
  auto scaleOf = [&](S &s, Value largest) { return s.div(largest, s.number(f32, 127)); };
  // Of rows that are zeros, or next to nothing, the scale is a normal number and so is one over it. A number that is
  // none counts for nothing.
  constexpr float kLeast = 1e-35f;
  Value largest = reduce(x, body.getF32FloatAttr(kLeast), [](S &s, ValueRange of) {
    return s.op<arith::MaxNumFOp>(of[1], s.op<math::AbsFOp>(of[0]), arith::FastMathFlags::nsz);
  });
  Value scales = perRow(largest, [&](S &s, ValueRange of) { return scaleOf(s, of[0]); });
  // A division for each row, not for each element.
  Value inverses = createParallel(body, loc, largest, body.getMultiDimIdentityMap(rank - 1), empty(f32, rank - 1, 0),
                                  [&](S &s, ValueRange of) { return s.div(s.number(f32, 1), scaleOf(s, of[0])); });
  Value bytes = createParallel(
      body, loc, {x, inverses}, {whole, ofRow}, empty(i8, rank, type.getShape().back()), [&](S &s, ValueRange of) {
        Value value = s.op<math::RoundEvenOp>(s.mul(of[0], of[1])), low = s.number(f32, -128),
              high = s.number(f32, 127);
        value =
            s.select(s.op<arith::CmpFOp>(arith::CmpFPredicate::OGT, value, low), value, low); // also what is no number
        value = s.select(s.op<arith::CmpFOp>(arith::CmpFPredicate::OLT, value, high), value, high);
        return s.op<arith::TruncIOp>(i8, s.op<arith::FPToSIOp>(i32, value));
      });
  SmallVector<Value> results{bytes, scales};
  if (rounding.hasSums) {
    Value sums = reduce(bytes, body.getI32IntegerAttr(0), [&](S &s, ValueRange of) {
      return s.op<arith::AddIOp>(of[1], s.op<arith::ExtSIOp>(i32, of[0]));
    });
    results.push_back(perRow(sums, [](S &, ValueRange of) { return of[0]; }));
  }
  if (rounding.isStored)
    results.push_back(x);
  terminator->setOperands(results);
  group.setFunctionType(FunctionType::get(context, group.getArgumentTypes(), terminator->getOperandTypes()));
}

SmallVector<Value> Selector::allocRoundedRows(Value x, RoundedRows &rows) {
  auto type = bufferType(cast<RankedTensorType>(x.getType()));
  SmallVector<int64_t> shape(type.getShape());
  SmallVector<Value> dims = dynamicDims(x);
  auto alloc = [&](Type element) -> Value {
    return b.create<kernel::AllocOp>(x.getLoc(), MemRefType::get(shape, element), dims);
  };
  rows.bytes = alloc(b.getIntegerType(8));
  shape.back() = 1;
  rows.scales = alloc(b.getF32Type());
  if (rows.hasSums)
    rows.sums = alloc(b.getI32Type());
  SmallVector<Value> buffers{rows.bytes, rows.scales};
  if (rows.sums)
    buffers.push_back(rows.sums);
  return buffers;
}

} // namespace lathe::cpu
