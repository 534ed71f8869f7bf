//===- Plan.h - How a matrix product is cut into pieces ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_PLAN_H
#define LATHE_BACKENDS_CPU_RUNTIME_PLAN_H

#include "backends/cpu/runtime/Primitive.h"
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
  int64_t aQuantization = 0;
  double aScale = 1;
  int64_t aZero = 0;
  int64_t aBytes = 0, outBytes = 0;
  int64_t hasRowSums = 0; ///< of bytes that were rounded by rows
  double outScale = 1;
  int64_t outZero = 0;

  /// Describes `call` in a canonical form: strides of extents of one do not matter, and batches that are only more
  /// rows become rows.
  explicit PlanKey(const lathe_matmul_call &call);

  int64_t items() const { return batch[0] * batch[1] * batch[2]; }
  /// Where item `item` begins, by strides such as `aBatch`.
  int64_t offsetOf(int64_t item, const int64_t (&strides)[3]) const {
    int64_t offset = 0;
    for (int i = 2; i >= 0; --i) {
      offset += item % batch[i] * strides[i];
      item /= batch[i];
    }
    return offset;
  }
  bool operator==(const PlanKey &other) const { return memcmp(this, &other, sizeof(*this)) == 0; }
};
static_assert(sizeof(PlanKey) == 34 * 8, "hashed as bytes");

/// A product cut into pieces that threads take one after another.
class Plan {
public:
  virtual ~Plan() = default;
  /// Pieces of the product.
  virtual int64_t pieces() const = 0;
  /// False when the product is too small to be shared.
  virtual bool parallel() const = 0;
  /// Scratch memory that each thread needs, 64-byte aligned.
  virtual size_t scratchBytes() const = 0;
  /// Pieces of what is to be done before the product's own, and memory that both share, 64-byte aligned.
  virtual int64_t preparations() const { return 0; }
  virtual size_t sharedBytes() const { return 0; }
  /// What preparations depend on beside the left side's numbers: those of plans that say the same leave the same. None where they
  /// say nothing.
  virtual std::vector<int64_t> preparation() const { return {}; }
  /// Executes one of them. Different threads may execute different ones at once.
  virtual void prepare(const lathe_matmul_call &, int64_t, unsigned char *) {}
  /// Executes one piece; false when a library fails. Different threads may execute different pieces at once. `following` is what the
  /// same thread probably executes next, which it may fetch meanwhile; at least pieces() for none.
  virtual bool execute(const lathe_matmul_call &call, int64_t piece, int64_t following, int thread, dnnl_stream_t stream,
                       unsigned char *scratch, const unsigned char *shared) = 0;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_PLAN_H
