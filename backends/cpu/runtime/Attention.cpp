//===- Attention.cpp - How an attention is cut into pieces ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/Attention.h"

#include "runtime/AttentionCall.h"
#include "runtime/CpuFeatures.h"
#include "runtime/DataType.h"
#include "runtime/include/lathe/lathe.h"

#include <algorithm>
#include <cmath>

using namespace lathe;
using namespace lathe::cpu;
using runtime::failure;
using runtime::Status;
using runtime::success;

namespace {

constexpr int64_t kLanes = AttentionBlock::kLanes;
constexpr int64_t kGroup = 16; ///< lanes come in groups of the largest vector

} // namespace

const AttentionKernels &cpu::attentionKernels(std::string_view isa, int64_t arithmetic) {
  if (arithmetic == LATHE_BF16 && isa == kAttentionBfloats.isa)
    return kAttentionBfloats;
  return isa == kAttentionAvx2.isa ? kAttentionAvx2 : kAttentionAvx512;
}

RunByteAttention cpu::byteAttention(std::string_view isa) {
  return runtime::codeIsa(isa) == "avx512" && runtime::hasVnni() ? runAttentionVnni : nullptr;
}

Status cpu::verifyAttention(const lathe_attention_call &call, const runtime::CacheRows *keys, const runtime::CacheRows *values) {
  if (call.dtype != LATHE_F32) {
    const runtime::DataType *type = runtime::dataType(static_cast<lathe_dtype>(call.dtype));
    return failure(LATHE_INTERNAL, "the cpu backend has no attention for type ", type ? type->name : "?",
                   "; expected f32");
  }
  static_assert(runtime::CacheRows::kPageRows == AttentionBlock::kKeys, "a page is what a kernel looks at together");
  static_assert(runtime::CacheLayout::kGroupUnit == AttentionBlock::kGroupColumns, "vectors do not cross groups");
  return runtime::verifyCall(call, keys, values);
}

AttentionPlan::AttentionPlan(const lathe_attention_call &call, int threads, const runtime::CacheRows *keys,
                             const runtime::CacheRows *values)
    : call_(call), keyCache_(keys), valueCache_(values), keys_(call.t), threads_(threads) {
  if (const runtime::CacheRows *cache = keys ? keys : values)
    keys_ = cache->sequences > 0 ? *std::max_element(cache->counts, cache->counts + cache->sequences) : 0;
  if (call.batch[2] == 0 || call.s == 0 || call.e == 0)
    return;
  rows_ = call.batch[2] / call.key_heads * call.s;
  heads_ = call.batch[0] * call.batch[1] * call.key_heads;
  int64_t groups = ceilDiv(rows_, kGroup);
  blocksPerHead_ = ceilDiv(rows_, kLanes);
  // Full blocks are the fastest, but each thread should have something to do.
  if (heads_ > 0 && heads_ * blocksPerHead_ < threads)
    blocksPerHead_ = std::min(groups, ceilDiv(threads, heads_));
  int64_t products = heads_ * rows_ * keys_ * (call.d + call.e);
  constexpr int64_t kWorthSharing = 1 << 16;
  parallel_ = threads > 1 && products >= kWorthSharing;
  int64_t blocks = heads_ * blocksPerHead_;
  if (parallel_ && blocks > 0 && blocks < threads) // of at least a few hundred keys: what is combined takes time too
    parts_ = std::max<int64_t>(1, std::min(ceilDiv(threads, blocks), keys_ / (4 * AttentionBlock::kKeys)));
}

bool AttentionPlan::useBytes(RunByteAttention run) {
  // Below these what is rounded takes longer than what is saved. Sums of products stay below 2^31.
  constexpr int64_t kFewestRows = 16, kFewestKeys = 32, kMostColumns = 1 << 14;
  bool hasCodes = (keyCache_ && keyCache_->layout.hasCodes()) || (valueCache_ && valueCache_->layout.hasCodes());
  if (!run || call_.arithmetic != LATHE_I8 || hasCodes || parts_ > 1 || rows_ < kFewestRows ||
      keys_ < kFewestKeys || call_.d == 0 || call_.d > kMostColumns)
    return false;
  runBytes_ = run;
  // Keys and values are rounded for each piece.
  constexpr int64_t kPiecesOfThread = 3;
  bool isEven = heads_ >= kPiecesOfThread * threads_ || heads_ % threads_ == 0;
  piecesPerHead_ = isEven ? 1 : std::min(blocksPerHead_, ceilDiv(kPiecesOfThread * threads_, heads_));
  return true;
}

size_t AttentionPlan::byteScratch() const {
  return runBytes_ ? static_cast<size_t>(AttentionBytes::layout(keys_ + AttentionBlock::kKeys, call_.d, call_.e).size) +
                            static_cast<size_t>(floatScratch()) * sizeof(float)
                      : 0;
}

void AttentionPlan::runBytes(const AttentionKernels &kernels, int64_t piece, float *scratch) const {
  int64_t head = piece / piecesPerHead_, own = piece % piecesPerHead_;
  int64_t begin = head * blocksPerHead_ + own * blocksPerHead_ / piecesPerHead_,
          end = head * blocksPerHead_ + (own + 1) * blocksPerHead_ / piecesPerHead_;
  AttentionBytes bytes;
  bytes.memory = reinterpret_cast<unsigned char *>(scratch + floatScratch());
  bytes.d = call_.d;
  bytes.e = call_.e;
  bytes.first = INT64_MAX;
  for (int64_t i = begin; i < end; ++i) {
    AttentionBlock block = describe(i, scratch);
    bytes.first = std::min(bytes.first, block.first);
    bytes.keys = std::max(bytes.keys, block.keys);
  }
  for (int64_t i = begin; i < end; ++i)
    if (AttentionBlock block = describe(i, scratch); !runBytes_(block, bytes))
      kernels.run(block);
}

