//===- ByteChains.cpp - Numbers that stay integers between products -------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/ByteChains.h"
#include "backends/cpu/compiler/CompressedWeight.h"
#include "dialects/kernel/Kernel.h"
#include "dialects/lathe/Attention.h"
#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/ValueNames.h"
#include "runtime/Abi.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;

namespace lathe::cpu {
namespace {

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

DenseElementsAttr splatOf(Value value) {
  auto constant = value ? value.getDefiningOp<ConstantOp>() : ConstantOp();
  auto dense = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  return dense && dense.isSplat() ? dense : DenseElementsAttr();
}

template <typename OpTy> std::optional<StaticRounding> roundingOf(OpTy op, Value bytes, Value numbers) {
  auto element = dyn_cast<IntegerType>(tensorType(bytes).getElementType());
  DenseElementsAttr scale = splatOf(op.getScale()), zero = splatOf(op.getZeroPoint());
  if (op.getAxis() || !element || element.getWidth() != 8 || !tensorType(numbers).getElementType().isF32() || !scale ||
      !scale.getElementType().isF32() || (op.getZeroPoint() && (!zero || zero.getElementType() != element)))
    return std::nullopt;
  StaticRounding result;
  result.scale = scale.getSplatValue<APFloat>().convertToDouble();
  if (!(result.scale > 0 && result.scale < 1e30))
    return std::nullopt;
  if (zero) {
    auto value = zero.getSplatValue<APInt>();
    result.zero = element.isUnsigned() ? static_cast<int64_t>(value.getZExtValue()) : value.getSExtValue();
  }
  if (element.isUnsigned())
    result.zero -= 128;
  return result;
}

/// Operations after which the same bytes lie under another shape, or in another order.
bool isMove(Operation *op) { return isa_and_nonnull<ReshapeOp, TransposeOp>(op); }

bool isProductOfCodes(Operation *op) {
  auto product = dyn_cast_or_null<MatmulOp>(op);
  return product && isCompressed(product.getRhs()) &&
         !product.getRhs().getDefiningOp()->getAttrOfType<DictionaryAttr>(kernel::kCompressedAttr).get("sparse");
}

/// The product whose steps compute a value, through operations of which nothing else reads the results.
MatmulOp productBehind(Value value, int depth = 8) {
  Operation *op = value.getDefiningOp();
  if (!op || depth == 0 || !value.hasOneUse())
    return {};
  if (auto product = dyn_cast<MatmulOp>(op))
    return product;
  if (!isa<AddOp, MulOp, ReluOp, GeluOp, SwishOp, TanhOp, SigmoidOp>(op))
    return {};
  for (Value operand : op->getOperands())
    if (auto tensor = dyn_cast<RankedTensorType>(operand.getType()); tensor && tensor == value.getType())
      if (MatmulOp product = productBehind(operand, depth - 1))
        return product;
  return {};
}

/// The operation that rounds what becomes these bytes.
QuantizeOp roundingBehind(Value bytes) {
  while (isMove(bytes.getDefiningOp()))
    bytes = bytes.getDefiningOp()->getOperand(0);
  return bytes.getDefiningOp<QuantizeOp>();
}

/// All that reads bytes, where it moves them or makes them numbers again; null where something else does.
struct Readers {
  SmallVector<Operation *> moves;
  SmallVector<DequantizeOp> numbers;
  bool areAll = true;

