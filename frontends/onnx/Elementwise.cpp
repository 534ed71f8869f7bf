//===- Elementwise.cpp - Importers of elementwise operators ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Node.h"
#include "frontends/onnx/SmallFloats.h"
#include "frontends/onnx/Tensors.h"

using namespace mlir;

namespace lathe::frontend {

template <typename OpTy> static LogicalResult unary(Node &node) {
  Value x = node.input(0);
  return node.result(node.make<OpTy>(Node::element(x), x));
}

template <typename OpTy> static LogicalResult binary(Node &node) {
  Value a = node.input(0), b = node.input(1);
  return node.result(node.make<OpTy>(Node::element(a), a, b));
}

static bool isBool(Value x) { return Node::element(x).isInteger(1); }
static bool isWholeNumber(Value x) { return isa<IntegerType>(Node::element(x)) && !isBool(x); }

template <typename OpTy> static LogicalResult logical(Node &node) {
  for (Value x : node.inputs)
    if (!isBool(x))
      return node.invalid("expects booleans");
  if constexpr (OpTy::template hasTrait<OpTrait::OneOperand>())
    return unary<OpTy>(node);
  else
    return binary<OpTy>(node);
}

template <typename OpTy> static LogicalResult bitwise(Node &node) {
  for (Value x : node.inputs)
    if (!isWholeNumber(x))
      return node.invalid("expects integers");
  if constexpr (OpTy::template hasTrait<OpTrait::OneOperand>())
    return unary<OpTy>(node);
  else
    return binary<OpTy>(node);
}

static LogicalResult importBitShift(Node &node) {
  for (Value x : node.inputs)
    if (!Node::element(x).isUnsignedInteger())
      return node.invalid("expects unsigned integers");
  std::string direction = node.stringAttr("direction", "");
  if (direction != "LEFT" && direction != "RIGHT")
    return node.invalid("expects direction to be LEFT or RIGHT, got '" + direction + "'");
  return direction == "LEFT" ? binary<ShiftLeftOp>(node) : binary<ShiftRightOp>(node);
}

template <typename OpTy> static LogicalResult variadic(Node &node) {
  Value value = node.input(0);
  for (size_t i = 1; i < node.numInputs() && value; ++i)
    value = node.make<OpTy>(Node::element(value), value, node.input(i));
  return node.result(value);
}

template <Comparison predicate> static LogicalResult compare(Node &node) {
  return node.result(node.make<CompareOp>(node.builder.getI1Type(), predicate, node.input(0), node.input(1)));
}

static LogicalResult importMean(Node &node) {
  Value sum = node.input(0);
  Type type = Node::element(sum);
  for (size_t i = 1; i < node.numInputs() && sum; ++i)
    sum = node.make<AddOp>(type, sum, node.input(i));
  return node.result(node.make<DivOp>(type, sum, node.scalar(type, static_cast<double>(node.numInputs()))));
}

static LogicalResult importIsNaN(Node &node) {
  return node.result(node.make<IsNanOp>(node.builder.getI1Type(), node.input(0)));
}

static LogicalResult importIsInf(Node &node) {
  Value x = node.input(0);
  Type boolean = node.builder.getI1Type();
  bool negative = node.intAttr("detect_negative", 1), positive = node.intAttr("detect_positive", 1);
  Value result = node.make<IsInfOp>(boolean, x);
  if (!result || (negative && positive))
    return node.result(result);
  if (!negative && !positive)
    return node.result(node.make<AndOp>(boolean, result, node.scalar(boolean, 0)));
  Comparison sign = negative ? Comparison::lt : Comparison::gt;
  Value side = node.make<CompareOp>(boolean, sign, x, node.scalar(Node::element(x), 0));
  return node.result(node.make<AndOp>(boolean, result, side));
}

static LogicalResult importPow(Node &node) {
  Value base = node.input(0), exponent = node.input(1);
  Type type = Node::element(base), other = Node::element(exponent);
  // The result has the type of the base; but an integer to a fractional power is computed in floats.
  if (isa<IntegerType>(type) && isa<FloatType>(other))
    return node.result(node.cast(node.make<PowOp>(other, node.cast(base, other), exponent), type));
  return node.result(node.make<PowOp>(type, base, node.cast(exponent, type)));
}

static LogicalResult importMod(Node &node) {
  Value a = node.input(0), b = node.input(1);
  bool truncated = node.intAttr("fmod", 0);
  if (!truncated && isa<FloatType>(Node::element(a)))
    return node.invalid("expects integers, or fmod to be 1 for floats");
  return node.result(node.make<ModOp>(Node::element(a), a, b, truncated));
}

static LogicalResult importWhere(Node &node) {
  Value a = node.input(1), b = node.input(2);
  return node.result(node.make<SelectOp>(Node::element(a), node.input(0), a, b));
}

/// `round_mode` is of a type that is not supported.
static LogicalResult convert(Node &node, Type type) {
  Value x = node.input(0);
  if (Node::element(x) == type)
    return node.result(x);
  if (isFloat4(type)) {
    Compose c(node);
    return node.result(roundToFloat4(c, x));
  }
  bool narrow = isa<FloatType>(type) && type.getIntOrFloatBitWidth() == 8;
  return node.result(node.make<CastOp>(type, x, narrow && !node.intAttr("saturate", 1)));
}

static LogicalResult importCast(Node &node) {
  if (!node.attribute("to"))
    return node.invalid("expects an attribute 'to'");
  int64_t to = node.intAttr("to", 0);
  Type type = to == static_cast<int32_t>(to) ? elementType(node.builder.getContext(), static_cast<int32_t>(to)) : Type();
  if (!type)
    return node.unsupported("a cast to data type " + dataTypeName(static_cast<int32_t>(to)) + " is not supported", hints::kElementType);
  return convert(node, type);
}

static LogicalResult importCastLike(Node &node) { return convert(node, Node::element(node.input(1))); }

static LogicalResult importClip(Node &node) {
  Value x = node.input(0), low = node.input(1), high = node.input(2);
  Type type = Node::element(x);
  for (Value bound : {low, high})
    if (bound && Node::rank(bound) != 0 && Node::type(bound).getShape() != ArrayRef<int64_t>{1})
      return node.invalid("expects scalar bounds, got rank " + Twine(Node::rank(bound)));
  // A bound of shape [1] must not give a scalar an axis.
  auto scalar = [&](Value bound) { return Node::rank(bound) == 0 ? bound : node.reshape(bound, {}); };
  Value result = x;
  if (low)
    result = node.make<MaxOp>(type, result, scalar(low));
  if (high)
    result = node.make<MinOp>(type, result, scalar(high));
  return node.result(result);
}

static LogicalResult importShrink(Node &node) {
  Value x = node.input(0);
  Type type = isa<FloatType>(Node::element(x)) ? Node::element(x) : node.builder.getF32Type(), boolean = node.builder.getI1Type();
  double threshold = node.floatAttr("lambd", 0.5);
  Value wide = node.cast(x, type), bias = node.scalar(type, node.floatAttr("bias", 0));
  Value below = node.make<CompareOp>(boolean, Comparison::lt, wide, node.scalar(type, -threshold));
  Value above = node.make<CompareOp>(boolean, Comparison::gt, wide, node.scalar(type, threshold));
  Value inner = node.make<SelectOp>(type, above, node.make<SubOp>(type, wide, bias), node.scalar(type, 0));
  Value result = node.make<SelectOp>(type, below, node.make<AddOp>(type, wide, bias), inner);
  return node.result(node.cast(result, Node::element(x)));
}

static LogicalResult importIdentity(Node &node) { return node.result(node.input(0)); }

static LogicalResult importDropout(Node &node) {
  if (node.input(2)) {
    std::optional<int64_t> training = node.constantInt(node.input(2), "training_mode");
    if (!training)
      return failure();
    if (*training)
      return node.unsupported("training is not supported", hints::kInference);
  }
  if (node.wantsOutput(1)) { // nothing is dropped
    SmallVector<Value> dims = node.dims(node.input(0));
    Value kept = node.scalar(node.builder.getI1Type(), 1);
    if (failed(node.result(dims.empty() ? kept : node.broadcast(kept, dims), 1)))
      return failure();
  }
  return node.result(node.input(0));
}

static LogicalResult importRandom(Node &node) {
  return node.unsupported("random numbers are not supported: equal inputs are to give equal outputs; make them an input", "make the random numbers an input of the model");
}

ArrayRef<Operator> elementwiseOperators() {
  static constexpr Operator table[] = {
      {"Abs", 13, 1, 1, 1, "", unary<AbsOp>},
      {"Neg", 13, 1, 1, 1, "", unary<NegOp>},
      {"Sign", 13, 1, 1, 1, "", unary<SignOp>},
      {"Sqrt", 13, 1, 1, 1, "", unary<SqrtOp>},
      {"Reciprocal", 13, 1, 1, 1, "", unary<ReciprocalOp>},
      {"Exp", 13, 1, 1, 1, "", unary<ExpOp>},
      {"Log", 13, 1, 1, 1, "", unary<LogOp>},
      {"Erf", 13, 1, 1, 1, "", unary<ErfOp>},
      {"Tanh", 13, 1, 1, 1, "", unary<TanhOp>},
      {"Sin", 13, 1, 1, 1, "", unary<SinOp>},
      {"Cos", 13, 1, 1, 1, "", unary<CosOp>},
      {"Sigmoid", 13, 1, 1, 1, "", unary<SigmoidOp>},
      {"Relu", 13, 1, 1, 1, "", unary<ReluOp>},
      {"Floor", 13, 1, 1, 1, "", unary<FloorOp>},
      {"Ceil", 13, 1, 1, 1, "", unary<CeilOp>},
      {"Round", 13, 1, 1, 1, "", unary<RoundOp>},
      {"Not", 13, 1, 1, 1, "", logical<NotOp>},
      {"IsNaN", 13, 1, 1, 1, "", importIsNaN},
      {"IsInf", 13, 1, 1, 1, "detect_negative:i detect_positive:i", importIsInf},
      {"Add", 13, 2, 2, 1, "", binary<AddOp>},
      {"Sub", 13, 2, 2, 1, "", binary<SubOp>},
      {"Mul", 13, 2, 2, 1, "", binary<MulOp>},
      {"Div", 13, 2, 2, 1, "", binary<DivOp>},
      {"Pow", 13, 2, 2, 1, "", importPow},
      {"Mod", 13, 2, 2, 1, "fmod:i", importMod},
      {"Min", 13, 1, -1, 1, "", variadic<MinOp>},
      {"Max", 13, 1, -1, 1, "", variadic<MaxOp>},
      {"Sum", 13, 1, -1, 1, "", variadic<AddOp>},
      {"Mean", 13, 1, -1, 1, "", importMean},
      {"And", 13, 2, 2, 1, "", logical<AndOp>},
      {"Or", 13, 2, 2, 1, "", logical<OrOp>},
      {"Xor", 13, 2, 2, 1, "", logical<XorOp>},
      {"BitwiseAnd", 18, 2, 2, 1, "", bitwise<AndOp>},
      {"BitwiseOr", 18, 2, 2, 1, "", bitwise<OrOp>},
      {"BitwiseXor", 18, 2, 2, 1, "", bitwise<XorOp>},
      {"BitwiseNot", 18, 1, 1, 1, "", bitwise<NotOp>},
      {"BitShift", 13, 2, 2, 1, "direction:s", importBitShift},
      {"Equal", 13, 2, 2, 1, "", compare<Comparison::eq>},
      {"Less", 13, 2, 2, 1, "", compare<Comparison::lt>},
      {"LessOrEqual", 13, 2, 2, 1, "", compare<Comparison::le>},
      {"Greater", 13, 2, 2, 1, "", compare<Comparison::gt>},
      {"GreaterOrEqual", 13, 2, 2, 1, "", compare<Comparison::ge>},
      {"Where", 13, 3, 3, 1, "", importWhere},
      {"Cast", 13, 1, 1, 1, "to:i saturate:i round_mode:s", importCast},
      {"CastLike", 15, 2, 2, 1, "saturate:i round_mode:s", importCastLike},
      {"Clip", 13, 1, 3, 1, "", importClip},
      {"Shrink", 9, 1, 1, 1, "bias:f lambd:f", importShrink},
      {"Identity", 13, 1, 1, 1, "", importIdentity},
      {"Dropout", 13, 1, 3, 2, "seed:i", importDropout},
      {"Bernoulli", 15, 1, 1, 1, "dtype:i seed:f", importRandom},
      {"Multinomial", 13, 1, 1, 1, "dtype:i sample_size:i seed:f", importRandom},
      {"RandomNormal", 13, 0, 0, 1, "dtype:i mean:f scale:f seed:f shape:I", importRandom},
      {"RandomNormalLike", 13, 1, 1, 1, "dtype:i mean:f scale:f seed:f", importRandom},
      {"RandomUniform", 13, 0, 0, 1, "dtype:i high:f low:f seed:f shape:I", importRandom},
      {"RandomUniformLike", 13, 1, 1, 1, "dtype:i high:f low:f seed:f", importRandom},
  };
  return table;
}

} // namespace lathe::frontend
