//===- SessionEntries.cpp - What generated code calls -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Session.h"

#include "runtime/generation/KvCache.h"

#include <chrono>

using namespace lathe::runtime;

namespace {

Status noCache() {
  return failure(LATHE_INVALID_ARGUMENT, "the program keeps a cache between runs: use the functions for generation");
}

} // namespace

const lathe_runtime_table Session::kTable = {LATHE_ABI_VERSION,   parallelForEntry, matmulEntry,    failEntry,
                                             allocateEntry,       outputEntry,      attentionEntry, cacheEntry,
                                             dequantizeRowsEntry, launchEntry,      readEntry};
const lathe_runtime_table Session::kProfilingTable = {
    LATHE_ABI_VERSION,     timedParallelFor,  timed<matmulEntry>,         failEntry,   allocateEntry, outputEntry,
    timed<attentionEntry>, timed<cacheEntry>, timed<dequantizeRowsEntry>, launchEntry, readEntry};

void Session::parallelForEntry(lathe_frame *frame, int64_t, lathe_task_fn task, const void *args, int64_t count,
                               int64_t grain) {
  struct Loop {
    lathe_frame *frame;
    lathe_task_fn task;
    const void *args;
  } loop{frame, task, args};
  static_cast<Frame *>(frame)->session->pool_.parallelFor(
      count, grain,
      [](void *context, int64_t begin, int64_t end, int) {
        auto *loop = static_cast<Loop *>(context);
        loop->task(loop->frame, loop->args, begin, end);
      },
      &loop);
}

void Session::matmulEntry(lathe_frame *frame, const lathe_matmul_call *call) {
  static_cast<Frame *>(frame)->session->backend_->matmul(*call);
}

void Session::attentionEntry(lathe_frame *frame, const lathe_attention_call *call) {
  Session *session = static_cast<Frame *>(frame)->session;
  CacheRows keys, values;
  for (auto [index, rows] : {std::pair(call->key_cache, &keys), std::pair(call->value_cache, &values)})
    if (index >= 0) {
      Status status = session->cache_ ? session->cache_->rows(index, rows) : noCache();
      if (status.failed())
        return session->fail(std::move(status));
    }
  session->backend_->attention(*call, call->key_cache >= 0 ? &keys : nullptr,
                               call->value_cache >= 0 ? &values : nullptr);
}

void Session::cacheEntry(lathe_frame *frame, const lathe_cache_call *call) {
  Session *session = static_cast<Frame *>(frame)->session;
  CacheRows rows;
  Status status = !session->cache_    ? noCache()
                  : session->device_ ? session->cache_->check(*call, &rows)
                                     : session->cache_->execute(*call, session->pool_);
  if (status.failed())
    session->fail(std::move(status));
  else if (session->device_)
    session->device_->cache(*call, rows);
}

void Session::dequantizeRowsEntry(lathe_frame *frame, const lathe_rows_call *call) {
  Session *session = static_cast<Frame *>(frame)->session;
  if (session->backend_->dequantizeRows(*call) > 0)
    session->fail(session->checkFailed(call->check));
}

void Session::failEntry(lathe_frame *frame, int64_t check) {
  Session *session = static_cast<Frame *>(frame)->session;
  session->fail(session->checkFailed(check));
}

void *Session::allocateEntry(lathe_frame *frame, int64_t slot, int64_t bytes) {
  Session *session = static_cast<Frame *>(frame)->session;
  constexpr int64_t kMaxSlots = 1 << 24;
  if (slot < 0 || slot >= kMaxSlots || bytes < 0) {
    session->fail(failure(LATHE_INTERNAL, "the artifact's code asked for ", bytes, " bytes in slot ", slot));
    return nullptr;
  }
  while (session->dynamic_.size() <= static_cast<size_t>(slot))
    session->dynamic_.emplace_back(session->device_);
  RunBuffer &buffer = session->dynamic_[static_cast<size_t>(slot)];
  if (Status status = session->reserve(buffer, bytes, "an intermediate value"); status.failed()) {
    session->fail(std::move(status));
    return nullptr;
  }
  return buffer.data();
}