  explicit Readers(Value bytes) { add(bytes); }
  void add(Value bytes) {
    for (Operation *user : bytes.getUsers())
      if (isMove(user)) {
        moves.push_back(user);
        add(user->getResult(0));
      } else if (auto op = dyn_cast<DequantizeOp>(user); op && op.getInput() == bytes && staticRounding(op)) {
        numbers.push_back(op);
      } else {
        areAll = false;
      }
  }
};

/// A reshape or transpose between a product and the rounding of its result comes after that.
void roundBeforeMoves(QuantizeOp rounding) {
  while (isMove(rounding.getInput().getDefiningOp()) && rounding.getInput().hasOneUse()) {
    Operation *move = rounding.getInput().getDefiningOp();
    Value source = move->getOperand(0);
    Value behind = source;
    while (isMove(behind.getDefiningOp()) && behind.hasOneUse())
      behind = behind.getDefiningOp()->getOperand(0);
    if (!isProductOfCodes(productBehind(behind)))
      return;
    OpBuilder b(rounding);
    Type element = tensorType(rounding.getResult()).getElementType();
    rounding->setLoc(withoutValue(rounding.getLoc()));
    Operation *moved = b.clone(*move);
    moved->setLoc(withoutValue(move->getLoc()));
    moved->getResult(0).setType(tensorType(moved->getResult(0)).clone(element));
    rounding.getResult().replaceAllUsesWith(moved->getResult(0));
    rounding.getInputMutable().assign(source);
    rounding.getResult().setType(tensorType(source).clone(element));
    moved->moveAfter(rounding);
    moved->setOperand(0, rounding.getResult());
    move->erase();
  }
}

/// Bytes without a sign, of which only their numbers matter, get one: what products multiply.
void giveSign(QuantizeOp rounding) {
  auto element = cast<IntegerType>(tensorType(rounding.getResult()).getElementType());
  Readers readers(rounding.getResult());
  if (!element.isUnsigned() || !readers.areAll)
    return;
  OpBuilder b(rounding);
  Type byte = b.getIntegerType(8);
  auto scalar = RankedTensorType::get({}, byte);
  auto zeroOf = [&](Operation *op) -> Value {
    auto type = RankedTensorType::get({}, byte);
    b.setInsertionPoint(op);
    auto zero = static_cast<int8_t>(staticRounding(op)->zero);
    return b.create<ConstantOp>(op->getLoc(), scalar, DenseElementsAttr::get(type, zero));
  };
  Value zero = zeroOf(rounding);
  SmallVector<Value> zeros;
  for (DequantizeOp numbers : readers.numbers)
    zeros.push_back(zeroOf(numbers));
  rounding.getZeroPointMutable().assign(zero);
  rounding->setLoc(withoutValue(rounding.getLoc()));
  rounding.getResult().setType(tensorType(rounding.getResult()).clone(byte));
  for (Operation *move : readers.moves) {
    move->setLoc(withoutValue(move->getLoc()));
    move->getResult(0).setType(tensorType(move->getResult(0)).clone(byte));
  }
  for (auto [numbers, own] : llvm::zip(readers.numbers, zeros))
    numbers.getZeroPointMutable().assign(own);
}

/// Whether bytes are worth being a tensor of their own, where products could round what becomes these bytes just as
/// well.
bool areWorthStoring(QuantizeOp rounding, const llvm::SmallPtrSetImpl<Operation *> &products) {
  Readers readers(rounding.getResult());
  int64_t count = 0;
  for (DequantizeOp numbers : readers.numbers)
    count += llvm::count_if(numbers->getUsers(), [&](Operation *user) { return products.contains(user); });
  if (count > 1)
    return true;
  Value input = rounding.getInput();
  Operation *producer = input.getDefiningOp();
  if (!producer || !input.hasOneUse())
    return false;
  if (MatmulOp product = productBehind(input))
    return isProductOfCodes(product);
  // What a generated kernel computes it may round as well; others' results are read again for that.
  return !isMove(producer) && !isa<AttentionOp, CacheOp, IfOp, LoopOp, GatherOp, WeightOp, ConstantOp>(producer);
}

} // namespace

std::optional<StaticRounding> staticRounding(Operation *op) {
  if (auto rounding = dyn_cast<QuantizeOp>(op))
    return roundingOf(rounding, rounding.getResult(), rounding.getInput());
  auto numbers = dyn_cast<DequantizeOp>(op);
  return numbers ? roundingOf(numbers, numbers.getInput(), numbers.getResult()) : std::nullopt;
}

void readBytes(ArrayRef<MatmulOp> products) {
  llvm::SmallPtrSet<Operation *, 16> ofIntegers;
  llvm::SmallSetVector<Operation *, 16> roundings;
  for (MatmulOp product : products) {
    auto numbers = product.getLhs().getDefiningOp<DequantizeOp>();
    if (product.getTransposeLhs() || !numbers || !staticRounding(numbers))
      continue;
    ofIntegers.insert(product);
    if (QuantizeOp rounding = roundingBehind(numbers.getInput()); rounding && staticRounding(rounding))
      roundings.insert(rounding);
  }
  // What is rounded in the same way more than once is so once.
  llvm::SmallPtrSet<Operation *, 16> copies;
  for (Operation *op : roundings)
    for (Operation *other : roundings) {
      bool isSame = op != other && !copies.contains(op) && !copies.contains(other) &&
                    op->getBlock() == other->getBlock() && op->getOperand(0) == other->getOperand(0) &&
                    op->getResult(0).getType() == other->getResult(0).getType() && other->isBeforeInBlock(op) &&
                    staticRounding(op) == staticRounding(other);
      if (!isSame)
        continue;
      op->getResult(0).replaceAllUsesWith(other->getResult(0));
      copies.insert(op);
    }
  for (Operation *op : roundings)
    if (!copies.contains(op)) {
      auto rounding = cast<QuantizeOp>(op);
      roundBeforeMoves(rounding);
      giveSign(rounding);
    }
  for (MatmulOp product : products) {
    if (!ofIntegers.contains(product))
      continue;
    auto numbers = product.getLhs().getDefiningOp<DequantizeOp>();
    QuantizeOp rounding = roundingBehind(numbers.getInput());
    bool isOwn =
        rounding && rounding.getResult() == numbers.getInput() && staticRounding(rounding) == staticRounding(numbers);
    if (isOwn && !areWorthStoring(rounding, ofIntegers))
      continue; // the product rounds
    OpBuilder b(product);
    StaticRounding own = *staticRounding(numbers);
    if (!llvm::all_of(numbers->getUsers(), [&](Operation *user) { return ofIntegers.contains(user); }))
      product.getLhsMutable().assign(b.clone(*numbers)->getResult(0)); // what else reads the numbers does so for itself
    product->setAttr(kernel::kLhsQuantizationAttr,
                     b.getDictionaryAttr({b.getNamedAttr("bytes", b.getUnitAttr()),
                                          b.getNamedAttr("mode", b.getI64IntegerAttr(LATHE_QUANTIZE_STATIC)),
                                          b.getNamedAttr("scale", b.getF64FloatAttr(own.scale)),
                                          b.getNamedAttr("zero", b.getI64IntegerAttr(own.zero))}));
  }
}

} // namespace lathe::cpu
