//===- Convolutions.cpp - Convolutions of low rank ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/Convolutions.h"
#include "dialects/lathe/ValueNames.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "passes/lowrank/Expressions.h"
#include "passes/lowrank/FormBuilder.h"

using namespace mlir;

namespace lathe::lowrank {
namespace {

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// [n, c, o…, e…] to [n, o…, c, e…], with as many o as e.
bool ordersRows(ArrayRef<int64_t> permutation) {
  auto rank = static_cast<int64_t>(permutation.size()), spatial = (rank - 2) / 2;
  for (int64_t axis = 0; axis < rank; ++axis) {
    int64_t expected = axis == 0 || axis > spatial + 1 ? axis : axis <= spatial ? axis + 1 : 1;
    if (permutation[axis] != expected)
      return false;
  }
  return spatial > 0 && rank == 2 * spatial + 2;
}

/// A transpose; the shape follows.
Value transposed(OpBuilder &b, Location loc, Value value, ArrayRef<int64_t> permutation) {
  SmallVector<int64_t> shape;
  for (int64_t axis : permutation)
    shape.push_back(typeOf(value).getDimSize(axis));
  return b.create<TransposeOp>(loc, typeOf(value).clone(shape), value, b.getDenseI64ArrayAttr(permutation));
}

/// x times a matrix that lies as [outputs, inputs].
Value multiplied(OpBuilder &b, Location loc, Value x, Value matrix) {
  SmallVector<int64_t> shape(typeOf(x).getShape());
  shape.back() = typeOf(matrix).getDimSize(0);
  return b.create<MatmulOp>(loc, typeOf(x).clone(shape), x, matrix, UnitAttr(), b.getUnitAttr());
}

/// The input with its channels multiplied by a matrix [few, channels]: where they are the last axis.
Value fewChannels(OpBuilder &b, Location loc, WindowProduct &convolution, Value right) {
  Value x = convolution.windows.getInput();
  SmallVector<int64_t> last{0}, second{0, typeOf(x).getRank() - 1};
  for (int64_t axis = 2; axis < typeOf(x).getRank(); ++axis) {
    last.push_back(axis);
    second.push_back(axis - 1);
  }
  last.push_back(1);
  return transposed(b, loc, multiplied(b, loc, transposed(b, loc, x, last), right), second);
}

/// Gives the product's readers another value, and erases what made its left side.
void replaceProduct(WindowProduct &convolution, Value result) {
  replaceUses(convolution.product.getResult(), result);
  for (Operation *op : {convolution.product.getOperation(), convolution.rows.getOperation(),
                        convolution.ordered.getOperation(), convolution.windows.getOperation()})
    op->erase();
}

} // namespace

std::optional<WindowProduct> windowProduct(MatmulOp product) {
  WindowProduct found;
  found.product = product;
  found.rows = product.getLhs().getDefiningOp<ReshapeOp>();
  found.ordered = found.rows ? found.rows.getInput().getDefiningOp<TransposeOp>() : TransposeOp();
  found.windows = found.ordered ? found.ordered.getInput().getDefiningOp<WindowsOp>() : WindowsOp();
  if (!found.windows || !product.getTransposeRhs() || product.getTransposeLhs() || typeOf(found.rows).getRank() != 3 ||
      !found.rows->hasOneUse() || !found.ordered->hasOneUse() || !found.windows->hasOneUse() ||
      !ordersRows(found.ordered.getPermutation()))
    return std::nullopt;
  RankedTensorType windows = typeOf(found.windows);
  found.channels = windows.getDimSize(1);
  found.elements = 1;
  for (int64_t axis = windows.getRank() / 2 + 1; axis < windows.getRank(); ++axis)
    found.elements = windows.isDynamicDim(axis) ? 0 : found.elements * windows.getDimSize(axis);
  int64_t inputs = typeOf(product.getRhs()).getDimSize(1);
  // The last axis of the rows is what it was imported as, and no other grouping of the same numbers.
  if (found.channels < 1 || found.elements < 2 || found.channels * found.elements != inputs ||
      typeOf(found.rows).getDimSize(2) != inputs)
    return std::nullopt;
  return found;
}

std::vector<std::string> tuckerNames(StringRef name) {
  return {inputFactorName(name), (name + ".core").str(), outputFactorName(name)};
}

bool replaceByTucker(const WindowProduct &given, StringRef name, Type stored, const TuckerFactors &factors,
                     const compression::MakeConstant &make) {
  WindowProduct convolution = given; // accessors of operations are not const
  MatmulOp product = convolution.product;
  OpBuilder b(product);
  Location loc = product.getLoc(), inner = withoutValue(loc);
  std::vector<std::string> names = tuckerNames(name);
  int64_t elements = convolution.elements, q = factors.inputRank, p = factors.outputRank;
  Value right = makeMatrix(b, loc, stored, names[0], factors.right, q, convolution.channels, /*turned=*/false, make);
  Value core =
      right ? makeMatrix(b, loc, stored, names[1], factors.core, p, q * elements, /*turned=*/false, make) : Value();
  Value left =
      core ? makeMatrix(b, loc, stored, names[2], factors.left, factors.shape.outputs, p, /*turned=*/false, make)
           : Value();
  if (!left)
    return false;
  Value few = fewChannels(b, inner, convolution, right);
  auto withChannels = [&](RankedTensorType type, int64_t axis, int64_t extent) {
    SmallVector<int64_t> shape(type.getShape());
    shape[axis] = extent;
    return type.clone(shape);
  };
  auto windows = cast<WindowsOp>(b.clone(*convolution.windows));
  windows->setLoc(inner);
  windows.getInputMutable().assign(few);
  windows.getResult().setType(withChannels(typeOf(windows), 1, q));
  Value ordered = transposed(b, inner, windows, convolution.ordered.getPermutation());
  auto rows = cast<ReshapeOp>(b.clone(*convolution.rows));
  rows->setLoc(inner);
  rows.getInputMutable().assign(ordered);
  rows.getDimsMutable()[2].set(b.create<arith::ConstantIndexOp>(inner, q * elements));
  rows.getResult().setType(withChannels(typeOf(rows), 2, q * elements));
  Value result =
      b.create<MatmulOp>(loc, product.getType(), multiplied(b, inner, rows, core), left, UnitAttr(), b.getUnitAttr());
  replaceProduct(convolution, result);
  return true;
}

std::vector<std::string> cpNames(StringRef name) {
  return {inputFactorName(name), (name + ".window").str(), outputFactorName(name)};
}

bool replaceByCp(const WindowProduct &given, StringRef name, Type stored, const CpFactors &factors,
                 const compression::MakeConstant &make) {
  WindowProduct convolution = given; // accessors of operations are not const
  OpBuilder b(convolution.product);
  Location loc = convolution.product.getLoc(), inner = withoutValue(loc);
  std::vector<std::string> names = cpNames(name);
  const int64_t elements = convolution.elements, rank = factors.rank;
  Value right = makeMatrix(b, inner, stored, names[0], factors.right, rank, convolution.channels, false, make);
  Value window = right ? makeMatrix(b, inner, stored, names[1], factors.window, rank, elements, false, make) : Value();
  Value left =
      window ? makeMatrix(b, inner, stored, names[2], factors.left, factors.shape.outputs, rank, false, make) : Value();
  if (!left)
    return false;
  // Each channel is a group of its own: [n, rank, 1, s…].
  ShapeContext shapes;
  FormBuilder f(b, inner, shapes);
  Value few = fewChannels(b, inner, convolution, right);
  SymShape grouped = f.shape(few), extents = f.shape(convolution.rows);
  grouped.insert(grouped.begin() + 2, SymExpr(1));
  few = f.reshape(few, grouped);
  auto windows = cast<WindowsOp>(b.clone(*convolution.windows));
  windows->setLoc(inner);
  windows.getInputMutable().assign(few);
  SmallVector<int64_t> shape(typeOf(convolution.windows).getShape()), order{0, 1};
  shape[1] = rank;
  shape.insert(shape.begin() + 2, 1);
  windows.getResult().setType(typeOf(few).clone(shape));
  for (int64_t axis : convolution.ordered.getPermutation().drop_front())
    order.push_back(axis + 1);
  Value rows = f.reshape(transposed(b, inner, windows, order),
                         SymShape{extents[0], SymExpr(rank), extents[1], SymExpr(elements)});
  Value slid = f.matmul(rows, f.reshapeTo(window, {rank, 1, elements}), /*transposeRhs=*/true);
  slid = f.transpose(f.reshape(slid, SymShape{extents[0], SymExpr(rank), extents[1]}), {0, 2, 1});
  Value result = f.matmul(slid, left, /*transposeRhs=*/true);
  if (!result)
    return false;
  result.getDefiningOp()->setLoc(loc);
  replaceProduct(convolution, result);
  return true;
}

bool replaceByTuckerExpression(Value weight, StringRef name, Type stored, const TuckerFactors &factors,
                               const compression::MakeConstant &make) {
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  std::vector<std::string> names = tuckerNames(name);
  auto [o, c, e] = factors.shape;
  const int64_t q = factors.inputRank, p = factors.outputRank;
  Location loc = weight.getLoc();
  Value right = makeMatrix(b, loc, stored, names[0], factors.right, q, c, /*turned=*/false, make);
  Value core = right ? makeMatrix(b, loc, stored, names[1], factors.core, p, q * e, /*turned=*/false, make) : Value();
  Value left = core ? makeMatrix(b, loc, stored, names[2], factors.left, o, p, /*turned=*/false, make) : Value();
  if (!left)
    return false;
  ShapeContext shapes;
  FormBuilder f(b, loc, shapes);
  Value wide = f.matmul(f.transpose(right, {1, 0}), f.reshapeTo(core, {p, q, e}));
  weight.replaceAllUsesWith(f.matmul(left, f.reshapeTo(wide, {p, c * e})));
  return true;
}

bool replaceByCpExpression(Value weight, StringRef name, Type stored, const CpFactors &factors,
                           const compression::MakeConstant &make) {
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  std::vector<std::string> names = cpNames(name);
  auto [o, c, e] = factors.shape;
  const int64_t rank = factors.rank;
  Location loc = weight.getLoc();
  Value right = makeMatrix(b, loc, stored, names[0], factors.right, rank, c, /*turned=*/false, make);
  Value window =
      right ? makeMatrix(b, loc, stored, names[1], factors.window, rank, e, /*turned=*/false, make) : Value();
  Value left = window ? makeMatrix(b, loc, stored, names[2], factors.left, o, rank, /*turned=*/false, make) : Value();
  if (!left)
    return false;
  ShapeContext shapes;
  FormBuilder f(b, loc, shapes);
  Value wide = f.binary<MulOp>(f.reshapeTo(right, {rank, c, 1}), f.reshapeTo(window, {rank, 1, e}));
  weight.replaceAllUsesWith(f.matmul(left, f.reshapeTo(wide, {rank, c * e})));
  return true;
}

} // namespace lathe::lowrank
