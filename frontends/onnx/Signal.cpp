//===- Signal.cpp - Importers of Fourier transforms -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A discrete Fourier transform is a matrix product: signals are short, and matrices are constant where lengths are.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Arithmetic.h"
#include "frontends/onnx/Axes.h"
#include "frontends/onnx/Tensors.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {
namespace {

constexpr double kPi = 3.14159265358979323846;

/// From `in` complex or real numbers to `out` ones.
struct Transform {
  SymExpr length;   ///< of the period
  SymExpr in, out;  ///< how many numbers
  SymExpr inParts;  ///< 1: real, 2: real and imaginary
  int64_t outParts; ///< the same
  bool inverse;

  /// A real result of half a spectrum, the other half of which is its mirror image.
  bool mirrored() const { return inverse && outParts == 1; }
};

/// The matrix [in, parts, out * outParts] as a constant: cosines of the angle turned by a quarter where a part is
/// imaginary.
Value constantMatrix(Node &node, Type type, const Transform &t, int64_t parts) {
  int64_t length = *t.length.constant(), in = *t.in.constant(), out = *t.out.constant();
  // cos(2 pi phase / length + pi / 2 quarter), quarters from -1 to 1.
  std::vector<double> cosines;
  for (int64_t phase = 0; phase < length; ++phase)
    for (int quarter : {-1, 0, 1})
      cosines.push_back(
          std::cos(2 * kPi * static_cast<double>(phase) / static_cast<double>(length) + kPi / 2 * quarter));
  size_t width = type.getIntOrFloatBitWidth() / 8;
  std::vector<char> bytes;
  bytes.reserve(in * parts * out * t.outParts * width);
  for (int64_t i = 0; i < in; ++i)
    for (int64_t c = 0; c < parts; ++c)
      for (int64_t j = 0; j < out; ++j)
        for (int64_t d = 0; d < t.outParts; ++d) {
          double weight = t.inverse ? 1.0 / static_cast<double>(length) : 1.0;
          if (t.mirrored() && i != 0 && 2 * i != length)
            weight *= 2;
          APFloat value(weight * cosines[i * j % length * 3 + (t.inverse ? c - d : d - c) + 1]);
          bool exact;
          value.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven, &exact);
          uint64_t bits = value.bitcastToAPInt().getZExtValue();
          bytes.insert(bytes.end(), reinterpret_cast<const char *>(&bits),
                       reinterpret_cast<const char *>(&bits) + width);
        }
  return node.constant(
      DenseElementsAttr::getFromRawBuffer(RankedTensorType::get({in, parts, out * t.outParts}, type), bytes));
}

/// The same computed when the model runs; angles of f32 would cost half of the digits.
Value computedMatrix(Node &node, const Transform &t) {
  Type type = node.builder.getF64Type();
  Arithmetic integers{node, node.builder.getI64Type()}, floats{node, type};
  Value i = integers.along(integers.range(t.in), 0, 4), j = integers.along(integers.range(t.out), 2, 4);
  Value length = integers.of(t.length);
  // Whole turns are left out while numbers are exact.
  Value phase = node.make<ModOp>(integers.type, integers.mul(i, j), length, false);
  Value floatLength = node.cast(length, type);
  Value angle = floats.div(floats.mul(node.cast(phase, type), floats.number(2 * kPi)), floatLength);
  Value c = floats.along(floats.range(t.inParts), 1, 4), d = floats.along(floats.range(t.outParts), 3, 4);
  Value quarter = floats.mul(t.inverse ? floats.sub(c, d) : floats.sub(d, c), floats.number(kPi / 2));
  Value matrix = node.make<CosOp>(type, floats.add(angle, quarter));
  if (t.inverse)
    matrix = floats.div(matrix, floatLength);
  if (t.mirrored()) {
    Value boolean = node.make<OrOp>(node.builder.getI1Type(), integers.compare(Comparison::eq, i, integers.number(0)),
                                    integers.compare(Comparison::eq, integers.add(i, i), length));
    matrix = floats.select(boolean, matrix, floats.add(matrix, matrix));
  }
  return node.reshape(matrix, node.indices({t.in, t.inParts, t.out * t.outParts}));
}

