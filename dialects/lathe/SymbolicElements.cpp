//===- SymbolicElements.cpp - Elements of integer tensors as expressions --===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Exporters compute shapes with small integer tensors. What each operation makes of their elements, one function an
// operation, is told here; operations without one have elements that depend on data.
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/SymExprDetail.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;

namespace lathe {

namespace {

using Element = std::optional<SymExpr>;

constexpr int64_t kMostElements = 64; // shapes are small; longer integer tensors are data

RankedTensorType typeOf(Value tensor) { return cast<RankedTensorType>(tensor.getType()); }

/// Position in an operand of rank at most 1 that broadcasts to rank at most 1.
int64_t broadcastPosition(Value operand, int64_t position) {
  auto type = cast<RankedTensorType>(operand.getType());
  return type.getNumElements() == 1 ? 0 : position;
}

/// The number as the type holds it: "to the end" cast to 32 bits is -1. Symbols are taken to fit.
int64_t wrapped(int64_t number, IntegerType type) {
  if (type.getWidth() >= 64)
    return number;
  APInt bits = APInt(64, static_cast<uint64_t>(number)).trunc(type.getWidth());
  return type.isInteger(1) || type.isUnsigned() ? static_cast<int64_t>(bits.getZExtValue()) : bits.getSExtValue();
}

/// The symbol for an element of an input of the model, whose value is known before a run begins.
Element inputElement(BlockArgument argument, int64_t position) {
  auto func = dyn_cast_or_null<func::FuncOp>(argument.getOwner()->getParentOp());
  auto name = func ? func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), LatheDialect::kNameAttr) : StringAttr();
  Type type = cast<RankedTensorType>(argument.getType()).getElementType();
  if (!name || !(type.isSignlessInteger(64) || type.isSignlessInteger(32) || type.isInteger(1)))
    return std::nullopt;
  return SymExpr::symbol(name.str() + "[" + std::to_string(position) + "]");
}

/// What one result of an operation has at one position (row-major), by kind of operation.
class ElementOf {
public:
  ElementOf(ShapeContext &context, OpResult result, int64_t position)
      : context(context), result(result), type(typeOf(result)), position(position) {}

  Element operator()(Operation *op);

private:
  Element of(IfOp op);
  Element of(ConstantOp op);
  Element of(CastOp op);
  Element of(TransposeOp op);
  Element of(SliceOp op);
  Element of(ConcatOp op);
  Element of(GatherOp op);
  Element of(ReduceOp op);
  Element of(SelectOp op);
  Element of(CompareOp op);
  Element of(DivOp op);
  Element of(ModOp op);
  Element shape(ShapeOfOp op);
  Element unary(Operation *op);
  Element binary(Operation *op);

  /// Both operands of an operation that broadcasts them; nullopt where one is unknown.
  std::optional<std::pair<SymExpr, SymExpr>> operands(Operation *op);
  Element get(Value tensor, int64_t at) { return context.element(tensor, at); }
  Element broadcast(Value tensor);
  /// The element of `input` at the index `indices`.
  Element at(Value input, ArrayRef<int64_t> indices);
  SmallVector<int64_t> indices() const;

  ShapeContext &context;
  OpResult result;
  RankedTensorType type;
  int64_t position;
};

