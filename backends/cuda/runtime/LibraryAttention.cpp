//===- LibraryAttention.cpp - Attention by cuDNN ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/LibraryAttention.h"

#include "backends/cuda/runtime/Timing.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

/// With fewer queries keys are read more often than they are multiplied, and the own kernels split them.
constexpr int64_t kFewestQueries = 16;
constexpr int64_t kMostColumns = 256;
constexpr int64_t kAlignment = 16; ///< of the library's addresses and strides, in bytes
/// More is not taken of a device for the time that timing needs it.
constexpr uint64_t kMaxTimedBytes = uint64_t(2) << 30;
constexpr const char *kByLibrary = "cudnn", *kByKernel = "kernel";

uint64_t aligned(int64_t elements, int64_t bytes) {
  return (static_cast<uint64_t>(elements * bytes) + 255) / 256 * 256;
}

/// DnnType that a call multiplies in; -1 where there is none.
int64_t typeOf(const lathe_attention_call &call) {
  int64_t type = call.dtype == LATHE_F32 ? call.arithmetic : call.dtype;
  return type == LATHE_F16 ? int64_t(kDnnF16) : type == LATHE_BF16 ? int64_t(kDnnBf16) : -1;
}

/// Strides [sequence, head, row, column] of a view whose leading axes are [b0, b1, heads]; false where b0 and b1 have
/// no stride in common. Along extents of 1 a stride is what it would be without gaps.
bool collapse(const lathe_attention_view &view, const int64_t (&batch)[3], int64_t heads, int64_t rows,
              int64_t (&strides)[4]) {
  if (batch[0] > 1 && batch[1] > 1 && view.batch[0] != view.batch[1] * batch[1])
    return false;
  strides[3] = view.col;
  strides[2] = rows > 1 ? view.row : kMostColumns;
  strides[1] = heads > 1 ? view.batch[2] : strides[2] * rows;
  strides[0] = batch[1] > 1 ? view.batch[1] : batch[0] > 1 ? view.batch[0] : strides[1] * heads;
  return true;
}

/// Whether the library reads elements of so many bytes there, none of them twice.
bool isReadable(const void *address, const int64_t (&strides)[4], int64_t bytes) {
  if (strides[3] != 1 || reinterpret_cast<uintptr_t>(address) % kAlignment != 0)
    return false;
  return std::all_of(strides, strides + 3,
                     [&](int64_t stride) { return stride > 0 && stride * bytes % kAlignment == 0; });
}

/// Gives a tensor [batch, heads, rows, columns] without gaps its place behind all that have one.
uint64_t place(LibraryCall *asked, int64_t batch, int64_t heads, int64_t rows, int64_t columns, int64_t bytes,
               int64_t (&strides)[4]) {
  uint64_t begin = asked->bytes;
  strides[3] = 1;
  strides[2] = columns;
  strides[1] = rows * columns;
  strides[0] = heads * rows * columns;
  asked->bytes += aligned(batch * strides[0], bytes);
  return begin;
}

/// What a call is not the library's for, whatever the library; empty where there is nothing.
std::string refusal(const AttentionInput &input) {
  const lathe_attention_call &call = input.call;
  if (typeOf(call) < 0)
    return "it multiplies f32, which cuDNN does not; --precision f16 or bf16 allows it";
  if (call.batch[0] < 1 || call.batch[1] < 1 || call.batch[2] < 1 || call.t < 1)
    return "it has no elements";
  if (call.s < kFewestQueries)
    return join("it has ", call.s, " queries, fewer than ", kFewestQueries);
  for (int64_t columns : {call.d, call.e})
    if (columns < 8 || columns > kMostColumns || columns % 8 != 0)
      return join("its heads have ", columns, " columns, expected a multiple of 8 up to ", kMostColumns);
  if (call.positions && !input.isCached)
    return "the device alone knows what its queries see";
  if (call.positions && call.window > 0 && call.window < call.t)
    return join("its queries see ", call.window, " of ", call.t, " keys");
  if (input.isCached && (call.s > call.t || call.biases > 0))
    return call.biases > 0 ? "it adds a bias to keys of a cache" : "it has more queries than keys";
  if (call.softcap != 0)
    return "it has a softcap";
  if (call.biases > 1)
    return join("it adds ", call.biases, " biases");
  if (call.biases > 0 && (call.zero_masked || call.zero_nan))
    return "queries without keys give zeros";
  if (call.zero_nan)
    return "scores that are NaN give zeros";
  return "";
}

