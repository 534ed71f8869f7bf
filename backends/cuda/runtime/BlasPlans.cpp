//===- BlasPlans.cpp - Products that cuBLASLt was asked about ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/BlasPlans.h"

#include "backends/cuda/runtime/Timing.h"

#include <algorithm>
#include <array>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::Status;
using runtime::success;

namespace {

/// Of which the library offers that many the fastest is taken.
constexpr int kMaxCandidates = 16;
/// More is not taken of a device for the time that timing needs it.
constexpr uint64_t kMaxTimedBytes = uint64_t(2) << 30;
constexpr DevicePointer kScaleAlignment = 16; ///< behind rows of 8-bit floats, which are multiples of it

std::string describe(const BlasProblem &problem) {
  int64_t numbers[sizeof(problem) / 8];
  memcpy(numbers, &problem, sizeof(problem));
  std::string text;
  for (int64_t number : numbers)
    text += (text.empty() ? "" : ",") + std::to_string(number);
  return text;
}

/// Whether an answer says that the library has no such product: versions that do not know an attribute say that its
/// value is invalid.
bool isRefusal(int answer) {
  return answer == kBlasNotSupported || answer == kBlasArchMismatch || answer == kBlasInvalidValue;
}

/// Of A, B, D, a bias and the scales of A and B, each from a multiple of 256 on.
std::array<uint64_t, 6> operandBytes(const BlasProblem &problem) {
  auto bytes = [&](int64_t rows, int64_t cols, int64_t ld, int64_t stride, int64_t type) {
    int64_t elements = (problem.batch - 1) * stride + (cols - 1) * ld + rows;
    return (static_cast<uint64_t>(elements * bytesOf(type)) + 255) / 256 * 256;
  };
  bool ta = problem.transA != 0, tb = problem.transB != 0;
  return {bytes(ta ? problem.k : problem.m, ta ? problem.m : problem.k, problem.lda, problem.strideA, problem.operands),
          bytes(tb ? problem.n : problem.k, tb ? problem.k : problem.n, problem.ldb, problem.strideB, problem.operands),
          bytes(problem.m, problem.n, problem.ldc, problem.strideC, problem.result),
          bytes(problem.m, 1, problem.m, 0, problem.result),
          problem.scales ? bytes(problem.m, 1, problem.m, 0, kBlasF32) : 0,
          problem.scales ? bytes(problem.n, 1, problem.n, 0, kBlasF32) : 0};
}

} // namespace

BlasPlans::~BlasPlans() {
  for (auto &[problem, plan] : plans_)
    drop(plan);
}

void BlasPlans::drop(BlasPlan &plan) {
  if (plan.desc)
    blas_->descDestroy(plan.desc);
  for (BlasLayout layout : {plan.a, plan.b, plan.c})
    if (layout)
      blas_->layoutDestroy(layout);
  plan = {};
}

Status BlasPlans::status(int result, const char *what) const {
  if (result == kBlasSuccess)
    return success();
  if (result == kBlasAllocFailed)
    return failure(LATHE_OUT_OF_MEMORY, what, ": cuBLASLt has not enough memory");
  const char *name = blas_->statusName(result);
  return failure(result == kBlasExecutionFailed ? LATHE_DEVICE_LOST : LATHE_INTERNAL, what, ": cuBLASLt says ",
                 name ? name : "nothing", " (", result, ")");
}

Status BlasPlans::choose(const BlasProblem &problem, BlasPlan &plan, int *answer) {
  constexpr uint64_t kMaxWorkspace = uint64_t(32) << 20; // what the documentation advises for the largest GPUs
  BlasPreference preference = nullptr;
  if (int result = blas_->preferenceCreate(&preference))
    return status(result, "choosing an algorithm");
  uint64_t workspace = kMaxWorkspace;
  int result = blas_->preferenceSet(preference, kPreferenceWorkspaceBytes, &workspace, sizeof(workspace));
  uint32_t reductions = bytesOf(problem.result) < 4 ? kReductionsInSums : kReductionsAll; // results are rounded once
  if (!result)
    result = blas_->preferenceSet(preference, kPreferenceReductions, &reductions, sizeof(reductions));
  const std::pair<int, int64_t> alignments[] = {{kPreferenceAlignmentA, problem.alignA},
                                                {kPreferenceAlignmentB, problem.alignB},
                                                {kPreferenceAlignmentC, problem.alignC},
                                                {kPreferenceAlignmentD, problem.alignD}};
  for (auto [attribute, alignment] : alignments) {
    auto bytes = static_cast<uint32_t>(alignment);
    if (!result)
      result = blas_->preferenceSet(preference, attribute, &bytes, sizeof(bytes));
  }
  BlasHeuristic found[kMaxCandidates];
  Choices *choices = module_.choices();
  int count = 0;
  if (!result)
    result = blas_->heuristic(handle_, plan.desc, plan.a, plan.b, plan.c, plan.c, preference,
                              choices ? kMaxCandidates : 1, found, &count);
  blas_->preferenceDestroy(preference);
  if (!result && (count < 1 || found[0].state != kBlasSuccess))
    result = count < 1 ? int(kBlasNotSupported) : found[0].state;
  *answer = result;
  if (result)
    return status(result, "choosing an algorithm");
  const BlasHeuristic *best = found;
  if (choices && count > 1)
    if (Status status = fastest(problem, plan, found, count, *choices, &best); status.failed())
      return status;
  plan.algo = best->algo;
  plan.workspaceBytes = best->workspaceBytes;
  return success();
}

