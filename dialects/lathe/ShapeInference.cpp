//===- ShapeInference.cpp - Shapes of the lathe dialect's results ---------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One implementation an operation: it types results, verifies, and yields the symbolic shapes that memory is planned with.
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/Lathe.h"
#include "mlir/IR/TypeUtilities.h"

using namespace mlir;

namespace lathe {

using Shape = FailureOr<SymShape>;

static Shape elementwise(Operation *op, ShapeContext &context) {
  SymShape result;
  for (Value operand : op->getOperands()) {
    Shape shape = context.shapeOf(operand);
    if (failed(shape))
      return failure();
    if (shape->size() > result.size())
      result.insert(result.begin(), shape->size() - result.size(), SymExpr(1));
    size_t skip = result.size() - shape->size();
    for (size_t i = 0; i < shape->size(); ++i) {
      FailureOr<SymExpr> dim = context.broadcast(result[skip + i], (*shape)[i], op);
      if (failed(dim)) {
        op->emitOpError() << "expects operands that broadcast, got dimensions " << result[skip + i].str() << " and "
                          << (*shape)[i].str() << " at axis " << skip + i;
        return failure();
      }
      result[skip + i] = *dim;
    }
  }
  return result;
}

#define ELEMENTWISE(OP)                                                                                                \
  Shape OP::inferSymbolicShape(ShapeContext &context) { return elementwise(*this, context); }
ELEMENTWISE(NegOp)
ELEMENTWISE(AbsOp)
ELEMENTWISE(SignOp)
ELEMENTWISE(SqrtOp)
ELEMENTWISE(RsqrtOp)
ELEMENTWISE(ReciprocalOp)
ELEMENTWISE(ExpOp)
ELEMENTWISE(LogOp)
ELEMENTWISE(ErfOp)
ELEMENTWISE(TanhOp)
ELEMENTWISE(SinOp)
ELEMENTWISE(CosOp)
ELEMENTWISE(SigmoidOp)
ELEMENTWISE(ReluOp)
ELEMENTWISE(FloorOp)
ELEMENTWISE(CeilOp)
ELEMENTWISE(RoundOp)
ELEMENTWISE(AtanOp)
ELEMENTWISE(NotOp)
ELEMENTWISE(GeluOp)
ELEMENTWISE(IsNanOp)
ELEMENTWISE(IsInfOp)
ELEMENTWISE(AddOp)
ELEMENTWISE(SubOp)
ELEMENTWISE(MulOp)
ELEMENTWISE(DivOp)
ELEMENTWISE(PowOp)
ELEMENTWISE(MinOp)
ELEMENTWISE(MaxOp)
ELEMENTWISE(ModOp)
ELEMENTWISE(AndOp)
ELEMENTWISE(OrOp)
ELEMENTWISE(XorOp)
ELEMENTWISE(ShiftLeftOp)
ELEMENTWISE(ShiftRightOp)
ELEMENTWISE(CompareOp)
ELEMENTWISE(SelectOp)
ELEMENTWISE(CastOp)

Shape SwishOp::inferSymbolicShape(ShapeContext &context) {
  if (!getBeta().isFinite()) {
    emitOpError() << "expects a finite beta, got " << getBeta().convertToDouble();
    return failure();
  }
  return elementwise(*this, context);
}
#undef ELEMENTWISE

static LogicalResult verifyAxis(Operation *op, int64_t axis, int64_t rank) {
  if (axis < 0 || axis >= rank)
    return op->emitOpError() << "expects an axis within rank " << rank << ", got " << axis;
  return success();
}

static LogicalResult verifyAxes(Operation *op, ArrayRef<int64_t> axes, int64_t rank) {
  for (auto [i, axis] : llvm::enumerate(axes)) {
    if (failed(verifyAxis(op, axis, rank)))
      return failure();
    if (llvm::is_contained(axes.take_front(i), axis))
      return op->emitOpError() << "expects distinct axes, got " << axis << " twice";
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Quantization
//===----------------------------------------------------------------------===//

/// Whether values of the type are quantized ones.
static bool isQuantized(Type type, unsigned widest) {
  if (auto integer = dyn_cast<IntegerType>(type))
    return integer.getWidth() > 1 && integer.getWidth() <= widest;
  return isa<FloatType>(type) && type.getIntOrFloatBitWidth() == 8;
}

/// The shape of what is scaled, where the scale fits it.
template <typename Op> static Shape scaledShape(Op op, ShapeContext &context) {
  Shape shape = context.shapeOf(op.getInput()), scale = context.shapeOf(op.getScale());
  if (failed(shape) || failed(scale))
    return failure();
  std::optional<int64_t> axis, block;
  if (op.getAxis())
    axis = static_cast<int64_t>(*op.getAxis());
  if (op.getBlockSize())
    block = static_cast<int64_t>(*op.getBlockSize());
  if (axis && failed(verifyAxis(op, *axis, shape->size())))
    return failure();
  if (block && (*block < 1 || !axis)) {
    op.emitOpError() << "expects a block size of at least 1 and an axis, got " << *block << (axis ? "" : " and none");
    return failure();
  }
  SymShape expected;
  if (block) {
    expected = *shape;
    expected[*axis] = context.ceilDiv((*shape)[*axis], *block);
  } else if (axis) {
    expected.push_back((*shape)[*axis]);
  }
  bool fits = scale->size() == expected.size();
  for (size_t i = 0; fits && i < expected.size(); ++i)
    fits = succeeded(context.requireEqual((*scale)[i], expected[i], op, "scales must be as many as what they scale"));
  if (!fits) {
    op.emitOpError() << "expects a scale of shape " << str(expected) << ", got " << str(*scale);
    return failure();
  }
  return shape;
}

/// What quantizing and dequantizing have in common; `quantized` is the value on the narrow side.
template <typename Op>
static Shape quantization(Op op, Value quantized, unsigned widest, bool fromFloats, ShapeContext &context) {
  Type narrow = getElementTypeOrSelf(quantized.getType()), scaleType = getElementTypeOrSelf(op.getScale().getType());
  if (!isQuantized(narrow, widest) && !(fromFloats && narrow.isF32())) {
    op.emitOpError() << "expects quantized values of an integer type of 2 to " << widest << " bits or an 8-bit float type, got "
                     << narrow;
    return failure();
  }
  Shape shape = scaledShape(op, context);
  Value zero = op.getZeroPoint();
  if (failed(shape) || !zero)
    return shape;
  Shape scale = context.shapeOf(op.getScale()), zeroShape = context.shapeOf(zero);
  if (failed(zeroShape))
    return failure();
  bool fits = zeroShape->size() == scale->size();
  for (size_t i = 0; fits && i < scale->size(); ++i)
    fits = succeeded(context.requireEqual((*zeroShape)[i], (*scale)[i], op, "zero points must be as many as scales"));
  if (!fits) {
    op.emitOpError() << "expects a zero point of the scale's shape " << str(*scale) << ", got " << str(*zeroShape);
    return failure();
  }
  if (Type type = getElementTypeOrSelf(zero.getType()); type != narrow && !(fromFloats && type == scaleType)) {
    op.emitOpError() << "expects a zero point of type " << narrow << (fromFloats ? ", or of the scale's," : ",") << " got " << type;
    return failure();
  }
  return shape;
}

Shape QuantizeOp::inferSymbolicShape(ShapeContext &context) {
  Type type = getElementTypeOrSelf(getInput().getType()), scale = getElementTypeOrSelf(getScale().getType());
  if (type != scale) {
    emitOpError() << "expects an input of the scale's type " << scale << ", got " << type;
    return failure();
  }
  return quantization(*this, getResult(), 16, /*fromFloats=*/false, context);
}

Shape DequantizeOp::inferSymbolicShape(ShapeContext &context) {
  if (Type type = getElementTypeOrSelf(getResult().getType()); !isa<FloatType>(type)) {
    emitOpError() << "expects a result of floats, got " << type;
    return failure();
  }
  return quantization(*this, getInput(), 32, /*fromFloats=*/true, context);
}

Shape DequantizeLog2Op::inferSymbolicShape(ShapeContext &context) {
  auto codes = dyn_cast<IntegerType>(getElementTypeOrSelf(getInput().getType()));
  if (!codes || !codes.isUnsigned() || codes.getWidth() < 2 || codes.getWidth() > 8) {
    emitOpError() << "expects codes of an unsigned integer type of 2 to 8 bits, got " << getElementTypeOrSelf(getInput().getType());
    return failure();
  }
  if (Type type = getElementTypeOrSelf(getResult().getType()); !isa<FloatType>(type)) {
    emitOpError() << "expects a result of floats, got " << type;
    return failure();
  }
  return scaledShape(*this, context);
}

Shape CodebookLookupOp::inferSymbolicShape(ShapeContext &context) {
  auto codebook = cast<RankedTensorType>(getCodebook().getType());
  Type codes = getElementTypeOrSelf(getCodes().getType()), type = getElementTypeOrSelf(getResult().getType());
  if (codes.getIntOrFloatBitWidth() > 16) {
    emitOpError() << "expects codes of at most 16 bits, got " << codes;
    return failure();
  }
  if (!codebook.hasStaticShape() || codebook.getNumElements() == 0 || codebook.getRank() != (getAxis() ? 2 : 1)) {
    emitOpError() << "expects a codebook that is not empty, of static shape [entries], or [entries, d] with an axis, got " << codebook
                  << (getAxis() ? " with an axis" : " without an axis");
    return failure();
  }
  if (type != codebook.getElementType()) {
    emitOpError() << "expects a result of the codebook's type " << codebook.getElementType() << ", got " << type;
    return failure();
  }
  Shape shape = context.shapeOf(getCodes());
  if (failed(shape) || !getAxis())
    return shape;
  if (failed(verifyAxis(*this, static_cast<int64_t>(*getAxis()), shape->size())))
    return failure();
  SymShape result = *shape;
  result[*getAxis()] = result[*getAxis()] * SymExpr(codebook.getDimSize(1));
  return result;
}

Shape MatmulOp::inferSymbolicShape(ShapeContext &context) {
  Shape a = context.shapeOf(getLhs()), b = context.shapeOf(getRhs());
  if (failed(a) || failed(b))
    return failure();
  if (a->size() < 2 || b->size() < 2) {
    emitOpError() << "expects operands of rank 2 or more, got ranks " << a->size() << " and " << b->size();
    return failure();
  }
  size_t ra = a->size(), rb = b->size();
  SymExpr m = (*a)[ra - (getTransposeLhs() ? 1 : 2)], ka = (*a)[ra - (getTransposeLhs() ? 2 : 1)];
  SymExpr kb = (*b)[rb - (getTransposeRhs() ? 1 : 2)], n = (*b)[rb - (getTransposeRhs() ? 2 : 1)];
  if (failed(context.requireEqual(ka, kb, *this, "inner dimensions of a matrix product must be equal"))) {
    emitOpError() << "expects inner dimensions to match, got " << ka.str() << " and " << kb.str();
    return failure();
  }
  SymShape result;
  size_t batch = std::max(ra, rb) - 2;
  for (size_t i = 0; i < batch; ++i) {
    SymExpr x = i + ra < batch + 2 ? SymExpr(1) : (*a)[i + ra - batch - 2];
    SymExpr y = i + rb < batch + 2 ? SymExpr(1) : (*b)[i + rb - batch - 2];
    FailureOr<SymExpr> dim = context.broadcast(x, y, *this);
    if (failed(dim)) {
      emitOpError() << "expects leading dimensions that broadcast, got " << x.str() << " and " << y.str() << " at axis " << i;
      return failure();
    }
    result.push_back(*dim);
  }
  result.push_back(m);
  result.push_back(n);
  return result;
}

Shape ReduceOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput());
  if (failed(shape) || failed(verifyAxes(*this, getAxes(), shape->size())))
    return failure();
  if (!llvm::is_sorted(getAxes())) {
    emitOpError() << "expects sorted axes, got [" << getAxes() << "]";
    return failure();
  }
  SymShape result;
  for (auto [i, dim] : llvm::enumerate(*shape)) {
    if (!llvm::is_contained(getAxes(), static_cast<int64_t>(i)))
      result.push_back(dim);
    else if (getKeepDims())
      result.push_back(1);
  }
  return result;
}

template <typename Op> static Shape likeInput(Op op, ShapeContext &context) {
  Shape shape = context.shapeOf(op.getInput());
  if (failed(shape) || failed(verifyAxis(op, op.getAxis(), shape->size())))
    return failure();
  return shape;
}

Shape SoftmaxOp::inferSymbolicShape(ShapeContext &context) { return likeInput(*this, context); }
Shape CumSumOp::inferSymbolicShape(ShapeContext &context) { return likeInput(*this, context); }

template <typename Op> static Shape norm(Op op, ShapeContext &context) {
  Shape shape = likeInput(op, context);
  if (failed(shape))
    return failure();
  for (Value parameter : llvm::drop_begin(op->getOperands())) {
    Shape other = context.shapeOf(parameter);
    if (failed(other))
      return failure();
    bool fits = other->size() <= shape->size();
    for (size_t i = 0; fits && i < other->size(); ++i) {
      const SymExpr &x = (*other)[i], &y = (*shape)[shape->size() - other->size() + i];
      fits = x.isConstant(1) || succeeded(context.requireEqual(x, y, op, "scale and bias must fit the normalized axes"));
    }
    if (!fits) {
      op->emitOpError() << "expects scale and bias that broadcast to the input's shape " << str(*shape) << ", got " << str(*other);
      return failure();
    }
  }
  return shape;
}

Shape LayerNormOp::inferSymbolicShape(ShapeContext &context) { return norm(*this, context); }
Shape RmsNormOp::inferSymbolicShape(ShapeContext &context) { return norm(*this, context); }

Shape TransposeOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput());
  if (failed(shape))
    return failure();
  if (getPermutation().size() != shape->size()) {
    emitOpError() << "expects a permutation of " << shape->size() << " axes, got " << getPermutation().size();
    return failure();
  }
  if (failed(verifyAxes(*this, getPermutation(), shape->size())))
    return failure();
  SymShape result;
  for (int64_t axis : getPermutation())
    result.push_back((*shape)[axis]);
  return result;
}

