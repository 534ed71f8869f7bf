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

void Selector::emitAttention(AttentionOp op, const AttentionCall &call) {
  constexpr size_t kLeading = 3;
  Location loc = op.getLoc();
  SymShape result = shape(op.getResult()), query = shape(op.getQuery()), key = shape(op.getKey()),
           value = shape(op.getValue());
  size_t rank = result.size();
  /// Dimension of a leading axis, of three that end with the heads.
  auto leading = [](const SymShape &dims, size_t axis) {
    size_t missing = kLeading + 2 - dims.size();
    return axis < missing ? SymExpr(1) : dims[axis - missing];
  };
  SymExpr keyHeads = leading(key, kLeading - 1);
  if (keyHeads.isConstant(1))
    keyHeads = leading(value, kLeading - 1);

  SmallVector<Value> sizes;
  for (size_t axis = 0; axis < kLeading; ++axis)
    sizes.push_back(host(leading(result, axis)));
  for (const SymExpr &size : {keyHeads, result[rank - 2], key[key.size() - 2], query.back(), result.back()})
    sizes.push_back(host(size));
  // An extent of 1 is read again and again; strides along it don't matter.
  auto indices = [&](const SymExpr &offset, const SymShape &dims, ArrayRef<SymExpr> strides,
                     SmallVectorImpl<Value> &into) {
    into.push_back(host(offset));
    size_t missing = kLeading + 2 - dims.size();
    for (size_t axis = 0; axis < kLeading + 2; ++axis)
      into.push_back(host(axis < missing || dims[axis - missing].isConstant(1) ? SymExpr(0) : strides[axis - missing]));
  };
  auto view = [&](const TensorView &from, Value operand) {
    SmallVector<Value> numbers;
    indices(from.offset, shape(operand), from.strides, numbers);
    return numbers;
  };
  SmallVector<Value> queryView = view(call.query, op.getQuery()), keyView = view(call.key, op.getKey()),
                     valueView = view(call.value, op.getValue()), biasViews, outView, biases;
  for (auto [from, operand] : llvm::zip(call.biases, op.getBiases())) {
    indices(from.offset, shape(operand), from.strides, biasViews);
    biases.push_back(buffer(from.tensor));
  }
  Value queryBuffer = buffer(call.query.tensor), keyBuffer = buffer(call.key.tensor),
        valueBuffer = buffer(call.value.tensor);
  Value stored = call.last->getResult(0);
  SmallVector<SymExpr, 5> strides = denseStrides(shape(stored));
  if (auto transpose = dyn_cast<TransposeOp>(call.last)) {
    SmallVector<int64_t> inverse = invertPermutationVector(transpose.getPermutation());
    strides = applyPermutation(ArrayRef<SymExpr>(strides), inverse);
  }
  indices(SymExpr(0), result, strides, outView);
  Value out = destination(stored);

  SmallVector<Operation *> ops;
  for (const TensorView *from : {&call.query, &call.key, &call.value})
    ops.append(from->ops);
  for (const TensorView &from : call.biases)
    ops.append(from.ops);
  ops.push_back(op);
  if (call.last != op)
    ops.push_back(call.last);
  int64_t id = addKernel("attention_" + std::to_string(kernels.size()), "attention", ops);
  b.create<kernel::AttentionOp>(loc, frame, sizes, queryBuffer, queryView, keyBuffer, keyView, valueBuffer, valueView,
                                biases, biasViews, out, outView, id, op.getScale(),
                                op.getSoftcap().value_or(APFloat(0.0)), op.getZeroMasked(), op.getZeroNan());
}

} // namespace lathe::cpu