void *Session::outputEntry(lathe_frame *frame, int64_t index, const int64_t *dims) {
  Session *session = static_cast<Frame *>(frame)->session;
  auto at = static_cast<size_t>(index);
  if (index < 0 || at >= session->outputs_.size() || !session->outputs_[at].deferred) {
    session->fail(failure(LATHE_INTERNAL, "the artifact's code asked for output ", index, " again"));
    return nullptr;
  }
  Output &output = session->outputs_[at];
  const Tensor &tensor = session->program_->outputs[at];
  output.dims.assign(dims, dims + tensor.dims.size());
  Status status = tensorBytes(*tensor.type, dims, tensor.dims.size(), &output.size) ? session->prepareOutput(at)
                                                                                    : session->tooLarge(at);
  if (status.failed())
    session->fail(std::move(status));
  if (session->device_)
    return output.data ? output.copy.data() : nullptr;
  return output.data;
}

namespace {
uint64_t now() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}
} // namespace

void Session::record(int64_t kernel, uint64_t start) { record(kernel, start, now() - start); }

void Session::record(int64_t kernel, uint64_t start, uint64_t nanoseconds) {
  if (kernel < 0 || static_cast<size_t>(kernel) >= profile_.size())
    return;
  KernelTime &time = profile_[static_cast<size_t>(kernel)];
  time.nanoseconds += nanoseconds;
  ++time.calls;
  if (trace_)
    trace_(traceContext_, static_cast<size_t>(kernel), start, nanoseconds);
}

template <auto entry, typename Call> void Session::timed(lathe_frame *frame, const Call *call) {
  uint64_t start = now();
  entry(frame, call);
  static_cast<Frame *>(frame)->session->record(call->kernel, start);
}

void Session::timedParallelFor(lathe_frame *frame, int64_t kernel, lathe_task_fn task, const void *args, int64_t count,
                               int64_t grain) {
  uint64_t start = now();
  parallelForEntry(frame, kernel, task, args, count, grain);
  static_cast<Frame *>(frame)->session->record(kernel, start);
}

//===----------------------------------------------------------------------===//
// What kernels compute, for observers
//===----------------------------------------------------------------------===//

const lathe_runtime_table Session::kObservingTable = {LATHE_ABI_VERSION,
                                                      observedParallelFor,
                                                      observed<matmulEntry>,
                                                      failEntry,
                                                      allocateEntry,
                                                      outputEntry,
                                                      observed<attentionEntry>,
                                                      timed<cacheEntry>,
                                                      observed<dequantizeRowsEntry>,
                                                      launchEntry,
                                                      readEntry};

const lathe_runtime_table &Session::table() const {
  if (device_)
    return observe_ ? kDeviceObservingTable : profiling_ ? kDeviceProfilingTable : kTable;
  return observe_ ? kObservingTable : profiling_ ? kProfilingTable : kTable;
}

namespace {

const void *resultData(const lathe_matmul_call &call) { return call.out; }
const void *resultData(const lathe_attention_call &call) { return call.out.data; }
const void *resultData(const lathe_rows_call &call) { return call.out; }

/// The product of extents; -1 where it is none.
int64_t productOf(const std::vector<int64_t> &extents) {
  int64_t count = 0;
  return elementCount(extents.data(), extents.size(), &count) ? count : -1;
}

int64_t resultElements(const lathe_matmul_call &call) {
  return productOf({call.batch[0], call.batch[1], call.batch[2], call.m, call.n});
}
int64_t resultElements(const lathe_attention_call &call) {
  return productOf({call.batch[0], call.batch[1], call.batch[2], call.s, call.e});
}
int64_t resultElements(const lathe_rows_call &call) { return productOf({call.count, call.out_row}); }

} // namespace

/// Whether a run of this session may write there.
bool Session::owns(const void *data, uint64_t bytes) const {
  auto begin = reinterpret_cast<uintptr_t>(data);
  auto within = [&](const void *memory, uint64_t size) {
    auto base = reinterpret_cast<uintptr_t>(memory);
    return begin >= base && bytes <= size && begin - base <= size - bytes;
  };
  bool found = within(arena_.data(), arena_.capacity());
  for (const Output &output : outputs_)
    found = found || within(device_ ? output.copy.data() : output.data, static_cast<uint64_t>(output.size));
  for (const RunBuffer &buffer : dynamic_)
    found = found || within(buffer.data(), buffer.capacity());
  return found;
}

