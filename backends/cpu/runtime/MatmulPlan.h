//===- MatmulPlan.h - How a matmul is cut into pieces -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_MATMULPLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_MATMULPLAN_H

#include "backends/cpu/runtime/Plan.h"

#include <vector>

namespace lathe::cpu {

/// What both the planner and tests decide about the tiles of a product.
struct Tiling {
  int64_t mTile = 0, nTile = 0;
  bool parallel = true; ///< false when the product is too small to be shared
};

/// Chooses tiles for `items` products, for `threads` threads. Columns are cut at multiples of 64.
Tiling chooseTiling(int64_t m, int64_t n, int64_t k, int64_t items, int threads);

/// A product of two values that a run computes, with a oneDNN primitive for each kind of piece.
///
/// oneDNN's fast kernels want dense operands, so where strides stand in the way a piece is staged: its operand is
/// copied into scratch memory, or its result out of it.
class MatmulPlan final : public Plan {
public:
  static runtime::Status create(const PlanKey &key, int threads, PrimitiveCache &primitives,
                                std::unique_ptr<Plan> *plan);

  int64_t pieces() const override { return key_.items() * mTiles_ * nTiles_; }
  bool parallel() const override { return tiling_.parallel; }
  size_t scratchBytes() const override { return scratchBytes_; }
  bool execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int thread, dnnl_stream_t stream,
               unsigned char *scratch, const unsigned char *shared) override;

private:
  struct Variant {
    std::shared_ptr<const Primitive> primitive;
    std::vector<Primitive::Arguments> arguments; ///< one a thread
  };

  MatmulPlan(const PlanKey &key, int threads) : key_(key), threads_(threads) {}

  runtime::Status planStrided(PrimitiveCache &primitives);
  runtime::Status findVariants(PrimitiveCache &primitives);
  PrimitiveKey primitiveKey(int64_t m, int64_t n) const;
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
  size_t elementSize_ = 4;
  size_t aBytes_ = 0, bBytes_ = 0, outBytes_ = 0, scratchBytes_ = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_MATMULPLAN_H
