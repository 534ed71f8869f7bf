//===- GemmPlan.cpp - How a product with a constant is cut ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/GemmPlan.h"

#include "backends/cpu/runtime/PackWeights.h"
#include "backends/cpu/runtime/Rounding.h"
#include "runtime/DataType.h"

#include <algorithm>
#include <unistd.h>

using namespace lathe;
using namespace lathe::cpu;
using runtime::Status;
using runtime::success;

namespace {

/// Below this many operations, waking threads costs more than they save.
constexpr double kMinParallelOperations = 5e5;
/// For fewer rows a product takes as long as its weight takes to come.
constexpr int64_t kReadRows = 4;
/// So that a thread that is held up does not hold up the others.
constexpr int64_t kPiecesPerThread = 4;
/// Rows whose part of the left side stays in the second cache beside two blocks of a panel.
constexpr int64_t kMaxRows = 132;
constexpr int64_t kMinRows = 24;
/// Weights that are larger than this are read from memory, so each panel is used for all rows at once.
constexpr int64_t kCachedWeightBytes = int64_t(16) << 20;

/// Rows of a panel of f32 that take an eighth of the second cache.
int64_t panelDepth() {
  static const int64_t depth = [] {
    int64_t bytes = std::clamp<int64_t>(sysconf(_SC_LEVEL2_CACHE_SIZE), int64_t(256) << 10, int64_t(1) << 20);
    return bytes / 8 / (kPanelColumns * 4) / 16 * 16;
  }();
  return depth;
}

} // namespace

GemmTiling cpu::chooseGemmTiling(int64_t m, int64_t n, int64_t k, int64_t items, int threads, int64_t elementSize) {
  GemmTiling tiling;
  int64_t panels = ceilDiv(n, kPanelColumns);
  tiling.depth = ceilDiv(k, ceilDiv(k, panelDepth() * 4 / elementSize));
  double operations = 2.0 * static_cast<double>(std::max(m, kReadRows)) * static_cast<double>(n) * static_cast<double>(k);
  tiling.parallel = threads > 1 && operations * static_cast<double>(items) >= kMinParallelOperations;
  int64_t rowTiles = ceilDiv(m, kMaxRows);
  int64_t wanted = tiling.parallel ? ceilDiv(threads * kPiecesPerThread, items) : 1;
  if (panels * rowTiles < wanted)
    rowTiles = std::max(rowTiles, std::min(ceilDiv(wanted, panels), m / kMinRows));
  tiling.rows = ceilDiv(m, rowTiles);
  rowTiles = ceilDiv(m, tiling.rows);
  tiling.panels = std::max<int64_t>(panels * rowTiles / std::max<int64_t>(wanted * 2, 1), 1);
  tiling.panels = std::min(tiling.panels, panels);
  return tiling;
}

void cpu::placeBlock(GemmBlock &block, const lathe_matmul_call &call, int64_t outOffset, int64_t column) {
  auto at = [](const void *base, int64_t offset) { return base ? static_cast<const float *>(base) + offset : nullptr; };
  block.columns = std::min(block.width, call.n - column);
  if (call.out_bytes != LATHE_BYTES_NONE)
    block.bytes = static_cast<unsigned char *>(call.out) + outOffset + column;
  else
    block.out = static_cast<float *>(call.out) + outOffset + column;
  block.bias = at(call.bias, column);
  block.multiplier = at(call.multiplier, outOffset + column);
  block.residual = at(call.residual, outOffset + column);
}

GemmGrid cpu::gridOf(const GemmTiling &tiling, int64_t m, int64_t panels, int64_t weightBytes) {
  return {ceilDiv(m, tiling.rows), ceilDiv(panels, tiling.panels), weightBytes > kCachedWeightBytes};
}

