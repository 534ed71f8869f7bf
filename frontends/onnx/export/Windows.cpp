//===- Windows.cpp - Sliding windows as nodes -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Windows are gathered, axis by axis, from the input with one element of padding behind its last.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Compute.h"
#include <cmath>

using namespace mlir;

namespace lathe::frontend {
namespace {

/// What the windows read along one axis.
struct WindowAxis {
  Value kernel, low, extent;
  int64_t axis, stride, dilation, base;
};

/// The places [extent, kernel] along an axis, where all of that is known and short.
std::optional<Name> constantPlaces(Emitter &e, const WindowAxis &w, std::optional<int64_t> in) {
  constexpr int64_t kMost = 1 << 16;
  std::optional<int64_t> kernel = Emitter::constantIndex(w.kernel), low = Emitter::constantIndex(w.low),
                         extent = Emitter::constantIndex(w.extent);
  if (!in || !kernel || !low || !extent || *kernel < 0 || *extent < 0 || *kernel * *extent > kMost)
    return std::nullopt;
  Ints places;
  for (int64_t o = 0; o < *extent; ++o)
    for (int64_t k = 0; k < *kernel; ++k) {
      int64_t place = o * w.stride + k * w.dilation - *low;
      bool inside = place >= 0 && place % w.base == 0 && place / w.base < *in;
      places.push_back(inside ? place / w.base : *in);
    }
  auto type = RankedTensorType::get({*extent, *kernel}, e.builder().getI64Type());
  return e.constant(DenseElementsAttr::get(type, ArrayRef<int64_t>(places)));
}

Name placesAlong(Emitter &e, const WindowAxis &w, const Name &in) {
  auto count = [&](Value length) { return e.node("Range", {e.integer(0), e.scalarIndex(length), e.integer(1)}); };
  auto times = [&](const Name &value, int64_t factor) { return factor == 1 ? value : e.binary("Mul", value, e.ints({factor})); };
  Name starts = times(e.unsqueeze(count(w.extent), {1}), w.stride);
  Name places = e.binary("Add", starts, times(count(w.kernel), w.dilation));
  if (Emitter::constantIndex(w.low) != 0)
    places = e.binary("Sub", places, e.index(w.low));
  Name zero = e.ints({0}), inside = e.binary("GreaterOrEqual", places, zero), number = places;
  if (w.base != 1) {
    Name base = e.ints({w.base});
    inside = e.binary("And", inside, e.binary("Equal", e.node("Mod", {places, base}), zero));
    number = e.binary("Div", places, base);
  }
  inside = e.binary("And", inside, e.binary("Less", number, in));
  return e.where(inside, number, in);
}

} // namespace

LogicalResult Emitter::emitWindows(WindowsOp op) {
  Type type = element(op.getResult()), wide = computedType(type, /*wraps=*/false);
  auto inputType = cast<RankedTensorType>(op.getInput().getType());
  auto axes = static_cast<int64_t>(op.getKernel().size());
  int64_t leading = inputType.getRank() - axes;
  double padding = op.getPadding().convertToDouble();
  if (auto integer = dyn_cast<IntegerType>(wide); integer && std::isinf(padding)) {
    // The bounds of the input's type, which is the narrower.
    auto narrow = cast<IntegerType>(type);
    unsigned bits = narrow.getWidth() - (narrow.isUnsigned() ? 0 : 1);
    if (bits > 52)
      return fail(op, "windows of integers of 64 bits with infinite padding");
    padding = padding > 0 ? std::ldexp(1.0, static_cast<int>(bits)) - 1 : narrow.isUnsigned() ? 0 : -std::ldexp(1.0, static_cast<int>(bits));
  }
  Name input = this->cast(of(op.getInput()), type, wide);
  Ints pads(2 * inputType.getRank(), 0);
  std::fill(pads.end() - axes, pads.end(), 1);
  Name padded = node("Pad", {input, ints(pads), number(wide, padding)});
  Ints permutation = llvm::to_vector(llvm::seq<int64_t>(0, leading)), inner;
  for (int64_t i = axes; i-- > 0;) {
    WindowAxis w{op.getKernel()[i], op.getLow()[i], op.getExtents()[i], leading + i, op.getStrides()[i], op.getDilations()[i], op.getBaseDilations()[i]};
    bool isStatic = !inputType.isDynamicDim(w.axis);
    std::optional<int64_t> in = isStatic ? std::optional<int64_t>(inputType.getDimSize(w.axis)) : std::nullopt;
    std::optional<Name> known = constantPlaces(*this, w, in);
    Name places = known ? *known : placesAlong(*this, w, in ? ints({*in}) : extent(input, w.axis));
    padded = node("Gather", {padded, places}, {{"axis", w.axis}});
  }
  for (int64_t part : {0, 1})
    for (int64_t i = 0; i < axes; ++i)
      permutation.push_back(leading + 2 * i + part);
  define(op.getResult(), this->cast(axes == 1 ? padded : transpose(padded, permutation), wide, type));
  return success();
}

} // namespace lathe::frontend
