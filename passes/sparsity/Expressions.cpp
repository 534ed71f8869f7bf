//===- Expressions.cpp - Weights with zeros as expressions ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/sparsity/Expressions.h"

using namespace mlir;

namespace lathe::sparsity {

bool replaceBySparse(Value weight, StringRef name, const Stored &stored, const compression::MakeConstant &make) {
  auto type = cast<RankedTensorType>(weight.getType());
  SmallVector<OpOperand *> uses;
  for (OpOperand &use : weight.getUses())
    uses.push_back(&use);
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  Location loc = weight.getLoc();
  auto indexType = b.getIntegerType(static_cast<unsigned>(stored.indexBits), /*isSigned=*/false);
  Value values = make(b, loc, RankedTensorType::get(stored.valueShape, type.getElementType()), (name + ".values").str(),
                      stored.values);
  Value indices = values ? make(b, loc, RankedTensorType::get(stored.indexShape, indexType), (name + ".indices").str(),
                                stored.indices)
                         : Value();
  Value pointers;
  bool hasPointers = stored.format != SparseFormat::n_of_m;
  if (indices && hasPointers) {
    ArrayRef<char> bytes(reinterpret_cast<const char *>(stored.pointers.data()),
                         stored.pointers.size() * sizeof(int32_t));
    pointers = make(b, loc, RankedTensorType::get({static_cast<int64_t>(stored.pointers.size())}, b.getI32Type()),
                    (name + ".pointers").str(), bytes);
  }
  if (!indices || (hasPointers && !pointers))
    return false;
  bool isBlocks = stored.format == SparseFormat::bsr;
  for (OpOperand *use : uses) {
    b.setInsertionPoint(use->getOwner());
    use->set(b.create<SparseToDenseOp>(loc, type, b.getStringAttr(nameOf(stored.format)), values, indices, pointers,
                                       b.getDenseI64ArrayAttr({stored.rows, stored.columns}),
                                       isBlocks ? b.getDenseI64ArrayAttr({stored.block[0], stored.block[1]})
                                                : DenseI64ArrayAttr(),
                                       hasPointers ? IntegerAttr() : b.getI64IntegerAttr(stored.m),
                                       hasPointers ? IntegerAttr() : b.getI64IntegerAttr(stored.axis)));
  }
  return true;
}

} // namespace lathe::sparsity
