//===- GemmPlan.h - How a product with a constant is cut --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_GEMMPLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_GEMMPLAN_H

#include "backends/cpu/runtime/GemmKernels.h"
#include "backends/cpu/runtime/Plan.h"
#include "backends/cpu/runtime/WeightStore.h"

namespace lathe::cpu {

/// Pieces of a product whose right side is a constant: some rows of one item times some panels of the weight.
struct GemmTiling {
  int64_t rows = 0;    ///< of a piece, but of the last one
  int64_t panels = 0;  ///< of a piece, but of the last one
  int64_t depth = 0;   ///< rows of a panel that are used before the next ones are read
  bool parallel = true;///< false when the product is too small to be shared
};

/// How pieces follow each other, and where one lies.
struct GemmGrid {
  int64_t rowTiles = 0, panelGroups = 0;
  bool rowsFirst = false; ///< neighbouring pieces share panels, not rows

  struct Place {
    int64_t item, rowTile, group;
  };
  /// The first panel of a piece, with `panels` in each; -1 where there is no such piece.
  int64_t firstPanel(int64_t piece, int64_t items, int64_t panels) const {
    return piece < pieces(items) ? placeOf(piece).group * panels : -1;
  }
  int64_t pieces(int64_t items) const { return items * rowTiles * panelGroups; }
  Place placeOf(int64_t piece) const {
    int64_t item = piece / (rowTiles * panelGroups), rest = piece % (rowTiles * panelGroups);
    return rowsFirst ? Place{item, rest % rowTiles, rest / rowTiles} : Place{item, rest / panelGroups, rest % panelGroups};
  }
};

/// The grid of products of [m, k] by a weight of so many bytes in so many panels.
GemmGrid gridOf(const GemmTiling &tiling, int64_t m, int64_t panels, int64_t weightBytes);

/// What a block of `block.width` columns from `column` on, of the rows that begin at `outOffset` of the result, reads and
/// writes beside the product.
void placeBlock(GemmBlock &block, const lathe_matmul_call &call, int64_t outOffset, int64_t column);

/// Chooses pieces for `items` products of [m, k] by [k, n], for `threads` threads; numbers of a panel take `elementSize` bytes where it is
/// read.
GemmTiling chooseGemmTiling(int64_t m, int64_t n, int64_t k, int64_t items, int threads, int64_t elementSize = 4);

/// A product with a constant, by our own loops: the weight is f32, bf16 or f16 in panels, the rest f32.
class GemmPlan final : public Plan {
public:
  static runtime::Status create(const PlanKey &key, int threads, std::string_view isa, WeightStore &weights,
                                std::unique_ptr<Plan> *plan);

  int64_t pieces() const override { return grid_.pieces(key_.items()); }
  bool parallel() const override { return tiling_.parallel; }
  size_t scratchBytes() const override { return scratchBytes_; }
  bool execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int thread, dnnl_stream_t stream,
               unsigned char *scratch, const unsigned char *shared) override;

private:
  explicit GemmPlan(const PlanKey &key) : key_(key) {}

  PlanKey key_;
  GemmTiling tiling_;
  const GemmKernels *kernels_ = nullptr;
  void (*block_)(const GemmBlock &) = nullptr;
  void (*widen_)(const void *, float *, int64_t) = nullptr; ///< where panels are widened before they are used
  const unsigned char *weight_ = nullptr;
  size_t elementSize_ = 4; ///< of the weight
  int64_t width_ = 0, panels_ = 0;
  GemmGrid grid_;
  bool stageA_ = false;    ///< the left side is copied into rows
  size_t aBytes_ = 0, sumBytes_ = 0, panelBytes_ = 0, scratchBytes_ = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_GEMMPLAN_H
