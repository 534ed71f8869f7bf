//===- AttentionPattern.cpp - What makes up an attention ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/fusion/AttentionPattern.h"
#include <cmath>
#include <limits>

using namespace mlir;

namespace lathe::fusion {

std::optional<double> splatNumber(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<BroadcastOp, ReshapeOp>(op))
      break;
    value = op->getOperand(0);
  }
  auto constant = value.getDefiningOp<ConstantOp>();
  auto dense = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
  if (!dense || !dense.isSplat())
    return std::nullopt;
  return dense.getSplatValue<APFloat>().convertToDouble();
}

std::optional<std::pair<Value, double>> constantFactor(Operation *op) {
  if (!isa<MulOp, DivOp>(op))
    return std::nullopt;
  for (unsigned i = 0; i < (isa<MulOp>(op) ? 2 : 1); ++i) {
    std::optional<double> number = splatNumber(op->getOperand(1 - i));
    if (!number || op->getOperand(i).getType() != op->getResult(0).getType())
      continue;
    double factor = isa<MulOp>(op) ? *number : 1 / *number;
    if (double size = std::abs(factor);
        size >= std::numeric_limits<float>::min() && size <= std::numeric_limits<float>::max()) // nor NaN
      return std::pair(op->getOperand(i), factor);
  }
  return std::nullopt;
}

bool isSame(const SymExpr &a, const SymExpr &b, ShapeContext &shapes) {
  return a == b || llvm::any_of(shapes.checks, [&](const ShapeCheck &check) {
           return check.kind == ShapeCheck::equal && check.guard == SymExpr(1) &&
                  ((check.lhs == a && check.rhs == b) || (check.lhs == b && check.rhs == a));
         });
}

LogicalResult AttentionMatcher::refuse(Operation *op, const Twine &reason) {
  at = op;
  why = reason.str();
  return failure();
}

SymShape AttentionMatcher::frameOf(Value value) {
  FailureOr<SymShape> shape = shapes.shapeOf(value);
  return succeeded(shape) && shape->size() > 2 ? SymShape(ArrayRef<SymExpr>(*shape).drop_back(2)) : SymShape();
}

LogicalResult AttentionMatcher::match(AttentionPattern &pattern) {
  auto type = cast<RankedTensorType>(softmax.getType());
  pattern.softmax = softmax;
  if (!type.getElementType().isF32())
    return refuse(softmax, "expects scores of f32");
  if (static_cast<int64_t>(softmax.getAxis()) != type.getRank() - 1 || type.getRank() < 3)
    return refuse(softmax, "expects a softmax over the last of three or more axes");
  return failure(failed(matchWeights(pattern)) || failed(matchScores(pattern)));
}

//===----------------------------------------------------------------------===//
// Above the softmax
//===----------------------------------------------------------------------===//

/// Whether a product of two computed tensors is behind what scores may be.
bool AttentionMatcher::leadsToProduct(Value value, int depth) {
  Operation *op = value.getDefiningOp();
  if (!op || depth == 0 || op->getBlock() != softmax->getBlock())
    return false;
  if (auto matmul = dyn_cast<MatmulOp>(op))
    return cast<RankedTensorType>(matmul.getRhs().getType()).getRank() > 2;
  if (isa<TanhOp, ReshapeOp>(op))
    return leadsToProduct(op->getOperand(0), depth - 1);
  if (auto scaled = constantFactor(op))
    return leadsToProduct(scaled->first, depth - 1);
  if (auto select = dyn_cast<SelectOp>(op))
    return leadsToProduct(select.getTrueValue(), depth - 1) || leadsToProduct(select.getFalseValue(), depth - 1);
  if (isa<AddOp, SubOp>(op))
    return leadsToProduct(op->getOperand(0), depth - 1) ||
           (isa<AddOp>(op) && leadsToProduct(op->getOperand(1), depth - 1));
  return false;
}

/// Added to a score it gives itself.
constexpr double kAbsorbs = -1e20;
/// Beside scores that are not masked, which are far above it, it has no weight; that is what it is for.
constexpr double kMasks = -1e4;

