//===- SparseConstants.cpp - Matrices with zeros in artifacts -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/SparseConstants.h"
#include "backends/cpu/runtime/PackSparse.h"
#include "compiler/WeightValues.h"
#include "mlir/IR/BuiltinTypes.h"
#include "passes/sparsity/Formats.h"
#include <cstring>

using namespace mlir;

namespace lathe {
namespace {

/// The bytes of a constant that a matrix is made of, in files or in the table itself.
struct Part {
  RankedTensorType type;
  const char *data = nullptr;
  int64_t elementBytes = 1;
  bool isSplat = false;

  int64_t count() const { return type ? type.getNumElements() : 0; }
  std::vector<char> bytes() const {
    std::vector<char> result(count() * elementBytes);
    for (int64_t i = 0; i < count(); ++i)
      memcpy(result.data() + i * elementBytes, data + (isSplat ? 0 : i) * elementBytes, elementBytes);
    return result;
  }
  uint64_t index(int64_t i) const {
    uint64_t value = 0;
    memcpy(&value, data + (isSplat ? 0 : i) * elementBytes, elementBytes);
    return value;
  }
};

bool readPart(DictionaryAttr entry, StringRef name, WeightFiles &files, Part &part, std::string &error) {
  auto source = entry.getAs<DictionaryAttr>(name);
  if (!source)
    return true;
  part.type = cast<RankedTensorType>(source.getAs<TypeAttr>("type").getValue());
  part.elementBytes = std::max<int64_t>(part.type.getElementTypeBitWidth() / 8, 1);
  if (auto dense = source.getAs<DenseElementsAttr>("value")) {
    part.isSplat = dense.isSplat();
    part.data = dense.getRawData().data();
    return true;
  }
  auto file = source.getAs<StringAttr>("file");
  part.data = files.bytes(file.getValue(), source.getAs<IntegerAttr>("offset").getInt(),
                          part.count() * part.elementBytes, error);
  return part.data != nullptr;
}

int64_t numberOf(DictionaryAttr entry, StringRef name) {
  auto value = entry.getAs<IntegerAttr>(name);
  return value ? value.getInt() : 0;
}

struct Parts {
  Part values, indices, pointers, scale;
  runtime::SparseLayout layout;
  bool transposed = false;
  SparseFormat format = SparseFormat::csr;
  int64_t rows = 0, columns = 0, block[2] = {0, 0}, m = 0, axis = 0;

  bool read(DictionaryAttr entry, WeightFiles &files, std::string &error) {
    auto type = cast<RankedTensorType>(entry.getAs<TypeAttr>("type").getValue());
    format = *parseSparseFormat(entry.getAs<StringAttr>("sparse").getValue());
    rows = type.getDimSize(0);
    columns = type.getDimSize(1);
    transposed = entry.getAs<BoolAttr>("transposed").getValue();
    if (auto given = entry.getAs<DenseI64ArrayAttr>("block"))
      std::copy(given.asArrayRef().begin(), given.asArrayRef().end(), block);
    m = numberOf(entry, "m");
    axis = numberOf(entry, "axis");
    bool isRead = readPart(entry, "stored", files, values, error) &&
                  readPart(entry, "indices", files, indices, error) &&
                  readPart(entry, "pointers", files, pointers, error) && readPart(entry, "scale", files, scale, error);
    if (!isRead)
      error = "initializer '" + entry.getAs<StringAttr>("name").str() + "': " + error;
    return isRead;
  }

  /// As it lies, row-major.
  std::vector<char> dense() const {
    sparsity::Stored stored;
    stored.format = format;
    stored.rows = rows;
    stored.columns = columns;
    std::copy(block, block + 2, stored.block);
    stored.m = m;
    stored.axis = axis;
    stored.values = values.bytes();
    stored.valueShape.assign(values.type.getShape().begin(), values.type.getShape().end());
    stored.indexShape.assign(indices.type.getShape().begin(), indices.type.getShape().end());
    stored.indexBits = 32;
    bool areBytes = format == SparseFormat::bitmap || format == SparseFormat::n_of_m;
    for (int64_t i = 0; i < indices.count(); ++i) {
      auto index = static_cast<uint32_t>(std::min<uint64_t>(indices.index(i), UINT32_MAX));
      const char *bytes = reinterpret_cast<const char *>(&index);
      stored.indices.insert(stored.indices.end(), bytes, bytes + (areBytes ? 1 : 4));
    }
    for (int64_t i = 0; i < pointers.count(); ++i)
      stored.pointers.push_back(static_cast<int32_t>(std::min<uint64_t>(pointers.index(i), INT32_MAX)));
    return sparsity::toDense(stored, values.elementBytes);
  }

  /// [groups, n].
  std::vector<float> scales() const {
    if (!scale.type)
      return {};
    int64_t groups = (layout.k + layout.group - 1) / layout.group;
    std::vector<float> result;
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t j = 0; j < layout.n; ++j) {
        int64_t at = scale.count() == 1 || scale.isSplat ? 0
                     : scale.type.getRank() == 1         ? j
                     : transposed                        ? j * groups + g
                                                         : g * layout.n + j;
        result.push_back(numberAt(scale.data, at, scale.type.getElementType()));
      }
    return result;
  }

  cpu::SparseSource source(const std::vector<char> &dense, const std::vector<float> &scales) const {
    return {dense.data(), transposed ? 1 : layout.n, transposed ? layout.k : 1, scales.data()};
  }
};

} // namespace

bool describeSparse(DictionaryAttr entry, WeightFiles &files, nlohmann::ordered_json &json,
                    artifact::ConstantSource &source, std::string &error) {
  Parts parts;
  if (!parts.read(entry, files, error))
    return false;
  std::string name = entry.getAs<StringAttr>("name").str();
  runtime::SparseLayout &layout = parts.layout;
  layout.k = parts.transposed ? parts.columns : parts.rows;
  layout.n = parts.transposed ? parts.rows : parts.columns;
  layout.group = numberOf(entry, "group");
  Type element = parts.values.type.getElementType();
  layout.values = element.isF32()    ? runtime::SparseValues::f32
                  : element.isF16()  ? runtime::SparseValues::f16
                  : element.isBF16() ? runtime::SparseValues::bf16
                                     : runtime::SparseValues::i8;
  {
    std::vector<char> dense = parts.dense();
    cpu::setLists(layout, parts.source(dense, {}), sparsity::listHeight(parts.format, parts.block, parts.transposed));
  }
  if (std::string why; !layout.valid(&why)) {
    error = "initializer '" + name + "': " + why;
    return false;
  }
  json["name"] = name;
  json["type"] = "f32";
  json["shape"] = {layout.k, layout.n};
  json["sparse"] = {{"values", runtime::name(layout.values)},
                    {"height", layout.height},
                    {"group", layout.group},
                    {"fours", layout.fours}};
  source.size = static_cast<uint64_t>(layout.bytes());
  // Made again when it is written: those of a large model are not to lie in memory together.
  source.produce = [parts](artifact::Sink &sink, std::string *) {
    std::vector<char> dense = parts.dense(), packed(parts.layout.bytes());
    std::vector<float> scales = parts.scales();
    cpu::packSparse(parts.layout, parts.source(dense, scales), packed.data());
    return sink.write(packed.data(), packed.size());
  };
  return true;
}

bool readDense(DictionaryAttr entry, WeightFiles &files, std::vector<char> &dense, std::string &error) {
  Parts parts;
  if (!parts.read(entry, files, error))
    return false;
  dense = parts.dense();
  return true;
}

} // namespace lathe
