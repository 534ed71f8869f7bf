//===- Convolutions.cpp - Importers of convolutions -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Convolutions are matrix products of windows with the weight as the constant operand.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Arithmetic.h"
#include "frontends/onnx/Windows.h"
#include "llvm/ADT/SmallVectorExtras.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// What both kinds of convolutions check; channels are counted over all groups.
struct Convolution {
  Value x, weight, bias;
  int64_t group = 1, spatial = 0;
  SymExpr channels;   ///< of each group, as the weight has them
  SymExpr given;      ///< the same as x has them: a product or a reshape checks what is not known to be equal
  SymExpr outputs;    ///< of the result in each group
  SymExpr window = 1; ///< elements of a kernel
  WindowAttributes attributes;
};

std::optional<Convolution> convolution(Node &node, Value x, Value weight, Value bias, bool transposed) {
  Convolution c;
  c.x = x;
  c.weight = weight;
  c.bias = bias;
  auto refuse = [&](const Twine &text) -> std::optional<Convolution> {
    (void)node.invalid(text);
    return std::nullopt;
  };
  if (!x || !weight)
    return std::nullopt;
  int64_t rank = Node::rank(x);
  if (rank < 3 || Node::rank(weight) != rank)
    return refuse("expects an input and a weight of the same rank of 3 or more, got ranks " + Twine(rank) + " and " +
                  Twine(Node::rank(weight)));
  Type type = Node::element(x);
  if (Node::element(weight) != type || (bias && Node::element(bias) != type))
    return refuse("expects input, weight and bias of one element type");
  c.spatial = rank - 2;
  c.group = node.intAttr("group", 1);
  SymExpr first = node.dimExpr(weight, 0), second = node.dimExpr(weight, 1), given = node.dimExpr(x, 1);
  std::optional<int64_t> constant = first.constant();
  if (c.group < 1 || c.group > INT32_MAX || constant.value_or(0) % c.group != 0)
    return refuse("expects a group that divides the weight's " + first.str() + " channels, got " + Twine(c.group));
  SymExpr divided = node.context.floorDiv(first, c.group);
  SymExpr channels = transposed ? first : second * c.group;
  if (std::optional<int64_t> difference = (given - channels).constant(); difference && *difference != 0)
    return refuse("expects an input of " + channels.str() + " channels, got " + given.str());
  c.channels = transposed ? divided : second;
  c.given = c.group == 1 ? given : c.channels;
  c.outputs = transposed ? second : divided;
  if (bias) {
    SymExpr extent = Node::rank(bias) == 1 ? node.dimExpr(bias, 0) : SymExpr(-1);
    if (Node::rank(bias) != 1 || (extent - c.outputs * c.group).constant().value_or(0) != 0)
      return refuse("expects a bias of " + (c.outputs * c.group).str() + " elements");
  }
  Exprs kernel;
  for (int64_t axis = 2; axis < rank; ++axis)
    kernel.push_back(node.dimExpr(weight, axis));
  std::optional<WindowAttributes> attributes = windowAttributes(node, kernel);
  if (!attributes)
    return std::nullopt;
  c.attributes = *attributes;
  for (const SymExpr &size : c.attributes.kernel)
    c.window = c.window * size;
  return c;
}

/// The input with its channels split by groups, where there are any: [n, (group,) c/group, s…].
Value splitGroups(Node &node, const Convolution &c) {
  if (c.group == 1)
    return c.x;
  SmallVector<Value> dims = node.dims(c.x);
  dims[1] = node.index(c.given);
  dims.insert(dims.begin() + 1, node.index(c.group));
  return node.reshape(c.x, dims);
}

/// Windows [n, (group,) c/group, o…, k…] as matrices [n, (group,) o, c/group * k].
Value columns(Node &node, const Convolution &c, Value windows) {
  if (!windows)
    return {};
  int64_t leading = c.group == 1 ? 1 : 2, inner = leading + 1 + c.spatial;
  Ints permutation = sequence(0, leading);
  llvm::append_range(permutation, sequence(leading + 1, inner));
  permutation.push_back(leading);
  llvm::append_range(permutation, sequence(inner, inner + c.spatial));
  Value ordered = node.transpose(windows, permutation);
  SmallVector<Value> extents = node.dims(ordered), dims = llvm::to_vector(ArrayRef(extents).take_front(leading));
  dims.push_back(node.product(ArrayRef(extents).slice(leading, c.spatial)));
  dims.push_back(node.index(c.given * c.window));
  return node.reshape(ordered, dims);
}

