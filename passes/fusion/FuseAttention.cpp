//===- FuseAttention.cpp - Softmaxes between products as attention --------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/ValueNames.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "passes/fusion/AttentionPattern.h"
#include "passes/fusion/Passes.h"
#include "passes/fusion/Report.h"

namespace lathe::fusion {
#define GEN_PASS_DEF_FUSEATTENTIONPASS
#include "passes/fusion/Passes.h.inc"
} // namespace lathe::fusion

using namespace mlir;

namespace lathe::fusion {
namespace {

constexpr size_t kMostLeading = 3; ///< axes before the last two
constexpr size_t kMostBiases = 2;  ///< that kernels read; more are summed

/// For each extent of `from` those of `to` that it is the product of, in their order; nullopt where that is not so.
std::optional<SmallVector<SymShape>> partsOf(ArrayRef<SymExpr> from, ArrayRef<SymExpr> to) {
  SmallVector<SymShape> parts;
  size_t next = 0;
  for (const SymExpr &extent : from) {
    SymShape part;
    SymExpr product(1);
    while (next < to.size() && (part.empty() || product != extent)) {
      product = product * to[next];
      part.push_back(to[next++]);
    }
    if (part.empty() || product != extent)
      return std::nullopt;
    parts.push_back(part);
  }
  return next == to.size() ? std::optional(parts) : std::nullopt;
}

bool dependsOnData(ArrayRef<SymExpr> shape) {
  return llvm::any_of(shape, [](const SymExpr &dim) { return dim.dependsOnData(); });
}

/// Writes lathe.attention for a pattern. All is checked before something is written, but for what is then dead.
class AttentionWriter {
public:
  AttentionWriter(AttentionPattern &pattern, ShapeContext &shapes)
      : pattern(pattern), shapes(shapes), b(pattern.result), loc(fusedLocation()) {}

  /// The new value of the pattern's result; null, with `why`, where it can't be said.
  Value write();

  std::string why;

private:
  Value refuse(const Twine &reason) {
    if (why.empty())
      why = reason.str();
    return {};
  }
  Location fusedLocation() const {
    SmallVector<Location> locs;
    for (Operation *op : pattern.covered)
      locs.push_back(op->getLoc());
    // Of what is written beside the result, too, which Fuser::replace gives its own.
    return withoutValue(FusedLoc::get(pattern.result->getContext(), locs));
  }
  SymShape shape(Value value) {
    FailureOr<SymShape> result = shapes.shapeOf(value);
    return succeeded(result) ? *result : SymShape();
  }
  template <typename OpTy, typename... Args> Value make(Value first, Args &&...args) {
    auto op = createInferred<OpTy>(b, loc, shapes, b.getF32Type(), first, std::forward<Args>(args)...);
    return succeeded(op) ? op->getResult() : Value();
  }
  template <typename OpTy, typename... Args> Value makeTruth(Value first, Args &&...args) {
    auto op = createInferred<OpTy>(b, loc, shapes, b.getI1Type(), first, std::forward<Args>(args)...);
    return succeeded(op) ? op->getResult() : Value();
  }
  Value number(double value) {
    auto type = RankedTensorType::get({}, b.getF32Type());
    return b.create<ConstantOp>(loc, type, DenseElementsAttr::get(type, static_cast<float>(value)));
  }

  void chooseFrame();
  SmallVector<AttentionPattern::Bias> splitBiases();
  SymShape finerFrame(const AttentionPattern::Bias &bias);
  Value operand(Value from, bool swap, double &scale);
  Value withoutFactors(Value tensor, double &scale, int depth);
  Value withoutRepeats(Value tensor, int64_t axis);
  Value reshape(Value tensor, const SymShape &to);
  Value toFrame(Value tensor, const SymShape &own);
  Value bothHold(const AttentionPattern::Bias &bias);
  Value writeBias(const AttentionPattern::Bias &bias);
  Value withoutBroadcasts(Value tensor);
  bool fits(Value tensor, const SymExpr &rows, const SymExpr &columns, bool mayShareHeads);
  bool fit(Value query, Value key, Value value);
  std::optional<SmallVector<Value>> writeBiases(ArrayRef<AttentionPattern::Bias> parts);
  bool mayBroadcast(Value bias);
  bool isWhole(const SymShape &dims, const SymShape &own);