static SymExpr product(const SymShape &shape) {
  SymExpr result(1);
  for (const SymExpr &dim : shape)
    result = result * dim;
  return result;
}

Shape ReshapeOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput());
  if (failed(shape))
    return failure();
  SymShape result;
  std::optional<size_t> inferred;
  SmallVector<size_t> open; // dimensions that are known when the model runs, and may be 0 or -1 then
  for (auto [i, value] : llvm::enumerate(getDims())) {
    SymExpr dim = context.indexValue(value);
    if (!dim.constant() && !context.atLeast(dim, 0)) {
      if (getZeroCopies() && i < shape->size())
        dim = context.select(context.eq(dim, 0), (*shape)[i], dim);
      open.push_back(i);
    }
    if (dim.isConstant(0) && getZeroCopies()) {
      if (i >= shape->size()) {
        emitOpError() << "expects an input dimension to copy at axis " << i << ", got an input of rank " << shape->size();
        return failure();
      }
      dim = (*shape)[i];
    } else if (dim.isConstant(-1)) {
      if (inferred) {
        emitOpError() << "expects at most one dimension of -1, got them at axes " << *inferred << " and " << i;
        return failure();
      }
      inferred = i;
      dim = 1;
    } else if (dim.constant().value_or(0) < 0) {
      emitOpError() << "expects dimensions of at least -1, got " << dim.str() << " at axis " << i;
      return failure();
    }
    result.push_back(dim);
  }
  if (!open.empty() && !inferred) {
    SymShape known = result;
    for (size_t i : open)
      known[i] = context.select(context.eq(result[i], -1), 1, result[i]);
    SymExpr missing = context.floorDiv(product(*shape), product(known));
    for (size_t i : open)
      result[i] = context.select(context.eq(result[i], -1), missing, result[i]);
  }
  SymExpr count = product(*shape), rest = product(result);
  if (inferred)
    result[*inferred] = rest.isConstant(0) ? SymExpr(0) : context.floorDiv(count, rest);
  if (failed(context.requireEqual(count, product(result), *this, "a reshape must keep the number of elements"))) {
    emitOpError() << "expects to keep the number of elements, got " << count.str() << " for shape " << str(*shape) << " and "
                  << (inferred ? "a multiple of " + rest.str() : product(result).str());
    return failure();
  }
  return result;
}