Element ElementOf::operator()(Operation *op) {
  Element element;
  bool known = true;
  llvm::TypeSwitch<Operation *>(op)
      .Case<IfOp, ConstantOp, CastOp, TransposeOp, SliceOp>([&](auto typed) { element = of(typed); })
      .Case([&](FromIndexOp from) { element = context.indexValue(from.getValues()[position]); })
      .Case([&](ShapeOfOp of) { element = shape(of); })
      // The same elements in the same order, whatever the shape.
      .Case([&](ReshapeOp reshape) { element = get(reshape->getOperand(0), position); })
      .Default([&](Operation *) { known = false; });
  if (known || type.getRank() > 1)
    return element;
  return llvm::TypeSwitch<Operation *, Element>(op)
      .Case<ConcatOp, GatherOp, ReduceOp, SelectOp, CompareOp, DivOp, ModOp>([&](auto typed) { return of(typed); })
      .Case([&](BroadcastOp) { return broadcast(op->getOperand(0)); })
      .Case([&](RangeOp range) {
        return context.indexValue(range.getStart()) + context.indexValue(range.getStep()) * SymExpr(position);
      })
      .Case<NegOp, AbsOp, NotOp, ReluOp>([&](auto) { return unary(op); })
      .Case<AddOp, SubOp, MulOp, MinOp, MaxOp, AndOp, OrOp, XorOp>([&](auto) { return binary(op); })
      .Default(Element());
}

SmallVector<int64_t> ElementOf::indices() const {
  SmallVector<int64_t> indices(type.getRank());
  int64_t rest = position;
  for (int64_t axis = type.getRank(); axis-- > 0; rest /= type.getDimSize(axis))
    indices[axis] = rest % type.getDimSize(axis);
  return indices;
}

Element ElementOf::at(Value input, ArrayRef<int64_t> indices) {
  int64_t from = 0;
  for (auto [axis, index] : llvm::enumerate(indices))
    from = from * typeOf(input).getDimSize(axis) + index;
  return get(input, from);
}

Element ElementOf::broadcast(Value tensor) {
  return typeOf(tensor).hasStaticShape() ? get(tensor, broadcastPosition(tensor, position)) : std::nullopt;
}

std::optional<std::pair<SymExpr, SymExpr>> ElementOf::operands(Operation *op) {
  Element a = broadcast(op->getOperand(0)), b = a ? broadcast(op->getOperand(1)) : std::nullopt;
  return b ? std::optional(std::pair(*a, *b)) : std::nullopt;
}

Element ElementOf::of(IfOp op) {
  Element a = get(op.getThenRegion().front().getTerminator()->getOperand(result.getResultNumber()), position);
  Element b = get(op.getElseRegion().front().getTerminator()->getOperand(result.getResultNumber()), position);
  return a && b ? Element(context.select(context.indexValue(op.getCondition()), *a, *b)) : std::nullopt;
}

Element ElementOf::of(ConstantOp op) {
  auto dense = dyn_cast<DenseIntElementsAttr>(op.getValue());
  if (!dense)
    return std::nullopt;
  APInt value = *(dense.value_begin<APInt>() + position);
  bool isUnsigned = type.getElementType().isInteger(1) || type.getElementType().isUnsignedInteger();
  return SymExpr(isUnsigned ? static_cast<int64_t>(value.getZExtValue()) : value.getSExtValue());
}

Element ElementOf::shape(ShapeOfOp op) {
  auto shape = context.shapeOf(op.getInput());
  return succeeded(shape) ? Element((*shape)[position]) : std::nullopt;
}

Element ElementOf::of(CastOp op) {
  auto from = dyn_cast<IntegerType>(op.getInput().getType().getElementType());
  if (!from) { // exporters compute sizes in floats, too
    std::optional<double> number = detail::floatElement(context, op.getInput(), position);
    if (!number)
      return std::nullopt;
    if (type.getElementType().isInteger(1))
      return SymExpr(*number != 0);
    return std::abs(*number) < double(1 << 30) ? Element(SymExpr(static_cast<int64_t>(*number))) : std::nullopt;
  }
  Element value = get(op.getInput(), position);
  if (value && type.getElementType().isInteger(1) && !from.isInteger(1))
    return SymExpr(1) - context.eq(*value, 0);
  // What may not fit into a small type wraps, which is known of constants alone.
  unsigned width = type.getElementTypeBitWidth();
  return value && !value->constant() && width < 32 && width < from.getWidth() ? std::nullopt : value;
}