/// Transforms the last but one axis of [rows…, in, inParts].
Value transform(Node &node, Value x, const Transform &t) {
  constexpr int64_t kLargest = 3 << 19; // elements of a constant, which are part of the program
  if (!x)
    return {};
  Type type = Node::element(x);
  std::optional<int64_t> length = t.length.constant(), in = t.in.constant(), out = t.out.constant(), elements;
  if (in && out)
    elements = elementCount({*in, *out, 2, t.outParts});
  std::optional<int64_t> parts = t.inParts.constant();
  bool isSmall = length && *length > 0 && *length <= kLargest && elements.value_or(0) > 0 && *elements <= kLargest;
  Value matrix = isSmall ? constantMatrix(node, type, t, parts.value_or(2)) : node.cast(computedMatrix(node, t), type);
  // Real numbers have no use for the rows of imaginary ones.
  if (!parts && matrix && Node::type(matrix).getDimSize(1) == 2)
    matrix = node.slice(matrix, 1, node.index(0), node.index(t.inParts));
  matrix = node.reshape(matrix, node.indices({t.in * t.inParts, t.out * t.outParts}));
  SmallVector<Value> dims = node.dims(x);
  Value rows = node.reshape(x, {node.product(ArrayRef(dims).drop_back(2)), node.index(t.in * t.inParts)});
  Value product = node.make<MatmulOp>(type, rows, matrix, false, false);
  dims[dims.size() - 2] = node.index(t.out);
  dims.back() = node.index(t.outParts);
  return node.reshape(product, dims);
}

/// The one value of a scalar of integers as an expression.
std::optional<SymExpr> integer(Node &node, Value scalar, StringRef what) {
  std::optional<SmallVector<Value>> values = node.indices(scalar, what);
  if (!values)
    return std::nullopt;
  if (values->size() != 1) {
    (void)node.invalid("expects one value for " + what + ", got " + Twine(values->size()));
    return std::nullopt;
  }
  SymExpr value = node.context.indexValue(values->front());
  if (std::optional<int64_t> constant = value.constant(); constant && (*constant < 1 || *constant > INT32_MAX)) {
    (void)node.invalid("expects " + what + " from 1 to " + Twine(INT32_MAX) + ", got " + Twine(*constant));
    return std::nullopt;
  }
  return value;
}

/// How many numbers each element of a signal has: 1 of real floats, 2 of complex ones; the run may say which. nullopt
/// after a failure.
std::optional<SymExpr> signalParts(Node &node, Value x, int64_t lowestRank) {
  int64_t rank = Node::rank(x);
  if (!isa<FloatType>(Node::element(x)) || rank < lowestRank) {
    (void)node.invalid("expects floats of rank " + Twine(lowestRank) + " or more, got another type or rank " +
                       Twine(rank));
    return std::nullopt;
  }
  SymExpr parts = node.dimExpr(x, rank - 1), isReal = node.context.eq(parts, 1), isComplex = node.context.eq(parts, 2);
  if (failed(node.require(isReal + isComplex, "expects a signal whose last dimension is 1 or 2", {parts})))
    return std::nullopt;
  return parts;
}

LogicalResult importDFT(Node &node) {
  Value x = node.input(0);
  std::optional<SymExpr> parts = signalParts(node, x, 2);
  if (!parts)
    return failure();
  int64_t rank = Node::rank(x);
  std::optional<Axes> axes;
  if (node.input(2)) {
    axes = Axes::readOne(node, node.input(2), rank);
  } else if (std::optional<int64_t> given = node.axis(node.opset < 20 ? node.intAttr("axis", 1) : -2, rank)) {
    axes = Axes::of(node, *given, rank);
  }
  if (!axes || failed(node.require(SymExpr(1) - axes->contains(rank - 1),
                                   "expects an axis other than the last, which holds real and imaginary parts", {})))
    return failure();
  bool inverse = node.intAttr("inverse", 0), onesided = node.intAttr("onesided", 0), mirrored = inverse && onesided;
  if (onesided && !inverse &&
      failed(node.require(node.context.eq(*parts, 1),
                          "expects real numbers where onesided is given, which have one part", {*parts})))
    return failure();
  MiddleAxis middle = MiddleAxis::of(node, x, *axes, /*trailing=*/1);
  SymExpr in = middle.extent;
  std::optional<SymExpr> length = mirrored ? (in - 1) * 2 : in;
  if (node.input(1))
    length = integer(node, node.input(1), "dft_length");
  if (!length)
    return failure();
  SymExpr half = node.context.floorDiv(*length, 2) + 1;
  Transform t{*length, mirrored ? half : *length, onesided && !inverse ? half : *length,
              *parts,  mirrored ? 1 : 2,          inverse};
  // The axis of an x of rank 2 or more goes before the last, which holds the parts.
  std::optional<int64_t> known = (*axes)[0].constant();
  SymShape dims = dimExprs(node, x);
  SmallVector<int64_t> permutation = llvm::to_vector(llvm::seq<int64_t>(rank));
  Value signal = x;
  if (!known) {
    signal = node.reshape(x, node.indices({middle.outer, middle.extent, middle.inner, *parts}));
    permutation = {0, 2, 1, 3};
  } else {
    std::swap(permutation[*known], permutation[rank - 2]);
  }
  bool moves = !llvm::is_sorted(permutation);
  if (moves)
    signal = node.transpose(signal, permutation);
  if (signal && in != t.in) {
    int64_t last = Node::rank(signal) - 2;
    SmallVector<Value> extents = node.dims(signal), low(last + 2, node.index(0));
    extents[last] = node.index(t.in);
    Type type = Node::element(x);
    signal = node.make<PadOp>(type, signal, node.scalar(type, 0), low, extents);
  }
  Value result = transform(node, signal, t);
  if (moves)
    result = node.transpose(result, permutation);
  if (known)
    return node.result(result);
  dims.back() = t.outParts;
  for (int64_t i = 0; i + 1 < rank; ++i)
    dims[i] = axes->choose(t.out, i, dims[i]);
  return node.result(node.reshape(result, node.indices(dims)));
}

