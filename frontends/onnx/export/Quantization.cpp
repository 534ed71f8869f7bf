//===- Quantization.cpp - Scaled values as nodes --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Compute.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Parameters of blocks, [.., ceil(n / size), ..], for each element along the axis, [.., n, ..].
Name spread(Emitter &e, const Name &parameter, Value like, int64_t axis, int64_t size, int64_t rank) {
  Ints ones(rank + 1, 1), merged(rank, 0);
  ones[axis + 1] = size;
  merged[axis] = -1;
  Name wide = e.node("Expand", {e.unsqueeze(parameter, {axis + 1}), e.ints(ones)});
  // Dimensions around the axis may be 0, where none can be left to follow.
  Names dims;
  for (int64_t i = 0; i < rank; ++i) {
    Name extent = e.extent(parameter, i);
    dims.push_back(i == axis ? e.binary("Mul", extent, e.ints({size})) : extent);
  }
  Name flat = e.node("Reshape", {wide, e.concat(dims, 0)}, {{"allowzero", int64_t(1)}});
  return e.node("Slice", {flat, e.ints({0}), e.extent(e.of(like), axis), e.ints({axis})});
}

/// A scale or zero point as it broadcasts to the input.
Name alongInput(Emitter &e, Value parameter, const Name &name, Value input, std::optional<int64_t> axis, std::optional<int64_t> block) {
  int64_t rank = Emitter::rank(input);
  if (block)
    return spread(e, name, input, *axis, *block, rank);
  if (Emitter::rank(parameter) == 0 || !axis)
    return name;
  Ints dims(rank, 1);
  dims[*axis] = -1;
  return *axis == rank - 1 ? name : e.node("Reshape", {name, e.ints(dims)});
}

bool isHalfByte(Type type) {
  auto integer = dyn_cast<IntegerType>(type);
  return integer && integer.getWidth() > 1 && integer.getWidth() < 8;
}

/// Whether the nodes have the type at all, and not another in its place.
bool isOwnType(Type type) {
  auto integer = dyn_cast<IntegerType>(type);
  return !type.isFloat8E4M3() && !(integer && (integer.getWidth() == 2 || integer.getWidth() == 3));
}

template <typename OpTy> NodeAttribute axisOf(OpTy op) { return {"axis", static_cast<int64_t>(op.getAxis().value_or(1))}; }
template <typename OpTy> NodeAttribute blockOf(OpTy op) { return {"block_size", static_cast<int64_t>(op.getBlockSize().value_or(0))}; }

LogicalResult emitDequantize(Emitter &e, DequantizeOp op) {
  Type codes = Emitter::element(op.getInput()), scale = Emitter::element(op.getScale()), result = Emitter::element(op.getResult());
  Value zero = op.getZeroPoint();
  bool wideInteger = codes.isInteger() && codes.getIntOrFloatBitWidth() == 32;
  std::optional<int64_t> axis, block;
  if (op.getAxis())
    axis = *op.getAxis();
  if (op.getBlockSize())
    block = *op.getBlockSize();
  bool isNode = (!zero || (Emitter::element(zero) == codes && !wideInteger)) && !codes.isFloat8E4M3() && !scale.isF64() &&
                (codes.isSignlessInteger() || !wideInteger);
  if (isNode) {
    e.need(isHalfByte(codes) || block || codes.getIntOrFloatBitWidth() == 16 ? 21 : 19);
    Names inputs{e.of(op.getInput()), e.of(op.getScale())};
    if (zero)
      inputs.push_back(e.of(zero));
    Name value = block  ? e.node("DequantizeLinear", inputs, {axisOf(op), blockOf(op)})
                 : axis ? e.node("DequantizeLinear", inputs, {axisOf(op)})
                        : e.node("DequantizeLinear", inputs);
    e.define(op.getResult(), e.cast(value, scale, result));
    return success();
  }
  Type wide = result.isF64() || scale.isF64() ? Type(e.builder().getF64Type()) : Type(e.builder().getF32Type());
  Name value = e.cast(e.of(op.getInput()), codes, wide);
  if (zero)
    value = e.binary("Sub", value, alongInput(e, zero, e.cast(e.of(zero), Emitter::element(zero), wide), op.getInput(), axis, block));
  value = e.binary("Mul", value, alongInput(e, op.getScale(), e.cast(e.of(op.getScale()), scale, wide), op.getInput(), axis, block));
  e.define(op.getResult(), e.cast(value, wide, result));
  return success();
}

LogicalResult emitQuantize(Emitter &e, QuantizeOp op) {
  Type codes = Emitter::element(op.getResult()), scale = Emitter::element(op.getScale());
  Value zero = op.getZeroPoint();
  auto integer = dyn_cast<IntegerType>(codes);
  if (isOwnType(codes) && !scale.isF64() && !scale.isBF16()) {
    bool block = op.getBlockSize().has_value(), axis = op.getAxis().has_value();
    e.need(isHalfByte(codes) || block || codes.getIntOrFloatBitWidth() == 16 ? 21 : 19);
    Names inputs{e.of(op.getInput()), e.of(op.getScale())};
    NodeAttribute saturate{"saturate", int64_t(!op.getOverflows())};
    if (zero) {
      inputs.push_back(e.of(zero));
    } else if (codes.isUnsignedInteger(8)) {
      // What nodes without a zero point give.
    } else {
      // Its type says which one the result has; a scalar's is found by its shape alone.
      Name one = e.constant(cast<DenseElementsAttr>(Builder(op.getContext()).getZeroAttr(RankedTensorType::get({}, codes))));
      if (Emitter::rank(op.getScale()) > 0)
        one = e.node("Expand", {one, e.node("Shape", {e.of(op.getScale())})});
      inputs.push_back(one);
    }
    Name value = block  ? e.node("QuantizeLinear", inputs, {axisOf(op), blockOf(op), saturate})
                 : axis ? e.node("QuantizeLinear", inputs, {axisOf(op), saturate})
                        : e.node("QuantizeLinear", inputs, {saturate});
    e.define(op.getResult(), value);
    return success();
  }
  if (!integer)
    return e.fail(op, "values quantized to this type");
  std::optional<int64_t> axis, block;
  if (op.getAxis())
    axis = *op.getAxis();
  if (op.getBlockSize())
    block = *op.getBlockSize();
  Type type = scale.isF64() ? scale : Type(e.builder().getF32Type());
  auto parameter = [&](Value value) {
    return alongInput(e, value, e.cast(e.of(value), Emitter::element(value), type), op.getInput(), axis, block);
  };
  Name quotient = e.binary("Div", e.cast(e.of(op.getInput()), scale, type), parameter(op.getScale()));
  Name value = e.node("Round", {e.cast(e.cast(quotient, type, scale), scale, type)});
  if (zero)
    value = e.binary("Add", value, parameter(zero));
  unsigned bits = integer.getWidth() - (integer.isUnsigned() ? 0 : 1);
  double highest = static_cast<double>((int64_t(1) << bits) - 1), lowest = integer.isUnsigned() ? 0 : -highest - 1;
  value = e.node("Clip", {value, e.number(type, lowest), e.number(type, highest)});
  e.define(op.getResult(), e.cast(value, type, codes));
  return success();
}

} // namespace

LogicalResult Emitter::emitQuantization(Operation *op) {
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](DequantizeOp dequantize) { return emitDequantize(*this, dequantize); })
      .Case([&](QuantizeOp quantize) { return emitQuantize(*this, quantize); })
      .Default([&](Operation *) { return failure(); });
}

} // namespace lathe::frontend
