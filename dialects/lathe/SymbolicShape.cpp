//===- SymbolicShape.cpp - Dimensions as expressions over symbols ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/SymExprDetail.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"
#include <cmath>

using namespace mlir;

namespace lathe {

//===----------------------------------------------------------------------===//
// ShapeContext: facts
//===----------------------------------------------------------------------===//

/// The number of an iteration, or of all of them.
static bool isIteration(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  return isa_and_nonnull<LoopOp>(argument ? argument.getOwner()->getParentOp() : value.getDefiningOp());
}

using Bounds = std::pair<std::optional<int64_t>, std::optional<int64_t>>;

/// Lower and upper bound by interval arithmetic; nullopt: none known.
Bounds ShapeContext::bounds(const SymAtom &atom) {
  if (atom.size >= SymExpr::kTooLarge)
    return {};
  switch (atom.op) {
  case SymOp::symbol: {
    auto it = ranges.find(atom.name);
    if (it == ranges.end() && SymExpr::isInputElement(atom.name))
      return {};
    return it == ranges.end() ? Bounds{0, std::nullopt} : Bounds{it->second.min, it->second.max};
  }
  case SymOp::value:
    // Extents of tensors and numbers of iterations are not negative; other index values may be.
    if (isa<RankedTensorType>(atom.value.getType()) || isIteration(atom.value))
      return {0, std::nullopt};
    return {};
  case SymOp::min: {
    Bounds x = bounds(atom.args[0]), y = bounds(atom.args[1]);
    std::optional<int64_t> h = x.second;
    if (y.second && (!h || *y.second < *h))
      h = y.second;
    return {x.first && y.first ? std::optional<int64_t>(std::min(*x.first, *y.first)) : std::nullopt, h};
  }
  case SymOp::max: {
    Bounds x = bounds(atom.args[0]), y = bounds(atom.args[1]);
    std::optional<int64_t> l = x.first;
    if (y.first && (!l || *y.first > *l))
      l = y.first;
    return {l, x.second && y.second ? std::optional<int64_t>(std::max(*x.second, *y.second)) : std::nullopt};
  }
  case SymOp::floor_div: {
    Bounds x = bounds(atom.args[0]), y = bounds(atom.args[1]);
    if (std::optional<int64_t> c = atom.args[1].constant(); c && *c > 0)
      return {x.first ? std::optional<int64_t>(llvm::divideFloorSigned(*x.first, *c)) : std::nullopt,
              x.second ? std::optional<int64_t>(llvm::divideFloorSigned(*x.second, *c)) : std::nullopt};
    if (x.first && *x.first >= 0 && y.first && *y.first >= 0)
      return {0, x.second};
    return {};
  }
  case SymOp::eq:
  case SymOp::lt:
    return {0, 1};
  case SymOp::select:
  case SymOp::broadcast: {
    Bounds x = bounds(atom.args[atom.op == SymOp::select ? 1 : 0]);
    Bounds y = bounds(atom.args[atom.op == SymOp::select ? 2 : 1]);
    return {x.first && y.first ? std::optional<int64_t>(std::min(*x.first, *y.first)) : std::nullopt,
            x.second && y.second ? std::optional<int64_t>(std::max(*x.second, *y.second)) : std::nullopt};
  }
  case SymOp::mod: {
    Bounds y = bounds(atom.args[1]);
    if (!y.first || *y.first < 1)
      return {};
    return {0, y.second ? std::optional<int64_t>(*y.second - 1) : std::nullopt};
  }
  case SymOp::wrap:
  case SymOp::product:
    return {};
  }
  return {};
}

Bounds ShapeContext::bounds(const SymExpr &a) {
  constexpr __int128 kBig = __int128(1) << 62;
  std::optional<__int128> low = 0, high = 0;
  auto atomBounds = [&](const SymAtom &atom) {
    if (!atom.shared)
      return bounds(atom);
    if (auto it = sharedBounds.find(atom.key); it != sharedBounds.end())
      return it->second;
    Bounds result = bounds(atom);
    sharedBounds[atom.key] = result;
    return result;
  };
  for (const auto &[monomial, coefficient] : a.getTerms()) {
    std::optional<__int128> l = 1, h = 1; // bounds of the product of atoms, kept only while all are non-negative
    for (const SymAtomRef &atom : monomial.atoms) {
      Bounds b = atomBounds(*atom);
      bool single = monomial.atoms.size() == 1;
      if (b.first && (*b.first >= 0 || single))
        l = l ? std::optional<__int128>(*l * *b.first) : std::nullopt;
      else
        l = std::nullopt;
      h = h && b.second && (*b.second >= 0 || single) ? std::optional<__int128>(*h * *b.second) : std::nullopt;
      if (!single && !(b.first && *b.first >= 0))
        l = h = std::nullopt;
      if ((l && (*l > kBig || *l < -kBig)))
        l = std::nullopt;
      if ((h && (*h > kBig || *h < -kBig)))
        h = std::nullopt;
    }
    std::optional<__int128> tl = coefficient >= 0 ? l : h, th = coefficient >= 0 ? h : l;
    low = low && tl ? std::optional<__int128>(*low + *tl * coefficient) : std::nullopt;
    high = high && th ? std::optional<__int128>(*high + *th * coefficient) : std::nullopt;
    if (low && (*low > kBig || *low < -kBig))
      low = std::nullopt;
    if (high && (*high > kBig || *high < -kBig))
      high = std::nullopt;
  }
  auto narrow = [](std::optional<__int128> x) {
    return x ? std::optional<int64_t>(static_cast<int64_t>(*x)) : std::nullopt;
  };
  return {narrow(low), narrow(high)};
}

bool ShapeContext::atLeast(const SymExpr &a, int64_t bound) {
  if (auto c = a.constant())
    return *c >= bound;
  auto low = bounds(a).first;
  return low && *low >= bound;
}

bool ShapeContext::atMost(const SymExpr &a, int64_t bound) {
  if (auto c = a.constant())
    return *c <= bound;
  auto high = bounds(a).second;
  return high && *high <= bound;
}

/// Whether a - b has a coefficient that wraps, so that its sign says nothing of the order of a and b.
static bool differenceWraps(const SymExpr &a, const SymExpr &b) {
  return llvm::any_of(b.getTerms(), [&](const auto &term) {
    auto it = a.getTerms().find(term.first);
    int64_t difference;
    return llvm::SubOverflow(it == a.getTerms().end() ? int64_t(0) : it->second, term.second, difference);
  });
}

bool ShapeContext::isBelow(const SymExpr &a, const SymExpr &b, int64_t gap) {
  if (auto ca = a.constant(), cb = b.constant(); ca && cb)
    return static_cast<__int128>(*ca) + gap <= *cb;
  return !differenceWraps(a, b) && atMost(a - b, -gap);
}

//===----------------------------------------------------------------------===//
// ShapeContext: arithmetic
//===----------------------------------------------------------------------===//

SymExpr ShapeContext::op2(SymOp op, const SymExpr &a, const SymExpr &b) { return detail::makeAtom(op, {a, b}); }

SymExpr ShapeContext::floorDiv(const SymExpr &a, const SymExpr &b) {
  if (b.isConstant(1))
    return a;
  if (a == b && atLeast(b, 1))
    return 1;
  auto ca = a.constant(), cb = b.constant();
  if (cb && *cb == 0)
    return op2(SymOp::floor_div, a, b); // an error of the run, not ours
  if (ca && cb && !(*ca == INT64_MIN && *cb == -1))
    return llvm::divideFloorSigned(*ca, *cb);
  if (auto quotient = detail::divideExactly(a, b))
    return *quotient;
  return op2(SymOp::floor_div, a, b);
}

SymExpr ShapeContext::truncatedDiv(const SymExpr &a, const SymExpr &b) {
  if (atLeast(a, 0))
    return floorDiv(a, b);
  SymExpr negated = SymExpr(0) - floorDiv(SymExpr(0) - a, b);
  return atMost(a, 0) ? negated : select(lt(a, 0), negated, floorDiv(a, b));
}

SymExpr ShapeContext::mod(const SymExpr &a, const SymExpr &b) {
  auto ca = a.constant(), cb = b.constant();
  if (ca && cb && *cb != 0 && *cb != -1) {
    int64_t rest = *ca % *cb; // with the sign of a; quotient * b could overflow
    return rest != 0 && (rest < 0) != (*cb < 0) ? rest + *cb : rest;
  }
  return op2(SymOp::mod, a, b);
}

SymExpr ShapeContext::min(const SymExpr &a, const SymExpr &b) {
  if (a == b || isBelow(a, b, 0))
    return a;
  if (isBelow(b, a, 0))
    return b;
  return op2(SymOp::min, a, b);
}

SymExpr ShapeContext::max(const SymExpr &a, const SymExpr &b) {
  if (a == b || isBelow(b, a, 0))
    return a;
  if (isBelow(a, b, 0))
    return b;
  return op2(SymOp::max, a, b);
}

SymExpr ShapeContext::eq(const SymExpr &a, const SymExpr &b) {
  if (auto c = (a - b).constant())
    return *c == 0 ? 1 : 0;
  if (isBelow(a, b, 1) || isBelow(b, a, 1))
    return 0;
  if ((b.isConstant(0) || b.isConstant(1)) && isBoolean(a))
    return b.isConstant(1) ? a : SymExpr(1) - a;
  return op2(SymOp::eq, a, b);
}

SymExpr ShapeContext::lt(const SymExpr &a, const SymExpr &b) {
  if (isBelow(a, b, 1))
    return 1;
  if (isBelow(b, a, 0))
    return 0;
  return op2(SymOp::lt, a, b);
}

SymExpr ShapeContext::select(const SymExpr &c, const SymExpr &a, const SymExpr &b) {
  if (auto value = c.constant())
    return *value ? a : b;
  if (a == b)
    return a;
  // Written back and read again, an expression stays what it was.
  if (isBoolean(c)) {
    if (a.isConstant(1) && b.isConstant(0))
      return c;
    if (SymExpr negated = SymExpr(1) - c; negated.getTerms().size() < c.getTerms().size())
      return select(negated, b, a);
  }
  return detail::makeAtom(SymOp::select, {c, a, b});
}

SymExpr ShapeContext::clampedIndex(const SymExpr &x, const SymExpr &d, int64_t low, int64_t high) {
  SymExpr wrapped = x;
  if (atLeast(x, 0)) {
    // Exporters write "to the end" as a huge number.
    if (auto c = x.constant(); c && *c >= (int64_t(1) << 31) - 1)
      return d + SymExpr(high);
  } else if (atMost(x, -1)) {
    if (auto c = x.constant(); c && *c <= -(int64_t(1) << 31))
      return low;
    wrapped = x + d;
  } else {
    wrapped = op2(SymOp::wrap, x, d);
  }
  return max(min(wrapped, d + SymExpr(high)), low);
}

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
/// Counts calls that follow chains of operations: what is longer than any model's is not followed to the end of the
/// stack, but taken to be data.
struct Nesting {
  explicit Nesting(int &depth) : depth(++depth) {}
  ~Nesting() { --depth; }
  bool tooDeep() const { return depth > 512; }
  int &depth;
};
} // namespace

