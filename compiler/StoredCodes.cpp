//===- StoredCodes.cpp - Codes of quantized weights as constants ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/StoredCodes.h"
#include "compiler/WeightValues.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "passes/quantization/Stacks.h"
#include "llvm/Support/raw_ostream.h"
#include <map>

using namespace mlir;

namespace lathe {
namespace {

RankedTensorType tensorType(Value value) { return cast<RankedTensorType>(value.getType()); }

/// Integers of at most 8 bits, a byte each, row-major.
using Bytes = std::vector<uint8_t>;

/// Computes constants, and tells what it has computed, so that equal expressions of several programs are found to be equal.
class Evaluator {
public:
  Evaluator(WeightFiles &files, std::string &error) : files(files), error(error), name(text) {}

  /// Nullopt for what is not made of constants by the operations that take codes apart, or with the error set.
  std::optional<Bytes> of(Value value);
  std::string text; ///< what was computed
  std::string root; ///< the name of the weight that it is made of

private:
  std::optional<Bytes> ofWeight(WeightOp weight);
  std::optional<Bytes> ofShift(ShiftRightOp shift);
  std::optional<Bytes> ofSlice(SliceOp slice);

  WeightFiles &files;
  std::string &error;
  llvm::raw_string_ostream name;
};

bool isCode(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  auto element = type ? dyn_cast<IntegerType>(type.getElementType()) : IntegerType();
  return element && type.hasStaticShape() && element.getWidth() > 1 && element.getWidth() <= 8;
}

std::optional<Bytes> Evaluator::ofWeight(WeightOp weight) {
  uint64_t size = tensorType(weight).getNumElements();
  const char *data = files.bytes(weight.getFile(), weight.getOffset(), size, error);
  if (!data) {
    error = "initializer '" + weight.getName().str() + "': " + error;
    return std::nullopt;
  }
  root = weight.getName().str();
  name << weight.getFile() << '@' << weight.getOffset() << ':' << size;
  Bytes bytes(data, data + size);
  files.release(data, size);
  return bytes;
}

std::optional<Bytes> Evaluator::ofShift(ShiftRightOp shift) {
  name << "shift(";
  std::optional<Bytes> lhs = of(shift.getLhs());
  name << ',';
  std::optional<Bytes> rhs = lhs ? of(shift.getRhs()) : std::nullopt;
  name << ')';
  auto element = cast<IntegerType>(tensorType(shift.getResult()).getElementType());
  if (!rhs || !element.isUnsigned())
    return std::nullopt;
  ArrayRef<int64_t> shape = tensorType(shift.getResult()).getShape();
  // Of an operand, how far its element is for one step along each axis.
  auto stridesOf = [&](Value operand) {
    ArrayRef<int64_t> own = tensorType(operand).getShape();
    SmallVector<int64_t> strides(shape.size(), 0);
    int64_t stride = 1;
    for (size_t i = 1; i <= own.size(); ++i) {
      if (own[own.size() - i] != 1)
        strides[shape.size() - i] = stride;
      stride *= own[own.size() - i];
    }
    return strides;
  };
  SmallVector<int64_t> a = stridesOf(shift.getLhs()), b = stridesOf(shift.getRhs()), index(shape.size(), 0);
  Bytes result(tensorType(shift.getResult()).getNumElements());
  for (uint8_t &value : result) {
    int64_t x = 0, y = 0;
    for (size_t i = 0; i < shape.size(); ++i) {
      x += index[i] * a[i];
      y += index[i] * b[i];
    }
    unsigned distance = (*rhs)[y];
    value = distance < element.getWidth() ? (*lhs)[x] >> distance : 0;
    for (size_t i = shape.size(); i-- > 0 && ++index[i] == shape[i];)
      index[i] = 0;
  }
  return result;
}

/// Of one axis, from the beginning: what is left of the last byte is cut off so.
std::optional<Bytes> Evaluator::ofSlice(SliceOp slice) {
  auto type = tensorType(slice.getInput());
  if (slice.getAxes().size() != 1 || slice.getSteps() != ArrayRef<int64_t>{1} ||
      getConstantIntValue(OpFoldResult(slice.getStarts().front())) != 0)
    return std::nullopt;
  std::optional<Bytes> bytes = of(slice.getInput());
  if (!bytes)
    return std::nullopt;
  int64_t axis = slice.getAxes().front(), inner = 1, outer = 1;
  for (int64_t i = 0; i < type.getRank(); ++i)
    (i < axis ? outer : inner) *= i == axis ? 1 : type.getDimSize(i);
  int64_t from = type.getDimSize(axis) * inner, kept = tensorType(slice.getResult()).getDimSize(axis) * inner;
  Bytes result;
  for (int64_t i = 0; i < outer; ++i)
    result.insert(result.end(), bytes->begin() + i * from, bytes->begin() + i * from + kept);
  name << '#' << axis << ',' << kept;
  return result;
}

std::optional<Bytes> Evaluator::of(Value value) {
  Operation *op = value.getDefiningOp();
  if (!op || !isCode(value))
    return std::nullopt;
  if (auto weight = dyn_cast<WeightOp>(op))
    return ofWeight(weight);
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    auto dense = dyn_cast<DenseIntElementsAttr>(constant.getValue());
    if (!dense)
      return std::nullopt;
    Bytes bytes;
    for (const APInt &element : dense.getValues<APInt>())
      bytes.push_back(static_cast<uint8_t>(element.getZExtValue()));
    name << constant.getValue();
    return bytes;
  }
  if (auto shift = dyn_cast<ShiftRightOp>(op))
    return ofShift(shift);
  if (auto slice = dyn_cast<SliceOp>(op))
    return ofSlice(slice);
  if (auto reshape = dyn_cast<ReshapeOp>(op))
    return of(reshape.getInput());
  if (auto broadcast = dyn_cast<BroadcastOp>(op)) { // one zero point for all
    std::optional<Bytes> one = tensorType(broadcast.getInput()).getNumElements() == 1 ? of(broadcast.getInput()) : std::nullopt;
    if (!one)
      return std::nullopt;
    name << '*' << tensorType(value).getNumElements();
    return Bytes(tensorType(value).getNumElements(), one->front());
  }
  if (auto narrow = dyn_cast<CastOp>(op)) {
    unsigned width = tensorType(value).getElementTypeBitWidth();
    if (!isCode(narrow.getInput()) || width > tensorType(narrow.getInput()).getElementTypeBitWidth())
      return std::nullopt;
    std::optional<Bytes> bytes = of(narrow.getInput());
    if (!bytes)
      return std::nullopt;
    for (uint8_t &byte : *bytes)
      byte &= (1u << width) - 1;
    name << '&' << width;
    return bytes;
  }
  return std::nullopt;
}

} // namespace

