//===- Movement.cpp - Moved elements as nodes -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Compute.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// A constant shape where one can be: a 0 copies a dimension of the input, and -1 is the dimension that follows from the others, which
/// must not be 0. Nothing where that does not do.
std::optional<Ints> constantShape(Emitter &e, ReshapeOp op) {
  std::optional<SymShape> input = e.shapeOf(op.getInput());
  Ints dims;
  bool copies = false, follows = false;
  for (auto [axis, value] : llvm::enumerate(op.getDims())) {
    std::optional<int64_t> constant = Emitter::constantIndex(value);
    if (constant == 0 && !op.getZeroCopies())
      return std::nullopt;
    if (constant) {
      copies |= constant == 0;
      follows |= constant == -1;
      dims.push_back(*constant);
    } else if (input && axis < input->size() && (*input)[axis] == e.shapes.indexValue(value)) {
      copies = true;
      dims.push_back(0);
    } else if (!follows) {
      follows = true;
      dims.push_back(-1);
    } else {
      return std::nullopt;
    }
  }
  // What is copied may be 0, and then nothing follows, unless the model itself asks for that.
  bool asked = llvm::any_of(op.getDims(), [](Value dim) { return Emitter::constantIndex(dim) == -1; });
  if (copies && follows && !asked)
    return std::nullopt;
  return dims;
}

LogicalResult emitReshape(Emitter &e, ReshapeOp op) {
  if (std::optional<Ints> dims = constantShape(e, op)) {
    e.define(op.getResult(), e.node("Reshape", {e.of(op.getInput()), e.ints(*dims)}));
    return success();
  }
  NodeAttributes literal = {{"allowzero", int64_t(1)}}, copying = {};
  bool asked = llvm::any_of(op.getDims(), [](Value dim) { return Emitter::constantIndex(dim) == -1; });
  e.define(op.getResult(),
           e.node("Reshape", {e.of(op.getInput()), e.indices(op.getDims())}, op.getZeroCopies() || asked ? copying : literal));
  return success();
}

LogicalResult emitSlice(Emitter &e, SliceOp op) {
  Names inputs{e.of(op.getInput()), e.indices(op.getStarts()), e.indices(op.getEnds()), e.ints(op.getAxes())};
  if (llvm::any_of(op.getSteps(), [](int64_t step) { return step != 1; }))
    inputs.push_back(e.ints(op.getSteps()));
  e.define(op.getResult(), op.getAxes().empty() ? inputs.front() : e.node("Slice", inputs));
  return success();
}

/// Indices of a type that gathers take.
Name places(Emitter &e, Value indices, bool wide = false) {
  Type type = Emitter::element(indices), i64 = e.builder().getI64Type();
  return type.isSignlessInteger(32) && !wide ? e.of(indices) : e.cast(e.of(indices), type, i64);
}

LogicalResult emitPad(Emitter &e, PadOp op) {
  Type type = Emitter::element(op.getResult());
  Type wide = type.isInteger(1) ? type : computedType(type, /*wraps=*/true);
  std::optional<SymShape> shape = e.shapeOf(op.getInput());
  Name input = e.of(op.getInput());
  Names high;
  for (auto [axis, low, extent] : llvm::enumerate(op.getLow(), op.getExtents())) {
    SymExpr end = e.shapes.indexValue(extent) - e.shapes.indexValue(low);
    std::optional<int64_t> known = shape ? (end - (*shape)[axis]).constant() : std::nullopt;
    high.push_back(known ? e.ints({*known})
                         : e.binary("Sub", e.binary("Sub", e.index(extent), e.index(low)), e.extent(input, static_cast<int64_t>(axis))));
  }
  Names pads{e.indices(op.getLow())};
  llvm::append_range(pads, high);
  if (op.getLow().empty()) {
    e.define(op.getResult(), input);
    return success();
  }
  Name value = e.cast(e.of(op.getValue()), type, wide);
  Name padded = e.node("Pad", {e.cast(input, type, wide), e.concat(pads, 0), value});
  e.define(op.getResult(), e.cast(padded, wide, type));
  return success();
}

std::string reductionName(ScatterKind kind) {
  static constexpr llvm::StringLiteral names[] = {"none", "add", "mul", "max", "min"};
  return names[static_cast<unsigned>(kind)].str();
}

template <typename OpTy> LogicalResult emitScatter(Emitter &e, OpTy op, StringRef name, NodeAttributes attributes) {
  Type type = Emitter::element(op.getResult());
  bool isOrder = op.getKind() == ScatterKind::max || op.getKind() == ScatterKind::min;
  Type wide = op.getKind() == ScatterKind::assign ? type : computedType(type, !isOrder);
  Names inputs{e.cast(e.of(op.getInput()), type, wide), places(e, op.getIndices(), /*wide=*/true),
               e.cast(e.of(op.getUpdates()), type, wide)};
  e.define(op.getResult(), e.cast(e.node(name, inputs, attributes), wide, type));
  return success();
}

} // namespace

LogicalResult Emitter::emitMovement(Operation *op) {
  auto done = [&](Name name) {
    define(op->getResult(0), std::move(name));
    return success();
  };
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](TransposeOp move) { return done(transpose(of(move.getInput()), move.getPermutation())); })
      .Case([&](ReshapeOp reshape) { return emitReshape(*this, reshape); })
      .Case([&](BroadcastOp broadcast) { return done(node("Expand", {of(broadcast.getInput()), indices(broadcast.getDims())})); })
      .Case([&](ConcatOp join) {
        Names inputs;
        for (Value input : join.getInputs())
          inputs.push_back(of(input));
        return done(concat(inputs, static_cast<int64_t>(join.getAxis())));
      })
      .Case([&](SliceOp slice) { return emitSlice(*this, slice); })
      .Case([&](GatherOp gather) {
        return done(node("Gather", {of(gather.getInput()), places(*this, gather.getIndices())},
                         {{"axis", static_cast<int64_t>(gather.getAxis())}}));
      })
      .Case([&](GatherElementsOp gather) {
        return done(node("GatherElements", {of(gather.getInput()), places(*this, gather.getIndices())},
                         {{"axis", static_cast<int64_t>(gather.getAxis())}}));
      })
      .Case([&](GatherNDOp gather) {
        return done(node("GatherND", {of(gather.getInput()), places(*this, gather.getIndices(), /*wide=*/true)},
                         {{"batch_dims", static_cast<int64_t>(gather.getBatchDims())}}));
      })
      .Case([&](PadOp pad) { return emitPad(*this, pad); })
      .Case([&](WindowsOp windows) { return emitWindows(windows); })
      .Case([&](ScatterElementsOp scatter) {
        return emitScatter(*this, scatter, "ScatterElements",
                           {{"axis", static_cast<int64_t>(scatter.getAxis())}, {"reduction", reductionName(scatter.getKind())}});
      })
      .Case([&](ScatterNDOp scatter) {
        return emitScatter(*this, scatter, "ScatterND", {{"reduction", reductionName(scatter.getKind())}});
      })
      .Case([&](RangeOp range) {
        Name values = node("Range", {scalarIndex(range.getStart()), scalarIndex(range.getLimit()), scalarIndex(range.getStep())});
        return done(cast(values, builder().getI64Type(), element(range.getResult())));
      })
      .Default([&](Operation *) { return failure(); });
}

} // namespace lathe::frontend