void describeBias(const lathe_attention_call &call, LibraryCall *asked) {
  DnnAttention &p = asked->problem;
  const lathe_attention_view &bias = call.bias[0];
  int64_t bytes = call.dtype == LATHE_F32 ? 4 : 2;
  p.biasType = call.dtype == LATHE_F32 ? int64_t(kDnnF32) : p.type;
  auto isShared = [&](int axis) { return call.batch[axis] == 1 || bias.batch[axis] == 0; };
  p.biasBatch = isShared(0) && isShared(1) ? 1 : p.batch;
  p.biasHeads = isShared(2) ? 1 : p.heads;
  int64_t own[3] = {p.biasBatch == 1 ? 1 : call.batch[0], p.biasBatch == 1 ? 1 : call.batch[1], p.biasHeads};
  if (collapse(bias, own, p.biasHeads, p.s, p.bias) && isReadable(bias.data, p.bias, bytes))
    return;
  asked->copiesBias = 1;
  int64_t columns = (p.t + 7) / 8 * 8; // rows begin where the library reads them
  asked->bias = place(asked, p.biasBatch, p.biasHeads, p.s, columns, bytes, p.bias);
}

/// A copy of a tensor of the call, from its view to where `strides` and `begin` say, or back.
CopyArgs copyOf(const lathe_attention_call &call, const lathe_attention_view &view, int64_t heads, int64_t rows,
                int64_t columns, const int64_t (&strides)[4], DevicePointer address, bool isBack = false) {
  CopyArgs args = {view.data,
                   reinterpret_cast<void *>(address),
                   {call.batch[0], call.batch[1], heads, rows, columns},
                   {view.batch[0], view.batch[1], view.batch[2], view.row, view.col},
                   {call.batch[1] * strides[0], strides[0], strides[1], strides[2], 1}};
  if (isBack) {
    args.from = args.to;
    args.to = view.data;
    std::swap(args.from_strides, args.to_strides);
  }
  return args;
}

/// Bytes from a view's first element to behind its last.
int64_t spanOf(const lathe_attention_view &view, const int64_t (&batch)[3], int64_t heads, int64_t rows,
               int64_t columns, int64_t bytes) {
  return ((batch[0] - 1) * view.batch[0] + (batch[1] - 1) * view.batch[1] + (heads - 1) * view.batch[2] +
          (rows - 1) * view.row + (columns - 1) * view.col + 1) *
         bytes;
}

} // namespace

bool cuda::describeAttention(const AttentionInput &input, LibraryCall *asked, std::string *why) {
  const lathe_attention_call &call = input.call;
  *asked = LibraryCall();
  *why = refusal(input);
  if (!why->empty())
    return false;
  DnnAttention &p = asked->problem;
  p.type = typeOf(call);
  p.batch = call.batch[0] * call.batch[1];
  p.heads = call.batch[2], p.keyHeads = call.key_heads;
  p.s = call.s, p.t = call.t, p.d = call.d, p.e = call.e;
  p.scale = call.scale;
  p.isCausal = input.isCached;
  asked->isRounded = call.dtype == LATHE_F32;
  if (asked->isRounded) {
    asked->query = place(asked, p.batch, p.heads, p.s, p.d, 2, p.query);
    asked->key = place(asked, p.batch, p.keyHeads, p.t, p.d, 2, p.key);
    asked->value = place(asked, p.batch, p.keyHeads, p.t, p.e, 2, p.value);
    asked->out = place(asked, p.batch, p.heads, p.s, p.e, 2, p.out);
  } else {
    auto isThere = [&](const lathe_attention_view &view, int64_t heads, int64_t rows, int64_t(&strides)[4]) {
      return collapse(view, call.batch, heads, rows, strides) && isReadable(view.data, strides, 2);
    };
    if (!isThere(call.query, p.heads, p.s, p.query) || !isThere(call.key, p.keyHeads, p.t, p.key) ||
        !isThere(call.value, p.keyHeads, p.t, p.value) || !isThere(call.out, p.heads, p.s, p.out)) {
      *why = "its tensors do not lie in steps of 16 bytes";
      return false;
    }
  }
  if (call.biases > 0)
    describeBias(call, asked);
  return true;
}