Element ElementOf::of(TransposeOp op) {
  if (!typeOf(op.getInput()).hasStaticShape())
    return std::nullopt;
  SmallVector<int64_t> to = indices(), from(to.size());
  for (auto [axis, source] : llvm::enumerate(op.getPermutation()))
    from[source] = to[axis];
  return at(op.getInput(), from);
}

Element ElementOf::of(SliceOp op) {
  RankedTensorType inputType = typeOf(op.getInput());
  if (!inputType.hasStaticShape())
    return std::nullopt;
  SmallVector<int64_t> from = indices();
  for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
    int64_t step = op.getSteps()[i];
    SymExpr start =
        context.clampedIndex(context.indexValue(op.getStarts()[i]), inputType.getDimSize(axis), 0, step < 0 ? -1 : 0);
    if (!start.constant())
      return std::nullopt;
    from[axis] = *start.constant() + from[axis] * step;
  }
  return at(op.getInput(), from);
}

Element ElementOf::of(ConcatOp op) {
  int64_t from = position;
  for (Value input : op.getInputs()) {
    if (!typeOf(input).hasStaticShape())
      return std::nullopt;
    if (from < typeOf(input).getNumElements())
      return get(input, from);
    from -= typeOf(input).getNumElements();
  }
  return std::nullopt;
}

Element ElementOf::of(GatherOp op) {
  RankedTensorType inputType = typeOf(op.getInput());
  if (!inputType.hasStaticShape() || inputType.getRank() != 1)
    return std::nullopt;
  Element index = get(op.getIndices(), position);
  auto number = index ? index->constant() : std::nullopt;
  return number ? get(op.getInput(), *number < 0 ? *number + inputType.getNumElements() : *number) : std::nullopt;
}

Element ElementOf::of(ReduceOp op) {
  RankedTensorType inputType = typeOf(op.getInput());
  if (!inputType.hasStaticShape() || inputType.getRank() != 1 || op.getAxes().size() != 1 ||
      inputType.getNumElements() > kMostElements)
    return std::nullopt;
  auto combine = [&](const SymExpr &a, const SymExpr &b) -> Element {
    switch (op.getKind()) {
    case Reduction::sum:
      return a + b;
    case Reduction::prod:
      return a * b;
    case Reduction::min:
      return context.min(a, b);
    case Reduction::max:
      return context.max(a, b);
    default:
      return std::nullopt;
    }
  };
  Element total;
  for (int64_t i = 0; i < inputType.getNumElements(); ++i) {
    Element value = get(op.getInput(), i);
    // The first one too, so that kinds of reductions that are not told of have no result of one element.
    if (!value || !combine(*value, *value))
      return std::nullopt;
    total = total ? combine(*total, *value) : value;
  }
  return total;
}

Element ElementOf::of(SelectOp op) {
  Element c = broadcast(op.getCondition()), a = broadcast(op.getTrueValue()), b = broadcast(op.getFalseValue());
  return c && a && b ? Element(context.select(*c, *a, *b)) : std::nullopt;
}

Element ElementOf::unary(Operation *op) {
  Element value = get(op->getOperand(0), position);
  if (!value)
    return std::nullopt;
  SymExpr negative = SymExpr(0) - *value;
  return llvm::TypeSwitch<Operation *, Element>(op)
      .Case([&](NotOp) { return SymExpr(1) - *value; })
      .Case([&](ReluOp) { return context.max(*value, 0); })
      .Case([&](NegOp) { return negative; })
      .Case([&](AbsOp) { return context.max(*value, negative); });
}

/// Extents divide extents, such as a product of dimensions by one of them. Division by an extent of 0 is left to
/// whatever it gives: there are no elements then.
Element ElementOf::of(DivOp op) {
  auto both = operands(op);
  if (!both || !context.atLeast(both->second, 0) || both->second.isConstant(0))
    return std::nullopt;
  return context.truncatedDiv(both->first, both->second);
}

