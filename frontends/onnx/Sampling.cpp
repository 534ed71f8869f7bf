//===- Sampling.cpp - Importers that read images at computed places -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Images are turned such that channels are last; what lies around a place is gathered by tuples of indices and summed
// with weights.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Arithmetic.h"
#include <limits>

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

/// What an axis of each region is divided into.
struct RegionSamples {
  SymExpr most; ///< samples of a bin; regions may have fewer
  Value own;    ///< how many each region has, [regions, 1]; null where all have `most`
};

/// As many samples as a bin has elements.
std::optional<RegionSamples> adaptiveSamples(Arithmetic &floats, Value length, int64_t bins) {
  Node &node = floats.node;
  Type i64 = node.builder.getI64Type();
  Value own = node.make<CeilOp>(floats.type, floats.div(length, floats.number(static_cast<double>(bins))));
  Value most = node.reduce(Reduction::max, node.cast(own, i64), {0, 1}, false);
  if (!most)
    return std::nullopt;
  Value count = node.builder.create<ToIndexOp>(node.loc, node.builder.getIndexType(), most, uint64_t(0));
  return RegionSamples{node.context.max(node.context.indexValue(count), 1), own};
}

std::optional<RegionAxis> regionAxis(Arithmetic &floats, Value begin, Value length, const SymExpr &extent, int64_t bins,
                                     const RegionSamples &samples) {
  Node &node = floats.node;
  Value zero = floats.number(0), one = floats.number(1), last = floats.of(extent - 1), place, used;
  if (!samples.own) {
    Value step = floats.div(floats.div(length, floats.number(static_cast<double>(bins))), floats.of(samples.most));
    Value offset = floats.along(floats.add(floats.range(samples.most * bins), floats.number(0.5)), 1, 2);
    place = floats.add(begin, floats.mul(offset, step));
  } else { // [regions, bins, samples]
    Value three[] = {floats.along(begin, 0, 3), floats.along(length, 0, 3), floats.along(samples.own, 0, 3)};
    Value width = floats.div(three[1], floats.number(static_cast<double>(bins)));
    Value sample = floats.along(floats.range(samples.most), 2, 3);
    Value within = floats.div(floats.add(sample, floats.number(0.5)), three[2]);
    place = floats.add(three[0], floats.mul(floats.add(floats.along(floats.range(bins), 1, 3), within), width));
    used = floats.compare(Comparison::lt, sample, three[2]);
    SmallVector<Value> dims{node.dim(begin, 0), node.index(samples.most * bins)};
    used = used ? node.reshape(node.broadcast(used, node.dims(place)), dims) : used;
    place = node.reshape(place, dims);
  }
  // More than one element outside counts as 0; what is nearer reads the border.
  Value inside = node.make<AndOp>(node.builder.getI1Type(), floats.compare(Comparison::ge, place, floats.number(-1)),
                                  floats.compare(Comparison::le, place, floats.of(extent)));
  if (used)
    inside = node.make<AndOp>(node.builder.getI1Type(), inside, used);
  Value clamped = floats.clamp(place, zero, last), low = floats.floor(clamped);
  Value fraction = floats.sub(clamped, low);
  RegionAxis result{low, floats.min(floats.add(low, one), last), floats.select(inside, floats.sub(one, fraction), zero),
                    floats.select(inside, fraction, zero)};
  return result.high && result.lowWeight && result.highWeight ? std::optional(result) : std::nullopt;
}

/// What the attributes of RoiAlign say.
struct RoiAlign {
  bool isMean = true;
  bool isAligned = true;  ///< half_pixel
  int64_t samples = 0;    ///< of a bin along each axis; 0: as many as a region has pixels there
  int64_t bins[2] = {1, 1};
  double scale = 1;
};

