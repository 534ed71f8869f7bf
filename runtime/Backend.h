//===- Backend.h - What a device implements for the runtime -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_BACKEND_H
#define LATHE_RUNTIME_BACKEND_H

#include "runtime/Abi.h"
#include "runtime/Manifest.h"
#include "runtime/Status.h"
#include "runtime/ThreadPool.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace lathe::runtime {

/// Rows [sequence, head, row, column] that a cache has for the sequences of a run, in pages of which each has some rows of all heads
/// as the layout says.
struct CacheRows {
  static constexpr int64_t kPageRows = CacheLayout::kPageRows;

  const unsigned char *const *const *pages = nullptr; ///< of each sequence
  const int64_t *counts = nullptr;                    ///< rows of each sequence
  int64_t offset = 0;                                 ///< of the cache in a page, in bytes
  int64_t sequences = 0;
  CacheLayout layout;
};

/// What a backend may use of a module; outlives the backend's part of it.
class ModuleServices {
public:
  virtual const Manifest &manifest() const = 0;
  /// Address of a constant as it is stored.
  virtual const void *constant(size_t index) const = 0;
  /// Instruction set that products use, such as "avx512", "avx512_bf16" or "amx"; runtime::codeIsa() is that of the artifact's code.
  virtual std::string_view isa() const = 0;
  /// Counts private memory of the module against its budget, forever; false when it would pass it. Thread-safe.
  virtual bool chargePrivate(uint64_t bytes) = 0;

protected:
  ~ModuleServices() = default;
};

/// What a backend may use of a session; outlives the backend's part of it.
class SessionServices {
public:
  /// What the session runs.
  virtual const Program &program() const = 0;
  virtual ThreadPool &pool() = 0;
  /// Makes the run that is going on fail; the first failure wins. Thread-safe.
  virtual void fail(Status status) = 0;
  /// Counts `bytes` more (or fewer, when negative) against the session's budget; false when it would pass it.
  virtual bool charge(int64_t bytes) = 0;

protected:
  ~SessionServices() = default;
};

/// A backend's part of a session: used by one thread at a time.
class BackendSession {
public:
  virtual ~BackendSession() = default;
  /// Called on the thread that runs, around each run.
  virtual void beginRun() {}
  virtual void endRun() {}
  /// lathe_runtime_table::matmul. Failures go to SessionServices::fail.
  virtual void matmul(const lathe_matmul_call &call) = 0;
  /// Does what a matmul like this needs once, and reserves what it needs: the call itself then only computes. Reads no operands.
  virtual void prepareMatmul(const lathe_matmul_call &) {}
  /// lathe_runtime_table::dequantize_rows; returns how many indices are out of range. Other failures go to
  /// SessionServices::fail.
  virtual int64_t dequantizeRows(const lathe_rows_call &call) = 0;
  /// lathe_runtime_table::attention, of keys and values in caches where these are not null. Failures go to
  /// SessionServices::fail.
  virtual void attention(const lathe_attention_call &call, const CacheRows *keys, const CacheRows *values) = 0;
  virtual void prepareAttention(const lathe_attention_call &) {}
};

/// A backend's part of a module: thread-safe.
class BackendModule {
public:
  virtual ~BackendModule() = default;
  virtual Status createSession(SessionServices &services, std::unique_ptr<BackendSession> *session) = 0;
};

/// A kind of device.
class Backend {
public:
  virtual ~Backend() = default;
  /// As in the manifest's "devices".
  virtual const char *name() const = 0;
  virtual Status createModule(ModuleServices &services, std::unique_ptr<BackendModule> *module) = 0;
  /// Called once on each worker thread of a session, before anything else.
  virtual void (*threadStart() const)() { return nullptr; }
};

/// Adds a backend, which must live as long as the process. The registry is the one state that modules share; it is
/// filled before the first module is loaded.
void registerBackend(Backend &backend);

/// Finds a backend; NULL when there is none of that name.
Backend *findBackend(std::string_view name);

/// Registers the backends that this library was built with; may be called again.
void registerBuiltinBackends();

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_BACKEND_H