Shape BroadcastOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput());
  if (failed(shape))
    return failure();
  SymShape result;
  for (Value dim : getDims())
    result.push_back(context.indexValue(dim));
  if (result.size() < shape->size())
    result.insert(result.begin(), shape->size() - result.size(), SymExpr(1));
  size_t skip = result.size() - shape->size();
  for (auto [i, dim] : llvm::enumerate(*shape)) {
    FailureOr<SymExpr> both = context.broadcastTo(result[skip + i], dim, *this);
    if (failed(both)) {
      emitOpError() << "expects a shape that the input's broadcasts to, got " << result[skip + i].str() << " for dimension "
                    << dim.str();
      return failure();
    }
    result[skip + i] = *both;
  }
  return result;
}

Shape ConcatOp::inferSymbolicShape(ShapeContext &context) {
  if (getInputs().empty()) {
    emitOpError() << "expects at least one operand";
    return failure();
  }
  SymShape result;
  for (auto [k, input] : llvm::enumerate(getInputs())) {
    Shape shape = context.shapeOf(input);
    if (failed(shape) || failed(verifyAxis(*this, getAxis(), shape->size())))
      return failure();
    if (k == 0) {
      result = *shape;
      continue;
    }
    if (shape->size() != result.size()) {
      emitOpError() << "expects operands of equal rank, got " << result.size() << " and " << shape->size();
      return failure();
    }
    for (auto [i, dim] : llvm::enumerate(*shape)) {
      if (i == getAxis()) {
        if (result[i].size() < SymExpr::kTooLarge) // which it stays: a sum of any number of terms is as good as data
          result[i] = result[i] + dim;
      } else if (failed(context.requireEqual(result[i], dim, *this, "concatenated tensors must agree off the axis"))) {
        emitOpError() << "expects equal dimensions off the axis, got " << result[i].str() << " and " << dim.str() << " at axis " << i;
        return failure();
      } else if (dim.constant()) {
        result[i] = dim;
      }
    }
  }
  return result;
}