std::optional<RoiAlign> roiAlignOf(Node &node) {
  std::string mode = node.stringAttr("mode", "avg");
  std::string transformation =
      node.stringAttr("coordinate_transformation_mode", node.opset < 16 ? "output_half_pixel" : "half_pixel");
  RoiAlign own{mode == "avg", transformation == "half_pixel", node.intAttr("sampling_ratio", 0)};
  own.bins[0] = node.intAttr("output_height", 1);
  own.bins[1] = node.intAttr("output_width", 1);
  own.scale = node.floatAttr("spatial_scale", 1);
  constexpr int64_t kLargest = INT16_MAX;
  bool fits = llvm::all_of(ArrayRef<int64_t>{own.samples + 1, own.bins[0], own.bins[1]},
                           [](int64_t value) { return value >= 1 && value <= kLargest; });
  if (mode != "avg" && mode != "max")
    (void)node.invalid("expects mode to be avg or max, got '" + mode + "'");
  else if (!own.isAligned && transformation != "output_half_pixel")
    (void)node.invalid("expects coordinate_transformation_mode to be half_pixel or output_half_pixel, got '" +
                       transformation + "'");
  else if (!fits)
    (void)node.invalid("expects output_height and output_width from 1, and sampling_ratio from 0, to " +
                       Twine(kLargest));
  else
    return own;
  return std::nullopt;
}

/// [regions, height, width, channels]: the four neighbours of each place, weighted, and added up, or the largest of them.
Value neighbours(Arithmetic &floats, Value x, Value batch, Value regions, const RegionAxis &row,
                 const RegionAxis &column, Value height, Value width, bool isMean) {
  Node &node = floats.node;
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
      Value indices =
          tuples(node, {number, grid(lowRow ? row.low : row.high, 1), grid(lowColumn ? column.low : column.high, 2)});
      Value read = node.cast(
          node.make<GatherNDOp>(Node::element(x), image, indices, node.builder.getI64IntegerAttr(0)), floats.type);
      Value weight = floats.mul(grid(lowRow ? row.lowWeight : row.highWeight, 1),
                                grid(lowColumn ? column.lowWeight : column.highWeight, 2));
      Value term = floats.mul(read, withLastAxis(node, weight));
      combined = !combined ? term : isMean ? floats.add(combined, term) : floats.max(combined, term);
    }
  return combined;
}

/// The mean or the largest of a bin's samples, of [regions, bins, samples, bins, samples, channels].
Value overSamples(Arithmetic &floats, Value split, const RoiAlign &align, const RegionSamples (&taken)[2]) {
  Node &node = floats.node;
  if (align.samples)
    return node.reduce(align.isMean ? Reduction::mean : Reduction::max, split, {2, 4}, false);
  if (align.isMean) { // what a region does not use is 0
    Value count = floats.max(floats.mul(taken[0].own, taken[1].own), floats.number(1));
    return floats.div(node.reduce(Reduction::sum, split, {2, 4}, false), floats.along(count, 0, 4));
  }
  Value used[2]; // [regions, 1, samples, 1, 1, 1] and [regions, 1, 1, 1, samples, 1]
  for (int64_t i : {0, 1})
    used[i] = floats.compare(Comparison::lt, floats.along(floats.range(taken[i].most), 2 + 2 * i, 6),
                             floats.along(taken[i].own, 0, 6));
  Value both = node.make<AndOp>(node.builder.getI1Type(), used[0], used[1]);
  Value lowest = floats.number(-std::numeric_limits<double>::infinity());
  Value most = node.reduce(Reduction::max, floats.select(both, split, lowest), {2, 4}, false);
  Value isEmpty = floats.compare(Comparison::eq, most, lowest); // no sample at all
  return floats.select(isEmpty, floats.number(0), most);
}