/// From the product [n, (group,) o, m/group] to [n, m, o…], with the bias.
Value finish(Node &node, const Convolution &c, Value product, ArrayRef<Value> extents) {
  if (!product)
    return {};
  Type type = Node::element(product);
  // Before the axes are exchanged, where a library's product adds it.
  bool direct = c.group == 1 && c.bias;
  if (direct)
    product = node.make<AddOp>(type, product, c.bias);
  product = node.transpose(product, c.group == 1 ? Ints{0, 2, 1} : Ints{0, 1, 3, 2});
  SmallVector<Value> dims{node.dim(product, 0), node.index(c.outputs * c.group)};
  llvm::append_range(dims, extents);
  Value result = node.reshape(product, dims);
  if (c.bias && !direct)
    result = node.make<AddOp>(type, result, node.alongAxis(c.bias, 1, c.spatial + 2));
  return result;
}

/// Whether windows are the blocks of a grid, known not to be padded.
bool isGrid(const Convolution &c) {
  const WindowAttributes &a = c.attributes;
  if (c.group != 1 || a.hasPads())
    return false;
  for (int64_t i = 0; i < c.spatial; ++i) {
    bool alone = a.kernel[i].isConstant(1);
    if (!a.kernel[i].isConstant(a.strides[i]) ||
        (!alone && (a.dilations[i] > 1 || Node::type(c.x).isDynamicDim(2 + i))))
      return false;
  }
  return true;
}

/// The product where windows are blocks: nothing overlaps, so the blocks are a reshape away.
Value gridProduct(Node &node, const Convolution &c, ArrayRef<Value> extents, Value weight) {
  Type type = Node::element(c.x);
  Value x = c.x, n = node.dim(x, 0), area = node.product(extents), channels = node.index(c.given);
  if (c.window.isConstant(1))
    return node.make<MatmulOp>(type, node.reshape(x, {n, channels, area}), weight, true, true);
  SmallVector<Value> dims{n, channels};
  Ints permutation{0}, inner{1};
  for (int64_t i = 0; i < c.spatial; ++i) {
    int64_t kernel = c.attributes.strides[i], extent = Node::type(c.x).getDimSize(2 + i);
    if (extent % kernel != 0)
      x = node.slice(x, 2 + i, node.index(0), node.index(extent / kernel * kernel));
    dims.push_back(extents[i]);
    dims.push_back(node.index(kernel));
    permutation.push_back(2 + 2 * i);
    inner.push_back(3 + 2 * i);
  }
  llvm::append_range(permutation, inner);
  Value blocks = node.transpose(node.reshape(x, dims), permutation);
  Value rows = node.reshape(blocks, {n, area, node.index(c.given * c.window)});
  return node.make<MatmulOp>(type, rows, weight, false, true);
}

/// One channel each: a weighted sum of the windows, which are never stored.
Value depthwise(Node &node, const Convolution &c, Value read) {
  int64_t rank = c.spatial + 2;
  Type type = Node::element(c.x);
  SmallVector<Value> dims(c.spatial + 1, node.index(1));
  dims.front() = node.index(c.group);
  llvm::append_range(dims, node.indices(c.attributes.kernel));
  Value terms = node.make<MulOp>(type, read, node.reshape(c.weight, dims));
  Value sum = node.reduce(Reduction::sum, terms, sequence(rank, rank + c.spatial), false);
  return c.bias ? node.make<AddOp>(type, sum, node.alongAxis(c.bias, 1, rank)) : sum;
}

Value convolve(Node &node, Value x, Value weight, Value bias) {
  std::optional<Convolution> c = convolution(node, x, weight, bias, /*transposed=*/false);
  std::optional<WindowPlacement> placement = c ? placeWindows(node, x, c->attributes) : std::nullopt;
  if (!placement)
    return {};
  Type type = Node::element(x);
  auto read = [&](Value input) { return windows(node, input, c->attributes, *placement, 0); };
  // Products of narrow floats would be rounded one by one, which those of a matrix product are not.
  bool isNarrow = isa<FloatType>(type) && type.getIntOrFloatBitWidth() < 32;
  if (c->group > 1 && c->channels.isConstant(1) && c->outputs.isConstant(1) && !isNarrow)
    return depthwise(node, *c, read(x));
  SmallVector<Value> extents = node.indices(placement->extents);
  SmallVector<Value> dims{node.index(c->outputs), node.index(c->channels * c->window)};
  if (c->group > 1)
    dims.insert(dims.begin(), node.index(c->group));
  Value matrix = node.reshape(weight, dims);
  Value product = isGrid(*c)
                      ? gridProduct(node, *c, extents, matrix)
                      : node.make<MatmulOp>(type, columns(node, *c, read(splitGroups(node, *c))), matrix, false, true);
  return finish(node, *c, product, extents);
}

} // namespace

