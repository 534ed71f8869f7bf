//===- ActivationSteps.cpp - What products read, in fewer bits ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ActivationSteps.h"
#include "dialects/lathe/ValueNames.h"

using namespace mlir;

namespace lathe {

using compression::Layer;

namespace {

/// Creates an operation whose result has the given element type and the shape that its operands give.
template <typename OpTy, typename... Args> Value make(OpBuilder &b, Location loc, RankedTensorType type, Args &&...args) {
  return b.create<OpTy>(loc, type, std::forward<Args>(args)...).getResult();
}

/// x rounded to 8 bits, integers or E4M3, by a scale for each row, and back (Yao et al. 2022, ZeroQuant, section 3.2: token-wise).
Value roundRows(OpBuilder &b, Value x, bool floats) {
  auto type = cast<RankedTensorType>(x.getType());
  Location loc = withoutValue(x.getLoc());
  int64_t last = type.getRank() - 1;
  SmallVector<int64_t> shape(type.getShape());
  shape[last] = 1;
  RankedTensorType rows = RankedTensorType::get(shape, type.getElementType());
  auto number = [&](float value) -> Value {
    auto scalar = RankedTensorType::get({}, b.getF32Type());
    return b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, value));
  };
  constexpr float kLeast = 1e-30f; // rows of zeros stay zeros
  const float largestCode = floats ? 448 : 127;
  Type code = floats ? Type(b.getFloat8E4M3FNType()) : Type(b.getIntegerType(8));
  Value largest = make<ReduceOp>(b, loc, rows, ReductionAttr::get(b.getContext(), Reduction::max), make<AbsOp>(b, loc, type, x), b.getDenseI64ArrayAttr({last}), b.getUnitAttr());
  Value scale = make<DivOp>(b, loc, rows, make<MaxOp>(b, loc, rows, largest, number(kLeast)), number(largestCode));
  auto axis = b.getI64IntegerAttr(last), block = b.getI64IntegerAttr(type.getDimSize(last));
  Value q = make<QuantizeOp>(b, loc, type.clone(code), x, scale, Value(), axis, block, UnitAttr());
  return make<DequantizeOp>(b, loc, type, q, scale, Value(), axis, block);
}

/// x rounded to integers of 8 bits by one scale that calibration found, and back.
Value roundTensor(OpBuilder &b, Value x, const quantization::ActivationRange &range, bool symmetric) {
  auto type = cast<RankedTensorType>(x.getType());
  Location loc = withoutValue(x.getLoc());
  auto scalar = [&](Type element) { return RankedTensorType::get({}, element); };
  Value scale = b.create<ConstantOp>(loc, scalar(b.getF32Type()), DenseElementsAttr::get(scalar(b.getF32Type()), range.scale)), zero;
  Type code = symmetric ? b.getIntegerType(8) : b.getIntegerType(8, /*isSigned=*/false);
  if (!symmetric)
    zero = b.create<ConstantOp>(loc, scalar(code), DenseElementsAttr::get(scalar(code), static_cast<uint8_t>(range.zeroPoint)));
  Value q = make<QuantizeOp>(b, loc, type.clone(code), x, scale, zero, IntegerAttr(), IntegerAttr(), UnitAttr());
  return make<DequantizeOp>(b, loc, type, q, scale, zero, IntegerAttr(), IntegerAttr());
}

} // namespace

bool roundsToFloats(const quantization::Format &format) {
  return format.kind == quantization::CodeKind::E4M3FN || format.kind == quantization::CodeKind::E5M2;
}

void roundActivations(const Layer &layer, const quantization::ActivationRange *range, bool symmetric, bool floats, Replaced &rounded) {
  for (MatmulOp product : layer.products) {
    Value x = product.getLhs();
    if (!layer.readsRows(product))
      continue;
    Value &own = rounded[x];
    if (!own) {
      OpBuilder b(product->getContext());
      b.setInsertionPointAfterValue(x);
      own = range ? roundTensor(b, x, *range, symmetric) : roundRows(b, x, floats);
    }
    product.getLhsMutable().assign(own);
  }
}

bool addOutlierPath(const Layer &layer, const std::vector<float> &dense, const compression::MakeConstant &make, OutlierPath &path) {
  auto count = static_cast<int64_t>(path.inputs.size());
  auto bytesOf = [](const auto &values) {
    return ArrayRef<char>(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(values[0]));
  };
  std::vector<float> apart, mask(layer.inputs, 1.0f);
  for (int64_t input : path.inputs) {
    mask[input] = 0;
    for (int64_t output = 0; output < layer.outputs; ++output)
      apart.push_back(dense[output * layer.inputs + input]);
  }
  for (MatmulOp product : layer.products) {
    Value x = product.getLhs();
    OpBuilder b(product);
    Location whole = product.getLoc(), loc = withoutValue(whole);
    auto f32 = b.getF32Type();
    Value &masked = path.masked[x], &gathered = path.gathered[x];
    if (!masked) {
      b.setInsertionPointAfterValue(x);
      auto type = cast<RankedTensorType>(x.getType());
      SmallVector<int64_t> shape(type.getShape());
      shape.back() = count;
      auto indexType = RankedTensorType::get({count}, b.getI64Type());
      Value indices = b.create<ConstantOp>(loc, indexType, DenseElementsAttr::get(indexType, ArrayRef<int64_t>(path.inputs)));
      gathered = b.create<GatherOp>(loc, type.clone(shape), x, indices, b.getI64IntegerAttr(type.getRank() - 1));
      Value factors = make(b, loc, RankedTensorType::get({layer.inputs}, f32), layer.name + ".mask", bytesOf(mask));
      if (!factors)
        return false;
      masked = b.create<MulOp>(loc, type, x, factors);
    }
    b.setInsertionPoint(product);
    Value weight = make(b, loc, RankedTensorType::get({count, layer.outputs}, f32), layer.name + ".apart", bytesOf(apart));
    if (!weight)
      return false;
    Value added = b.create<MatmulOp>(loc, product.getType(), gathered, weight, /*transpose_lhs=*/false, /*transpose_rhs=*/false);
    b.setInsertionPointAfter(product);
    product->setLoc(loc); // the sum is what it was
    auto sum = b.create<AddOp>(whole, product.getType(), product.getResult(), added);
    product.getResult().replaceAllUsesExcept(sum, sum);
    product.getLhsMutable().assign(masked);
  }
  return true;
}

} // namespace lathe