void Session::observe(int64_t kernel, const KernelResult &result, const void *data, int64_t elements) {
  uint64_t bytes = 0;
  if (elements != 0 &&
      (elements < 0 || __builtin_mul_overflow(elements, result.type->size, &bytes) || !owns(data, bytes)))
    return fail(failure(LATHE_INTERNAL, "kernel '", program_->kernels[static_cast<size_t>(kernel)].name,
                        "' has no result where the manifest says that it is"));
  std::vector<unsigned char> copy;
  if (device_) {
    copy.resize(bytes);
    Status status = device_->download(copy.data(), data, bytes);
    if (!status.failed())
      status = device_->wait();
    if (status.failed())
      return fail(std::move(status));
    data = copy.data();
  }
  lathe_kernel_result told = {result.value.c_str(), result.node.c_str(), result.type->dtype, data,
                              static_cast<size_t>(elements)};
  observe_(observeContext_, static_cast<size_t>(kernel), &told);
}

template <auto entry, typename Call> void Session::observed(lathe_frame *frame, const Call *call) {
  Session *session = static_cast<Frame *>(frame)->session;
  (session->profiling_ ? timed<entry, Call> : entry)(frame, call);
  const std::vector<Kernel> &kernels = session->program_->kernels;
  if (call->kernel < 0 || static_cast<size_t>(call->kernel) >= kernels.size())
    return;
  if (const auto &result = kernels[static_cast<size_t>(call->kernel)].result; result && !result->isLaunched)
    session->observe(call->kernel, *result, resultData(*call), resultElements(*call));
}

void Session::observedParallelFor(lathe_frame *frame, int64_t kernel, lathe_task_fn task, const void *args,
                                  int64_t count, int64_t grain) {
  Session *session = static_cast<Frame *>(frame)->session;
  (session->profiling_ ? timedParallelFor : parallelForEntry)(frame, kernel, task, args, count, grain);
  const std::vector<Kernel> &kernels = session->program_->kernels;
  if (kernel < 0 || static_cast<size_t>(kernel) >= kernels.size())
    return;
  const auto &result = kernels[static_cast<size_t>(kernel)].result;
  if (!result || !result->isLaunched)
    return;
  // What generated code hands to its tasks for a buffer: the address twice, an offset of 0, extents, strides.
  auto *words = reinterpret_cast<const int64_t *>(static_cast<const unsigned char *>(args) + result->argument);
  session->observe(kernel, *result, reinterpret_cast<const void *>(words[1]),
                   productOf({words + 3, words + 3 + result->rank}));
}

void Session::fail(Status status) {
  std::lock_guard<std::mutex> lock(failureMutex_);
  if (!failure_.failed())
    failure_ = std::move(status);
}

void Session::prepareAttentionEntry(lathe_frame *frame, const lathe_attention_call *call) {
  static_cast<Frame *>(frame)->session->backend_->prepareAttention(*call);
}

void Session::prepareMatmulEntry(lathe_frame *frame, const lathe_matmul_call *call) {
  static_cast<Frame *>(frame)->session->backend_->prepareMatmul(*call);
}

//===----------------------------------------------------------------------===//
// Runs on a device
//===----------------------------------------------------------------------===//

const lathe_runtime_table Session::kDeviceProfilingTable = {LATHE_ABI_VERSION,
                                                            parallelForEntry,
                                                            marked<matmulEntry>,
                                                            failEntry,
                                                            allocateEntry,
                                                            outputEntry,
                                                            marked<attentionEntry>,
                                                            marked<cacheEntry>,
                                                            marked<dequantizeRowsEntry>,
                                                            marked<launchEntry>,
                                                            readEntry};
const lathe_runtime_table Session::kDeviceObservingTable = {LATHE_ABI_VERSION,
                                                            parallelForEntry,
                                                            deviceObserved<matmulEntry>,
                                                            failEntry,
                                                            allocateEntry,
                                                            outputEntry,
                                                            deviceObserved<attentionEntry>,
                                                            marked<cacheEntry>,
                                                            deviceObserved<dequantizeRowsEntry>,
                                                            observedLaunch,
                                                            readEntry};

void Session::launchEntry(lathe_frame *frame, const lathe_launch_call *call) {
  Session *session = static_cast<Frame *>(frame)->session;
  if (!session->device_)
    return session->fail(
        failure(LATHE_INTERNAL, "the artifact's code launched a kernel, which this device has none of"));
  const std::vector<Kernel> &kernels = session->program_->kernels;
  if (call->kernel < 0 || static_cast<size_t>(call->kernel) >= kernels.size())
    return session->fail(
        failure(LATHE_INTERNAL, "the artifact's code launched kernel ", call->kernel, " of ", kernels.size()));
  session->device_->launch(*call);
}