LogicalResult importSTFT(Node &node) {
  Value x = node.input(0), window = node.input(2);
  std::optional<SymExpr> parts = signalParts(node, x, 3);
  if (!parts)
    return failure();
  if (Node::rank(x) != 3)
    return node.invalid("expects a signal of rank 3, got rank " + Twine(Node::rank(x)));
  std::optional<SymExpr> step = integer(node, node.input(1), "frame_step");
  if (!step)
    return failure();
  Type type = Node::element(x);
  if (window && (Node::rank(window) != 1 || Node::element(window) != type))
    return node.invalid("expects a window of rank 1 and of the signal's type");
  SymExpr samples = node.dimExpr(x, 1);
  std::optional<SymExpr> length = window ? node.dimExpr(window, 0) : samples;
  if (node.input(3))
    length = integer(node, node.input(3), "frame_length");
  if (!length)
    return failure();
  SymExpr onesided = node.intAttr("onesided", 1) ? node.context.eq(*parts, 1) : SymExpr(0);
  SymExpr room = samples - *length;
  if (node.context.atMost(room, -1))
    return node.invalid("expects frames within the signal of " + samples.str() + ", got frames of " + length->str());
  // A frame begins at every step-th sample.
  SymExpr frames = node.context.max(node.context.floorDiv(room + *step, *step), 0);
  Arithmetic integers{node, node.builder.getI64Type()};
  Value starts = integers.mul(integers.along(integers.range(frames), 0, 2), integers.of(*step));
  Value read = node.make<GatherOp>(type, x, integers.add(starts, integers.range(*length)), int64_t(1));
  if (window)
    read = node.make<MulOp>(type, read, node.reshape(window, {node.dim(window, 0), node.index(1)}));
  SymExpr bins = node.context.select(onesided, node.context.floorDiv(*length, 2) + 1, *length);
  Transform t{*length, *length, bins, *parts, 2, false};
  return node.result(transform(node, read, t));
}

/// Real numbers to half of their spectrum, or back.
template <bool inverse> LogicalResult importRealTransform(Node &node) {
  Value x = node.input(0);
  int64_t rank = Node::rank(x);
  if (node.intAttr("normalized", 0) || !node.intAttr("onesided", 1))
    return node.invalid("expects normalized to be 0 and onesided to be 1");
  if (int64_t axes = node.intAttr("signal_ndim", 1); axes != 1)
    return node.unsupported("signals of " + Twine(axes) + " dimensions are not supported, only of 1");
  if (!isa<FloatType>(Node::element(x)) || rank < (inverse ? 2 : 1) ||
      (inverse && Node::type(x).getShape().back() != 2))
    return node.invalid(inverse ? "expects floats whose last dimension is 2" : "expects floats of rank 1 or more");
  SymExpr extent = node.dimExpr(x, inverse ? rank - 2 : rank - 1);
  SmallVector<Value> dims = node.dims(x);
  if (inverse) {
    SymExpr length = (extent - 1) * 2;
    Value result = transform(node, x, Transform{length, extent, length, 2, 1, true});
    dims.pop_back();
    dims.back() = node.index(length);
    return node.result(node.reshape(result, dims));
  }
  dims.push_back(node.index(1));
  SymExpr half = node.context.floorDiv(extent, 2) + 1;
  return node.result(transform(node, node.reshape(x, dims), Transform{extent, extent, half, 1, 2, false}));
}

