//===- SparseProducts.cpp - Products by cuSPARSELt --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The library multiplies a structured matrix by a dense one. Ours are out = left * weight: it is told to compute
// out^T = weight^T * left^T, where all three of ours lie by rows, weight^T [n, k], left [m, k] and out [m, n]. Of what
// it multiplies in 16 bits it writes results in 16 bits alone.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/SparseProducts.h"

#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/CudaSession.h"
#include "backends/cuda/runtime/Products.h"
#include "backends/cuda/runtime/Timing.h"

#include <algorithm>
#include <cstdio>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

constexpr uint32_t kAlignment = 16; ///< of the library's addresses, in bytes
/// What the library wants its extents to be multiples of: the weight's, and the number of rows.
constexpr int64_t kWeightMultiple = 16, kRowMultiple = 8;
/// Of which the library offers that many the fastest is taken.
constexpr int kMaxCandidates = 8;
/// More is not taken of a device for the time that timing needs it.
constexpr uint64_t kMaxTimedBytes = uint64_t(2) << 30;
constexpr const char *kDense = "cublaslt", *kSparse = "cusparselt:";

bool isAligned(DevicePointer address) { return address % kAlignment == 0; }

uint64_t aligned(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

} // namespace

//===----------------------------------------------------------------------===//
// The library and its weights
//===----------------------------------------------------------------------===//

void SparseLibrary::close() {
  if (handle_)
    api_.destroy(handle_.get());
  handle_.reset();
}

std::string SparseLibrary::words(int result) const {
  const char *text = api_.statusText ? api_.statusText(result) : nullptr;
  return text ? text : join("status ", result);
}

bool SparseLibrary::isThere(std::string *why) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!isAsked_) {
    isAsked_ = true;
    Status status = isSet("LATHE_CUDA_NO_CUSPARSELT")
                        ? failure(LATHE_UNSUPPORTED_DEVICE, "LATHE_CUDA_NO_CUSPARSELT is set")
                    : open_ ? open_(&api_)
                            : failure(LATHE_UNSUPPORTED_DEVICE, "there is no cuSPARSELt for this device");
    whyNot_ = status.failed() ? status.message() : "";
    if (!status.failed()) {
      auto handle = std::make_unique<SparseLtHandle>();
      if (int result = api_.init(handle.get()))
        whyNot_ = "cuSPARSELt does not start: " + words(result);
      else
        handle_ = std::move(handle);
    }
    if (handle_)
      api_.getVersion(handle_.get(), &version_);
  }
  *why = whyNot_;
  return handle_ != nullptr;
}

/// Has the library check, and then compress, rows of the weight's transpose.
Status SparseLibrary::compressRows(const SparseLtMatrix &matrix, const void *rows, runtime::SessionServices &services,
                                   Stream stream, SparseWeight &made) {
  const Device &device = module_.device();
  size_t bytes = 0, bufferBytes = 0;
  if (int result = api_.compressedSize(handle_.get(), &matrix, &bytes, &bufferBytes)) {
    made.why = "cuSPARSELt does not compress it: " + words(result);
    return success();
  }
  Scratch buffer(device, services, stream, nullptr);
  if (Status status = buffer.reserve(aligned(bufferBytes) + aligned(sizeof(int)), "compressing a weight");
      status.failed()) {
    made.why = status.message();
    return status.code() == LATHE_DEVICE_LOST ? status : success();
  }
  DevicePointer answer = buffer.address() + aligned(bufferBytes);
  int isWrong = 1;
  int result =
      api_.pruneCheck(handle_.get(), &matrix, /*isA=*/1, kSparseLtPlain, rows, reinterpret_cast<int *>(answer), stream);
  if (!result) {
    int copied = device.driver().memcpyDtoHAsync(&isWrong, answer, sizeof(isWrong), stream);
    if (!copied)
      copied = device.driver().streamSynchronize(stream);
    if (copied)
      return device.status(copied, "checking a weight's zeros");
  }
  if (result || isWrong) {
    made.why = result ? "cuSPARSELt does not check it: " + words(result) : "its zeros are not 2:4";
    return success();
  }
  // Without room for it products read the dense weight.
  DevicePointer compressed = 0;
  if (Status status = module_.allocate(bytes, "a compressed weight", &compressed); status.failed()) {
    made.why = status.message();
    return status.code() == LATHE_DEVICE_LOST ? status : success();
  }
  result = api_.compress(handle_.get(), &matrix, /*isA=*/1, kSparseLtPlain, rows, reinterpret_cast<void *>(compressed),
                         reinterpret_cast<void *>(buffer.address()), stream);
  if (result) {
    made.why = "cuSPARSELt does not compress it: " + words(result);
    return success();
  }
  // Sessions read it in streams of their own.
  made.compressed = reinterpret_cast<const void *>(compressed);
  return device.status(device.driver().streamSynchronize(stream), "compressing a weight");
}

