//===- SymbolicShape.cpp - Dimensions as expressions over symbols ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/SymExprDetail.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"
#include <cmath>

using namespace mlir;

namespace lathe {

//===----------------------------------------------------------------------===//
// ShapeContext: conditions
//===----------------------------------------------------------------------===//

void ShapeContext::addCheck(ShapeCheck check) {
  if (typesOnly)
    return;
  check.guard = guard;
  for (const ShapeCheck &other : checks)
    if (other.kind == check.kind && other.lhs == check.lhs && other.rhs == check.rhs &&
        (other.guard == guard || other.guard.isConstant(1)))
      return;
  checks.push_back(std::move(check));
}

FailureOr<SymExpr> ShapeContext::broadcast(const SymExpr &a, const SymExpr &b, Operation *op) {
  if (a == b || b.isConstant(1))
    return a;
  if (a.isConstant(1))
    return b;
  if (a.constant() && b.constant())
    return failure();
  auto isNotOne = [&](const SymExpr &x) { return atLeast(x, 2) || atMost(x, 0); };
  if ((isBelow(a, b, 1) || isBelow(b, a, 1)) && isNotOne(a) && isNotOne(b))
    return failure();
  // What is 0 or 1, as the extent of the last element alone, leaves the other one as it is where it is 1; where it is 0
  // there are no elements.
  auto atMostOne = [&](const SymExpr &x) { return !x.constant() && atLeast(x, 0) && atMost(x, 1); };
  if (!typesOnly && (op->hasTrait<OpTrait::BroadcastingElementwise>() || isa<BroadcastOp>(op)) &&
      atMostOne(a) != atMostOne(b)) {
    const SymExpr &one = atMostOne(a) ? a : b, &other = atMostOne(a) ? b : a;
    addCheck(
        {ShapeCheck::equal, one * other, other, op->getLoc(), "operands of an elementwise operation must broadcast"});
    return other;
  }
  // min(symbol, c) against the symbol: a table of c rows bounds the symbol.
  for (auto [x, y] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    if (x->getTerms().size() != 1 || x->getTerms().begin()->second != 1 ||
        x->getTerms().begin()->first.atoms.size() != 1)
      continue;
    const SymAtom &atom = *x->getTerms().begin()->first.atoms.front();
    if (atom.op != SymOp::min)
      continue;
    for (int i : {0, 1})
      if (auto limit = atom.args[1 - i].constant(); limit && atom.args[i] == *y) {
        if (auto name = y->symbolName(); name && !typesOnly && guard.isConstant(1)) {
          Range &range = ranges[*name];
          if (!range.max || *range.max > *limit)
            range.max = *limit;
        }
        addCheck({ShapeCheck::at_most, *y, *limit, op->getLoc(),
                  "broadcast of an axis limited to " + std::to_string(*limit)});
        return *y;
      }
  }
  // A constant that is not 1 decides; otherwise the two are taken to be equal, and the run checks that they are.
  addCheck({ShapeCheck::equal, a, b, op->getLoc(), "operands of an elementwise operation must have equal dimensions"});
  return b.constant() ? b : a;
}

/// Whether it is computed from elements of tensors, and not from dimensions alone.
static bool mentionsElements(const SymExpr &expr) {
  SmallVector<std::string> names;
  expr.collectSymbols(names);
  return expr.dependsOnData() ||
         llvm::any_of(names, [](const std::string &name) { return SymExpr::isInputElement(name); });
}

/// Whether `a` is either 1 or `b`, whichever a condition says.
static bool isOneOr(const SymExpr &a, const SymExpr &b) {
  if (a.getTerms().size() != 1 || a.getTerms().begin()->second != 1 || a.getTerms().begin()->first.atoms.size() != 1)
    return false;
  const SymAtom &atom = *a.getTerms().begin()->first.atoms.front();
  return atom.op == SymOp::select &&
         ((atom.args[1].isConstant(1) && atom.args[2] == b) || (atom.args[2].isConstant(1) && atom.args[1] == b));
}

FailureOr<SymExpr> ShapeContext::broadcastTo(const SymExpr &target, const SymExpr &dim, Operation *op) {
  for (auto [a, b] : {std::pair(&target, &dim), std::pair(&dim, &target)})
    if (isOneOr(*a, *b))
      return *b;
  if (typesOnly || target == dim || target.isConstant(1) || dim.isConstant(1) ||
      (!mentionsElements(target) && !mentionsElements(dim)))
    return broadcast(target, dim, op);
  addCheck({ShapeCheck::broadcastable, target, dim, op->getLoc(), "expects a shape that the input broadcasts to"});
  if (target.constant())
    return target;
  return dim.constant() ? dim : op2(SymOp::broadcast, target, dim);
}

LogicalResult ShapeContext::requireEqual(const SymExpr &a, const SymExpr &b, Operation *op, const Twine &what) {
  if (auto c = (a - b).constant())
    return success(*c == 0);
  if (isBelow(a, b, 1) || isBelow(b, a, 1))
    return failure();
  addCheck({ShapeCheck::equal, a, b, op->getLoc(), what.str()});
  return success();
}

LogicalResult ShapeContext::requireAtMost(const SymExpr &a, const SymExpr &b, Operation *op, const Twine &what) {
  SymExpr difference = a - b;
  if (atMost(difference, 0))
    return success();
  if (atLeast(difference, 1))
    return failure();
  addCheck({ShapeCheck::equal, max(difference, 0), 0, op->getLoc(), what.str()});
  return success();
}

//===----------------------------------------------------------------------===//
// ShapeContext: values
//===----------------------------------------------------------------------===//

SymAtomRef ShapeContext::valueAtom(Value value, int64_t axis) {
  SymAtomRef &atom = valueAtoms[{value, axis}];
  if (!atom) {
    auto fresh = std::make_shared<SymAtom>();
    fresh->op = SymOp::value;
    fresh->key = "%" + std::to_string(valueAtoms.size()) + (axis >= 0 ? "#" + std::to_string(axis) : "");
    fresh->value = value;
    fresh->ofData = true;
    fresh->args = {SymExpr(axis)};
    atom = std::move(fresh);
  }
  return atom;
}

namespace {
/// Counts calls that follow chains of operations. Long ones are not followed to the end of the stack: producers of
/// tensors are asked first then, and what is deep all the same is taken to be data.
struct Nesting {
  /// Above it calls are those that a call too deep makes for its producers.
  static constexpr int kProducers = 1 << 16;
  explicit Nesting(int &depth) : depth(++depth) {}
  ~Nesting() { --depth; }
  bool tooDeep() const { return depth % kProducers > 256; }
  bool ofProducers() const { return depth >= kProducers; }
  int &depth;
};

/// Asks for everything that `value` is computed from, producers first and without recursion: each finds what it asks
/// for. `known` says whether a value has been asked for.
void findProducers(ShapeContext &context, Value value, int &nesting, llvm::function_ref<bool(Value)> known) {
  int outer = std::exchange(nesting, Nesting::kProducers);
  auto find = [&](Value result) {
    if (isa<RankedTensorType>(result.getType()))
      (void)context.shapeOf(result);
    else if (isa<IndexType>(result.getType()))
      (void)context.indexValue(result);
  };
  llvm::SmallPtrSet<Operation *, 16> seen;
  SmallVector<std::pair<Operation *, SmallVector<Value>>> stack; // with what is still to be asked for before it
  auto enter = [&](Value used) {
    Operation *op = used.getDefiningOp();
    if (!op || known(used) || !seen.insert(op).second)
      return;
    SmallVector<Value> before(op->getOperands());
    for (Region &region : op->getRegions())
      if (!region.empty() && region.front().mightHaveTerminator())
        llvm::append_range(before, region.front().getTerminator()->getOperands());
    stack.push_back({op, std::move(before)});
  };
  enter(value);
  while (!stack.empty()) {
    auto &[op, before] = stack.back();
    if (!before.empty()) {
      enter(before.pop_back_val());
      continue;
    }
    Operation *done = op;
    stack.pop_back();
    for (Value result : done->getResults())
      find(result);
  }
  find(value);
  nesting = outer;
}
} // namespace

/// Stands for a value while it is computed. Code that is never reached may be a circle.
static const SymExpr &beingComputed() {
  static const SymExpr mark = SymExpr::symbol("");
  return mark;
}

FailureOr<SymShape> ShapeContext::shapeOf(Value tensor) {
  auto memo = shapes.find(tensor);
  bool circular = memo != shapes.end() && memo->second.size() == 1 && memo->second.front() == beingComputed();
  if (memo != shapes.end() && !circular)
    return memo->second;
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  if (!type)
    return failure();
  SymShape shape;
  Nesting nested(nesting);
  if (!typesOnly && !circular && nested.tooDeep() && !nested.ofProducers()) {
    auto known = [&](Value value) { return shapes.contains(value) || indexValues.contains(value); };
    findProducers(*this, tensor, nesting, known);
    auto found = shapes.find(tensor);
    return found == shapes.end() ? FailureOr<SymShape>(failure()) : found->second;
  }
  if (!typesOnly && !circular && !nested.tooDeep()) {
    if (auto op = dyn_cast_or_null<SymbolicShapeOpInterface>(tensor.getDefiningOp())) {
      shapes[tensor] = {beingComputed()};
      FailureOr<SymShape> inferred = op.inferSymbolicShape(*this);
      if (failed(inferred)) {
        shapes.erase(tensor);
        return failure();
      }
      for (auto [i, dim] : llvm::enumerate(*inferred))
        if (dim.size() >= SymExpr::kTooLarge)
          dim = SymExpr::atom(valueAtom(tensor, i));
      shapes[tensor] = *inferred;
      return *inferred;
    }
    auto argument = dyn_cast<BlockArgument>(tensor);
    Operation *owner = argument ? argument.getOwner()->getParentOp() : tensor.getDefiningOp();
    if (auto op = dyn_cast_or_null<RegionShapeOpInterface>(owner)) {
      shapes[tensor] = {beingComputed()};
      FailureOr<SymShape> inferred = argument ? op.inferArgumentShape(*this, argument.getArgNumber())
                                              : op.inferResultShape(*this, cast<OpResult>(tensor).getResultNumber());
      if (succeeded(inferred))
        shapes[tensor] = *inferred;
      else
        shapes.erase(tensor);
      return inferred;
    }
    if (argument)
      if (auto func = dyn_cast_or_null<func::FuncOp>(owner))
        if (auto dims = func.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), LatheDialect::kDimsAttr);
            dims && static_cast<int64_t>(dims.size()) == type.getRank())
          for (auto [i, dim] : llvm::enumerate(dims)) {
            auto text = dyn_cast<StringAttr>(dim);
            std::optional<SymExpr> parsed = text ? SymExpr::parse(text.getValue()) : std::nullopt;
            shape.push_back(!type.isDynamicDim(i) ? SymExpr(type.getDimSize(i))
                            : parsed              ? *parsed
                                                  : SymExpr::symbol(text ? text.getValue() : "?"));
          }
  }
  if (shape.empty())
    for (int64_t i = 0; i < type.getRank(); ++i)
      shape.push_back(type.isDynamicDim(i) ? SymExpr::atom(valueAtom(tensor, i)) : SymExpr(type.getDimSize(i)));
  shapes[tensor] = shape;
  return shape;
}

