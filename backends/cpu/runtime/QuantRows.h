//===- QuantRows.h - Rows of quantized tables -------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_QUANTROWS_H
#define LATHE_BACKENDS_CPU_RUNTIME_QUANTROWS_H

#include "backends/cpu/runtime/WeightStore.h"
#include "runtime/Abi.h"
#include "runtime/ThreadPool.h"

namespace lathe::cpu {

/// lathe_runtime_table::dequantize_rows; gives the number of indices that are out of range in *bad.
runtime::Status dequantizeRows(const lathe_rows_call &call, const WeightStore &weights, runtime::ThreadPool &pool,
                               int64_t *bad);

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_QUANTROWS_H
