//===- SelectComputations.cpp - Kernels that have a name ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A device may compute a norm on the way of the products that read it, and put rows that are rotated into a cache at
// once. For that the runtime has to know what the launch of a generated kernel stands for (runtime/Manifest.h,
// Computation); the kernel itself is there as any other.
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Selector.h"
#include "dialects/kernel/Kernel.h"

using namespace mlir;

namespace lathe::cpu {
namespace {

/// Whether all elements of an f32 constant are `number`.
bool isSplat(Value value, double number) {
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
  return dense && dense.isSplat() && dense.getSplatValue<APFloat>().convertToDouble() == number;
}

/// Extent of the last axis of a tensor of f32; 0 where it is not known.
int64_t columnsOf(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  return type.getElementType().isF32() && type.getRank() > 0 && !type.isDynamicDim(type.getRank() - 1)
             ? type.getShape().back()
             : 0;
}

/// A rotation of the halves of rows by their positions: add(mul(x, cosine), mul(concat(neg(second half), first half),
/// sine)).
struct Rotation {
  Value x, cosine, sine;
  SmallVector<Operation *> ops;
};

class RotationMatcher {
public:
  explicit RotationMatcher(ShapeContext &shapes) : shapes(shapes) {}

  std::optional<Rotation> match(Value root) {
    auto add = root.getDefiningOp<AddOp>();
    columns = columnsOf(root);
    if (!add || columns == 0 || columns % 2 != 0)
      return std::nullopt;
    for (bool swapped : {false, true}) {
      auto straight = (swapped ? add.getRhs() : add.getLhs()).getDefiningOp<MulOp>();
      auto turned = (swapped ? add.getLhs() : add.getRhs()).getDefiningOp<MulOp>();
      if (!straight || !turned)
        return std::nullopt;
      for (auto [concat, sine] :
           {std::pair(turned.getLhs(), turned.getRhs()), std::pair(turned.getRhs(), turned.getLhs())})
        for (auto [x, cosine] :
             {std::pair(straight.getLhs(), straight.getRhs()), std::pair(straight.getRhs(), straight.getLhs())}) {
          Rotation result = {x, cosine, sine, {add, straight, turned}};
          if (isTurned(concat, x, result.ops))
            return result;
        }
    }
    return std::nullopt;
  }

private:
  /// Whether `value` is the second half of x's columns, negated, before the first.
  bool isTurned(Value value, Value x, SmallVectorImpl<Operation *> &ops) {
    auto concat = value.getDefiningOp<ConcatOp>();
    int64_t last = cast<RankedTensorType>(x.getType()).getRank() - 1;
    if (!concat || concat.getInputs().size() != 2 || static_cast<int64_t>(concat.getAxis()) != last)
      return false;
    auto neg = concat.getInputs()[0].getDefiningOp<NegOp>();
    auto second = neg ? neg.getInput().getDefiningOp<SliceOp>() : SliceOp(),
         first = concat.getInputs()[1].getDefiningOp<SliceOp>();
    if (!isPart(second, x, columns / 2, columns) || !isPart(first, x, 0, columns / 2))
      return false;
    ops.append({concat, neg, second, first});
    return true;
  }

  bool isPart(SliceOp slice, Value x, int64_t begin, int64_t end) {
    int64_t last = cast<RankedTensorType>(x.getType()).getRank() - 1;
    auto isOne = [](ArrayRef<int64_t> list, int64_t number) { return list.size() == 1 && list.front() == number; };
    if (!slice || slice.getInput() != x || !isOne(slice.getAxes(), last) || !isOne(slice.getSteps(), 1))
      return false;
    auto bound = [&](Value value) -> std::optional<int64_t> {
      std::optional<int64_t> number = shapes.indexValue(value).constant();
      if (!number)
        return std::nullopt;
      return std::clamp<int64_t>(*number < 0 ? *number + columns : *number, 0, columns);
    };
    return bound(slice.getStarts()[0]) == begin && bound(slice.getEnds()[0]) == end;
  }