bool storeCodes(ArrayRef<func::FuncOp> programs, WeightFiles &files, std::string &error) {
  std::map<std::string, uint64_t> stored;
  for (func::FuncOp program : programs) {
    std::vector<SmallVector<OpOperand *>> wanted; // by operation, all of whose codes are made constants, or none
    auto isWanted = [](OpOperand &operand) {
      // What is a constant already, of any type, kernels find.
      return isCode(operand.get()) && !isa_and_nonnull<WeightOp, ConstantOp>(operand.get().getDefiningOp());
    };
    program.walk([&](Operation *op) {
      if (!isa<DequantizeOp, CodebookLookupOp>(op))
        return;
      SmallVector<OpOperand *> own;
      for (OpOperand &operand : op->getOpOperands())
        if (isWanted(operand))
          own.push_back(&operand);
      if (!own.empty())
        wanted.push_back(std::move(own));
    });
    for (ArrayRef<OpOperand *> operands : wanted) {
      SmallVector<std::pair<Bytes, std::string>> made;
      SmallVector<std::string> names;
      for (OpOperand *operand : operands) {
        Evaluator evaluator(files, error);
        std::optional<Bytes> bytes = evaluator.of(operand->get());
        if (!error.empty())
          return false;
        if (!bytes)
          break;
        made.emplace_back(std::move(*bytes), evaluator.text);
        names.push_back(evaluator.root.empty() ? "codes" : evaluator.root);
      }
      if (made.size() < operands.size())
        continue;
      for (auto [operand, constant, name] : llvm::zip(operands, made, names)) {
        auto [it, isNew] = stored.try_emplace(constant.second, 0);
        if (isNew) {
          std::optional<uint64_t> offset = files.append(constant.first.data(), constant.first.size(), error);
          if (!offset)
            return false;
          it->second = *offset;
        }
        OpBuilder b(operand->getOwner());
        operand->set(b.create<WeightOp>(operand->get().getLoc(), operand->get().getType(), name, kMadeFile, it->second));
      }
    }
  }
  compression::splitStackExpressions(programs); // kernels read matrices
  return true;
}