  AttentionPattern &pattern;
  ShapeContext &shapes;
  OpBuilder b;
  Location loc;
  SymShape frame; ///< of all operands
  SymExpr rows = 0, columns = 0;
};

/// The leading axes where they are the most: all else is reshaped to them.
void AttentionWriter::chooseFrame() {
  frame = pattern.productFrame;
  auto consider = [&](const SymShape &other) {
    if (other.size() > frame.size())
      frame = other;
  };
  SymShape scores = shape(pattern.softmax.getResult());
  consider(SymShape(ArrayRef<SymExpr>(scores).drop_back(2)));
  consider(pattern.resultFrame);
  for (const AttentionPattern::Bias &bias : pattern.biases)
    consider(bias.frame);
}

bool AttentionWriter::isWhole(const SymShape &dims, const SymShape &own) {
  SymShape scores(own);
  scores.append({rows, columns});
  return dims == scores;
}

/// A bias as large as the scores that is a sum of smaller ones is read as these.
SmallVector<AttentionPattern::Bias> AttentionWriter::splitBiases() {
  SmallVector<AttentionPattern::Bias> result;
  for (const AttentionPattern::Bias &bias : pattern.biases) {
    auto sum = bias.isMask ? AddOp() : bias.value.getDefiningOp<AddOp>();
    bool splits = sum && sum->hasOneUse() && isWhole(shape(sum), bias.frame) &&
                  !isWhole(shape(sum.getLhs()), bias.frame) && !isWhole(shape(sum.getRhs()), bias.frame);
    for (Value value : splits ? SmallVector<Value>{sum.getLhs(), sum.getRhs()} : SmallVector<Value>{bias.value}) {
      result.push_back(bias);
      result.back().value = value;
    }
  }
  return result;
}

/// Masks of windows are repeated for each image and then merged with them: apart, they need not be repeated.
SymShape AttentionWriter::finerFrame(const AttentionPattern::Bias &bias) {
  auto merge = bias.value.getDefiningOp<ReshapeOp>();
  auto repeat = merge ? merge.getInput().getDefiningOp<BroadcastOp>() : BroadcastOp();
  SymShape own = shape(bias.value), wide = repeat ? shape(repeat) : SymShape();
  if (own.size() != frame.size() + 2 || wide.size() != own.size() + 1 || bias.frame != frame)
    return frame;
  auto parts = partsOf(ArrayRef<SymExpr>(own).drop_back(2), ArrayRef<SymExpr>(wide).drop_back(2));
  if (!parts || own.back() != wide.back() || own[own.size() - 2] != wide[wide.size() - 2])
    return frame;
  SymShape result;
  for (auto [part, extent, whole] : llvm::zip(*parts, own, frame)) {
    if (extent == whole)
      result.append(part);
    else
      result.push_back(whole);
  }
  return result;
}

Value AttentionWriter::reshape(Value tensor, const SymShape &to) {
  if (shape(tensor) == to)
    return tensor;
  if (auto before = tensor.getDefiningOp<ReshapeOp>(); before && shape(before.getInput()) == to)
    return before.getInput();
  if (dependsOnData(to))
    return refuse("expects shapes that symbols say");
  SmallVector<Value> dims;
  for (const SymExpr &dim : to)
    dims.push_back(materialize(b, loc, dim));
  auto op = createInferred<ReshapeOp>(b, loc, shapes, cast<RankedTensorType>(tensor.getType()).getElementType(), tensor,
                                      dims, /*zero_copies=*/false);
  return succeeded(op) ? op->getResult() : refuse("expects reshapes that keep the number of elements");
}

/// A tensor whose leading axes are (or broadcast to) those of the frame `own`, in the common frame.
Value AttentionWriter::toFrame(Value tensor, const SymShape &own) {
  if (!tensor || own == frame)
    return tensor;
  auto parts = partsOf(own, frame);
  SymShape dims = shape(tensor);
  if (!parts || dims.size() < 2 || dims.size() > own.size() + 2)
    return refuse("expects leading axes that are merged and split in one way");
  size_t missing = own.size() + 2 - dims.size();
  SymShape result;
  for (size_t i = missing; i < own.size(); ++i) {
    const SymShape &part = (*parts)[i];
    if (dims[i - missing] == own[i])
      result.append(part);
    else if (dims[i - missing].isConstant(1) || part.size() == 1)
      result.append(part.size(), dims[i - missing]);
    else
      return refuse("expects leading axes that are merged and split in one way");
  }
  result.append(dims.end() - 2, dims.end());
  return reshape(tensor, result);
}

/// Heads that are repeated one by one along an axis, as they were before; null where they are not.
Value AttentionWriter::withoutRepeats(Value tensor, int64_t axis) {
  auto merge = tensor.getDefiningOp<ReshapeOp>();
  auto repeat = merge ? merge.getInput().getDefiningOp<BroadcastOp>() : BroadcastOp();
  if (!repeat)
    return {};
  SymShape merged = shape(tensor), wide = shape(repeat), narrow = shape(repeat.getInput());
  if (wide.size() != merged.size() + 1 || narrow.size() != wide.size() || !narrow[axis + 1].isConstant(1) ||
      merged[axis] != wide[axis] * wide[axis + 1] || !wide[axis].constant() || !merged[axis].constant() ||
      wide[axis].isConstant(0))
    return {};
  SymShape result;
  for (size_t i = 0; i < narrow.size(); ++i) {
    auto at = static_cast<int64_t>(i);
    if (at == axis + 1)
      continue;
    if (narrow[i] != wide[i] || (at != axis && narrow[i] != merged[at < axis ? i : i - 1]))
      return {};
    result.push_back(narrow[i]);
  }
  return reshape(repeat.getInput(), result);
}

/// Without the constant factors that come before it is taken apart, turned or repeated.
Value AttentionWriter::withoutFactors(Value tensor, double &scale, int depth) {
  Operation *op = tensor.getDefiningOp();
  if (!op || depth == 0)
    return tensor;
  if (auto scaled = constantFactor(op)) {
    scale *= scaled->second;
    return withoutFactors(scaled->first, scale, depth - 1);
  }
  if (!isa<ReshapeOp, TransposeOp, BroadcastOp>(op))
    return tensor;
  Value source = withoutFactors(op->getOperand(0), scale, depth - 1);
  if (source == op->getOperand(0))
    return tensor;
  Operation *copy = b.clone(*op);
  copy->setOperand(0, source);
  return copy->getResult(0);
}

/// A query, key or value without constant factors and repeated heads; with `swap` its last two axes change places.
Value AttentionWriter::operand(Value from, bool swap, double &scale) {
  auto rank = cast<RankedTensorType>(from.getType()).getRank();
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (swap)
    std::swap(axes[rank - 1], axes[rank - 2]);
  constexpr int kMostSteps = 16;
  from = withoutFactors(from, scale, kMostSteps);
  for (;;) {
    Operation *op = from.getDefiningOp();
    if (auto transpose = dyn_cast_or_null<TransposeOp>(op)) {
      for (int64_t &axis : axes)
        axis = transpose.getPermutation()[axis];
      from = transpose.getInput();
    } else if (Value shared = rank >= 3 ? withoutRepeats(from, axes[rank - 3]) : Value()) {
      from = shared;
    } else {
      break;
    }
  }
  return isIdentityPermutation(axes) ? from : make<TransposeOp>(from, axes);
}

Value AttentionWriter::withoutBroadcasts(Value tensor) {
  for (;;) {
    // What is merged after it was repeated is apart in the common frame.
    auto broadcast = tensor ? tensor.getDefiningOp<BroadcastOp>() : BroadcastOp();
    if (!broadcast || !fits(broadcast.getInput(), rows, columns, false))
      return tensor;
    tensor = broadcast.getInput();
  }
}

/// Of a mask of several conditions, where all of them hold, in the common frame.
Value AttentionWriter::bothHold(const AttentionPattern::Bias &bias) {
  auto condition = [&](Value value, bool isNegated) {
    value = withoutBroadcasts(toFrame(value, bias.frame));
    return value && isNegated ? makeTruth<NotOp>(value) : value;
  };
  Value all = condition(bias.value, bias.isNegated);
  for (auto [value, isNegated] : bias.others) {
    Value other = all ? condition(value, isNegated) : Value();
    all = other ? makeTruth<AndOp>(other, all) : Value();
  }
  return all;
}

Value AttentionWriter::writeBias(const AttentionPattern::Bias &bias) {
  Value value = bias.value;
  if (bias.isMask) {
    bool isNegated = bias.isNegated;
    if (!bias.others.empty()) {
      value = bothHold(bias);
      isNegated = false;
    }
    Value zero = number(0), fill = number(bias.factor);
    value = value ? make<SelectOp>(value, isNegated ? fill : zero, isNegated ? zero : fill) : Value();
  } else if (!cast<RankedTensorType>(value.getType()).getElementType().isF32()) {
    return refuse("expects biases of f32");
  }
  // The frame alone is told by the first of them: axes of 1 before it don't matter.
  value = bias.others.empty() ? withoutBroadcasts(toFrame(value, bias.frame)) : value;
  if (!value)
    return {};
  if (!fits(value, rows, columns, false) && !mayBroadcast(value))
    return refuse("expects biases that broadcast to the scores, got " + str(shape(value)));
  if (!bias.isMask && bias.factor != 1)
    value = bias.factor == -1 ? make<NegOp>(value) : make<MulOp>(value, number(bias.factor));
  return value;
}

/// The sum with the scores has a shape, so what is not known of the last axes of a bias is required when the model
/// runs. Only that an extent may be 1 in one run and not in another is more than attention knows.
bool AttentionWriter::mayBroadcast(Value bias) {
  SymShape dims = shape(bias), whole(frame);
  whole.append({rows, columns});
  auto mayBeOne = [&](const SymExpr &dim) { return shapes.atMost(dim, 1); };
  if (dims.size() > whole.size())
    return false;
  for (size_t i = 1; i <= dims.size(); ++i) {
    const SymExpr &own = dims[dims.size() - i], &all = whole[whole.size() - i];
    if (own == all || own.isConstant(1))
      continue;
    if (i > 2 || (own.constant() && all.constant()) || mayBeOne(own) || mayBeOne(all))
      return false;
  }
  return true;
}

/// Whether a tensor broadcasts to [frame, rows, columns]; heads may be shared.
bool AttentionWriter::fits(Value tensor, const SymExpr &rows, const SymExpr &columns, bool mayShareHeads) {
  SymShape dims = shape(tensor), whole(frame);
  whole.append({rows, columns});
  if (dims.size() > whole.size())
    return false;
  for (size_t i = 1; i <= dims.size(); ++i) {
    const SymExpr &own = dims[dims.size() - i], &all = whole[whole.size() - i];
    if (isSame(own, all, shapes) || (own.isConstant(1) && (i > 2 || !mayShareHeads)))
      continue;
    bool isShared = i == 3 && mayShareHeads && own.constant().value_or(0) > 0 && all.constant() &&
                    *all.constant() % *own.constant() == 0;
    if (!isShared)
      return false;
  }
  return true;
}

static int64_t rankOf(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getRank(); }

/// Whether they are operands of attention in the common frame; else says why not.
bool AttentionWriter::fit(Value query, Value key, Value value) {
  auto refused = [&](const Twine &reason) { return static_cast<bool>(refuse(reason)); };
  if (!query || !key || !value)
    return refused("expects queries, keys and values that symbols say");
  if (rankOf(query) < 3 || rankOf(key) < 3 || rankOf(value) < 3)
    return refused("expects queries, keys and values of three or more axes");
  SymExpr depth = shape(query).back(), width = shape(value).back();
  // Both read the same heads, so that groups are those of both.
  SymShape keyShape = shape(key), valueShape = shape(value);
  const SymExpr &keyHeads = keyShape[keyShape.size() - 3], &valueHeads = valueShape[valueShape.size() - 3];
  if (!fits(query, rows, depth, false) || !isSame(shape(query)[rankOf(query) - 2], rows, shapes) ||
      !fits(key, columns, depth, true) || !fits(value, columns, width, true) ||
      (keyHeads != valueHeads && !keyHeads.isConstant(1) && !valueHeads.isConstant(1)))
    return refused("expects queries, keys and values whose shapes fit, got " + str(shape(query)) + ", " +
                   str(keyShape) + " and " + str(valueShape));
  // What broadcasts in none of them is not there.
  for (size_t i = 1; i <= frame.size(); ++i) {
    const SymExpr &extent = frame[frame.size() - i];
    bool found = extent.isConstant(1);
    for (Value tensor : {query, key, value})
      found |= rankOf(tensor) >= static_cast<int64_t>(i + 2) && shape(tensor)[rankOf(tensor) - 2 - i] == extent;
    if (!found)
      return refused("expects leading axes that queries, keys or values have");
  }
  return true;
}

/// As few as attention takes.
std::optional<SmallVector<Value>> AttentionWriter::writeBiases(ArrayRef<AttentionPattern::Bias> parts) {
  SmallVector<Value> biases;
  for (const AttentionPattern::Bias &bias : parts) {
    biases.push_back(writeBias(bias));
    if (!biases.back())
      return std::nullopt;
  }
  // Of the sums that make them few enough, those that stay small.
  while (biases.size() > kMostBiases) {
    size_t first = 0, second = 1;
    for (size_t i = 0; i < biases.size(); ++i)
      for (size_t j = i + 1; j < biases.size(); ++j)
        if (rankOf(biases[i]) == rankOf(biases[j]) && shape(biases[i]) == shape(biases[j]))
          first = i, second = j;
    biases[first] = make<AddOp>(biases[first], biases[second]);
    if (!biases[first])
      return std::nullopt;
    biases.erase(biases.begin() + second);
  }
  return biases;
}

Value AttentionWriter::write() {
  MatmulOp product = pattern.product, result = pattern.result;
  SymShape scores = shape(pattern.softmax.getResult());
  rows = scores[scores.size() - 2];
  columns = scores.back();
  chooseFrame();
  SmallVector<AttentionPattern::Bias> parts = splitBiases();
  for (const AttentionPattern::Bias &bias : parts)
    frame = finerFrame(bias);
  if (frame.empty() || frame.size() > kMostLeading)
    return refuse("expects one to three axes before the last two");

  double scale = pattern.scale, valueScale = 1;
  Value query = operand(product.getLhs(), product.getTransposeLhs(), scale);
  Value key = operand(product.getRhs(), !product.getTransposeRhs(), scale);
  Value value = operand(result.getRhs(), result.getTransposeRhs(), valueScale);
  query = toFrame(query, pattern.productFrame);
  key = toFrame(key, pattern.productFrame);
  value = toFrame(value, pattern.resultFrame);
  if (!fit(query, key, value))
    return {};
  std::optional<SmallVector<Value>> biases = writeBiases(parts);
  if (!biases)
    return {};
  FloatAttr softcap = pattern.softcap ? b.getF64FloatAttr(*pattern.softcap) : FloatAttr();
  Value attention = make<AttentionOp>(query, key, value, *biases, b.getF64FloatAttr(scale), softcap,
                                      /*positions=*/Value(), pattern.zeroMasked ? b.getUnitAttr() : UnitAttr(),
                                      pattern.zeroNan ? b.getUnitAttr() : UnitAttr(), /*window=*/IntegerAttr(),
                                      /*arithmetic=*/TypeAttr());
  if (!attention)
    return refuse("expects operands that fit");
  if (valueScale != 1)
    attention = make<MulOp>(attention, number(valueScale));
  if (!attention)
    return {};
  return reshape(attention, shape(result.getResult()));
}

struct FuseAttention : impl::FuseAttentionPassBase<FuseAttention> {
  using FuseAttentionPassBase::FuseAttentionPassBase;
  void runOnOperation() override {
    func::FuncOp func = getOperation();
    ShapeContext shapes;
    if (auto declared = func->getParentOp()->getAttrOfType<DictionaryAttr>(LatheDialect::kSymbolsAttr))
      for (NamedAttribute entry : declared)
        if (auto range = dyn_cast<DenseI64ArrayAttr>(entry.getValue()); range && range.size() == 2)
          shapes.ranges[entry.getName()] = {range[0], range[1] < 0 ? std::nullopt : std::optional<int64_t>(range[1])};
    Fuser fuser(func, "attention", explain);
    // Replaced at the end: what is known of a value must not pass to a new one at its address.
    std::vector<std::pair<AttentionPattern, Operation *>> found;
    fuser.forEach<SoftmaxOp>([&](Operation *op) {
      AttentionPattern pattern;
      AttentionMatcher matcher(cast<SoftmaxOp>(op), shapes);
      Attempt attempt(op);
      if (!attempt.require(matcher.resembles(), "the scores come from a product"))
        return;
      attempt.resembles();
      bool matches = succeeded(matcher.match(pattern));
      constexpr StringLiteral kAdvice =
          "compute attention of plain products, factors, biases and masks, whose values nothing else uses";
      if (!attempt.require(matches, "a softmax stands between two products", matcher.why, kAdvice, matcher.at))
        return fuser.missed(attempt);
      AttentionWriter writer(pattern, shapes);
      Value result = writer.write();
      bool isWritten = result && result.getType() == pattern.result.getType();
      if (!attempt.require(isWritten, "queries, keys, values and biases fit", writer.why, kAdvice, pattern.result))
        return fuser.missed(attempt);
      found.push_back({pattern, result.getDefiningOp()});
    });
    for (auto &[pattern, composite] : found)
      fuser.replace(pattern.result, composite, pattern.covered);
  }
};

} // namespace
} // namespace lathe::fusion