/// Coefficients of cosines of 0, 1, 2 turns.
LogicalResult importWindow(Node &node, ArrayRef<double> coefficients) {
  std::optional<SymExpr> size = integer(node, node.input(0), "size");
  if (!size)
    return failure();
  Arithmetic floats{node, node.builder.getF32Type()};
  int64_t to = node.intAttr("output_datatype", 1);
  Type result = node.dataType(to);
  if (!result)
    return failure();
  if (result.isF64())
    floats.type = result;
  Value length = floats.of(node.intAttr("periodic", 1) ? *size : *size - 1);
  Value turn = floats.div(floats.mul(floats.range(*size), floats.number(2 * kPi)), length),
        sum = floats.number(coefficients[0]);
  for (size_t i = 1; i < coefficients.size(); ++i) {
    Value angle = floats.mul(turn, floats.number(static_cast<double>(i)));
    sum = floats.add(sum, floats.mul(node.make<CosOp>(floats.type, angle), floats.number(coefficients[i])));
  }
  return node.result(node.cast(sum, result));
}

LogicalResult importHann(Node &node) { return importWindow(node, {0.5, -0.5}); }
LogicalResult importHamming(Node &node) { return importWindow(node, {25.0 / 46, -21.0 / 46}); }
LogicalResult importBlackman(Node &node) { return importWindow(node, {0.42, -0.5, 0.08}); }

/// The matrix where sizes and edges are data, as constantMelWeights() computes it.
Value computedMelWeights(Node &node, const SymExpr &bands, const SymExpr &length, const SymExpr &rate) {
  Arithmetic f{node, node.builder.getF64Type()}, i{node, node.builder.getI64Type()};
  auto scaled = [&](Value value, double factor) { return f.mul(value, f.number(factor)); };
  Value mels[2];
  for (int edge = 0; edge < 2; ++edge) {
    Value hertz = node.cast(node.reshape(node.input(3 + edge), {}), f.type);
    mels[edge] = scaled(node.make<LogOp>(f.type, f.add(scaled(hertz, 1.0 / 700), f.number(1))), 2595 / std::log(10));
  }
  Value step = f.div(f.sub(mels[1], mels[0]), f.of(bands + 2)),
        row = i.along(i.range(node.context.floorDiv(length, 2) + 1), 0, 2);
  // The bin of each edge of a band: below it, in the middle, and above.
  auto bin = [&](int64_t offset) {
    Value mel = f.add(f.mul(f.add(f.range(bands), f.number(static_cast<double>(offset))), step), mels[0]);
    Value hertz = scaled(f.sub(node.make<ExpOp>(f.type, scaled(mel, std::log(10) / 2595)), f.number(1)), 700);
    return node.cast(f.floor(f.div(f.mul(f.of(length + 1), hertz), f.of(rate))), i.type);
  };
  Value low = bin(0), center = bin(1), high = bin(2), one = i.number(1), zero = f.number(0);
  auto share = [&](Value part, Value whole) {
    return f.div(node.cast(part, f.type), node.cast(i.max(whole, one), f.type));
  };
  auto both = [&](Value a, Value b) { return node.make<AndOp>(node.builder.getI1Type(), a, b); };
  Value rising = share(i.sub(row, low), i.sub(center, low)), falling = share(i.sub(high, row), i.sub(high, center));
  Value weights =
      f.select(both(i.compare(Comparison::ge, row, low), i.compare(Comparison::lt, row, center)), rising, zero);
  weights =
      f.select(both(i.compare(Comparison::ge, row, center), i.compare(Comparison::lt, row, high)), falling, weights);
  return f.select(i.compare(Comparison::eq, row, center), f.number(1), weights);
}

