//===- Quantization.cpp - Importers of quantized operators ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Quantization.h"
#include "frontends/onnx/SmallFloats.h"
#include "frontends/onnx/Tensors.h"

using namespace mlir;

namespace lathe::frontend {

Value scalarLike(Node &node, Value value) {
  return value && Node::type(value).getShape() == ArrayRef<int64_t>{1} ? node.reshape(value, {}) : value;
}

/// An attribute that is a data type; null for 0, which is the default, and after a failure.
static std::optional<Type> typeAttr(Node &node, StringRef name) {
  int64_t value = node.intAttr(name, 0);
  if (value == 0)
    return Type();
  auto narrow = static_cast<int32_t>(value);
  Type type = narrow == value ? elementType(node.builder.getContext(), narrow) : Type();
  if (!type) {
    (void)node.unsupported(name + " " + dataTypeName(narrow) + " is not supported");
    return std::nullopt;
  }
  return type;
}

namespace {
/// Scale and zero point as the dialect has them.
struct Parameters {
  Value scale;
  OptionalOperand zero;
  IntegerAttr axis, block;
};
} // namespace

/// A parameter along one axis of a tensor, as a vector: NNCF gives it the axes behind, of extent 1.
static Value asVector(Node &node, Value parameter) {
  if (!parameter || Node::rank(parameter) < 2 || llvm::count(Node::type(parameter).getShape(), 1) + 1 < Node::rank(parameter))
    return parameter;
  return node.reshape(parameter, {node.product(node.dims(parameter))});
}

static std::optional<Parameters> parameters(Node &node) {
  Parameters result;
  result.scale = scalarLike(node, node.input(1));
  result.zero.value = scalarLike(node, node.input(2));
  if (!node.intAttr("block_size", 0)) {
    result.scale = asVector(node, result.scale);
    result.zero.value = asVector(node, result.zero.value);
  }
  if (!result.scale || (node.input(2) && !result.zero.value))
    return std::nullopt;
  if (Node::rank(result.scale) == 0)
    return result;
  std::optional<int64_t> axis = node.axis(node.intAttr("axis", 1), Node::rank(node.input(0)));
  if (!axis)
    return std::nullopt;
  result.axis = node.builder.getI64IntegerAttr(*axis);
  if (int64_t block = node.intAttr("block_size", 0))
    result.block = node.builder.getI64IntegerAttr(block);
  return result;
}

LogicalResult importQuantizeLinear(Node &node) {
  std::optional<Parameters> p = parameters(node);
  std::optional<Type> given = typeAttr(node, "output_dtype"), precision = typeAttr(node, "precision");
  if (!p || !given || !precision)
    return failure();
  Type type = *given;
  if (p->zero.value) {
    Type zeroType = Node::element(p->zero.value);
    if (type && type != zeroType)
      return node.invalid("expects a zero point of the type that output_dtype says");
    type = zeroType;
  }
  if (!type)
    type = node.builder.getIntegerType(8, /*isSigned=*/false);
  if (isFloat4(type))
    return node.unsupported("a result of type FLOAT4E2M1 is not supported", "quantize such weights when the model is made");
  // The quotient is of the scale's type unless another precision is asked for.
  Type computed = *precision ? *precision : Node::element(p->scale);
  if (!isa<FloatType>(computed))
    return node.invalid("expects a precision and a scale of floats");
  Value x = node.cast(node.input(0), computed), scale = node.cast(p->scale, computed);
  bool overflows = isa<FloatType>(type) && !node.intAttr("saturate", 1);
  return node.result(node.make<QuantizeOp>(type, x, scale, p->zero, p->axis, p->block, overflows));
}

LogicalResult importDequantizeLinear(Node &node) {
  std::optional<Parameters> p = parameters(node);
  std::optional<Type> given = typeAttr(node, "output_dtype");
  if (!p || !given)
    return failure();
  Type type = *given ? *given : Node::element(p->scale);
  return node.result(node.make<DequantizeOp>(type, node.input(0), p->scale, p->zero, p->axis, p->block));
}

DynamicQuantization quantizeDynamically(Node &node, Value x) {
  Type type = Node::element(x), u8 = node.builder.getIntegerType(8, /*isSigned=*/false);
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(Node::rank(x)));
  Value zero = node.scalar(type, 0);
  Value high = node.make<MaxOp>(type, node.make<ReduceOp>(type, Reduction::max, x, axes), zero);
  Value low = node.make<MinOp>(type, node.make<ReduceOp>(type, Reduction::min, x, axes), zero);
  Value range = node.make<SubOp>(type, high, low);
  Value scale = node.make<DivOp>(type, range, node.scalar(type, 255));
  // Where all is zero any scale will do but zero.
  Value isEmpty = node.make<CompareOp>(node.builder.getI1Type(), Comparison::eq, range, zero);
  scale = node.make<SelectOp>(type, isEmpty, node.scalar(type, 1), scale);
  Value zeroPoint = node.make<RoundOp>(type, node.make<DivOp>(type, node.make<NegOp>(type, low), scale));
  zeroPoint = node.cast(zeroPoint, u8);
  Value y = zeroPoint ? node.make<QuantizeOp>(u8, x, scale, OptionalOperand{zeroPoint}, IntegerAttr(), IntegerAttr()) : Value();
  return {y, scale, zeroPoint};
}