Shape SliceOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput());
  if (failed(shape) || failed(verifyAxes(*this, getAxes(), shape->size())))
    return failure();
  size_t count = getAxes().size();
  if (getStarts().size() != count || getEnds().size() != count || getSteps().size() != count) {
    emitOpError() << "expects a start, an end and a step for each of " << count << " axes, got " << getStarts().size() << ", "
                  << getEnds().size() << " and " << getSteps().size();
    return failure();
  }
  SymShape result = *shape;
  for (size_t i = 0; i < count; ++i) {
    int64_t step = getSteps()[i];
    if (step == 0) {
      emitOpError() << "expects steps other than 0";
      return failure();
    }
    const SymExpr &dim = (*shape)[getAxes()[i]];
    bool back = step < 0;
    // Going backwards, positions run from d-1 down to -1 (exclusive).
    SymExpr from = context.indexValue(getStarts()[i]);
    SymExpr start = context.clampedIndex(from, dim, 0, back ? -1 : 0);
    if (back) // of an axis without elements the last one is at -1, and there is nothing to start at
      start = from.isConstant(-1) ? dim - SymExpr(1) : context.min(start, dim - SymExpr(1));
    SymExpr to = context.indexValue(getEnds()[i]);
    SymExpr end = context.clampedIndex(to, dim, back ? -1 : 0, back ? -1 : 0);
    SymExpr length = back ? context.ceilDiv(start - end, -step) : context.ceilDiv(end - start, step);
    // Of constant bounds more is known than of a difference of clamped ones: that these are a few elements at most.
    std::optional<int64_t> first = from.constant(), last = to.constant();
    if (step == 1 && first && *first < 0 && *first > INT32_MIN && end == dim)
      length = context.min(dim, -*first);
    else if (step == 1 && first && last && *first > 0 && *last > *first && *last < INT32_MAX)
      length = context.min(context.max(dim - *first, 0), *last - *first);
    result[getAxes()[i]] = context.max(length, 0);
  }
  return result;
}

