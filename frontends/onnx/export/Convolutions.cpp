//===- Convolutions.cpp - Convolutions and pools as nodes -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// What reads windows is often a convolution or a pool, which runtimes have kernels for that never store the windows.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Emitter.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {
namespace {

/// Windows as the attributes of a node say them.
struct Sliding {
  Ints kernel, strides, dilations, pads;
  int64_t elements = 1; ///< of a kernel
};

/// What follows the input along an axis, so that there are as many windows as `extent` says.
std::optional<int64_t> trailingPad(ShapeContext &shapes, const SymExpr &in, const SymExpr &extent, int64_t low, int64_t span, int64_t stride) {
  constexpr int64_t kMost = 1 << 12;
  for (int64_t pad = 0; pad < std::min(span + stride, kMost); ++pad) {
    SymExpr count = shapes.floorDiv(in + (low + pad - span + stride), stride);
    if (count == extent || shapes.max(count, 0) == extent)
      return pad;
  }
  return std::nullopt;
}

/// `leading` axes stand before those that the windows slide over.
std::optional<Sliding> slidingOf(Emitter &e, WindowsOp op, int64_t leading) {
  std::optional<SymShape> input = e.shapeOf(op.getInput());
  size_t axes = op.getKernel().size();
  if (!input || static_cast<int64_t>(input->size() - axes) != leading)
    return std::nullopt;
  Sliding result;
  Ints ends;
  for (size_t i = 0; i < axes; ++i) {
    std::optional<int64_t> kernel = Emitter::constantIndex(op.getKernel()[i]), low = Emitter::constantIndex(op.getLow()[i]);
    int64_t stride = op.getStrides()[i], dilation = op.getDilations()[i];
    if (!kernel || *kernel < 1 || !low || *low < 0 || dilation < 1 || op.getBaseDilations()[i] != 1)
      return std::nullopt;
    int64_t span = (*kernel - 1) * dilation + 1;
    std::optional<int64_t> end = trailingPad(e.shapes, (*input)[leading + i], e.shapes.indexValue(op.getExtents()[i]), *low, span, stride);
    if (!end)
      return std::nullopt;
    result.kernel.push_back(*kernel);
    result.strides.push_back(stride);
    result.dilations.push_back(dilation);
    result.pads.push_back(*low);
    ends.push_back(*end);
    result.elements *= *kernel;
  }
  result.pads.append(ends);
  return result;
}

bool isConvolved(Type type) { return type.isF32() || type.isF16(); }

Name convolution(Emitter &e, const Name &input, const Name &weight, const Sliding &sliding, int64_t group) {
  return e.node("Conv", {input, weight}, {{"kernel_shape", sliding.kernel}, {"strides", sliding.strides}, {"dilations", sliding.dilations},
                                          {"pads", sliding.pads}, {"group", group}});
}

/// The operand of a matrix product, [n, (group,) o, c * k], that is windows [n, (group,) c, o…, k…] as rows.
WindowsOp windowsOfRows(Value rows) {
  auto reshape = rows.getDefiningOp<ReshapeOp>();
  auto transpose = reshape ? reshape.getInput().getDefiningOp<TransposeOp>() : TransposeOp();
  auto windows = transpose ? transpose.getInput().getDefiningOp<WindowsOp>() : WindowsOp();
  if (!windows)
    return {};
  auto axes = static_cast<int64_t>(windows.getKernel().size());
  int64_t rank = Emitter::rank(windows.getResult()), channel = rank - 2 * axes - 1, leading = Emitter::rank(rows) - 2;
  Ints expected = llvm::to_vector(llvm::seq<int64_t>(0, channel));
  llvm::append_range(expected, llvm::seq<int64_t>(channel + 1, channel + 1 + axes));
  expected.push_back(channel);
  llvm::append_range(expected, llvm::seq<int64_t>(channel + 1 + axes, rank));
  return channel == leading && (leading == 1 || leading == 2) && ArrayRef<int64_t>(expected) == transpose.getPermutation() ? windows : WindowsOp();
}

} // namespace

