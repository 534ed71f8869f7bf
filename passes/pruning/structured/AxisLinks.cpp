//===- AxisLinks.cpp - What axes of an operation's tensors share ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/pruning/structured/AxisLinks.h"
#include "dialects/lathe/Attention.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::pruning {

bool OperationLinks::covers(AxisOf at) const {
  if (llvm::is_contained(free, at))
    return true;
  if (llvm::any_of(links, [&](const AxisLink &link) { return link.a.at == at || link.b.at == at; }))
    return true;
  return llvm::any_of(foldings, [&](const AxisFolding &folding) {
    return at.slot == kResult ? llvm::is_contained(folding.result, at.axis)
                              : at.slot == 0 && llvm::is_contained(folding.input, at.axis);
  });
}

std::optional<int64_t> constantOf(Value index) { return getConstantIntValue(OpFoldResult(index)); }

std::optional<std::pair<int64_t, int64_t>> rangeOf(SliceOp slice, size_t i) {
  int64_t axis = slice.getAxes()[i], size = extentOf(slice.getInput(), axis), count = extentOf(slice.getResult(), axis);
  std::optional<int64_t> from = constantOf(slice.getStarts()[i]);
  if (!from || slice.getSteps()[i] != 1 || ShapedType::isDynamic(size) || ShapedType::isDynamic(count))
    return std::nullopt;
  int64_t begin = std::clamp<int64_t>(*from < 0 ? *from + size : *from, 0, size);
  return std::make_pair(begin, begin + count);
}

bool isNormOf(Operation *op, int64_t axis) {
  if (auto norm = dyn_cast<RmsNormOp>(op))
    return axis >= static_cast<int64_t>(norm.getAxis());
  if (auto norm = dyn_cast<LayerNormOp>(op))
    return axis >= static_cast<int64_t>(norm.getAxis());
  return false;
}

namespace {

/// Collects the links of one operation.
struct Linker {
  Operation *op;
  ShapeContext &shapes;
  bool together;
  OperationLinks result = {};

  Value at(int slot) { return slot == kResult ? op->getResult(0) : op->getOperand(slot); }
  int64_t rank(int slot) { return tensorType(at(slot)).getRank(); }
  int64_t extent(int slot, int64_t axis) { return extentOf(at(slot), axis); }

  /// The whole of two axes, if they have one static extent.
  bool link(int slotA, int64_t axisA, int slotB, int64_t axisB) {
    int64_t count = extent(slotA, axisA);
    if (ShapedType::isDynamic(count) || count != extent(slotB, axisB))
      return false;
    result.links.push_back({{{slotA, axisA}}, {{slotB, axisB}}, count});
    return true;
  }

  /// Axes of an operand that broadcasts to another tensor, both aligned at their last axes, from axis `first` of the
  /// other one up to `end`.
  void linkBroadcast(int slot, int to, int64_t first, int64_t end) {
    int64_t shift = rank(to) - rank(slot);
    for (int64_t axis = std::max(first, shift); axis < end; ++axis)
      link(slot, axis - shift, to, axis);
  }

  void linkAllBut(int64_t left, int slot = 0) {
    for (int64_t axis = 0; axis < rank(slot); ++axis)
      if (axis != left)
        link(slot, axis, kResult, axis);
  }