Shape GatherOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput()), indices = context.shapeOf(getIndices());
  if (failed(shape) || failed(indices) || failed(verifyAxis(*this, getAxis(), shape->size())))
    return failure();
  SymShape result(shape->begin(), shape->begin() + getAxis());
  result.append(indices->begin(), indices->end());
  result.append(shape->begin() + getAxis() + 1, shape->end());
  return result;
}

Shape GatherElementsOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput()), indices = context.shapeOf(getIndices());
  if (failed(shape) || failed(indices) || failed(verifyAxis(*this, getAxis(), shape->size())))
    return failure();
  if (shape->size() != indices->size()) {
    emitOpError() << "expects indices of the input's rank " << shape->size() << ", got rank " << indices->size();
    return failure();
  }
  for (size_t i = 0; i < shape->size(); ++i) {
    if (i == getAxis())
      continue;
    if (context.atLeast((*indices)[i] - (*shape)[i], 1)) {
      emitOpError() << "expects indices within the input off the axis, got " << (*indices)[i].str() << " for dimension "
                    << (*shape)[i].str();
      return failure();
    }
    // The lowering reads row i of the input for row i of the indices: a longer one would leave the input.
    if (!context.atMost((*indices)[i] - (*shape)[i], 0))
      (void)context.requireEqual((*indices)[i], (*shape)[i], *this, "indices must have the input's dimensions off the axis");
  }
  return indices;
}