LogicalResult importRoiAlign(Node &node) {
  Value x = node.input(0), rois = node.input(1), batch = node.input(2);
  Type type = Node::element(x);
  if (!isa<FloatType>(type) || Node::rank(x) != 4 || Node::rank(rois) != 2 || Node::element(rois) != type ||
      node.dimExpr(rois, 1).constant().value_or(4) != 4 || Node::rank(batch) != 1 ||
      !isa<IntegerType>(Node::element(batch)))
    return node.invalid(
        "expects floats of rank 4, regions of 4 such floats each, and an integer index for each region");
  std::optional<RoiAlign> align = roiAlignOf(node);
  if (!align)
    return failure();
  Arithmetic floats{node, type.isF64() ? type : node.builder.getF32Type()};
  Value regions = node.dim(rois, 0);
  rois = node.reshape(rois, {regions, node.index(4)}); // where that is not known yet
  auto bound = [&](int64_t i) {                        // [regions, 1]
    Value value = node.cast(node.slice(rois, 1, node.index(i), node.index(i + 1)), floats.type);
    value = floats.mul(value, floats.number(align->scale));
    return align->isAligned ? floats.sub(value, floats.number(0.5)) : value;
  };
  // A region is x1, y1, x2, y2.
  std::optional<RegionAxis> axes[2];
  RegionSamples taken[2];
  for (int64_t i : {0, 1}) {
    Value begin = bound(1 - i), length = floats.sub(bound(3 - i), begin);
    if (!align->isAligned)
      length = floats.max(length, floats.number(1));
    std::optional<RegionSamples> own = align->samples ? RegionSamples{SymExpr(align->samples), Value()}
                                                      : adaptiveSamples(floats, length, align->bins[i]);
    if (!own || !(axes[i] = regionAxis(floats, begin, length, node.dimExpr(x, 2 + i), align->bins[i], *own)))
      return failure();
    taken[i] = *own;
  }
  Value height = node.index(taken[0].most * align->bins[0]), width = node.index(taken[1].most * align->bins[1]);
  Value combined = neighbours(floats, x, batch, regions, *axes[0], *axes[1], height, width, align->isMean);
  if (!combined)
    return failure();
  Value channels = node.dim(combined, 3);
  Value split =
      node.reshape(combined, {regions, node.index(align->bins[0]), node.index(taken[0].most),
                              node.index(align->bins[1]), node.index(taken[1].most), channels});
  Value result = overSamples(floats, split, *align, taken);
  return node.result(node.cast(channelsLast(node, result, /*back=*/true), type));
}

//===----------------------------------------------------------------------===//
// MaxRoiPool
//===----------------------------------------------------------------------===//

/// Which elements along an axis of `extent` lie in each bin of each region, [regions, bins, extent].
Value insideBins(Arithmetic &floats, Value first, Value last, const SymExpr &extent, int64_t bins) {
  Node &node = floats.node;
  Value one = floats.number(1), length = floats.max(floats.add(floats.sub(last, first), one), one);
  Value width = floats.div(floats.along(length, 0, 3), floats.number(static_cast<double>(bins)));
  Value bin = floats.along(floats.range(bins), 1, 3), start = floats.along(first, 0, 3);
  Value begin = floats.add(floats.floor(floats.mul(bin, width)), start);
  Value end = floats.add(node.make<CeilOp>(floats.type, floats.mul(floats.add(bin, one), width)), start);
  Value place = floats.along(floats.range(extent), 2, 3);
  return node.make<AndOp>(node.builder.getI1Type(), floats.compare(Comparison::ge, place, begin),
                          floats.compare(Comparison::lt, place, end));
}

