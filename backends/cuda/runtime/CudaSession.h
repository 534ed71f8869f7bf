//===- CudaSession.h - Runs on a GPU ----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_CUDASESSION_H
#define LATHE_BACKENDS_CUDA_RUNTIME_CUDASESSION_H

#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/Fusion.h"
#include "backends/cuda/runtime/LibraryAttention.h"
#include "backends/cuda/runtime/Products.h"
#include "backends/cuda/runtime/Replay.h"
#include "backends/cuda/runtime/Staging.h"

#include <set>

namespace lathe::cuda {

/// A kernel by its name and the nodes of the model that it does the work of.
std::string describeKernel(const std::vector<runtime::Kernel> &kernels, int64_t index);

/// A stream, and what a run puts into it.
class CudaSession final : public runtime::BackendSession,
                          public runtime::DeviceQueue,
                          private Replay::Player,
                          private Fusion::Sink {
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
  runtime::Status copy(void *to, const void *from, uint64_t bytes) override;
  void cache(const lathe_cache_call &call, const runtime::CacheRows &rows) override;
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

  /// The pages of a cache's rows as kernels find them.
  struct DevicePages {
    const unsigned char *const *const *host = nullptr; ///< whose they are
    int64_t newRows = 0;
    std::unique_ptr<Scratch> memory;
    void *const *const *pages = nullptr; ///< of each sequence
    const int64_t *counts = nullptr;     ///< rows of each sequence
    const int64_t *before = nullptr;     ///< without the new ones
  };

  runtime::Status play(int64_t kind, int64_t kernel, const void *call, size_t bytes) override;
  runtime::Status playLaunch(const LaunchCall &launch, const void *args, bool isGenerated);
  void make(int64_t kind, int64_t kernel, std::initializer_list<Replay::Part> parts) override;
  void makeWritten(int64_t kernel, const KernelLaunch &launch) override;
  /// Makes all that is held back: someone needs its results, or an order that the device alone does not know.
  void interrupt();
  runtime::Status prepareLaunch(const KernelLaunch &launch, LaunchCall *call);
  void report(int64_t kernel, runtime::Status status) override;
  runtime::Status start(const lathe_launch_call &call);
  runtime::Status start(bool possible, int64_t kernel, const KernelLaunch &launch, const std::string &why);
  runtime::Status execute(const lathe_attention_call &call, const runtime::CacheRows *keys,
                          const runtime::CacheRows *values);
  runtime::Status execute(const lathe_cache_call &call, const runtime::CacheRows &rows);
  runtime::Status offer(const lathe_attention_call &call, const runtime::CacheRows *keys,
                        const runtime::CacheRows *values, bool *isTaken);
  runtime::Status readRows(const runtime::CacheRows &rows, CacheArgs *args);
  runtime::Status rotateQueries(AttentionArgs &args, int64_t kernel, int64_t rotation);
  runtime::Status findPages(const runtime::CacheRows &rows, int64_t newRows, const DevicePages **found);
  runtime::Status bindRows(const runtime::CacheRows &rows, RowsArgs *args, const int64_t **counts, int64_t *most);
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
  std::unique_ptr<Replay> replay_;
  std::unique_ptr<Fusion> fusion_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<Products> products_;
  std::unique_ptr<LibraryAttention> libraryAttention_;
  std::set<std::pair<int64_t, std::string>> told_; ///< of kernels, by what they are computed
  std::unique_ptr<Scratch> scratch_;               ///< of attentions
  std::unique_ptr<Scratch> rotated_;               ///< their queries
  std::vector<DevicePages> pages_;                 ///< of the run, and behind them memory of others
  size_t pagesOfRun_ = 0;
  bool blocking_ = false, verbose_ = false;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_CUDASESSION_H