LibraryAttention::~LibraryAttention() {
  // Graphs have kernels of the plans.
  if (replay_ && !known_.empty())
    replay_->forget();
}

/// Once; that there is none is no failure.
Status LibraryAttention::open() {
  if (isAsked_)
    return success();
  isAsked_ = true;
  Status status = module_.dnn(&dnn_);
  whyNot_ = status.failed() ? status.message() : "";
  return status.code() == LATHE_OUT_OF_MEMORY || status.code() == LATHE_DEVICE_LOST ? status : success();
}

/// What is known of a call; it is asked and timed when it is first met.
Status LibraryAttention::find(const AttentionInput &input, const LibraryCall &asked, Known **known) {
  auto found = known_.find(asked);
  if (found == known_.end()) {
    if (replay_ && replay_->isCapturing())
      return failure(LATHE_INTERNAL, "an attention can't be planned while a graph is made");
    if (known_.size() >= kMaxPlans) {
      if (replay_)
        replay_->forget();
      known_.erase(known_.begin());
    }
    Known made;
    if (Status status = dnn_->plan(asked.problem, &made.plan); status.failed()) {
      if (status.code() != LATHE_UNSUPPORTED_DEVICE)
        return status;
      made.plan.reset();
      made.why = status.message();
    }
    if (made.plan)
      if (Status status = choose(input, asked, made); status.failed())
        return status;
    found = known_.emplace(asked, std::move(made)).first;
  }
  *known = &found->second;
  return success();
}

Status LibraryAttention::offer(const AttentionInput &input, bool *isTaken, std::string *why) {
  *isTaken = false;
  LibraryCall asked;
  if (!describeAttention(input, &asked, why))
    return success();
  if (Status status = open(); status.failed())
    return status;
  *why = whyNot_;
  if (!dnn_)
    return success();
  Known *known = nullptr;
  if (Status status = find(input, asked, &known); status.failed())
    return status;
  *why = known->why;
  if (!known->plan)
    return success();
  // Without room for copies the own kernel, which needs none, does it.
  Status status = reserve(asked, *known->plan);
  *isTaken = !status.failed();
  *why = status.failed() ? status.message() : "";
  return status.code() == LATHE_DEVICE_LOST ? status : success();
}

Status LibraryAttention::reserve(const LibraryCall &asked, const DnnPlan &plan) {
  Status status = copies_.reserve(asked.bytes, "operands of an attention in 16 bits");
  return status.failed() ? status : workspace_.reserve(plan.workspaceBytes(), "the workspace of attentions");
}

//===----------------------------------------------------------------------===//
// Computing
//===----------------------------------------------------------------------===//

Status LibraryAttention::start(bool possible, const KernelLaunch &launch, const std::string &why) {
  return possible ? module_.start(launch, stream_) : failure(LATHE_INTERNAL, why);
}

Status LibraryAttention::execute(const AttentionInput &input) {
  LibraryCall asked;
  std::string why;
  Known *known = nullptr;
  if (!describeAttention(input, &asked, &why))
    return failure(LATHE_INTERNAL, "an attention that is not the library's: ", why);
  if (Status status = find(input, asked, &known); status.failed())
    return status;
  if (!known->plan)
    return failure(LATHE_INTERNAL, "an attention that is not the library's: ", known->why);
  if (Status status = reserve(asked, *known->plan); status.failed())
    return status;
  return compute(input, asked, *known->plan);
}