Status SparseLibrary::compress(const SparseSource &source, runtime::SessionServices &services, Stream stream,
                               SparseWeight &made) {
  if (source.k % kWeightMultiple != 0 || source.n % kWeightMultiple != 0 || source.k == 0 || source.n == 0) {
    made.why = join("its weight is [", source.k, ", ", source.n, "], expected multiples of ", kWeightMultiple);
    return success();
  }
  Scratch turned(module_.device(), services, stream, nullptr);
  const void *rows = source.data;
  bool areRows = source.row == 1 && source.col == source.k && isAligned(reinterpret_cast<DevicePointer>(rows));
  if (!areRows) {
    if (Status status = turned.reserve(static_cast<uint64_t>(source.n * source.k * 2), "turning a weight");
        status.failed()) {
      made.why = status.message();
      return status.code() == LATHE_DEVICE_LOST ? status : success();
    }
    rows = reinterpret_cast<const void *>(turned.address());
    CopyArgs copy = {source.data,
                     reinterpret_cast<void *>(turned.address()),
                     {1, 1, 1, source.n, source.k},
                     {0, 0, 0, source.col, source.row},
                     {0, 0, 0, source.k, 1}};
    KernelLaunch launch;
    std::string why;
    if (!copyLaunch(copy, 2, &launch, &why))
      return failure(LATHE_INTERNAL, why);
    if (Status status = module_.start(launch, stream); status.failed())
      return status;
  }
  auto matrix = std::make_unique<SparseLtMatrix>();
  if (int result = api_.structuredInit(handle_.get(), matrix.get(), source.n, source.k, source.k, kAlignment,
                                       static_cast<int>(source.type), kSparseLtByRows, kSparseLtHalfZeros)) {
    made.why = "cuSPARSELt does not take its weight: " + words(result);
    return success();
  }
  Status status = compressRows(*matrix, rows, services, stream, made);
  api_.matrixDestroy(matrix.get());
  return status;
}

Status SparseLibrary::weight(int64_t index, const SparseSource &source, runtime::SessionServices &services,
                             Stream stream, const SparseWeight **weight) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto [at, isNew] = weights_.try_emplace(index);
  if (isNew)
    if (Status status = compress(source, services, stream, at->second); status.failed()) {
      weights_.erase(at);
      return status;
    }
  *weight = &at->second;
  return success();
}

//===----------------------------------------------------------------------===//
// Plans
//===----------------------------------------------------------------------===//

const Device &SparseProducts::device() const { return module_.device(); }

int64_t SparseProducts::version() const { return module_.sparse().version(); }

SparseProducts::~SparseProducts() {
  // Graphs have kernels of the plans.
  if (replay_ && !known_.empty())
    replay_->forget();
  for (auto &[shape, known] : known_)
    if (known.plan)
      drop(*known.plan);
}

