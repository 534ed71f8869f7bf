//===- WeightStore.h - Weights of a module in panels -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_WEIGHTSTORE_H
#define LATHE_BACKENDS_CPU_RUNTIME_WEIGHTSTORE_H

#include "runtime/Backend.h"
#include "runtime/Mapping.h"
#include "runtime/PackedLayout.h"

#include <list>
#include <mutex>

namespace lathe::cpu {

/// Gives constants in the layout that a product asks for: in place where they are stored so, else as a copy that is
/// made once and shared by all sessions. Thread-safe.
class WeightStore {
public:
  explicit WeightStore(runtime::ModuleServices &services) : services_(services) {}

  /// Constant `index` where it is quantized, else null.
  const runtime::Constant *quantized(int64_t index) const;
  /// Likewise where it is stored as lists.
  const runtime::Constant *sparse(int64_t index) const;

  /// The bytes of an existing constant.
  const unsigned char *stored(int64_t index) const;

  /// The type of constant `index`.
  runtime::Status type(int64_t index, lathe_dtype *type) const;

  /// Finds constant `index`, a [k, n] matrix of `elementSize` elements, in `layout`. `rowStride` and `colStride` say
  /// how a constant that is not packed is read. *data lives as long as the store.
  runtime::Status find(int64_t index, const runtime::PackedLayout &layout, int64_t rowStride, int64_t colStride,
                       const unsigned char **data);

private:
  struct Copy {
    int64_t index = 0;
    int64_t rowStride = 0;
    int64_t colStride = 0;
    runtime::PackedLayout layout;
    runtime::Buffer buffer;
  };

  runtime::Status fill(const runtime::Constant &constant, const void *stored, Copy &copy);

  runtime::ModuleServices &services_;
  std::mutex mutex_;
  std::list<Copy> copies_;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_WEIGHTSTORE_H
