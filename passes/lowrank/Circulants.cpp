//===- Circulants.cpp - Weights of circulant blocks -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/Circulants.h"
#include "dialects/lathe/ValueNames.h"
#include "passes/lowrank/Expressions.h"
#include "passes/lowrank/FormBuilder.h"

using namespace mlir;

namespace lathe::lowrank {
namespace {

/// A small constant of f32.
Value constant(FormBuilder &f, ArrayRef<int64_t> shape, const std::vector<float> &values) {
  auto type = RankedTensorType::get(shape, f.b.getF32Type());
  return f.b.create<ConstantOp>(f.loc, type, DenseElementsAttr::get(type, ArrayRef<float>(values)));
}

} // namespace

std::string circulantName(StringRef name) { return (name + ".circulant").str(); }
std::string spectrumName(StringRef name) { return (name + ".spectrum").str(); }

bool replaceByCirculant(Value weight, StringRef name, bool transposed, Type stored, const Circulant &circulant,
                        const compression::MakeConstant &make) {
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  ShapeContext shapes;
  FormBuilder f(b, weight.getLoc(), shapes);
  const int64_t block = circulant.block, p = circulant.n / block, q = circulant.k / block;
  Value first = makeMatrix(b, weight.getLoc(), stored, circulantName(name), circulant.first, p * q, block,
                           /*turned=*/false, make);
  if (!first)
    return false;
  std::vector<int64_t> places;
  for (int64_t s = 0; s < block; ++s)
    for (int64_t t = 0; t < block; ++t)
      places.push_back((s - t + block) % block);
  auto type = RankedTensorType::get({block, block}, b.getI64Type());
  Value indices = b.create<ConstantOp>(weight.getLoc(), type, DenseElementsAttr::get(type, ArrayRef<int64_t>(places)));
  // [outputs' blocks, inputs' blocks, output, input].
  Value blocks = f.reshapeTo(f.gather(first, indices, 1), {p, q, block, block});
  Value dense = f.transpose(blocks, transposed ? ArrayRef<int64_t>{0, 2, 1, 3} : ArrayRef<int64_t>{1, 3, 0, 2});
  weight.replaceAllUsesWith(transposed ? f.reshapeTo(dense, {circulant.n, circulant.k})
                                       : f.reshapeTo(dense, {circulant.k, circulant.n}));
  return true;
}

bool multiplyByCirculant(MatmulOp product, StringRef name, Type stored, const Circulant &circulant,
                         ShapeContext &shapes, const compression::MakeConstant &make) {
  OpBuilder b(product);
  FormBuilder f(b, withoutValue(product.getLoc()), shapes);
  SymShape leading = f.shape(product.getLhs());
  leading.pop_back();
  SymExpr rows = 1;
  for (const SymExpr &dim : leading)
    rows = rows * dim;
  const int64_t block = circulant.block, p = circulant.n / block, q = circulant.k / block, h = circulant.frequencies();
  Value spectrum = makeMatrix(b, f.loc, stored, spectrumName(name), circulant.spectrum(), h * 2 * q, p,
                              /*turned=*/false, make);
  if (!spectrum)
    return false;
  // [rows, q, block] to [rows, q, frequency, Re | Im, (Re, -Im) | (Im, Re)]: for each row two left sides, whose
  // products with Re above Im of the blocks are Re and Im of the outputs.
  Value x = f.reshape(product.getLhs(), SymShape{rows, SymExpr(q), SymExpr(block)});
  x = f.matmul(x, constant(f, {block, 4 * h}, forwardTransform(block)));
  x = f.reshape(x, SymShape{rows, SymExpr(q), SymExpr(h), SymExpr(2), SymExpr(2)});
  x = f.transpose(x, {2, 0, 3, 4, 1});
  x = f.reshape(x, SymShape{SymExpr(h), rows * 2, SymExpr(2 * q)});
  x = f.matmul(x, f.reshapeTo(spectrum, {h, 2 * q, p}));
  // [frequency, rows, Re | Im, p] to [rows, p, frequency x 2].
  x = f.transpose(f.reshape(x, SymShape{SymExpr(h), rows, SymExpr(2), SymExpr(p)}), {1, 3, 0, 2});
  x = f.matmul(f.reshape(x, SymShape{rows, SymExpr(p), SymExpr(2 * h)}),
               constant(f, {2 * h, block}, inverseTransform(block)));
  leading.push_back(SymExpr(circulant.n));
  x = f.reshape(x, leading);
  if (!x)
    return false;
  x.getDefiningOp()->setLoc(product.getLoc());
  replaceUses(product.getResult(), x);
  return true;
}

} // namespace lathe::lowrank
