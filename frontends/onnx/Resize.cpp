//===- Resize.cpp - Importer of resampling --------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Axis by axis, a resized tensor is a sum of gathers at computed positions with computed weights.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Node.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {
namespace {

/// One axis that is resized.
struct Axis {
  int64_t axis = 0;
  size_t place = 0; ///< among the axes that are given
  SymExpr in, out;
  std::optional<float> scale; ///< where scales are given rather than sizes
  Value factor;               ///< the same where that is known when the model runs
  bool isScaled() const { return scale || factor; }
};

class Resizer {
public:
  explicit Resizer(Node &node)
      : node(node), x(node.input(0)), kind(node.stringAttr("mode", "nearest")),
        transformation(node.stringAttr("coordinate_transformation_mode", "half_pixel")) {}

  LogicalResult run();

private:
  LogicalResult readModes();
  LogicalResult readAxes();
  LogicalResult readScales();
  LogicalResult readSizes();
  LogicalResult computeScales();
  LogicalResult keepAspectRatio(MutableArrayRef<SymExpr> sizes, Axis &ratio);
  std::optional<SymExpr> scaled(const SymExpr &extent, double scale);

  Value position(const Axis &axis);
  Value halfPixel(const Axis &axis, Value i);
  Value nearest(Value value, const Axis &axis);
  Value interpolated(Value value, const Axis &axis, Value position);
  Value take(Value value, const Axis &axis, Value index);
  Value column(Value vector, const Axis &axis);
  SmallVector<Value> cubicWeights(Value fraction);
  Value filtered(Value value, const Axis &axis, Value position);
  Value filter(Value distance);
  SymExpr reach(const Axis &axis);

  // Arithmetic on positions.
  Value number(double value) { return node.scalar(type, value); }
  Value of(const SymExpr &extent) {
    if (std::optional<int64_t> constant = extent.constant())
      return number(static_cast<double>(*constant));
    return node.cast(node.indexScalar(extent), type);
  }
  Value add(Value a, Value b) { return node.make<AddOp>(type, a, b); }
  Value sub(Value a, Value b) { return node.make<SubOp>(type, a, b); }
  Value mul(Value a, Value b) { return node.make<MulOp>(type, a, b); }
  Value div(Value a, Value b) { return node.make<DivOp>(type, a, b); }
  Value compare(Comparison predicate, Value a, Value b) {
    return node.make<CompareOp>(node.builder.getI1Type(), predicate, a, b);
  }
  Value within(Value value, Value low, Value high) {
    return node.make<MaxOp>(type, node.make<MinOp>(type, value, high), low);
  }
  Value roiBound(size_t i);
  Value scaleOf(const Axis &axis);
  /// The extent of the result before it was rounded down.
  Value lengthOf(const Axis &axis) {
    bool exact = !axis.isScaled() || (axis.scale && *axis.scale == std::floor(*axis.scale));
    return exact ? of(axis.out) : mul(of(axis.in), scaleOf(axis));
  }

