//===- Sampling.cpp - Importers that read images at computed places -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Images are turned such that channels are last; what lies around a place is gathered by tuples of indices and summed
// with weights.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Arithmetic.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

using Ints = SmallVector<int64_t>;

/// [n, c, s…] as [n, s…, c], or back.
Value channelsLast(Node &node, Value x, bool back = false) {
  if (!x)
    return {};
  int64_t rank = Node::rank(x);
  Ints permutation = llvm::to_vector(llvm::seq<int64_t>(rank));
  if (back)
    std::rotate(permutation.begin() + 1, permutation.end() - 1, permutation.end());
  else
    std::rotate(permutation.begin() + 1, permutation.begin() + 2, permutation.end());
  return node.transpose(x, permutation);
}

/// Tensors of one shape as the last axis of one tensor of i64.
Value tuples(Node &node, ArrayRef<Value> indices) {
  SmallVector<Value> columns;
  Type type = node.builder.getI64Type();
  for (Value index : indices) {
    if (!index)
      return {};
    SmallVector<Value> dims = node.dims(index);
    dims.push_back(node.index(1));
    columns.push_back(node.reshape(node.cast(index, type), dims));
  }
  if (llvm::is_contained(columns, Value()))
    return {};
  return columns.size() == 1 ? columns[0] : node.make<ConcatOp>(type, columns, Node::rank(columns[0]) - 1);
}

Value withLastAxis(Node &node, Value value) {
  SmallVector<Value> dims = node.dims(value);
  dims.push_back(node.index(1));
  return value ? node.reshape(value, dims) : Value();
}

//===----------------------------------------------------------------------===//
// AffineGrid
//===----------------------------------------------------------------------===//

LogicalResult importAffineGrid(Node &node) {
  Value theta = node.input(0);
  std::optional<SmallVector<Value>> size = node.indices(node.input(1), "size");
  if (!size)
    return failure();
  auto spatial = static_cast<int64_t>(size->size()) - 2;
  if (spatial != 2 && spatial != 3)
    return node.invalid("expects a size of 4 or 5 dimensions, got " + Twine(spatial + 2));
  if (!isa<FloatType>(Node::element(theta)) || Node::type(theta).getRank() != 3)
    return node.invalid("expects floats of rank 3");
  for (int64_t axis : {1, 2})
    if (node.dimExpr(theta, axis).constant().value_or(spatial + axis - 1) != spatial + axis - 1)
      return node.invalid("expects matrices of " + Twine(spatial) + " by " + Twine(spatial + 1) + ", got " +
                          node.dimExpr(theta, 1).str() + " by " + node.dimExpr(theta, 2).str());
  Arithmetic floats{node, Node::element(theta)};
  bool corners = node.intAttr("align_corners", 0);
  // theta's column i is that of the i-th coordinate, which goes along the i-th axis from the end; the last one moves.
  auto column = [&](int64_t i) {
    SmallVector<Value> dims(spatial + 2, node.index(1));
    dims.front() = node.dim(theta, 0);
    dims.back() = node.index(spatial);
    return node.reshape(node.slice(theta, 2, node.index(i), node.index(i + 1)), dims);
  };
  Value result = column(spatial);
  for (int64_t i = 0; i < spatial; ++i) {
    int64_t axis = spatial - 1 - i;
    SymExpr extent = node.context.indexValue((*size)[2 + axis]);
    Value place = floats.range(extent), one = floats.number(1);
    if (corners) // a single place is the first corner
      place = floats.div(place, floats.max(floats.sub(floats.of(extent), one), one));
    else
      place = floats.div(floats.add(place, floats.number(0.5)), floats.of(extent));
    Value coordinate = floats.sub(floats.mul(place, floats.number(2)), one);
    result = floats.add(result, floats.mul(column(i), floats.along(coordinate, 1 + axis, spatial + 2)));
  }
  return node.result(result);
}

//===----------------------------------------------------------------------===//
// GridSample
//===----------------------------------------------------------------------===//

class GridSampler {
public:
  explicit GridSampler(Node &node) : node(node), x(node.input(0)), grid(node.input(1)), floats{node, Type()} {}
  LogicalResult run();

private:
  LogicalResult readModes();
  Value coordinate(int64_t axis);
  Value reflect(Value place, const SymExpr &extent);
  Value pixel(ArrayRef<Value> places);
  Value interpolated(ArrayRef<Value> places, SmallVectorImpl<Value> &chosen);
  SmallVector<std::pair<Value, Value>> neighbours(Value place);
  SymExpr extent(int64_t axis) { return node.dimExpr(x, 2 + axis); }

