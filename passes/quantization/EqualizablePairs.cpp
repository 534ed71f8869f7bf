//===- EqualizablePairs.cpp - Layers with scalable channels between -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/quantization/EqualizablePairs.h"
#include "dialects/lathe/Attention.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "passes/quantization/Layers.h"
#include "passes/quantization/ResidualStreams.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace lathe::compression {
namespace {

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }
int64_t lastAxis(Value value) { return tensorType(value).getRank() - 1; }
int64_t extent(Value value, int64_t axis) { return tensorType(value).getDimSize(axis); }

bool isMatrix(Value value) { return isConstantF32(value) && tensorType(value).getRank() == 2; }

bool isOneNumber(Value value) { return tensorType(value).hasStaticShape() && tensorType(value).getNumElements() == 1; }

std::string describe(Operation *op) {
  std::string node = nodeOf(op);
  return "'" + op->getName().stripDialect().str() + "'" + (node.empty() ? "" : " of node '" + node + "'");
}

/// Where the channels of a pair are in a tensor: a range of its last axis, or of an axis of heads and the last one
/// together.
struct Place {
  int64_t headAxis = -1; ///< -1: they are in the last axis alone
  int64_t begin = 0, channels = 0;
};

/// Elements [begin, end) of an axis; nullopt for a slice of anything else.
struct Range {
  int64_t axis, begin, end;
};
std::optional<Range> rangeOf(SliceOp slice) {
  if (slice.getAxes().size() != 1 || slice.getSteps() != ArrayRef<int64_t>{1})
    return std::nullopt;
  int64_t axis = slice.getAxes().front(), size = extent(slice.getInput(), axis);
  std::optional<int64_t> from = getConstantIntValue(OpFoldResult(slice.getStarts().front()));
  int64_t count = extent(slice.getResult(), axis);
  if (!from || ShapedType::isDynamic(size) || ShapedType::isDynamic(count))
    return std::nullopt;
  int64_t begin = std::clamp<int64_t>(*from < 0 ? *from + size : *from, 0, size);
  return Range{axis, begin, begin + count};
}

/// Goes from a value back to the product whose channels it holds.
struct Trace {
  EqualizablePair &pair;
  Value value = nullptr;
  Place place = {};
  std::string reason = {};

  bool run();

private:
  bool refuse(const Twine &why) {
    reason = why.str();
    return false;
  }
  /// Goes on at an operand that nothing else reads the channels of; `range`: of channels, where an operation takes
  /// some.
  bool to(OpOperand &operand, std::optional<Range> range = std::nullopt);
  static bool isReadBy(OpOperand &operand, std::optional<Range> range);
  bool through(Operation *op);
  bool throughReshape(ReshapeOp reshape);
  bool throughTranspose(TransposeOp transpose);
  bool throughSlice(SliceOp slice);
  bool throughAttention(AttentionOp attention);
  bool throughMul(MulOp mul);
};

/// Whether a use has nothing of a range: a slice of others, at once or of some tokens.
bool isBeside(OpOperand &use, const Range &range) {
  if (use.getOperandNumber() != 0)
    return false;
  if (auto slice = dyn_cast<SliceOp>(use.getOwner())) {
    std::optional<Range> others = rangeOf(slice);
    return others && others->axis == range.axis && (others->end <= range.begin || range.end <= others->begin);
  }
  auto gather = dyn_cast<GatherOp>(use.getOwner());
  return gather && static_cast<int64_t>(gather.getAxis()) != range.axis && lastAxis(gather.getIndices()) == 0 &&
         llvm::all_of(gather->getUses(), [&](OpOperand &inner) { return isBeside(inner, range); });
}

bool Trace::isReadBy(OpOperand &operand, std::optional<Range> range) {
  return llvm::all_of(operand.get().getUses(), [&](OpOperand &use) {
    return &use == &operand || isa<ShapeOfOp, DimOp>(use.getOwner()) || (range && isBeside(use, *range));
  });
}

