//===- CudaSession.cpp - Runs on a GPU --------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/CudaSession.h"

#include "runtime/AttentionCall.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

constexpr int64_t kMaxArgs = 4064; ///< with two pointers' worth of other parameters the 4 KiB that all drivers take
constexpr int64_t kMaxGrid = 2147483647;
constexpr int64_t kMaxBlock = 1024;
constexpr int64_t kDefaultSharedBytes = 48 << 10; ///< what a kernel may use without being told to

DevicePointer pointerOf(const void *address) { return reinterpret_cast<DevicePointer>(address); }

/// A call that was kept as bytes.
template <typename Call> Call callOf(const void *bytes) {
  Call call;
  memcpy(&call, bytes, sizeof(call));
  return call;
}

} // namespace

std::string cuda::describeKernel(const std::vector<runtime::Kernel> &kernels, int64_t index) {
  if (index < 0 || static_cast<size_t>(index) >= kernels.size())
    return join("kernel ", index);
  const runtime::Kernel &kernel = kernels[static_cast<size_t>(index)];
  constexpr size_t kMaxNodes = 4;
  std::string nodes;
  for (size_t i = 0; i < kernel.nodes.size() && i < kMaxNodes; ++i)
    nodes += join(i ? ", '" : "'", kernel.nodes[i], "'");
  if (kernel.nodes.size() > kMaxNodes)
    nodes += join(" and ", kernel.nodes.size() - kMaxNodes, " more");
  return join("kernel '", kernel.name, "'",
              nodes.empty() ? "" : join(" (", kernel.nodes.size() > 1 ? "nodes " : "node ", nodes, ")"));
}

CudaSession::CudaSession(CudaModule &module, runtime::SessionServices &services)
    : module_(module), device_(module.device()), driver_(device_.driver()), services_(services),
      functions_(services.program().kernels.size()) {
  blocking_ = isSet("LATHE_CUDA_BLOCKING");
  verbose_ = isSet("LATHE_CUDA_VERBOSE");
}

CudaSession::~CudaSession() {
  Device::Current current(device_);
  products_.reset();
  libraryAttention_.reset();
  scratch_.reset();
  rotated_.reset();
  pages_.clear();
  replay_.reset();
  staging_.reset();
  for (Event event : events_)
    driver_.eventDestroy(event);
  if (failures_)
    driver_.memFree(failures_);
  if (stream_) {
    driver_.streamSynchronize(stream_);
    driver_.streamDestroy(stream_);
  }
}

Status CudaSession::start() {
  Device::Current current(device_);
  if (int result = driver_.streamCreate(&stream_, kStreamNonBlocking))
    return device_.status(result, "creating a stream");
  // Inputs and outputs of most runs fit the first piece.
  constexpr uint64_t kPieceBytes = uint64_t(256) << 10;
  constexpr size_t kPieces = 4;
  bool hasGraphs = !blocking_ && !isSet("LATHE_CUDA_NO_GRAPHS");
  replay_ = std::make_unique<Replay>(device_, stream_, static_cast<Replay::Player &>(*this), hasGraphs);
  fusion_ = std::make_unique<Fusion>(module_, services_.program(), static_cast<Fusion::Sink &>(*this),
                                     !blocking_ && !isSet("LATHE_CUDA_NO_FUSION"));
  staging_ = std::make_unique<Staging>(device_, stream_, kPieceBytes, kPieces,
                                       [this](int64_t bytes) { return services_.charge(bytes); });
  products_ = std::make_unique<Products>(module_, services_, stream_, replay_.get());
  libraryAttention_ = std::make_unique<LibraryAttention>(module_, services_, stream_, replay_.get());
  scratch_ = std::make_unique<Scratch>(device_, services_, stream_, replay_.get());
  rotated_ = std::make_unique<Scratch>(device_, services_, stream_, replay_.get());
  return device_.status(driver_.memAlloc(&failures_, sizeof(hostFailures_)), "allocating a session's memory");
}

void CudaSession::interrupt() {
  fusion_->flush();
  replay_->interrupt();
}

