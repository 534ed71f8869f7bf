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
  bool inOrder = false; ///< queries of the run are the last rows of each sequence, in order: positions say no more
  CacheLayout layout;
};

/// What a backend may use of a module; outlives the backend's part of it.
class ModuleServices {
public:
  virtual const Manifest &manifest() const = 0;
  /// The artifact's file as it was named when it was loaded: what a backend finds out may be kept beside it. Empty where there is none.
  virtual std::string_view path() const { return {}; }
  /// Whether products of f32 may round their operands to TF32, 10 bits behind the first, where the device is faster by it.
  virtual bool allowsTf32() const { return false; }
  /// Address of a constant as it is stored.
  virtual const void *constant(size_t index) const = 0;
  /// Instruction set that products use, such as "avx512", "avx512_bf16" or "amx"; runtime::codeIsa() is that of the artifact's code.
  virtual std::string_view isa() const = 0;
  /// The bytes of entry `index` of the manifest's device code, which stay where they are.
  virtual Status deviceCode(size_t, std::string_view *) const { return failure(LATHE_NOT_FOUND, "there is no code for a device"); }
  /// For a device that is played: the executable image of its kernels, and what the manifest says about it; null else.
  virtual const DeviceCode *emulation(const unsigned char **) const { return nullptr; }
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

/// A session's part of a device that has memory of its own. What is asked for is done in that order; only what says so waits
/// for it. An address of the device is nothing that the host may read.
class DeviceQueue {
public:
  virtual ~DeviceQueue() = default;
  /// At least 256-byte aligned; an address even for no bytes. OUT_OF_MEMORY leaves everything as it was.
  virtual Status allocate(uint64_t bytes, void **address) = 0;
  /// Takes effect after what was asked for before.
  virtual void release(void *address) = 0;
  /// `from` may change after the call.
  virtual Status upload(void *to, const void *from, uint64_t bytes) = 0;
  /// `to` has the bytes after the next wait() or finish().
  virtual Status download(void *to, const void *from, uint64_t bytes) = 0;
  /// Both on the device.
  virtual Status copy(void *to, const void *from, uint64_t bytes) = 0;
  /// lathe_runtime_table::cache, of pages on the device: what is put are the last rows that the cache has. Failures go to
  /// SessionServices::fail.
  virtual void cache(const lathe_cache_call &call, const CacheRows &rows) = 0;
  /// Waits for all that was asked for.
  virtual Status wait() = 0;
  /// Ends a run: wait(), and gives in *check the check that kernels found failed, -1 where none did.
  virtual Status finish(int64_t *check) = 0;
  /// lathe_runtime_table::launch and read. Failures go to SessionServices::fail.
  virtual void launch(const lathe_launch_call &call) = 0;
  virtual const void *read(const void *address, int64_t bytes) = 0;
  /// Notes when the device comes here. Numbers count up from 0 in each run.
  virtual size_t mark() = 0;
  /// Nanoseconds between two marks of a run that has finished.
  virtual uint64_t elapsed(size_t from, size_t to) = 0;
};

/// A backend's part of a session: used by one thread at a time.
class BackendSession {
public:
  virtual ~BackendSession() = default;
  /// Where buffers of runs are the device's; null where they are the host's. Lives as long as this.
  virtual DeviceQueue *device() { return nullptr; }
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
  /// Addresses of the constants for frames; null where that is as they are stored.
  virtual const void *const *constants() const { return nullptr; }
  virtual Status createSession(SessionServices &services, std::unique_ptr<BackendSession> *session) = 0;
};

/// A kind of device.
class Backend {
public:
  virtual ~Backend() = default;
  virtual const char *name() const = 0;
  /// The device of the manifest whose programs it runs: another than itself where it plays one.
  virtual const char *programs() const { return name(); }
  /// Whether it plays that device with kernels compiled for the host, which the module then has to map.
  virtual bool emulates() const { return false; }
  /// Fails with the reason where the device does not work on this machine.
  virtual Status available() { return success(); }
  virtual Status createModule(ModuleServices &services, std::unique_ptr<BackendModule> *module) = 0;
  /// Called once on each worker thread of a session, before anything else.
  virtual void (*threadStart() const)() { return nullptr; }
};

/// Adds a backend, which must live as long as the process. The registry is the one state that modules share; it is
/// filled before the first module is loaded.
void registerBackend(Backend &backend);

/// Finds a backend that is registered; NULL when there is none of that name. openBackend() also looks for libraries.
Backend *findBackend(std::string_view name);

/// Registers the backends that this library was built with; may be called again.
void registerBuiltinBackends();

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_BACKEND_H
