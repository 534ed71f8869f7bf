//===- Primitive.h - oneDNN matmuls and their cache -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_RUNTIME_PRIMITIVE_H
#define LATHE_BACKENDS_CPU_RUNTIME_PRIMITIVE_H

#include "backends/cpu/runtime/Dnnl.h"
#include "runtime/Status.h"

#include <cstring>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace lathe::cpu {

/// How a residual enters a primitive.
enum class Residual : int64_t { none = 0, binary = 1, inPlace = 2 };

/// Everything that a 2-D matmul primitive depends on. Only 8-byte members: compared and hashed as bytes.
struct PrimitiveKey {
  int64_t dtype = 0;
  int64_t m = 0, n = 0, k = 0;
  int64_t aRow = 0, aCol = 0;
  int64_t bRow = 0, bCol = 0;
  int64_t outRow = 0;
  int64_t activation = 0;
  int64_t hasBias = 0;
  Residual residual = Residual::none;
  double alpha = 1;

  bool operator==(const PrimitiveKey &other) const { return memcmp(this, &other, sizeof(*this)) == 0; }
};
static_assert(sizeof(PrimitiveKey) == 13 * 8, "hashed as bytes");

/// Hash of an object that is compared as bytes.
size_t hashObject(const void *data, size_t size);

template <typename T> struct HashBytes {
  size_t operator()(const T &value) const { return hashObject(&value, sizeof(value)); }
};

/// A primitive; immutable, may be executed by several threads at once.
class Primitive {
public:
  static runtime::Status create(const PrimitiveKey &key, std::shared_ptr<const Primitive> *primitive);

  enum Argument { kA, kB, kBias, kResidual, kOut, kScratch, kArgumentCount };

  /// Memory objects of one thread, pointed elsewhere before each execution.
  struct Arguments {
    Dnnl<dnnl_memory_t> memories[kArgumentCount];
    dnnl_exec_arg_t list[kArgumentCount + 1];
    int count = 0;
  };

  bool makeArguments(Arguments *arguments) const;
  bool execute(dnnl_stream_t stream, Arguments &arguments, const void *const (&data)[kArgumentCount]) const;

  size_t scratchBytes() const { return scratchBytes_; }
  /// Whether only oneDNN's reference implementation does this, a thousand times slower than the others.
  bool isReference() const { return reference_; }

private:
  runtime::Status build(const PrimitiveKey &key);
  bool appendPostOps(const PrimitiveKey &key, dnnl_data_type_t type, dnnl_post_ops_t ops);

  Dnnl<dnnl_primitive_t> primitive_;
  DnnlMemoryDesc descs_[kArgumentCount];
  int ids_[kArgumentCount] = {};
  size_t scratchBytes_ = 0;
  bool reference_ = false;
};

/// Primitives of a module, the least recently used ones dropped. Thread-safe. Sessions keep what they use in their own
/// plans, so this is asked once a session and shape.
class PrimitiveCache {
public:
  static constexpr size_t kCapacity = 1024;

  runtime::Status find(const PrimitiveKey &key, std::shared_ptr<const Primitive> *primitive);
  size_t size();

private:
  using Entry = std::pair<PrimitiveKey, std::shared_ptr<const Primitive>>;
  std::mutex mutex_;
  std::list<Entry> recent_; ///< most recent first
  std::unordered_map<PrimitiveKey, std::list<Entry>::iterator, HashBytes<PrimitiveKey>> index_;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_RUNTIME_PRIMITIVE_H
