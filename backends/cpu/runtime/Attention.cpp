//===- Attention.cpp - How an attention is cut into pieces ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/Attention.h"

#include "backends/cpu/runtime/Rounding.h"

#include "runtime/DataType.h"
#include "runtime/include/lathe/lathe.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cpu;
using runtime::failure;
using runtime::Status;
using runtime::success;

namespace {

constexpr int64_t kLanes = AttentionBlock::kLanes;
constexpr int64_t kGroup = 16; ///< lanes come in groups of the largest vector

} // namespace

const AttentionKernels &cpu::attentionKernels(std::string_view isa) {
  return isa == kAttentionAvx512.isa ? kAttentionAvx512 : kAttentionAvx2;
}

Status cpu::verifyAttention(const lathe_attention_call &call) {
  if (call.dtype != LATHE_F32) {
    const runtime::DataType *type = runtime::dataType(static_cast<lathe_dtype>(call.dtype));
    return failure(LATHE_INTERNAL, "the cpu backend has no attention for type ", type ? type->name : "?",
                   "; expected f32");
  }
  for (int64_t extent : {call.batch[0], call.batch[1], call.batch[2], call.key_heads, call.s, call.t, call.d, call.e})
    if (extent < 0)
      return failure(LATHE_INTERNAL, "negative extent in attention");
  if (call.batch[2] > 0 && (call.key_heads == 0 || call.batch[2] % call.key_heads != 0))
    return failure(LATHE_INTERNAL, "expected query heads that are a multiple of the key heads, got ", call.batch[2],
                   " and ", call.key_heads);
  if (call.biases < 0 || call.biases > 2)
    return failure(LATHE_INTERNAL, "expected at most 2 biases, got ", call.biases);
  return success();
}

AttentionPlan::AttentionPlan(const lathe_attention_call &call, int threads) : call_(call) {
  if (call.batch[2] == 0 || call.s == 0 || call.e == 0)
    return;
  rows_ = call.batch[2] / call.key_heads * call.s;
  heads_ = call.batch[0] * call.batch[1] * call.key_heads;
  int64_t groups = ceilDiv(rows_, kGroup);
  blocksPerHead_ = ceilDiv(rows_, kLanes);
  // Full blocks are the fastest, but each thread should have something to do.
  if (heads_ > 0 && heads_ * blocksPerHead_ < threads)
    blocksPerHead_ = std::min(groups, ceilDiv(threads, heads_));
  int64_t products = heads_ * rows_ * call.t * (call.d + call.e);
  constexpr int64_t kWorthSharing = 1 << 16;
  parallel_ = threads > 1 && products >= kWorthSharing;
  int64_t blocks = heads_ * blocksPerHead_;
  if (parallel_ && blocks > 0 && blocks < threads) // of at least a few hundred keys: what is combined takes time too
    parts_ = std::max<int64_t>(1, std::min(ceilDiv(threads, blocks), call.t / (4 * AttentionBlock::kKeys)));
}

size_t AttentionPlan::partBytes() const {
  return parts_ == 1 ? 0 : static_cast<size_t>(blocks() * parts_ * partFloats()) * sizeof(float);
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
  }
  for (int i = 0; i < block.biases; ++i) {
    block.biasCol[i] = call_.bias[i].col;
    block.sameBias[i] = std::all_of(block.bias[i], block.bias[i] + block.lanes,
                                    [&](const float *row) { return row == block.bias[i][0]; });
  }
  block.queryCol = call_.query.col;
  block.outCol = call_.out.col;
  block.key = at(call_.key, keyHead, 0);
  block.value = at(call_.value, keyHead, 0);
  block.keyRow = call_.key.row;
  block.keyCol = call_.key.col;
  block.valueRow = call_.value.row;
  block.valueCol = call_.value.col;
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
    int64_t first = part * call_.t / parts_;
    block.keys = (part + 1) * call_.t / parts_ - first;
    block.key += first * block.keyRow;
    block.value += first * block.valueRow;
    for (int i = 0; i < block.biases; ++i)
      for (int64_t lane = 0; lane < block.lanes; ++lane)
        block.bias[i][lane] += first * block.biasCol[i];
    block.part = parts + (index * parts_ + part) * partFloats();
  }
  kernels.run(block);
}

void AttentionPlan::combine(const AttentionKernels &kernels, int64_t index, const float *parts, float *scratch) const {
  kernels.combine(describe(index, scratch), parts + index * parts_ * partFloats(), parts_);
}