  Node &node;
  Value x, grid, image;
  Arithmetic floats; ///< of places
  int64_t spatial = 0;
  std::string mode, padding;
  bool corners = false;
};

LogicalResult GridSampler::readModes() {
  mode = node.stringAttr("mode", node.opset < 20 ? "bilinear" : "linear");
  if (mode == "bilinear")
    mode = "linear";
  if (mode == "bicubic")
    mode = "cubic";
  padding = node.stringAttr("padding_mode", "zeros");
  corners = node.intAttr("align_corners", 0);
  if (!llvm::is_contained({"nearest", "linear", "cubic"}, mode))
    return node.invalid("expects mode to be nearest, linear or cubic, got '" + mode + "'");
  if (!llvm::is_contained({"zeros", "border", "reflection"}, padding))
    return node.invalid("expects padding_mode to be zeros, border or reflection, got '" + padding + "'");
  int64_t rank = Node::rank(x);
  spatial = rank - 2;
  if (rank < 3 || Node::rank(grid) != rank)
    return node.invalid("expects an input and a grid of the same rank of 3 or more, got ranks " + Twine(rank) +
                        " and " + Twine(Node::rank(grid)));
  if (spatial > 3)
    return node.unsupported("more than 3 spatial axes are not supported");
  int64_t given = Node::type(grid).getDimSize(rank - 1);
  if (!ShapedType::isDynamic(given) && given != spatial)
    return node.invalid("expects a grid of tuples of " + Twine(spatial) + " coordinates, got " + Twine(given));
  if (!isa<FloatType>(Node::element(grid)))
    return node.invalid("expects a grid of floats");
  if (mode != "nearest" && !isa<FloatType>(Node::element(x)))
    return node.unsupported("only mode nearest is supported on elements that are not floats", hints::kFloat);
  bool wide = Node::element(x).isF64() || Node::element(grid).isF64();
  floats.type = wide ? node.builder.getF64Type() : node.builder.getF32Type();
  return success();
}

/// Up to the last element and back again, and so on.
Value GridSampler::reflect(Value place, const SymExpr &extent) {
  // Between the centers of the outermost elements, or between their outer edges.
  Value low = floats.number(corners ? 0 : -0.5);
  Value range = floats.max(floats.of(corners ? extent - 1 : extent), floats.number(1)),
        twice = floats.add(range, range);
  Value offset = floats.sub(place, low);
  Value rest = floats.sub(offset, floats.mul(floats.floor(floats.div(offset, twice)), twice));
  return floats.add(low, floats.min(rest, floats.sub(twice, rest)));
}

/// The places along an axis, in elements.
Value GridSampler::coordinate(int64_t axis) {
  // The first coordinate is that of the last axis.
  int64_t at = spatial - 1 - axis;
  Value part = node.slice(grid, spatial + 1, node.index(at), node.index(at + 1));
  SmallVector<Value> dims = node.dims(grid);
  dims.pop_back();
  Value g = node.cast(node.reshape(part, dims), floats.type), one = floats.number(1), half = floats.number(0.5);
  Value length = floats.of(extent(axis)), last = floats.of(extent(axis) - 1);
  Value place = corners ? floats.mul(floats.mul(floats.add(g, one), half), last)
                        : floats.mul(floats.sub(floats.mul(floats.add(g, one), length), one), half);
  if (mode == "nearest")
    place = node.make<RoundOp>(floats.type, place);
  if (padding == "border" && mode != "cubic") // whose neighbours are clamped, but not the weights
    return floats.clamp(place, floats.number(0), last);
  return padding == "reflection" ? reflect(place, extent(axis)) : place;
}

/// [n, o…, c]: the elements at whole places, padded.
Value GridSampler::pixel(ArrayRef<Value> places) {
  SmallVector<Value> indices;
  Value outside;
  for (auto [axis, place] : llvm::enumerate(places)) {
    SymExpr length = extent(static_cast<int64_t>(axis));
    Value read = padding == "reflection" ? reflect(place, length) : place;
    Value clamped = floats.clamp(read, floats.number(0), floats.of(length - 1));
    indices.push_back(clamped);
    if (padding == "zeros") {
      Value here = floats.compare(Comparison::ne, clamped, place);
      outside = outside ? node.make<OrOp>(node.builder.getI1Type(), outside, here) : here;
    }
  }
  Type type = Node::element(x);
  Value read = node.make<GatherNDOp>(type, image, tuples(node, indices), node.builder.getI64IntegerAttr(1));
  if (!outside)
    return read;
  return node.make<SelectOp>(type, withLastAxis(node, outside), node.scalar(type, 0), read);
}