SymExpr ShapeContext::indexValue(Value index) {
  auto memo = indexValues.find(index);
  bool circular = memo != indexValues.end() && memo->second == beingComputed();
  if (memo != indexValues.end() && !circular)
    return memo->second;
  Nesting nested(nesting);
  if (!typesOnly && !circular && nested.tooDeep() && !nested.ofProducers()) {
    auto known = [&](Value value) { return shapes.contains(value) || indexValues.contains(value); };
    findProducers(*this, index, nesting, known);
    return indexValues[index];
  }
  if (!circular && !nested.tooDeep())
    indexValues[index] = beingComputed();
  SymExpr result = circular || nested.tooDeep() ? SymExpr::atom(valueAtom(index, -1)) : computeIndexValue(index);
  if (result.size() >= SymExpr::kTooLarge)
    result = SymExpr::atom(valueAtom(index, -1));
  indexValues[index] = result;
  return result;
}

/// The divisor of a floor division, as materialize() writes it: one of zero is replaced.
static Value divisorOf(arith::FloorDivSIOp op) {
  auto guard = op.getRhs().getDefiningOp<arith::SelectOp>();
  auto isZero = guard ? guard.getCondition().getDefiningOp<arith::CmpIOp>() : arith::CmpIOp();
  bool guards = isZero && isZero.getPredicate() == arith::CmpIPredicate::eq &&
                isZero.getLhs() == guard.getFalseValue() && matchPattern(isZero.getRhs(), m_Zero()) &&
                matchPattern(guard.getTrueValue(), m_One());
  return guards ? guard.getFalseValue() : op.getRhs();
}

