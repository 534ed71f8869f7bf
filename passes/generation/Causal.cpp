//===- Causal.cpp - Which keys a mask lets a query see --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/generation/Causal.h"
#include "passes/fusion/Values.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;

namespace lathe::generation {
namespace {

/// What is added to a score hides its key: of exp(x - maximum) nothing is left in f32, where another key of the row is
/// seen. A causal mask lets each query see itself.
constexpr double kHides = -9999;

/// Integer elements as a sum of the element's place along each axis, times a factor, and a number.
struct Linear {
  SmallVector<int64_t> factors; ///< of the axes, from the last to the first
  int64_t constant = 0;

  int64_t factor(size_t fromEnd) const { return fromEnd < factors.size() ? factors[fromEnd] : 0; }
};

class Reader {
public:
  Reader(AttentionOp op, ShapeContext &shapes) : op(op), shapes(shapes), b(op) {}

  Visibility run() {
    for (Value bias : op.getBiases())
      if (Value rest = restOf(bias))
        found.biases.push_back(rest);
    return found;
  }

private:
  std::optional<Linear> linear(Value value, int depth = 24) {
    Operation *own = value.getDefiningOp();
    if (!own || depth == 0)
      return std::nullopt;
    auto type = cast<RankedTensorType>(value.getType());
    if (std::optional<double> number = fusion::numberOf(value)) {
      if (*number != static_cast<double>(static_cast<int64_t>(*number)))
        return std::nullopt;
      return Linear{SmallVector<int64_t>(type.getRank(), 0), static_cast<int64_t>(*number)};
    }
    if (auto range = dyn_cast<RangeOp>(own)) {
      std::optional<int64_t> start = shapes.indexValue(range.getStart()).constant(),
                             step = shapes.indexValue(range.getStep()).constant();
      if (!start || !step)
        return std::nullopt;
      return Linear{{*step}, *start};
    }
    if (isa<CastOp, BroadcastOp>(own)) {
      std::optional<Linear> result = linear(own->getOperand(0), depth - 1);
      if (result)
        result->factors.resize(type.getRank(), 0);
      return result;
    }
    if (isa<ReshapeOp>(own))
      return reshaped(own, depth);
    if (auto transpose = dyn_cast<TransposeOp>(own)) {
      std::optional<Linear> inner = linear(transpose.getInput(), depth - 1);
      if (!inner)
        return std::nullopt;
      Linear result = *inner;
      size_t rank = type.getRank();
      for (size_t axis = 0; axis < rank; ++axis)
        result.factors[rank - 1 - axis] = inner->factors[rank - 1 - transpose.getPermutation()[axis]];
      return result;
    }
    if (isa<SliceOp, ConcatOp, GatherNDOp, GatherOp, NotOp, CumSumOp, CompareOp>(own))
      return moved(own, type.getRank(), depth);
    if (isa<AddOp, SubOp, MulOp>(own)) {
      std::optional<Linear> l = linear(own->getOperand(0), depth - 1), r = linear(own->getOperand(1), depth - 1);
      if (!l || !r)
        return std::nullopt;
      return combined(own, *l, *r, type.getRank());
    }
    return std::nullopt;
  }

