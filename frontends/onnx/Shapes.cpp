//===- Shapes.cpp - Importers of shapes, ranges and constants -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Node.h"
#include "frontends/onnx/Tensors.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {

static LogicalResult importShape(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  auto clamped = [&](StringRef name, int64_t otherwise) {
    int64_t bound = node.intAttr(name, otherwise);
    return std::clamp<int64_t>(bound < 0 ? bound + rank : bound, 0, rank);
  };
  int64_t start = clamped("start", 0), end = clamped("end", rank);
  Value shape = node.make<ShapeOfOp>(node.builder.getI64Type(), x);
  if (start == 0 && end == rank)
    return node.result(shape);
  return node.result(node.slice(shape, 0, node.index(start), node.index(std::max(start, end))));
}

static LogicalResult importSize(Node &node) {
  SmallVector<Value> count{node.product(node.dims(node.input(0)))};
  return node.result(node.make<FromIndexOp>(node.builder.getI64Type(), count));
}

/// The value of a constant tensor of one float.
static std::optional<double> constantFloat(Value value) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
  if (!dense || dense.getNumElements() != 1)
    return std::nullopt;
  APFloat number = *dense.value_begin<APFloat>();
  bool lossy;
  number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
  return number.convertToDouble();
}

/// A range whose bounds the run knows: it counts the elements first.
static LogicalResult computeFloatRange(Node &node) {
  Type element = Node::element(node.input(0)), f64 = node.builder.getF64Type(), i64 = node.builder.getI64Type();
  Type wide = element.getIntOrFloatBitWidth() < 32 ? node.builder.getF32Type() : element;
  SmallVector<Value> bounds;
  for (Value input : node.inputs)
    bounds.push_back(node.cast(node.reshape(input, {}), wide));
  Value span = node.cast(node.make<SubOp>(wide, bounds[1], bounds[0]), f64);
  Value count = node.make<CeilOp>(f64, node.make<DivOp>(f64, span, node.cast(bounds[2], f64)));
  count = node.cast(node.make<MaxOp>(f64, count, node.scalar(f64, 0)), i64);
  std::optional<SmallVector<Value>> extent = count ? node.indices(count, "extents") : std::nullopt;
  if (!extent)
    return failure();
  Value places = node.make<RangeOp>(i64, node.index(0), extent->front(), node.index(1));
  Value steps = node.make<MulOp>(wide, node.cast(places, wide), bounds[2]);
  return node.result(node.cast(node.make<AddOp>(wide, steps, bounds[0]), element));
}

static LogicalResult importFloatRange(Node &node) {
  constexpr double kLongest = 1 << 20; // the elements go into the IR
  std::optional<double> start = constantFloat(node.input(0)), limit = constantFloat(node.input(1));
  std::optional<double> step = constantFloat(node.input(2));
  if (step == 0)
    return node.invalid("expects a step other than 0");
  if (!start || !limit || !step)
    return computeFloatRange(node);
  double count = std::max(std::ceil((*limit - *start) / *step), 0.0);
  if (!(count <= kLongest))
    return computeFloatRange(node);
  Type element = Node::element(node.input(0));
  SmallVector<Attribute> values;
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i)
    values.push_back(node.builder.getFloatAttr(element, *start + static_cast<double>(i) * *step));
  auto type = RankedTensorType::get({static_cast<int64_t>(values.size())}, element);
  return node.result(node.constant(values.empty() ? DenseElementsAttr::get(type, ArrayRef<APFloat>{})
                                                  : DenseElementsAttr::get(type, values)));
}

static LogicalResult importRange(Node &node) {
  Type element = Node::element(node.input(0));
  SmallVector<Value> bounds;
  for (Value input : node.inputs) {
    if (Node::element(input) != element || Node::type(input).getNumDynamicDims() ||
        Node::type(input).getNumElements() != 1 || Node::rank(input) > 1)
      return node.invalid("expects three scalars of one type");
  }
  if (isa<FloatType>(element))
    return importFloatRange(node);
  for (Value input : node.inputs) {
    std::optional<SmallVector<Value>> bound = node.indices(input, "bounds of a range");
    if (!bound)
      return failure();
    bounds.push_back(bound->front());
  }
  return node.result(node.make<RangeOp>(element, bounds[0], bounds[1], bounds[2]));
}

static LogicalResult importConstant(Node &node) {
  if (node.proto.attribute_size() != 1)
    return node.invalid("expects one attribute, got " + Twine(node.proto.attribute_size()));
  const onnx::AttributeProto &a = node.proto.attribute(0);
  Builder &b = node.builder;
  auto vector = [](int size, Type element) { return RankedTensorType::get({size}, element); };
  auto scalar = [](Type element) { return RankedTensorType::get({}, element); };
  auto constant = [&](DenseElementsAttr value) { return node.result(value ? node.constant(value) : Value()); };
  if (a.name() == "value")
    return node.result(node.importTensor(a.t()));
  if (a.name() == "value_int")
    return constant(DenseElementsAttr::get(scalar(b.getI64Type()), ArrayRef<int64_t>{a.i()}));
  if (a.name() == "value_float")
    return constant(DenseElementsAttr::get(scalar(b.getF32Type()), ArrayRef<float>{a.f()}));
  if (a.name() == "value_ints")
    return constant(DenseElementsAttr::get(vector(a.ints_size(), b.getI64Type()),
                                           ArrayRef<int64_t>(a.ints().data(), a.ints_size())));
  if (a.name() == "value_floats")
    return constant(DenseElementsAttr::get(vector(a.floats_size(), b.getF32Type()),
                                           ArrayRef<float>(a.floats().data(), a.floats_size())));
  return node.unsupported("attribute '" + a.name() + "' is not supported");
}

static LogicalResult importConstantOfShape(Node &node) {
  std::optional<SmallVector<Value>> dims = node.indices(node.input(0), "dimensions");
  if (!dims)
    return failure();
  if (Node::rank(node.input(0)) != 1)
    return node.invalid("expects a shape of rank 1, got rank " + Twine(Node::rank(node.input(0))));
  Value value;
  if (const onnx::AttributeProto *a = node.attribute("value")) {
    Value tensor = node.importTensor(a->t());
    if (!tensor)
      return failure();
    auto constant = tensor.getDefiningOp<ConstantOp>();
    if (!constant || Node::type(tensor).getNumElements() != 1)
      return node.invalid("expects a value of one element, got " + Twine(Node::type(tensor).getNumElements()));
    auto dense = llvm::cast<DenseElementsAttr>(constant.getValue());
    value = node.constant(dense.reshape(RankedTensorType::get({}, dense.getElementType())));
  } else {
    value = node.scalar(node.builder.getF32Type(), 0);
  }
  return node.result(dims->empty() ? value : node.broadcast(value, *dims));
}

ArrayRef<Operator> shapeOperators() {
  static constexpr Operator table[] = {
      {"Shape", 13, 1, 1, 1, "start:i end:i", importShape},
      {"Size", 13, 1, 1, 1, "", importSize},
      {"Range", 13, 3, 3, 1, "stash_type:i", importRange},
      {"Constant", 13, 0, 0, 1,
       "value:t value_float:f value_floats:F value_int:i value_ints:I value_string:s value_strings:S sparse_value:p",
       importConstant},
      {"ConstantOfShape", 13, 1, 1, 1, "value:t", importConstantOfShape},
  };
  return table;
}

} // namespace lathe::frontend
