//===- LatheToLinalgSupport.cpp - Shared by the lowerings -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//

#include "backends/reference/compiler/LatheToLinalgSupport.h"
#include "backends/reference/compiler/Passes.h"
#include <cmath>

using namespace mlir;

namespace lathe::reference {

//===----------------------------------------------------------------------===//
// Scalars
//===----------------------------------------------------------------------===//

static bool isFloat(Value value) { return isa<FloatType>(value.getType()); }
static bool isBool(Value value) { return value.getType().isInteger(1); }

// What lets a sum be vectorized; nothing that assumes away NaN or infinity.
static arith::FastMathFlags sumFlags(bool inSum) {
  return inSum ? arith::FastMathFlags::reassoc | arith::FastMathFlags::contract : arith::FastMathFlags::none;
}

Value ScalarBuilder::number(Type type, double value) {
  if (auto floatType = dyn_cast<FloatType>(type))
    return op<arith::ConstantOp>(builder.getFloatAttr(floatType, value));
  return op<arith::ConstantOp>(builder.getIntegerAttr(type, static_cast<int64_t>(value)));
}

Value ScalarBuilder::integer(Type type, const APInt &value) {
  return op<arith::ConstantOp>(IntegerAttr::get(type, value));
}

Type computeType(Type type) {
  return isa<FloatType>(type) && type.getIntOrFloatBitWidth() < 32 ? Float32Type::get(type.getContext()) : type;
}

Value ScalarBuilder::widen(Value value) {
  Type type = computeType(value.getType());
  if (isFloat(value) && value.getType().getIntOrFloatBitWidth() == 8)
    return decodeNarrow(value);
  return type == value.getType() ? value : op<arith::ExtFOp>(type, value);
}

Value ScalarBuilder::narrow(Value value, Type type, bool overflows) {
  if (type == value.getType())
    return value;
  if (isa<FloatType>(type) && type.getIntOrFloatBitWidth() == 8)
    return encodeNarrow(value, type, overflows);
  return op<arith::TruncFOp>(type, value);
}

Value ScalarBuilder::add(Value a, Value b, bool inSum) {
  return isFloat(a) ? op<arith::AddFOp>(a, b, sumFlags(inSum)) : op<arith::AddIOp>(a, b);
}

Value ScalarBuilder::sub(Value a, Value b) {
  return isFloat(a) ? op<arith::SubFOp>(a, b) : op<arith::SubIOp>(a, b);
}

Value ScalarBuilder::mul(Value a, Value b, bool inSum) {
  return isFloat(a) ? op<arith::MulFOp>(a, b, sumFlags(inSum)) : op<arith::MulIOp>(a, b);
}

Value ScalarBuilder::div(Value a, Value b) {
  if (isFloat(a))
    return op<arith::DivFOp>(a, b);
  if (isBool(a)) // 1/1 is 1, x/0 is 0
    return op<arith::AndIOp>(a, b);
  // Division by -1 is a negation that wraps; like division by zero it must not reach the instruction, which traps.
  Value zero = number(a.getType(), 0), one = number(a.getType(), 1), minusOne = number(a.getType(), -1);
  Value byZero = compare(Comparison::eq, b, zero);
  if (isUnsigned)
    return select(byZero, zero, op<arith::DivUIOp>(a, select(byZero, one, b)));
  Value byMinusOne = compare(Comparison::eq, b, minusOne);
  Value divisor = select(op<arith::OrIOp>(byZero, byMinusOne), one, b);
  Value quotient = select(byMinusOne, sub(zero, a), op<arith::DivSIOp>(a, divisor));
  return select(byZero, zero, quotient);
}

Value ScalarBuilder::max(Value a, Value b) {
  if (isFloat(a))
    return op<arith::MaximumFOp>(a, b);
  if (isBool(a))
    return op<arith::OrIOp>(a, b);
  return isUnsigned ? op<arith::MaxUIOp>(a, b) : op<arith::MaxSIOp>(a, b);
}

Value ScalarBuilder::min(Value a, Value b) {
  if (isFloat(a))
    return op<arith::MinimumFOp>(a, b);
  if (isBool(a))
    return op<arith::AndIOp>(a, b);
  return isUnsigned ? op<arith::MinUIOp>(a, b) : op<arith::MinSIOp>(a, b);
}

Value ScalarBuilder::abs(Value a) {
  if (isFloat(a))
    return op<math::AbsFOp>(a);
  if (isBool(a) || isUnsigned)
    return a;
  Value zero = number(a.getType(), 0);
  return select(compare(Comparison::lt, a, zero), sub(zero, a), a);
}

Value ScalarBuilder::compare(Comparison predicate, Value a, Value b) {
  using F = arith::CmpFPredicate;
  using I = arith::CmpIPredicate;
  F f = F::OEQ;
  I i = I::eq, u = I::eq;
  switch (predicate) {
  case Comparison::eq:
    break;
  case Comparison::ne:
    f = F::UNE, i = u = I::ne;
    break;
  case Comparison::lt:
    f = F::OLT, i = I::slt, u = I::ult;
    break;
  case Comparison::le:
    f = F::OLE, i = I::sle, u = I::ule;
    break;
  case Comparison::gt:
    f = F::OGT, i = I::sgt, u = I::ugt;
    break;
  case Comparison::ge:
    f = F::OGE, i = I::sge, u = I::uge;
    break;
  }
  if (isFloat(a))
    return op<arith::CmpFOp>(f, a, b);
  return op<arith::CmpIOp>(isBool(a) || (isUnsigned && !a.getType().isIndex()) ? u : i, a, b);
}

Value ScalarBuilder::saturatingCast(Value value, IntegerType type, bool toUnsigned) {
  value = widen(value);
  unsigned width = type.getWidth();
  // Both bounds are powers of two, so exact in any float: low is the smallest integer, high one above the largest.
  Value low = number(value.getType(), toUnsigned ? 0 : -std::ldexp(1.0, width - 1));
  Value high = number(value.getType(), std::ldexp(1.0, toUnsigned ? width : width - 1));
  Value zero = number(value.getType(), 0);
  Value below = compare(Comparison::lt, value, low), above = compare(Comparison::ge, value, high);
  Value ordered = op<arith::CmpFOp>(arith::CmpFPredicate::ORD, value, value);
  // The conversion of a value out of range is poison, so none reaches it.
  Value outside = op<arith::OrIOp>(below, above);
  Value inside = select(outside, zero, select(ordered, value, zero));
  Value result = toUnsigned ? op<arith::FPToUIOp>(type, inside) : op<arith::FPToSIOp>(type, inside);
  result =
      select(below, integer(type, toUnsigned ? APInt::getMinValue(width) : APInt::getSignedMinValue(width)), result);
  return select(above, integer(type, toUnsigned ? APInt::getMaxValue(width) : APInt::getSignedMaxValue(width)), result);
}

Value ScalarBuilder::cast(Value value, Type type, bool toUnsigned, bool overflows) {
  Type from = value.getType();
  if (from == type)
    return value;
  auto intType = dyn_cast<IntegerType>(type);
  if (isFloat(value)) {
    if (!intType) {
      // There is no instruction between f16 and bf16, nor a common one from f64 to them; both go by way of f32.
      Value wide = widen(value);
      if (computeType(type) != wide.getType())
        wide = wide.getType().isF64() ? op<arith::TruncFOp>(computeType(type), wide)
                                      : op<arith::ExtFOp>(computeType(type), wide);
      return narrow(wide, type, overflows);
    }
    if (intType.getWidth() == 1)
      return compare(Comparison::ne, value = widen(value), number(value.getType(), 0));
    if (intType.getWidth() < 8)
      return op<arith::TruncIOp>(type, saturatingCast(value, builder.getI32Type(), false));
    return saturatingCast(value, intType, toUnsigned);
  }
  if (!intType) {
    Type wide = computeType(type);
    return narrow(isBool(value) || isUnsigned ? op<arith::UIToFPOp>(wide, value) : op<arith::SIToFPOp>(wide, value),
                  type, overflows);
  }
  if (intType.getWidth() == 1)
    return compare(Comparison::ne, value, number(from, 0));
  if (intType.getWidth() == from.getIntOrFloatBitWidth()) // signedness apart
    return value;
  if (intType.getWidth() < from.getIntOrFloatBitWidth())
    return op<arith::TruncIOp>(type, value);
  return isBool(value) || isUnsigned ? op<arith::ExtUIOp>(type, value) : op<arith::ExtSIOp>(type, value);
}

Value ScalarBuilder::toIndex(Value value) {
  Type type = builder.getIndexType();
  return isBool(value) || isUnsigned ? op<arith::IndexCastUIOp>(type, value) : op<arith::IndexCastOp>(type, value);
}

Value ScalarBuilder::fromIndex(Value value, Type type) {
  if (isa<IntegerType>(type))
    return op<arith::IndexCastOp>(type, value);
  Value wide = op<arith::IndexCastOp>(builder.getI64Type(), value);
  return narrow(op<arith::SIToFPOp>(computeType(type), wide), type);
}

Value ScalarBuilder::checkedIndex(Value value, Value extent) {
  Value zero = index(0), one = index(1);
  Value wrapped = select(compare(Comparison::lt, value, zero), op<arith::AddIOp>(value, extent), value);
  // As unsigned values, what is still negative is above every extent.
  Value inBounds = op<arith::CmpIOp>(arith::CmpIPredicate::ult, wrapped, extent);
  builder.create<cf::AssertOp>(loc, inBounds, "index out of range: an index is not within the extent of its axis");
  Value last = op<arith::SubIOp>(extent, one);
  return op<arith::MaxSIOp>(op<arith::MinSIOp>(wrapped, last), zero);
}

TypedAttr lowest(Type type, bool isUnsigned) {
  if (auto floatType = dyn_cast<FloatType>(type))
    return FloatAttr::get(type, APFloat::getInf(floatType.getFloatSemantics(), /*Negative=*/true));
  unsigned width = type.getIntOrFloatBitWidth();
  return IntegerAttr::get(type, width == 1 || isUnsigned ? APInt::getMinValue(width) : APInt::getSignedMinValue(width));
}

TypedAttr highest(Type type, bool isUnsigned) {
  if (auto floatType = dyn_cast<FloatType>(type))
    return FloatAttr::get(type, APFloat::getInf(floatType.getFloatSemantics()));
  unsigned width = type.getIntOrFloatBitWidth();
  return IntegerAttr::get(type, width == 1 || isUnsigned ? APInt::getMaxValue(width) : APInt::getSignedMaxValue(width));
}

//===----------------------------------------------------------------------===//
// Unsigned integers
//===----------------------------------------------------------------------===//

/// One truth value an operand, then one for the result.
constexpr llvm::StringLiteral kUnsignedAttr = "lathe.unsigned";

static bool noted(Operation *op, unsigned position) {
  auto flags = op->getAttrOfType<DenseBoolArrayAttr>(kUnsignedAttr);
  return flags && position < flags.size() && flags[position];
}

bool isUnsigned(Operation *op, unsigned operand) { return noted(op, operand); }
bool hasUnsignedResult(Operation *op) { return noted(op, op->getNumOperands()); }

//===----------------------------------------------------------------------===//
// Tensors
//===----------------------------------------------------------------------===//

Value extentOf(OpBuilder &builder, Location loc, Value tensor, int64_t axis) {
  RankedTensorType type = tensorType(tensor);
  if (!type.isDynamicDim(axis))
    return builder.create<arith::ConstantIndexOp>(loc, type.getDimSize(axis));
  return builder.create<tensor::DimOp>(loc, tensor, axis);
}

Value createEmpty(OpBuilder &builder, Location loc, RankedTensorType type, function_ref<Value(int64_t)> extent) {
  SmallVector<Value> extents;
  for (int64_t axis = 0; axis < type.getRank(); ++axis)
    if (type.isDynamicDim(axis))
      extents.push_back(extent(axis));
  return builder.create<tensor::EmptyOp>(loc, type.getShape(), type.getElementType(), extents);
}

Value createEmptyLike(OpBuilder &builder, Location loc, Value like, Type elementType) {
  auto type = RankedTensorType::get(tensorType(like).getShape(), elementType);
  return createEmpty(builder, loc, type, [&](int64_t axis) { return extentOf(builder, loc, like, axis); });
}

Value createFilled(OpBuilder &builder, Location loc, Value init, TypedAttr value) {
  Value scalar = builder.create<arith::ConstantOp>(loc, value);
  return builder.create<linalg::FillOp>(loc, ValueRange{scalar}, ValueRange{init}).getResult(0);
}

Value createGeneric(OpBuilder &builder, Location loc, ValueRange inputs, ArrayRef<AffineMap> inputMaps, Value init,
                    AffineMap initMap, ArrayRef<utils::IteratorType> iterators, Body body) {
  SmallVector<AffineMap> maps(inputMaps);
  maps.push_back(initMap);
  auto generic = builder.create<linalg::GenericOp>(
      loc, TypeRange{init.getType()}, inputs, ValueRange{init}, maps, iterators,
      [&](OpBuilder &nested, Location nestedLoc, ValueRange args) {
        ScalarBuilder scalars(nested, nestedLoc);
        nested.create<linalg::YieldOp>(nestedLoc, body(scalars, args));
      });
  return generic.getResult(0);
}

Value createParallel(OpBuilder &builder, Location loc, ValueRange inputs, ArrayRef<AffineMap> inputMaps, Value init,
                     Body body) {
  int64_t rank = tensorType(init).getRank();
  SmallVector<utils::IteratorType> iterators(rank, utils::IteratorType::parallel);
  return createGeneric(builder, loc, inputs, inputMaps, init, builder.getMultiDimIdentityMap(rank), iterators, body);
}

AffineMap broadcastMap(RankedTensorType operand, RankedTensorType result) {
  MLIRContext *context = operand.getContext();
  int64_t missing = result.getRank() - operand.getRank();
  SmallVector<AffineExpr> exprs;
  for (auto [axis, extent] : llvm::enumerate(operand.getShape())) {
    int64_t loop = missing + static_cast<int64_t>(axis);
    bool repeats = extent == 1 && result.getDimSize(loop) != 1;
    exprs.push_back(repeats ? getAffineConstantExpr(0, context) : getAffineDimExpr(loop, context));
  }
  return AffineMap::get(result.getRank(), 0, exprs, context);
}

TypedAttr splatConstant(Value value) {
  DenseElementsAttr elements;
  if (auto constant = value.getDefiningOp<ConstantOp>())
    elements = dyn_cast<DenseElementsAttr>(constant.getValue());
  else if (auto constant = value.getDefiningOp<arith::ConstantOp>())
    elements = dyn_cast<DenseElementsAttr>(constant.getValue());
  if (!elements || !elements.isSplat())
    return {};
  return dyn_cast<TypedAttr>(elements.getSplatValue<Attribute>());
}

SmallVector<Value> loopIndices(ScalarBuilder &scalars, int64_t first, int64_t end) {
  SmallVector<Value> indices;
  for (int64_t loop = first; loop < end; ++loop)
    indices.push_back(scalars.op<linalg::IndexOp>(loop));
  return indices;
}

Value reduceLoop(ScalarBuilder &s, Value count, Value init, llvm::function_ref<Value(ScalarBuilder &, Value, Value)> step) {
  auto loop = s.builder.create<scf::ForOp>(
      s.loc, s.index(0), count, s.index(1), ValueRange{init},
      [&](OpBuilder &nested, Location loc, Value position, ValueRange state) {
        ScalarBuilder body(nested, loc);
        body.isUnsigned = s.isUnsigned;
        nested.create<scf::YieldOp>(loc, step(body, position, state[0]));
      });
  return loop.getResult(0);
}

Value conditional(ScalarBuilder &s, Value condition, llvm::function_ref<Value(ScalarBuilder &)> yes, Value no) {
  auto branch = s.builder.create<scf::IfOp>(
      s.loc, condition,
      [&](OpBuilder &nested, Location loc) {
        ScalarBuilder body(nested, loc);
        body.isUnsigned = s.isUnsigned;
        nested.create<scf::YieldOp>(loc, yes(body));
      },
      [&](OpBuilder &nested, Location loc) { nested.create<scf::YieldOp>(loc, no); });
  return branch.getResult(0);
}

LogicalResult checkElementTypes(Operation *op, PatternRewriter &rewriter) {
  auto check = [&](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return !tensor || isa<FloatType>(tensor.getElementType()) || tensor.getElementType().isSignlessInteger();
  };
  if (llvm::all_of(op->getOperandTypes(), check) && llvm::all_of(op->getResultTypes(), check))
    return success();
  return rewriter.notifyMatchFailure(op, "arithmetic is on floats and signless integers only");
}

} // namespace lathe::reference

