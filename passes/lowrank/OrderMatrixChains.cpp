//===- OrderMatrixChains.cpp - Multiply by factors one by one -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/lathe/ValueNames.h"
#include "passes/lowrank/Passes.h"

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

/// x (a b), or x (a b)^T, as (x first) second.
void orderProduct(MatmulOp product, Factor a, Factor b) {
  if (product.getTransposeRhs()) { // (a b)^T = b^T a^T
    std::swap(a, b);
    a.transposed = !a.transposed;
    b.transposed = !b.transposed;
  }
  OpBuilder builder(product);
  auto left = cast<RankedTensorType>(product.getLhs().getType());
  SmallVector<int64_t> shape(left.getShape());
  if (product.getTransposeLhs())
    shape[shape.size() - 2] = shape.back();
  shape.back() = a.extent(/*ofColumns=*/true);
  Value thin = builder.create<MatmulOp>(withoutValue(product.getLoc()), left.clone(shape), product.getLhs(), a.value,
                                        flag(builder, product.getTransposeLhs()), flag(builder, a.transposed));
  product.getLhsMutable().assign(thin);
  product.getRhsMutable().assign(b.value);
  product.setTransposeLhs(false);
  product.setTransposeRhs(b.transposed);
}

/// Rows of a b as rows of a, times b.
void orderLookup(GatherOp lookup, Factor a, Factor b) {
  OpBuilder builder(lookup);
  auto type = cast<RankedTensorType>(lookup.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape.back() = a.extent(/*ofColumns=*/true);
  Value rows = builder.create<GatherOp>(withoutValue(lookup.getLoc()), type.clone(shape), a.value, lookup.getIndices(),
                                        /*axis=*/0);
  Value result =
      builder.create<MatmulOp>(lookup.getLoc(), type, rows, b.value, UnitAttr(), flag(builder, b.transposed));
  lookup.replaceAllUsesWith(result);
  lookup.erase();
}

void order(MatmulOp chain) {
  Factor a{chain.getLhs(), chain.getTransposeLhs()}, b{chain.getRhs(), chain.getTransposeRhs()};
  bool hasLookup = llvm::any_of(chain->getUsers(), [](Operation *user) { return isa<GatherOp>(user); });
  if (!saves(chain) || (hasLookup && a.transposed) || chain->use_empty())
    return;
  for (OpOperand &use : chain->getUses())
    if (!whyNotFactors(use).empty())
      return;
  for (OpOperand &use : llvm::make_early_inc_range(chain->getUses())) {
    if (auto product = dyn_cast<MatmulOp>(use.getOwner()))
      orderProduct(product, a, b);
    else
      orderLookup(cast<GatherOp>(use.getOwner()), a, b);
  }
  chain.erase();
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
}

} // namespace lathe::lowrank