namespace {

/// What a scale that is quantized itself stands for; nullopt for anything else, or with the error set.
std::optional<std::vector<float>> scaleNumbers(DequantizeOp op, WeightFiles &files, std::string &error,
                                               std::string &text) {
  auto type = tensorType(op.getResult());
  if (!type.getElementType().isF32() || op.getZeroPoint() || !isCode(op.getInput()) ||
      !tensorType(op.getScale()).hasStaticShape())
    return std::nullopt;
  Evaluator evaluator(files, error);
  std::optional<Bytes> codes = evaluator.of(op.getInput());
  std::optional<std::vector<float>> scales = codes ? numbersOf(op.getScale(), files, error) : std::nullopt;
  auto element = cast<IntegerType>(tensorType(op.getInput()).getElementType());
  if (!scales || !(element.isUnsigned() || element.getWidth() == 8))
    return std::nullopt;
  int64_t axis = op.getAxis() ? static_cast<int64_t>(*op.getAxis()) : 0, inner = 1;
  int64_t block = op.getBlockSize() ? static_cast<int64_t>(*op.getBlockSize()) : 1;
  for (int64_t i = axis + 1; i < type.getRank(); ++i)
    inner *= type.getDimSize(i);
  int64_t extent = type.getRank() > 0 ? type.getDimSize(axis) : 1, blocks = (extent + block - 1) / block;
  bool isOne = !op.getAxis();
  int64_t within = op.getBlockSize() ? inner : 1; // scales of an axis have rank 1
  std::vector<float> result(codes->size());
  for (size_t i = 0; i < result.size(); ++i) {
    auto place = static_cast<int64_t>(i);
    int64_t along = place / inner % extent, outer = op.getBlockSize() ? place / inner / extent : 0;
    int64_t at = isOne ? 0 : (outer * blocks + along / block) * within + (op.getBlockSize() ? place % inner : 0);
    float code =
        element.isUnsigned() ? static_cast<float>((*codes)[i]) : static_cast<float>(static_cast<int8_t>((*codes)[i]));
    result[i] = code * (*scales)[at];
  }
  text = evaluator.text + keyOf(*scales) + keyOf(result);
  return result;
}

/// The numbers as f16; empty where that is not exact.
std::vector<uint16_t> halves(const std::vector<float> &numbers) {
  std::vector<uint16_t> result;
  for (float number : numbers) {
    llvm::APFloat value(number);
    bool isInexact = false;
    value.convert(llvm::APFloat::IEEEhalf(), llvm::APFloat::rmNearestTiesToEven, &isInexact);
    if (isInexact)
      return {};
    result.push_back(static_cast<uint16_t>(value.bitcastToAPInt().getZExtValue()));
  }
  return result;
}

/// The constant of 16 bits that a value is widened from; null for anything else.
Value widenedFrom(Value value) {
  auto widened = value ? value.getDefiningOp<CastOp>() : CastOp();
  if (!widened || !tensorType(value).getElementType().isF32() ||
      !isa_and_nonnull<WeightOp, ConstantOp>(widened.getInput().getDefiningOp()))
    return {};
  Type element = tensorType(widened.getInput()).getElementType();
  return element.isF16() || element.isBF16() ? widened.getInput() : Value();
}

/// Reads scales, and zero points that are floats, as they are stored, where a node of ONNX wanted them wider.
void readNarrow(Operation *op) {
  Value scale = widenedFrom(op->getOperand(1)), zero = op->getNumOperands() > 2 ? op->getOperand(2) : Value();
  if (!scale)
    return;
  bool isFloatZero = zero && isa<FloatType>(tensorType(zero).getElementType());
  if (isFloatZero) {
    Value own = widenedFrom(zero);
    if (!own || tensorType(own).getElementType() != tensorType(scale).getElementType() ||
        zero.getType() == op->getOperand(0).getType())
      return;
    op->setOperand(2, own);
  }
  op->setOperand(1, scale);
}

} // namespace

bool storeScales(ArrayRef<func::FuncOp> programs, WeightFiles &files, std::string &error) {
  std::map<std::string, uint64_t> stored;
  for (func::FuncOp program : programs) {
    SmallVector<OpOperand *> wanted;
    program.walk([&](Operation *op) {
      if (!isa<DequantizeOp, DequantizeLog2Op>(op))
        return;
      if (op->getOperand(1).getDefiningOp<DequantizeOp>())
        wanted.push_back(&op->getOpOperand(1));
      else
        readNarrow(op);
    });
    for (OpOperand *operand : wanted) {
      std::string text;
      std::optional<std::vector<float>> numbers =
          scaleNumbers(operand->get().getDefiningOp<DequantizeOp>(), files, error, text);
      if (!error.empty())
        return false;
      if (!numbers)
        continue;
      std::vector<uint16_t> narrow = halves(*numbers);
      bool isNarrow = !numbers->empty() && !narrow.empty();
      auto [it, isNew] = stored.try_emplace(text, 0);
      if (isNew) {
        const void *data = isNarrow ? static_cast<const void *>(narrow.data()) : numbers->data();
        std::optional<uint64_t> offset = files.append(data, numbers->size() * (isNarrow ? 2 : 4), error);
        if (!offset)
          return false;
        it->second = *offset;
      }
      OpBuilder b(operand->getOwner());
      Type element = isNarrow ? Type(b.getF16Type()) : Type(b.getF32Type());
      operand->set(b.create<WeightOp>(operand->get().getLoc(), tensorType(operand->get()).clone(element), "scales",
                                      kMadeFile, it->second));
    }
  }
  return true;
}

} // namespace lathe
