//===- Quantization.cpp - Scaled values as nodes --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Compute.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Parameters of blocks, [.., ceil(n / size), ..], for each element along the axis, [.., n, ..].
Name spread(Emitter &e, const Name &parameter, Value like, int64_t axis, int64_t size) {
  auto type = cast<RankedTensorType>(like.getType());
  int64_t rank = type.getRank();
  Ints ones(rank + 1, 1);
  ones[axis + 1] = size;
  Name wide = e.node("Expand", {e.unsqueeze(parameter, {axis + 1}), e.ints(ones)});
  // Written out where it is not known: where another dimension is 0, none can be left to follow.
  Names dims;
  Ints known;
  for (int64_t i = 0; i < rank; ++i) {
    if (!type.isDynamicDim(i)) {
      known.push_back(i == axis ? (type.getDimSize(i) + size - 1) / size * size : type.getDimSize(i));
      dims.push_back(e.ints({known.back()}));
      continue;
    }
    Name extent = e.extent(parameter, i);
    dims.push_back(i == axis ? e.binary("Mul", extent, e.ints({size})) : extent);
  }
  Name shape = type.hasStaticShape() ? e.ints(known) : e.concat(dims, 0);
  Name flat = e.node("Reshape", {wide, shape}, {{"allowzero", int64_t(1)}});
  if (!type.isDynamicDim(axis) && type.getDimSize(axis) % size == 0)
    return flat;
  Name end = type.isDynamicDim(axis) ? e.extent(e.of(like), axis) : e.ints({type.getDimSize(axis)});
  return e.node("Slice", {flat, e.ints({0}), end, e.ints({axis})});
}

/// A scale or zero point as it broadcasts to the input.
Name alongInput(Emitter &e, Value parameter, const Name &name, Value input, std::optional<int64_t> axis, std::optional<int64_t> block) {
  int64_t rank = Emitter::rank(input);
  if (block)
    return spread(e, name, input, *axis, *block);
  if (Emitter::rank(parameter) == 0 || !axis)
    return name;
  Ints dims(rank, 1);
  dims[*axis] = -1;
  return *axis == rank - 1 ? name : e.node("Reshape", {name, e.ints(dims)});
}

/// Whether nodes have the type as it is, and not another in its place.
bool isOwnType(Type type) { return !type.isFloat8E4M3() && (!sharesBytes(type) || type.getIntOrFloatBitWidth() == 4); }

/// The operator set that nodes for the type and in blocks came with.
int64_t opsetFor(Type codes, bool blocks) {
  return std::max<int64_t>(opsetOf(codes), blocks || codes.getIntOrFloatBitWidth() == 16 ? 21 : 19);
}

std::optional<int64_t> toInt(std::optional<uint64_t> value) {
  return value ? std::optional<int64_t>(static_cast<int64_t>(*value)) : std::nullopt;
}

template <typename OpTy> NodeAttribute axisOf(OpTy op) { return {"axis", static_cast<int64_t>(op.getAxis().value_or(1))}; }
template <typename OpTy> NodeAttribute blockOf(OpTy op) { return {"block_size", static_cast<int64_t>(op.getBlockSize().value_or(0))}; }

/// The type that scaled values are computed in.
template <typename OpTy> Type scaledType(Emitter &e, OpTy op) {
  bool isDouble = Emitter::element(op.getResult()).isF64() || Emitter::element(op.getScale()).isF64();
  return isDouble ? Type(e.builder().getF64Type()) : Type(e.builder().getF32Type());
}

/// Values times their scales; written out, where there is no node for it.
template <typename OpTy> LogicalResult emitScaled(Emitter &e, OpTy op, Name value, Value zero) {
  Type wide = scaledType(e, op);
  auto parameter = [&](Value own) {
    return alongInput(e, own, e.cast(e.of(own), Emitter::element(own), wide), op.getInput(), toInt(op.getAxis()), toInt(op.getBlockSize()));
  };
  if (zero)
    value = e.binary("Sub", value, parameter(zero));
  value = e.binary("Mul", value, parameter(op.getScale()));
  e.define(op.getResult(), e.cast(value, wide, Emitter::element(op.getResult())));
  return success();
}

LogicalResult emitDequantize(Emitter &e, DequantizeOp op) {
  Type codes = Emitter::element(op.getInput()), scale = Emitter::element(op.getScale()), result = Emitter::element(op.getResult());
  Value zero = op.getZeroPoint();
  bool isCode = isa<IntegerType>(codes) ? codes.getIntOrFloatBitWidth() <= 16 || codes.isSignlessInteger(32)
                                        : codes.getIntOrFloatBitWidth() == 8 && isOwnType(codes);
  bool hasZeroOfCodes = zero && Emitter::element(zero) == codes;
  if (!isCode || scaledType(e, op).isF64() || (zero && (!hasZeroOfCodes || codes.isSignlessInteger(32))))
    return emitScaled(e, op, e.cast(e.of(op.getInput()), codes, scaledType(e, op)), zero);
  e.need(opsetFor(codes, op.getBlockSize().has_value()));
  // The node's result is of the scale's type, and rounded to it.
  Type wide = scaledType(e, op);
  Names inputs{e.of(op.getInput()), e.cast(e.of(op.getScale()), scale, wide)};
  if (zero)
    inputs.push_back(e.of(zero));
  Name value = op.getBlockSize() ? e.node("DequantizeLinear", inputs, {axisOf(op), blockOf(op)})
               : op.getAxis()    ? e.node("DequantizeLinear", inputs, {axisOf(op)})
                                 : e.node("DequantizeLinear", inputs);
  e.define(op.getResult(), e.cast(value, wide, result));
  return success();
}

