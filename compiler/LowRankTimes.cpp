//===- LowRankTimes.cpp - Whether thin factors pay ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LowRankTimes.h"
#include "passes/lowrank/Expressions.h"
#include "passes/lowrank/Passes.h"

using namespace mlir;

namespace lathe {
namespace {

/// Multiplications of a product that take no longer than times must differ by to matter.
constexpr int64_t kFewest = int64_t(1) << 20;

/// Products by factors, of the rank of each.
ProductWay factorsWay(const Compression &compression, const std::vector<int64_t> &ranks) {
  auto change = [&compression, ranks](ArrayRef<TimedMatmul> products, std::string &error) {
    for (TimedMatmul product : products) {
      Value weight = product.op.getRhs();
      bool transposed = product.op.getTransposeRhs();
      auto shape = cast<RankedTensorType>(weight.getType()).getShape();
      lowrank::Factors factors;
      factors.n = shape[transposed ? 0 : 1];
      factors.k = shape[transposed ? 1 : 0];
      factors.r = ranks[product.index];
      factors.left.assign(factors.n * factors.r, 0.01f);
      factors.right.assign(factors.r * factors.k, 0.01f);
      auto make = [&](OpBuilder &b, Location loc, RankedTensorType type, StringRef name,
                      ArrayRef<char> bytes) -> Value {
        std::optional<uint64_t> offset = compression.files->append(bytes.data(), bytes.size(), error);
        return offset ? b.create<WeightOp>(loc, type, name, kMadeFile, *offset).getResult() : Value();
      };
      std::string name = "weight " + std::to_string(product.index);
      auto widened = weight.getDefiningOp<CastOp>(); // of a weight of 16 bits
      Type stored = cast<RankedTensorType>((widened ? widened.getInput() : weight).getType()).getElementType();
      if (!lowrank::replaceByFactors(weight, name, transposed, stored, factors, {}, make))
        return false;
    }
    if (!products.empty()) {
      MatmulOp first = products.front().op;
      lowrank::orderMatrixChains(first->getParentOfType<func::FuncOp>());
    }
    return true;
  };
  return {"factors", change};
}

} // namespace

bool timeFactors(const Compression &compression, const RecipeStep &step, std::vector<RankedLayer> &layers,
                 CompressionReport &report, std::string &error) {
  if (!prefersSpeed(*compression.recipe, step, compression.isPortable) && !compression.timeAll)
    return true;
  std::vector<TimedProduct> products;
  std::vector<RankedLayer *> timed;
  std::vector<int64_t> ranks;
  for (RankedLayer &own : layers) {
    if (!own.layer->isMatmul() || !own.layer->readsRows())
      continue;
    TimedProduct product = timedProduct(*own.layer, compression.rows);
    if (!compression.timeAll && product.rows * product.inputs * product.outputs < kFewest)
      continue;
    product.kind += " rank " + std::to_string(own.rank);
    products.push_back(std::move(product));
    timed.push_back(&own);
    ranks.push_back(own.rank);
  }
  if (products.empty())
    return true;
  report.whyNotTimed = whyNotTimed(compression);
  if (!report.whyNotTimed.empty())
    return true;
  ProductWay ways[] = {{compression.floats, nullptr}, factorsWay(compression, ranks)};
  std::vector<std::vector<TimedWay>> times;
  if (!timeProducts(compression, products, ways, "factors", times, error))
    return false;
  for (auto [own, product, measured] : llvm::zip(timed, products, times)) {
    own->ways = measured;
    own->rows = product.rows;
  }
  return true;
}

} // namespace lathe
