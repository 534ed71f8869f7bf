//===- FuseNorms.cpp - Layer and root mean square normalization -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Both divide a value, centered or not, by the root of the mean of its squares; one matcher knows the spellings.
//
//===----------------------------------------------------------------------===//
#include "passes/fusion/Passes.h"
#include "passes/fusion/Report.h"
#include "passes/fusion/Values.h"
#include <cmath>

namespace lathe::fusion {
#define GEN_PASS_DEF_FUSELAYERNORMPASS
#define GEN_PASS_DEF_FUSERMSNORMPASS
#include "passes/fusion/Passes.h.inc"
} // namespace lathe::fusion

using namespace mlir;

namespace lathe::fusion {
namespace {

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The same values, in whatever width.
bool isSame(Value a, Value b) { return a == b || withoutWidening(a) == withoutWidening(b); }

/// A mean along axes that stay with extent 1.
struct Mean {
  Value input;
  SmallVector<int64_t> axes;
  bool squares = false; ///< of the squares of the input

  bool isOf(Value value, ArrayRef<int64_t> along) const { return !squares && isSame(input, value) && ArrayRef<int64_t>(axes) == along; }
};

/// The value whose square this is.
Value squareRootOf(Value value) {
  if (auto mul = value.getDefiningOp<MulOp>(); mul && mul.getLhs() == mul.getRhs())
    return mul.getLhs();
  if (auto pow = value.getDefiningOp<PowOp>(); pow && numberOf(pow.getRhs()) == 2.0 && pow.getLhs().getType() == pow.getType())
    return pow.getLhs();
  return {};
}

std::optional<Mean> meanOf(Value value) {
  value = withoutWidening(value);
  RankedTensorType kept = typeOf(value);
  double factor = 1;
  if (Operation *op = value.getDefiningOp(); isa_and_nonnull<MulOp, DivOp>(op)) {
    bool isDivision = isa<DivOp>(op);
    for (unsigned i = 0; i < (isDivision ? 1 : 2); ++i)
      if (std::optional<double> number = numberOf(op->getOperand(1 - i));
          number && *number != 0 && op->getOperand(i).getType() == kept) {
        factor = isDivision ? 1 / *number : *number;
        value = op->getOperand(i);
        break;
      }
  }
  if (auto reshape = value.getDefiningOp<ReshapeOp>())
    value = reshape.getInput();
  auto reduce = value.getDefiningOp<ReduceOp>();
  if (!reduce || reduce.getAxes().empty())
    return std::nullopt;
  // As if the reduction had kept its axes: then it broadcasts to its input.
  RankedTensorType input = typeOf(reduce.getInput());
  if (kept.getRank() != input.getRank())
    return std::nullopt;
  double count = 1;
  for (int64_t axis = 0; axis < input.getRank(); ++axis) {
    bool isReduced = llvm::is_contained(reduce.getAxes(), axis);
    if (isReduced ? kept.getDimSize(axis) != 1 : kept.getDimSize(axis) != input.getDimSize(axis))
      return std::nullopt;
    if (isReduced)
      count *= input.isDynamicDim(axis) ? NAN : static_cast<double>(input.getDimSize(axis));
  }
  Mean mean;
  mean.axes.assign(reduce.getAxes().begin(), reduce.getAxes().end());
  llvm::sort(mean.axes);
  Reduction kind = reduce.getKind();
  if (kind == Reduction::mean ? factor != 1 : !isNear(factor * count, 1, kept.getElementType()))
    return std::nullopt;
  if (kind != Reduction::mean && kind != Reduction::sum && kind != Reduction::sum_square)
    return std::nullopt;
  mean.input = reduce.getInput();
  mean.squares = kind == Reduction::sum_square;
  if (Value root = mean.squares ? Value() : squareRootOf(withoutWidening(mean.input))) {
    mean.input = root;
    mean.squares = true;
  }
  return mean;
}

/// One normalization, from its root upwards to what it normalizes and downwards to its result.
class Norm {
public:
  Norm(Operation *anchor, bool isLayer) : attempt(anchor), isLayer(isLayer) {}

  /// Whether all of it was found. Else the attempt tells why not, or that it is no such thing at all.
  bool match();
  Operation *build(OpBuilder &b);

  Attempt attempt;
  Operation *root = nullptr;
  SmallVector<Operation *> covered;

private:
  bool findVariance();
  bool isEpsilonNumber();
  bool findMean();
  bool findResult();
  bool findAffineResult(Value inverse, ArrayRef<Operation *> users);
  void findParameters();
  bool takeInput();
  bool isDivided(Value value);
  bool takeDivided(Value value);
  bool fits(Value parameter);