  /// Elements that come from elsewhere, and truth values that are all the same: as in a search for the places where
  /// packed sequences begin.
  std::optional<Linear> moved(Operation *own, size_t rank, int depth) {
    auto number = [&](int64_t value) { return Linear{SmallVector<int64_t>(rank, 0), value}; };
    auto isNumber = [](const Linear &x) { return llvm::all_of(x.factors, [](int64_t f) { return f == 0; }); };
    if (isa<GatherNDOp, GatherOp>(own))
      return lookedUp(own, rank, depth);
    std::optional<Linear> first = linear(own->getOperand(0), depth - 1);
    if (!first)
      return std::nullopt;
    if (auto slice = dyn_cast<SliceOp>(own)) {
      for (auto [i, axis] : llvm::enumerate(slice.getAxes())) {
        std::optional<int64_t> start = shapes.indexValue(slice.getStarts()[i]).constant();
        if (!start || *start < 0 || slice.getSteps()[i] != 1)
          return std::nullopt;
        first->constant += first->factors[rank - 1 - axis] * *start;
      }
      return first;
    }
    if (isa<NotOp>(own))
      return isNumber(*first) ? std::optional(number(first->constant == 0)) : std::nullopt;
    if (isa<CumSumOp>(own))
      return isNumber(*first) && first->constant == 0 ? first : std::nullopt;
    std::optional<Linear> second = own->getNumOperands() == 2 ? linear(own->getOperand(1), depth - 1) : std::nullopt;
    if (!second)
      return std::nullopt;
    if (auto compare = dyn_cast<CompareOp>(own)) {
      for (size_t i = 0; i < rank; ++i)
        if (first->factor(i) != second->factor(i))
          return std::nullopt;
      bool isEqual = first->constant == second->constant;
      if (compare.getPredicate() == Comparison::eq)
        return number(isEqual);
      return compare.getPredicate() == Comparison::ne ? std::optional(number(!isEqual)) : std::nullopt;
    }
    // One element before the others, which go on where it is.
    auto concat = cast<ConcatOp>(own);
    FailureOr<SymShape> before = shapes.shapeOf(concat.getInputs()[0]);
    size_t place = rank - 1 - concat.getAxis();
    if (failed(before) || !(*before)[concat.getAxis()].isConstant(1))
      return std::nullopt;
    int64_t step = second->factors[place];
    second->constant -= step;
    for (size_t i = 0; i < rank; ++i)
      if (i != place && first->factors[i] != second->factors[i])
        return std::nullopt;
    return first->constant == second->constant ? second : std::nullopt;
  }

  /// Elements of something linear at linear places.
  std::optional<Linear> lookedUp(Operation *own, size_t rank, int depth) {
    std::optional<Linear> data = linear(own->getOperand(0), depth - 1);
    auto gather = dyn_cast<GatherNDOp>(own);
    if (!data || !gather || gather.getBatchDims() != 0)
      return std::nullopt;
    auto dataRank = static_cast<size_t>(cast<RankedTensorType>(gather.getInput().getType()).getRank());
    auto type = cast<RankedTensorType>(gather.getIndices().getType());
    auto concat = gather.getIndices().getDefiningOp<ConcatOp>();
    // Each number of an index by itself, all of those that there are.
    if (!concat || static_cast<int64_t>(concat.getAxis()) + 1 != type.getRank() || concat.getInputs().size() != dataRank ||
        type.getDimSize(type.getRank() - 1) != static_cast<int64_t>(dataRank))
      return std::nullopt;
    Linear result{SmallVector<int64_t>(rank, 0), data->constant};
    for (auto [axis, input] : llvm::enumerate(concat.getInputs())) {
      int64_t factor = data->factors[dataRank - 1 - axis];
      if (factor == 0)
        continue;
      std::optional<Linear> place = linear(input, depth - 1);
      if (!place)
        return std::nullopt;
      result.constant += factor * place->constant;
      for (size_t i = 0; i < rank; ++i)
        result.factors[i] += factor * place->factor(i + 1);
    }
    return result;
  }

  static std::optional<Linear> combined(Operation *own, const Linear &l, const Linear &r, size_t rank) {
    Linear result{SmallVector<int64_t>(rank, 0), 0};
    auto isNumber = [](const Linear &x) { return llvm::all_of(x.factors, [](int64_t f) { return f == 0; }); };
    if (isa<MulOp>(own)) {
      if (!isNumber(l) && !isNumber(r))
        return std::nullopt;
      const Linear &number = isNumber(l) ? l : r, &other = isNumber(l) ? r : l;
      for (size_t i = 0; i < rank; ++i)
        result.factors[i] = other.factor(i) * number.constant;
      result.constant = l.constant * r.constant;
      return result;
    }
    int64_t sign = isa<SubOp>(own) ? -1 : 1;
    for (size_t i = 0; i < rank; ++i)
      result.factors[i] = l.factor(i) + sign * r.factor(i);
    result.constant = l.constant + sign * r.constant;
    return result;
  }