namespace lathe {

void makeSignless(func::FuncOp func) {
  auto isUnsigned = [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getElementType().isUnsignedInteger();
  };
  auto signless = [&](Type type) -> Type {
    if (!isUnsigned(type))
      return type;
    auto tensor = cast<RankedTensorType>(type);
    return tensor.clone(IntegerType::get(type.getContext(), tensor.getElementTypeBitWidth()));
  };
  func.walk([&](Operation *op) {
    if (op == func)
      return;
    SmallVector<bool> flags;
    for (Type type :
         llvm::concat<const Type>(SmallVector<Type>(op->getOperandTypes()), SmallVector<Type>(op->getResultTypes())))
      flags.push_back(isUnsigned(type));
    if (llvm::is_contained(flags, true))
      op->setAttr(reference::kUnsignedAttr, DenseBoolArrayAttr::get(op->getContext(), flags));
  });
  func.walk([&](Operation *op) {
    if (auto constant = dyn_cast<ConstantOp>(op); constant && isUnsigned(constant.getType()))
      constant.setValueAttr(cast<DenseElementsAttr>(constant.getValue())
                                .bitcast(cast<RankedTensorType>(signless(constant.getType())).getElementType()));
    for (Value result : op->getResults())
      result.setType(signless(result.getType()));
    for (Region &region : op->getRegions())
      for (Block &block : region)
        for (BlockArgument argument : block.getArguments())
          argument.setType(signless(argument.getType()));
  });
  func.setFunctionType(FunctionType::get(func.getContext(), llvm::map_to_vector(func.getArgumentTypes(), signless),
                                         llvm::map_to_vector(func.getResultTypes(), signless)));
}

} // namespace lathe
