//===- SparseWeight.cpp - Weights that stay sparse ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/CompressedWeight.h"
#include "dialects/lathe/Sparse.h"
#include "runtime/SparseLayout.h"

using namespace mlir;

namespace lathe::cpu {
namespace {

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The matrix that is stored, behind what is done to its elements, and the scales of its integers.
struct Source {
  SparseToDenseOp stored;
  Value scale;
  int64_t group = 0;
};

std::optional<Source> sourceOf(Value dense, int64_t kAxis, int64_t k) {
  Source source;
  if (auto widened = dense.getDefiningOp<CastOp>()) {
    source.stored = widened.getInput().getDefiningOp<SparseToDenseOp>();
    return source.stored && isa<FloatType>(tensorType(widened.getInput()).getElementType()) ? std::optional(source)
                                                                                            : std::nullopt;
  }
  auto scaled = dense.getDefiningOp<DequantizeOp>();
  if (!scaled) {
    source.stored = dense.getDefiningOp<SparseToDenseOp>();
    return source.stored ? std::optional(source) : std::nullopt;
  }
  source.stored = scaled.getInput().getDefiningOp<SparseToDenseOp>();
  source.scale = scaled.getScale();
  source.group = k;
  if (scaled.getAxis() && scaled.getBlockSize()) {
    if (static_cast<int64_t>(*scaled.getAxis()) != kAxis)
      return std::nullopt;
    source.group = std::min<int64_t>(static_cast<int64_t>(*scaled.getBlockSize()), k);
  } else if (scaled.getAxis() && static_cast<int64_t>(*scaled.getAxis()) == kAxis) {
    return std::nullopt;
  }
  Type scale = tensorType(source.scale).getElementType();
  bool isScale = scale.isF32() || scale.isF16() || scale.isBF16();
  // A zero that is not stored stands for 0.
  return source.stored && isScale && !scaled.getZeroPoint() ? std::optional(source) : std::nullopt;
}

runtime::SparseValues valuesOf(Type type) {
  return type.isF32()    ? runtime::SparseValues::f32
         : type.isF16()  ? runtime::SparseValues::f16
         : type.isBF16() ? runtime::SparseValues::bf16
                         : runtime::SparseValues::i8;
}

} // namespace

DictionaryAttr sparseContent(Value dense, bool transposed) {
  Builder b(dense.getContext());
  auto type = tensorType(dense);
  if (type.getRank() != 2 || !type.hasStaticShape() || !type.getElementType().isF32() || type.getNumElements() == 0)
    return {};
  int64_t kAxis = transposed ? 1 : 0, k = type.getDimSize(kAxis), n = type.getDimSize(1 - kAxis);
  std::optional<Source> source = sourceOf(dense, kAxis, k);
  if (!source)
    return {};
  SparseToDenseOp stored = source->stored;
  runtime::SparseLayout layout;
  layout.k = k;
  layout.n = n;
  layout.values = valuesOf(tensorType(stored.getValues()).getElementType());
  layout.group = source->group;
  std::string why;
  if (!layout.valid(&why))
    return {};
  NamedAttrList entry;
  entry.set("type", TypeAttr::get(type));
  entry.set("packed", b.getBoolAttr(true));
  entry.set("transposed", b.getBoolAttr(transposed));
  entry.set("sparse", stored.getFormatAttr());
  entry.set("group", b.getI64IntegerAttr(source->group));
  if (stored.getBlockAttr())
    entry.set("block", stored.getBlockAttr());
  if (stored.getMAttr())
    entry.set("m", stored.getMAttr());
  if (stored.getAxisAttr())
    entry.set("axis", stored.getAxisAttr());
  const std::pair<StringRef, Value> parts[] = {{"stored", stored.getValues()},
                                               {"indices", stored.getIndices()},
                                               {"pointers", stored.getPointers()},
                                               {"scale", source->scale}};
  for (auto [name, value] : parts) {
    if (!value)
      continue;
    DictionaryAttr part = constantSource(value);
    if (!part || tensorType(value).getNumElements() == 0)
      return {};
    entry.set(name, part);
  }
  return entry.getDictionary(dense.getContext());
}

} // namespace lathe::cpu
