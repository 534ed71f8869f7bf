//===- CudaSession.h - Runs on a GPU ----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_CUDASESSION_H
#define LATHE_BACKENDS_CUDA_RUNTIME_CUDASESSION_H

#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/Products.h"

namespace lathe::cuda {

/// A stream, and what a run puts into it.
class CudaSession final : public runtime::BackendSession, public runtime::DeviceQueue {
public:
  CudaSession(CudaModule &module, runtime::SessionServices &services);
  ~CudaSession() override;
  runtime::Status start();

  runtime::DeviceQueue *device() override { return this; }
  void beginRun() override;
  void endRun() override;
  void matmul(const lathe_matmul_call &call) override;
  void prepareMatmul(const lathe_matmul_call &call) override;
  int64_t dequantizeRows(const lathe_rows_call &call) override;
  void attention(const lathe_attention_call &call, const runtime::CacheRows *keys,
                 const runtime::CacheRows *values) override;

  runtime::Status allocate(uint64_t bytes, void **address) override;
  void release(void *address) override;
  runtime::Status upload(void *to, const void *from, uint64_t bytes) override;
  runtime::Status download(void *to, const void *from, uint64_t bytes) override;
  runtime::Status wait() override;
  runtime::Status finish(int64_t *check) override;
  void launch(const lathe_launch_call &call) override;
  const void *read(const void *address, int64_t bytes) override;
  size_t mark() override;
  uint64_t elapsed(size_t from, size_t to) override;

private:
  struct Function {
    FunctionHandle handle = nullptr;
    int64_t sharedBytes = 0; ///< that it may ask for
  };

  void report(int64_t kernel, runtime::Status status);
  runtime::Status start(const lathe_launch_call &call);
  runtime::Status findFunction(int64_t kernel, int64_t sharedBytes, FunctionHandle *function);

  CudaModule &module_;
  const Device &device_;
  const DriverApi &driver_;
  runtime::SessionServices &services_;
  Stream stream_ = nullptr;
  DevicePointer failures_ = 0; ///< two i64 (docs/design/0024-cuda.md)
  int64_t hostFailures_[2] = {};
  std::vector<unsigned char> readBytes_;
  std::vector<Function> functions_; ///< by kernel
  std::vector<Event> events_;
  size_t marks_ = 0; ///< of the run
  std::unique_ptr<Products> products_;
  bool blocking_ = false;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_CUDASESSION_H