/// The division of a - floor(a / b) * b, as materialize() writes a remainder, of which more is known than of the
/// difference.
static arith::FloorDivSIOp remainderOf(arith::SubIOp op) {
  auto product = op.getRhs().getDefiningOp<arith::MulIOp>();
  auto division = product ? product.getLhs().getDefiningOp<arith::FloorDivSIOp>() : arith::FloorDivSIOp();
  bool matches = division && division.getLhs() == op.getLhs() && division.getRhs() == product.getRhs();
  return matches ? division : arith::FloorDivSIOp();
}

SymExpr ShapeContext::computeIndexValue(Value index) {
  Operation *op = index.getDefiningOp();
  // Verifiers also see operands that come later, and have not been verified.
  if (auto constant = dyn_cast_or_null<arith::ConstantOp>(op))
    if (auto number = dyn_cast_or_null<IntegerAttr>(constant.getValueAttr()))
      return number.getValue().getSExtValue();
  if (auto symbol = dyn_cast_or_null<SymbolOp>(op); symbol && symbol.getNameAttr())
    return SymExpr::symbol(symbol.getName());
  if (typesOnly || !op)
    return SymExpr::atom(valueAtom(index, -1));
  auto binary = [&](auto combine) { return combine(indexValue(op->getOperand(0)), indexValue(op->getOperand(1))); };
  if (isa<arith::AddIOp>(op))
    return binary([](auto a, auto b) { return a + b; });
  if (auto difference = dyn_cast<arith::SubIOp>(op)) {
    if (arith::FloorDivSIOp division = remainderOf(difference))
      return mod(indexValue(division.getLhs()), indexValue(divisorOf(division)));
    return binary([](auto a, auto b) { return a - b; });
  }
  if (isa<arith::MulIOp>(op))
    return binary([](auto a, auto b) { return a * b; });
  if (auto division = dyn_cast<arith::FloorDivSIOp>(op))
    return floorDiv(indexValue(division.getLhs()), indexValue(divisorOf(division)));
  if (auto choice = dyn_cast<arith::SelectOp>(op))
    if (auto test = choice.getCondition().getDefiningOp<arith::CmpIOp>(); test && test.getLhs().getType().isIndex()) {
      SymExpr a = indexValue(test.getLhs()), b = indexValue(test.getRhs());
      SymExpr yes = indexValue(choice.getTrueValue()), no = indexValue(choice.getFalseValue());
      switch (test.getPredicate()) {
      case arith::CmpIPredicate::eq:
        return select(eq(a, b), yes, no);
      case arith::CmpIPredicate::ne:
        return select(eq(a, b), no, yes);
      case arith::CmpIPredicate::slt:
        return select(lt(a, b), yes, no);
      case arith::CmpIPredicate::sge:
        return select(lt(a, b), no, yes);
      case arith::CmpIPredicate::sgt:
        return select(lt(b, a), yes, no);
      case arith::CmpIPredicate::sle:
        return select(lt(b, a), no, yes);
      default:
        break;
      }
    }
  if (isa<arith::MinSIOp>(op))
    return binary([&](auto a, auto b) { return min(a, b); });
  if (isa<arith::MaxSIOp>(op))
    return binary([&](auto a, auto b) { return max(a, b); });
  if (auto dim = dyn_cast<DimOp>(op)) {
    if (auto shape = shapeOf(dim.getInput()); succeeded(shape))
      return (*shape)[dim.getAxis()];
  }
  if (auto toIndex = dyn_cast<ToIndexOp>(op))
    if (auto value = element(toIndex.getInput(), toIndex.getPosition()))
      return *value;
  return SymExpr::atom(valueAtom(index, -1));
}