void CudaSession::report(int64_t kernel, Status status) {
  if (status.failed())
    services_.fail(failure(status.code(), describeKernel(services_.program().kernels, kernel), ": ", status.message()));
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Status CudaSession::allocate(uint64_t bytes, void **address) {
  Device::Current current(device_);
  interrupt();
  *address = nullptr;
  DevicePointer result = 0;
  uint64_t size = std::max<uint64_t>(bytes, 1);
  int code = device_.hasPools() ? driver_.memAllocAsync(&result, size, stream_) : driver_.memAlloc(&result, size);
  if (code == kDriverSuccess)
    *address = reinterpret_cast<void *>(result);
  if (code == kDriverOutOfMemory)
    return failure(LATHE_OUT_OF_MEMORY, "the device has not enough memory");
  return device_.status(code, "allocating memory of the device");
}

void CudaSession::release(void *address) {
  Device::Current current(device_);
  interrupt();
  if (device_.hasPools()) {
    driver_.memFreeAsync(pointerOf(address), stream_);
    return;
  }
  // Work in the stream may still use it.
  driver_.streamSynchronize(stream_);
  driver_.memFree(pointerOf(address));
}

Status CudaSession::upload(void *to, const void *from, uint64_t bytes) {
  Device::Current current(device_);
  interrupt();
  return staging_->upload(pointerOf(to), from, bytes);
}

Status CudaSession::download(void *to, const void *from, uint64_t bytes) {
  Device::Current current(device_);
  interrupt();
  return staging_->download(to, pointerOf(from), bytes);
}

Status CudaSession::copy(void *to, const void *from, uint64_t bytes) {
  Device::Current current(device_);
  interrupt();
  return device_.status(driver_.memcpyDtoDAsync(pointerOf(to), pointerOf(from), bytes, stream_),
                        "copying on the device");
}

Status CudaSession::wait() {
  Device::Current current(device_);
  interrupt();
  Status status = staging_->arrive();
  if (status.code() == LATHE_DEVICE_LOST && !blocking_)
    return failure(status.code(), status.message(),
                   "; run with the environment variable LATHE_CUDA_BLOCKING=1 to learn which kernel it was");
  return status;
}

//===----------------------------------------------------------------------===//
// Runs
//===----------------------------------------------------------------------===//

void CudaSession::beginRun() {
  driver_.contextPush(device_.context());
  marks_ = 0;
  pagesOfRun_ = 0;
  if (int result = driver_.memsetD8Async(failures_, 0, sizeof(hostFailures_), stream_))
    services_.fail(device_.status(result, "starting a run"));
  replay_->beginRun();
}

void CudaSession::endRun() {
  fusion_->flush();
  replay_->endRun();
  Context popped = nullptr;
  driver_.contextPop(&popped);
}

Status CudaSession::finish(int64_t *check) {
  *check = -1;
  Status status = download(hostFailures_, reinterpret_cast<const void *>(failures_), sizeof(hostFailures_));
  Status waited = wait();
  if (Choices *choices = module_.choices())
    choices->save();
  if (status.failed() || waited.failed())
    return status.failed() ? status : waited;
  if (hostFailures_[0] != 0)
    *check = hostFailures_[0] - 1;
  return success();
}

Status CudaSession::findFunction(int64_t kernel, int64_t sharedBytes, FunctionHandle *function) {
  Function &found = functions_[static_cast<size_t>(kernel)];
  if (!found.handle) {
    const std::string &name = services_.program().kernels[static_cast<size_t>(kernel)].function;
    if (name.empty())
      return failure(LATHE_INVALID_ARTIFACT, "the manifest gives it no function");
    if (Status status = module_.function(name, &found.handle); status.failed())
      return status;
    found.sharedBytes = kDefaultSharedBytes;
  }
  if (sharedBytes > found.sharedBytes) {
    if (int result =
            driver_.functionSetAttribute(found.handle, kFunctionMaxDynamicSharedBytes, static_cast<int>(sharedBytes)))
      return device_.status(result, join("asking for ", sharedBytes, " bytes of shared memory").c_str());
    found.sharedBytes = sharedBytes;
  }
  *function = found.handle;
  return success();
}

Status CudaSession::start(const lathe_launch_call &call) {
  if (call.args_bytes < 0 || call.args_bytes > kMaxArgs)
    return failure(LATHE_INTERNAL, "its arguments have ", call.args_bytes, " bytes, expected up to ", kMaxArgs);
  if (call.grid < 1 || call.grid > kMaxGrid || call.block < 1 || call.block > kMaxBlock)
    return failure(LATHE_INTERNAL, "a launch of ", call.grid, " blocks of ", call.block, " threads is not possible");
  if (call.shared_bytes < 0 || call.shared_bytes > device_.maxSharedBytes())
    return failure(LATHE_UNSUPPORTED_DEVICE, "it needs ", call.shared_bytes, " bytes of shared memory, the device has ",
                   device_.maxSharedBytes());
  FunctionHandle function = nullptr;
  if (Status status = findFunction(call.kernel, call.shared_bytes, &function); status.failed())
    return status;
  LaunchCall launch = {function,
                       nullptr,
                       {static_cast<uint32_t>(call.grid), 1, 1},
                       static_cast<uint32_t>(call.block),
                       call.shared_bytes,
                       call.count,
                       call.args_bytes};
  fusion_->launch(call.kernel, launch, call.args);
  return success();
}

Status CudaSession::playLaunch(const LaunchCall &launch, const void *given, bool isGenerated) {
  // As much as the largest kernel declares, so that the driver reads nothing behind.
  static_assert(sizeof(KernelLaunch::args) <= kMaxArgs, "one is enough for both");
  alignas(16) unsigned char args[kMaxArgs] = {};
  memcpy(args, given, static_cast<size_t>(launch.argsBytes));
  DevicePointer failures = failures_;
  int64_t count = launch.count;
  void *generated[] = {&failures, args, &count}, *written[] = {args};
  int result = driver_.launchKernel(launch.function, launch.grid[0], launch.grid[1], launch.grid[2], launch.block, 1, 1,
                                    static_cast<unsigned>(launch.sharedBytes), stream_,
                                    isGenerated ? generated : written, nullptr);
  if (result == kDriverSuccess && blocking_)
    result = driver_.streamSynchronize(stream_);
  return device_.status(result, isGenerated ? "launch" : join("launching '", launch.name, "'").c_str());
}

Status CudaSession::play(int64_t kind, int64_t, const void *call, size_t bytes) {
  if (kind == kProductCall || kind == kAttentionCall) {
    Status status = kind == kProductCall ? products_->execute(callOf<lathe_matmul_call>(call))
                                         : libraryAttention_->execute(callOf<AttentionInput>(call));
    return status.failed() || !blocking_
               ? status
               : device_.status(driver_.streamSynchronize(stream_), kind == kProductCall ? "product" : "attention");
  }
  if (kind == kProductGroupCall) {
    ProductGroup group;
    memcpy(&group, call, sizeof(group));
    return products_->execute(group);
  }
  LaunchCall launch;
  memcpy(&launch, call, sizeof(launch));
  if (bytes != sizeof(launch) + static_cast<size_t>(launch.argsBytes))
    return failure(LATHE_INTERNAL, "a launch of ", bytes, " bytes");
  return playLaunch(launch, static_cast<const unsigned char *>(call) + sizeof(launch), kind == kGeneratedCall);
}

void CudaSession::launch(const lathe_launch_call &call) {
  if (call.count > 0 && call.grid != 0) // no blocks: of items without elements
    report(call.kernel, start(call));
}

const void *CudaSession::read(const void *address, int64_t bytes) {
  readBytes_.resize(std::max<size_t>(readBytes_.size(), static_cast<size_t>(bytes)));
  Status status = download(readBytes_.data(), address, static_cast<uint64_t>(bytes));
  if (!status.failed())
    status = wait();
  if (status.failed()) {
    services_.fail(std::move(status));
    return nullptr;
  }
  static const uint64_t kNothing = 0;
  return bytes ? static_cast<const void *>(readBytes_.data()) : &kNothing;
}

size_t CudaSession::mark() {
  interrupt();
  if (marks_ == events_.size()) {
    Event event = nullptr;
    if (int result = driver_.eventCreate(&event, 0))
      services_.fail(device_.status(result, "creating an event"));
    events_.push_back(event);
  }
  if (events_[marks_])
    driver_.eventRecord(events_[marks_], stream_);
  return marks_++;
}

uint64_t CudaSession::elapsed(size_t from, size_t to) {
  Device::Current current(device_);
  float milliseconds = 0;
  if (from < marks_ && to < marks_ && events_[from] && events_[to])
    driver_.eventElapsedTime(&milliseconds, events_[from], events_[to]);
  return milliseconds > 0 ? static_cast<uint64_t>(double(milliseconds) * 1e6) : 0;
}

//===----------------------------------------------------------------------===//
// Library calls
//===----------------------------------------------------------------------===//

void CudaSession::matmul(const lathe_matmul_call &call) { fusion_->product(call); }

void CudaSession::prepareMatmul(const lathe_matmul_call &call) { report(call.kernel, products_->prepare(call)); }

void CudaSession::make(int64_t kind, int64_t kernel, std::initializer_list<Replay::Part> parts) {
  replay_->call(kind, kernel, parts);
}

void CudaSession::makeWritten(int64_t kernel, const KernelLaunch &launch) {
  LaunchCall call;
  if (Status status = prepareLaunch(launch, &call); status.failed())
    return report(kernel, std::move(status));
  make(kWrittenCall, kernel, {{&call, sizeof(call)}, {launch.args, static_cast<size_t>(launch.args_bytes)}});
}

Status CudaSession::prepareLaunch(const KernelLaunch &launch, LaunchCall *call) {
  *call = {nullptr, nullptr,          {launch.grid, launch.grid_y, launch.grid_z}, launch.block, launch.shared_bytes,
           0,       launch.args_bytes};
  return module_.find(launch, &call->function, &call->name);
}

Status CudaSession::start(bool possible, int64_t kernel, const KernelLaunch &launch, const std::string &why) {
  if (!possible)
    return failure(LATHE_INTERNAL, why);
  if (launch.function.empty())
    return success();
  fusion_->flush();
  makeWritten(kernel, launch);
  return success();
}

/// What indices are out of range the device finds, and finish() tells.
int64_t CudaSession::dequantizeRows(const lathe_rows_call &call) {
  const std::vector<runtime::Constant> &constants = module_.services().manifest().constants;
  bool known = call.weight >= 0 && static_cast<size_t>(call.weight) < constants.size();
  const runtime::Constant *weight = known ? &constants[static_cast<size_t>(call.weight)] : nullptr;
  if (!weight || !weight->quantized || (call.index_type != LATHE_I64 && call.index_type != LATHE_I32)) {
    report(call.kernel, failure(LATHE_INTERNAL, "a lookup needs a quantized table and indices of i32 or i64"));
    return 0;
  }
  QuantizedRowsArgs args = {};
  args.weight = quantizedArgs(*weight->quantized, module_.constants()[call.weight]);
  args.indices = call.indices;
  args.index_bytes = call.index_type == LATHE_I64 ? 8 : 4;
  args.count = call.count;
  args.index_stride = call.index_stride;
  args.out = call.out;
  args.out_row = call.out_row;
  args.failures = reinterpret_cast<int64_t *>(failures_);
  args.check = call.check;
  KernelLaunch launch;
  std::string why;
  report(call.kernel, start(quantizedRowsLaunch(args, &launch, &why), call.kernel, launch, why));
  return 0;
}

//===----------------------------------------------------------------------===//
// Attention and caches
//===----------------------------------------------------------------------===//

/// Copies addresses and counts to the device, once a run for all layers: they are the same in each.
Status CudaSession::findPages(const runtime::CacheRows &rows, int64_t newRows, const DevicePages **found) {
  for (size_t i = 0; i < pagesOfRun_; ++i)
    if (pages_[i].host == rows.pages && pages_[i].newRows == newRows) {
      *found = &pages_[i];
      return success();
    }
  auto sequences = static_cast<size_t>(rows.sequences);
  std::vector<int64_t> words(3 * sequences); // where pages of each begin, counts, counts before
  for (size_t i = 0; i < sequences; ++i) {
    words[i] = static_cast<int64_t>(words.size() * 8);
    words[sequences + i] = rows.counts[i];
    words[2 * sequences + i] = rows.counts[i] - newRows;
    for (int64_t page = 0; page * runtime::CacheRows::kPageRows < rows.counts[i]; ++page)
      words.push_back(reinterpret_cast<int64_t>(rows.pages[i][page]));
  }
  if (pagesOfRun_ == pages_.size()) {
    pages_.emplace_back();
    pages_.back().memory = std::make_unique<Scratch>(device_, services_, stream_, replay_.get());
  }
  DevicePages &pages = pages_[pagesOfRun_];
  if (Status status = pages.memory->reserve((words.size() * 8 / 4096 + 1) * 4096, "addresses of a cache's pages");
      status.failed())
    return status;
  auto base = static_cast<int64_t>(pages.memory->address());
  for (size_t i = 0; i < sequences; ++i)
    words[i] += base;
  // Not one of the calls that graphs have: they read what is there when they run.
  if (Status status = staging_->upload(pages.memory->address(), words.data(), words.size() * 8); status.failed())
    return status;
  auto *counts = reinterpret_cast<const int64_t *>(base) + sequences;
  pages.host = rows.pages;
  pages.newRows = newRows;
  pages.pages = reinterpret_cast<void *const *const *>(base);
  pages.counts = counts;
  pages.before = counts + sequences;
  ++pagesOfRun_;
  *found = &pages;
  return success();
}

Status CudaSession::execute(const lathe_cache_call &call, const runtime::CacheRows &rows) {
  const DevicePages *pages = nullptr;
  if (Status status = findPages(rows, call.read ? 0 : call.sizes[2], &pages); status.failed())
    return status;
  CacheArgs args = {};
  args.data = call.data;
  std::copy(call.sizes, call.sizes + 4, args.sizes);
  std::copy(call.strides, call.strides + 4, args.strides);
  args.pages = pages->pages;
  args.counts = call.read ? pages->counts : pages->before;
  args.offset = rows.offset;
  args.head_bytes = rows.layout.headBytes();
  if (rows.layout.hasCodes()) {
    args.codes = codesArgs(rows.layout);
    args.rotation = rows.layout.rotation();
  }
  KernelLaunch launch;
  std::string why;
  bool possible = cacheLaunch(args, 4, call.read, &launch, &why);
  if (!possible || launch.function.empty() || call.read || rows.layout.hasCodes())
    return start(possible, call.kernel, launch, why);
  LaunchCall own;
  if (Status status = prepareLaunch(launch, &own); status.failed())
    return status;
  fusion_->append(call.kernel, args, own);
  return success();
}

void CudaSession::cache(const lathe_cache_call &call, const runtime::CacheRows &rows) {
  report(call.kernel, execute(call, rows));
}

/// Makes keys or values those of a cache.
Status CudaSession::bindRows(const runtime::CacheRows &rows, RowsArgs *args, const int64_t **counts, int64_t *most) {
  const DevicePages *pages = nullptr;
  if (Status status = findPages(rows, 0, &pages); status.failed())
    return status;
  args->pages = pages->pages;
  args->offset = rows.offset;
  args->head_bytes = rows.layout.headBytes();
  if (rows.layout.hasCodes())
    args->codes = codesArgs(rows.layout);
  *counts = pages->counts;
  *most = 0;
  for (int64_t i = 0; i < rows.sequences; ++i)
    *most = std::max(*most, rows.counts[i]);
  return success();
}

Status CudaSession::rotateQueries(AttentionArgs &args, int64_t kernel, int64_t rotation) {
  int64_t item = args.s * args.d, items = args.batch[0] * args.batch[1] * args.batch[2];
  if (Status status = rotated_->reserve(static_cast<uint64_t>(items * item * 4), "rotated queries"); status.failed())
    return status;
  ViewArgs dense = {reinterpret_cast<void *>(rotated_->address()),
                    {args.batch[1] * args.batch[2] * item, args.batch[2] * item, item},
                    args.d,
                    1};
  RotateArgs rotate = {args.query, dense, {args.batch[0], args.batch[1], args.batch[2]}, args.s, args.d, rotation};
  args.query = dense;
  KernelLaunch launch;
  std::string why;
  return start(rotateLaunch(rotate, &launch, &why), kernel, launch, why);
}

/// What the library's keys or values are made of: the rows of a cache that all sequences have.
Status CudaSession::readRows(const runtime::CacheRows &rows, CacheArgs *args) {
  const DevicePages *pages = nullptr;
  if (Status status = findPages(rows, 0, &pages); status.failed())
    return status;
  const int64_t sizes[4] = {rows.sequences, rows.layout.heads, rows.counts[0], rows.layout.size};
  std::copy(sizes, sizes + 4, args->sizes);
  args->pages = pages->pages;
  args->counts = pages->counts;
  args->offset = rows.offset;
  args->head_bytes = rows.layout.headBytes();
  return success();
}

/// Why the library can't be asked for an attention to rows of these caches; null where it can.
static const char *refusal(const runtime::CacheRows *keys, const runtime::CacheRows *values) {
  if (!keys && !values)
    return nullptr;
  if (!keys || !values || !keys->inOrder || !values->inOrder || keys->sequences < 1)
    return "the device alone knows what its queries see";
  if (keys->layout.hasCodes() || values->layout.hasCodes())
    return "its caches hold codes";
  for (const runtime::CacheRows *rows : {keys, values})
    for (int64_t i = 0; i < rows->sequences; ++i)
      if (rows->counts[i] != keys->counts[0])
        return "its sequences have different lengths";
  return nullptr;
}

/// Has the library compute an attention, if it does; tells who does where the user wants to know.
Status CudaSession::offer(const lathe_attention_call &call, const runtime::CacheRows *keys,
                          const runtime::CacheRows *values, bool *isTaken) {
  AttentionInput input;
  input.call = call;
  const char *whyNot = refusal(keys, values);
  std::string why = whyNot ? whyNot : "";
  Status status = success();
  if (keys && !whyNot) {
    input.isCached = 1;
    input.call.t = keys->counts[0];
    status = readRows(*keys, &input.key);
    if (!status.failed())
      status = readRows(*values, &input.value);
  }
  if (!whyNot && !status.failed())
    status = libraryAttention_->offer(input, isTaken, &why);
  if (status.failed())
    return status;
  if (*isTaken)
    make(kAttentionCall, call.kernel, {{&input, sizeof(input)}});
  if (!verbose_)
    return success();
  std::string text = *isTaken ? join("attention by cuDNN ", libraryAttention_->version())
                              : join("attention by the own kernel, not cuDNN: ", why);
  if (told_.emplace(call.kernel, text).second)
    fprintf(stderr, "lathe: %s: %s\n", describeKernel(services_.program().kernels, call.kernel).c_str(), text.c_str());
  return success();
}

Status CudaSession::execute(const lathe_attention_call &call, const runtime::CacheRows *keys,
                            const runtime::CacheRows *values) {
  if (Status status = runtime::verifyCall(call, keys, values); status.failed())
    return status;
  bool isTaken = false;
  fusion_->flush();
  if (Status status = offer(call, keys, values, &isTaken); status.failed() || isTaken)
    return status;
  AttentionArgs args = attentionArgs(call);
  int64_t most = call.t;
  Status status = keys ? bindRows(*keys, &args.key, &args.counts, &most) : success();
  if (!status.failed() && values)
    status = bindRows(*values, &args.value, &args.counts, &most);
  if (status.failed())
    return status;
  // What is not read does not differ from run to run, and the number of parts seldom does.
  if (args.counts) {
    args.t = 0;
    int64_t bucket = 1;
    while (bucket <= most / 2)
      bucket *= 2;
    most = bucket;
  }
  // Keys that were rotated before they became codes are multiplied by queries that are, too.
  if (keys && keys->layout.rotation() > 1)
    if (status = rotateQueries(args, call.kernel, keys->layout.rotation()); status.failed())
      return status;
  AttentionLaunches launches;
  std::string why;
  if (!attentionLaunches(args, call.dtype, most, device_.multiprocessors(), &launches, &why))
    return failure(LATHE_INTERNAL, why);
  if (launches.scratch_bytes > 0) {
    status = scratch_->reserve(static_cast<uint64_t>(launches.scratch_bytes), "parts of an attention");
    if (status.failed())
      return status;
    launches.setScratch(reinterpret_cast<void *>(scratch_->address()));
  }
  status = start(true, call.kernel, launches.attention, why);
  if (!status.failed())
    status = start(true, call.kernel, launches.combine, why);
  if (status.failed() || !values || values->layout.rotation() <= 1)
    return status;
  RotateArgs back = {args.out, args.out, {call.batch[0], call.batch[1], call.batch[2]},
                     call.s,   call.e,   values->layout.rotation()};
  KernelLaunch launch;
  return start(rotateLaunch(back, &launch, &why), call.kernel, launch, why);
}

void CudaSession::attention(const lathe_attention_call &call, const runtime::CacheRows *keys,
                            const runtime::CacheRows *values) {
  report(call.kernel, execute(call, keys, values));
}