/// The places around one, with their weights.
SmallVector<std::pair<Value, Value>> GridSampler::neighbours(Value place) {
  Value first = floats.floor(place), t = floats.sub(place, first), one = floats.number(1);
  Value s = floats.sub(one, t);
  if (mode == "linear")
    return {{first, s}, {floats.add(first, one), t}};
  // Cubic convolution. Source: Keys, Cubic Convolution Interpolation for Digital Image Processing (1981).
  constexpr double a = -0.75;
  auto near = [&](Value d) {
    Value inner = floats.sub(floats.mul(floats.number(a + 2), d), floats.number(a + 3));
    return floats.add(floats.mul(floats.mul(inner, d), d), one);
  };
  auto far = [&](Value d) {
    Value sum = floats.add(floats.mul(floats.sub(floats.mul(floats.number(a), d), floats.number(5 * a)), d),
                           floats.number(8 * a));
    return floats.sub(floats.mul(sum, d), floats.number(4 * a));
  };
  return {{floats.sub(first, one), far(floats.add(t, one))},
          {first, near(t)},
          {floats.add(first, one), near(s)},
          {floats.add(first, floats.number(2)), far(floats.add(s, one))}};
}

/// The sum over the neighbours along the axes from that of the first place on.
Value GridSampler::interpolated(ArrayRef<Value> places, SmallVectorImpl<Value> &chosen) {
  if (places.empty())
    return node.cast(pixel(chosen), floats.type);
  Value sum;
  for (auto [place, weight] : neighbours(places.front())) {
    chosen.push_back(place);
    Value inner = interpolated(places.drop_front(), chosen);
    chosen.pop_back();
    Value term = floats.mul(inner, withLastAxis(node, weight));
    sum = sum ? floats.add(sum, term) : term;
  }
  return sum;
}

LogicalResult GridSampler::run() {
  if (failed(readModes()))
    return failure();
  image = channelsLast(node, x);
  SmallVector<Value> places, chosen;
  for (int64_t axis = 0; axis < spatial; ++axis)
    places.push_back(coordinate(axis));
  if (llvm::is_contained(places, Value()))
    return failure();
  Value result = mode == "nearest" ? pixel(places) : node.cast(interpolated(places, chosen), Node::element(x));
  return node.result(channelsLast(node, result, /*back=*/true));
}

LogicalResult importGridSample(Node &node) { return GridSampler(node).run(); }

//===----------------------------------------------------------------------===//
// RoiAlign
//===----------------------------------------------------------------------===//

/// Places along an axis of each region, [regions, bins * samples], with their two neighbours and weights.
struct RegionAxis {
  Value low, high, lowWeight, highWeight;
};

std::optional<RegionAxis> regionAxis(Arithmetic &floats, Value begin, Value end, const SymExpr &extent, int64_t bins,
                                     int64_t samples, bool aligned) {
  Node &node = floats.node;
  Value length = floats.sub(end, begin), zero = floats.number(0), one = floats.number(1);
  if (!aligned)
    length = floats.max(length, one);
  Value step = floats.div(length, floats.number(static_cast<double>(bins * samples)));
  Value offset = floats.along(floats.add(floats.range(bins * samples), floats.number(0.5)), 1, 2);
  Value place = floats.add(begin, floats.mul(offset, step)), last = floats.of(extent - 1);
  // More than one element outside counts as 0; what is nearer reads the border.
  Value inside = node.make<AndOp>(node.builder.getI1Type(), floats.compare(Comparison::ge, place, floats.number(-1)),
                                  floats.compare(Comparison::le, place, floats.of(extent)));
  Value clamped = floats.clamp(place, zero, last), low = floats.floor(clamped);
  Value fraction = floats.sub(clamped, low);
  RegionAxis result{low, floats.min(floats.add(low, one), last), floats.select(inside, floats.sub(one, fraction), zero),
                    floats.select(inside, fraction, zero)};
  return result.high && result.lowWeight && result.highWeight ? std::optional(result) : std::nullopt;
}