  ShapeContext &shapes;
  int64_t columns = 0;
};

} // namespace

/// What a group rounds to 16 bits in its last steps, within the bounds of *rounded (narrow-operands); of f32 all of it.
/// Null where it rounds in another way.
static Value beforeRounding(Value root, Type *rounded, size_t *steps) {
  *rounded = Type();
  *steps = 0;
  auto rounding = root.getDefiningOp<CastOp>();
  Type type = rounding ? rounding.getType().getElementType() : Type();
  if (!rounding || !cast<RankedTensorType>(rounding.getInput().getType()).getElementType().isF32() ||
      !(type.isF16() || type.isBF16()))
    return root;
  *rounded = type;
  *steps = 1;
  if (type.isBF16())
    return rounding.getInput();
  auto least = rounding.getInput().getDefiningOp<MinOp>();
  auto most = least ? least.getLhs().getDefiningOp<MaxOp>() : MaxOp();
  if (!most || !isSplat(least.getRhs(), 65504) || !isSplat(most.getRhs(), -65504))
    return Value();
  *steps = 3;
  return most.getLhs();
}

void Selector::describeComputation(int64_t kernel, ArrayRef<Operation *> ops, Value root, ArrayRef<Value> arguments,
                                   ArrayRef<Value> tensors) {
  auto offsetOf = [&](size_t index) {
    int64_t offset = 0;
    for (Value argument : arguments.take_front(index))
      offset += argumentBytes(argument.getType());
    return offset;
  };
  auto argumentOf = [&](Value tensor) -> int64_t {
    auto it = llvm::find(tensors, tensor);
    return tensor && it != tensors.end() ? offsetOf(it - tensors.begin()) : -1;
  };
  size_t steps = 0;
  Type rounded;
  Value computed = beforeRounding(root, &rounded, &steps);
  int64_t out = offsetOf(arguments.size() - 1), columns = computed ? columnsOf(computed) : 0;
  if (columns == 0)
    return;

  auto set = [&](StringRef operation, ArrayRef<int64_t> places, std::pair<StringRef, Attribute> other) {
    NamedAttrList entry(cast<DictionaryAttr>(kernels[kernel])), computes;
    computes.set("operation", b.getStringAttr(operation));
    computes.set("arguments", b.getDenseI64ArrayAttr(places));
    computes.set("columns", b.getI64IntegerAttr(columns));
    computes.set(other.first, other.second);
    if (rounded)
      computes.set("type", TypeAttr::get(rounded));
    entry.set("computes", computes.getDictionary(context));
    kernels[kernel] = entry.getDictionary(context);
  };
  auto norm = [&](auto op, Value bias, StringRef operation) {
    auto rank = cast<RankedTensorType>(op.getType()).getRank();
    auto isRow = [&](Value value) {
      return cast<RankedTensorType>(value.getType()).getRank() == 1 && columnsOf(value) == columns;
    };
    int64_t x = argumentOf(op.getInput()), scale = argumentOf(op.getScale()), shift = argumentOf(bias);
    if (static_cast<int64_t>(op.getAxis()) != rank - 1 || x < 0 ||
        (scale < 0 ? !isSplat(op.getScale(), 1) : !isRow(op.getScale())) ||
        (bias && (shift < 0 ? !isSplat(bias, 0) : !isRow(bias))))
      return;
    set(operation, {x, scale, shift, out}, {"epsilon", op.getEpsilonAttr()});
  };
  if (ops.size() == steps + 1 && llvm::is_contained(ops, computed.getDefiningOp())) {
    if (auto rms = computed.getDefiningOp<RmsNormOp>())
      norm(rms, Value(), "rms_norm");
    else if (auto layer = computed.getDefiningOp<LayerNormOp>())
      norm(layer, layer.getBias(), "layer_norm");
    return;
  }
  if (rounded)
    return;

  auto rotation = RotationMatcher(shapes).match(root);
  auto isBatchOfRows = [](Value tensor) { return cast<RankedTensorType>(tensor.getType()).getRank() == 4; };
  if (!rotation || !isBatchOfRows(root) || !isBatchOfRows(rotation->cosine) || !isBatchOfRows(rotation->sine) ||
      columnsOf(rotation->cosine) != columns || columnsOf(rotation->sine) != columns ||
      columnsOf(rotation->x) != columns)
    return;
  SmallVector<int64_t> order = {0, 1, 2, 3};
  Value x = rotation->x;
  if (auto transpose = x.getDefiningOp<TransposeOp>(); transpose && argumentOf(x) < 0) {
    order.assign(transpose.getPermutation().begin(), transpose.getPermutation().end());
    x = transpose.getInput();
    rotation->ops.push_back(transpose);
  }
  int64_t places[] = {argumentOf(x), argumentOf(rotation->cosine), argumentOf(rotation->sine), out};
  bool isAll = llvm::all_of(ops, [&](Operation *op) { return llvm::is_contained(rotation->ops, op); });
  if (isAll && llvm::all_of(places, [](int64_t place) { return place >= 0; }))
    set("rotate_half", places, {"order", b.getDenseI64ArrayAttr(order)});
}

} // namespace lathe::cpu