  /// Axes of one element come and go.
  std::optional<Linear> reshaped(Operation *own, int depth) {
    std::optional<Linear> inner = linear(own->getOperand(0), depth - 1);
    FailureOr<SymShape> from = shapes.shapeOf(own->getOperand(0)), to = shapes.shapeOf(own->getResult(0));
    if (!inner || failed(from) || failed(to))
      return std::nullopt;
    Linear result{SmallVector<int64_t>(to->size(), 0), inner->constant};
    size_t next = 0;
    for (size_t axis = 0; axis < to->size(); ++axis) {
      if ((*to)[axis].isConstant(1))
        continue;
      while (next < from->size() && (*from)[next].isConstant(1))
        ++next;
      if (next == from->size() || (*from)[next] != (*to)[axis])
        return std::nullopt;
      result.factors[to->size() - 1 - axis] = inner->factors[from->size() - 1 - next++];
    }
    while (next < from->size() && (*from)[next].isConstant(1))
      ++next;
    return next == from->size() ? std::optional(result) : std::nullopt;
  }

  /// Whether a comparison, or where `negated` its contrary, is one of a query's and a key's number, which is then noted.
  bool readComparison(CompareOp compare, bool negated) {
    std::optional<Linear> l = linear(compare.getLhs()), r = linear(compare.getRhs());
    if (!l || !r)
      return false;
    auto rank = static_cast<size_t>(cast<RankedTensorType>(compare.getType()).getRank());
    for (size_t axis = 2; axis < rank; ++axis)
      if (l->factor(axis) != r->factor(axis))
        return false;
    int64_t key = l->factor(0) - r->factor(0), query = l->factor(1) - r->factor(1), constant = l->constant - r->constant;
    Comparison predicate = compare.getPredicate();
    if (negated)
      switch (predicate) {
      case Comparison::le: predicate = Comparison::gt; break;
      case Comparison::lt: predicate = Comparison::ge; break;
      case Comparison::ge: predicate = Comparison::lt; break;
      case Comparison::gt: predicate = Comparison::le; break;
      default: return false;
      }
    if (key == -1 && query == 1) { // the same of the other side
      key = 1, query = -1, constant = -constant;
      switch (predicate) {
      case Comparison::le: predicate = Comparison::ge; break;
      case Comparison::lt: predicate = Comparison::gt; break;
      case Comparison::ge: predicate = Comparison::le; break;
      case Comparison::gt: predicate = Comparison::lt; break;
      default: return false;
      }
    }
    if (key == 0 && query == 0) { // of numbers
      switch (predicate) {
      case Comparison::le: return constant <= 0;
      case Comparison::lt: return constant < 0;
      case Comparison::ge: return constant >= 0;
      case Comparison::gt: return constant > 0;
      default: return false;
      }
    }
    if (key >= 0 && query >= 0 && constant >= 0 && (predicate == Comparison::ge || (predicate == Comparison::gt && constant > 0)))
      return true; // places are never below 0
    if (key != 1 || query != -1)
      return false;
    if (predicate == Comparison::le || predicate == Comparison::lt) { // key - query <= bound
      int64_t bound = -constant - (predicate == Comparison::lt);
      if (bound != 0)
        return false;
      found.isCausal = true;
      return true;
    }
    if (predicate != Comparison::ge && predicate != Comparison::gt)
      return false;
    int64_t most = constant - (predicate == Comparison::gt) + 1; // query - key < most
    if (most < 1)
      return false;
    found.window = std::min(most, found.window.value_or(most));
    return true;
  }