LogicalResult importRoiAlign(Node &node) {
  Value x = node.input(0), rois = node.input(1), batch = node.input(2);
  Type type = Node::element(x);
  if (!isa<FloatType>(type) || Node::rank(x) != 4 || Node::rank(rois) != 2 || Node::element(rois) != type ||
      node.dimExpr(rois, 1).constant().value_or(4) != 4 || Node::rank(batch) != 1 ||
      !isa<IntegerType>(Node::element(batch)))
    return node.invalid(
        "expects floats of rank 4, regions of 4 such floats each, and an integer index for each region");
  std::string mode = node.stringAttr("mode", "avg");
  if (mode != "avg" && mode != "max")
    return node.invalid("expects mode to be avg or max, got '" + mode + "'");
  std::string transformation =
      node.stringAttr("coordinate_transformation_mode", node.opset < 16 ? "output_half_pixel" : "half_pixel");
  if (transformation != "half_pixel" && transformation != "output_half_pixel")
    return node.invalid("expects coordinate_transformation_mode to be half_pixel or output_half_pixel, got '" +
                        transformation + "'");
  int64_t samples = node.intAttr("sampling_ratio", 0);
  int64_t bins[] = {node.intAttr("output_height", 1), node.intAttr("output_width", 1)};
  constexpr int64_t kLargest = INT16_MAX;
  if (samples == 0)
    return node.unsupported(
        "sampling_ratio 0, which depends on the regions' sizes, is not supported, only 1 and above");
  for (int64_t value : {samples, bins[0], bins[1]})
    if (value < 1 || value > kLargest)
      return node.invalid("expects sampling_ratio, output_height and output_width from 1 to " + Twine(kLargest) +
                          ", got " + Twine(value));
  Arithmetic floats{node, type.isF64() ? type : node.builder.getF32Type()};
  bool aligned = transformation == "half_pixel";
  double scale = node.floatAttr("spatial_scale", 1);
  Value regions = node.dim(rois, 0), height = node.index(bins[0] * samples), width = node.index(bins[1] * samples);
  rois = node.reshape(rois, {regions, node.index(4)}); // where that is not known yet
  auto bound = [&](int64_t i) {                        // [regions, 1]
    Value value = node.cast(node.slice(rois, 1, node.index(i), node.index(i + 1)), floats.type);
    value = floats.mul(value, floats.number(scale));
    return aligned ? floats.sub(value, floats.number(0.5)) : value;
  };
  // A region is x1, y1, x2, y2.
  std::optional<RegionAxis> axes[2];
  for (int64_t i : {0, 1})
    if (!(axes[i] = regionAxis(floats, bound(1 - i), bound(3 - i), node.dimExpr(x, 2 + i), bins[i], samples, aligned)))
      return failure();
  auto grid = [&](Value value, int64_t axis) { // as [regions, height, width]
    SmallVector<Value> dims{regions, node.index(1), node.index(1)};
    dims[axis] = axis == 1 ? height : width;
    return node.broadcast(node.reshape(value, dims), {regions, height, width});
  };
  Value number =
      node.cast(node.broadcast(node.reshape(batch, {regions, node.index(1), node.index(1)}), {regions, height, width}),
                node.builder.getI64Type());
  Value image = channelsLast(node, x), combined;
  for (bool lowRow : {true, false})
    for (bool lowColumn : {true, false}) {
      const RegionAxis &row = *axes[0], &column = *axes[1];
      Value indices =
          tuples(node, {number, grid(lowRow ? row.low : row.high, 1), grid(lowColumn ? column.low : column.high, 2)});
      Value read =
          node.cast(node.make<GatherNDOp>(type, image, indices, node.builder.getI64IntegerAttr(0)), floats.type);
      Value weight = floats.mul(grid(lowRow ? row.lowWeight : row.highWeight, 1),
                                grid(lowColumn ? column.lowWeight : column.highWeight, 2));
      Value term = floats.mul(read, withLastAxis(node, weight));
      combined = !combined ? term : mode == "avg" ? floats.add(combined, term) : floats.max(combined, term);
    }
  if (!combined)
    return failure();
  Value ratio = node.index(samples), channels = node.dim(combined, 3);
  Value split = node.reshape(combined, {regions, node.index(bins[0]), ratio, node.index(bins[1]), ratio, channels});
  Value result = node.reduce(mode == "avg" ? Reduction::mean : Reduction::max, split, {2, 4}, false);
  return node.result(node.cast(channelsLast(node, result, /*back=*/true), type));
}

} // namespace

ArrayRef<Operator> samplingOperators() {
  static constexpr Operator table[] = {
      {"AffineGrid", 20, 2, 2, 1, "align_corners:i", importAffineGrid},
      {"GridSample", 16, 2, 2, 1, "align_corners:i mode:s padding_mode:s", importGridSample},
      {"RoiAlign", 10, 3, 3, 1,
       "coordinate_transformation_mode:s mode:s output_height:i output_width:i sampling_ratio:i spatial_scale:f",
       importRoiAlign},
  };
  return table;
}

} // namespace lathe::frontend