Shape GatherNDOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput()), indices = context.shapeOf(getIndices());
  if (failed(shape) || failed(indices))
    return failure();
  auto batch = static_cast<int64_t>(getBatchDims());
  auto tuple = indices->empty() ? std::nullopt : indices->back().constant();
  if (!tuple) {
    emitOpError() << "expects indices whose last dimension is static, got shape " << str(*indices);
    return failure();
  }
  if (batch < 0 || batch >= static_cast<int64_t>(indices->size()) || *tuple < 1 ||
      *tuple + batch > static_cast<int64_t>(shape->size())) {
    emitOpError() << "expects tuples of 1 to " << static_cast<int64_t>(shape->size()) - batch << " indices after " << batch
                  << " batch dimensions, got " << *tuple;
    return failure();
  }
  for (int64_t i = 0; i < batch; ++i)
    if (failed(context.requireEqual((*shape)[i], (*indices)[i], *this, "batch dimensions of gather_nd must be equal"))) {
      emitOpError() << "expects equal batch dimensions, got " << (*shape)[i].str() << " and " << (*indices)[i].str();
      return failure();
    }
  SymShape result(indices->begin(), indices->end() - 1);
  result.append(shape->begin() + batch + *tuple, shape->end());
  return result;
}

Shape TopKOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = likeInput(*this, context);
  if (failed(shape))
    return failure();
  SymExpr k = context.indexValue(getK()), &extent = (*shape)[getAxis()];
  if (context.atMost(k, -1) || failed(context.requireAtMost(k, extent, *this, "k must be at most the extent"))) {
    emitOpError() << "expects k from 0 to the extent " << extent.str() << ", got " << k.str();
    return failure();
  }
  extent = k;
  return shape;
}