  void elementwise() {
    // What broadcasts has nothing of the other's axis; an extent that is only known at run time may or may not.
    int64_t last = rank(kResult);
    for (int64_t axis = 0; axis < last; ++axis) {
      bool isKnown = llvm::all_of(llvm::seq<int>(0, op->getNumOperands()), [&](int slot) {
        int64_t own = axis - (last - rank(slot));
        return own < 0 || !ShapedType::isDynamic(extent(slot, own));
      });
      if (!isKnown)
        continue;
      for (int slot = 0; slot < static_cast<int>(op->getNumOperands()); ++slot)
        if (int64_t own = axis - (last - rank(slot)); own >= 0)
          link(slot, own, kResult, axis);
    }
  }
  void matmul(MatmulOp product);
  void norm(unsigned parameters);
  void reduce(ReduceOp reduce);
  void transpose(TransposeOp transpose);
  void concat(ConcatOp concat);
  void slice(SliceOp slice);
  void gather(GatherOp gather);
  void pad(PadOp pad);
  void broadcast();
  void attention(AttentionOp attention);
  void reshape(ReshapeOp reshape);
};

void Linker::matmul(MatmulOp product) {
  int64_t left = rank(0), right = rank(1), last = rank(kResult);
  link(0, left - (product.getTransposeLhs() ? 2 : 1), 1, right - (product.getTransposeRhs() ? 1 : 2));
  link(0, left - (product.getTransposeLhs() ? 1 : 2), kResult, last - 2);
  link(1, right - (product.getTransposeRhs() ? 2 : 1), kResult, last - 1);
  linkBroadcast(0, kResult, 0, last - 2);
  linkBroadcast(1, kResult, 0, last - 2);
}

void Linker::norm(unsigned parameters) {
  linkAllBut(-1);
  for (unsigned slot = 1; slot <= parameters; ++slot)
    linkBroadcast(static_cast<int>(slot), 0, 0, rank(0));
}

void Linker::reduce(ReduceOp reduce) {
  int64_t own = 0;
  for (int64_t axis = 0; axis < rank(0); ++axis) {
    bool isReduced = llvm::is_contained(reduce.getAxes(), axis);
    if (!isReduced)
      link(0, axis, kResult, own);
    if (!isReduced || reduce.getKeepDims())
      ++own;
  }
}

void Linker::transpose(TransposeOp transpose) {
  for (auto [axis, from] : llvm::enumerate(transpose.getPermutation()))
    link(0, from, kResult, static_cast<int64_t>(axis));
}

void Linker::concat(ConcatOp concat) {
  auto axis = static_cast<int64_t>(concat.getAxis());
  std::optional<int64_t> begin = 0;
  for (int slot = 0; slot < static_cast<int>(op->getNumOperands()); ++slot) {
    linkAllBut(axis, slot);
    int64_t count = extent(slot, axis);
    if (ShapedType::isDynamic(count))
      begin = std::nullopt;
    if (!begin || ShapedType::isDynamic(extent(kResult, axis)))
      continue;
    result.links.push_back({{{slot, axis}}, {{kResult, axis}, *begin}, count});
    *begin += count;
  }
}

void Linker::slice(SliceOp slice) {
  for (int64_t axis = 0; axis < rank(0); ++axis) {
    auto it = llvm::find(slice.getAxes(), axis);
    if (it == slice.getAxes().end()) {
      link(0, axis, kResult, axis);
    } else if (auto range = rangeOf(slice, it - slice.getAxes().begin())) {
      result.links.push_back({{{0, axis}, range->first}, {{kResult, axis}}, range->second - range->first});
    }
  }
}

void Linker::gather(GatherOp gather) {
  int64_t axis = gather.getAxis(), indices = rank(1);
  for (int64_t own = 0; own < rank(0); ++own)
    if (own != axis)
      link(0, own, kResult, own < axis ? own : own + indices - 1);
  for (int64_t own = 0; own < indices; ++own)
    link(1, own, kResult, axis + own);
}

void Linker::pad(PadOp pad) {
  for (int64_t axis = 0; axis < rank(0); ++axis)
    if (constantOf(pad.getLow()[axis]) == 0 && constantOf(pad.getExtents()[axis]) == extent(0, axis))
      link(0, axis, kResult, axis);
}

void Linker::broadcast() {
  int64_t shift = rank(kResult) - rank(0);
  for (int64_t axis = 0; axis < rank(kResult); ++axis) {
    int64_t own = axis - shift;
    if (own < 0 || extent(0, own) == 1)
      result.free.push_back({kResult, axis});
    else
      link(0, own, kResult, axis);
  }
}

void Linker::attention(AttentionOp attention) {
  int64_t last = rank(kResult), query = rank(0), key = rank(1), value = rank(2);
  link(0, query - 1, 1, key - 1);
  link(2, value - 1, kResult, last - 1);
  link(0, query - 2, kResult, last - 2);
  linkBroadcast(0, kResult, 0, last - 3);
  linkBroadcast(1, kResult, 0, last - 3);
  linkBroadcast(2, kResult, 0, last - 3);
  for (size_t i = 0; i < attention.getBiases().size(); ++i)
    linkBroadcast(3 + static_cast<int>(i), kResult, 0, last - 1);
  int64_t heads = extent(0, query - 3), keys = extent(1, key - 3);
  if (ShapedType::isDynamic(heads) || ShapedType::isDynamic(keys) || keys == 0 || heads % keys != 0 ||
      extent(kResult, last - 3) != heads || !link(1, key - 3, 2, value - 3) || !link(0, query - 3, kResult, last - 3))
    return;
  AxisLink ofKeys{{{0, query - 3}}, {{1, key - 3}, 0, heads / keys}, heads};
  ofKeys.fromBOnly = !together && heads != keys;
  result.links.push_back(ofKeys);
}

/// Finds the shortest runs of axes, from the last ones on, that hold as many elements.
void Linker::reshape(ReshapeOp reshape) {
  FailureOr<SymShape> from = shapes.shapeOf(reshape.getInput()), to = shapes.shapeOf(reshape.getResult());
  if (failed(from) || failed(to))
    return;
  auto i = static_cast<int64_t>(from->size()), j = static_cast<int64_t>(to->size());
  while (i > 0 && j > 0) {
    AxisFolding folding;
    auto takeInput = [&] { return folding.input.push_back(--i), (*from)[i]; };
    auto takeResult = [&] { return folding.result.push_back(--j), (*to)[j]; };
    SymExpr a = takeInput(), b = takeResult();
    while (a != b) {
      std::optional<int64_t> left = a.constant(), right = b.constant();
      // The smaller one goes on; a constant before what is not.
      bool isLeft = left && right ? *left < *right : left ? true : right ? false : (*from).size() < (*to).size();
      if (isLeft ? i > 0 : j > 0)
        isLeft ? a = takeInput() *a : b = takeResult() * b;
      else if (isLeft ? j > 0 : i > 0)
        isLeft ? b = takeResult() *b : a = takeInput() * a;
      else
        return;
    }
    std::reverse(folding.input.begin(), folding.input.end());
    std::reverse(folding.result.begin(), folding.result.end());
    if (folding.input.size() == 1 && folding.result.size() == 1) {
      link(0, folding.input[0], kResult, folding.result[0]);
      continue;
    }
    if (a.constant())
      result.foldings.push_back(std::move(folding));
  }
}

} // namespace