void SparseProducts::drop(Plan &plan) {
  const SparseLtApi &api = module_.sparse().api();
  if (plan.made > 5)
    api.planDestroy(&plan.plan);
  if (plan.made > 4 && api.selectionDestroy)
    api.selectionDestroy(&plan.selection);
  const SparseLtMatrix *matrices[] = {&plan.weight, &plan.left, &plan.out};
  for (int i = 0; i < std::min(plan.made, 3); ++i)
    api.matrixDestroy(matrices[i]);
  plan.made = 0;
}

/// Describes a product, and plans it by one of the algorithms, or by the library's own choice where `config` is
/// negative. False with *why where the library does not take it.
bool SparseProducts::make(const SparseShape &shape, int config, Plan &plan, int *configs, std::string *why) {
  SparseLibrary &library = module_.sparse();
  const SparseLtApi &api = library.api();
  const SparseLtHandle *handle = library.handle();
  auto type = static_cast<int>(shape.type);
  const std::function<int()> steps[] = {
      [&] {
        return api.structuredInit(handle, &plan.weight, shape.n, shape.k, shape.k, kAlignment, type, kSparseLtByRows,
                                  kSparseLtHalfZeros);
      },
      [&] {
        return api.denseInit(handle, &plan.left, shape.rows, shape.k, shape.ldLeft, kAlignment, type, kSparseLtByRows);
      },
      [&] {
        return api.denseInit(handle, &plan.out, shape.n, shape.rows, shape.ldOut, kAlignment, type, kSparseLtByColumns);
      },
      [&] {
        return api.productInit(handle, &plan.product, kSparseLtPlain, kSparseLtTransposed, &plan.weight, &plan.left,
                               &plan.out, &plan.out, kSparseLtComputeF32);
      },
      [&] { return api.selectionInit(handle, &plan.selection, &plan.product, kSparseLtAnyAlgorithm); },
      [&] {
        int result = config < 0 ? int(kSparseLtSuccess)
                                : api.selectionSet(handle, &plan.selection, kSparseLtConfig, &config, sizeof(config));
        return result ? result : api.planInit(handle, &plan.plan, &plan.product, &plan.selection);
      },
  };
  int result = kSparseLtSuccess;
  for (const auto &step : steps) {
    if (result = step(); result)
      break;
    ++plan.made;
  }
  if (!result)
    result = api.workspace(handle, &plan.plan, &plan.workspaceBytes);
  if (!result && configs && api.selectionGet(handle, &plan.selection, kSparseLtConfigs, configs, sizeof(*configs)))
    *configs = 0; // then there is the library's choice alone
  if (result) {
    *why = "cuSPARSELt does not take it: " + library.words(result);
    drop(plan);
  }
  return !result;
}

Status SparseProducts::weight(int64_t index, const SparseSource &source, const void **compressed, std::string *why) {
  *compressed = nullptr;
  SparseLibrary &library = module_.sparse();
  if (!library.isThere(why))
    return success();
  const SparseWeight *found = nullptr;
  if (Status status = library.weight(index, source, services_, stream_, &found); status.failed())
    return status;
  *compressed = found->compressed;
  *why = found->why;
  return success();
}

