//===- Parallel.h - Loops shared out over threads ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_PARALLEL_H
#define LATHE_PASSES_QUANTIZATION_METHODS_PARALLEL_H

#include "runtime/ThreadPool.h"

#include <cstdint>

namespace lathe::quantization {

using runtime::ThreadPool;

/// Calls body(i) once for each i of [0, count), on the pool's threads, or on the caller alone where there is no pool.
/// Results are the same for any number of threads as long as what body(i) writes depends on i alone.
template <typename Body> void parallelFor(ThreadPool *pool, int64_t count, Body &&body) {
  const auto task = [](void *context, int64_t begin, int64_t end, int) {
    auto &body = *static_cast<std::remove_reference_t<Body> *>(context);
    for (int64_t i = begin; i < end; ++i)
      body(i);
  };
  if (pool && count > 1)
    pool->parallelFor(count, 1, task, &body);
  else
    task(&body, 0, count, 0);
}

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_PARALLEL_H