/// Codes as unsigned numbers that tables are read at.
Name tableIndex(Emitter &e, Value codes, int64_t entries) {
  Type type = Emitter::element(codes), i64 = e.builder().getI64Type();
  int64_t count = int64_t(1) << type.getIntOrFloatBitWidth();
  Name index = e.cast(e.of(codes), type, i64);
  if (!type.isUnsignedInteger())
    index = e.node("Mod", {index, e.integer(count)});
  return entries < count ? e.binary("Min", index, e.integer(entries - 1)) : index;
}

LogicalResult emitCodebookLookup(Emitter &e, CodebookLookupOp op) {
  auto table = cast<RankedTensorType>(op.getCodebook().getType());
  Name value = e.node("Gather", {e.of(op.getCodebook()), tableIndex(e, op.getCodes(), table.getDimSize(0))}, {{"axis", int64_t(0)}});
  if (op.getAxis()) {
    // The elements of an entry go behind the axis, and then into it.
    int64_t rank = Emitter::rank(op.getCodes()), axis = static_cast<int64_t>(*op.getAxis());
    Ints permutation = llvm::to_vector(llvm::seq<int64_t>(0, rank));
    permutation.insert(permutation.begin() + axis + 1, rank);
    auto type = cast<RankedTensorType>(op.getType());
    Names dims;
    for (int64_t i = 0; i < rank && !type.hasStaticShape(); ++i) {
      Name extent = e.extent(e.of(op.getCodes()), i);
      dims.push_back(i == axis ? e.binary("Mul", extent, e.ints({table.getDimSize(1)})) : extent);
    }
    Name shape = type.hasStaticShape() ? e.ints(type.getShape()) : e.concat(dims, 0);
    value = e.node("Reshape", {axis == rank - 1 ? value : e.transpose(value, permutation), shape}, {{"allowzero", int64_t(1)}});
  }
  e.define(op.getResult(), value);
  return success();
}

LogicalResult emitDequantizeLog2(Emitter &e, DequantizeLog2Op op) {
  // The powers are few: a table.
  int64_t width = Emitter::element(op.getInput()).getIntOrFloatBitWidth(), sign = int64_t(1) << (width - 1);
  Type wide = scaledType(e, op);
  SmallVector<double> values;
  for (int64_t code = 0; code < 2 * sign; ++code) {
    int64_t m = code % sign;
    double magnitude = m == 0 ? 0 : std::ldexp(1.0, static_cast<int>(m - (sign - 1)));
    values.push_back(code >= sign ? -magnitude : magnitude);
  }
  auto type = RankedTensorType::get({2 * sign}, e.builder().getF64Type());
  Name table = e.constant(DenseFPElementsAttr::get(type, ArrayRef<double>(values)).mapValues(wide, [&](const APFloat &value) {
    APFloat number = value;
    bool lossy;
    number.convert(cast<FloatType>(wide).getFloatSemantics(), APFloat::rmNearestTiesToEven, &lossy);
    return number.bitcastToAPInt();
  }));
  Name value = e.node("Gather", {table, tableIndex(e, op.getInput(), 2 * sign)}, {{"axis", int64_t(0)}});
  return emitScaled(e, op, value, Value());
}

LogicalResult emitQuantize(Emitter &e, QuantizeOp op) {
  Type codes = Emitter::element(op.getResult()), scale = Emitter::element(op.getScale());
  Value zero = op.getZeroPoint();
  auto integer = dyn_cast<IntegerType>(codes);
  if (isOwnType(codes) && !scale.isF64() && !scale.isBF16()) {
    bool block = op.getBlockSize().has_value(), axis = op.getAxis().has_value();
    e.need(opsetFor(codes, block));
    Names inputs{e.of(op.getInput()), e.of(op.getScale())};
    NodeAttribute saturate{"saturate", int64_t(!op.getOverflows())};
    if (zero) {
      inputs.push_back(e.of(zero));
    } else if (!codes.isUnsignedInteger(8)) { // the result's type without a zero point, which else tells it
      Type wide = integer ? codes : Type(e.builder().getF32Type()); // ONNX expands no 8-bit floats
      Name one = e.constant(cast<DenseElementsAttr>(Builder(op.getContext()).getZeroAttr(RankedTensorType::get({}, wide))));
      if (Emitter::rank(op.getScale()) > 0)
        one = e.node("Expand", {one, e.node("Shape", {e.of(op.getScale())})});
      inputs.push_back(e.cast(one, wide, codes));
    }
    Name value = block  ? e.node("QuantizeLinear", inputs, {axisOf(op), blockOf(op), saturate})
                 : axis ? e.node("QuantizeLinear", inputs, {axisOf(op), saturate})
                        : e.node("QuantizeLinear", inputs, {saturate});
    e.define(op.getResult(), value);
    return success();
  }
  if (!integer)
    return e.fail(op, "values quantized to this type");
  Type type = scale.isF64() ? scale : Type(e.builder().getF32Type());
  auto parameter = [&](Value value) {
    return alongInput(e, value, e.cast(e.of(value), Emitter::element(value), type), op.getInput(), toInt(op.getAxis()), toInt(op.getBlockSize()));
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
      .Case([&](CodebookLookupOp lookup) { return emitCodebookLookup(*this, lookup); })
      .Case([&](DequantizeLog2Op dequantize) { return emitDequantizeLog2(*this, dequantize); })
      .Default([&](Operation *) { return failure(); });
}

} // namespace lathe::frontend