OperationLinks linksOf(Operation *op, ShapeContext &shapes, bool together) {
  Linker linker{op, shapes, together};
  if (isa<ShapeOfOp, DimOp>(op)) {
    for (int64_t axis = 0; axis < linker.rank(0); ++axis)
      linker.result.free.push_back({0, axis}); // what it gives follows when the program runs
    return std::move(linker.result);
  }
  if (op->getNumResults() != 1 || !isa<RankedTensorType>(op->getResult(0).getType()))
    return {};
  if (op->hasTrait<OpTrait::BroadcastingElementwise>()) {
    linker.elementwise();
    return std::move(linker.result);
  }
  llvm::TypeSwitch<Operation *>(op)
      .Case([&](MatmulOp product) { linker.matmul(product); })
      .Case([&](ReduceOp reduce) { linker.reduce(reduce); })
      .Case<SoftmaxOp, CumSumOp>([&](auto along) { linker.linkAllBut(along.getAxis()); })
      .Case([&](LayerNormOp norm) { linker.norm(norm.getBias() ? 2 : 1); })
      .Case([&](RmsNormOp) { linker.norm(1); })
      .Case([&](TransposeOp transpose) { linker.transpose(transpose); })
      .Case([&](ConcatOp concat) { linker.concat(concat); })
      .Case([&](SliceOp slice) { linker.slice(slice); })
      .Case([&](GatherOp gather) { linker.gather(gather); })
      .Case([&](PadOp pad) { linker.pad(pad); })
      .Case([&](BroadcastOp) { linker.broadcast(); })
      .Case([&](ReshapeOp reshape) { linker.reshape(reshape); })
      .Case([&](AttentionOp attention) { linker.attention(attention); })
      .Case([&](WindowsOp windows) {
        for (int64_t axis = 0; axis < linker.rank(0) - static_cast<int64_t>(windows.getStrides().size()); ++axis)
          linker.link(0, axis, kResult, axis);
      })
      .Case([&](CacheOp cache) {
        // What a session keeps has the same heads each time.
        for (int64_t axis : {1, 3})
          if (axis == 1 || !cache.getCodes()) {
            linker.result.free.push_back({kResult, axis});
            if (cache.getRows())
              linker.link(0, axis, kResult, axis);
          }
      });
  return std::move(linker.result);
}

} // namespace lathe::pruning
