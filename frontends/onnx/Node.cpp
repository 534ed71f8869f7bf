//===- Node.cpp - One ONNX node while it is imported ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Node.h"
#include "frontends/onnx/Tensors.h"
#include "llvm/ADT/SmallVectorExtras.h"

using namespace mlir;

namespace lathe::frontend {

LogicalResult Node::fail(const Twine &text, bool unsupported, StringRef advice) {
  if (reason.empty()) {
    reason = text.str();
    hint = advice.str();
    isUnsupported = unsupported;
  }
  return failure();
}

LogicalResult Node::result(Value value, size_t i) {
  if (!value)
    return failure();
  if (i < results.size())
    results[i] = value;
  return success();
}

LogicalResult Node::check(Operation *op) {
  auto type = mlir::cast<RankedTensorType>(op->getResult(0).getType());
  if (type.getRank() > kMaxRank)
    return unsupported("expects results of rank " + Twine(kMaxRank) + " at most, got rank " + Twine(type.getRank()));
  SmallVector<int64_t> known;
  for (int64_t dim : type.getShape())
    if (!ShapedType::isDynamic(dim))
      known.push_back(dim);
  if (!elementCount(known))
    return invalid("expects a result of fewer than 2^60 elements");
  // The product of the dimensions is what reshapes compute: it must stay a handful of terms.
  FailureOr<SymShape> shape = context.shapeOf(op->getResult(0));
  size_t terms = 1;
  if (succeeded(shape))
    for (const SymExpr &dim : *shape)
      if ((terms *= std::max<size_t>(dim.getTerms().size(), 1)) > 4096)
        return unsupported("the shape of the result is too complex an expression of symbolic dimensions", hints::kStatic);
  return op->getName().verifyInvariants(op);
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

const onnx::AttributeProto *Node::attribute(StringRef name) const {
  for (const onnx::AttributeProto &attribute : proto.attribute())
    if (attribute.name() == name)
      return &attribute;
  return nullptr;
}

int64_t Node::intAttr(StringRef name, int64_t otherwise) const {
  const onnx::AttributeProto *a = attribute(name);
  return a ? a->i() : otherwise;
}

double Node::floatAttr(StringRef name, double otherwise) const {
  const onnx::AttributeProto *a = attribute(name);
  return a ? static_cast<double>(a->f()) : otherwise;
}

std::string Node::stringAttr(StringRef name, StringRef otherwise) const {
  const onnx::AttributeProto *a = attribute(name);
  return a ? a->s() : otherwise.str();
}

std::optional<SmallVector<int64_t>> Node::intsAttr(StringRef name) const {
  const onnx::AttributeProto *a = attribute(name);
  if (!a)
    return std::nullopt;
  return SmallVector<int64_t>(a->ints().begin(), a->ints().end());
}

//===----------------------------------------------------------------------===//
// Axes and shapes
//===----------------------------------------------------------------------===//

Type Node::dataType(int64_t value) {
  bool fits = value == static_cast<int32_t>(value);
  Type type = fits ? elementType(builder.getContext(), static_cast<int32_t>(value)) : Type();
  if (!type)
    (void)unsupported("data type " + (fits ? dataTypeName(static_cast<int32_t>(value)) : std::to_string(value)) +
                      " is not supported",
                      hints::kElementType);
  return type;
}

std::optional<int64_t> Node::axis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    (void)invalid("expects an axis within rank " + Twine(rank) + ", got " + Twine(axis));
    return std::nullopt;
  }
  return axis < 0 ? axis + rank : axis;
}

std::optional<SmallVector<int64_t>> Node::axes(ArrayRef<int64_t> axes, int64_t rank) {
  SmallVector<int64_t> result;
  for (int64_t a : axes) {
    std::optional<int64_t> normal = axis(a, rank);
    if (!normal)
      return std::nullopt;
    if (llvm::is_contained(result, *normal)) {
      (void)invalid("expects distinct axes, got " + Twine(a) + " twice");
      return std::nullopt;
    }
    result.push_back(*normal);
  }
  return result;
}

/// Extent of a shape tensor, which must be short, static, of rank 0 or 1 and of integers.
static std::optional<int64_t> shapeExtent(Node &node, Value tensor, StringRef what) {
  RankedTensorType type = Node::type(tensor);
  if (!isa<IntegerType>(type.getElementType()) || type.getRank() > 1) {
    (void)node.invalid(what + " must be integers of rank 0 or 1");
    return std::nullopt;
  }
  if (!type.hasStaticShape()) {
    (void)node.unsupported("the number of " + what + " depends on data", hints::kFold);
    return std::nullopt;
  }
  if (type.getNumElements() > kMaxRank) {
    (void)node.unsupported("expects at most " + Twine(kMaxRank) + " " + what + ", got " + Twine(type.getNumElements()));
    return std::nullopt;
  }
  return type.getNumElements();
}