  /// The conditions that must all hold for a key to be seen, without those that are noted.
  void collect(Value condition, bool negated, SmallVectorImpl<std::pair<Value, bool>> &rest) {
    Operation *own = condition.getDefiningOp();
    if (std::optional<double> number = fusion::numberOf(condition); number && (*number != 0) != negated)
      return;
    if (auto no = dyn_cast_or_null<NotOp>(own))
      return collect(no.getInput(), !negated, rest);
    if (own && (negated ? isa<OrOp>(own) : isa<AndOp>(own))) {
      collect(own->getOperand(0), negated, rest);
      return collect(own->getOperand(1), negated, rest);
    }
    if (std::optional<std::pair<Value, bool>> inner = asCondition(condition))
      return collect(inner->first, negated != inner->second, rest);
    // Seen wherever numbers are cast to truth values and back.
    if (auto cast = dyn_cast_or_null<CastOp>(own);
        cast && mlir::cast<RankedTensorType>(cast.getInput().getType()).getElementType().isInteger(1))
      return collect(cast.getInput(), negated, rest);
    if (auto broadcast = dyn_cast_or_null<BroadcastOp>(own); broadcast && keepsAxes(broadcast)) {
      SmallVector<std::pair<Value, bool>> inner;
      collect(broadcast.getInput(), negated, inner);
      if (inner.empty())
        return;
    } else if (auto reshape = dyn_cast_or_null<ReshapeOp>(own); reshape && addsLeading(reshape)) {
      SmallVector<std::pair<Value, bool>> inner;
      collect(reshape.getInput(), negated, inner);
      if (inner.empty())
        return;
    }
    if (std::optional<Linear> same = linear(condition);
        same && llvm::all_of(same->factors, [](int64_t factor) { return factor == 0; }) && (same->constant != 0) != negated)
      return;
    if (auto compare = dyn_cast_or_null<CompareOp>(own)) {
      Visibility before = found;
      if (readComparison(compare, negated))
        return;
      found = before;
    }
    rest.push_back({condition, negated});
  }

  /// A choice of two numbers as a truth value: its condition, and whether that is negated.
  std::optional<std::pair<Value, bool>> asCondition(Value value) {
    if (auto cast = value.getDefiningOp<CastOp>())
      value = cast.getInput();
    auto select = value.getDefiningOp<SelectOp>();
    if (!select)
      return std::nullopt;
    std::optional<double> yes = fusion::numberOf(select.getTrueValue()), no = fusion::numberOf(select.getFalseValue());
    if (!yes || !no || (*yes != 0) == (*no != 0))
      return std::nullopt;
    return std::pair(select.getCondition(), *yes == 0);
  }

  /// The last two axes are those of the operand.
  bool keepsAxes(BroadcastOp broadcast) {
    return cast<RankedTensorType>(broadcast.getInput().getType()).getRank() >= 2;
  }
  bool addsLeading(ReshapeOp reshape) {
    FailureOr<SymShape> from = shapes.shapeOf(reshape.getInput()), to = shapes.shapeOf(reshape.getResult());
    if (failed(from) || failed(to) || from->size() < 2 || to->size() < from->size())
      return false;
    for (size_t i = 0; i < to->size(); ++i)
      if (i < from->size() ? (*to)[to->size() - 1 - i] != (*from)[from->size() - 1 - i] : !(*to)[to->size() - 1 - i].isConstant(1))
        return false;
    return true;
  }

  bool hides(Value value) {
    std::optional<double> number = fusion::numberOf(value);
    return number && *number * factor <= kHides;
  }
  static bool isZero(Value value) { return fusion::numberOf(value) == 0.0; }