LogicalResult importConv(Node &node) {
  return node.result(convolve(node, node.input(0), node.input(1), node.input(2)));
}

namespace {

//===----------------------------------------------------------------------===//
// Convolutions of integers
//===----------------------------------------------------------------------===//

/// `x - zeroPoint` as i32; the zero point, which may be absent, is a scalar or a vector along `axis`.
Value centered(Node &node, Value x, Value zeroPoint, int64_t axis) {
  Type type = node.builder.getI32Type(), element = Node::element(x);
  if (!isa<IntegerType>(element) || element.getIntOrFloatBitWidth() != 8) {
    (void)node.invalid("expects integers of 8 bits");
    return {};
  }
  Value wide = node.cast(x, type);
  if (!zeroPoint)
    return wide;
  if (Node::rank(zeroPoint) > 1 || Node::element(zeroPoint) != element) {
    (void)node.invalid("expects zero points of rank 0 or 1 of the same type as what they belong to");
    return {};
  }
  Value point = node.cast(zeroPoint, type);
  return node.make<SubOp>(type, wide, node.alongAxis(point, axis, Node::rank(x)));
}

LogicalResult importConvInteger(Node &node) {
  Value x = centered(node, node.input(0), node.input(2), 1), weight = centered(node, node.input(1), node.input(3), 0);
  return x && weight ? node.result(convolve(node, x, weight, {})) : failure();
}

} // namespace

LogicalResult importQLinearConv(Node &node) {
  Value scaleX = node.input(1), scaleW = node.input(4), scaleY = node.input(6), zeroY = node.input(7);
  Value x = centered(node, node.input(0), node.input(2), 1), weight = centered(node, node.input(3), node.input(5), 0);
  if (!x || !weight)
    return failure();
  Type type = node.builder.getF32Type(), result = Node::element(zeroY);
  for (Value scale : {scaleX, scaleW, scaleY})
    if (Node::element(scale) != type || Node::rank(scale) > 1)
      return node.invalid("expects scales of rank 0 or 1 of f32");
  if (!isa<IntegerType>(result) || result.getIntOrFloatBitWidth() != 8 || Node::rank(zeroY) > 1)
    return node.invalid("expects a zero point of the result of 8 bits and of rank 0 or 1");
  Value sum = node.cast(convolve(node, x, weight, node.input(8)), type);
  if (!sum)
    return failure();
  int64_t rank = Node::rank(sum);
  auto byChannel = [&](Value value) { return node.alongAxis(value, 1, rank); };
  Value scale = node.make<DivOp>(type, node.make<MulOp>(type, byChannel(scaleX), byChannel(scaleW)), byChannel(scaleY));
  Value rounded = node.make<RoundOp>(type, node.make<MulOp>(type, sum, scale));
  Value moved = node.make<AddOp>(type, rounded, byChannel(node.cast(zeroY, type)));
  return node.result(node.cast(moved, result)); // saturates
}

