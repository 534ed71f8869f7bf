//===- HalfZeros.cpp - Weights of which half are zeros --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/HalfZeros.h"
#include "compiler/SparseConstants.h"
#include "dialects/kernel/Kernel.h"
#include <cstring>

using namespace mlir;
using nlohmann::ordered_json;

namespace lathe {
namespace {

/// What sparse matrix instructions want both extents of a weight of 16 bits to be multiples of.
constexpr int64_t kMultiple = 16;
constexpr int64_t kGroup = 4, kMost = 2;

template <typename T> bool isZero(T bits) { return (bits & ~(T(1) << (sizeof(T) * 8 - 1))) == 0; }

/// Whether each group along `axis` of a row-major matrix of floats has enough zeros. Of others the first group tells.
template <typename T> bool hasZeros(const char *data, int64_t rows, int64_t columns, int64_t axis) {
  auto at = [&](int64_t row, int64_t column) {
    T bits;
    memcpy(&bits, data + (row * columns + column) * sizeof(T), sizeof(T));
    return bits;
  };
  int64_t rowStep = axis == 0 ? kGroup : 1, columnStep = axis == 0 ? 1 : kGroup;
  for (int64_t row = 0; row < rows; row += rowStep)
    for (int64_t column = 0; column < columns; column += columnStep) {
      int64_t count = 0;
      for (int64_t i = 0; i < kGroup; ++i)
        count += !isZero(axis == 0 ? at(row + i, column) : at(row, column + i));
      if (count > kMost)
        return false;
    }
  return true;
}

/// A constant of the table, if it is a matrix that sparse matrix instructions may multiply by.
struct Candidate {
  int64_t rows = 0, columns = 0;
  Type stored; ///< of the elements as they lie, which are rounded when they are written
};

std::optional<Candidate> candidateOf(DictionaryAttr entry) {
  auto type = dyn_cast<RankedTensorType>(entry.getAs<TypeAttr>("type").getValue());
  if (entry.get("codes") || !type || type.getRank() != 2)
    return std::nullopt;
  Type element = type.getElementType();
  if (entry.get("sparse")) // which the device has in the type of the values
    element = cast<RankedTensorType>(entry.getAs<DictionaryAttr>("stored").getAs<TypeAttr>("type").getValue())
                  .getElementType();
  if (!element.isF16() && !element.isBF16())
    return std::nullopt;
  Candidate result{type.getDimSize(0), type.getDimSize(1), element};
  if (auto source = entry.getAs<TypeAttr>("source"))
    result.stored = cast<RankedTensorType>(source.getValue()).getElementType();
  bool isLarge = result.rows > 0 && result.columns > 0;
  return isLarge && result.rows % kMultiple == 0 && result.columns % kMultiple == 0 ? std::optional(result)
                                                                                    : std::nullopt;
}

/// nullopt with `error` set where the bytes can't be read.
std::optional<bool> hasZeros(DictionaryAttr entry, const Candidate &own, int64_t axis, WeightFiles &files,
                             std::string &error) {
  bool isWide = own.stored.isF32();
  if (!isWide && !own.stored.isF16() && !own.stored.isBF16())
    return false;
  auto check = [&](const char *data, int64_t rows, int64_t columns) {
    return isWide ? hasZeros<uint32_t>(data, rows, columns, axis) : hasZeros<uint16_t>(data, rows, columns, axis);
  };
  if (entry.get("sparse")) {
    std::vector<char> dense;
    return readDense(entry, files, dense, error) ? std::optional(check(dense.data(), own.rows, own.columns))
                                                 : std::nullopt;
  }
  if (auto dense = entry.getAs<DenseElementsAttr>("value")) {
    if (!dense.isSplat())
      return check(dense.getRawData().data(), own.rows, own.columns);
    ArrayRef<char> raw = dense.getRawData();
    return isWide ? isZero(*reinterpret_cast<const uint32_t *>(raw.data()))
                  : isZero(*reinterpret_cast<const uint16_t *>(raw.data()));
  }
  uint64_t bytes = static_cast<uint64_t>(own.rows * own.columns) * (isWide ? 4 : 2);
  const char *data = files.bytes(entry.getAs<StringAttr>("file").getValue(),
                                 entry.getAs<IntegerAttr>("offset").getInt(), bytes, error);
  if (!data) {
    error = "initializer '" + entry.getAs<StringAttr>("name").str() + "': " + error;
    return std::nullopt;
  }
  bool result = check(data, own.rows, own.columns);
  files.release(data, bytes);
  return result;
}

/// As tellHalfZeros, of a program whose kernels these are.
bool tellOf(const Program &program, WeightFiles &files, ordered_json &constants, ordered_json &kernels,
            std::string &error) {
  auto table = (*program.module)->getAttrOfType<ArrayAttr>(kernel::kConstantsAttr);
  bool isGood = true;
  program.module.get().walk([&](kernel::MatmulOp op) {
    if (!isGood || static_cast<int64_t>(op.getWeight()) < 0)
      return;
    auto entry = cast<DictionaryAttr>(table[static_cast<size_t>(op.getWeight())]);
    std::optional<Candidate> own = candidateOf(entry);
    if (!own)
      return;
    // A matrix that is packed for the processor, or stored without zeros, is [k, n] for the device, however it lies in
    // its file.
    ordered_json &json = constants[static_cast<size_t>(op.getWeight())];
    bool isPacked = json.contains("packed") || json.contains("sparse");
    int64_t axis = (isPacked ? entry.getAs<BoolAttr>("transposed").getValue() : op.getTransposeRhs()) ? 1 : 0;
    int64_t axes = json.value("half_zeros", int64_t(0)), bit = isPacked || axis == 0 ? 1 : 2;
    if (!(axes & bit)) {
      std::optional<bool> has = hasZeros(entry, *own, axis, files, error);
      isGood = has.has_value();
      if (!has.value_or(false))
        return;
      json["half_zeros"] = axes | bit;
    }
    kernels[op.getKernel()]["zeros"] = "2:4";
  });
  return isGood;
}

} // namespace

bool tellHalfZeros(ArrayRef<Program> programs, WeightFiles &files, ordered_json &manifest, std::string &error) {
  for (auto [i, program] : llvm::enumerate(programs)) {
    ordered_json &description = i == 0 ? manifest : manifest["programs"][i - 1];
    if (program.isCuda && !tellOf(program, files, manifest["constants"], description["kernels"], error))
      return false;
  }
  return true;
}

} // namespace lathe
