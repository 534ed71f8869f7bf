//===- FewRows.h - Which products of few rows are our own -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_FEWROWS_H
#define LATHE_BACKENDS_CUDA_RUNTIME_FEWROWS_H

#include "backends/cuda/kernels/Kernels.h"
#include "runtime/Manifest.h"

#include <optional>

namespace lathe::cuda {

/// Up to as many rows the kernels by weights of codes and of numbers read a weight once, which is what takes the time.
constexpr int64_t kFewRows = 8;
/// Likewise by weights of codes and matrix instructions (multipliesCodes), of which reading it twice is less than to
/// expand it: by what devices of compute capability 9.0 are specified for, [4096, 4096] in 4 bits takes 2 us to read
/// from memory and to make numbers of, for each 32 rows, and 10 us to be written and read as f16.
constexpr int64_t kMatrixRows = 64;

/// Rows of a product's left side, of all batches.
inline int64_t rowsOf(const lathe_matmul_call &call) { return call.batch[0] * call.batch[1] * call.batch[2] * call.m; }

/// How a weight of numbers lies, where a kernel of our own multiplies by it (docs/design/0036-few-rows.md); nothing
/// where the library is to: many rows, sides of other types than f32 and the weight's, no dense axis.
std::optional<NumbersWeight> numbersWeight(const lathe_matmul_call &call, const runtime::Constant &weight);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_FEWROWS_H
