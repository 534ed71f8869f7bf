//===- Packed.cpp - Packed weights as constants ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Weights of less than a byte an element are expressions of the bytes that they are stored in: shifted, cut off, and moved. Since ONNX
// has constants of such types, and runtimes have little else for them, the expression's value is what is written.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Emitter.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// The elements of a tensor of integers of at most 8 bits, a byte each.
struct Elements {
  Ints shape;
  std::vector<uint8_t> values;
};

/// Calls `body` with the offset that each element of `shape`, in row-major order, has under `strides`.
template <typename Body> void forEachOffset(ArrayRef<int64_t> shape, ArrayRef<int64_t> strides, int64_t begin, Body body) {
  int64_t count = 1;
  for (int64_t dim : shape)
    count *= dim;
  Ints place(shape.size(), 0);
  int64_t offset = begin;
  for (int64_t i = 0; i < count; ++i) {
    body(offset);
    for (size_t axis = shape.size(); axis-- > 0;) {
      offset += strides[axis];
      if (++place[axis] < shape[axis])
        break;
      offset -= strides[axis] * shape[axis];
      place[axis] = 0;
    }
  }
}

Ints rowMajor(ArrayRef<int64_t> shape) {
  Ints strides(shape.size(), 1);
  for (size_t axis = shape.size(); axis-- > 1;)
    strides[axis - 1] = strides[axis] * shape[axis];
  return strides;
}

struct Evaluation {
  Emitter &emitter;
  const ExportOptions &options;
  unsigned depth = 0;

  std::optional<Elements> of(Value value);

private:
  std::optional<Elements> compute(Value value);
  std::optional<Elements> weight(WeightOp op);
  std::optional<Elements> slice(SliceOp op);
  std::optional<Elements> strided(Value input, ArrayRef<int64_t> shape, llvm::function_ref<Ints(ArrayRef<int64_t>)> strides);
  static int64_t width(Value value) { return Emitter::element(value).getIntOrFloatBitWidth(); }
};

std::optional<Elements> Evaluation::of(Value value) {
  constexpr unsigned kDeepest = 16;
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!type || !type.hasStaticShape() || !isa<IntegerType>(type.getElementType()) || width(value) > 8 || width(value) < 2 || depth > kDeepest)
    return std::nullopt;
  ++depth;
  std::optional<Elements> result = compute(value);
  --depth;
  return result;
}

std::optional<Elements> Evaluation::weight(WeightOp op) {
  auto type = cast<RankedTensorType>(op.getType());
  auto count = static_cast<uint64_t>(type.getNumElements());
  std::string error;
  const char *bytes = width(op.getResult()) == 8 && options.weightBytes ? options.weightBytes(op, count, error) : nullptr;
  if (!bytes)
    return std::nullopt;
  return Elements{Ints(type.getShape()), std::vector<uint8_t>(bytes, bytes + count)};
}

std::optional<Elements> Evaluation::strided(Value input, ArrayRef<int64_t> shape, llvm::function_ref<Ints(ArrayRef<int64_t>)> strides) {
  std::optional<Elements> from = of(input);
  if (!from)
    return std::nullopt;
  Elements result{Ints(shape), {}};
  forEachOffset(shape, strides(from->shape), 0, [&](int64_t offset) { result.values.push_back(from->values[offset]); });
  return result;
}

std::optional<Elements> Evaluation::slice(SliceOp op) {
  std::optional<Elements> from = of(op.getInput());
  if (!from)
    return std::nullopt;
  Ints strides = rowMajor(from->shape);
  int64_t begin = 0;
  for (auto [axis, start, step] : llvm::zip_equal(op.getAxes(), op.getStarts(), op.getSteps())) {
    std::optional<int64_t> first = Emitter::constantIndex(start);
    if (!first)
      return std::nullopt;
    int64_t extent = from->shape[axis];
    int64_t place = std::clamp(*first < 0 ? *first + extent : *first, int64_t(0), step < 0 ? extent - 1 : extent);
    begin += place * strides[axis];
    strides[axis] *= step;
  }
  Elements result{Ints(cast<RankedTensorType>(op.getType()).getShape()), {}};
  forEachOffset(result.shape, strides, begin, [&](int64_t offset) { result.values.push_back(from->values[offset]); });
  return result;
}

/// Strides of the result of broadcasting, 0 where an extent is repeated.
Ints broadcastStrides(ArrayRef<int64_t> from, ArrayRef<int64_t> to) {
  Ints own = rowMajor(from), strides(to.size(), 0);
  for (size_t i = 0; i < from.size(); ++i)
    if (from[i] != 1)
      strides[to.size() - from.size() + i] = own[i];
  return strides;
}

