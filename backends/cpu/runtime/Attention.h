//===- Attention.h - How an attention is cut into pieces --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_ATTENTION_H
#define LATHE_BACKENDS_CPU_RUNTIME_ATTENTION_H

#include "backends/cpu/runtime/AttentionKernels.h"
#include "backends/cpu/runtime/Rounding.h"
#include "runtime/Abi.h"
#include "runtime/Backend.h"
#include "runtime/Status.h"

#include <string_view>

namespace lathe::cpu {

/// The kernels for code of instruction set `isa`; where it has none of its own, those for the largest that is smaller.
/// They round to `arithmetic`, a lathe_dtype, where that is faster than to multiply f32.
const AttentionKernels &attentionKernels(std::string_view isa, int64_t arithmetic);
/// By products of bytes; null where this processor or `isa` has none.
RunByteAttention byteAttention(std::string_view isa);

/// Fails where a call makes no sense. `keys` and `values` are the caches that it reads, or null.
runtime::Status verifyAttention(const lathe_attention_call &call, const runtime::CacheRows *keys = nullptr,
                                const runtime::CacheRows *values = nullptr);

/// A verified attention, cut into blocks of queries that read the same keys. Where these are fewer than threads, their
/// keys are cut too, and what the parts leave is combined.
class AttentionPlan {
public:
  AttentionPlan(const lathe_attention_call &call, int threads, const runtime::CacheRows *keys = nullptr,
                const runtime::CacheRows *values = nullptr);

  /// From here on pieces are computed by products of bytes, if the call wants and allows it, and gains by it. Returns
  /// whether.
  bool useBytes(RunByteAttention run);

  /// Blocks of queries.
  int64_t blocks() const { return heads_ * blocksPerHead_; }
  /// Parts of the keys of each block.
  int64_t parts() const { return parts_; }
  /// Whether it is large enough to be shared among threads.
  bool parallel() const { return parallel_; }
  /// Scratch memory that each thread needs, 64-byte aligned.
  size_t scratchBytes() const {
    return static_cast<size_t>(AttentionBlock::scratchFloats(call_.d, call_.e)) * sizeof(float) + byteScratch();
  }
  /// Memory for what parts leave; 0 where there is one a block.
  size_t partBytes() const;

  /// Computes a part of a block, or, where there is one alone, the block.
  void run(const AttentionKernels &kernels, int64_t block, int64_t part, float *parts, float *scratch) const;
  void combine(const AttentionKernels &kernels, int64_t block, const float *parts, float *scratch) const;

  /// With bytes: pieces, each of blocks of one head that share its keys and values, in place of blocks and parts.
  int64_t bytePieces() const { return heads_ * piecesPerHead_; }
  /// `kernels` are for what `useBytes` was given refuses.
  void runBytes(const AttentionKernels &kernels, int64_t piece, float *scratch) const;

private:
  /// Of each thread besides what a block in floats needs, in whole lines behind that.
  size_t byteScratch() const;
  int64_t floatScratch() const { return ceilDiv(AttentionBlock::scratchFloats(call_.d, call_.e), 16) * 16; }

  AttentionBlock describe(int64_t block, float *scratch) const;
  int64_t partFloats() const { return AttentionBlock::partFloats(call_.e); }

  const lathe_attention_call &call_;
  const runtime::CacheRows *keyCache_, *valueCache_;
  int64_t keys_ = 0;  ///< of the longest sequence
  int64_t rows_ = 0;  ///< queries of a head of keys
  int64_t heads_ = 0; ///< of keys, in all batches
  int64_t blocksPerHead_ = 0, parts_ = 1;
  RunByteAttention runBytes_ = nullptr; ///< where it is computed by bytes
  int64_t piecesPerHead_ = 0;
  int threads_ = 1;
  bool parallel_ = false;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_ATTENTION_H