namespace {

//===----------------------------------------------------------------------===//
// Transposed convolutions
//===----------------------------------------------------------------------===//

/// Windows of a transposed convolution: outputs o meet inputs i where o = i * stride + k * dilation - pad, so they read
/// a window backwards from the input spread by the stride.
std::optional<WindowPlacement> placeTransposed(Node &node, const Convolution &c) {
  const WindowAttributes &a = c.attributes;
  ShapeContext &context = node.context;
  std::optional<Ints> behind = intList(node, "output_padding", a.kernel.size(), 0, 0);
  std::optional<Ints> shape = intList(node, "output_shape", a.kernel.size(), 0, 0);
  if (!behind || !shape)
    return std::nullopt;
  WindowPlacement result;
  for (size_t i = 0; i < a.kernel.size(); ++i) {
    SymExpr in = node.dimExpr(c.x, 2 + static_cast<int64_t>(i)), stride = a.strides[i];
    SymExpr whole = (in - 1) * stride + (*behind)[i] + a.span(i), extent, begin = a.begins[i];
    if (node.attribute("output_shape") || a.isSame()) {
      extent = node.attribute("output_shape") ? SymExpr((*shape)[i]) : in * stride;
      begin = leadingPad(node, context.max(whole - extent, 0), a.autoPad == "SAME_UPPER");
    } else {
      extent = whole - begin - a.ends[i];
    }
    if (context.atMost(extent, -1)) {
      (void)node.invalid("expects pads that leave something of the output, got an extent of " + extent.str() +
                         " at spatial axis " + Twine(i));
      return std::nullopt;
    }
    result.low.push_back(SymExpr(0) - begin);
    result.extents.push_back(context.max(extent, 0));
  }
  return result;
}

LogicalResult importConvTranspose(Node &node) {
  std::optional<Convolution> c = convolution(node, node.input(0), node.input(1), node.input(2), /*transposed=*/true);
  std::optional<WindowPlacement> placement = c ? placeTransposed(node, *c) : std::nullopt;
  if (!placement)
    return failure();
  Type type = Node::element(c->x);
  const WindowAttributes &a = c->attributes;
  Ints backwards = llvm::map_to_vector(a.dilations, [](int64_t d) { return -d; });
  Value read = node.make<WindowsOp>(type, splitGroups(node, *c), node.indices(a.kernel), node.indices(placement->low),
                                    node.indices(placement->extents), Ints(a.kernel.size(), 1), backwards, a.strides,
                                    APFloat(0.0));
  // The weight is [c, m/group, k…]; the product runs over c/group and k.
  Value group = node.index(c->group), channels = node.index(c->channels), outputs = node.index(c->outputs);
  Value weight = node.reshape(c->weight, {group, channels, outputs, node.index(c->window)});
  SmallVector<Value> dims{node.index(c->channels * c->window), outputs};
  if (c->group > 1)
    dims.insert(dims.begin(), group);
  weight = node.reshape(node.transpose(weight, {0, 1, 3, 2}), dims);
  Value product = node.make<MatmulOp>(type, columns(node, *c, read), weight, false, false);
  return node.result(finish(node, *c, product, node.indices(placement->extents)));
}

//===----------------------------------------------------------------------===//
// Col2Im
//===----------------------------------------------------------------------===//

/// Blocks of which there are many, or as many as the run says: their elements [n, c, k…, l…] are added up in the padded
/// image, where each has its place.
Value scatterBlocks(Node &node, Value x, ArrayRef<SymExpr> block, ArrayRef<SymExpr> counts, ArrayRef<SymExpr> image,
                    ArrayRef<int64_t> strides, ArrayRef<int64_t> dilations, ArrayRef<int64_t> pads) {
  auto spatial = static_cast<int64_t>(block.size());
  Arithmetic integers{node, node.builder.getI64Type()};
  SymExpr channels = node.dimExpr(x, 1), elements = 1, places = 1, area = 1;
  for (const SymExpr &size : block)
    channels = node.context.floorDiv(channels, size);
  Value place = integers.number(0);
  SmallVector<SymExpr> dims{node.dimExpr(x, 0), channels}, padded;
  for (int64_t i = 0; i < spatial; ++i) {
    padded.push_back(image[i] + pads[i] + pads[spatial + i]);
    auto factor = [&](int64_t value) { return integers.number(static_cast<double>(value)); };
    Value inBlock = integers.mul(integers.along(integers.range(block[i]), i, 2 * spatial), factor(dilations[i]));
    Value ofBlock =
        integers.mul(integers.along(integers.range(counts[i]), spatial + i, 2 * spatial), factor(strides[i]));
    place = integers.add(integers.mul(place, integers.of(padded[i])), integers.add(inBlock, ofBlock));
    elements = elements * block[i];
    places = places * counts[i];
    area = area * padded[i];
  }
  Type type = Node::element(x);
  SymExpr images = dims[0] * dims[1], all = elements * places;
  Value indices = node.broadcast(node.reshape(place, {node.index(1), node.index(all)}), node.indices({images, all}));
  Value zeros = node.broadcast(node.scalar(type, 0), node.indices({images, area}));
  Value updates = node.reshape(x, node.indices({images, all}));
  Value sum = updates && indices && zeros
                  ? node.make<ScatterElementsOp>(type, ScatterKind::add, zeros, indices, updates, int64_t(1))
                  : Value();
  llvm::append_range(dims, padded);
  sum = node.reshape(sum, node.indices(dims));
  for (int64_t i = 0; i < spatial; ++i)
    sum = node.slice(sum, 2 + i, node.index(pads[i]), node.index(image[i] + pads[i]));
  return sum;
}

LogicalResult importCol2Im(Node &node) {
  constexpr int64_t kMostTerms = 256;
  Value x = node.input(0);
  std::optional<SmallVector<Value>> image = node.indices(node.input(1), "image_shape");
  std::optional<SmallVector<Value>> sizes = image ? node.indices(node.input(2), "block_shape") : std::nullopt;
  if (!sizes)
    return failure();
  size_t spatial = sizes->size();
  if (spatial < 1 || image->size() != spatial || Node::rank(x) != 3)
    return node.invalid("expects an input of rank 3 and as many sizes of images as of blocks, got rank " +
                        Twine(Node::rank(x)) + " and " + Twine(image->size()) + " and " + Twine(spatial) + " sizes");
  std::optional<Ints> strides = intList(node, "strides", spatial, 1, 1),
                      dilations = intList(node, "dilations", spatial, 1, 1);
  std::optional<Ints> pads = intList(node, "pads", 2 * spatial, 0, 0);
  if (!strides || !dilations || !pads)
    return failure();
  // How many blocks there are along each axis follows from the image.
  Exprs block, counts, extents;
  int64_t places = 1; // 0: not known, or too many for a term each
  for (size_t i = 0; i < spatial; ++i) {
    block.push_back(node.context.indexValue((*sizes)[i]));
    int64_t size = block[i].constant().value_or(0);
    if (block[i].constant() && (size < 1 || size > INT32_MAX))
      return node.invalid("expects a block_shape from 1 to " + Twine(INT32_MAX) + ", got " + Twine(size));
    places = size <= kMostTerms && places * size <= kMostTerms ? places * size : 0;
    extents.push_back(node.context.indexValue((*image)[i]));
    SymExpr room = extents[i] + (*pads)[i] + (*pads)[spatial + i] - (block[i] - 1) * (*dilations)[i] - 1;
    counts.push_back(node.context.max(node.context.floorDiv(room + (*strides)[i], (*strides)[i]), 0));
  }
  if (places == 0)
    return node.result(scatterBlocks(node, x, block, counts, extents, *strides, *dilations, *pads));
  // [n, c, k, l…]
  SmallVector<Value> dims{node.dim(x, 0), node.index(node.context.floorDiv(node.dimExpr(x, 1), places)),
                          node.index(places)};
  llvm::append_range(dims, node.indices(counts));
  Value blocks = node.reshape(x, dims), sum;
  SmallVector<Value> alone(spatial, node.index(1));
  SmallVector<Value> summed{dims[0], dims[1]};
  llvm::append_range(summed, *image);
  Type type = Node::element(x);
  // Element k of the blocks, spread by the strides to where it stands in the image.
  for (int64_t k = 0; k < places && blocks; ++k) {
    SmallVector<Value> low(spatial);
    int64_t rest = k;
    for (size_t i = spatial; i-- > 0; rest /= *block[i].constant())
      low[i] = node.index((rest % *block[i].constant()) * (*dilations)[i] - (*pads)[i]);
    SmallVector<Value> own(dims);
    own.erase(own.begin() + 2);
    Value elements = node.reshape(node.slice(blocks, 2, node.index(k), node.index(k + 1)), own);
    Value spread = elements ? node.make<WindowsOp>(type, elements, alone, low, *image, Ints(spatial, 1),
                                                   Ints(spatial, 1), *strides, APFloat(0.0))
                            : Value();
    Value term = node.reshape(spread, summed);
    sum = sum ? node.make<AddOp>(type, sum, term) : term;
  }
  return node.result(sum);
}

} // namespace

ArrayRef<Operator> convolutionOperators() {
  static constexpr Operator table[] = {
      {"Conv", 11, 2, 3, 1, "auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I", importConv},
      {"ConvInteger", 10, 2, 4, 1, "auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I", importConvInteger},
      {"QLinearConv", 10, 8, 9, 1, "auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I", importQLinearConv},
      {"ConvTranspose", 11, 2, 3, 1,
       "auto_pad:s dilations:I group:i kernel_shape:I output_padding:I output_shape:I pads:I strides:I",
       importConvTranspose},
      {"Col2Im", 18, 3, 3, 1, "dilations:I pads:I strides:I", importCol2Im},
  };
  return table;
}

} // namespace lathe::frontend