bool Emitter::emitConvolution(MatmulOp op) {
  WindowsOp windows = windowsOfRows(op.getLhs());
  auto weight = dyn_cast<RankedTensorType>(op.getRhs().getType());
  if (!windows || op.getTransposeLhs() || !op.getTransposeRhs() || !weight.hasStaticShape() || !isConvolved(weight.getElementType()) ||
      windows.getPadding().convertToDouble() != 0)
    return false;
  int64_t leading = rank(op.getLhs()) - 2, group = leading == 2 ? weight.getDimSize(0) : 1;
  auto input = cast<RankedTensorType>(windows.getInput().getType());
  std::optional<Sliding> sliding = slidingOf(*this, windows, leading + 1);
  if (!sliding || weight.getRank() != leading + 1 || input.isDynamicDim(leading) || input.getDimSize(leading) < 1 ||
      (leading == 2 && input.getDimSize(1) != group))
    return false;
  int64_t channels = input.getDimSize(leading), outputs = weight.getDimSize(weight.getRank() - 2);
  // Rows of the product are whole windows of all channels.
  if (weight.getDimSize(weight.getRank() - 1) != channels * sliding->elements)
    return false;
  Ints shape{group * outputs, channels};
  shape.append(sliding->kernel);
  Name image = of(windows.getInput());
  if (leading == 2) {
    Names dims{extent(image, 0), ints({group * channels})};
    for (int64_t axis = 3; axis < input.getRank(); ++axis)
      dims.push_back(extent(image, axis));
    image = node("Reshape", {image, concat(dims, 0)}, {{"allowzero", int64_t(1)}});
  }
  Name result = convolution(*this, image, node("Reshape", {of(op.getRhs()), ints(shape)}), *sliding, group);
  // [n, (group,) m, o]
  auto reshape = op.getLhs().getDefiningOp<ReshapeOp>();
  Names dims{index(reshape.getDims()[0])};
  if (leading == 2)
    dims.push_back(ints({group}));
  dims.push_back(ints({outputs}));
  dims.push_back(index(reshape.getDims()[leading]));
  if (llvm::any_of(reshape.getDims(), [](Value dim) { return constantIndex(dim).value_or(1) < 1; }))
    return false;
  Ints permutation = leading == 2 ? Ints{0, 1, 3, 2} : Ints{0, 2, 1};
  define(op.getResult(), transpose(node("Reshape", {result, concat(dims, 0)}, {{"allowzero", int64_t(1)}}), permutation));
  return true;
}

bool Emitter::emitPool(ReduceOp op) {
  Type type = element(op.getInput());
  auto product = op.getInput().getDefiningOp<MulOp>();
  auto windows = op.getInput().getDefiningOp<WindowsOp>();
  Value weight;
  if (product && op.getKind() == Reduction::sum)
    for (auto [own, other] : {std::pair{product.getLhs(), product.getRhs()}, std::pair{product.getRhs(), product.getLhs()}})
      if (auto found = own.getDefiningOp<WindowsOp>(); found && !windows)
        windows = found, weight = other;
  if (!windows || !isConvolved(type) || op.getKeepDims())
    return false;
  auto axes = static_cast<int64_t>(windows.getKernel().size());
  if (op.getAxes() != ArrayRef<int64_t>(llvm::to_vector(llvm::seq<int64_t>(2 + axes, 2 + 2 * axes))))
    return false;
  std::optional<Sliding> sliding = slidingOf(*this, windows, 2);
  double padding = windows.getPadding().convertToDouble();
  if (!sliding)
    return false;
  Name image = of(windows.getInput());
  if (weight) {
    // One kernel a channel, [c, 1…, k…].
    auto input = cast<RankedTensorType>(windows.getInput().getType()), own = cast<RankedTensorType>(weight.getType());
    Ints expected(axes + 1, 1);
    expected[0] = input.getDimSize(1);
    expected.append(sliding->kernel);
    if (input.isDynamicDim(1) || padding != 0 || own.getShape() != ArrayRef<int64_t>(expected))
      return false;
    Ints shape{expected[0], 1};
    shape.append(sliding->kernel);
    define(op.getResult(), convolution(*this, image, node("Reshape", {of(weight), ints(shape)}), *sliding, expected[0]));
    return true;
  }
  // Runtimes want windows to begin and end in what is not padding.
  for (int64_t i = 0; i < axes; ++i)
    if (sliding->pads[i] >= sliding->kernel[i] || sliding->pads[axes + i] >= sliding->kernel[i] || sliding->dilations[i] != 1)
      return false;
  bool isMax = op.getKind() == Reduction::max, isSum = op.getKind() == Reduction::sum;
  if (isMax ? !(std::isinf(padding) && padding < 0) : padding != 0 || (!isSum && op.getKind() != Reduction::mean))
    return false;
  Name result = isMax ? node("MaxPool", {image}, {{"kernel_shape", sliding->kernel}, {"strides", sliding->strides}, {"pads", sliding->pads}})
                      : node("AveragePool", {image}, {{"kernel_shape", sliding->kernel}, {"strides", sliding->strides},
                                                      {"pads", sliding->pads}, {"count_include_pad", int64_t(1)}});
  define(op.getResult(), isSum ? binary("Mul", result, number(type, static_cast<double>(sliding->elements))) : result);
  return true;
}

} // namespace lathe::frontend