Element ElementOf::of(ModOp op) {
  auto both = operands(op);
  if (!both || !context.atLeast(both->second, 0) || both->second.isConstant(0))
    return std::nullopt;
  auto [a, b] = *both;
  return op.getTruncated() && !context.atLeast(a, 0) ? a - context.truncatedDiv(a, b) * b : context.mod(a, b);
}

Element ElementOf::of(CompareOp op) {
  auto both = operands(op);
  if (!both)
    return std::nullopt;
  auto [a, b] = *both;
  switch (op.getPredicate()) {
  case Comparison::eq:
    return context.eq(a, b);
  case Comparison::ne:
    return SymExpr(1) - context.eq(a, b);
  case Comparison::lt:
    return context.lt(a, b);
  case Comparison::ge:
    return SymExpr(1) - context.lt(a, b);
  case Comparison::gt:
    return context.lt(b, a);
  case Comparison::le:
    return SymExpr(1) - context.lt(b, a);
  }
  return std::nullopt;
}

Element ElementOf::binary(Operation *op) {
  auto both = operands(op);
  // Of numbers that are not 0 or 1, bits are combined.
  if (!both || (isa<AndOp, OrOp, XorOp>(op) && !type.getElementType().isInteger(1)))
    return std::nullopt;
  auto [a, b] = *both;
  return llvm::TypeSwitch<Operation *, Element>(op)
      .Case([&, a = a, b = b](AddOp) { return a + b; })
      .Case([&, a = a, b = b](SubOp) { return a - b; })
      .Case([&, a = a, b = b](MulOp) { return a * b; })
      .Case([&, a = a, b = b](MinOp) { return context.min(a, b); })
      .Case([&, a = a, b = b](MaxOp) { return context.max(a, b); })
      .Case([&, a = a, b = b](AndOp) { return a * b; })
      .Case([&, a = a, b = b](OrOp) { return a + b - a * b; })
      .Case([&, a = a, b = b](XorOp) { return a + b - SymExpr(2) * a * b; });
}

/// What a loop hands on as it is stays what it was; an input's element is a symbol.
Element argumentElement(ShapeContext &context, BlockArgument argument, int64_t position) {
  auto loop = dyn_cast_or_null<LoopOp>(argument.getOwner()->getParentOp());
  if (!loop)
    return inputElement(argument, position);
  // The body may still be under construction.
  unsigned state = argument.getArgNumber() - 1;
  bool ends = !argument.getOwner()->empty() && isa<YieldOp>(argument.getOwner()->back());
  return ends && loop.getYielded(state) == argument ? context.element(loop.getInit()[state], position) : std::nullopt;
}

} // namespace

std::optional<SymExpr> ShapeContext::element(Value tensor, int64_t position) {
  if (auto it = elements.find({tensor, position}); it != elements.end())
    return it->second;
  detail::Nesting nested(nesting);
  elements[{tensor, position}] = std::nullopt; // of a circle
  std::optional<SymExpr> result = nested.tooDeep() ? std::nullopt : computeElement(tensor, position);
  // An element is kept for each of many tensors, of which shapes are made of a handful of terms.
  constexpr size_t kLargestElement = 256;
  if (result && result->size() >= kLargestElement)
    result.reset();
  if (auto number = result ? result->constant() : std::nullopt)
    result = wrapped(*number, cast<IntegerType>(cast<RankedTensorType>(tensor.getType()).getElementType()));
  elements[{tensor, position}] = result;
  return result;
}

std::optional<SymExpr> ShapeContext::computeElement(Value tensor, int64_t position) {
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  if (!type || !type.hasStaticShape() || type.getNumElements() > kMostElements || position < 0 ||
      position >= type.getNumElements() || !isa<IntegerType>(type.getElementType()))
    return std::nullopt;
  if (auto argument = dyn_cast<BlockArgument>(tensor))
    return argumentElement(*this, argument, position);
  return ElementOf(*this, cast<OpResult>(tensor), position)(tensor.getDefiningOp());
}

} // namespace lathe
