//===- QuantPlan.h - Products with quantized weights ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTPLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTPLAN_H

#include "backends/cpu/runtime/GemmPlan.h"
#include "backends/cpu/runtime/QuantInteger.h"
#include "backends/cpu/runtime/QuantKernels.h"
#include "runtime/QuantizedLayout.h"

#include <atomic>

namespace lathe::cpu {

/// A product with a quantized weight, by our own loops: of floats, a few rows of which are multiplied as codes are read and
/// many with panels that are widened before; of codebooks, with tables of what entries give; or of integers, into which the rows of the left
/// side are made first.
class QuantPlan final : public Plan {
public:
  /// `packed` lives as long as the plan.
  static runtime::Status create(const PlanKey &key, int threads, std::string_view isa,
                                const runtime::QuantizedLayout &layout, const unsigned char *packed,
                                std::unique_ptr<Plan> *plan);

  int64_t pieces() const override { return grid_.pieces(key_.items()); }
  bool parallel() const override { return tiling_.parallel; }
  size_t scratchBytes() const override { return scratchBytes_; }
  int64_t preparations() const override { return preparations_; }
  size_t sharedBytes() const override { return sharedBytes_; }
  std::vector<int64_t> preparation() const override;
  void prepare(const lathe_matmul_call &call, int64_t index, unsigned char *shared) override;
  bool execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int thread, dnnl_stream_t stream, unsigned char *scratch,
               const unsigned char *shared) override;

private:
  enum class Mode { widened, direct, integer, looked };

  explicit QuantPlan(const PlanKey &key) : key_(key) {}

  void planWidened();
  void planLooked(const runtime::QuantizedLayout &layout);
  void prepareTables(const lathe_matmul_call &call, int64_t index, unsigned char *shared) const;
  void prepareOnes(unsigned char *shared) const;
  void multiplyLooked(GemmBlock &block, const lathe_matmul_call &call, int64_t outOffset, int64_t row, int64_t panel, int64_t panelEnd,
                      unsigned char *scratch, const unsigned char *shared) const;
  void planShared(const runtime::QuantizedLayout &layout);
  int64_t tileRows() const { return isWide_ ? integers_.tileRows : kTileRows; }
  int64_t rowsOfAll() const { return key_.items() * key_.m; }
  const float *leftSide(const lathe_matmul_call &call, int64_t item) const;
  void multiplyWidened(GemmBlock &block, const float *a, const unsigned char *panel, unsigned char *scratch) const;
  void multiplyDirect(GemmBlock &block, const float *a, int64_t row, const unsigned char *panel,
                      unsigned char *scratch, const unsigned char *shared) const;
  void multiplyIntegers(const lathe_matmul_call &call, GemmBlock &block, int64_t row, const unsigned char *panel,
                        const unsigned char *nextPanel, unsigned char *scratch, const unsigned char *shared) const;
  IntegerTile integerTile(const lathe_matmul_call &call, int64_t row, const unsigned char *shared) const;

  const float *columnSums(IntegerTile ones, int64_t panel, float *own);

  PlanKey key_;
  Mode mode_ = Mode::widened;
  GemmTiling tiling_;
  const GemmKernels *blocks_ = nullptr;
  QuantKernels kernels_ = {};
  IntegerKernels integers_ = {};
  QuantWeight weight_;
  const unsigned char *panelData_ = nullptr; ///< the first panel
  int64_t panelBytes_ = 0, panels_ = 0;
  GemmGrid grid_;
  bool stageA_ = false;    ///< the left side is copied into rows
  size_t aBytes_ = 0, sumBytes_ = 0, scratchBytes_ = 0;

  // What preparations leave: rows [rowsOfAll(), padded] of floats (where the left side is staged) or bytes, sums of their
  // parts, scales of rows. Where integers of the left side have a zero point one more row, of ones.
  int64_t preparations_ = 0, preparedRows_ = 0;
  int64_t padded_ = 0, partCount_ = 0, blockParts_ = 0, unitRows_ = 1;
  bool keepsBytes_ = false; ///< the left side is bytes that are read where they are, so that only sums and the row of ones are shared
  bool readsAll_ = false;   ///< likewise their sums and scales: nothing is prepared
  bool isWide_ = false;  ///< integers of more rows than few
  bool expands_ = false; ///< codes are made bytes, a block at a time
  std::vector<float> columnSums_; ///< of the weight, where the left side has a zero point
  std::vector<std::atomic<int>> columnSumsState_;
  int64_t tableRow_ = 0, slices_ = 0; ///< of codes that are looked up: floats of a row's tables, and in how many pieces they are made
  size_t partOffset_ = 0, scaleOffset_ = 0, sharedBytes_ = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTPLAN_H
