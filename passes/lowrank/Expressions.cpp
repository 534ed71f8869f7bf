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

bool replaceByFactors(Value weight, StringRef name, bool transposed, Type stored, const Factors &factors,
                      const compression::MakeConstant &make) {
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  Location loc = weight.getLoc();
  // w is [outputs][inputs] = left right; where it lies as [inputs][outputs] that is right^T left^T.
  Value inputs =
      makeMatrix(b, loc, stored, inputFactorName(name), factors.right, factors.r, factors.k, !transposed, make);
  Value outputs =
      inputs ? makeMatrix(b, loc, stored, outputFactorName(name), factors.left, factors.n, factors.r, !transposed, make)
             : Value();
  if (!outputs)
    return false;
  Value product = b.create<MatmulOp>(loc, weight.getType(), transposed ? outputs : inputs,
                                     transposed ? inputs : outputs, UnitAttr(), UnitAttr());
  weight.replaceAllUsesExcept(product, product.getDefiningOp());
  return true;
}

} // namespace lathe::lowrank