static LogicalResult importDynamicQuantizeLinear(Node &node) {
  if (!isa<FloatType>(Node::element(node.input(0))))
    return node.invalid("expects floats");
  DynamicQuantization q = quantizeDynamically(node, node.input(0));
  return success(succeeded(node.result(q.value, 0)) && succeeded(node.result(q.scale, 1)) &&
                 succeeded(node.result(q.zeroPoint, 2)));
}

Value alongRows(Node &node, Value parameter, Value matrix) {
  parameter = scalarLike(node, parameter);
  if (!parameter || Node::rank(parameter) != 1 || Node::rank(matrix) < 2)
    return parameter;
  return node.reshape(parameter, {node.dim(parameter, 0), node.index(1)});
}

Value centered(Node &node, Value x, Value zeroPoint, Type type) {
  Value wide = node.cast(x, type);
  if (!zeroPoint)
    return wide;
  if (Node::element(zeroPoint) != Node::element(x)) {
    (void)node.invalid("expects zero points of the types of what they belong to");
    return {};
  }
  Value result = node.make<SubOp>(type, wide, node.cast(zeroPoint, type));
  if (result && Node::type(result) != Node::type(wide)) {
    (void)node.invalid("expects a zero point that broadcasts to what it belongs to");
    return {};
  }
  return result;
}

Value integerProduct(Node &node, Value a, Value aZero, Value b, Value bZero) {
  for (Value x : {a, b})
    if (!Node::element(x).isInteger(8)) {
      (void)node.invalid("expects integers of 8 bits");
      return {};
    }
  Type i32 = node.builder.getI32Type();
  Value rows = aZero ? alongRows(node, aZero, a) : Value(), columns = bZero ? scalarLike(node, bZero) : Value();
  if ((aZero && !rows) || (bZero && !columns))
    return {};
  return matrixProduct(node, centered(node, a, rows, i32), centered(node, b, columns, i32));
}

static LogicalResult importMatMulInteger(Node &node) {
  return node.result(integerProduct(node, node.input(0), node.input(2), node.input(1), node.input(3)));
}

Value requantize(Node &node, Value value, Value scale, Value zeroPoint) {
  scale = scalarLike(node, scale);
  zeroPoint = scalarLike(node, zeroPoint);
  if (!value || !scale || !zeroPoint)
    return {};
  scale = node.cast(scale, Node::element(value));
  return scale ? node.make<QuantizeOp>(Node::element(zeroPoint), value, scale, OptionalOperand{zeroPoint}, IntegerAttr(),
                                       IntegerAttr())
               : Value();
}

static LogicalResult importQLinearMatMul(Node &node) {
  Value a = node.input(0), b = node.input(3), yScale = scalarLike(node, node.input(6));
  Type f32 = node.builder.getF32Type();
  if (!yScale || Node::rank(yScale) != 0)
    return node.unsupported("expects one scale of the result, got a tensor of rank " + Twine(Node::rank(node.input(6))));
  Value aScale = node.cast(alongRows(node, node.input(1), a), f32), bScale = node.cast(scalarLike(node, node.input(4)), f32);
  Value scale = node.make<MulOp>(f32, aScale, bScale), product;
  if (isa<IntegerType>(Node::element(a))) {
    product = node.cast(integerProduct(node, a, node.input(2), b, node.input(5)), f32);
  } else {
    Value rows = alongRows(node, node.input(2), a), columns = scalarLike(node, node.input(5));
    product = rows && columns ? matrixProduct(node, centered(node, a, rows, f32), centered(node, b, columns, f32)) : Value();
  }
  Value ratio = node.make<DivOp>(f32, scale, node.cast(yScale, f32));
  return node.result(requantize(node, node.make<MulOp>(f32, product, ratio), node.scalar(f32, 1), node.input(7)));
}

ArrayRef<Operator> quantizationOperators() {
  static constexpr Operator table[] = {
      {"QuantizeLinear", 13, 2, 3, 1, "axis:i saturate:i block_size:i output_dtype:i precision:i", importQuantizeLinear},
      {"DequantizeLinear", 13, 2, 3, 1, "axis:i block_size:i output_dtype:i", importDequantizeLinear},
      {"DynamicQuantizeLinear", 13, 1, 1, 3, "", importDynamicQuantizeLinear},
      {"MatMulInteger", 13, 2, 4, 1, "", importMatMulInteger},
      {"QLinearMatMul", 13, 8, 8, 1, "", importQLinearMatMul},
  };
  return table;
}

} // namespace lathe::frontend