Shape ScatterElementsOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput()), indices = context.shapeOf(getIndices()), updates = context.shapeOf(getUpdates());
  if (failed(shape) || failed(indices) || failed(updates) || failed(verifyAxis(*this, getAxis(), shape->size())))
    return failure();
  if (shape->size() != indices->size() || updates->size() != indices->size()) {
    emitOpError() << "expects indices and updates of the input's rank " << shape->size() << ", got ranks " << indices->size()
                  << " and " << updates->size();
    return failure();
  }
  for (size_t i = 0; i < shape->size(); ++i) {
    if (failed(context.requireEqual((*indices)[i], (*updates)[i], *this, "updates must have the shape of the indices"))) {
      emitOpError() << "expects updates of the shape of the indices, " << str(*indices) << ", got " << str(*updates);
      return failure();
    }
    if (i != getAxis() && failed(context.requireAtMost((*indices)[i], (*shape)[i], *this,
                                                       "indices must be within the input off the axis"))) {
      emitOpError() << "expects indices within the input off the axis, got " << (*indices)[i].str() << " for dimension "
                    << (*shape)[i].str();
      return failure();
    }
  }
  return shape;
}

Shape ScatterNDOp::inferSymbolicShape(ShapeContext &context) {
  Shape shape = context.shapeOf(getInput()), indices = context.shapeOf(getIndices()), updates = context.shapeOf(getUpdates());
  if (failed(shape) || failed(indices) || failed(updates))
    return failure();
  auto tuple = indices->empty() ? std::nullopt : indices->back().constant();
  if (!tuple || *tuple < 1 || *tuple > static_cast<int64_t>(shape->size())) {
    emitOpError() << "expects indices whose last dimension is static and from 1 to " << shape->size() << ", got shape "
                  << str(*indices);
    return failure();
  }
  SymShape expected(indices->begin(), indices->end() - 1);
  expected.append(shape->begin() + *tuple, shape->end());
  bool fits = expected.size() == updates->size();
  for (size_t i = 0; fits && i < expected.size(); ++i)
    fits = succeeded(context.requireEqual(expected[i], (*updates)[i], *this, "updates must fit the indices and the input"));
  if (!fits) {
    emitOpError() << "expects updates of shape " << str(expected) << ", got " << str(*updates);
    return failure();
  }
  return shape;
}

Shape RangeOp::inferSymbolicShape(ShapeContext &context) {
  SymExpr start = context.indexValue(getStart()), limit = context.indexValue(getLimit()), step = context.indexValue(getStep());
  if (step.isConstant(0)) {
    emitOpError() << "expects a step other than 0";
    return failure();
  }
  return SymShape{context.max(context.ceilDiv(limit - start, step), 0)};
}

static SymShape fromType(Value value) {
  SymShape shape;
  for (int64_t dim : cast<RankedTensorType>(value.getType()).getShape())
    shape.push_back(dim);
  return shape;
}

Shape ConstantOp::inferSymbolicShape(ShapeContext &) { return fromType(getResult()); }
Shape WeightOp::inferSymbolicShape(ShapeContext &) { return fromType(getResult()); }

Shape ShapeOfOp::inferSymbolicShape(ShapeContext &) {
  return SymShape{cast<RankedTensorType>(getInput().getType()).getRank()};
}

Shape FromIndexOp::inferSymbolicShape(ShapeContext &) {
  auto type = cast<RankedTensorType>(getResult().getType());
  auto count = static_cast<int64_t>(getValues().size());
  // A placeholder of rank 0 while the operation is created stands for a scalar.
  if (type.getRank() == 0 && count == 1)
    return SymShape{};
  return SymShape{count};
}

namespace detail {

LogicalResult verifySymbolicShape(Operation *op) {
  ShapeContext context(/*typesOnly=*/true);
  auto iface = cast<SymbolicShapeOpInterface>(op);
  Shape shape = iface.inferSymbolicShape(context);
  if (failed(shape))
    return failure();
  auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
  if (!type)
    return op->emitOpError() << "expects a ranked result";
  bool fits = type.getRank() == static_cast<int64_t>(shape->size());
  for (int64_t i = 0; fits && i < type.getRank(); ++i) {
    auto constant = (*shape)[i].constant();
    fits = !constant || type.isDynamicDim(i) || type.getDimSize(i) == *constant;
  }
  if (!fits)
    return op->emitOpError() << "expects a result of shape " << str(*shape) << ", got " << type;
  return success();
}

} // namespace detail
} // namespace lathe