/// Makes the choices of numbers sums with numbers, where that is the same.
LogicalResult AttentionMatcher::settleMasks(AttentionPattern &pattern) {
  auto &biases = pattern.biases;
  // Where two masks meet, the later number is the score; those of one number are one mask.
  for (size_t outer = 0; outer < biases.size(); ++outer)
    for (size_t inner = 0; inner < outer;) {
      AttentionPattern::Bias &first = biases[inner], &second = biases[outer];
      auto number = static_cast<float>(second.factor);
      bool isSame = static_cast<float>(first.factor) == number;
      if (!first.isMask || !second.isMask || (!isSame && static_cast<float>(first.factor + second.factor) == number) ||
          (isSame && std::isinf(number))) {
        ++inner;
        continue;
      }
      if (!isSame || first.frame != second.frame)
        return refuse(pattern.product, "expects masked scores of one number, got " + Twine(std::to_string(first.factor)) +
                                           " and " + Twine(std::to_string(second.factor)));
      second.others.push_back({first.value, first.isNegated});
      second.others.append(first.others);
      biases.erase(biases.begin() + inner);
      --outer;
    }
  // A smaller number would leave something of a score that it is added to. It may be any lower one, since what is masked has no weight
  // in one row and the same weight in a row of nothing else; but not where something is added to it, or it to something.
  for (AttentionPattern::Bias &bias : biases) {
    if (!bias.isMask || bias.factor <= kAbsorbs)
      continue;
    if (biases.size() > 1)
      return refuse(pattern.product, "expects masked scores of minus infinity or at most -1e20 beside other biases, got " +
                                         Twine(std::to_string(bias.factor)));
    bias.factor = std::numeric_limits<float>::lowest();
  }
  return success();
}

LogicalResult AttentionMatcher::matchScores(AttentionPattern &pattern) {
  scores = softmax.getInput();
  frame = frameOf(scores);
  constexpr int kMostSteps = 32;
  for (int i = 0; i < kMostSteps; ++i) {
    Operation *op = scores.getDefiningOp();
    if (!op || op->getBlock() != softmax->getBlock())
      return refuse(softmax, "expects scores that are a product of queries and keys");
    // What tests whether there is a score that is not masked was seen below the softmax.
    if (!llvm::all_of(scores.getUsers(), [&](Operation *user) { return llvm::is_contained(pattern.covered, user); }))
      return refuse(op, "expects scores that nothing else uses");
    pattern.covered.push_back(op);
    if (auto matmul = dyn_cast<MatmulOp>(op)) {
      if (cast<RankedTensorType>(matmul.getRhs().getType()).getRank() < 3 ||
          cast<RankedTensorType>(matmul.getLhs().getType()).getRank() < 3)
        return refuse(op, "expects a product of tensors of three or more axes");
      pattern.product = matmul;
      pattern.productFrame = frame;
      pattern.scale = isCapped ? factor * *pattern.softcap : factor;
      std::reverse(pattern.biases.begin(), pattern.biases.end());
      return settleMasks(pattern);
    }
    if (failed(matchStep(op, pattern)))
      return failure();
  }
  return refuse(softmax, "expects fewer operations between the product and the softmax");
}

/// Takes the operation that computes the scores, and goes on with those before it.
LogicalResult AttentionMatcher::matchStep(Operation *op, AttentionPattern &pattern) {
  if (auto scaled = constantFactor(op)) {
    scores = scaled->first;
    factor *= scaled->second;
    return success();
  }
  if (isa<TanhOp>(op)) {
    if (isCapped || !(factor > 0))
      return refuse(op, "expects one tanh, times a positive number");
    isCapped = true;
    pattern.softcap = factor;
    factor = 1;
    scores = op->getOperand(0);
    return success();
  }
  if (isa<ReshapeOp>(op)) {
    scores = op->getOperand(0);
    return enterReshape(op->getResult(0), scores, frame);
  }
  if (isCapped)
    return refuse(op, "expects only constant factors within a tanh");
  if (isa<AddOp, SubOp>(op))
    return matchSum(op, pattern);
  if (auto select = dyn_cast<SelectOp>(op))
    return matchMask(select, pattern);
  return refuse(op, "expects sums, constant factors and masks between the product and the softmax");
}

LogicalResult AttentionMatcher::matchSum(Operation *op, AttentionPattern &pattern) {
  for (unsigned i = 0; i < (isa<AddOp>(op) ? 2 : 1); ++i) {
    Value own = op->getOperand(i), other = op->getOperand(1 - i);
    if (own.getType() != op->getResult(0).getType() || !leadsToProduct(own))
      continue;
    AttentionPattern::Bias bias;
    bias.value = other;
    bias.factor = isa<SubOp>(op) ? -factor : factor;
    bias.frame = frame;
    pattern.biases.push_back(bias);
    scores = own;
    return success();
  }
  return refuse(op, "expects a sum with the product of queries and keys");
}

