//===- TilePlan.cpp - Products of bf16 by tiles ------------------------------===//
//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/TilePlan.h"

#include "backends/cpu/runtime/PackWeights.h"
#include "backends/cpu/runtime/Rounding.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cpu;
using runtime::Status;
using runtime::success;

namespace {
/// Numbers of the left side that are worth waking another thread for before the product.
constexpr int64_t kPreparedNumbers = int64_t(1) << 15;
/// Numbers of bf16 that a row of a tile has.
constexpr int64_t kTileNumbers = kTileBytes / 2;
} // namespace

Status TilePlan::create(const PlanKey &key, int threads, const TileKernels &kernels, WeightStore &weights,
                        std::unique_ptr<Plan> *plan) {
  std::unique_ptr<TilePlan> result(new TilePlan(key, kernels));
  TilePlan &p = *result;
  WeightLayout layout;
  std::string error;
  if (!preferredWeightLayout(key.k, key.n, LATHE_BF16, &layout, &error))
    return runtime::failure(LATHE_INTERNAL, error);
  const unsigned char *packed = nullptr;
  if (Status status = weights.find(key.weight, layout.layout, key.bRow, key.bCol, &packed); status.failed())
    return status;
  p.weight_ = reinterpret_cast<const uint16_t *>(packed);
  p.width_ = layout.layout.blockOf(1);
  p.panels_ = layout.layout.paddedDims[1] / p.width_;
  p.tiling_ = chooseGemmTiling(key.m, key.n, key.k, key.items(), threads, /*elementSize=*/2);
  p.tiling_.depth = ceilDiv(p.tiling_.depth, kTileNumbers) * kTileNumbers;
  p.grid_ = gridOf(p.tiling_, key.m, p.panels_, key.k * key.n * 2);
  p.padded_ = ceilDiv(key.k, kTileNumbers) * kTileNumbers;
  p.preparedRows_ = std::max<int64_t>(kPreparedNumbers / key.k, 1);
  p.preparations_ = ceilDiv(key.items() * key.m, p.preparedRows_);
  p.sharedBytes_ = aligned(static_cast<size_t>(key.items() * key.m * p.padded_) * 2);
  p.sumBytes_ = aligned(static_cast<size_t>(p.tiling_.rows * p.width_) * 4);
  p.pairBytes_ = aligned(static_cast<size_t>(p.tiling_.depth * p.width_) * 2);
  *plan = std::move(result);
  return success();
}

void TilePlan::prepare(const lathe_matmul_call &call, int64_t index, unsigned char *shared) {
  const int64_t end = std::min(key_.items() * key_.m, (index + 1) * preparedRows_);
  for (int64_t row = index * preparedRows_; row < end; ++row) {
    const float *a =
        static_cast<const float *>(call.a) + key_.offsetOf(row / key_.m, key_.aBatch) + row % key_.m * key_.aRow;
    kernels_.round(a, key_.aCol, key_.k, padded_, reinterpret_cast<uint16_t *>(shared) + row * padded_);
  }
}

/// What rounded rows depend on.
std::vector<int64_t> TilePlan::preparation() const {
  std::vector<int64_t> result = {-1, key_.m, key_.k, key_.aRow, key_.aCol}; // no other plan's begins so
  result.insert(result.end(), key_.batch, key_.batch + 3);
  result.insert(result.end(), key_.aBatch, key_.aBatch + 3);
  return result;
}

void TilePlan::multiplyPanel(GemmBlock &block, const uint16_t *a, const uint16_t *panel, const uint16_t *next,
                             unsigned char *scratch) const {
  auto *sums = reinterpret_cast<float *>(scratch);
  auto *pairs = reinterpret_cast<uint16_t *>(scratch + sumBytes_);
  for (int64_t k = 0; k < key_.k; k += tiling_.depth) {
    TileBlock tile;
    tile.aRow = padded_;
    tile.depth = std::min(tiling_.depth, key_.k - k);
    tile.b = pairs;
    tile.width = width_;
    tile.columns = block.columns;
    tile.first = k == 0;
    kernels_.pair(panel + k * width_, tile.depth, width_, pairs);
    const bool isLast = k + tile.depth == key_.k;
    const uint16_t *following = isLast ? next : panel + (k + tile.depth) * width_;
    const int64_t lines =
        following ? std::min(tiling_.depth, isLast ? key_.k : key_.k - k - tile.depth) * width_ / 32 : 0;
    for (int64_t row = 0; row < block.rows; row += kTilePairRows) {
      // An equal share of what follows while each few rows are computed.
      const int64_t end = std::min(row + kTilePairRows, block.rows), first = lines * row / block.rows;
      tile.next = reinterpret_cast<const char *>(following) + first * kTileBytes;
      tile.nextLines = lines * end / block.rows - first;
      tile.a = a + row * padded_ + k;
      tile.rows = std::min(kTilePairRows, block.rows - row);
      tile.sums = sums + row * width_;
      kernels_.multiply(tile);
      if (k + tile.depth == key_.k)
        kGemmAvx512.finish(block, tile.sums, tile.rows, row);
    }
  }
}

bool TilePlan::execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int, dnnl_stream_t,
                       unsigned char *scratch, const unsigned char *shared) {
  auto [item, rowTile, group] = grid_.placeOf(piece);
  const int64_t row = rowTile * tiling_.rows, outOffset = key_.offsetOf(item, key_.outBatch) + row * key_.outRow;
  auto *a = reinterpret_cast<const uint16_t *>(shared) + (item * key_.m + row) * padded_;
  GemmBlock block;
  block.rows = std::min(tiling_.rows, key_.m - row);
  block.width = width_;
  block.outRow = key_.outRow;
  block.alpha = static_cast<float>(key_.alpha);
  block.activation = key_.activation;
  const int64_t panelEnd = std::min(panels_, (group + 1) * tiling_.panels);
  for (int64_t panel = group * tiling_.panels; panel < panelEnd; ++panel) {
    placeBlock(block, call, outOffset, panel * width_);
    const int64_t next = panel + 1 < panelEnd ? panel + 1 : grid_.firstPanel(following, key_.items(), tiling_.panels);
    multiplyPanel(block, a, weight_ + panel * key_.k * width_, next < 0 ? nullptr : weight_ + next * key_.k * width_,
                  scratch);
  }
  return true;
}
