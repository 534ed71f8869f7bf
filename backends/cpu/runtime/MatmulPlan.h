//===- MatmulPlan.h - How a matmul is cut into pieces -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_MATMULPLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_MATMULPLAN_H

#include "backends/cpu/runtime/Primitive.h"
#include "backends/cpu/runtime/WeightStore.h"
#include "runtime/Abi.h"

#include <vector>

namespace lathe::cpu {

/// What a plan depends on: a call without its addresses. Only 8-byte members: compared and hashed as bytes.
struct PlanKey {
  int64_t dtype = 0;
  int64_t weight = -1;
  int64_t activation = 0;
  int64_t hasBias = 0;
  Residual residual = Residual::none;
  double alpha = 1;
  int64_t m = 0, n = 0, k = 0;
  int64_t aRow = 0, aCol = 0, bRow = 0, bCol = 0, outRow = 0;
  int64_t batch[3] = {1, 1, 1};
  int64_t aBatch[3] = {}, bBatch[3] = {}, outBatch[3] = {};

  /// Describes `call` in a canonical form: strides of extents of one do not matter, and batches that are only more
  /// rows become rows.
  explicit PlanKey(const lathe_matmul_call &call);

  int64_t items() const { return batch[0] * batch[1] * batch[2]; }
  bool operator==(const PlanKey &other) const { return memcmp(this, &other, sizeof(*this)) == 0; }
};
static_assert(sizeof(PlanKey) == 26 * 8, "hashed as bytes");

/// What both the planner and tests decide about the tiles of a product.
struct Tiling {
  int64_t mTile = 0, nTile = 0;
  bool parallel = true; ///< false when the product is too small to be shared
};

/// Chooses tiles for `items` products, for `threads` threads. Columns are cut at multiples of 64, so that blocks of
/// packed weights stay whole.
Tiling chooseTiling(int64_t m, int64_t n, int64_t k, int64_t items, int threads);

/// A matmul cut into pieces that threads take one after another, with a oneDNN primitive for each kind of piece.
///
/// oneDNN's fast kernels want dense operands, so where strides stand in the way a piece is staged: its operand is
/// copied into scratch memory, or its result out of it.
class MatmulPlan {
public:
  static runtime::Status create(const PlanKey &key, int threads, PrimitiveCache &primitives, WeightStore &weights,
                                std::unique_ptr<MatmulPlan> *plan);

  /// Pieces of the product.
  int64_t pieces() const { return key_.items() * mTiles_ * nTiles_; }
  bool parallel() const { return tiling_.parallel; }
  /// Scratch memory that each thread needs, 64-byte aligned.
  size_t scratchBytes() const { return scratchBytes_; }

  /// Executes one piece; false when oneDNN fails. Different threads may execute different pieces at once.
  bool execute(const lathe_matmul_call &call, int64_t piece, int thread, dnnl_stream_t stream, unsigned char *scratch);

private:
  struct Variant {
    std::shared_ptr<const Primitive> primitive;
    std::vector<Primitive::Arguments> arguments; ///< one a thread
  };

  MatmulPlan(const PlanKey &key, int threads) : key_(key), threads_(threads) {}

  runtime::Status planWeights(PrimitiveCache &primitives, WeightStore &weights);
  runtime::Status planBlockedTiles(PrimitiveCache &primitives);
  runtime::Status planStrided(PrimitiveCache &primitives);
  runtime::Status findVariants(PrimitiveCache &primitives, bool openB);
  PrimitiveKey primitiveKey(int64_t m, int64_t n, bool openB) const;
  void setTiling(Tiling tiling);
  runtime::Status finish();
  int64_t tileRows(int index) const { return index ? mLast_ : tiling_.mTile; }
  int64_t tileCols(int index) const { return index ? nLast_ : tiling_.nTile; }

  PlanKey key_;
  int threads_;
  Tiling tiling_;
  int64_t mTiles_ = 0, nTiles_ = 0;
  int64_t mLast_ = 0, nLast_ = 0; ///< of the last tile
  bool stageA_ = false, stageB_ = false, stageOut_ = false;
  Variant variants_[2][2];                ///< by whether a tile is the last one along m, n
  const unsigned char *weight_ = nullptr; ///< where the right side lies when it is a constant
  bool blocked_ = false;
  int64_t columnBlock_ = 1;       ///< of a blocked weight, in columns
  int64_t columnBlockStride_ = 0; ///< and in elements
  runtime::PackedLayout layout_;  ///< of the whole weight when it is blocked
  size_t elementSize_ = 4;
  size_t aBytes_ = 0, bBytes_ = 0, outBytes_ = 0, scratchBytes_ = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_MATMULPLAN_H