Status BlasPlans::fastest(const BlasProblem &problem, const BlasPlan &plan, const BlasHeuristic *found, int count,
                          Choices &choices, const BlasHeuristic **best) {
  std::string name = describe(problem);
  for (int i = 0; i < count; ++i)
    if (found[i].state == kBlasSuccess && choices.isChosen(name, found[i].algo)) {
      *best = found + i;
      return success();
    }
  // What is not there in memory or in the budget to time with, the library's own choice goes without.
  Scratch operands(module_.device(), services_, stream_, nullptr);
  uint64_t bytes = 0, workspace = 0;
  for (uint64_t own : operandBytes(problem))
    bytes += own;
  for (int i = 0; i < count; ++i)
    workspace = std::max<uint64_t>(workspace, found[i].workspaceBytes);
  if (bytes > kMaxTimedBytes || operands.reserve(bytes, "timing").failed() ||
      workspace_.reserve(workspace, "timing").failed())
    return success();
  const DriverApi &driver = module_.device().driver();
  if (int result = driver.memsetD8Async(operands.address(), 0x3c, bytes, stream_)) // no zeros, which take less power
    return module_.device().status(result, "timing algorithms");
  float least = 0;
  for (int i = 0; i < count; ++i) {
    float milliseconds = -1;
    if (found[i].state != kBlasSuccess)
      continue;
    if (Status status = time(problem, plan, found[i], operands.address(), &milliseconds); status.failed())
      return status;
    if (milliseconds >= 0 && (least == 0 || milliseconds < least)) {
      least = milliseconds;
      *best = found + i;
    }
  }
  choices.add(name, (*best)->algo, double(least) * 1000);
  return success();
}

/// The fastest of a few, behind one that may load code. -1 for an algorithm that the library does not start after all.
Status BlasPlans::time(const BlasProblem &problem, BlasPlan plan, const BlasHeuristic &algorithm, DevicePointer base,
                       float *milliseconds) {
  plan.algo = algorithm.algo;
  plan.workspaceBytes = algorithm.workspaceBytes;
  std::array<uint64_t, 6> bytes = operandBytes(problem);
  BlasOperands operands;
  operands.a = reinterpret_cast<const void *>(base);
  operands.b = reinterpret_cast<const void *>(base + bytes[0]);
  operands.d = reinterpret_cast<void *>(base + bytes[0] + bytes[1]);
  operands.c = operands.d;
  if (problem.epilogue & kEpilogueBias)
    operands.bias = base + bytes[0] + bytes[1] + bytes[2];
  if (problem.scales) {
    operands.aScales = reinterpret_cast<const float *>(base + bytes[0] + bytes[1] + bytes[2] + bytes[3]);
    operands.bScales = operands.aScales + bytes[4] / sizeof(float);
  }
  int32_t whole[2] = {1, 0};
  float factors[2] = {1, 0};
  bool isInteger = problem.compute == kBlasComputeS32;
  operands.alpha = isInteger ? static_cast<void *>(whole) : factors;
  operands.beta = isInteger ? static_cast<void *>(whole + 1) : factors + 1;
  return leastTime(
      module_.device(), stream_, [&] { return multiply(plan, operands, "timing an algorithm"); }, milliseconds);
}