  /// The bias without what is noted; null where nothing is left.
  Value restOf(Value bias) {
    Operation *own = bias.getDefiningOp();
    if (isZero(bias))
      return {};
    if (auto broadcast = dyn_cast_or_null<BroadcastOp>(own); broadcast && keepsAxes(broadcast)) {
      if (Value rest = restOf(broadcast.getInput()))
        return rest == broadcast.getInput() ? bias : rest;
      return {};
    }
    if (auto reshape = dyn_cast_or_null<ReshapeOp>(own); reshape && addsLeading(reshape)) {
      Value rest = restOf(reshape.getInput());
      return rest == reshape.getInput() ? bias : rest;
    }
    if (auto add = dyn_cast_or_null<AddOp>(own)) {
      Value l = restOf(add.getLhs()), r = restOf(add.getRhs());
      if (!l || !r)
        return l ? l : r;
      if (l == add.getLhs() && r == add.getRhs())
        return bias;
      return make<AddOp>(bias, l, r);
    }
    if (auto select = dyn_cast_or_null<SelectOp>(own)) {
      bool hidesFalse = hides(select.getFalseValue()) && !hides(select.getTrueValue()),
           hidesTrue = hides(select.getTrueValue()) && !hides(select.getFalseValue());
      if (!hidesFalse && !hidesTrue)
        return bias;
      Value shown = hidesFalse ? select.getTrueValue() : select.getFalseValue();
      SmallVector<std::pair<Value, bool>> rest;
      collect(select.getCondition(), hidesTrue, rest);
      if (rest.empty())
        return restOf(shown);
      return remade(bias, rest, shown, hidesFalse ? select.getFalseValue() : select.getTrueValue());
    }
    // (1 - seen) * number, or a factor of all that is added
    if (auto mul = dyn_cast_or_null<MulOp>(own))
      for (unsigned i = 0; i < 2; ++i) {
        std::optional<double> number = fusion::numberOf(mul->getOperand(i));
        Value other = mul->getOperand(1 - i);
        if (number && *number > 0) {
          Visibility before = found;
          factor *= *number;
          Value rest = restOf(other);
          factor /= *number;
          if (!rest)
            return {};
          found = before;
        } else if (hides(mul->getOperand(i))) {
          if (Value rest = restOfScaled(bias, other); rest != bias)
            return rest;
        }
      }
    return bias;
  }

  /// `amount` is 1 where a key is hidden, else 0.
  Value restOfScaled(Value bias, Value amount) {
    bool negated = true; // of what is cast
    if (auto sub = amount.getDefiningOp<SubOp>(); sub && fusion::numberOf(sub.getLhs()) == 1.0) {
      amount = sub.getRhs();
      negated = false;
    }
    auto cast = amount.getDefiningOp<CastOp>();
    if (!cast || !mlir::cast<RankedTensorType>(cast.getInput().getType()).getElementType().isInteger(1))
      return bias;
    SmallVector<std::pair<Value, bool>> rest;
    Visibility before = found;
    collect(cast.getInput(), negated, rest);
    if (rest.empty())
      return {};
    found = before;
    return bias;
  }

  template <typename OpTy, typename... Args> Value make(Value like, Args &&...args) {
    Type type = cast<RankedTensorType>(like.getType()).getElementType();
    auto made = createInferred<OpTy>(b, op.getLoc(), shapes, type, std::forward<Args>(args)...);
    return succeeded(made) ? made->getResult() : like;
  }

  Value remade(Value bias, ArrayRef<std::pair<Value, bool>> rest, Value shown, Value hidden) {
    Value all;
    for (auto [condition, negated] : rest) {
      Value own = negated ? make<NotOp>(condition, condition) : condition;
      all = all ? make<AndOp>(all, all, own) : own;
    }
    return make<SelectOp>(bias, all, shown, hidden);
  }

  AttentionOp op;
  ShapeContext &shapes;
  OpBuilder b;
  Visibility found;
  double factor = 1; ///< of what is looked at
};

} // namespace

Visibility readMasks(AttentionOp op, ShapeContext &shapes) { return Reader(op, shapes).run(); }

} // namespace lathe::generation