Status GemmPlan::create(const PlanKey &key, int threads, std::string_view isa, WeightStore &weights,
                        std::unique_ptr<Plan> *plan) {
  std::unique_ptr<GemmPlan> result(new GemmPlan(key));
  lathe_dtype type = LATHE_F32;
  if (Status status = weights.type(key.weight, &type); status.failed())
    return status;
  WeightLayout layout;
  std::string error;
  if (!preferredWeightLayout(key.k, key.n, type, &layout, &error))
    return runtime::failure(LATHE_INTERNAL, error);
  if (Status status = weights.find(key.weight, layout.layout, key.bRow, key.bCol, &result->weight_); status.failed())
    return status;
  GemmPlan &p = *result;
  p.kernels_ = &gemmKernels(isa);
  p.tiling_ = chooseGemmTiling(key.m, key.n, key.k, key.items(), threads);
  p.elementSize_ = runtime::dataType(type)->size;
  p.width_ = layout.layout.blockOf(1);
  p.panels_ = layout.layout.paddedDims[1] / p.width_;
  p.grid_ = gridOf(p.tiling_, key.m, p.panels_, key.k * key.n * static_cast<int64_t>(p.elementSize_));
  p.stageA_ = key.aCol != 1;
  p.block_ = type == LATHE_F32 ? p.kernels_->f32 : type == LATHE_BF16 ? p.kernels_->bf16 : p.kernels_->f16;
  if (type != LATHE_F32 && p.tiling_.rows > kTileRows) {
    p.widen_ = type == LATHE_BF16 ? p.kernels_->widenBf16 : p.kernels_->widenF16;
    p.block_ = p.kernels_->f32;
    p.panelBytes_ = aligned(static_cast<size_t>(p.tiling_.depth * p.width_) * 4);
  }
  if (p.stageA_)
    p.aBytes_ = aligned(static_cast<size_t>(p.tiling_.rows * key.k) * 4);
  if (p.tiling_.depth < key.k)
    p.sumBytes_ = aligned(static_cast<size_t>(p.tiling_.rows * p.width_) * 4);
  p.scratchBytes_ = p.aBytes_ + p.sumBytes_ + p.panelBytes_;
  *plan = std::move(result);
  return success();
}

bool GemmPlan::execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int, dnnl_stream_t, unsigned char *scratch,
                       const unsigned char *) {
  auto [item, rowTile, group] = grid_.placeOf(piece);
  int64_t row = rowTile * tiling_.rows, outOffset = key_.offsetOf(item, key_.outBatch) + row * key_.outRow;
  auto *a = static_cast<const float *>(call.a) + key_.offsetOf(item, key_.aBatch) + row * key_.aRow;
  GemmBlock block;
  block.rows = std::min(tiling_.rows, key_.m - row);
  block.aRow = key_.aRow;
  if (stageA_) {
    auto *staged = reinterpret_cast<float *>(scratch);
    for (int64_t i = 0; i < block.rows; ++i)
      for (int64_t k = 0; k < key_.k; ++k)
        staged[i * key_.k + k] = a[i * key_.aRow + k * key_.aCol];
    a = staged;
    block.aRow = key_.k;
  }
  block.sums = reinterpret_cast<float *>(scratch + aBytes_);
  auto *widened = reinterpret_cast<float *>(scratch + aBytes_ + sumBytes_);
  block.width = width_;
  block.outRow = key_.outRow;
  block.alpha = static_cast<float>(key_.alpha);
  block.activation = key_.activation;
  const size_t panelRow = static_cast<size_t>(width_) * elementSize_;
  int64_t panelEnd = std::min(panels_, (group + 1) * tiling_.panels);
  for (int64_t panel = group * tiling_.panels; panel < panelEnd; ++panel) {
    placeBlock(block, call, outOffset, panel * width_);
    const unsigned char *b = weight_ + static_cast<size_t>(panel * key_.k) * panelRow;
    for (int64_t k = 0; k < key_.k; k += tiling_.depth) {
      block.depth = std::min(tiling_.depth, key_.k - k);
      block.first = k == 0;
      block.last = k + block.depth == key_.k;
      block.a = a + k;
      block.b = b;
      b += static_cast<size_t>(block.depth) * panelRow;
      // The next block of the panel, or of the next panel, lies behind this one.
      int64_t next = grid_.firstPanel(following, key_.items(), tiling_.panels);
      bool isLast = block.last && panel + 1 == panelEnd;
      block.next = reinterpret_cast<const char *>(
          !isLast || next < 0 ? b : weight_ + static_cast<size_t>(next * key_.k) * panelRow);
      block.nextLines = isLast && next < 0 ? 0 : block.depth * static_cast<int64_t>(panelRow) / 64;
      if (widen_) {
        widen_(block.b, widened, block.depth * width_);
        block.b = widened;
      }
      block_(block);
    }
  }
  return true;
}
