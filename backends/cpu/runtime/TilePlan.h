//===- TilePlan.h - Products of bf16 by tiles ---------------*- C++ -*-===//
//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_TILEPLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_TILEPLAN_H

#include "backends/cpu/runtime/GemmPlan.h"
#include "backends/cpu/runtime/Tiles.h"

namespace lathe::cpu {

/// A product with a constant of bf16 whose left side is rounded to bf16, once, before the pieces run; sums are f32.
class TilePlan final : public Plan {
public:
  /// Whether it is worth it: few rows take as long as the weight takes to come.
  static bool suits(const PlanKey &key) { return key.m * key.items() > kTileRows; }
  static runtime::Status create(const PlanKey &key, int threads, const TileKernels &kernels, WeightStore &weights,
                                std::unique_ptr<Plan> *plan);

  int64_t pieces() const override { return grid_.pieces(key_.items()); }
  bool parallel() const override { return tiling_.parallel; }
  size_t scratchBytes() const override { return sumBytes_ + pairBytes_; }
  int64_t preparations() const override { return preparations_; }
  size_t sharedBytes() const override { return sharedBytes_; }
  std::vector<int64_t> preparation() const override;
  void prepare(const lathe_matmul_call &call, int64_t index, unsigned char *shared) override;
  bool execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int thread, dnnl_stream_t stream, unsigned char *scratch,
               const unsigned char *shared) override;

private:
  TilePlan(const PlanKey &key, const TileKernels &kernels) : key_(key), kernels_(kernels) {}
  /// Rows of `block` times one panel; `a` is their left side, and `next` the panel that follows, or null.
  void multiplyPanel(GemmBlock &block, const uint16_t *a, const uint16_t *panel, const uint16_t *next,
                     unsigned char *scratch) const;

  PlanKey key_;
  const TileKernels &kernels_;
  GemmTiling tiling_;
  GemmGrid grid_;
  const uint16_t *weight_ = nullptr;
  int64_t width_ = 0, panels_ = 0;
  int64_t padded_ = 0; ///< numbers of a row of the left side
  int64_t preparations_ = 0, preparedRows_ = 0;
  size_t sharedBytes_ = 0, sumBytes_ = 0, pairBytes_ = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_TILEPLAN_H