/// Keeps the fastest plan, or none where the dense product is faster.
Status SparseProducts::choose(const SparseShape &shape, const Run &run, int configs, Known &known) {
  Choices *choices = module_.choices();
  if (!choices)
    return success();
  int64_t numbers[sizeof(shape) / 8];
  memcpy(numbers, &shape, sizeof(shape));
  std::string name = join("sparse ", version()), best = kDense;
  for (int64_t number : numbers)
    name += "," + std::to_string(number);
  float dense = -1, least = -1;
  int count = std::min(configs, kMaxCandidates);
  std::string chosen = choices->chosen(name), why;
  auto nameOf = [](int config) { return kSparse + std::to_string(config); };
  for (int config = 0; config < count; ++config)
    if (chosen == nameOf(config)) {
      auto plan = std::make_unique<Plan>();
      if (make(shape, config, *plan, nullptr, &why)) {
        drop(*known.plan);
        known.plan = std::move(plan);
        return success();
      }
    }
  if (chosen != kDense) {
    if (Status status = leastTime(device(), stream_, [&] { return run(nullptr); }, &dense); status.failed())
      return status;
    if (dense < 0) // there was no memory to time it with
      return success();
    least = dense;
    for (int config = count > 0 ? 0 : -1; config < count; ++config) {
      auto plan = std::make_unique<Plan>();
      float milliseconds = -1;
      if (!make(shape, config, *plan, nullptr, &why))
        continue;
      Status status = leastTime(device(), stream_, [&] { return run(plan.get()); }, &milliseconds);
      if (!status.failed() && milliseconds >= 0 && milliseconds < least) {
        least = milliseconds;
        best = nameOf(config);
        std::swap(known.plan, plan);
      }
      if (plan)
        drop(*plan);
      if (status.failed())
        return status;
    }
    choices->add(name, best, double(least) * 1000);
  }
  if (best == kDense) {
    drop(*known.plan);
    known.plan.reset();
    known.why = "the dense product is faster";
  }
  return success();
}

Status SparseProducts::find(const SparseShape &shape, const Run &run, Plan **plan, std::string *why) {
  *plan = nullptr;
  auto found = known_.find(shape);
  if (found == known_.end()) {
    if (replay_ && replay_->isCapturing())
      return failure(LATHE_INTERNAL, "a product can't be planned while a graph is made");
    if (known_.size() >= kMaxPlans) {
      if (replay_)
        replay_->forget();
      if (known_.begin()->second.plan)
        drop(*known_.begin()->second.plan);
      known_.erase(known_.begin());
    }
    Known made;
    made.plan = std::make_unique<Plan>();
    int configs = 0;
    if (!make(shape, -1, *made.plan, &configs, &made.why)) {
      made.plan.reset();
    } else if (Status status = choose(shape, run, configs, made); status.failed()) {
      if (made.plan)
        drop(*made.plan);
      return status;
    }
    found = known_.emplace(shape, std::move(made)).first;
  }
  Known &known = found->second;
  *why = known.why;
  if (!known.plan)
    return success();
  if (Status status = workspace_.reserve(known.plan->workspaceBytes, "the workspace of products with zeros");
      status.failed()) {
    *why = status.message(); // the dense product may need none
    return status.code() == LATHE_DEVICE_LOST ? status : success();
  }
  *plan = known.plan.get();
  return success();
}

Status SparseProducts::multiply(Plan &plan, float alpha, const void *compressed, const void *left, void *out) {
  if (Status status = workspace_.reserve(plan.workspaceBytes, "the workspace of products with zeros"); status.failed())
    return status;
  SparseLibrary &library = module_.sparse();
  float beta = 0;
  Stream stream = stream_;
  int result = library.api().matmul(library.handle(), &plan.plan, &alpha, compressed, left, &beta, out, out,
                                    reinterpret_cast<void *>(workspace_.address()), &stream, 1);
  if (!result)
    return success();
  return failure(result == kSparseLtAllocFailed       ? LATHE_OUT_OF_MEMORY
                 : result == kSparseLtExecutionFailed ? LATHE_DEVICE_LOST
                                                      : LATHE_INTERNAL,
                 "cuSPARSELt says ", library.words(result), " (", result, ")");
}

//===----------------------------------------------------------------------===//
// Products of a session
//===----------------------------------------------------------------------===//

