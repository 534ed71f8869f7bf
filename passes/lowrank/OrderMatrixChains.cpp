//===- OrderMatrixChains.cpp - Multiply by factors one by one -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/ValueNames.h"
#include "passes/lowrank/Passes.h"
#include "passes/lowrank/Trains.h"

namespace lathe::lowrank {
#define GEN_PASS_DEF_ORDERMATRIXCHAINSPASS
#include "passes/lowrank/Passes.h.inc"
} // namespace lathe::lowrank

using namespace mlir;

namespace lathe::lowrank {
namespace {

/// A factor as the product reads it: [rows][columns] after `transposed`.
struct Factor {
  Value value;
  bool transposed;
  int64_t extent(bool ofColumns) const {
    return cast<RankedTensorType>(value.getType()).getDimSize(ofColumns != transposed ? 1 : 0);
  }
};

bool isStaticMatrix(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getRank() == 2 && type.hasStaticShape();
}

/// Whether factors have fewer numbers than their product, so that (x a) b takes fewer multiplications than x (a b) for
/// any number of rows.
bool saves(MatmulOp chain) {
  if (!isStaticMatrix(chain.getLhs()) || !isStaticMatrix(chain.getRhs()))
    return false;
  int64_t n = cast<RankedTensorType>(chain.getType()).getDimSize(0),
          k = cast<RankedTensorType>(chain.getType()).getDimSize(1);
  int64_t rank = Factor{chain.getLhs(), chain.getTransposeLhs()}.extent(/*ofColumns=*/true);
  return rank * (n + k) < n * k;
}

UnitAttr flag(OpBuilder &b, bool isSet) { return isSet ? b.getUnitAttr() : UnitAttr(); }

/// A matrix that is the product of factors, or what they leave of it added to that.
struct Chain {
  Value matrix;
  Factor a, b;
  Value rest; ///< null for none
};

/// x (a b), or x (a b)^T, as (x first) second; what is left of the matrix has a product of its own.
void orderProduct(MatmulOp product, const Chain &chain) {
  Factor first = chain.a, second = chain.b;
  if (product.getTransposeRhs()) { // (a b)^T = b^T a^T
    std::swap(first, second);
    first.transposed = !first.transposed;
    second.transposed = !second.transposed;
  }
  OpBuilder builder(product);
  Location loc = product.getLoc(), inner = withoutValue(loc);
  auto left = cast<RankedTensorType>(product.getLhs().getType());
  SmallVector<int64_t> shape(left.getShape());
  if (product.getTransposeLhs())
    shape[shape.size() - 2] = shape.back();
  shape.back() = first.extent(/*ofColumns=*/true);
  UnitAttr transposeLhs = flag(builder, product.getTransposeLhs());
  Value thin = builder.create<MatmulOp>(inner, left.clone(shape), product.getLhs(), first.value, transposeLhs,
                                        flag(builder, first.transposed));
  Value x = product.getLhs();
  UnitAttr transposeRhs = flag(builder, product.getTransposeRhs());
  // The product stays the same operation: it may be one of the chains that are still to be ordered.
  product.getLhsMutable().assign(thin);
  product.getRhsMutable().assign(second.value);
  product.setTransposeLhs(false);
  product.setTransposeRhs(second.transposed);
  if (!chain.rest)
    return;
  product->setLoc(inner);
  builder.setInsertionPointAfter(product);
  Value other = builder.create<MatmulOp>(inner, product.getType(), x, chain.rest, transposeLhs, transposeRhs);
  Value sum = builder.create<AddOp>(loc, product.getType(), product, other);
  product.getResult().replaceAllUsesExcept(sum, sum.getDefiningOp());
}

/// Rows of a b as rows of a, times b; and rows of what is left.
void orderLookup(GatherOp lookup, const Chain &chain) {
  OpBuilder builder(lookup);
  Location loc = lookup.getLoc(), inner = withoutValue(loc);
  auto type = cast<RankedTensorType>(lookup.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = chain.a.extent(/*ofColumns=*/true);
  Value rows = builder.create<GatherOp>(inner, type.clone(shape), chain.a.value, lookup.getIndices(), /*axis=*/0);
  Value result = builder.create<MatmulOp>(chain.rest ? inner : loc, type, rows, chain.b.value, UnitAttr(),
                                          flag(builder, chain.b.transposed));
  if (chain.rest)
    result = builder.create<AddOp>(loc, type, result,
                                   builder.create<GatherOp>(inner, type, chain.rest, lookup.getIndices(), /*axis=*/0));
  lookup.replaceAllUsesWith(result);
  lookup.erase();
}

/// The matrix that factors make, with what is added to them where nothing else reads their product.
Chain chainOf(MatmulOp factors) {
  Chain chain{
      factors, {factors.getLhs(), factors.getTransposeLhs()}, {factors.getRhs(), factors.getTransposeRhs()}, {}};
  auto sum = factors->hasOneUse() ? dyn_cast<AddOp>(*factors->user_begin()) : AddOp();
  if (!sum || sum.getType() != factors.getType())
    return chain;
  Value rest = sum->getOperand(sum->getOperand(0) == chain.matrix ? 1 : 0);
  if (rest.getType() != factors.getType())
    return chain;
  chain.matrix = sum;
  chain.rest = rest;
  return chain;
}

void order(MatmulOp factors) {
  Chain chain = chainOf(factors);
  bool hasLookup = llvm::any_of(chain.matrix.getUsers(), [](Operation *user) { return isa<GatherOp>(user); });
  if (!saves(factors) || (hasLookup && chain.a.transposed) || chain.matrix.use_empty())
    return;
  for (OpOperand &use : chain.matrix.getUses())
    if (!whyNotFactors(use).empty())
      return;
  for (OpOperand &use : llvm::make_early_inc_range(chain.matrix.getUses())) {
    if (auto product = dyn_cast<MatmulOp>(use.getOwner()))
      orderProduct(product, chain);
    else
      orderLookup(cast<GatherOp>(use.getOwner()), chain);
  }
  if (chain.rest)
    chain.matrix.getDefiningOp()->erase();
  factors.erase();
}

struct OrderMatrixChains : impl::OrderMatrixChainsPassBase<OrderMatrixChains> {
  void runOnOperation() override { orderMatrixChains(getOperation()); }
};

} // namespace

std::string whyNotFactors(OpOperand &use) {
  if (auto product = dyn_cast<MatmulOp>(use.getOwner()))
    return use.getOperandNumber() == 1 && product.getLhs() != use.get() ? "" : "a product reads it as its left side";
  auto lookup = dyn_cast<GatherOp>(use.getOwner());
  if (!lookup || use.getOperandNumber() != 0 || lookup.getAxis() != 0)
    return "something other than products and lookups of rows reads it";
  // A single row is a vector, which products don't take.
  return cast<RankedTensorType>(lookup.getType()).getRank() < 2 ? "a single row of it is looked up" : "";
}

void orderMatrixChains(func::FuncOp program) {
  SmallVector<MatmulOp> chains;
  program.walk([&](MatmulOp chain) { chains.push_back(chain); });
  for (MatmulOp chain : chains)
    order(chain);
  orderTrains(program);
}

} // namespace lathe::lowrank
