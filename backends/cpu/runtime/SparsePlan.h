//===- SparsePlan.h - Products with matrices with zeros ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_SPARSEPLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_SPARSEPLAN_H

#include "backends/cpu/runtime/GemmKernels.h"
#include "backends/cpu/runtime/Plan.h"
#include "backends/cpu/runtime/SparseKernels.h"
#include "runtime/SparseLayout.h"

namespace lathe::cpu {

/// A product whose right side is stored as lists. The left side is turned first, shared by all threads; a piece is some
/// of its rows times some panels.
class SparsePlan final : public Plan {
public:
  /// `packed` lives as long as the plan.
  static runtime::Status create(const PlanKey &key, int threads, std::string_view isa,
                                const runtime::SparseLayout &layout, const unsigned char *packed,
                                std::unique_ptr<Plan> *plan);

  int64_t pieces() const override { return tiles_ * groups_; }
  bool parallel() const override { return parallel_; }
  size_t scratchBytes() const override { return sumBytes_ + rowBytes_; }
  int64_t preparations() const override { return tiles_ * layout_.blocks(); }
  size_t sharedBytes() const override { return sharedBytes_; }
  void prepare(const lathe_matmul_call &call, int64_t index, unsigned char *shared) override;
  bool execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int thread, dnnl_stream_t stream, unsigned char *scratch,
               const unsigned char *shared) override;

private:
  SparsePlan(const PlanKey &key, const runtime::SparseLayout &layout, const unsigned char *packed)
      : key_(key), layout_(layout), packed_(packed) {}

  /// Rows of a tile, and where its first one lies in a tensor of such strides.
  int64_t tileRows(int64_t tile) const;
  int64_t tileOffset(int64_t tile, const int64_t (&batch)[3], int64_t row) const;
  void multiplyPanel(int64_t block, int64_t panel, const float *a, float *sums) const;
  void finishPanel(const lathe_matmul_call &call, int64_t tile, int64_t panel, const float *sums, float *rows) const;

  PlanKey key_;
  runtime::SparseLayout layout_;
  const unsigned char *packed_;
  const SparseKernels *kernels_ = nullptr;
  const GemmKernels *blocks_ = nullptr;
  void (*multiply_)(const SparseBlock &) = nullptr;
  int64_t width_ = 4;                 ///< rows of a tile
  int64_t itemTiles_ = 0, tiles_ = 0; ///< of an item, of all of them
  int64_t groupPanels_ = 1, groups_ = 0;
  bool parallel_ = false;
  size_t sumBytes_ = 0, rowBytes_ = 0, sharedBytes_ = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_SPARSEPLAN_H