namespace {

/// Bytes from the first element that strides lead to, to behind the last.
uint64_t spanOf(std::initializer_list<std::pair<int64_t, int64_t>> axes, int64_t elementBytes) {
  int64_t last = 0;
  for (auto [extent, stride] : axes)
    last += (extent - 1) * stride;
  return aligned(static_cast<uint64_t>((last + 1) * elementBytes) + 256);
}

/// A call like `call`, in memory of its own from `base` on, whose addresses are as much off a multiple of 256 as the
/// call's. Its bytes, where `base` is 0.
uint64_t moved(lathe_matmul_call &call, DevicePointer base) {
  uint64_t bytes = 0;
  auto move = [&](const void *address, uint64_t span) {
    DevicePointer place = base + bytes + reinterpret_cast<DevicePointer>(address) % 256;
    bytes += span;
    return reinterpret_cast<void *>(place);
  };
  uint64_t result = spanOf({{call.batch[0], call.out_batch[0]},
                            {call.batch[1], call.out_batch[1]},
                            {call.batch[2], call.out_batch[2]},
                            {call.m, call.out_row},
                            {call.n, 1}},
                           4);
  call.a = move(call.a, spanOf({{call.batch[0], call.a_batch[0]},
                                {call.batch[1], call.a_batch[1]},
                                {call.batch[2], call.a_batch[2]},
                                {call.m, call.a_row},
                                {call.k, call.a_col}},
                               4));
  call.bias = call.bias ? move(call.bias, spanOf({{call.n, 1}}, 4)) : nullptr;
  call.multiplier = call.multiplier ? move(call.multiplier, result) : nullptr;
  call.residual = call.residual ? move(call.residual, result) : nullptr;
  call.out = move(call.out, result);
  call.a_again = 0;
  return bytes;
}

} // namespace

