//===- SmallFloats.cpp - Floats that MLIR has no type for -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/SmallFloats.h"
#include "onnx.pb.h"
#include <cmath>
#include <limits>

using namespace mlir;
using onnx::TensorProto;

namespace lathe::frontend {

/// The values of FLOAT4E2M1 that are not negative, by their bits.
static constexpr double kFloat4[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};

Type storageOfSmallFloat(MLIRContext *context, int32_t dataType) {
  switch (dataType) {
  case TensorProto::FLOAT4E2M1:
    return IntegerType::get(context, 4, IntegerType::Unsigned);
  case TensorProto::FLOAT8E8M0:
    return IntegerType::get(context, 8, IntegerType::Unsigned);
  default:
    return nullptr;
  }
}

Value decodeSmallFloat(Node &node, Value stored, int32_t dataType) {
  if (!stored)
    return {};
  Compose c(node);
  Builder &b = node.builder;
  SmallVector<APFloat> values;
  Type element = b.getF32Type();
  if (dataType == TensorProto::FLOAT4E2M1) {
    element = b.getFloat8E4M3Type();
    for (double sign : {1.0, -1.0})
      for (double value : kFloat4)
        values.emplace_back(sign * value);
  } else {
    for (int exponent = -127; exponent < 128; ++exponent)
      values.emplace_back(std::ldexp(1.0, exponent));
    values.emplace_back(std::numeric_limits<double>::quiet_NaN());
  }
  bool lossy;
  for (APFloat &value : values)
    value.convert(cast<FloatType>(element).getFloatSemantics(), APFloat::rmNearestTiesToEven, &lossy);
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, element);
  return c.gather(node.constant(DenseElementsAttr::get(type, values)), node.cast(stored, b.getI32Type()), 0);
}

Value roundToFloat4(Compose &c, Value x) {
  Node &node = c.node;
  if (!x)
    return {};
  Type f32 = node.builder.getF32Type();
  bool isDouble = Node::element(x).isF64();
  // A number of 64 bits is rounded once. Every other one is a number of f32.
  Type type = isDouble ? Node::element(x) : f32;
  x = node.cast(x, type);
  Value size = c.unary<AbsOp>(x);
  // The distance of neighbours: 0.5 below 2, 1 below 4, else 2.
  Value step = c.select(c.compare(Comparison::lt, size, 2.0), node.scalar(type, 0.5),
                        c.select(c.compare(Comparison::lt, size, 4.0), node.scalar(type, 1), node.scalar(type, 2)));
  Value rounded = c.mul(c.unary<RoundOp>(c.div(x, step)), step);
  rounded = c.max(c.min(rounded, node.scalar(type, 6)), node.scalar(type, -6));
  Value isNumber = c.compare(Comparison::eq, x, x);
  rounded = c.select(isNumber, rounded, node.scalar(type, -0.0));
  return node.cast(rounded, node.builder.getFloat8E4M3Type());
}

Value encodeFloat4(Compose &c, Value x) {
  Node &node = c.node;
  if (!x)
    return {};
  Type f32 = node.builder.getF32Type(), u4 = node.builder.getIntegerType(4, /*isSigned=*/false);
  Type i32 = node.builder.getI32Type();
  x = node.cast(x, f32);
  Value size = c.unary<AbsOp>(x), code;
  for (double value : ArrayRef(kFloat4).drop_front()) {
    Value above = node.cast(c.compare(Comparison::ge, size, value), i32);
    code = code ? c.add(code, above) : above;
  }
  // The sign of zero shows in its reciprocal.
  Value negative = c.compare(Comparison::lt, c.unary<ReciprocalOp>(x), 0.0);
  code = c.add(code, c.mul(node.cast(negative, i32), 8));
  return node.cast(code, u4);
}

} // namespace lathe::frontend
