//===- WeightValues.cpp - Constants as numbers, and new ones --------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/WeightValues.h"
#include "dialects/lathe/ValueNames.h"
#include "runtime/SmallFloats.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"
#include <cstring>

using namespace mlir;

namespace lathe {

float numberAt(const char *data, int64_t index, Type type) {
  if (type.isF32()) {
    float value;
    memcpy(&value, data + index * 4, sizeof value);
    return value;
  }
  uint16_t half;
  memcpy(&half, data + index * 2, sizeof half);
  return type.isF16() ? runtime::halfValue(half) : runtime::bfloatValue(half);
}

namespace {

std::optional<std::vector<float>> combined(Operation *op, WeightFiles &files, std::string &error) {
  std::optional<std::vector<float>> a = numbersOf(op->getOperand(0), files, error);
  std::optional<std::vector<float>> b = a ? numbersOf(op->getOperand(1), files, error) : std::nullopt;
  if (!b || (op->getOperand(0).getType() != op->getOperand(1).getType() && a->size() != 1 && b->size() != 1))
    return std::nullopt;
  std::vector<float> result(std::max(a->size(), b->size()));
  for (size_t i = 0; i < result.size(); ++i) {
    float x = (*a)[a->size() == 1 ? 0 : i], y = (*b)[b->size() == 1 ? 0 : i];
    result[i] = isa<MulOp>(op) ? x * y : x + y;
  }
  return result;
}

} // namespace

std::optional<std::vector<float>> numbersOf(Value value, WeightFiles &files, std::string &error) {
  Operation *op = value.getDefiningOp();
  auto type = dyn_cast<RankedTensorType>(value.getType());
  Type element = type ? type.getElementType() : Type();
  if (!op || !element || !type.hasStaticShape() || !(element.isF32() || element.isF16() || element.isBF16()))
    return std::nullopt;
  if (auto widened = dyn_cast<CastOp>(op))
    return element.isF32() ? numbersOf(widened.getInput(), files, error) : std::nullopt;
  if (isa<MulOp, AddOp>(op))
    return element.isF32() ? combined(op, files, error) : std::nullopt;
  std::vector<float> numbers(type.getNumElements());
  if (auto constant = dyn_cast<ConstantOp>(op)) {
    auto dense = dyn_cast<DenseFPElementsAttr>(constant.getValue());
    if (!dense)
      return std::nullopt;
    for (auto [number, given] : llvm::zip(numbers, dense.getValues<APFloat>())) {
      APFloat wide(given);
      bool isInexact = false;
      wide.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &isInexact);
      number = wide.convertToFloat();
    }
    return numbers;
  }
  auto weight = dyn_cast<WeightOp>(op);
  if (!weight)
    return std::nullopt;
  uint64_t size = numbers.size() * (element.getIntOrFloatBitWidth() / 8);
  const char *data = files.bytes(weight.getFile(), weight.getOffset(), size, error);
  if (!data) {
    error = "initializer '" + weight.getName().str() + "': " + error;
    return std::nullopt;
  }
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = numberAt(data, static_cast<int64_t>(i), element);
  files.release(data, size);
  return numbers;
}

std::vector<float> turned(const std::vector<float> &matrix, int64_t rows, int64_t columns) {
  std::vector<float> result(matrix.size());
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      result[j * rows + i] = matrix[i * columns + j];
  return result;
}

std::string keyOf(const std::vector<float> &numbers) {
  return llvm::utohexstr(llvm::xxh3_64bits(
      ArrayRef<uint8_t>(reinterpret_cast<const uint8_t *>(numbers.data()), numbers.size() * sizeof(float))));
}

Value NewConstants::make(Value place, RankedTensorType type, StringRef name, const std::string &key,
                         llvm::function_ref<std::vector<float>()> numbers) {
  auto known = made.find(key);
  if (known == made.end()) {
    std::vector<float> own = numbers();
    if (own.empty())
      return {};
    assert(static_cast<int64_t>(own.size()) == type.getNumElements());
    std::optional<uint64_t> offset = files.append(own.data(), own.size() * sizeof(float), error);
    if (!offset)
      return {};
    known = made.try_emplace(key, *offset).first;
  }
  Value &value = values[{place.getAsOpaquePointer(), key}];
  if (!value) {
    OpBuilder b(place.getContext());
    b.setInsertionPointAfterValue(place);
    value = b.create<WeightOp>(place.getLoc(), type, name, kMadeFile, known->second);
  }
  return value;
}

bool addToProduct(MatmulOp product, const std::vector<float> &vector, StringRef name, const std::string &key,
                  NewConstants &constants, WeightFiles &files, std::string &error) {
  Value result = product.getResult();
  auto type = RankedTensorType::get({static_cast<int64_t>(vector.size())}, Float32Type::get(product.getContext()));
  if (result.hasOneUse())
    if (auto add = dyn_cast<AddOp>(*result.user_begin())) {
      OpOperand &other = add->getOpOperand(add->getOperand(0) == result ? 1 : 0);
      std::optional<std::vector<float>> bias =
          other.get().getType() == type ? numbersOf(other.get(), files, error) : std::nullopt;
      if (!error.empty())
        return false;
      if (bias) {
        auto weight = other.get().getDefiningOp<WeightOp>();
        Value sum = constants.make(other.get(), type, weight ? weight.getName() : name, key + "+" + keyOf(*bias), [&] {
          for (size_t i = 0; i < vector.size(); ++i)
            (*bias)[i] += vector[i];
          return *bias;
        });
        if (sum)
          other.set(sum);
        return static_cast<bool>(sum);
      }
    }
  Value constant = constants.make(product.getRhs(), type, name, key, [&] { return vector; });
  if (!constant)
    return false;
  OpBuilder b(product->getContext());
  b.setInsertionPointAfter(product);
  Value sum = b.create<AddOp>(product.getLoc(), product.getType(), result, constant);
  result.replaceAllUsesExcept(sum, sum.getDefiningOp());
  return true;
}

void forgetNames(ArrayRef<Value> changed, llvm::function_ref<bool(OpOperand &use)> ends) {
  SmallVector<Value> work(changed);
  llvm::DenseSet<Value> known(changed.begin(), changed.end());
  while (!work.empty()) {
    Value value = work.pop_back_val();
    if (Operation *op = value.getDefiningOp())
      op->setLoc(withoutValue(op->getLoc()));
    for (OpOperand &use : value.getUses())
      if (!ends(use))
        for (Value result : use.getOwner()->getResults())
          if (known.insert(result).second)
            work.push_back(result);
  }
}

} // namespace lathe