bool Trace::to(OpOperand &operand, std::optional<Range> range) {
  if (!isReadBy(operand, range))
    return refuse("what " + describe(operand.getOwner()) + " reads is read by others, too");
  value = operand.get();
  return true;
}

bool Trace::throughReshape(ReshapeOp reshape) {
  Value input = reshape.getInput();
  int64_t rank = lastAxis(value) + 1, own = lastAxis(input) + 1, last = extent(value, rank - 1),
          inner = own > 0 ? extent(input, own - 1) : -1;
  auto heads = [](Value split, int64_t axis, int64_t flat) {
    int64_t a = extent(split, axis), b = extent(split, axis + 1);
    return !ShapedType::isDynamic(a) && !ShapedType::isDynamic(b) && a * b == flat;
  };
  if (place.headAxis < 0) {
    if (last == inner)
      return to(reshape->getOpOperand(0));
    if (own < 2 || !heads(input, own - 2, last) || place.begin % inner != 0 || place.channels % inner != 0)
      return refuse(describe(reshape) + " lies between, which mixes channels with other axes");
    place.headAxis = own - 2;
    return to(reshape->getOpOperand(0));
  }
  if (place.headAxis != rank - 2)
    return refuse(describe(reshape) + " lies between, which mixes channels with other axes");
  if (own >= 2 && last == inner && extent(input, own - 2) == extent(value, rank - 2) &&
      !ShapedType::isDynamic(extent(value, rank - 2))) {
    place.headAxis = own - 2;
    return to(reshape->getOpOperand(0));
  }
  if (!heads(value, rank - 2, inner))
    return refuse(describe(reshape) + " lies between, which mixes channels with other axes");
  place.headAxis = -1;
  return to(reshape->getOpOperand(0));
}

bool Trace::throughTranspose(TransposeOp transpose) {
  ArrayRef<int64_t> permutation = transpose.getPermutation();
  if (permutation.back() != lastAxis(value))
    return refuse(describe(transpose) + " lies between, which moves the channels");
  if (place.headAxis >= 0)
    place.headAxis = permutation[place.headAxis];
  return to(transpose->getOpOperand(0));
}

bool Trace::throughSlice(SliceOp slice) {
  int64_t last = lastAxis(value), own = place.headAxis < 0 ? last : place.headAxis;
  ArrayRef<int64_t> axes = slice.getAxes();
  if (!llvm::is_contained(axes, own) && !llvm::is_contained(axes, last))
    return to(slice->getOpOperand(0));
  std::optional<Range> range = rangeOf(slice);
  if (!range || range->axis != own)
    return refuse(describe(slice) + " lies between, which takes channels apart");
  place.begin += range->begin * (place.headAxis < 0 ? 1 : extent(value, last));
  return to(slice->getOpOperand(0), range);
}

bool Trace::throughAttention(AttentionOp attention) {
  Value from = attention.getValue();
  int64_t axis = lastAxis(value) - 2;
  if (place.headAxis != axis || axis < 0 || lastAxis(from) != lastAxis(value) || place.begin != 0 || pair.repeat != 1)
    return refuse(describe(attention) + " lies between, whose heads are no channels here");
  int64_t queries = extent(value, axis), keys = extent(from, axis), width = extent(from, lastAxis(from));
  if (ShapedType::isDynamic(queries) || ShapedType::isDynamic(keys) || ShapedType::isDynamic(width) || keys == 0 ||
      queries % keys != 0 || place.channels != queries * width)
    return refuse(describe(attention) + " lies between, whose heads have no constant number");
  pair.width = width;
  pair.repeat = queries / keys;
  place.channels = keys * width;
  return to(attention.getValueMutable());
}