std::optional<SmallVector<int64_t>> Node::constantInts(Value tensor, StringRef what) {
  std::optional<int64_t> extent = shapeExtent(*this, tensor, what);
  if (!extent)
    return std::nullopt;
  SmallVector<int64_t> values;
  for (int64_t i = 0; i < *extent; ++i) {
    std::optional<SymExpr> value = context.element(tensor, i);
    std::optional<int64_t> constant = value ? value->constant() : std::nullopt;
    if (!constant) {
      (void)unsupported(what + " must be constants, and depend on " + (value ? value->str() : "data"),
                        value ? hints::kStatic : hints::kFold);
      return std::nullopt;
    }
    values.push_back(*constant);
  }
  return values;
}

std::optional<int64_t> Node::constantInt(Value tensor, StringRef what) {
  std::optional<SmallVector<int64_t>> values = constantInts(tensor, what);
  if (values && values->size() != 1)
    (void)invalid("expects one value for " + what + ", got " + Twine(values->size()));
  return values && values->size() == 1 ? std::optional(values->front()) : std::nullopt;
}

bool Node::constantFloats(Value tensor, SmallVectorImpl<double> &result, int depth) {
  constexpr int64_t kLargest = 64;
  Operation *op = tensor.getDefiningOp();
  if (depth > 8 || result.size() > kLargest)
    return false;
  if (auto concat = dyn_cast_or_null<ConcatOp>(op))
    return llvm::all_of(concat.getInputs(), [&](Value input) { return constantFloats(input, result, depth + 1); });
  if (auto reshape = dyn_cast_or_null<ReshapeOp>(op))
    return constantFloats(reshape.getInput(), result, depth + 1);
  auto constant = dyn_cast_or_null<ConstantOp>(op);
  auto dense = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
  if (!dense || dense.getNumElements() > kLargest)
    return false;
  for (APFloat number : dense.getValues<APFloat>()) {
    bool lossy;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lossy);
    result.push_back(number.convertToDouble());
  }
  return true;
}

std::optional<SmallVector<Value>> Node::indices(Value tensor, StringRef what) {
  std::optional<int64_t> extent = shapeExtent(*this, tensor, what);
  if (!extent)
    return std::nullopt;
  SmallVector<Value> values;
  for (int64_t i = 0; i < *extent; ++i) {
    std::optional<SymExpr> value = context.element(tensor, i);
    if (std::optional<int64_t> constant = value ? value->constant() : std::nullopt)
      values.push_back(index(*constant));
    else
      values.push_back(builder.create<ToIndexOp>(loc, builder.getIndexType(), tensor, static_cast<uint64_t>(i)));
  }
  return values;
}

Value Node::index(int64_t value) { return builder.create<arith::ConstantIndexOp>(loc, value); }

std::optional<int64_t> Node::constantIndex(Value value) {
  auto op = value ? value.getDefiningOp<arith::ConstantIndexOp>() : arith::ConstantIndexOp();
  return op ? std::optional(op.value()) : std::nullopt;
}

/// Whether the tensor has the axis.
static bool hasAxis(Node &node, Value tensor, int64_t axis) {
  if (axis >= 0 && axis < Node::rank(tensor))
    return true;
  (void)node.invalid("expects a tensor of rank " + Twine(axis + 1) + " or more, got rank " + Twine(Node::rank(tensor)));
  return false;
}

Value Node::dim(Value tensor, int64_t axis) {
  if (!tensor || !hasAxis(*this, tensor, axis))
    return {};
  int64_t extent = type(tensor).getDimSize(axis);
  return ShapedType::isDynamic(extent) ? builder.create<DimOp>(loc, builder.getIndexType(), tensor, static_cast<uint64_t>(axis)).getResult()
                                       : index(extent);
}

SmallVector<Value> Node::dims(Value tensor) {
  SmallVector<Value> result;
  for (int64_t i = 0; tensor && i < rank(tensor); ++i)
    result.push_back(dim(tensor, i));
  return result;
}

SymExpr Node::dimExpr(Value tensor, int64_t axis) {
  FailureOr<SymShape> shape = tensor ? context.shapeOf(tensor) : FailureOr<SymShape>();
  return succeeded(shape) && hasAxis(*this, tensor, axis) ? (*shape)[axis] : SymExpr(0);
}

