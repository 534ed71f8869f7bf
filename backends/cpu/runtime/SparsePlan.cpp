//===- SparsePlan.cpp - Products with matrices with zeros -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/SparsePlan.h"

#include "backends/cpu/runtime/GemmPlan.h"
#include "backends/cpu/runtime/Rounding.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cpu;
using runtime::failure;
using runtime::SparseLayout;
using runtime::SparseValues;
using runtime::Status;
using runtime::success;

namespace {

constexpr int64_t kPanel = SparseLayout::kPanelColumns, kBlock = SparseLayout::kBlockRows;
/// Below this many operations, waking threads costs more than they save.
constexpr double kMinParallelOperations = 5e5;
/// For fewer rows a product takes as long as its weight takes to come.
constexpr int64_t kReadRows = 4;
/// So that a thread that is held up does not hold up the others.
constexpr int64_t kPiecesPerThread = 4;
/// Panels whose sums stay in the second cache beside a block of the left side.
constexpr int64_t kMaxGroupPanels = 16;

static_assert(static_cast<int>(SparseValues::i8) == 3, "the order of SparseKernels::multiply");

Status refuse(const PlanKey &key, const SparseLayout &layout, const unsigned char *packed) {
  if (layout.k != key.k || layout.n != key.n)
    return failure(LATHE_INTERNAL, "a sparse weight of [", layout.k, ", ", layout.n, "] is used as a [", key.k, ", ",
                   key.n, "] matrix");
  if (key.dtype != LATHE_F32)
    return failure(LATHE_INTERNAL, "the cpu backend has no sparse matmul of this type; expected f32");
  if (key.aQuantization != LATHE_QUANTIZE_NONE)
    return failure(LATHE_INTERNAL, "a product of integers needs a quantized weight, found a sparse one");
  if (std::string why; !layout.verify(packed, &why))
    return failure(LATHE_INVALID_ARTIFACT, "a sparse weight of [", layout.k, ", ", layout.n, "] ", why);
  return success();
}

} // namespace

Status SparsePlan::create(const PlanKey &key, int threads, std::string_view isa, const SparseLayout &layout,
                          const unsigned char *packed, std::unique_ptr<Plan> *plan) {
  if (Status status = refuse(key, layout, packed); status.failed())
    return status;
  std::unique_ptr<SparsePlan> result(new SparsePlan(key, layout, packed));
  SparsePlan &p = *result;
  p.kernels_ = &sparseKernels(isa);
  p.blocks_ = &gemmKernels(isa);
  int width = 0;
  for (; p.width_ < std::min(key.m, p.kernels_->widest); p.width_ *= 2)
    ++width;
  p.multiply_ = p.kernels_->multiply[width][static_cast<int>(layout.values)][layout.height == 4];
  p.itemTiles_ = ceilDiv(key.m, p.width_);
  p.tiles_ = p.itemTiles_ * key.items();
  double operations = 2.0 * static_cast<double>(std::max(key.m, kReadRows) * key.items()) *
                      static_cast<double>(layout.fours * SparseLayout::kFour * layout.height);
  p.parallel_ = threads > 1 && operations >= kMinParallelOperations;
  int64_t panels = layout.panels(), wanted = p.parallel_ ? ceilDiv(threads * kPiecesPerThread, p.tiles_) : 1;
  p.groupPanels_ = std::clamp<int64_t>(panels / wanted, 1, kMaxGroupPanels);
  p.groups_ = ceilDiv(panels, p.groupPanels_);
  p.sumBytes_ = aligned(static_cast<size_t>(p.groupPanels_ * kPanel * p.width_) * 4);
  p.rowBytes_ = aligned(static_cast<size_t>(kPanel * p.width_) * 4);
  p.sharedBytes_ = static_cast<size_t>(p.tiles_ * layout.blocks() * kBlock * p.width_) * 4;
  *plan = std::move(result);
  return success();
}

int64_t SparsePlan::tileRows(int64_t tile) const { return std::min(width_, key_.m - tile % itemTiles_ * width_); }

int64_t SparsePlan::tileOffset(int64_t tile, const int64_t (&batch)[3], int64_t row) const {
  return tile % itemTiles_ * width_ * row + key_.offsetOf(tile / itemTiles_, batch);
}

