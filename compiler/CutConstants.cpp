//===- CutConstants.cpp - Parts of constants ------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/CutConstants.h"
#include "compiler/WeightValues.h"
#include "passes/quantization/Layers.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;

namespace lathe {
namespace {

using pruning::KeptElements;

RankedTensorType cutType(RankedTensorType type, const KeptElements &kept) {
  SmallVector<int64_t> shape(type.getShape());
  for (auto [axis, own] : llvm::enumerate(kept))
    if (own)
      shape[axis] = static_cast<int64_t>(own->size());
  return RankedTensorType::get(shape, type.getElementType());
}

/// Calls `body` with the place of each run of neighbouring elements that stays, and how many they are.
void forEachRun(ArrayRef<int64_t> shape, const KeptElements &kept, llvm::function_ref<void(int64_t, int64_t)> body,
                size_t axis = 0, int64_t place = 0) {
  bool isWhole = llvm::none_of(llvm::drop_begin(kept, axis), [](const auto &own) { return own.has_value(); });
  if (isWhole) {
    int64_t count = 1;
    for (int64_t extent : shape.drop_front(axis))
      count *= extent;
    body(place * count, count);
    return;
  }
  for (int64_t i = 0; i < (kept[axis] ? static_cast<int64_t>(kept[axis]->size()) : shape[axis]); ++i)
    forEachRun(shape, kept, body, axis + 1, place * shape[axis] + (kept[axis] ? (*kept[axis])[i] : i));
}

std::string keyOf(const KeptElements &kept) {
  std::string key;
  for (const auto &own : kept)
    key += own ? "[" +
                     llvm::utohexstr(llvm::xxh3_64bits(ArrayRef<uint8_t>(reinterpret_cast<const uint8_t *>(own->data()),
                                                                         own->size() * sizeof(int64_t)))) +
                     "," + std::to_string(own->size()) + "]"
               : "*";
  return key;
}

} // namespace

Value CutConstants::cutWeight(WeightOp weight, const KeptElements &kept) {
  auto type = cast<RankedTensorType>(weight.getType());
  RankedTensorType result = cutType(type, kept);
  // Types below 8 bits have a byte for each element.
  uint64_t width = std::max<uint64_t>(type.getElementTypeBitWidth() / 8, 1);
  std::string key = weight.getFile().str() + "@" + std::to_string(weight.getOffset()) + keyOf(kept);
  auto known = made.find(key);
  if (known == made.end()) {
    uint64_t size = static_cast<uint64_t>(type.getNumElements()) * width;
    const char *data = files.bytes(weight.getFile(), weight.getOffset(), size, error);
    if (!data) {
      error = "initializer '" + weight.getName().str() + "': " + error;
      return {};
    }
    std::vector<char> part;
    part.reserve(static_cast<size_t>(result.getNumElements()) * width);
    forEachRun(type.getShape(), kept, [&](int64_t begin, int64_t count) {
      part.insert(part.end(), data + begin * width, data + (begin + count) * width);
    });
    files.release(data, size);
    std::optional<uint64_t> offset = files.append(part.data(), part.size(), error);
    if (!offset)
      return {};
    known = made.try_emplace(key, *offset).first;
  }
  OpBuilder b(weight);
  b.setInsertionPointAfter(weight);
  return b.create<WeightOp>(weight.getLoc(), result, weight.getName(), kMadeFile, known->second);
}

Value CutConstants::cutSmall(ConstantOp constant, const KeptElements &kept) {
  auto type = cast<RankedTensorType>(constant.getType());
  auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!dense) {
    error = "node '" + compression::nodeOf(constant) + "': expected a dense constant";
    return {};
  }
  RankedTensorType result = cutType(type, kept);
  OpBuilder b(constant);
  b.setInsertionPointAfter(constant);
  if (dense.isSplat())
    return b.create<ConstantOp>(constant.getLoc(), result, dense.resizeSplat(result));
  SmallVector<Attribute> all(dense.getValues<Attribute>()), part;
  forEachRun(type.getShape(), kept,
             [&](int64_t begin, int64_t count) { part.append(all.begin() + begin, all.begin() + begin + count); });
  return b.create<ConstantOp>(constant.getLoc(), result, DenseElementsAttr::get(result, part));
}

Value CutConstants::scaled(Value constant, double factor) {
  std::optional<std::vector<float>> numbers = numbersOf(constant, files, error);
  if (!numbers) {
    if (error.empty())
      error = "expected a constant of floats";
    return {};
  }
  for (float &number : *numbers)
    number = static_cast<float>(number * factor);
  std::optional<uint64_t> offset = files.append(numbers->data(), numbers->size() * sizeof(float), error);
  if (!offset)
    return {};
  Operation *op = constant.getDefiningOp();
  auto weight = dyn_cast<WeightOp>(op);
  OpBuilder b(op);
  b.setInsertionPointAfter(op);
  auto type = RankedTensorType::get(cast<RankedTensorType>(constant.getType()).getShape(), b.getF32Type());
  return b.create<WeightOp>(op->getLoc(), type, weight ? weight.getName() : StringRef("gain"), kMadeFile, *offset);
}

Value CutConstants::cut(Value constant, const KeptElements &kept, double factor) {
  Value &known = values[{constant.getAsOpaquePointer(), keyOf(kept) + "*" + std::to_string(factor)}];
  if (known)
    return known;
  Operation *op = constant.getDefiningOp();
  Value part = constant;
  if (auto widened = dyn_cast<CastOp>(op)) {
    Value stored = cut(widened.getInput(), kept, 1);
    if (!stored)
      return {};
    OpBuilder b(op);
    b.setInsertionPointAfter(op);
    part = b.create<CastOp>(op->getLoc(), cutType(cast<RankedTensorType>(constant.getType()), kept), stored);
  } else if (llvm::any_of(kept, [](const auto &own) { return own.has_value(); })) {
    auto weight = dyn_cast<WeightOp>(op);
    part = weight ? cutWeight(weight, kept) : cutSmall(cast<ConstantOp>(op), kept);
  }
  if (part && factor != 1)
    part = scaled(part, factor);
  // Others may have been added meanwhile.
  return values[{constant.getAsOpaquePointer(), keyOf(kept) + "*" + std::to_string(factor)}] = part;
}

} // namespace lathe