std::optional<Elements> Evaluation::compute(Value value) {
  ArrayRef<int64_t> shape = cast<RankedTensorType>(value.getType()).getShape();
  Operation *op = value.getDefiningOp();
  if (auto weightOp = dyn_cast_or_null<WeightOp>(op))
    return weight(weightOp);
  if (auto constant = dyn_cast_or_null<ConstantOp>(op)) {
    auto dense = dyn_cast<DenseElementsAttr>(constant.getValue());
    if (!dense)
      return std::nullopt;
    Elements result{Ints(shape), {}};
    for (const APInt &number : dense.getValues<APInt>())
      result.values.push_back(static_cast<uint8_t>(number.getZExtValue()));
    return result;
  }
  if (auto reshape = dyn_cast_or_null<ReshapeOp>(op)) {
    std::optional<Elements> result = of(reshape.getInput());
    if (result)
      result->shape = Ints(shape);
    return result;
  }
  if (auto transpose = dyn_cast_or_null<TransposeOp>(op))
    return strided(transpose.getInput(), shape, [&](ArrayRef<int64_t> from) {
      Ints own = rowMajor(from), strides;
      for (int64_t axis : transpose.getPermutation())
        strides.push_back(own[axis]);
      return strides;
    });
  if (auto broadcast = dyn_cast_or_null<BroadcastOp>(op))
    return strided(broadcast.getInput(), shape, [&](ArrayRef<int64_t> from) { return broadcastStrides(from, shape); });
  if (auto sliceOp = dyn_cast_or_null<SliceOp>(op))
    return slice(sliceOp);
  if (auto castOp = dyn_cast_or_null<CastOp>(op)) {
    std::optional<Elements> result = of(castOp.getInput());
    // Bits that are cut off; those that a wider type has more are another matter.
    if (!result || width(value) > width(castOp.getInput()))
      return std::nullopt;
    for (uint8_t &element : result->values)
      element &= (1u << width(value)) - 1;
    return result;
  }
  if (auto shift = dyn_cast_or_null<ShiftRightOp>(op); shift && Emitter::element(value).isUnsignedInteger(8)) {
    std::optional<Elements> a = of(shift.getLhs()), b = of(shift.getRhs());
    if (!a || !b)
      return std::nullopt;
    Elements result{Ints(shape), {}};
    std::vector<uint8_t> amounts;
    forEachOffset(shape, broadcastStrides(b->shape, shape), 0, [&](int64_t offset) { amounts.push_back(b->values[offset]); });
    forEachOffset(shape, broadcastStrides(a->shape, shape), 0, [&](int64_t offset) {
      unsigned amount = amounts[result.values.size()];
      result.values.push_back(amount < 8 ? static_cast<uint8_t>(a->values[offset] >> amount) : 0);
    });
    return result;
  }
  return std::nullopt;
}

/// The weight that an expression is of, for its name.
WeightOp weightOf(Value value) {
  for (Operation *op = value.getDefiningOp(); op; op = op->getOperand(0).getDefiningOp()) {
    if (auto weight = dyn_cast<WeightOp>(op))
      return weight;
    if (op->getNumOperands() == 0)
      break;
  }
  return {};
}

} // namespace

bool Emitter::emitPackedConstant(Operation *op) {
  auto type = op->getNumResults() == 1 ? dyn_cast<RankedTensorType>(op->getResult(0).getType()) : RankedTensorType();
  auto integer = type ? dyn_cast<IntegerType>(type.getElementType()) : IntegerType();
  if (!integer || integer.getWidth() < 2 || integer.getWidth() > 4 || !type.hasStaticShape() || isa<ConstantOp, WeightOp>(op))
    return false;
  Value result = op->getResult(0);
  std::optional<Elements> elements = Evaluation{*this, options}.of(result);
  if (!elements)
    return false;
  WeightOp weight = weightOf(result);
  std::string wanted = weight ? weight.getName().str() : base;
  owned.push_back(packElements(StringRef(reinterpret_cast<const char *>(elements->values.data()), elements->values.size()), integer));
  // Where that is what the weight's file holds it need not be in memory, too.
  std::string error;
  uint64_t size = owned.back().size();
  const char *bytes = nullptr;
  if (weight && cast<RankedTensorType>(weight.getType()).getNumElements() == static_cast<int64_t>(size))
    bytes = options.weightBytes(weight, size, error);
  if (bytes && StringRef(bytes, size) == owned.back())
    owned.pop_back();
  else
    bytes = owned.back().data();
  names[result] = initializer(type, bytes, size, wanted);
  wantedNames.emplace_back(names[result], wanted);
  return true;
}

} // namespace lathe::frontend