const void *Session::readEntry(lathe_frame *frame, const void *address, int64_t bytes) {
  Session *session = static_cast<Frame *>(frame)->session;
  constexpr int64_t kMaxRead = 4096;
  if (session->device_ && bytes >= 0 && bytes <= kMaxRead)
    return session->device_->read(address, bytes);
  session->fail(failure(LATHE_INTERNAL, "the artifact's code read ", bytes,
                        " bytes of the device's memory; expected up to ", kMaxRead));
  return nullptr;
}

/// As `timed`, by the clock of the device, which has not computed yet when the entry returns.
template <auto entry, typename Call> void Session::marked(lathe_frame *frame, const Call *call) {
  Session *session = static_cast<Frame *>(frame)->session;
  if (!session->profiling_)
    return entry(frame, call);
  if (session->marks_.empty())
    session->firstMark_ = now();
  size_t from = session->device_->mark();
  entry(frame, call);
  session->marks_.push_back({call->kernel, from, session->device_->mark()});
}

void Session::recordMarks() {
  for (const Marks &marks : marks_)
    record(marks.kernel, firstMark_ + device_->elapsed(marks_.front().from, marks.from),
           device_->elapsed(marks.from, marks.to));
}

template <auto entry, typename Call> void Session::deviceObserved(lathe_frame *frame, const Call *call) {
  marked<entry>(frame, call);
  Session *session = static_cast<Frame *>(frame)->session;
  const std::vector<Kernel> &kernels = session->program_->kernels;
  if (call->kernel < 0 || static_cast<size_t>(call->kernel) >= kernels.size())
    return;
  if (const auto &result = kernels[static_cast<size_t>(call->kernel)].result; result && !result->isLaunched)
    session->observe(call->kernel, *result, resultData(*call), resultElements(*call));
}

void Session::observedLaunch(lathe_frame *frame, const lathe_launch_call *call) {
  marked<launchEntry>(frame, call);
  Session *session = static_cast<Frame *>(frame)->session;
  const std::vector<Kernel> &kernels = session->program_->kernels;
  if (call->kernel < 0 || static_cast<size_t>(call->kernel) >= kernels.size())
    return;
  const auto &result = kernels[static_cast<size_t>(call->kernel)].result;
  if (!result || !result->isLaunched)
    return;
  if (result->argument + 8 * (3 + result->rank) > call->args_bytes)
    return session->fail(failure(LATHE_INTERNAL, "kernel '", kernels[static_cast<size_t>(call->kernel)].name,
                                 "' has no argument where the manifest says that its result is"));
  auto *words = reinterpret_cast<const int64_t *>(static_cast<const unsigned char *>(call->args) + result->argument);
  session->observe(call->kernel, *result, reinterpret_cast<const void *>(words[1]),
                   productOf({words + 3, words + 3 + result->rank}));
}

Status Session::uploadInputs() {
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const Input &input = inputs_[i];
    int64_t bytes = 0;
    if (!tensorBytes(*program_->inputs[i].type, input.dims.data(), input.dims.size(), &bytes))
      return failure(LATHE_INTERNAL, "input '", program_->inputs[i].name, "' has no size");
    if (bytes == 0)
      continue;
    if (Status status = device_->upload(input.copy.data(), input.data, static_cast<uint64_t>(bytes)); status.failed())
      return failure(status.code(), "input '", program_->inputs[i].name, "': ", status.message());
  }
  return success();
}

Status Session::downloadOutputs() {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Output &output = outputs_[i];
    if (!output.data || output.size == 0)
      continue;
    if (Status status = device_->download(output.data, output.copy.data(), static_cast<uint64_t>(output.size));
        status.failed())
      return failure(status.code(), "output '", program_->outputs[i].name, "': ", status.message());
  }
  return success();
}

Status Session::executeOnDevice(const lathe_runtime_table &table) {
  marks_.clear();
  Status status = uploadInputs();
  if (!status.failed())
    status = execute(table);
  if (!status.failed())
    status = downloadOutputs();
  // Also after a failure: nothing of this run may be going on when the next one begins.
  int64_t check = -1;
  Status finished = device_->finish(&check);
  if (status.failed())
    return status;
  if (finished.failed())
    return finished;
  recordMarks();
  return check >= 0 ? checkFailed(check) : success();
}
