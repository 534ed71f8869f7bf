//===- Session.h - Runs of a module -----------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_SESSION_H
#define LATHE_RUNTIME_SESSION_H

#include "runtime/Abi.h"
#include "runtime/Module.h"
#include "runtime/RunBuffer.h"
#include "runtime/ThreadPool.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace lathe::runtime {

class KvCache;

/// Inputs, outputs and memory of runs. Used by one thread at a time.
class Session final : private SessionServices {
public:
  struct Options {
    int threads = 0;
    bool profile = false;
    uint64_t memoryBudget = 0;
    int64_t maxDimension = 0;
    std::string program; ///< empty for `main`
  };

  struct Input {
    bool bound = false;
    const void *data = nullptr;
    std::vector<int64_t> dims;
    RunBuffer copy; ///< on the device
  };

  struct Output {
    void *callerData = nullptr;
    size_t callerCapacity = 0;
    Buffer buffer;
    RunBuffer copy; ///< on the device, which computes it there
    std::vector<int64_t> dims;
    bool deferred = false; ///< the run finds the dimensions
    std::vector<int64_t> planned; ///< with -1 for those
    int64_t size = 0;
    void *data = nullptr;
  };

  struct KernelTime {
    uint64_t nanoseconds = 0;
    uint64_t calls = 0;
  };

  static Status create(std::shared_ptr<Module> module, const Options &options, std::unique_ptr<Session> *session);
  ~Session();

  const Module &module() const { return *module_; }
  const Program &program() const override { return *program_; }
  size_t programIndex() const { return programIndex_; }
  Status setInput(size_t index, lathe_dtype dtype, size_t rank, const int64_t *dims, const void *data);
  Status setOutput(size_t index, void *data, size_t capacity);
  /// Computes the dimensions of the outputs.
  Status bind();
  Status run();
  /// Does what the first run would do before it computes.
  Status prepare();
  /// Valid after bind() or run().
  const Output &output(size_t index) const { return outputs_[index]; }
  bool hasResult() const { return hasResult_; }
  uint64_t memory() const { return memory_; }
  uint64_t arenaMemory() const { return arena_.capacity(); }
  uint64_t outputMemory() const;
  int threads() const { return pool_.threads(); }
  /// What the program's caches are; runs of one that has some need it. Borrowed.
  void setCache(KvCache *cache) { cache_ = cache; }
  /// Where buffers of runs are a device's; null where they are the host's. Lives as long as this.
  DeviceQueue *device() const { return device_; }
  /// Counts memory that the caller keeps for the session against its budget.
  bool chargeMemory(int64_t bytes) { return charge(bytes); }
  void setProfiling(bool enabled) { profiling_ = enabled; }
  void setTrace(lathe_trace_fn trace, void *context) { trace_ = trace, traceContext_ = context; }
  void setObserver(lathe_observe_fn observe, void *context) { observe_ = observe, observeContext_ = context; }
  std::vector<KernelTime> &profile() { return profile_; }
  const std::vector<KernelTime> &profile() const { return profile_; }

private:
  /// What generated code sees, and how its calls find the session again.
  struct Frame : lathe_frame {
    Session *session = nullptr;
  };
  static const lathe_runtime_table kTable;
  static const lathe_runtime_table kProfilingTable;
  static const lathe_runtime_table kObservingTable;
  static void parallelForEntry(lathe_frame *frame, int64_t kernel, lathe_task_fn task, const void *args, int64_t count,
                               int64_t grain);
  static void matmulEntry(lathe_frame *frame, const lathe_matmul_call *call);
  static void attentionEntry(lathe_frame *frame, const lathe_attention_call *call);
  static void cacheEntry(lathe_frame *frame, const lathe_cache_call *call);
  static void dequantizeRowsEntry(lathe_frame *frame, const lathe_rows_call *call);
  static void failEntry(lathe_frame *frame, int64_t check);
  static void *allocateEntry(lathe_frame *frame, int64_t slot, int64_t bytes);
  static void *outputEntry(lathe_frame *frame, int64_t index, const int64_t *dims);
  static void timedParallelFor(lathe_frame *frame, int64_t kernel, lathe_task_fn task, const void *args, int64_t count,
                               int64_t grain);
  template <auto entry, typename Call> static void timed(lathe_frame *frame, const Call *call);
  static void observedParallelFor(lathe_frame *frame, int64_t kernel, lathe_task_fn task, const void *args, int64_t count,
                                  int64_t grain);
  template <auto entry, typename Call> static void observed(lathe_frame *frame, const Call *call);
  static const lathe_runtime_table kDeviceProfilingTable;
  static const lathe_runtime_table kDeviceObservingTable;
  static void launchEntry(lathe_frame *frame, const lathe_launch_call *call);
  static const void *readEntry(lathe_frame *frame, const void *address, int64_t bytes);
  template <auto entry, typename Call> static void marked(lathe_frame *frame, const Call *call);
  template <auto entry, typename Call> static void deviceObserved(lathe_frame *frame, const Call *call);
  static void observedLaunch(lathe_frame *frame, const lathe_launch_call *call);
  static void prepareMatmulEntry(lathe_frame *frame, const lathe_matmul_call *call);
  static void prepareAttentionEntry(lathe_frame *frame, const lathe_attention_call *call);

  ThreadPool &pool() override { return pool_; }
  void fail(Status status) override;
  bool charge(int64_t bytes) override;

  Status bindSymbols();
  Status callPlan();
  Status checkPlan();
  Status tooLarge(size_t output) const;
  template <typename Memory> Status reserve(Memory &buffer, int64_t size, const char *what);
  Status prepareBuffers();
  Status execute(const lathe_runtime_table &table);
  Status prepareOutput(size_t index);
  /// Around a run on a device: copies inputs there, and outputs back when all is done.
  Status uploadInputs();
  Status downloadOutputs();
  void recordMarks();
  Status executeOnDevice(const lathe_runtime_table &table);
  Status checkFailed(int64_t check) const;
  void record(int64_t kernel, uint64_t start);
  void record(int64_t kernel, uint64_t start, uint64_t nanoseconds);
  const lathe_runtime_table &table() const;
  void observe(int64_t kernel, const KernelResult &result, const void *data, int64_t elements);
  bool owns(const void *data, uint64_t bytes) const;

  std::shared_ptr<Module> module_;
  const Program *program_ = nullptr; ///< of the module's manifest
  size_t programIndex_ = 0;
  Options options_;
  ThreadPool pool_;
  std::unique_ptr<BackendSession> backend_;
  DeviceQueue *device_ = nullptr; ///< of backend_, where buffers are a device's
  KvCache *cache_ = nullptr;
  std::vector<Input> inputs_;
  std::vector<Output> outputs_;
  RunBuffer arena_;
  std::vector<RunBuffer> dynamic_; ///< by slot
  std::vector<int64_t> symbols_;
  std::vector<int64_t> planned_; ///< dimensions of inputs, then of outputs
  int64_t arenaBytes_ = 0;
  uint64_t memory_ = 0;
  bool bound_ = false;
  bool hasResult_ = false;
  bool profiling_ = false;
  lathe_trace_fn trace_ = nullptr;
  void *traceContext_ = nullptr;
  lathe_observe_fn observe_ = nullptr;
  void *observeContext_ = nullptr;
  std::vector<KernelTime> profile_;
  /// Calls of the run between two marks of the device each, and when the first was made.
  struct Marks {
    int64_t kernel;
    size_t from, to;
  };
  std::vector<Marks> marks_;
  uint64_t firstMark_ = 0;
  std::mutex failureMutex_;
  Status failure_;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_SESSION_H