  Node &node;
  Value x, roi;
  std::string kind, transformation, rounding;
  bool antialias = false;
  Type type; ///< of positions and weights
  SmallVector<int64_t> axes;
  SmallVector<Axis> resized;
};

LogicalResult Resizer::readModes() {
  if (!llvm::is_contained({"nearest", "linear", "cubic"}, kind))
    return node.invalid("expects mode to be nearest, linear or cubic, got '" + kind + "'");
  if (!llvm::is_contained({"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                           "tf_half_pixel_for_nn", "tf_crop_and_resize"},
                          transformation))
    return node.invalid("coordinate_transformation_mode '" + transformation + "' is not one of the operator's");
  rounding = node.stringAttr("nearest_mode", "round_prefer_floor");
  if (!llvm::is_contained({"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}, rounding))
    return node.invalid("nearest_mode '" + rounding + "' is not one of the operator's");
  antialias = node.intAttr("antialias", 0) && kind != "nearest";
  Type element = Node::element(x);
  if (kind != "nearest" && !isa<FloatType>(element))
    return node.unsupported("only mode nearest is supported on elements that are not floats", hints::kFloat);
  type = kind != "nearest" && element.isF64() ? element : node.builder.getF32Type();
  return success();
}

LogicalResult Resizer::readAxes() {
  int64_t rank = Node::rank(x);
  axes = llvm::to_vector(llvm::seq<int64_t>(rank));
  if (std::optional<SmallVector<int64_t>> given = node.intsAttr("axes")) {
    given = node.axes(*given, rank);
    if (!given)
      return failure();
    axes = *given;
  }
  auto present = [&](size_t i) {
    return node.input(i) &&
           (Node::type(node.input(i)).getNumDynamicDims() || Node::type(node.input(i)).getNumElements() > 0);
  };
  if (present(2) == present(3))
    return node.invalid("expects either scales or sizes");
  return present(2) ? readScales() : readSizes();
}

/// floor(extent * scale). A scale stands for any number that rounds to it, so that a tenth of 10 is 1.
std::optional<SymExpr> Resizer::scaled(const SymExpr &extent, double scale) {
  constexpr double kLargest = 1 << 20;
  if (!(scale >= 1 / kLargest && scale <= kLargest) || extent.constant().value_or(0) > INT32_MAX) {
    (void)node.unsupported("expects scales from 2^-20 to 2^20 and extents below 2^31");
    return std::nullopt;
  }
  int exponent;
  auto mantissa = static_cast<int64_t>(std::ldexp(std::frexp(scale, &exponent), 24));
  exponent = 24 - exponent; // scale = mantissa / 2^exponent, of 24 bits as floats have them
  while (mantissa % 2 == 0 && exponent > 0) {
    mantissa /= 2;
    --exponent;
  }
  if (mantissa >= 4096) {
    mantissa = 2 * mantissa + 1;
    ++exponent;
  }
  return node.context.floorDiv(extent * mantissa, int64_t(1) << exponent);
}

LogicalResult Resizer::readScales() {
  SmallVector<double> scales;
  if (!Node::constantFloats(node.input(2), scales))
    return computeScales();
  if (scales.size() != axes.size())
    return node.invalid("expects a scale for each of " + Twine(axes.size()) + " axes, got " + Twine(scales.size()));
  for (auto [i, axis] : llvm::enumerate(axes)) {
    if (scales[i] == 1 && transformation != "tf_crop_and_resize")
      continue;
    SymExpr in = node.dimExpr(x, axis);
    std::optional<SymExpr> out = scaled(in, scales[i]);
    if (!out)
      return failure();
    resized.push_back({axis, i, in, *out, static_cast<float>(scales[i]), {}});
  }
  return success();
}

/// Scales that are known when the model runs, which then computes the extents, too.
LogicalResult Resizer::computeScales() {
  Value scales = node.input(2);
  RankedTensorType given = Node::type(scales);
  auto count = static_cast<int64_t>(axes.size());
  if (given.getRank() != 1 || !isa<FloatType>(given.getElementType()) ||
      (!given.isDynamicDim(0) && given.getDimSize(0) != count))
    return node.invalid("expects a scale for each of " + Twine(count) + " axes");
  scales = node.cast(node.reshape(scales, {node.index(count)}), type); // where the extent is not known yet
  SmallVector<Value> extents;
  for (int64_t axis : axes)
    extents.push_back(node.dim(x, axis));
  Type i64 = node.builder.getI64Type();
  Value lengths = node.reshape(node.make<FromIndexOp>(i64, extents), {node.index(count)});
  lengths = node.cast(node.make<FloorOp>(type, mul(node.cast(lengths, type), scales)), i64);
  std::optional<SmallVector<Value>> out = lengths ? node.indices(lengths, "extents") : std::nullopt;
  if (!out)
    return failure();
  for (auto [i, axis] : llvm::enumerate(axes)) {
    auto at = static_cast<int64_t>(i);
    Value factor = node.reshape(node.slice(scales, 0, node.index(at), node.index(at + 1)), {});
    if (!factor)
      return failure();
    resized.push_back({axis, i, node.dimExpr(x, axis), node.context.indexValue((*out)[i]), std::nullopt, factor});
  }
  return success();
}

/// Makes one ratio of result to input of all: the smallest or the largest, which it gives as a scale.
LogicalResult Resizer::keepAspectRatio(MutableArrayRef<SymExpr> sizes, Axis &ratio) {
  std::string policy = node.stringAttr("keep_aspect_ratio_policy", "stretch");
  if (policy == "stretch" || axes.empty())
    return success();
  if (policy != "not_larger" && policy != "not_smaller")
    return node.invalid("expects keep_aspect_ratio_policy to be stretch, not_larger or not_smaller, got '" + policy +
                        "'");
  ShapeContext &context = node.context;
  SymExpr size, extent;
  for (auto [i, axis] : llvm::enumerate(axes)) {
    SymExpr in = node.dimExpr(x, axis);
    if (in.isConstant(0))
      return node.invalid("expects at least one element to resize at axis " + Twine(axis));
    if (i == 0) {
      size = sizes[i];
      extent = in;
      continue;
    }
    SymExpr own = sizes[i] * extent, other = size * in;
    SymExpr better = policy == "not_larger" ? context.lt(own, other) : context.lt(other, own);
    size = context.select(better, sizes[i], size);
    extent = context.select(better, in, extent);
  }
  // Rounded to the nearest, halves up.
  for (auto [i, axis] : llvm::enumerate(axes))
    sizes[i] = context.floorDiv(size * node.dimExpr(x, axis) * 2 + extent, extent * 2);
  if (std::optional<int64_t> a = size.constant(), b = extent.constant(); a && b)
    ratio.scale = static_cast<float>(*a) / static_cast<float>(*b);
  else
    ratio.factor = div(of(size), of(extent));
  return success();
}

LogicalResult Resizer::readSizes() {
  std::optional<SmallVector<Value>> values = node.indices(node.input(3), "sizes");
  if (!values)
    return failure();
  if (values->size() != axes.size())
    return node.invalid("expects a size for each of " + Twine(axes.size()) + " axes, got " + Twine(values->size()));
  SmallVector<SymExpr> sizes;
  for (Value value : *values) {
    sizes.push_back(node.context.indexValue(value));
    if (std::optional<int64_t> size = sizes.back().constant(); size && (*size < 0 || *size > INT32_MAX))
      return node.invalid("expects sizes from 0 to 2^31 - 1, got " + Twine(*size));
  }
  Axis ratio;
  if (failed(keepAspectRatio(sizes, ratio)))
    return failure();
  for (auto [i, axis] : llvm::enumerate(axes)) {
    SymExpr in = node.dimExpr(x, axis), out = sizes[i];
    if (in == out && transformation != "tf_crop_and_resize")
      continue;
    if (in.isConstant(0) && !out.isConstant(0))
      return node.invalid("expects at least one element to resize at axis " + Twine(axis));
    resized.push_back({axis, i, in, node.context.max(out, 0), ratio.scale, ratio.factor});
  }
  return success();
}

Value Resizer::roiBound(size_t i) {
  auto at = static_cast<int64_t>(i);
  Value element = node.slice(roi, 0, node.index(at), node.index(at + 1));
  return node.cast(node.reshape(element, {}), type);
}

Value Resizer::scaleOf(const Axis &axis) {
  if (axis.scale)
    return number(static_cast<double>(*axis.scale));
  if (axis.factor)
    return axis.factor;
  std::optional<int64_t> in = axis.in.constant(), out = axis.out.constant();
  if (in && out && *in > 0)
    return number(static_cast<double>(static_cast<float>(*out) / static_cast<float>(*in)));
  return div(of(axis.out), of(axis.in));
}

Value Resizer::halfPixel(const Axis &axis, Value i) {
  return sub(div(add(i, number(0.5)), scaleOf(axis)), number(0.5));
}

/// Where the elements of the result lie in the input, a vector.
Value Resizer::position(const Axis &axis) {
  Value range = node.make<RangeOp>(node.builder.getI64Type(), node.index(0), node.index(axis.out), node.index(1));
  Value i = node.cast(range, type), one = number(1);
  auto unlessAlone = [&](Value value, Value alone) {
    return node.make<SelectOp>(type, compare(Comparison::gt, of(axis.out), one), value, alone);
  };
  // The last position of the result; 1 where that is the first, which is divided all the same.
  auto last = [&](Value length) {
    return node.make<SelectOp>(type, compare(Comparison::gt, length, one), sub(length, one), one);
  };
  if (transformation == "asymmetric")
    return div(i, scaleOf(axis));
  if (transformation == "tf_half_pixel_for_nn")
    return div(add(i, number(0.5)), scaleOf(axis));
  if (transformation == "pytorch_half_pixel")
    return unlessAlone(halfPixel(axis, i), number(0));
  if (transformation == "align_corners")
    return unlessAlone(div(mul(i, of(axis.in - 1)), last(lengthOf(axis))), number(0));
  if (transformation == "tf_crop_and_resize") {
    Value start = roiBound(axis.place), end = roiBound(axes.size() + axis.place), extent = of(axis.in - 1);
    Value step = div(mul(sub(end, start), extent), last(of(axis.out)));
    return unlessAlone(add(mul(start, extent), mul(i, step)), mul(mul(number(0.5), add(start, end)), extent));
  }
  Value place = halfPixel(axis, i);
  if (transformation == "half_pixel" || !axis.isScaled())
    return place;
  // Symmetric: what rounding down took from the result's extent goes from both sides alike.
  Value rest = sub(one, div(of(axis.out), mul(of(axis.in), scaleOf(axis))));
  return add(place, mul(mul(of(axis.in), number(0.5)), rest));
}

/// A vector along an axis of the input.
Value Resizer::column(Value vector, const Axis &axis) {
  SmallVector<Value> dims(Node::rank(x) - axis.axis, node.index(1));
  if (!vector)
    return {};
  dims.front() = node.dim(vector, 0);
  return node.reshape(vector, dims);
}

/// The elements at an index that is clamped to the axis.
Value Resizer::take(Value value, const Axis &axis, Value index) {
  Value clamped = node.cast(within(index, number(0), of(axis.in - 1)), node.builder.getI64Type());
  return value ? node.make<GatherOp>(Node::element(value), value, clamped, axis.axis) : Value();
}

Value Resizer::nearest(Value value, const Axis &axis) {
  Value place = position(axis);
  if (rounding == "round_prefer_floor")
    place = node.make<CeilOp>(type, sub(place, number(0.5)));
  else if (rounding == "round_prefer_ceil")
    place = node.make<FloorOp>(type, add(place, number(0.5)));
  else if (rounding == "floor")
    place = node.make<FloorOp>(type, place);
  else
    place = node.make<CeilOp>(type, place);
  return take(value, axis, place);
}

/// Weights of the four neighbours by cubic convolution. Source: Keys, Cubic Convolution Interpolation for Digital Image
/// Processing (1981).
SmallVector<Value> Resizer::cubicWeights(Value fraction) {
  double a = node.floatAttr("cubic_coeff_a", -0.75);
  Value one = number(1), complement = sub(one, fraction);
  auto inner = [&](Value d) { return add(mul(mul(sub(mul(number(a + 2), d), number(a + 3)), d), d), one); };
  auto outer = [&](Value d) {
    Value sum = add(mul(sub(mul(number(a), d), number(5 * a)), d), number(8 * a));
    return sub(mul(sum, d), number(4 * a));
  };
  return {outer(add(one, fraction)), inner(fraction), inner(complement), outer(add(one, complement))};
}

Value Resizer::interpolated(Value value, const Axis &axis, Value position) {
  Value first = node.make<FloorOp>(type, position), fraction = sub(position, first);
  SmallVector<Value> weights{sub(number(1), fraction), fraction}, indices{first, add(first, number(1))};
  if (kind == "cubic") {
    weights = cubicWeights(fraction);
    indices = {sub(first, number(1)), first, add(first, number(1)), add(first, number(2))};
    if (node.intAttr("exclude_outside", 0)) {
      Value sum, limit = of(axis.in - 1);
      for (auto [weight, index] : llvm::zip(weights, indices)) {
        weight = node.make<SelectOp>(type, compare(Comparison::eq, index, within(index, number(0), limit)), weight,
                                     number(0));
        sum = sum ? add(sum, weight) : weight;
      }
      for (Value &weight : weights)
        weight = div(weight, sum);
    }
  }
  Value result;
  for (auto [weight, index] : llvm::zip(weights, indices)) {
    Value term = mul(take(value, axis, index), column(weight, axis));
    result = result ? add(result, term) : term;
  }
  return result;
}

/// How many neighbours count on either side, where the filter is stretched by what the result is smaller.
SymExpr Resizer::reach(const Axis &axis) {
  constexpr double kFurthest = INT32_MAX;
  int64_t support = kind == "cubic" ? 2 : 1;
  if (axis.scale)
    return static_cast<int64_t>(
        std::min(std::ceil(static_cast<double>(support) / std::min(*axis.scale, 1.0f)), kFurthest));
  if (axis.factor) {
    Value stretched = div(number(static_cast<double>(support)), node.make<MinOp>(type, axis.factor, number(1)));
    stretched = node.cast(node.make<CeilOp>(type, stretched), node.builder.getI64Type());
    std::optional<SmallVector<Value>> index = stretched ? node.indices(stretched, "filter") : std::nullopt;
    return index ? node.context.indexValue(index->front()) : SymExpr(0);
  }
  ShapeContext &context = node.context;
  return context.max(context.ceilDiv(axis.in * support, context.max(axis.out, 1)), support);
}

/// The filter's value at a distance: a triangle, or the cubic of which cubicWeights() are values.
Value Resizer::filter(Value distance) {
  Value d = node.make<AbsOp>(type, distance), one = number(1), zero = number(0);
  if (kind == "linear")
    return node.make<MaxOp>(type, sub(one, d), zero);
  double a = node.floatAttr("cubic_coeff_a", -0.75);
  Value inner = add(mul(mul(sub(mul(number(a + 2), d), number(a + 3)), d), d), one);
  Value outer = sub(mul(add(mul(sub(mul(number(a), d), number(5 * a)), d), number(8 * a)), d), number(4 * a));
  outer = node.make<SelectOp>(type, compare(Comparison::lt, d, number(2)), outer, zero);
  return node.make<SelectOp>(type, compare(Comparison::le, d, one), inner, outer);
}

/// Interpolation by a filter as wide as the result's elements are apart in the input. The neighbours of each element
/// are another axis, over which a sum goes.
Value Resizer::filtered(Value value, const Axis &axis, Value position) {
  SymExpr near = reach(axis), count = near * 2;
  Value first = node.make<FloorOp>(type, position);
  Value rows = node.reshape(first, {node.index(axis.out), node.index(1)});
  Value range =
      node.make<RangeOp>(node.builder.getI64Type(), node.index(SymExpr(1) - near), node.index(near + 1), node.index(1));
  Value index = add(rows, node.cast(range, type));
  Value centers = node.reshape(position, {node.index(axis.out), node.index(1)});
  Value weights = filter(mul(sub(index, centers), node.make<MinOp>(type, scaleOf(axis), number(1))));
  if (node.intAttr("exclude_outside", 0)) {
    Value inside = compare(Comparison::eq, index, within(index, number(0), of(axis.in - 1)));
    weights = weights ? node.make<SelectOp>(type, inside, weights, number(0)) : Value();
  }
  weights = div(weights, node.reduce(Reduction::sum, weights, {1}, /*keepDims=*/true));
  Value taken = take(value, axis, index);
  SmallVector<Value> dims(Node::rank(x) - axis.axis + 1, node.index(1));
  dims[0] = node.index(axis.out);
  dims[1] = node.index(count);
  return node.reduce(Reduction::sum, mul(taken, node.reshape(weights, dims)), {axis.axis + 1}, /*keepDims=*/false);
}

LogicalResult Resizer::run() {
  if (failed(readModes()) || failed(readAxes()))
    return failure();
  bool crops = transformation == "tf_crop_and_resize";
  if (crops) {
    Value region = node.input(1);
    auto bounds = static_cast<int64_t>(2 * axes.size());
    if (!region || Node::rank(region) != 1 || !isa<FloatType>(Node::element(region)) ||
        node.dimExpr(region, 0).constant().value_or(bounds) != bounds)
      return node.invalid("expects a roi of " + Twine(bounds) + " floats");
    roi = node.reshape(region, {node.index(bounds)}); // where that is not known yet
  }
  Type element = Node::element(x);
  Value result = kind == "nearest" ? x : node.cast(x, type);
  SmallVector<Value> outside; // by axis
  for (const Axis &axis : resized) {
    if (kind == "nearest")
      result = nearest(result, axis);
    else if (antialias)
      result = filtered(result, axis, position(axis));
    else
      result = interpolated(result, axis, position(axis));
    if (crops) {
      Value place = position(axis);
      Value inside = compare(Comparison::eq, place, within(place, number(0), of(axis.in - 1)));
      outside.push_back(column(node.make<NotOp>(node.builder.getI1Type(), inside), axis));
    }
  }
  if (!result)
    return failure();
  result = node.cast(result, element);
  for (Value mask : outside)
    result = node.make<SelectOp>(element, mask, node.scalar(element, node.floatAttr("extrapolation_value", 0)), result);
  return node.result(result);
}

LogicalResult importResize(Node &node) { return Resizer(node).run(); }

} // namespace

ArrayRef<Operator> resizeOperators() {
  static constexpr Operator table[] = {
      {"Resize", 11, 1, 4, 1,
       "antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i extrapolation_value:f "
       "keep_aspect_ratio_policy:s mode:s nearest_mode:s",
       importResize},
  };
  return table;
}

} // namespace lathe::frontend
