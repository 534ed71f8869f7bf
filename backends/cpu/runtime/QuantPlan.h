//===- QuantPlan.h - Products with quantized weights ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTPLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTPLAN_H

#include "backends/cpu/runtime/GemmPlan.h"
#include "backends/cpu/runtime/QuantKernels.h"
#include "runtime/QuantizedLayout.h"

namespace lathe::cpu {

/// What the loops need of a weight that lies at `packed`.
QuantWeight describeWeight(const runtime::QuantizedLayout &layout, const unsigned char *packed);
QuantFormat formatOf(const runtime::QuantizedLayout &layout);

/// A product with a quantized weight, by our own loops.
class QuantPlan final : public Plan {
public:
  /// `packed` lives as long as the plan.
  static runtime::Status create(const PlanKey &key, int threads, std::string_view isa,
                                const runtime::QuantizedLayout &layout, const unsigned char *packed,
                                std::unique_ptr<Plan> *plan);

  int64_t pieces() const override { return key_.items() * rowTiles_ * panelGroups_; }
  bool parallel() const override { return tiling_.parallel; }
  size_t scratchBytes() const override { return scratchBytes_; }
  bool execute(const lathe_matmul_call &call, int64_t piece, int thread, dnnl_stream_t stream,
               unsigned char *scratch) override;

private:
  explicit QuantPlan(const PlanKey &key) : key_(key) {}

  PlanKey key_;
  GemmTiling tiling_;
  const GemmKernels *blocks_ = nullptr;
  QuantKernels kernels_ = {};
  QuantWeight weight_;
  const unsigned char *panelData_ = nullptr; ///< the first panel
  int64_t panelBytes_ = 0, panels_ = 0;
  int64_t rowTiles_ = 0, panelGroups_ = 0;
  bool rowsFirst_ = false; ///< neighbouring pieces share panels, not rows
  bool stageA_ = false;    ///< the left side is copied into rows
  size_t aBytes_ = 0, sumBytes_ = 0, wideBytes_ = 0, scratchBytes_ = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTPLAN_H