  bool isLayer;
  double epsilon = 0; ///< NaN, where it is no number
  bool hasEpsilon = false;
  Mean squares;            ///< the mean of squares under the root
  Value input, mean;       ///< what is normalized; its mean
  Value result, scale, bias;
};

/// The root is of a mean of squares and a constant.
bool Norm::findVariance() {
  Operation *anchor = attempt.anchor;
  Value radicand = anchor->getOperand(0);
  if (auto pow = dyn_cast<PowOp>(anchor); pow && numberOf(pow.getRhs()) != -0.5)
    return false;
  auto isVariance = [&](Value value) {
    std::optional<Mean> found = meanOf(value);
    if (found && found->squares) {
      squares = *found;
      return true;
    }
    // mean(x^2) - mean(x)^2, perhaps kept from falling below zero by rounding.
    if (Operation *op = value.getDefiningOp(); isa_and_nonnull<ReluOp, MaxOp>(op))
      if (isa<ReluOp>(op) || numberOf(op->getOperand(1)) == 0.0 || numberOf(op->getOperand(0)) == 0.0)
        value = op->getOperand(isa<MaxOp>(op) && numberOf(op->getOperand(0)) ? 1 : 0);
    auto difference = value.getDefiningOp<SubOp>();
    Value own = difference ? squareRootOf(difference.getRhs()) : Value();
    std::optional<Mean> whole = difference ? meanOf(difference.getLhs()) : std::nullopt;
    std::optional<Mean> part = own ? meanOf(own) : std::nullopt;
    if (!isLayer || !whole || !whole->squares || !part || !part->isOf(whole->input, whole->axes))
      return false;
    squares = *whole;
    input = whole->input;
    mean = own;
    return true;
  };
  if (Operation *add = radicand.getDefiningOp(); isa_and_nonnull<AddOp>(add)) {
    for (unsigned i : {0u, 1u})
      if (isVariance(add->getOperand(i))) {
        epsilon = numberOf(add->getOperand(1 - i)).value_or(NAN);
        hasEpsilon = true;
        break;
      }
  } else {
    isVariance(radicand);
  }
  if (!squares.input)
    return false;
  if (hasEpsilon)
    attempt.resembles();
  return attempt.require(true, "a root of a mean of squares");
}

bool Norm::isEpsilonNumber() {
  return attempt.require(epsilon >= 0 && std::isfinite(epsilon), "epsilon is a constant",
                         "epsilon is not a constant that is 0 or more",
                         "make what is added to the mean of squares a constant of one number",
                         attempt.anchor->getOperand(0).getDefiningOp());
}

/// What the squares are of is centered, or is not.
bool Norm::findMean() {
  std::optional<Mean> center;
  auto difference = withoutWidening(squares.input).getDefiningOp<SubOp>();
  if (!mean && difference)
    center = meanOf(difference.getRhs());
  bool isCentered = mean || (center && center->isOf(difference.getLhs(), squares.axes));
  if (!isLayer) {
    // A value less the mean of something else is a value like any other, and so is one that was normalized.
    input = squares.input;
    if (isCentered)
      return false;
    attempt.near = attempt.near && !center;
    return isEpsilonNumber();
  }
  if ((!mean && !center) || !isEpsilonNumber())
    return false;
  if (!mean) {
    bool sameValue = !center->squares && isSame(center->input, difference.getLhs());
    input = difference.getLhs();
    mean = difference.getRhs();
    if (!attempt.require(sameValue, "the variance is about the mean of the same value",
                         "the variance is computed about a different mean", "subtract the mean of the value itself", difference) ||
        !attempt.require(center->axes == squares.axes, "mean and variance are along the same axes",
                         "mean and variance are computed along different axes", "reduce along the same axes",
                         mean.getDefiningOp()))
      return false;
  }
  return true;
}

/// Whether the value is what is to be divided by the root.
bool Norm::isDivided(Value value) {
  if (!isLayer)
    return isSame(value, input);
  auto difference = withoutWidening(value).getDefiningOp<SubOp>();
  if (!difference || !isSame(difference.getLhs(), input))
    return false;
  if (isSame(difference.getRhs(), mean))
    return true;
  std::optional<Mean> center = meanOf(difference.getRhs());
  return center && center->isOf(input, squares.axes);
}

/// What is divided, a parameter times it perhaps.
bool Norm::takeDivided(Value value) {
  if (isDivided(value))
    return true;
  auto product = value.getDefiningOp<MulOp>();
  for (unsigned i : {0u, 1u})
    if (product && !scale && isDivided(product->getOperand(i)) && isParameter(product->getOperand(1 - i))) {
      scale = product->getOperand(1 - i);
      return true;
    }
  return false;
}

/// From the root down to the normalized value.
bool Norm::findResult() {
  Value value = attempt.anchor->getResult(0);
  bool isDivisor = isa<SqrtOp>(attempt.anchor);
  for (int steps = 0; steps < 8; ++steps) {
    SmallVector<Operation *> users = usersOf(value);
    if (users.size() > 1 && !isDivisor && isLayer && findAffineResult(value, users))
      return true;
    Operation *user = users.empty() ? nullptr : users[0];
    if (!attempt.require(users.size() == 1 && user->getBlock() == value.getParentBlock() && user->getNumResults() == 1,
                         "the root is used once",
                         users.empty() ? "nothing is divided by the root" : "the root is used more than once",
                         "divide one value by each root", users.size() > 1 ? users[1] : nullptr))
      return false;
    attempt.met.pop_back(); // true of each step
    Value next = user->getResult(0);
    if (isa<CastOp>(user)) {
      if (!isa<FloatType>(typeOf(next).getElementType()))
        return false;
    } else if (isa<ReciprocalOp>(user) && isDivisor) {
      isDivisor = false;
    } else if (isa<DivOp>(user) && isDivisor && user->getOperand(1) == value) {
      Value dividend = user->getOperand(0);
      if (takeDivided(dividend)) {
        result = next;
      } else if (numberOf(dividend) != 1.0) {
        if (scale || !isParameter(dividend))
          break;
        scale = dividend;
      }
      isDivisor = false;
    } else if (isa<MulOp>(user) && !isDivisor) {
      Value other = user->getOperand(user->getOperand(0) == value ? 1 : 0);
      if (takeDivided(other)) {
        result = next;
      } else if (!scale && isParameter(other)) {
        scale = other;
      } else {
        break;
      }
    } else if (isa<AddOp>(user) && isDivisor && !hasEpsilon && isLayer) {
      attempt.resembles();
      return attempt.require(false, "", "epsilon is added to the root, not to the mean of squares",
                             "add epsilon before the root is taken", user);
    } else {
      break;
    }
    value = next;
    if (result) {
      attempt.resembles();
      return attempt.require(true, "the same value is divided by the root");
    }
  }
  return attempt.require(false, "",
                         isLayer ? "what is divided by the root is not the value less its mean"
                                 : "what is divided by the root is not the value whose squares are averaged",
                         "normalize the value that the mean of squares is of", *value.user_begin());
}

/// x * k + (b - mean * k), where k is the inverse root times the scale.
bool Norm::findAffineResult(Value inverse, ArrayRef<Operation *> users) {
  Operation *ofInput = nullptr, *ofMean = nullptr;
  for (Operation *user : users) {
    if (!isa<MulOp>(user) || users.size() != 2)
      return false;
    Value other = user->getOperand(user->getOperand(0) == inverse ? 1 : 0);
    std::optional<Mean> center = meanOf(other);
    if (isSame(other, input))
      ofInput = user;
    else if (isSame(other, mean) || (center && center->isOf(input, squares.axes)))
      ofMean = user;
  }
  if (!ofInput || !ofMean || usersOf(ofMean->getResult(0)).size() != 1)
    return false;
  Operation *shift = usersOf(ofMean->getResult(0))[0];
  auto difference = dyn_cast<SubOp>(shift);
  if (!difference || difference.getRhs() != ofMean->getResult(0))
    return false;
  if (difference.getLhs() == ofInput->getResult(0)) {
    result = difference;
  } else {
    SmallVector<Operation *> sums = usersOf(difference);
    auto sum = sums.size() == 1 ? dyn_cast<AddOp>(sums[0]) : AddOp();
    if (!sum || !isParameter(difference.getLhs()) || (sum.getLhs() != ofInput->getResult(0) && sum.getRhs() != ofInput->getResult(0)))
      return false;
    bias = difference.getLhs();
    result = sum;
  }
  attempt.resembles();
  return attempt.require(true, "the same value is divided by the root");
}

/// Whether the parameter broadcasts to the input without enlarging it.
bool Norm::fits(Value parameter) {
  ArrayRef<int64_t> own = typeOf(parameter).getShape(), whole = typeOf(input).getShape();
  if (own.size() > whole.size())
    return false;
  for (auto [extent, dim] : llvm::zip(own, whole.take_back(own.size())))
    if (extent != 1 && (extent != dim || ShapedType::isDynamic(extent)))
      return false;
  return true;
}

/// Scale and bias that follow, and the cast back to a narrow type.
void Norm::findParameters() {
  Type narrow = typeOf(withoutWidening(input)).getElementType();
  auto isOfType = [&](Value parameter) { return !parameter || typeOf(withoutWidening(parameter)).getElementType() == narrow; };
  for (int steps = 0; steps < 4; ++steps) {
    SmallVector<Operation *> users = usersOf(result);
    Operation *user = users.size() == 1 ? users[0] : nullptr;
    if (!user || user->getBlock() != result.getParentBlock())
      return;
    if (isa<CastOp>(user)) {
      if (typeOf(user->getResult(0)).getElementType() != narrow || !isOfType(scale) || !isOfType(bias))
        return;
    } else if (isa<MulOp, AddOp>(user) && user->getResult(0).getType() == result.getType()) {
      Value other = user->getOperand(user->getOperand(0) == result ? 1 : 0);
      Value &parameter = isa<MulOp>(user) ? scale : bias;
      if (parameter || bias || (isa<AddOp>(user) && !isLayer) || !isParameter(other) || !fits(other))
        return;
      parameter = other;
    } else {
      return;
    }
    result = user->getResult(0);
  }
}

/// The value in the type of the result.
bool Norm::takeInput() {
  Value narrow = withoutWidening(input);
  if (typeOf(input).getElementType() != typeOf(result).getElementType())
    input = narrow;
  for (Value *parameter : {&scale, &bias})
    if (*parameter && typeOf(*parameter).getElementType() != typeOf(result).getElementType())
      *parameter = withoutWidening(*parameter);
  auto isOfType = [&](Value value) {
    return !value || typeOf(value).getElementType() == typeOf(result).getElementType();
  };
  return input.getType() == result.getType() && isOfType(scale) && isOfType(bias);
}

bool Norm::match() {
  if (!findVariance() || !findMean())
    return false;
  int64_t rank = typeOf(input).getRank();
  bool isTrailing = squares.axes.back() == rank - 1 &&
                    squares.axes.front() + static_cast<int64_t>(squares.axes.size()) == rank;
  std::string axes = llvm::join(llvm::map_range(squares.axes, [](int64_t axis) { return std::to_string(axis); }), ", ");
  if (!attempt.require(isTrailing, "the mean is along the last axes",
                       "the mean is along axes " + axes + " of " + std::to_string(rank) + ", which are not the last",
                       "transpose, so that the normalized axes are the last ones") ||
      !findResult())
    return false;
  if (!attempt.require((!scale || fits(scale)) && (!bias || fits(bias)), "scale and bias broadcast to the value",
                       "scale or bias have a shape that enlarges the value", "give them the shape of the normalized axes",
                       result.getDefiningOp()))
    return false;
  findParameters();
  if (!attempt.require(takeInput(), "the result is of the value's type", "the result is of another type than the value",
                       "cast the value before it is normalized", result.getDefiningOp()))
    return false;
  root = result.getDefiningOp();
  covered = operationsBetween(input, result);
  Operation *elsewhere = nullptr;
  for (Operation *op : covered)
    if (op != root && !isa<CastOp>(op))
      for (Operation *user : usersOf(op->getResult(0)))
        if (!llvm::is_contained(covered, user) && !elsewhere)
          elsewhere = user;
  return attempt.require(!elsewhere, "the values between are used by nothing else",
                         "a value within the expression is used elsewhere, too",
                         "let the other user compute its own value, or use the result", elsewhere);
}

Operation *Norm::build(OpBuilder &b) {
  auto type = cast<RankedTensorType>(result.getType());
  b.setInsertionPoint(root);
  Location loc = root->getLoc();
  if (!scale) {
    auto scalar = RankedTensorType::get({}, type.getElementType());
    scale = b.create<ConstantOp>(loc, scalar, DenseElementsAttr::get(scalar, b.getFloatAttr(type.getElementType(), 1)));
  }
  auto axis = static_cast<uint64_t>(squares.axes.front());
  if (!isLayer)
    return b.create<RmsNormOp>(loc, type, input, scale, axis, APFloat(epsilon));
  return b.create<LayerNormOp>(loc, type, input, scale, bias, axis, APFloat(epsilon));
}

void fuseNorms(func::FuncOp func, bool isLayer, bool explain) {
  Fuser fuser(func, isLayer ? "layer_norm" : "rms_norm", explain);
  fuser.forEach<SqrtOp, RsqrtOp, PowOp>([&](Operation *op) {
    Norm norm(op, isLayer);
    if (!norm.match())
      return fuser.missed(norm.attempt);
    OpBuilder b(func.getContext());
    fuser.replace(norm.root, norm.build(b), norm.covered);
  });
}

struct FuseLayerNorm : impl::FuseLayerNormPassBase<FuseLayerNorm> {
  using FuseLayerNormPassBase::FuseLayerNormPassBase;
  void runOnOperation() override { fuseNorms(getOperation(), /*isLayer=*/true, explain); }
};

struct FuseRmsNorm : impl::FuseRmsNormPassBase<FuseRmsNorm> {
  using FuseRmsNormPassBase::FuseRmsNormPassBase;
  void runOnOperation() override { fuseNorms(getOperation(), /*isLayer=*/false, explain); }
};

} // namespace
} // namespace lathe::fusion