void SparsePlan::prepare(const lathe_matmul_call &call, int64_t index, unsigned char *shared) {
  int64_t tile = index / layout_.blocks(), k = index % layout_.blocks() * kBlock;
  auto *turned = reinterpret_cast<float *>(shared) + index * kBlock * width_;
  const float *a = static_cast<const float *>(call.a) + tileOffset(tile, key_.aBatch, key_.aRow) + k * key_.aCol;
  SparseTurn turn;
  turn.rows = tileRows(tile);
  turn.columns = std::min(kBlock, key_.k - k);
  if (turn.rows < width_ || turn.columns < kBlock)
    std::fill(turned, turned + kBlock * width_, 0.0f);
  if (key_.aCol != 1) { // such as one that is turned already
    for (int64_t column = 0; column < turn.columns; ++column)
      for (int64_t row = 0; row < turn.rows; ++row)
        turned[column * width_ + row] = a[row * key_.aRow + column * key_.aCol];
    return;
  }
  turn.from = a;
  turn.fromRow = key_.aRow;
  turn.to = turned;
  turn.toRow = width_;
  kernels_->turn(turn);
}

void SparsePlan::multiplyPanel(int64_t block, int64_t panel, const float *a, float *sums) const {
  int64_t index = block * layout_.panels() + panel, lists = layout_.panelLists();
  auto fours = static_cast<int64_t>(reinterpret_cast<const uint32_t *>(packed_)[index]);
  SparseBlock job;
  job.a = a;
  job.order = packed_ + layout_.orderOffset() + index * lists;
  job.fours = packed_ + layout_.foursOffset() + index * lists;
  job.rows = packed_ + layout_.rowsOffset() + fours * SparseLayout::kFour;
  job.values = packed_ + layout_.valuesOffset() + fours * SparseLayout::kFour * layout_.height * layout_.valueBytes();
  job.blockScales = layout_.blockScales();
  job.scales = reinterpret_cast<const float *>(packed_ + layout_.scalesOffset()) + index * kPanel * job.blockScales;
  job.scaleShift = job.blockScales > 0 ? __builtin_ctzll(static_cast<uint64_t>(kBlock / job.blockScales)) : 0;
  job.sums = sums;
  multiply_(job);
}

void SparsePlan::finishPanel(const lathe_matmul_call &call, int64_t tile, int64_t panel, const float *sums,
                             float *rows) const {
  const int64_t column = panel * kPanel;
  GemmBlock block;
  block.rows = tileRows(tile);
  block.width = kPanel;
  kernels_->turn({sums, width_, rows, kPanel, kPanel, width_});
  placeBlock(block, call, tileOffset(tile, key_.outBatch, key_.outRow), column);
  block.outRow = key_.outRow;
  block.alpha = static_cast<float>(key_.alpha);
  block.activation = key_.activation;
  blocks_->finish(block, rows, block.rows, 0);
}

bool SparsePlan::execute(const lathe_matmul_call &call, int64_t piece, int64_t, int, dnnl_stream_t, unsigned char *scratch,
                         const unsigned char *shared) {
  // Neighbours share panels, which are larger than rows.
  int64_t tile = piece % tiles_, first = piece / tiles_ * groupPanels_;
  int64_t panels = std::min(groupPanels_, layout_.panels() - first);
  auto *sums = reinterpret_cast<float *>(scratch);
  auto *rows = reinterpret_cast<float *>(scratch + sumBytes_);
  auto *a = reinterpret_cast<const float *>(shared) + tile * layout_.blocks() * kBlock * width_;
  std::fill(sums, sums + panels * kPanel * width_, 0.0f);
  for (int64_t block = 0; block < layout_.blocks(); ++block)
    for (int64_t panel = 0; panel < panels; ++panel)
      multiplyPanel(block, first + panel, a + block * kBlock * width_, sums + panel * kPanel * width_);
  for (int64_t panel = 0; panel < panels; ++panel)
    finishPanel(call, tile, first + panel, sums + panel * kPanel * width_, rows);
  return true;
}