/// Query, key and value in 16 bits, where nothing is between their rows.
Status LibraryAttention::roundOperands(const AttentionInput &input, const LibraryCall &asked, DnnOperands *operands) {
  const lathe_attention_call &call = input.call;
  const DnnAttention &p = asked.problem;
  DevicePointer base = copies_.address();
  CopyArgs copies[3] = {copyOf(call, call.query, p.heads, p.s, p.d, p.query, base + asked.query),
                        copyOf(call, call.key, p.keyHeads, p.t, p.d, p.key, base + asked.key),
                        copyOf(call, call.value, p.keyHeads, p.t, p.e, p.value, base + asked.value)};
  *operands = {copies[0].to, copies[1].to, copies[2].to, nullptr, reinterpret_cast<void *>(base + asked.out)};
  KernelLaunch launch;
  std::string why;
  Status status =
      start(convertRowsLaunch(copies, input.isCached ? 1 : 3, call.arithmetic, false, &launch, &why), launch, why);
  for (int i = 0; i < 2 && input.isCached && !status.failed(); ++i) {
    CacheArgs rows = i == 0 ? input.key : input.value;
    rows.data = copies[i + 1].to;
    std::copy(i == 0 ? p.key : p.value, (i == 0 ? p.key : p.value) + 4, rows.strides);
    status = start(cacheNarrowLaunch(rows, call.arithmetic, &launch, &why), launch, why);
  }
  return status;
}

Status LibraryAttention::compute(const AttentionInput &input, const LibraryCall &asked, DnnPlan &plan) {
  const lathe_attention_call &call = input.call;
  const DnnAttention &p = asked.problem;
  DevicePointer base = copies_.address();
  DnnOperands operands = {call.query.data, call.key.data, call.value.data, nullptr, call.out.data};
  KernelLaunch launch;
  std::string why;
  if (asked.isRounded)
    if (Status status = roundOperands(input, asked, &operands); status.failed())
      return status;
  if (p.biasType >= 0)
    operands.bias = call.bias[0].data;
  if (asked.copiesBias) {
    CopyArgs copy = copyOf(call, call.bias[0], p.biasHeads, p.s, p.t, p.bias, base + asked.bias);
    if (p.biasBatch == 1)
      copy.sizes[0] = copy.sizes[1] = 1;
    if (Status status = start(copyLaunch(copy, p.biasType == kDnnF32 ? 4 : 2, &launch, &why), launch, why);
        status.failed())
      return status;
    operands.bias = copy.to;
  }
  if (Status status = plan.execute(operands, reinterpret_cast<void *>(workspace_.address()), stream_); status.failed())
    return status;
  if (!asked.isRounded)
    return success();
  CopyArgs back = copyOf(call, call.out, p.heads, p.s, p.e, p.out, base + asked.out, /*isBack=*/true);
  return start(convertRowsLaunch(&back, 1, call.arithmetic, true, &launch, &why), launch, why);
}

//===----------------------------------------------------------------------===//
// Which is faster
//===----------------------------------------------------------------------===//

/// Leaves the plan away where the own kernel is faster.
Status LibraryAttention::choose(const AttentionInput &input, const LibraryCall &asked, Known &known) {
  Choices *choices = module_.choices();
  if (!choices)
    return success();
  std::string name = join("attention ", dnn_->version(), input.isCached ? " cached" : "");
  int64_t numbers[sizeof(asked) / 8];
  memcpy(numbers, &asked, sizeof(asked));
  for (int64_t number : numbers)
    name += "," + std::to_string(number);
  std::string faster = choices->chosen(name);
  if (faster.empty()) {
    float milliseconds = 0;
    if (Status status = compare(input, asked, *known.plan, &faster, &milliseconds); status.failed())
      return status;
    if (!faster.empty())
      choices->add(name, faster, double(milliseconds) * 1000);
  }
  if (faster == kByKernel) {
    known.plan.reset();
    known.why = "the own kernel is faster";
  }
  return success();
}

