//===- LayerValues.cpp - The numbers of layers ----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LayerValues.h"
#include "compiler/WeightValues.h"

namespace lathe {

bool readDense(WeightFiles &files, const compression::Layer &layer, std::vector<float> &dense, std::string &error) {
  uint64_t bytes = layer.elements() * (layer.stored.getIntOrFloatBitWidth() / 8);
  const char *data = files.bytes(layer.place.first, layer.place.second, bytes, error);
  if (!data) {
    error = "initializer '" + layer.name + "': " + error;
    return false;
  }
  dense.resize(layer.elements());
  int64_t n = layer.outputs, k = layer.inputs;
  constexpr int64_t kTile = 32;
  for (int64_t row = 0; row < k; row += kTile)
    for (int64_t column = 0; column < n; column += kTile)
      for (int64_t j = column; j < std::min(column + kTile, n); ++j)
        for (int64_t i = row; i < std::min(row + kTile, k); ++i)
          dense[j * k + i] = numberAt(data, layer.transposed ? j * k + i : i * n + j, layer.stored);
  files.release(data, bytes);
  return true;
}

mlir::Value WeightMaker::operator()(mlir::OpBuilder &builder, mlir::Location loc, mlir::RankedTensorType type,
                                    llvm::StringRef name, llvm::ArrayRef<char> bytes) {
  auto known = made.find(name.str());
  if (!isShared || known == made.end()) {
    std::optional<uint64_t> offset = files.append(bytes.data(), bytes.size(), error);
    if (!offset)
      return {};
    known = made.insert_or_assign(name.str(), *offset).first;
  }
  return builder.create<WeightOp>(loc, type, name, kMadeFile, known->second);
}

} // namespace lathe