bool Products::describeSparse(const lathe_matmul_call &call, const MatrixView &right, SparseShape *shape,
                              std::string *why) const {
  Product product(call);
  product.b = right;
  product.simplify();
  if (product.k == 0 || product.batch[0] != 1 || product.batch[1] != 1 || product.batch[2] != 1) {
    *why = product.k == 0 ? "it sums over nothing" : "its left sides are no rows of one matrix";
    return false;
  }
  const MatrixView &a = product.a, &out = product.out;
  *shape = {};
  shape->type = right.type;
  shape->rows = (product.m + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  shape->n = product.n, shape->k = product.k;
  bool isWhole = product.m == shape->rows;
  bool isInPlace = a.type == right.type && isWhole && a.col == 1 && a.row >= product.k && a.row % kRowMultiple == 0 &&
                   isAligned(a.data);
  bool isPlain = !call.bias && !call.multiplier && !call.residual && call.activation == LATHE_ACT_NONE;
  // Where f32 becomes f16 numbers beyond it have to become its largest.
  bool isRounded = call.dtype != LATHE_F32 || out.type == kBlasBf16;
  bool isDirect = isPlain && isRounded && out.type == right.type && isWhole && out.row >= product.n &&
                  out.row % kRowMultiple == 0 && isAligned(out.data);
  shape->isStaged = !isInPlace;
  shape->isFinished = !isDirect;
  shape->ldLeft = isInPlace ? a.row : product.k;
  shape->ldOut = isDirect ? out.row : product.n;
  shape->epilogue = call.activation * 8 + (call.bias ? 4 : 0) + (call.multiplier ? 2 : 0) + (call.residual ? 1 : 0);
  shape->dtype = call.dtype, shape->left = a.type, shape->out = out.type;
  return true;
}

/// The product by a plan, with what is before and behind it.
Status Products::computeSparse(const lathe_matmul_call &call, const MatrixView &right, const SparseShape &shape,
                               SparseProducts::Plan &plan, const void *compressed, bool prepareOnly) {
  Product product(call);
  product.b = right;
  product.simplify();
  if (shape.isStaged) {
    DevicePointer before = stagedA_.address();
    // Behind the last row something may lie, of which rows are made that nobody reads.
    if (Status status = stagedA_.reserve(static_cast<uint64_t>(shape.rows * shape.k * 2), "a copy of a left side");
        status.failed())
      return status;
    if (stagedA_.address() != before)
      staged_ = {};
    if (Status status = stage(product, product.a, product.m, product.k, shape.type, stagedA_, call.a_again != 0,
                              prepareOnly, /*always=*/true);
        status.failed())
      return status;
  }
  DevicePointer out = product.out.data;
  if (shape.isFinished) {
    if (Status status = stagedOut_.reserve(static_cast<uint64_t>(shape.rows * shape.n * 2), "a product's sums");
        status.failed())
      return status;
    out = stagedOut_.address();
  }
  if (prepareOnly)
    return success();
  if (Status status = sparse_.multiply(plan, product.alpha, compressed, reinterpret_cast<const void *>(product.a.data),
                                       reinterpret_cast<void *>(out));
      status.failed() || !shape.isFinished)
    return status;
  EpilogueArgs args = epilogueArgs(call);
  args.alpha = 1; // is in the product
  FinishHalfArgs finish = {args, reinterpret_cast<const void *>(out), call.dtype == LATHE_F32,
                           product.out.type == kBlasF32};
  KernelLaunch launch;
  std::string why;
  bool isPossible = finishHalfLaunch(finish, shape.type == kBlasF16 ? LATHE_F16 : LATHE_BF16, &launch, &why);
  return start(isPossible, launch, why);
}

Status Products::runSparse(const lathe_matmul_call &call, const MatrixView &right, bool prepareOnly, bool *isTaken) {
  std::string why;
  SparseShape shape;
  SparseProducts::Plan *plan = nullptr;
  const void *compressed = nullptr;
  *isTaken = false;
  if (describeSparse(call, right, &shape, &why)) {
    SparseSource source = {
        reinterpret_cast<const void *>(right.data), right.type, call.k, call.n, right.row, right.col};
    if (Status status = sparse_.weight(call.weight, source, &compressed, &why); status.failed())
      return status;
  }
  if (compressed) {
    // Timed on memory of its own, so that nothing of the run is touched.
    Scratch memory(device_, services_, stream_, nullptr);
    lathe_matmul_call trial = call;
    uint64_t bytes = moved(trial, 0);
    SparseProducts::Run run = [&](SparseProducts::Plan *by) {
      if (!memory.address()) {
        if (bytes > kMaxTimedBytes)
          return failure(LATHE_OVER_BUDGET, "too much memory to time a product with");
        if (Status status = memory.reserve(bytes, "timing"); status.failed())
          return status;
        trial = call;
        moved(trial, memory.address());
        if (int result = driver_.memsetD8Async(memory.address(), 0x3c, bytes, stream_))
          return device_.status(result, "timing algorithms");
      }
      staged_ = {};
      return by ? computeSparse(trial, right, shape, *by, compressed, false) : runByWeight(trial, right, false);
    };
    Status status = sparse_.find(shape, run, &plan, &why);
    if (memory.address())
      staged_ = {};
    if (status.failed())
      return status;
  }
  tell(call, plan ? "" : why);
  *isTaken = plan != nullptr;
  return plan ? computeSparse(call, right, shape, *plan, compressed, prepareOnly) : success();
}

/// Who multiplies by a weight with zeros, where the user wants to know.
void Products::tell(const lathe_matmul_call &call, const std::string &why) {
  if (!isVerbose_)
    return;
  const runtime::Constant &weight = module_.services().manifest().constants[static_cast<size_t>(call.weight)];
  const char *other = numbersWeight(call, weight) ? "the own kernel" : "cuBLASLt";
  std::string text = why.empty() ? join("product by cuSPARSELt ", sparse_.version())
                                 : join("product by ", other, ", not cuSPARSELt: ", why);
  if (told_.emplace(call.kernel, text).second)
    fprintf(stderr, "lathe: %s: %s\n", describeKernel(services_.program().kernels, call.kernel).c_str(), text.c_str());
}