Value constantMelWeights(Node &node, int64_t bands, int64_t length, int64_t rate, ArrayRef<double> hertzEdges) {
  double mels[2] = {2595 * std::log10(1 + hertzEdges[0] / 700), 2595 * std::log10(1 + hertzEdges[1] / 700)};
  int64_t bins = length / 2 + 1;
  SmallVector<int64_t> edges; // of the bands, in bins
  for (int64_t i = 0; i < bands + 2; ++i) {
    double mel = mels[0] + static_cast<double>(i) * (mels[1] - mels[0]) / static_cast<double>(bands + 2);
    double hertz = 700 * (std::pow(10, mel / 2595) - 1);
    double bin = std::floor(static_cast<double>(length + 1) * hertz / static_cast<double>(rate));
    if (!(bin >= 0 && bin < static_cast<double>(bins))) {
      (void)node.invalid("expects edges below half of the sample rate");
      return {};
    }
    edges.push_back(static_cast<int64_t>(bin));
  }
  std::vector<float> values(bands * bins, 0);
  for (int64_t i = 0; i < bands; ++i) {
    int64_t low = edges[i], center = edges[i + 1], high = edges[i + 2];
    values[center * bands + i] = 1;
    for (int64_t j = low; j < center; ++j)
      values[j * bands + i] = static_cast<float>(j - low) / static_cast<float>(center - low);
    for (int64_t j = center; j < high; ++j)
      values[j * bands + i] = static_cast<float>(high - j) / static_cast<float>(high - center);
  }
  auto matrix = RankedTensorType::get({bins, bands}, node.builder.getF32Type());
  return node.constant(DenseElementsAttr::get(matrix, ArrayRef<float>(values)));
}

LogicalResult importMelWeightMatrix(Node &node) {
  constexpr int64_t kLargest = 1 << 22;
  static constexpr const char *names[] = {"num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz",
                                          "upper_edge_hertz"};
  SmallVector<SymExpr> sizes;
  SmallVector<int64_t> known;
  for (int i = 0; i < 3; ++i) {
    std::optional<SymExpr> size = integer(node, node.input(i), names[i]);
    if (!size)
      return failure();
    if (std::optional<int64_t> constant = size->constant()) {
      if (*constant > kLargest)
        return node.invalid("expects " + Twine(names[i]) + " from 1 to " + Twine(kLargest) + ", got " +
                            Twine(*constant));
      known.push_back(*constant);
    }
    sizes.push_back(*size);
  }
  SmallVector<double> edges;
  for (int i = 0; i < 2; ++i) {
    Value edge = node.input(3 + i);
    if (!isa<FloatType>(Node::element(edge)) || Node::type(edge).getNumDynamicDims() ||
        Node::type(edge).getNumElements() != 1)
      return node.invalid("expects one number for " + Twine(names[3 + i]));
    if (Node::constantFloats(edge, edges) && !(edges.back() >= 0 && edges.back() <= 1e9))
      return node.invalid("expects " + Twine(names[3 + i]) + " from 0 to 10^9");
  }
  Type type = node.dataType(node.intAttr("output_datatype", 1));
  if (!type)
    return failure();
  bool isConstant = known.size() == 3 && edges.size() == 2 && known[0] * (known[1] / 2 + 1) <= kLargest;
  return node.result(node.cast(isConstant ? constantMelWeights(node, known[0], known[1], known[2], edges)
                                          : computedMelWeights(node, sizes[0], sizes[1], sizes[2]),
                               type));
}

} // namespace

ArrayRef<Operator> signalOperators() {
  static constexpr llvm::StringLiteral window = "output_datatype:i periodic:i";
  static constexpr Operator table[] = {
      {"DFT", 17, 1, 3, 1, "axis:i inverse:i onesided:i", importDFT},
      {"STFT", 17, 2, 4, 1, "onesided:i", importSTFT},
      {"HannWindow", 17, 1, 1, 1, window, importHann},
      {"HammingWindow", 17, 1, 1, 1, window, importHamming},
      {"BlackmanWindow", 17, 1, 1, 1, window, importBlackman},
      {"MelWeightMatrix", 17, 5, 5, 1, "output_datatype:i", importMelWeightMatrix},
  };
  return table;
}

ArrayRef<Operator> contribSignalOperators() {
  static constexpr llvm::StringLiteral attributes = "normalized:i onesided:i signal_ndim:i";
  static constexpr Operator table[] = {
      {"Rfft", 1, 1, 1, 1, attributes, importRealTransform</*inverse=*/false>},
      {"Irfft", 1, 1, 1, 1, attributes, importRealTransform</*inverse=*/true>},
  };
  return table;
}

} // namespace lathe::frontend