LogicalResult importMaxRoiPool(Node &node) {
  Value x = node.input(0), rois = node.input(1);
  Type type = Node::element(x);
  if (!isa<FloatType>(type) || Node::rank(x) != 4 || Node::rank(rois) != 2 || Node::element(rois) != type ||
      node.dimExpr(rois, 1).constant().value_or(5) != 5)
    return node.invalid("expects floats of rank 4, and regions of 5 such floats each");
  std::optional<Ints> bins = node.intsAttr("pooled_shape");
  constexpr int64_t kLargest = INT16_MAX;
  if (!bins || bins->size() != 2 || llvm::any_of(*bins, [](int64_t n) { return n < 1 || n > kLargest; }))
    return node.invalid("expects two values of pooled_shape from 1 to " + Twine(kLargest));
  Arithmetic floats{node, type.isF64() ? type : node.builder.getF32Type()};
  Value regions = node.dim(rois, 0), scale = floats.number(node.floatAttr("spatial_scale", 1));
  rois = node.reshape(rois, {regions, node.index(5)});
  auto column = [&](int64_t i) { return node.slice(rois, 1, node.index(i), node.index(i + 1)); };
  auto bound = [&](int64_t i) { // halves are rounded away from zero
    Value value = floats.mul(node.cast(column(i), floats.type), scale);
    Value down = floats.floor(floats.add(value, floats.number(0.5)));
    Value up = node.make<CeilOp>(floats.type, floats.sub(value, floats.number(0.5)));
    return floats.select(floats.compare(Comparison::lt, value, floats.number(0)), up, down);
  };
  // A region is batch, x1, y1, x2, y2.
  Value rows = insideBins(floats, bound(2), bound(4), node.dimExpr(x, 2), (*bins)[0]);
  Value columns = insideBins(floats, bound(1), bound(3), node.dimExpr(x, 3), (*bins)[1]);
  Value number = node.reshape(node.cast(column(0), node.builder.getI64Type()), {regions});
  Value image = x && number ? node.make<GatherOp>(type, x, number, int64_t(0)) : Value();
  if (!rows || !columns || !image)
    return failure();
  Value lowest = node.scalar(type, -std::numeric_limits<double>::infinity());
  auto masked = [&](Value inside, Value values, int64_t axis) { // [regions, bins, extent] and five axes
    SmallVector<Value> dims(5, node.index(1));
    dims[0] = regions;
    dims[axis] = node.dim(inside, 1);
    dims[axis + 1] = node.dim(inside, 2);
    return node.reduce(Reduction::max, node.make<SelectOp>(type, node.reshape(inside, dims), values, lowest), {axis + 1},
                       false);
  };
  SmallVector<Value> dims = node.dims(image);
  dims.insert(dims.begin() + 3, node.index(1));
  Value narrow = masked(columns, node.reshape(image, dims), 3); // [regions, c, h, bins]
  if (!narrow)
    return failure();
  dims = node.dims(narrow);
  dims.insert(dims.begin() + 2, node.index(1));
  Value result = masked(rows, node.reshape(narrow, dims), 2);
  Value isEmpty = node.make<CompareOp>(node.builder.getI1Type(), Comparison::eq, result, lowest);
  return node.result(node.make<SelectOp>(type, isEmpty, node.scalar(type, 0), result));
}

//===----------------------------------------------------------------------===//
// CropAndResize
//===----------------------------------------------------------------------===//

