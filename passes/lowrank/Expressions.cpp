//===- Expressions.cpp - Weights of low rank as expressions ---------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/Expressions.h"
#include "llvm/ADT/APFloat.h"

using namespace mlir;

namespace lathe::lowrank {
namespace {

/// A matrix [rows][columns] as a constant of f32, in the order of its transpose where `turned`.
Value makeMatrix(OpBuilder &b, Location loc, Type stored, StringRef name, const std::vector<float> &values,
                 int64_t rows, int64_t columns, bool turned, const compression::MakeConstant &make) {
  std::vector<char> bytes;
  size_t size = stored.getIntOrFloatBitWidth() / 8;
  bytes.reserve(values.size() * size);
  for (int64_t i = 0; i < rows * columns; ++i) {
    APFloat number(turned ? values[(i % rows) * columns + i / rows] : values[i]);
    bool isInexact = false;
    number.convert(cast<FloatType>(stored).getFloatSemantics(), APFloat::rmNearestTiesToEven, &isInexact);
    uint64_t bits = number.bitcastToAPInt().getZExtValue();
    const char *data = reinterpret_cast<const char *>(&bits); // little-endian, as all that runs this is
    bytes.insert(bytes.end(), data, data + size);
  }
  auto shape = turned ? SmallVector<int64_t>{columns, rows} : SmallVector<int64_t>{rows, columns};
  auto type = RankedTensorType::get(shape, stored);
  Value constant = make(b, loc, type, name, bytes);
  if (constant && !stored.isF32())
    constant = b.create<CastOp>(loc, type.clone(b.getF32Type()), constant);
  return constant;
}

} // namespace

std::string inputFactorName(StringRef name) { return (name + ".u").str(); }
std::string outputFactorName(StringRef name) { return (name + ".v").str(); }

std::string restName(StringRef name) { return (name + ".r").str(); }

bool replaceByFactors(Value weight, StringRef name, bool transposed, Type stored, const Factors &factors,
                      const std::vector<float> &rest, const compression::MakeConstant &make) {
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  Location loc = weight.getLoc();
  auto matrix = [&](const std::string &own, const std::vector<float> &values, int64_t rows, int64_t columns) {
    return makeMatrix(b, loc, stored, own, values, rows, columns, !transposed, make);
  };
  // w is [outputs][inputs] = left right; where it lies as [inputs][outputs] that is right^T left^T.
  Value inputs = matrix(inputFactorName(name), factors.right, factors.r, factors.k);
  Value outputs = inputs ? matrix(outputFactorName(name), factors.left, factors.n, factors.r) : Value();
  Value left = outputs && !rest.empty() ? matrix(restName(name), rest, factors.n, factors.k) : Value();
  if (!outputs || (!left && !rest.empty()))
    return false;
  Value dense = b.create<MatmulOp>(loc, weight.getType(), transposed ? outputs : inputs, transposed ? inputs : outputs,
                                   UnitAttr(), UnitAttr());
  if (left)
    dense = b.create<AddOp>(loc, weight.getType(), dense, left);
  weight.replaceAllUsesWith(dense); // factors read constants of their own
  return true;
}

} // namespace lathe::lowrank
