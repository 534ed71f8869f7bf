//===- LowRankTimes.cpp - Whether thin factors pay ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/LowRankTimes.h"
#include "compiler/LayerValues.h"
#include "compiler/ProductRows.h"
#include "passes/lowrank/Expressions.h"
#include "passes/lowrank/Passes.h"

using namespace mlir;

namespace lathe {
namespace {

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
      WeightMaker make(*compression.files, error, /*isShared=*/false);
      std::string name = "weight " + std::to_string(product.index);
      auto widened = weight.getDefiningOp<CastOp>(); // of a weight of 16 bits
      Type stored = cast<RankedTensorType>((widened ? widened.getInput() : weight).getType()).getElementType();
      if (!lowrank::replaceByFactors(weight, name, transposed, stored, factors, {}, std::ref(make)))
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
  std::vector<compression::Layer> all;
  for (const RankedLayer &own : layers)
    all.push_back(*own.layer);
  ProductRows rows(compression.programs, all, compression.rows);
  for (RankedLayer &own : layers) {
    if (!own.layer->isMatmul() || !own.layer->readsRows())
      continue;
    TimedProduct product = timedProduct(*own.layer, rows.of(*own.layer));
    if (!compression.timeAll && isSmall(product))
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
    own->decides = !isSmall(product);
  }
  return true;
}

} // namespace lathe