/// A product of two tensors is linear in each.
bool Trace::throughMul(MulOp mul) {
  for (unsigned operand : {1u, 0u})
    if (isOneNumber(mul->getOperand(operand)))
      return to(mul->getOpOperand(1 - operand));
  for (unsigned operand : {1u, 0u}) {
    if (mul->getOperand(operand).getType() != value.getType())
      continue;
    EqualizablePair kept = pair;
    Trace other = *this;
    if (other.to(mul->getOpOperand(operand)) && other.run()) {
      value = other.value;
      place = other.place;
      return true;
    }
    pair = kept;
    reason = other.reason;
  }
  return refuse(reason.empty() ? describe(mul) + " lies between, whose operands have other shapes" : reason);
}

bool Trace::through(Operation *op) {
  if (isa<ReluOp, NegOp>(op))
    return to(op->getOpOperand(0));
  if (auto mul = dyn_cast<MulOp>(op))
    return throughMul(mul);
  if (isa<DivOp>(op) && isOneNumber(op->getOperand(1)))
    return to(op->getOpOperand(0));
  if (isa<AddOp>(op)) {
    for (unsigned operand : {1u, 0u}) {
      auto type = tensorType(op->getOperand(operand));
      if (!isConstantF32(op->getOperand(operand)) || place.headAxis >= 0 || type.getRank() != 1 ||
          type.getDimSize(0) != extent(value, lastAxis(value)))
        continue;
      pair.biases.push_back({&op->getOpOperand(operand), place.begin});
      return to(op->getOpOperand(1 - operand));
    }
    return refuse(describe(op) + " lies between, which adds no constant vector");
  }
  if (auto reshape = dyn_cast<ReshapeOp>(op))
    return throughReshape(reshape);
  if (auto transpose = dyn_cast<TransposeOp>(op))
    return throughTranspose(transpose);
  if (auto slice = dyn_cast<SliceOp>(op))
    return throughSlice(slice);
  if (auto attention = dyn_cast<AttentionOp>(op))
    return throughAttention(attention);
  if (auto gather = dyn_cast<GatherOp>(op)) { // of tokens
    auto axis = static_cast<int64_t>(gather.getAxis());
    if (lastAxis(gather.getIndices()) == 0 && axis != lastAxis(value) && axis != place.headAxis)
      return to(op->getOpOperand(0));
  }
  // What a session keeps has come this way, too.
  if (auto cache = dyn_cast<CacheOp>(op); cache && cache.getRows())
    return to(op->getOpOperand(0));
  return refuse(describe(op) + " lies between, which scales do not pass");
}

/// Whether there is such a product: then `pair.first`.
bool Trace::run() {
  while (Operation *op = value.getDefiningOp()) {
    if (auto product = dyn_cast<MatmulOp>(op)) {
      if (place.headAxis >= 0 || !isMatrix(product.getRhs()))
        return refuse("the right side of " + describe(op) + " is no constant matrix, or is compressed already");
      pair.first = product;
      pair.begin = place.begin;
      pair.channels = place.channels;
      return true;
    }
    if (!through(op))
      return false;
  }
  return refuse("it is an input of the program or of a loop");
}

} // namespace

std::vector<EqualizablePair> findEqualizablePairs(func::FuncOp program) {
  llvm::MapVector<Value, std::vector<MatmulOp>> readers;
  program.walk([&](MatmulOp product) {
    if (isMatrix(product.getRhs()) && !product.getTransposeLhs())
      readers[product.getLhs()].push_back(product);
  });
  std::vector<EqualizablePair> pairs;
  for (auto &[value, products] : readers) {
    EqualizablePair pair;
    pair.second = products;
    Trace trace{pair, value};
    trace.place.channels = extent(value, lastAxis(value));
    size_t reads = llvm::count_if(value.getUsers(), [](Operation *op) { return !isa<ShapeOfOp, DimOp>(op); });
    if (ShapedType::isDynamic(trace.place.channels))
      trace.reason = "its channels have no constant number";
    else if (reads != products.size())
      trace.reason = "its input is read by others, too";
    else
      trace.run();
    if (!pair.first) {
      pair = EqualizablePair();
      pair.second = products;
      pair.reason = trace.reason;
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

} // namespace lathe::compression