FailureOr<SymShape> ShapeContext::shapeOf(Value tensor) {
  if (auto it = shapes.find(tensor); it != shapes.end())
    return it->second;
  auto type = dyn_cast<RankedTensorType>(tensor.getType());
  if (!type)
    return failure();
  SymShape shape;
  Nesting nested(nesting);
  if (!typesOnly && !nested.tooDeep()) {
    if (auto op = dyn_cast_or_null<SymbolicShapeOpInterface>(tensor.getDefiningOp())) {
      FailureOr<SymShape> inferred = op.inferSymbolicShape(*this);
      if (failed(inferred))
        return failure();
      for (auto [i, dim] : llvm::enumerate(*inferred))
        if (dim.size() >= SymExpr::kTooLarge)
          dim = SymExpr::atom(valueAtom(tensor, i));
      shapes[tensor] = *inferred;
      return *inferred;
    }
    auto argument = dyn_cast<BlockArgument>(tensor);
    Operation *owner = argument ? argument.getOwner()->getParentOp() : tensor.getDefiningOp();
    if (auto op = dyn_cast_or_null<RegionShapeOpInterface>(owner)) {
      FailureOr<SymShape> inferred = argument ? op.inferArgumentShape(*this, argument.getArgNumber())
                                              : op.inferResultShape(*this, cast<OpResult>(tensor).getResultNumber());
      if (succeeded(inferred))
        shapes[tensor] = *inferred;
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
  if (auto it = indexValues.find(index); it != indexValues.end())
    return it->second;
  Nesting nested(nesting);
  SymExpr result = nested.tooDeep() ? SymExpr::atom(valueAtom(index, -1)) : computeIndexValue(index);
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
  APInt constant;
  if (matchPattern(index, m_ConstantInt(&constant)))
    return constant.getSExtValue();
  Operation *op = index.getDefiningOp();
  if (auto symbol = dyn_cast_or_null<SymbolOp>(op))
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
