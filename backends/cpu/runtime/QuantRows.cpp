//===- QuantRows.cpp - Rows of quantized tables -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/QuantRows.h"

#include "backends/cpu/runtime/PackQuantized.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cpu;
using runtime::failure;
using runtime::QuantizedLayout;
using runtime::Status;
using runtime::success;

namespace {
/// Numbers below which waking another thread does not pay.
constexpr int64_t kMinParallel = 4096;
} // namespace

Status cpu::dequantizeRows(const lathe_rows_call &call, const WeightStore &weights, runtime::ThreadPool &pool, int64_t *bad) {
  const runtime::Constant *constant = weights.quantized(call.weight);
  if (!constant)
    return failure(LATHE_INTERNAL, "constant ", call.weight, ", whose rows are read, is not quantized");
  if (call.index_type != LATHE_I64 && call.index_type != LATHE_I32)
    return failure(LATHE_INTERNAL, "indices of rows must be of type i64 or i32, found type ", call.index_type);
  struct Loop {
    const lathe_rows_call &call;
    const QuantizedLayout &layout;
    const unsigned char *packed;
    std::atomic<int64_t> bad{0};

    int64_t index(int64_t i) const {
      i *= call.index_stride;
      return call.index_type == LATHE_I64 ? static_cast<const int64_t *>(call.indices)[i]
                                          : static_cast<const int32_t *>(call.indices)[i];
    }
  } loop{call, *constant->quantized, weights.stored(call.weight)};
  pool.parallelFor(
      call.count, std::max<int64_t>(kMinParallel / loop.layout.k, 1),
      [](void *context, int64_t begin, int64_t end, int) {
        auto *loop = static_cast<Loop *>(context);
        const QuantizedLayout &layout = loop->layout;
        for (int64_t i = begin; i < end; ++i) {
          auto *out = static_cast<float *>(loop->call.out) + i * loop->call.out_row;
          int64_t row = loop->index(i);
          if (row < -layout.n || row >= layout.n) {
            std::fill_n(out, layout.k, 0.0f);
            loop->bad.fetch_add(1, std::memory_order_relaxed);
            continue;
          }
          dequantizeColumn(layout, loop->packed, row < 0 ? row + layout.n : row, out);
        }
      },
      &loop);
  *bad = loop.bad;
  return success();
}
