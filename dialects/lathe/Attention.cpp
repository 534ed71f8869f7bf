//===- Attention.cpp - The shapes of attention, and what it stands for ----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Attention.h"
#include <limits>

using namespace mlir;

#define GET_OP_CLASSES
#include "dialects/lathe/LatheAttentionOps.cpp.inc"

namespace lathe {

using Shape = FailureOr<SymShape>;

/// Dimension `axis`, counted from the end, or 1 where there is none.
static SymExpr fromEnd(const SymShape &shape, size_t axis) {
  return axis <= shape.size() ? shape[shape.size() - axis] : SymExpr(1);
}

/// The heads of the result; null where they don't fit.
static std::optional<SymExpr> inferHeads(AttentionOp op, const SymExpr &query, const SymExpr &shared,
                                         ShapeContext &context) {
  if (query.isConstant(1))
    return shared;
  if (shared.isConstant(1) || query == shared)
    return query;
  // Which heads are shared is a matter of static extents, as it is of broadcasts.
  std::optional<int64_t> all = query.constant(), some = shared.constant();
  bool fits = all && some
                  ? *some > 0 && *all % *some == 0
                  : succeeded(context.requireEqual(query, shared, op, "heads of queries and keys must be equal"));
  if (!fits) {
    op.emitOpError() << "expects query heads that are a multiple of the key heads, got " << query.str() << " and "
                     << shared.str();
    return std::nullopt;
  }
  return query;
}

/// `result` has the shape of the scores without the keys.
static LogicalResult verifyPositions(AttentionOp op, const SymShape &result, ShapeContext &context) {
  if (op.getWindow() && (*op.getWindow() == 0 || static_cast<int64_t>(*op.getWindow()) < 0 || !op.getPositions()))
    return op.emitOpError() << "expects a window above 0 and positions, got " << static_cast<int64_t>(*op.getWindow())
                            << (op.getPositions() ? "" : " and none");
  if (!op.getPositions())
    return success();
  constexpr size_t kRank = 4;
  Shape shape = context.shapeOf(op.getPositions());
  if (failed(shape))
    return failure();
  bool fits = shape->size() == 2 && result.size() + 1 == kRank;
  if (fits) {
    SymExpr extents[2] = {result[0], result[2]};
    for (size_t axis : {0, 1})
      fits = fits && ((*shape)[axis].isConstant(1) ||
                      succeeded(context.requireEqual((*shape)[axis], extents[axis], op, "each query must have a position")));
  }
  if (!fits)
    return op.emitOpError() << "expects positions of shape [B, S] of queries [B, H, S, D], got " << str(*shape)
                            << " for scores of " << str(result);
  return success();
}

static Type elementOf(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

/// What says how scores are computed.
static LogicalResult verifyNumbers(AttentionOp op) {
  if (std::optional<APFloat> cap = op.getSoftcap(); cap && !(cap->convertToDouble() > 0))
    return op.emitOpError() << "expects a softcap above 0, got " << cap->convertToDouble();
  std::optional<Type> type = op.getArithmetic();
  Type element = elementOf(op.getQuery());
  if (type && (!element.isF32() || (!type->isBF16() && !type->isF16() && !type->isSignlessInteger(8))))
    return op.emitOpError() << "expects an arithmetic of bf16, f16 or i8 of tensors of f32, got " << *type << " of "
                            << element;
  return success();
}

/// The ranks of queries, keys and values, and the extents that each two share.
static LogicalResult verifyOperands(AttentionOp op, const SymShape &q, const SymShape &k, const SymShape &v,
                                    ShapeContext &context) {
  for (const SymShape *shape : {&q, &k, &v})
    if (shape->size() < 3 || shape->size() > 5)
      return op.emitOpError() << "expects operands of ranks from 3 to 5, got " << q.size() << ", " << k.size()
                              << " and " << v.size();
  if (failed(context.requireEqual(q.back(), k.back(), op, "queries and keys must be of the same size")))
    return op.emitOpError() << "expects queries and keys of the same size, got " << q.back().str() << " and "
                            << k.back().str();
  SymExpr keys = fromEnd(k, 2), values = fromEnd(v, 2);
  if (failed(context.requireEqual(keys, values, op, "there must be as many keys as values")))
    return op.emitOpError() << "expects as many keys as values, got " << keys.str() << " and " << values.str();
  return success();
}

/// The axes before the last two of the result.
static Shape inferLeading(AttentionOp op, const SymShape &q, const SymShape &k, const SymShape &v,
                          ShapeContext &context) {
  size_t rank = std::max({q.size(), k.size(), v.size()});
  SymShape result;
  for (size_t axis = rank; axis > 2; --axis) {
    SymExpr a = fromEnd(k, axis), b = fromEnd(v, axis), c = fromEnd(q, axis);
    FailureOr<SymExpr> shared = context.broadcast(a, b, op);
    FailureOr<SymExpr> all = failed(shared) || axis == 3 ? shared : context.broadcast(*shared, c, op);
    if (failed(all)) {
      op.emitOpError() << "expects leading dimensions that broadcast, got " << c.str() << ", " << a.str() << " and "
                       << b.str() << " at axis " << rank - axis;
      return failure();
    }
    if (axis == 3) {
      std::optional<SymExpr> heads = inferHeads(op, c, *shared, context);
      if (!heads)
        return failure();
      all = *heads;
    }
    result.push_back(*all);
  }
  return result;
}

/// Biases are added to the scores.
static LogicalResult verifyBiases(AttentionOp op, const SymShape &scores, ShapeContext &context) {
  for (Value bias : op.getBiases()) {
    Shape shape = context.shapeOf(bias);
    if (failed(shape))
      return failure();
    bool fits = shape->size() <= scores.size();
    for (size_t axis = 1; fits && axis <= shape->size(); ++axis) {
      SymExpr own = fromEnd(*shape, axis);
      SymExpr whole = fromEnd(scores, axis);
      fits = own.isConstant(1) || (!whole.isConstant(1) && succeeded(context.broadcast(whole, own, op)));
    }
    if (!fits)
      return op.emitOpError() << "expects biases that broadcast to the scores' shape " << str(scores) << ", got "
                              << str(*shape);
  }
  for (Value bias : op.getBiases())
    if (elementOf(bias) != elementOf(op.getQuery()))
      return op.emitOpError() << "expects biases of the queries' element type, got " << bias.getType();
  return success();
}

Shape AttentionOp::inferSymbolicShape(ShapeContext &context) {
  if (failed(verifyNumbers(*this)))
    return failure();
  Shape q = context.shapeOf(getQuery()), k = context.shapeOf(getKey()), v = context.shapeOf(getValue());
  if (failed(q) || failed(k) || failed(v) || failed(verifyOperands(*this, *q, *k, *v, context)))
    return failure();
  Shape result = inferLeading(*this, *q, *k, *v, context);
  if (failed(result))
    return failure();
  result->push_back(fromEnd(*q, 2));
  SymShape scores = *result;
  scores.push_back(fromEnd(*k, 2));
  if (failed(verifyBiases(*this, scores, context)) || failed(verifyPositions(*this, *result, context)))
    return failure();
  result->push_back(v->back());
  return result;
}

/// What rows are rounded to.
static LogicalResult verifyCodes(CacheOp op) {
  auto group = static_cast<int64_t>(op.getGroupSize());
  if (!op.getCodes() && op.getRotated())
    return op.emitOpError() << "expects rows to be rotated with codes alone";
  if (!op.getCodes())
    return group == 0 ? success() : op.emitOpError() << "expects a group size with codes alone, got " << group;
  auto codes = dyn_cast<IntegerType>(*op.getCodes());
  if (!codes || (codes.getWidth() != 8 && codes.getWidth() != 4) || codes.isSigned())
    return op.emitOpError() << "expects codes of i8, ui8, i4 or ui4, got " << *op.getCodes();
  constexpr int64_t kUnit = 16, kMost = 1 << 24;
  if (group < 0 || group > kMost || group % kUnit != 0)
    return op.emitOpError() << "expects a group size of 0 or a multiple of " << kUnit << ", got " << group;
  Type type = cast<RankedTensorType>(op.getType()).getElementType();
  return type.isF32() ? success() : op.emitOpError() << "expects rows of f32 where they are rounded to codes, got " << type;
}

Shape CacheOp::inferSymbolicShape(ShapeContext &context) {
  constexpr size_t kRank = 4;
  if (failed(verifyCodes(*this)))
    return failure();
  SymShape result;
  for (Value dim : getDims())
    result.push_back(context.indexValue(dim));
  if (result.size() != kRank) {
    emitOpError() << "expects the extents of four axes, got " << result.size();
    return failure();
  }
  if (!getRows())
    return result;
  Shape rows = context.shapeOf(getRows());
  if (failed(rows))
    return failure();
  bool fits = rows->size() == kRank;
  for (size_t axis : {0, 1, 3})
    fits = fits && succeeded(context.requireEqual((*rows)[axis], result[axis], *this, "rows must be like those in the cache"));
  if (!fits) {
    emitOpError() << "expects rows of shape [.., N, D] for a result of shape [.., T, D], got " << str(*rows) << " and "
                  << str(result);
    return failure();
  }
  if (cast<RankedTensorType>(getRows().getType()).getElementType() != cast<RankedTensorType>(getType()).getElementType()) {
    emitOpError() << "expects rows of the result's element type, got " << getRows().getType();
    return failure();
  }
  return result;
}

namespace {

/// Writes operations with inferred shapes; null values go through, after the error of the first.
class Writer {
public:
  Writer(OpBuilder &b, Location loc, Type elementType) : b(b), loc(loc), elementType(elementType) {}

  template <typename OpTy, typename... Args> Value make(Value first, Args &&...args) {
    return first ? makeOf<OpTy>(elementType, first, std::forward<Args>(args)...) : Value();
  }
  template <typename OpTy, typename... Args> Value makeOf(Type type, Args &&...args) {
    auto op = createInferred<OpTy>(b, loc, shapes, type, std::forward<Args>(args)...);
    return succeeded(op) ? op->getResult() : Value();
  }
  Value number(double value) {
    auto type = RankedTensorType::get({}, elementType);
    return b.create<ConstantOp>(loc, type, DenseElementsAttr::get(type, b.getFloatAttr(elementType, value)));
  }
  Value extent(Value tensor, int64_t axis) {
    auto type = cast<RankedTensorType>(tensor.getType());
    if (!type.isDynamicDim(axis))
      return b.create<arith::ConstantIndexOp>(loc, type.getDimSize(axis));
    return b.create<DimOp>(loc, b.getIndexType(), tensor, b.getI64IntegerAttr(axis));
  }
  SmallVector<Value> extents(Value tensor) {
    SmallVector<Value> result;
    for (int64_t axis = 0; axis < cast<RankedTensorType>(tensor.getType()).getRank(); ++axis)
      result.push_back(extent(tensor, axis));
    return result;
  }
  Value reshape(Value tensor, ArrayRef<Value> dims) { return make<ReshapeOp>(tensor, dims, /*zero_copies=*/false); }

  OpBuilder &b;
  Location loc;
  Type elementType;
  ShapeContext shapes;
};

} // namespace

/// Minus infinity at keys that a query does not see.
static Value hideKeys(Writer &w, AttentionOp op, Value scores) {
  if (!scores)
    return {};
  auto constant = [&](int64_t value) -> Value { return w.b.create<arith::ConstantIndexOp>(w.loc, value); };
  Type i64 = w.b.getI64Type();
  Value keys = w.extent(op.getKey(), cast<RankedTensorType>(op.getKey().getType()).getRank() - 2);
  Value range = w.makeOf<RangeOp>(i64, constant(0), keys, constant(1));
  SmallVector<Value> extents = w.extents(op.getPositions());
  Value one = constant(1);
  Value last = w.makeOf<ReshapeOp>(i64, op.getPositions(), ValueRange{extents[0], one, extents[1], one}, /*zero_copies=*/false);
  if (!range || !last)
    return {};
  Value isSeen = w.makeOf<CompareOp>(w.b.getI1Type(), Comparison::le, range, last);
  if (op.getWindow()) {
    auto type = RankedTensorType::get({}, i64);
    Value window = w.b.create<ConstantOp>(w.loc, type,
                                          DenseElementsAttr::get(type, static_cast<int64_t>(*op.getWindow())));
    Value first = w.makeOf<SubOp>(i64, last, window);
    Value isRecent = first ? w.makeOf<CompareOp>(w.b.getI1Type(), Comparison::gt, range, first) : Value();
    isSeen = isSeen && isRecent ? w.makeOf<AndOp>(w.b.getI1Type(), isSeen, isRecent) : Value();
  }
  return isSeen ? w.make<SelectOp>(isSeen, scores, w.number(-std::numeric_limits<double>::infinity())) : Value();
}

namespace {

/// Heads that read the same keys are one head of more queries.
class SharedHeads {
public:
  SharedHeads(Writer &w, AttentionOp op) : w(w) {
    auto heads = [](Value tensor) {
      auto type = cast<RankedTensorType>(tensor.getType());
      return type.getDimSize(type.getRank() - 3);
    };
    int64_t all = heads(op.getQuery());
    shared = heads(op.getKey()) == 1 ? heads(op.getValue()) : heads(op.getKey());
    bool isStatic = !ShapedType::isDynamic(shared) && !ShapedType::isDynamic(all);
    isGrouped = isStatic && shared != all && shared > 1 && all != 1;
  }

  /// Queries of the groups. Null goes through.
  Value group(Value query) {
    if (!isGrouped || !query)
      return query;
    apart = w.extents(query);
    int64_t axis = static_cast<int64_t>(apart.size()) - 3;
    Value groups = w.b.create<arith::ConstantIndexOp>(w.loc, shared);
    SmallVector<Value> dims(apart);
    Value rows = w.b.create<arith::MulIOp>(w.loc, apart[axis], apart[axis + 1]);
    dims[axis] = groups;
    dims[axis + 1] = w.b.create<arith::FloorDivSIOp>(w.loc, rows, groups);
    grouped = w.reshape(query, dims);
    return grouped;
  }

  /// Rows for each query, as those of the groups, or the other way round.
  Value regroup(Value tensor, bool merge) {
    if (!isGrouped || !tensor)
      return tensor;
    SmallVector<Value> dims = w.extents(tensor), from = w.extents(grouped);
    int64_t axis = static_cast<int64_t>(dims.size()) - 3, own = static_cast<int64_t>(apart.size()) - 3;
    dims[axis] = merge ? from[own] : apart[own];
    dims[axis + 1] = merge ? from[own + 1] : apart[own + 1];
    return w.reshape(tensor, dims);
  }

private:
  Writer &w;
  int64_t shared = 0;
  bool isGrouped = false;
  SmallVector<Value> apart; ///< extents of the queries
  Value grouped;
};

} // namespace

/// What the softmax is of.
static Value finishScores(Writer &w, AttentionOp op, Value scores) {
  if (op.getSoftcap() && scores) {
    Value cap = w.number(op.getSoftcap()->convertToDouble());
    Value bounded = w.make<TanhOp>(w.make<DivOp>(scores, cap));
    scores = w.make<MulOp>(bounded, cap);
  }
  for (Value bias : op.getBiases())
    scores = w.make<AddOp>(scores, bias);
  return op.getPositions() ? hideKeys(w, op, scores) : scores;
}

/// The weights of values: zeros where the operation asks for them in the softmax's stead.
static Value softmax(Writer &w, AttentionOp op, Value scores) {
  int64_t last = cast<RankedTensorType>(scores.getType()).getRank() - 1;
  Value weights = w.make<SoftmaxOp>(scores, last);
  Value isZero;
  if (op.getZeroNan() && weights) {
    isZero = w.makeOf<IsNanOp>(w.b.getI1Type(), weights);
  } else if (op.getZeroMasked() && weights) {
    Value best = w.makeOf<ReduceOp>(w.elementType, Reduction::max, scores, ArrayRef<int64_t>{last}, /*keep_dims=*/true);
    if (best)
      isZero = w.makeOf<CompareOp>(w.b.getI1Type(), Comparison::eq, best,
                                   w.number(-std::numeric_limits<double>::infinity()));
  }
  return isZero ? w.make<SelectOp>(isZero, w.number(0), weights) : weights;
}

FailureOr<Value> decomposeAttention(OpBuilder &builder, AttentionOp op) {
  Writer w(builder, op.getLoc(), elementOf(op.getResult()));
  SharedHeads heads(w, op);
  Value query = op.getQuery();
  if (double scale = op.getScale().convertToDouble(); scale != 1)
    query = w.make<MulOp>(query, w.number(scale));
  Value scores = w.make<MatmulOp>(heads.group(query), op.getKey(), /*transpose_lhs=*/false, /*transpose_rhs=*/true);
  scores = finishScores(w, op, heads.regroup(scores, /*merge=*/false));
  if (!scores)
    return failure();
  Value weights = heads.regroup(softmax(w, op, scores), /*merge=*/true);
  Value result = w.make<MatmulOp>(weights, op.getValue(), /*transpose_lhs=*/false, /*transpose_rhs=*/false);
  result = heads.regroup(result, /*merge=*/false);
  if (!result)
    return failure();
  return result;
}

} // namespace lathe