LogicalResult AttentionMatcher::matchMask(SelectOp op, AttentionPattern &pattern) {
  for (bool negated : {false, true}) {
    Value own = negated ? op.getFalseValue() : op.getTrueValue(),
          fill = negated ? op.getTrueValue() : op.getFalseValue();
    std::optional<double> number = splatNumber(fill);
    if (!number || own.getType() != op.getType() || !leadsToProduct(own))
      continue;
    if (!(*number * factor <= kMasks) || !(*number <= kMasks))
      return refuse(op, "expects masked scores of minus infinity or at most -10000, got " +
                            Twine(std::to_string(std::max(*number, *number * factor))));
    AttentionPattern::Bias bias;
    bias.value = op.getCondition();
    bias.factor = *number * factor;
    bias.isMask = true;
    bias.isNegated = negated;
    bias.frame = frame;
    pattern.biases.push_back(bias);
    scores = own;
    return success();
  }
  return refuse(op, "expects a choice between scores and one number");
}

/// From one side of a reshape that keeps the last two axes to the other.
LogicalResult AttentionMatcher::enterReshape(Value from, Value to, SymShape &own) {
  FailureOr<SymShape> a = shapes.shapeOf(from), b = shapes.shapeOf(to);
  if (failed(a) || failed(b) || a->size() < 3 || b->size() < 3 || !isSame(a->back(), b->back(), shapes) ||
      !isSame((*a)[a->size() - 2], (*b)[b->size() - 2], shapes))
    return refuse(from.getDefiningOp() ? from.getDefiningOp() : to.getDefiningOp(),
                  "expects reshapes of the axes before the last two");
  own = SymShape(ArrayRef<SymExpr>(*b).drop_back(2));
  return success();
}

//===----------------------------------------------------------------------===//
// Below the softmax
//===----------------------------------------------------------------------===//

/// The choice of 0 where weights are NaN, or where all scores of a row are minus infinity; null for none.
Value AttentionMatcher::guarded(Value weights, AttentionPattern &pattern) {
  SelectOp choice;
  for (Operation *user : weights.getUsers())
    if (auto select = dyn_cast<SelectOp>(user); select && select.getFalseValue() == weights)
      choice = select;
  if (!choice || choice.getType() != weights.getType() || splatNumber(choice.getTrueValue()) != 0.0 ||
      choice->getBlock() != softmax->getBlock() || pattern.zeroMasked || pattern.zeroNan ||
      !choice.getCondition().hasOneUse())
    return {};
  Operation *test = choice.getCondition().getDefiningOp();
  auto users = std::distance(weights.user_begin(), weights.user_end());
  if (isa_and_nonnull<IsNanOp>(test) && test->getOperand(0) == weights && users == 2) {
    pattern.zeroNan = true;
    pattern.covered.append({test, choice});
    return choice.getResult();
  }
  auto compare = dyn_cast_or_null<CompareOp>(test);
  auto best = compare ? compare.getLhs().getDefiningOp<ReduceOp>() : ReduceOp();
  bool isLowest = best && compare.getPredicate() == Comparison::eq && best->hasOneUse() &&
                  splatNumber(compare.getRhs()) == -std::numeric_limits<double>::infinity();
  if (!isLowest || users != 1 || weights != softmax.getResult() || best.getInput() != softmax.getInput() ||
      best.getKind() != Reduction::max || !best.getKeepDims() ||
      best.getAxes() != ArrayRef<int64_t>{static_cast<int64_t>(softmax.getAxis())})
    return {};
  pattern.zeroMasked = true;
  pattern.covered.append({best, compare, choice});
  return choice.getResult();
}

LogicalResult AttentionMatcher::matchWeights(AttentionPattern &pattern) {
  Value weights = softmax.getResult();
  frame = frameOf(weights);
  pattern.covered.push_back(softmax);
  constexpr int kMostSteps = 8;
  for (int i = 0; i < kMostSteps; ++i) {
    SmallVector<Operation *> users(weights.getUsers());
    Operation *last = weights.getDefiningOp();
    if (Value choice = guarded(weights, pattern)) {
      weights = choice;
      continue;
    }
    if (users.size() != 1)
      return refuse(last, "expects weights that only a product with values uses");
    Operation *user = users.front();
    if (user->getBlock() != softmax->getBlock())
      return refuse(last, "expects a product with values beside the softmax");
    pattern.covered.push_back(user);
    if (auto reshape = dyn_cast<ReshapeOp>(user)) {
      if (failed(enterReshape(weights, reshape.getResult(), frame)))
        return failure();
      weights = reshape.getResult();
      continue;
    }
    auto matmul = dyn_cast<MatmulOp>(user);
    if (!matmul || matmul.getLhs() != weights || matmul.getRhs() == weights || matmul.getTransposeLhs() ||
        cast<RankedTensorType>(matmul.getRhs().getType()).getRank() < 3)
      return refuse(user, "expects a product of the weights with values");
    pattern.result = matmul;
    pattern.resultFrame = frame;
    return success();
  }
  return refuse(softmax, "expects fewer operations between the softmax and the product");
}

} // namespace lathe::fusion
