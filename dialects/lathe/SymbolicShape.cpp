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

using detail::Nesting;

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

} // namespace lathe