/// Position in an operand of rank at most 1 that broadcasts to rank at most 1.
static int64_t broadcastPosition(Value operand, int64_t position) {
  auto type = cast<RankedTensorType>(operand.getType());
  return type.getNumElements() == 1 ? 0 : position;
}

/// The number as the type holds it: "to the end" cast to 32 bits is -1. Symbols are taken to fit.
static int64_t wrapped(int64_t number, IntegerType type) {
  if (type.getWidth() >= 64)
    return number;
  APInt bits = APInt(64, static_cast<uint64_t>(number)).trunc(type.getWidth());
  return type.isInteger(1) || type.isUnsigned() ? static_cast<int64_t>(bits.getZExtValue()) : bits.getSExtValue();
}

std::optional<SymExpr> ShapeContext::element(Value tensor, int64_t position) {
  if (auto it = elements.find({tensor, position}); it != elements.end())
    return it->second;
  Nesting nested(nesting);
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

/// The symbol for an element of an input of the model, whose value is known before a run begins.
static std::optional<SymExpr> inputElement(BlockArgument argument, int64_t position) {
  auto func = dyn_cast_or_null<func::FuncOp>(argument.getOwner()->getParentOp());
  auto name = func ? func.getArgAttrOfType<StringAttr>(argument.getArgNumber(), LatheDialect::kNameAttr) : StringAttr();
  Type type = cast<RankedTensorType>(argument.getType()).getElementType();
  if (!name || !(type.isSignlessInteger(64) || type.isSignlessInteger(32) || type.isInteger(1)))
    return std::nullopt;
  return SymExpr::symbol(name.str() + "[" + std::to_string(position) + "]");
}

/// Element of a transpose or slice, of any rank.
std::optional<SymExpr> ShapeContext::movedElement(Operation *op, int64_t position) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  auto inputType = cast<RankedTensorType>(op->getOperand(0).getType());
  if (!inputType.hasStaticShape())
    return std::nullopt;
  SmallVector<int64_t> indices(type.getRank());
  for (int64_t axis = type.getRank(); axis-- > 0; position /= type.getDimSize(axis))
    indices[axis] = position % type.getDimSize(axis);
  if (auto transpose = dyn_cast<TransposeOp>(op)) {
    SmallVector<int64_t> result = indices;
    for (auto [axis, from] : llvm::enumerate(transpose.getPermutation()))
      indices[from] = result[axis];
  } else {
    auto slice = cast<SliceOp>(op);
    for (auto [i, axis] : llvm::enumerate(slice.getAxes())) {
      int64_t step = slice.getSteps()[i];
      SymExpr start = clampedIndex(indexValue(slice.getStarts()[i]), inputType.getDimSize(axis), 0, step < 0 ? -1 : 0);
      if (!start.constant())
        return std::nullopt;
      indices[axis] = *start.constant() + indices[axis] * step;
    }
  }
  int64_t from = 0;
  for (auto [axis, index] : llvm::enumerate(indices))
    from = from * inputType.getDimSize(axis) + index;
  return element(op->getOperand(0), from);
}