Status BlasPlans::make(const BlasProblem &problem, BlasPlan &plan, int *answer) {
  int32_t transA = static_cast<int32_t>(problem.transA), transB = static_cast<int32_t>(problem.transB);
  auto epilogue = static_cast<uint32_t>(problem.epilogue);
  int scale = problem.compute == kBlasComputeS32 ? kBlasS32 : kBlasF32;
  int result = blas_->descCreate(&plan.desc, static_cast<int>(problem.compute), scale);
  if (!result)
    result = blas_->descSet(plan.desc, kDescTransA, &transA, sizeof(transA));
  if (!result)
    result = blas_->descSet(plan.desc, kDescTransB, &transB, sizeof(transB));
  if (!result)
    result = blas_->descSet(plan.desc, kDescEpilogue, &epilogue, sizeof(epilogue));
  // Of these addresses the alignment counts until there is a product.
  const DevicePointer bias = static_cast<DevicePointer>(problem.alignBias), some = kScaleAlignment;
  if (!result && bias)
    result = blas_->descSet(plan.desc, kDescBiasPointer, &bias, sizeof(bias));
  if (problem.scales) {
    auto mode = static_cast<int32_t>(problem.scales);
    for (int attribute : {kDescScaleModeA, kDescScaleModeB})
      if (!result)
        result = blas_->descSet(plan.desc, attribute, &mode, sizeof(mode));
    for (int attribute : {kDescScalePointerA, kDescScalePointerB})
      if (!result)
        result = blas_->descSet(plan.desc, attribute, &some, sizeof(some));
  }
  auto layout = [&](BlasLayout *made, int64_t type, int64_t rows, int64_t cols, int64_t ld, int64_t stride) {
    auto count = static_cast<int32_t>(problem.batch);
    if (!result)
      result = blas_->layoutCreate(made, static_cast<int>(type), static_cast<uint64_t>(rows),
                                   static_cast<uint64_t>(cols), ld);
    if (!result && count > 1)
      result = blas_->layoutSet(*made, kLayoutBatchCount, &count, sizeof(count));
    if (!result && count > 1)
      result = blas_->layoutSet(*made, kLayoutBatchStride, &stride, sizeof(stride));
  };
  layout(&plan.a, problem.operands, transA ? problem.k : problem.m, transA ? problem.m : problem.k, problem.lda,
         problem.strideA);
  layout(&plan.b, problem.operands, transB ? problem.n : problem.k, transB ? problem.k : problem.n, problem.ldb,
         problem.strideB);
  layout(&plan.c, problem.result, problem.m, problem.n, problem.ldc, problem.strideC);
  *answer = result;
  return result ? status(result, "describing a product") : choose(problem, plan, answer);
}

Status BlasPlans::find(const BlasProblem &problem, BlasPlan **plan, bool *isRefused) {
  if (problem.m > INT32_MAX || problem.n > INT32_MAX || problem.k > INT32_MAX || problem.batch > INT32_MAX)
    return failure(LATHE_UNSUPPORTED_DEVICE,
                   "the device's library multiplies matrices of up to 2^31 - 1 rows and columns");
  if (!blas_)
    if (Status status = module_.blas(&blas_, &handle_); status.failed())
      return status;
  if (isRefused) {
    *isRefused = refused_.count(problem) > 0;
    if (*isRefused)
      return success();
  }
  auto found = plans_.find(problem);
  if (found == plans_.end()) {
    BlasPlan made;
    int answer = kBlasSuccess;
    if (Status status = make(problem, made, &answer); status.failed()) {
      drop(made);
      if (!isRefused || !isRefusal(answer))
        return status;
      if (refused_.size() >= kMaxPlans)
        refused_.clear();
      refused_.insert(problem);
      *isRefused = true;
      return success();
    }
    if (plans_.size() >= kMaxPlans) {
      drop(plans_.begin()->second);
      plans_.erase(plans_.begin());
    }
    found = plans_.emplace(problem, made).first;
  }
  *plan = &found->second;
  return workspace_.reserve((*plan)->workspaceBytes, "the workspace of products");
}

Status BlasPlans::multiply(const BlasPlan &plan, const BlasOperands &operands, const std::string &what) {
  int result = kBlasSuccess;
  if (operands.bias)
    result = blas_->descSet(plan.desc, kDescBiasPointer, &operands.bias, sizeof(operands.bias));
  if (!result && operands.aScales)
    result = blas_->descSet(plan.desc, kDescScalePointerA, &operands.aScales, sizeof(operands.aScales));
  if (!result && operands.bScales)
    result = blas_->descSet(plan.desc, kDescScalePointerB, &operands.bScales, sizeof(operands.bScales));
  if (!result)
    result = blas_->matmul(handle_, plan.desc, operands.alpha, operands.a, plan.a, operands.b, plan.b, operands.beta,
                           operands.c, plan.c, operands.d, plan.c, &plan.algo,
                           reinterpret_cast<void *>(workspace_.address()), plan.workspaceBytes, stream_);
  return status(result, what.c_str());
}