Value Node::index(const SymExpr &value) {
  if (!written)
    return materialize(builder, loc, value);
  // What branches and bodies compute is not there outside of them.
  return materialize(builder, loc, value, *written, isa<func::FuncOp>(builder.getInsertionBlock()->getParentOp()));
}

Value Node::indexScalar(const SymExpr &value) {
  Type type = builder.getI64Type();
  if (std::optional<int64_t> known = value.constant())
    return constant(DenseElementsAttr::get(RankedTensorType::get({}, type), ArrayRef<int64_t>{*known}));
  return reshape(make<FromIndexOp>(type, SmallVector<Value>{index(value)}), {});
}

SmallVector<Value> Node::indices(ArrayRef<SymExpr> values) {
  return llvm::map_to_vector(values, [&](const SymExpr &value) { return index(value); });
}

LogicalResult Node::require(const SymExpr &condition, const Twine &message, ArrayRef<SymExpr> values) {
  if (std::optional<int64_t> known = condition.constant()) {
    if (*known)
      return success();
    std::string text = message.str();
    for (auto [i, value] : llvm::enumerate(values))
      text += (i ? ", " : ", got ") + value.str();
    return invalid(text);
  }
  context.checks.push_back({ShapeCheck::not_zero, condition, 0, loc, message.str()});
  builder.create<RequireOp>(loc, index(condition), message.str(), indices(values));
  return success();
}

Value Node::withTupleLength(Value indices, int64_t length) {
  int64_t last = rank(indices) - 1;
  SymExpr extent = dimExpr(indices, last);
  if (length < 1)
    return (void)invalid("expects tuples of at least one index, got ranks that say " + Twine(length)), Value();
  if (failed(require(context.eq(extent, length), "expects tuples of " + Twine(length) + " indices, as the ranks say",
                     {extent})))
    return {};
  SmallVector<Value> to = dims(indices);
  to[last] = index(length);
  return reshape(indices, to);
}

Value Node::product(ArrayRef<Value> factors) {
  Value result;
  for (Value factor : factors)
    result = !result || constantIndex(result) == 1 ? factor
             : constantIndex(factor) == 1           ? result
                                                    : builder.create<arith::MulIOp>(loc, result, factor).getResult();
  return result ? result : index(1);
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

Value Node::constant(DenseElementsAttr value) {
  auto op = builder.create<ConstantOp>(loc, value.getType(), value);
  return succeeded(check(op)) ? op.getResult() : Value();
}

Value Node::scalar(Type element, double value) {
  auto type = RankedTensorType::get({}, element);
  if (isa<FloatType>(element))
    return constant(DenseElementsAttr::get(type, builder.getFloatAttr(element, value).getValue()));
  APInt bits(element.getIntOrFloatBitWidth(), static_cast<uint64_t>(static_cast<int64_t>(value)), /*isSigned=*/true);
  return constant(DenseElementsAttr::get(type, bits));
}

Value Node::cast(Value value, Type element) {
  return !value || Node::element(value) == element ? value : make<CastOp>(element, value);
}

Value Node::reshape(Value value, ArrayRef<Value> dims, bool zeroCopies) {
  return value ? make<ReshapeOp>(element(value), value, SmallVector<Value>(dims), zeroCopies) : Value();
}

Value Node::broadcast(Value value, ArrayRef<Value> dims) {
  return value ? make<BroadcastOp>(element(value), value, SmallVector<Value>(dims)) : Value();
}

Value Node::slice(Value value, int64_t axis, Value start, Value end) {
  if (!value)
    return {};
  return make<SliceOp>(element(value), value, SmallVector<Value>{start}, SmallVector<Value>{end},
                       SmallVector<int64_t>{axis}, SmallVector<int64_t>{1});
}

Value Node::transpose(Value value, ArrayRef<int64_t> permutation) {
  return value ? make<TransposeOp>(element(value), value, SmallVector<int64_t>(permutation)) : Value();
}

Value Node::reduce(Reduction kind, Value value, ArrayRef<int64_t> axes, bool keepDims) {
  return value ? make<ReduceOp>(element(value), kind, value, SmallVector<int64_t>(axes), keepDims) : Value();
}

Value Node::alongAxis(Value parameter, int64_t axis, int64_t rank) {
  if (!parameter || Node::rank(parameter) == 0)
    return parameter;
  SmallVector<Value> dims(rank - axis, index(1));
  dims.front() = dim(parameter, 0);
  return reshape(parameter, dims);
}

} // namespace lathe::frontend