/// The own kernel's launches for a call.
static bool ownLaunches(const AttentionInput &input, int64_t multiprocessors, AttentionLaunches *launches) {
  AttentionArgs args = attentionArgs(input.call);
  if (input.isCached) {
    auto bind = [](const CacheArgs &from, RowsArgs *to) {
      to->pages = from.pages;
      to->offset = from.offset;
      to->head_bytes = from.head_bytes;
    };
    bind(input.key, &args.key);
    bind(input.value, &args.value);
    args.counts = input.key.counts;
  }
  std::string why;
  return attentionLaunches(args, input.call.dtype, input.call.t, multiprocessors, launches, &why);
}

/// Times both on memory of their own, so that nothing of a run is touched; rows of caches are read where they are.
/// Empty in *faster where there is too little memory.
Status LibraryAttention::compare(const AttentionInput &input, const LibraryCall &asked, DnnPlan &plan,
                                 std::string *faster, float *milliseconds) {
  const Device &device = module_.device();
  const lathe_attention_call &call = input.call;
  AttentionInput sample = input;
  int64_t bytes = call.dtype == LATHE_F32 ? 4 : 2, heads = call.batch[2], keyHeads = call.key_heads;
  auto span = [&](const lathe_attention_view &view, int64_t ofHeads, int64_t rows, int64_t columns) {
    return aligned(spanOf(view, call.batch, ofHeads, rows, columns, bytes), 1);
  };
  const std::pair<lathe_attention_view *, uint64_t> tensors[] = {
      {&sample.call.query, span(call.query, heads, call.s, call.d)},
      {&sample.call.key, input.isCached ? 0 : span(call.key, keyHeads, call.t, call.d)},
      {&sample.call.value, input.isCached ? 0 : span(call.value, keyHeads, call.t, call.e)},
      {&sample.call.out, span(call.out, heads, call.s, call.e)},
      {&sample.call.bias[0], call.biases ? span(call.bias[0], heads, call.s, call.t) : 0}};
  uint64_t total = 0;
  for (auto [view, own] : tensors)
    total += own;
  Scratch memory(device, services_, stream_, nullptr), parts(device, services_, stream_, nullptr);
  if (total > kMaxTimedBytes || memory.reserve(total, "timing").failed() || reserve(asked, plan).failed())
    return success();
  if (int result = device.driver().memsetD8Async(memory.address(), 0x3c, total, stream_)) // no zeros
    return device.status(result, "timing algorithms");
  DevicePointer address = memory.address();
  for (auto [view, own] : tensors) {
    view->data = reinterpret_cast<void *>(address);
    address += own;
  }
  AttentionLaunches launches;
  if (!ownLaunches(sample, device.multiprocessors(), &launches) ||
      parts.reserve(static_cast<uint64_t>(launches.scratch_bytes), "timing").failed())
    return success();
  if (launches.scratch_bytes > 0)
    launches.setScratch(reinterpret_cast<void *>(parts.address()));
  auto own = [&] {
    Status status = module_.start(launches.attention, stream_);
    return status.failed() ? status : module_.start(launches.combine, stream_);
  };
  float byKernel = -1, byLibrary = -1;
  Status status = leastTime(device, stream_, own, &byKernel);
  if (!status.failed())
    status = leastTime(device, stream_, [&] { return compute(sample, asked, plan); }, &byLibrary);
  if (status.failed() || (byKernel < 0 && byLibrary < 0))
    return status;
  *faster = byLibrary >= 0 && (byKernel < 0 || byLibrary <= byKernel) ? kByLibrary : kByKernel;
  *milliseconds = *faster == kByLibrary ? byLibrary : byKernel;
  return success();
}