LogicalResult importCropAndResize(Node &node) {
  Value x = node.input(0), rois = node.input(1), batch = node.input(2);
  Type type = Node::element(x), boolean = node.builder.getI1Type(), i64 = node.builder.getI64Type();
  if (!isa<FloatType>(type) || Node::rank(x) != 4 || Node::rank(rois) != 2 || Node::element(rois) != type ||
      node.dimExpr(rois, 1).constant().value_or(4) != 4 || Node::rank(batch) != 1 || !isa<IntegerType>(Node::element(batch)))
    return node.invalid("expects floats of rank 4, regions of 4 such floats each, and an integer index for each region");
  std::string mode = node.stringAttr("mode", "bilinear");
  if (mode != "bilinear" && mode != "nearest")
    return node.invalid("expects mode to be bilinear or nearest, got '" + mode + "'");
  std::optional<SmallVector<Value>> size = node.indices(node.input(3), "crop_size");
  if (!size)
    return failure();
  if (size->size() != 2)
    return node.invalid("expects two values of crop_size, got " + Twine(size->size()));
  Arithmetic floats{node, type.isF64() ? type : node.builder.getF32Type()};
  Value regions = node.dim(rois, 0), zero = floats.number(0), one = floats.number(1);
  rois = node.reshape(rois, {regions, node.index(4)});
  auto bound = [&](int64_t i) { return node.cast(node.slice(rois, 1, node.index(i), node.index(i + 1)), floats.type); };
  SmallVector<Value> shape{regions, (*size)[0], (*size)[1]}, lows, highs, fractions;
  Value outside;
  for (int64_t axis : {0, 1}) { // a region is y1, x1, y2, x2
    SymExpr count = node.context.indexValue((*size)[axis]);
    Value last = floats.of(node.dimExpr(x, 2 + axis) - 1), begin = bound(axis), end = bound(2 + axis);
    Value step = floats.div(floats.mul(floats.sub(end, begin), last), floats.max(floats.of(count - 1), one));
    Value spread = floats.add(floats.mul(begin, last), floats.mul(floats.along(floats.range(count), 1, 2), step));
    // A single place is in the middle.
    Value middle = floats.mul(floats.mul(floats.add(begin, end), floats.number(0.5)), last);
    Value place = floats.select(floats.compare(Comparison::gt, floats.of(count), one), spread, middle);
    Value beyond = node.make<OrOp>(boolean, floats.compare(Comparison::lt, place, zero),
                                   floats.compare(Comparison::gt, place, last));
    auto onGrid = [&](Value value) {
      SmallVector<Value> dims{regions, node.index(1), node.index(1)};
      dims[1 + axis] = (*size)[axis];
      return value ? node.broadcast(node.reshape(value, dims), shape) : value;
    };
    Value here = onGrid(beyond);
    outside = outside ? node.make<OrOp>(boolean, outside, here) : here;
    Value clamped = floats.clamp(place, zero, last);
    if (mode == "nearest")
      clamped = floats.floor(floats.add(clamped, floats.number(0.5)));
    Value low = floats.floor(clamped);
    lows.push_back(onGrid(low));
    highs.push_back(onGrid(floats.min(floats.add(low, one), last)));
    fractions.push_back(onGrid(floats.sub(clamped, low)));
  }
  Value number = node.cast(node.broadcast(node.reshape(batch, {regions, node.index(1), node.index(1)}), shape), i64);
  Value image = channelsLast(node, x), sum;
  for (int64_t corner = 0; corner < (mode == "nearest" ? 1 : 4); ++corner) {
    bool below = corner / 2, right = corner % 2;
    Value indices = tuples(node, {number, below ? highs[0] : lows[0], right ? highs[1] : lows[1]});
    Value read = node.cast(node.make<GatherNDOp>(type, image, indices, node.builder.getI64IntegerAttr(0)), floats.type);
    if (mode == "nearest") {
      sum = read;
      break;
    }
    Value vertical = below ? fractions[0] : floats.sub(one, fractions[0]);
    Value horizontal = right ? fractions[1] : floats.sub(one, fractions[1]);
    Value term = floats.mul(read, withLastAxis(node, floats.mul(vertical, horizontal)));
    sum = sum ? floats.add(sum, term) : term;
  }
  Value filled = outside && sum ? floats.select(withLastAxis(node, outside),
                                                floats.number(node.floatAttr("extrapolation_value", 0)), sum)
                                : Value();
  return node.result(channelsLast(node, node.cast(filled, type), /*back=*/true));
}

} // namespace

ArrayRef<Operator> contribSamplingOperators() {
  static constexpr Operator table[] = {
      {"CropAndResize", 1, 4, 4, 1, "extrapolation_value:f mode:s", importCropAndResize},
  };
  return table;
}

ArrayRef<Operator> samplingOperators() {
  static constexpr Operator table[] = {
      {"AffineGrid", 20, 2, 2, 1, "align_corners:i", importAffineGrid},
      {"GridSample", 16, 2, 2, 1, "align_corners:i mode:s padding_mode:s", importGridSample},
      {"MaxRoiPool", 1, 2, 2, 1, "pooled_shape:I spatial_scale:f", importMaxRoiPool},
      {"RoiAlign", 10, 3, 3, 1,
       "coordinate_transformation_mode:s mode:s output_height:i output_width:i sampling_ratio:i spatial_scale:f",
       importRoiAlign},
  };
  return table;
}

} // namespace lathe::frontend