size_t AttentionPlan::partBytes() const {
  return parts_ == 1 ? 0 : static_cast<size_t>(blocks() * parts_ * partFloats()) * sizeof(float);
}

/// Rows of a head that a cache's layout tells.
static AttentionBlock::Rows rowsOf(const runtime::CacheRows &cache, int64_t sequence, int64_t head) {
  const runtime::CacheLayout &layout = cache.layout;
  AttentionBlock::Rows rows;
  rows.pages = cache.pages[sequence];
  rows.offset = cache.offset + head * layout.headBytes();
  rows.row = layout.hasCodes() ? layout.rowBytes() : layout.size;
  rows.col = 1;
  rows.size = layout.size;
  if (!layout.hasCodes())
    return rows;
  rows.bits = static_cast<int>(layout.bits);
  rows.symmetric = layout.symmetric;
  rows.group = layout.groupColumns();
  rows.scales = layout.scalesAt();
  rows.lowest = layout.lowestAt();
  rows.bytes = layout.headBytes();
  rows.rotation = layout.rotation();
  rows.rotationFactor = static_cast<float>(1 / std::sqrt(static_cast<double>(rows.rotation)));
  return rows;
}

AttentionBlock AttentionPlan::describe(int64_t index, float *scratch) const {
  AttentionBlock block;
  int64_t head = index / blocksPerHead_, own = index % blocksPerHead_;
  int64_t groups = ceilDiv(rows_, kGroup);
  int64_t first = own * groups / blocksPerHead_ * kGroup;
  int64_t end = std::min((own + 1) * groups / blocksPerHead_ * kGroup, rows_);
  int64_t keyHead = head % call_.key_heads;
  int64_t batch[2] = {head / call_.key_heads / call_.batch[1], head / call_.key_heads % call_.batch[1]};
  auto at = [&](const lathe_attention_view &view, int64_t viewHead, int64_t row) {
    return static_cast<float *>(view.data) + batch[0] * view.batch[0] + batch[1] * view.batch[1] +
           viewHead * view.batch[2] + row * view.row;
  };
  block.lanes = end - first;
  block.keys = call_.t;
  if (const runtime::CacheRows *cache = keyCache_ ? keyCache_ : valueCache_)
    block.keys = cache->counts[batch[1]];
  block.hasLimits = call_.positions != nullptr;
  block.window = static_cast<float>(std::min<int64_t>(call_.window, 1 << 24));
  int64_t mostKeys = 0, firstKey = block.keys;
  block.d = call_.d;
  block.e = call_.e;
  block.biases = static_cast<int>(call_.biases);
  for (int64_t lane = 0; lane < block.lanes; ++lane) {
    int64_t queryHead = keyHead * (call_.batch[2] / call_.key_heads) + (first + lane) / call_.s,
            row = (first + lane) % call_.s;
    block.query[lane] = at(call_.query, queryHead, row);
    block.out[lane] = at(call_.out, queryHead, row);
    for (int i = 0; i < block.biases; ++i)
      block.bias[i][lane] = at(call_.bias[i], queryHead, row);
    if (!block.hasLimits)
      continue;
    int64_t position = call_.positions[batch[1] * call_.position_batch + row * call_.position_row];
    position = std::clamp<int64_t>(position, -1, block.keys - 1);
    block.limit[lane] = static_cast<float>(position);
    mostKeys = std::max(mostKeys, position + 1);
    firstKey = std::min(firstKey, call_.window > 0 ? std::max<int64_t>(position + 1 - call_.window, 0) : 0);
  }
  if (block.hasLimits) {
    block.keys = mostKeys;
    block.first = std::min(firstKey, mostKeys) / AttentionBlock::kKeys * AttentionBlock::kKeys;
  }
  for (int i = 0; i < block.biases; ++i) {
    block.biasCol[i] = call_.bias[i].col;
    block.sameBias[i] = std::all_of(block.bias[i], block.bias[i] + block.lanes,
                                    [&](const float *row) { return row == block.bias[i][0]; });
  }
  block.queryCol = call_.query.col;
  block.outCol = call_.out.col;
  auto rows = [&](const lathe_attention_view &view, const runtime::CacheRows *cache) {
    return cache ? rowsOf(*cache, batch[1], keyHead) : AttentionBlock::Rows{at(view, keyHead, 0), view.row, view.col};
  };
  block.key = rows(call_.key, keyCache_);
  block.value = rows(call_.value, valueCache_);
  block.scale = static_cast<float>(call_.scale);
  block.softcap = static_cast<float>(call_.softcap);
  block.zeroMasked = call_.zero_masked != 0;
  block.zeroNan = call_.zero_nan != 0;
  block.scratch = scratch;
  return block;
}

void AttentionPlan::run(const AttentionKernels &kernels, int64_t index, int64_t part, float *parts,
                        float *scratch) const {
  AttentionBlock block = describe(index, scratch);
  if (parts_ > 1) {
    int64_t some = ceilDiv(block.keys - block.first, AttentionBlock::kKeys), first = block.first;
    block.first = first + part * some / parts_ * AttentionBlock::kKeys;
    block.keys = std::min(block.keys, first + (part + 1) * some / parts_ * AttentionBlock::kKeys);
    block.part = parts + (index * parts_ + part) * partFloats();
  }
  kernels.run(block);
}

void AttentionPlan::combine(const AttentionKernels &kernels, int64_t index, const float *parts, float *scratch) const {
  kernels.combine(describe(index, scratch), parts + index * parts_ * partFloats(), parts_);
}
