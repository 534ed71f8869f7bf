//===- QuantPlan.cpp - Products with quantized weights ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantPlan.h"

#include "backends/cpu/runtime/Rounding.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cpu;
using runtime::CodeValues;
using runtime::QuantizedLayout;
using runtime::ScaleType;
using runtime::Status;
using runtime::success;
using runtime::ZeroType;

namespace {

/// Weights that are larger than this are read from memory, so each panel is used for all rows at once.
constexpr int64_t kCachedWeightBytes = int64_t(16) << 20;
/// Rows of a panel that few rows use, as f32 in the first cache.
constexpr int64_t kFewDepth = 64;

static_assert(static_cast<int>(QuantNumber::e8m0) == static_cast<int>(ScaleType::e8m0) &&
              static_cast<int>(QuantFormat::codebook) == static_cast<int>(CodeValues::codebook));

QuantNumber numberType(ScaleType type) { return static_cast<QuantNumber>(type); }

} // namespace

QuantFormat cpu::formatOf(const QuantizedLayout &layout) {
  QuantFormat format;
  format.values = static_cast<QuantFormat::Values>(layout.values);
  format.bits = layout.bits;
  format.dimension = layout.dimension;
  return format;
}

QuantWeight cpu::describeWeight(const QuantizedLayout &layout, const unsigned char *packed) {
  QuantWeight weight;
  weight.k = layout.k;
  weight.group = layout.group;
  weight.panel = layout.panel;
  weight.unitBytes = layout.unitBytes();
  weight.headBytes = layout.headBytes();
  weight.groupBytes = layout.groupBytes(0);
  weight.scaleBytes = layout.scaleBytes();
  weight.scale = numberType(layout.scale);
  if (layout.zeros != ZeroType::constant)
    weight.zeros = layout.zeros == ZeroType::u8 ? QuantNumber::u8 : numberType(layout.scale);
  weight.entries = layout.entries();
  weight.dimension = layout.dimension;
  if (layout.values == CodeValues::integer)
    weight.center = static_cast<float>(layout.entries() / 2);
  if (layout.zeros == ZeroType::constant)
    weight.zero = layout.zero - weight.center;
  if (layout.hasTable())
    weight.table = reinterpret_cast<const float *>(packed);
  bool looked = layout.bits <= 4 && layout.dimension == 1;
  for (int64_t i = 0; looked && i < 16; ++i) {
    int64_t entry = i % layout.entries();
    weight.lookup[i] = layout.values == CodeValues::table ? weight.table[entry] : static_cast<float>(entry) - weight.center;
  }
  return weight;
}

Status QuantPlan::create(const PlanKey &key, int threads, std::string_view isa, const QuantizedLayout &layout,
                         const unsigned char *packed, std::unique_ptr<Plan> *plan) {
  if (layout.k != key.k || layout.n != key.n)
    return runtime::failure(LATHE_INTERNAL, "a quantized weight of [", layout.k, ", ", layout.n, "] is used as a [", key.k,
                            ", ", key.n, "] matrix");
  if (key.dtype != LATHE_F32)
    return runtime::failure(LATHE_INTERNAL, "the cpu backend has no matmul of this type; expected f32");
  std::unique_ptr<QuantPlan> result(new QuantPlan(key));
  QuantPlan &p = *result;
  p.blocks_ = &gemmKernels(isa);
  p.kernels_ = quantKernels(isa, formatOf(layout));
  p.weight_ = describeWeight(layout, packed);
  p.panelData_ = packed + layout.tableBytes();
  p.panelBytes_ = layout.panelBytes();
  p.panels_ = layout.panels();
  p.tiling_ = chooseGemmTiling(key.m, key.n, key.k, key.items(), threads);
  if (p.tiling_.rows <= kTileRows)
    p.tiling_.depth = std::min(p.tiling_.depth, kFewDepth);
  p.tiling_.depth = ceilDiv(p.tiling_.depth, layout.unitRows()) * layout.unitRows();
  p.rowTiles_ = ceilDiv(key.m, p.tiling_.rows);
  p.panelGroups_ = ceilDiv(p.panels_, p.tiling_.panels);
  p.rowsFirst_ = layout.bytes() > kCachedWeightBytes;
  p.stageA_ = key.aCol != 1;
  p.wideBytes_ = aligned(static_cast<size_t>(p.tiling_.depth * layout.panel) * 4);
  if (p.stageA_)
    p.aBytes_ = aligned(static_cast<size_t>(p.tiling_.rows * key.k) * 4);
  if (p.tiling_.depth < key.k)
    p.sumBytes_ = aligned(static_cast<size_t>(p.tiling_.rows * layout.panel) * 4);
  p.scratchBytes_ = p.aBytes_ + p.sumBytes_ + p.wideBytes_;
  *plan = std::move(result);
  return success();
}

bool QuantPlan::execute(const lathe_matmul_call &call, int64_t piece, int, dnnl_stream_t, unsigned char *scratch) {
  int64_t rowTile = 0, group = 0, item = piece / (rowTiles_ * panelGroups_);
  piece %= rowTiles_ * panelGroups_;
  if (rowsFirst_) {
    rowTile = piece % rowTiles_;
    group = piece / rowTiles_;
  } else {
    group = piece % panelGroups_;
    rowTile = piece / panelGroups_;
  }
  int64_t aOffset = 0, outOffset = 0;
  for (int i = 2; i >= 0; --i) {
    int64_t index = item % key_.batch[i];
    item /= key_.batch[i];
    aOffset += index * key_.aBatch[i];
    outOffset += index * key_.outBatch[i];
  }
  int64_t row = rowTile * tiling_.rows;
  auto *a = static_cast<const float *>(call.a) + aOffset + row * key_.aRow;
  outOffset += row * key_.outRow;
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
  auto *wide = reinterpret_cast<float *>(scratch + aBytes_ + sumBytes_);
  block.width = weight_.panel;
  block.b = wide;
  block.outRow = key_.outRow;
  block.alpha = static_cast<float>(key_.alpha);
  block.activation = key_.activation;
  int64_t panelEnd = std::min(panels_, (group + 1) * tiling_.panels);
  for (int64_t panel = group * tiling_.panels; panel < panelEnd; ++panel) {
    int64_t column = panel * weight_.panel;
    block.columns = std::min(weight_.panel, key_.n - column);
    block.out = static_cast<float *>(call.out) + outOffset + column;
    block.bias = call.bias ? static_cast<const float *>(call.bias) + column : nullptr;
    block.multiplier = call.multiplier ? static_cast<const float *>(call.multiplier) + outOffset + column : nullptr;
    block.residual = call.residual ? static_cast<const float *>(call.residual) + outOffset + column : nullptr;
    for (int64_t k = 0; k < key_.k; k += tiling_.depth) {
      block.depth = std::min(tiling_.depth, key_.k - k);
      block.first = k == 0;
      block.last = k + block.depth == key_.k;
      block.a = a + k;
      kernels_.widen(weight_, panelData_ + panel * panelBytes_, k, block.depth, wide);
      blocks_->f32(block);
    }
  }
  return true;
}
