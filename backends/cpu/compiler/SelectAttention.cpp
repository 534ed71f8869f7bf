//===- SelectAttention.cpp - Attention as a library call ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Passes.h"
#include "backends/cpu/compiler/Selector.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"

namespace lathe::cpu {

/// Attentions that the library does not have, or is not to be asked for, as what they stand for.
LogicalResult Selector::decomposeAttentions() {
  SmallVector<AttentionOp> ops;
  main.walk([&](AttentionOp op) {
    if (!library || !isLibraryAttention(op))
      ops.push_back(op);
  });
  for (AttentionOp op : ops) {
    OpBuilder builder(op);
    FailureOr<Value> result = decomposeAttention(builder, op);
    if (failed(result))
      return failure();
    op.getResult().replaceAllUsesWith(*result);
    op.erase();
  }
  return success();
}

LogicalResult Selector::emitCache(CacheOp op, const CacheCall &call) {
  SymShape dims = shape(op.getResult());
  std::optional<int64_t> heads = dims[1].constant(), size = dims[3].constant();
  Type type = cast<RankedTensorType>(op.getType()).getElementType();
  if (!heads || !size || !type.isF32())
    return op.emitError() << "expects a cache of f32 with fixed numbers of heads and columns, got " << op.getType();
  if (!cacheIndex.try_emplace(op.getName(), caches.size()).second)
    return op.emitError() << "expects each cache once, got '" << op.getName() << "' twice";
  auto index = static_cast<int64_t>(caches.size());
  NamedAttrList cache(dictionary({{"name", op.getNameAttr()},
                                  {"type", TypeAttr::get(op.getCodes().value_or(type))},
                                  {"heads", b.getI64IntegerAttr(*heads)},
                                  {"size", b.getI64IntegerAttr(*size)},
                                  {"appended", b.getBoolAttr(call.rows.has_value())}}));
  if (op.getCodes()) {
    cache.set("group", b.getI64IntegerAttr(op.getGroupSize()));
    cache.set("rotated", b.getBoolAttr(op.getRotated()));
  }
  caches.push_back(cache.getDictionary(b.getContext()));
  if (call.rows) {
    SmallVector<Value> sizes, view{host(call.rows->offset)};
    for (auto [dim, stride] : llvm::zip_equal(shape(op.getRows()), call.rows->strides)) {
      sizes.push_back(host(dim));
      view.push_back(host(stride));
    }
    SmallVector<Operation *> ops(call.rows->ops);
    ops.push_back(op);
    int64_t id = addKernel("cache_" + std::to_string(kernels.size()), "cache", ops);
    b.create<kernel::CacheAppendOp>(op.getLoc(), frame, index, sizes, buffer(call.rows->tensor), view, id);
  }
  if (call.isRead) {
    int64_t id = addKernel("cache_" + std::to_string(kernels.size()), "cache", {op});
    b.create<kernel::CacheReadOp>(op.getLoc(), frame, index, destination(op.getResult()), id);
  }
  return success();
}

/// Of three leading axes, the last of them the heads.
static constexpr size_t kLeading = 3;

/// Dimension of a leading axis; 1 where the tensor does not have it.
static SymExpr leadingOf(const SymShape &dims, size_t axis) {
  size_t missing = kLeading + 2 - dims.size();
  return axis < missing ? SymExpr(1) : dims[axis - missing];
}

void Selector::appendView(const SymExpr &offset, const SymShape &dims, ArrayRef<SymExpr> strides,
                          SmallVectorImpl<Value> &into) {
  into.push_back(host(offset));
  size_t missing = kLeading + 2 - dims.size();
  // An extent of 1 is read again and again; strides along it don't matter.
  for (size_t axis = 0; axis < kLeading + 2; ++axis)
    into.push_back(host(axis < missing || dims[axis - missing].isConstant(1) ? SymExpr(0) : strides[axis - missing]));
}

/// The operations that a call stands for.
static SmallVector<Operation *> operationsOf(AttentionOp op, const AttentionCall &call) {
  SmallVector<Operation *> ops;
  for (const TensorView *from : {&call.query, &call.key, &call.value})
    ops.append(from->ops);
  for (const TensorView &from : call.biases)
    ops.append(from.ops);
  ops.push_back(op);
  if (call.last != op)
    ops.push_back(call.last);
  return ops;
}

void Selector::emitAttention(AttentionOp op, const AttentionCall &call) {
  Location loc = op.getLoc();
  SymShape result = shape(op.getResult()), query = shape(op.getQuery()), key = shape(op.getKey()),
           value = shape(op.getValue());
  size_t rank = result.size();
  SymExpr keyHeads = leadingOf(key, kLeading - 1);
  if (keyHeads.isConstant(1))
    keyHeads = leadingOf(value, kLeading - 1);

  SmallVector<Value> sizes;
  for (size_t axis = 0; axis < kLeading; ++axis)
    sizes.push_back(host(leadingOf(result, axis)));
  for (const SymExpr &size : {keyHeads, result[rank - 2], key[key.size() - 2], query.back(), result.back()})
    sizes.push_back(host(size));
  SmallVector<Value> queryView, keyView, valueView, biasViews, outView, biases, positionsView;
  appendView(call.query.offset, query, call.query.strides, queryView);
  Value keyBuffer, valueBuffer, positions;
  auto keysOrValues = [&](OpOperand &use, const TensorView &from, Value &into, SmallVector<Value> &numbers) {
    if (readsCache(use))
      return b.getI64IntegerAttr(cacheIndex.at(use.get().getDefiningOp<CacheOp>().getName()));
    into = buffer(from.tensor);
    appendView(from.offset, shape(use.get()), from.strides, numbers);
    return IntegerAttr();
  };
  IntegerAttr keyCache = keysOrValues(op.getKeyMutable(), call.key, keyBuffer, keyView);
  IntegerAttr valueCache = keysOrValues(op.getValueMutable(), call.value, valueBuffer, valueView);
  if (op.getPositions()) {
    SymShape dims = shape(op.getPositions());
    SymExpr strides[2] = {dims[0].isConstant(1) ? SymExpr(0) : dims[1], SymExpr(dims[1].isConstant(1) ? 0 : 1)};
    positions = buffer(op.getPositions());
    positionsView = {host(SymExpr(0)), host(strides[0]), host(strides[1])};
  }
  for (auto [from, operand] : llvm::zip(call.biases, op.getBiases())) {
    appendView(from.offset, shape(operand), from.strides, biasViews);
    biases.push_back(buffer(from.tensor));
  }
  Value queryBuffer = buffer(call.query.tensor);
  Value stored = call.last->getResult(0);
  SmallVector<SymExpr, 5> strides = denseStrides(shape(stored));
  if (auto transpose = dyn_cast<TransposeOp>(call.last)) {
    SmallVector<int64_t> inverse = invertPermutationVector(transpose.getPermutation());
    strides = applyPermutation(ArrayRef<SymExpr>(strides), inverse);
  }
  appendView(SymExpr(0), result, strides, outView);
  Value out = destination(stored);
  SmallVector<Operation *> ops = operationsOf(op, call);
  int64_t id = addKernel("attention_" + std::to_string(kernels.size()), "attention", ops);
  describeResult(id, stored, ops);
  b.create<kernel::AttentionOp>(loc, frame, sizes, queryBuffer, queryView, keyBuffer, keyView, valueBuffer, valueView,
                                biases, biasViews, positions, positionsView, out, outView, id, op.getScale(),
                                op.getSoftcap().value_or(APFloat(0.0)), op.getZeroMasked(), op.getZeroNan(), keyCache,
                                valueCache, op.getWindow().value_or(0), op.getArithmeticAttr());
}

} // namespace lathe::cpu