std::optional<SymExpr> ShapeContext::computeElement(Value tensor, int64_t position) {
  constexpr int64_t kLargest = 64; // shapes are small; longer integer tensors are data
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  if (!type || !type.hasStaticShape() || type.getNumElements() > kLargest || position < 0 ||
      position >= type.getNumElements() || !isa<IntegerType>(type.getElementType()))
    return std::nullopt;
  Operation *op = tensor.getDefiningOp();
  if (!op) {
    auto argument = cast<BlockArgument>(tensor);
    auto loop = dyn_cast_or_null<LoopOp>(argument.getOwner()->getParentOp());
    if (!loop)
      return inputElement(argument, position);
    // What a loop hands on as it is stays what it was. The body may still be under construction.
    unsigned state = argument.getArgNumber() - 1;
    bool ends = !argument.getOwner()->empty() && isa<YieldOp>(argument.getOwner()->back());
    return ends && loop.getYielded(state) == tensor ? element(loop.getInit()[state], position) : std::nullopt;
  }
  auto get = [&](Value v, int64_t p) { return element(v, p); };
  if (auto branch = dyn_cast<IfOp>(op)) {
    unsigned result = cast<OpResult>(tensor).getResultNumber();
    auto a = get(branch.getThenRegion().front().getTerminator()->getOperand(result), position);
    auto b = get(branch.getElseRegion().front().getTerminator()->getOperand(result), position);
    return a && b ? std::optional(select(indexValue(branch.getCondition()), *a, *b)) : std::nullopt;
  }
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    auto dense = dyn_cast<DenseIntElementsAttr>(constant.getValue());
    if (!dense)
      return std::nullopt;
    APInt value = *(dense.value_begin<APInt>() + position);
    return SymExpr(type.getElementType().isInteger(1) || type.getElementType().isUnsignedInteger()
                       ? static_cast<int64_t>(value.getZExtValue())
                       : value.getSExtValue());
  }
  if (auto from = dyn_cast<FromIndexOp>(op))
    return indexValue(from.getValues()[position]);
  if (auto shapeOp = dyn_cast<ShapeOfOp>(op)) {
    auto shape = shapeOf(shapeOp.getInput());
    return succeeded(shape) ? std::optional((*shape)[position]) : std::nullopt;
  }
  // Same elements in the same order, whatever the shape.
  if (isa<ReshapeOp>(op))
    return get(op->getOperand(0), position);
  if (auto castOp = dyn_cast<CastOp>(op)) {
    auto from = dyn_cast<IntegerType>(castOp.getInput().getType().getElementType());
    if (!from) // exporters compute sizes in floats, too
      if (std::optional<double> number = detail::floatElement(*this, castOp.getInput(), position))
        return type.getElementType().isInteger(1)    ? SymExpr(*number != 0)
               : std::abs(*number) < double(1 << 30) ? std::optional(SymExpr(static_cast<int64_t>(*number)))
                                                     : std::nullopt;
    auto value = from ? get(castOp.getInput(), position) : std::nullopt;
    if (value && type.getElementType().isInteger(1) && !from.isInteger(1))
      return SymExpr(1) - eq(*value, 0);
    // What may not fit into a small type wraps, which is known of constants alone.
    unsigned width = type.getElementTypeBitWidth();
    return value && !value->constant() && width < 32 && width < from.getWidth() ? std::nullopt : value;
  }
  if (isa<TransposeOp, SliceOp>(op))
    return movedElement(op, position);
  if (type.getRank() > 1)
    return std::nullopt;
  if (isa<BroadcastOp>(op)) {
    auto input = cast<RankedTensorType>(op->getOperand(0).getType());
    return input.hasStaticShape() ? get(op->getOperand(0), broadcastPosition(op->getOperand(0), position))
                                  : std::nullopt;
  }
  if (auto concat = dyn_cast<ConcatOp>(op)) {
    for (Value input : concat.getInputs()) {
      auto inputType = cast<RankedTensorType>(input.getType());
      if (!inputType.hasStaticShape())
        return std::nullopt;
      if (position < inputType.getNumElements())
        return get(input, position);
      position -= inputType.getNumElements();
    }
    return std::nullopt;
  }
  if (auto gather = dyn_cast<GatherOp>(op)) {
    auto inputType = cast<RankedTensorType>(gather.getInput().getType());
    if (!inputType.hasStaticShape() || inputType.getRank() != 1)
      return std::nullopt;
    auto index = get(gather.getIndices(), position);
    auto at = index ? index->constant() : std::nullopt;
    return at ? get(gather.getInput(), *at < 0 ? *at + inputType.getNumElements() : *at) : std::nullopt;
  }
  if (auto range = dyn_cast<RangeOp>(op))
    return indexValue(range.getStart()) + indexValue(range.getStep()) * SymExpr(position);
  if (auto reduce = dyn_cast<ReduceOp>(op)) {
    auto inputType = cast<RankedTensorType>(reduce.getInput().getType());
    if (!inputType.hasStaticShape() || inputType.getRank() != 1 || reduce.getAxes().size() != 1 ||
        inputType.getNumElements() > kLargest)
      return std::nullopt;
    std::optional<SymExpr> total;
    for (int64_t i = 0; i < inputType.getNumElements(); ++i) {
      auto value = get(reduce.getInput(), i);
      if (!value)
        return std::nullopt;
      switch (reduce.getKind()) {
      case Reduction::sum:
        total = total ? *total + *value : *value;
        break;
      case Reduction::prod:
        total = total ? *total * *value : *value;
        break;
      case Reduction::min:
        total = total ? min(*total, *value) : *value;
        break;
      case Reduction::max:
        total = total ? max(*total, *value) : *value;
        break;
      default:
        return std::nullopt;
      }
    }
    return total;
  }
  if (auto selectOp = dyn_cast<SelectOp>(op)) {
    auto operand = [&](Value v) { return get(v, broadcastPosition(v, position)); };
    auto c = operand(selectOp.getCondition()), a = operand(selectOp.getTrueValue()),
         b = operand(selectOp.getFalseValue());
    if (!c || !a || !b)
      return std::nullopt;
    return select(*c, *a, *b);
  }
  if (isa<NegOp, AbsOp, NotOp, ReluOp>(op)) {
    auto value = get(op->getOperand(0), position);
    if (!value)
      return std::nullopt;
    if (isa<NotOp>(op))
      return SymExpr(1) - *value;
    if (isa<ReluOp>(op))
      return max(*value, 0);
    return isa<NegOp>(op) ? SymExpr(0) - *value : max(*value, SymExpr(0) - *value);
  }
  if (op->getNumOperands() != 2 ||
      !isa<AddOp, SubOp, MulOp, DivOp, ModOp, MinOp, MaxOp, CompareOp, AndOp, OrOp, XorOp>(op))
    return std::nullopt;
  if (isa<AndOp, OrOp>(op) && !type.getElementType().isInteger(1))
    return std::nullopt;
  for (Value operand : op->getOperands())
    if (!cast<RankedTensorType>(operand.getType()).hasStaticShape())
      return std::nullopt;
  auto a = get(op->getOperand(0), broadcastPosition(op->getOperand(0), position));
  auto b = get(op->getOperand(1), broadcastPosition(op->getOperand(1), position));
  if (!a || !b)
    return std::nullopt;
  if (isa<AddOp>(op))
    return *a + *b;
  if (isa<SubOp>(op))
    return *a - *b;
  if (isa<MulOp>(op))
    return *a * *b;
  // Extents divide extents, such as a product of dimensions by one of them. Division by an extent of 0 is left to
  // whatever it gives: there are no elements then.
  if (isa<DivOp>(op))
    return atLeast(*b, 0) && !b->isConstant(0) ? std::optional(truncatedDiv(*a, *b)) : std::nullopt;
  if (auto modOp = dyn_cast<ModOp>(op)) {
    if (!atLeast(*b, 0) || b->isConstant(0))
      return std::nullopt;
    return modOp.getTruncated() && !atLeast(*a, 0) ? *a - truncatedDiv(*a, *b) * *b : mod(*a, *b);
  }
  if (isa<MinOp>(op))
    return min(*a, *b);
  if (isa<MaxOp>(op))
    return max(*a, *b);
  if (isa<AndOp>(op))
    return *a * *b;
  if (isa<OrOp>(op))
    return *a + *b - *a * *b;
  if (isa<XorOp>(op))
    return *a + *b - SymExpr(2) * *a * *b;
  switch (cast<CompareOp>(op).getPredicate()) {
  case Comparison::eq:
    return eq(*a, *b);
  case Comparison::ne:
    return SymExpr(1) - eq(*a, *b);
  case Comparison::lt:
    return lt(*a, *b);
  case Comparison::ge:
    return SymExpr(1) - lt(*a, *b);
  case Comparison::gt:
    return lt(*b, *a);
  case Comparison::le:
    return SymExpr(1) - lt(*b, *a);
  }
  return std::nullopt;
}

} // namespace lathe
