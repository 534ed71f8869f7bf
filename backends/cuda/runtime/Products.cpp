//===- Products.cpp - Matrix products by cuBLASLt ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The library stores matrices by columns: our row-major out = a * b is its out^T = b^T * a^T, whose left side is our b.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Products.h"

#include <algorithm>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

constexpr int64_t kElement = 4;

DevicePointer pointerOf(const void *address) { return reinterpret_cast<DevicePointer>(address); }
DevicePointer advance(DevicePointer address, int64_t elements) {
  return address + static_cast<DevicePointer>(elements * kElement);
}

/// The largest power of two up to 256 that divides all of them.
int64_t alignmentOf(DevicePointer address, std::initializer_list<int64_t> strides) {
  uint64_t bits = address | 256;
  for (int64_t stride : strides)
    bits |= static_cast<uint64_t>(stride * kElement);
  return static_cast<int64_t>(bits & (~bits + 1));
}

/// The epilogue that computes bias, activation and residual in the order of lathe_activation; false where none does.
bool findEpilogue(int64_t activation, bool hasBias, bool hasResidual, int64_t *epilogue) {
  // The library adds the residual before it applies the activation.
  if (hasResidual && activation != LATHE_ACT_NONE)
    return false;
  switch (activation) {
  case LATHE_ACT_NONE:
    *epilogue = hasBias ? kEpilogueBias : kEpilogueDefault;
    return true;
  case LATHE_ACT_RELU:
    *epilogue = hasBias ? kEpilogueReluBias : kEpilogueRelu;
    return true;
  case LATHE_ACT_GELU_TANH:
    *epilogue = hasBias ? kEpilogueGeluBias : kEpilogueGelu;
    return true;
  default:
    return false;
  }
}

} // namespace

Orientation cuda::orient(int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride) {
  if (cols == 1)
    colStride = 1;
  if (colStride == 1 && (rows == 1 || rowStride >= cols))
    return {true, false, rows == 1 ? cols : rowStride};
  if (rows == 1)
    rowStride = 1;
  if (rowStride == 1 && (cols == 1 || colStride >= rows))
    return {true, true, cols == 1 ? rows : colStride};
  return {};
}

Product::Product(const lathe_matmul_call &call)
    : m(call.m), n(call.n), k(call.k), bias(pointerOf(call.bias)), residual(pointerOf(call.residual)),
      alpha(static_cast<float>(call.alpha)), activation(call.activation) {
  a = {pointerOf(call.a), call.a_row, call.a_col, {}};
  b = {pointerOf(call.b), call.b_row, call.b_col, {}};
  out = {pointerOf(call.out), call.out_row, 1, {}};
  for (int i = 0; i < 3; ++i) {
    batch[i] = call.batch[i];
    a.batch[i] = call.a_batch[i];
    b.batch[i] = call.b_batch[i];
    out.batch[i] = call.out_batch[i];
  }
}

void Product::simplify() {
  struct Axis {
    int64_t extent, a, b, out;
  };
  std::vector<Axis> axes; // innermost first
  for (int i = 2; i >= 0; --i) {
    if (batch[i] == 1)
      continue;
    Axis axis = {batch[i], a.batch[i], b.batch[i], out.batch[i]};
    Axis *inner = axes.empty() ? nullptr : &axes.back();
    if (inner && axis.a == inner->a * inner->extent && axis.b == inner->b * inner->extent &&
        axis.out == inner->out * inner->extent)
      inner->extent *= axis.extent;
    else
      axes.push_back(axis);
  }
  // Items that share the right side, and follow each other as rows do, are rows.
  if (!axes.empty() && axes.front().b == 0 &&
      (m == 1 || (axes.front().a == m * a.row && axes.front().out == m * out.row))) {
    if (m == 1) {
      a.row = axes.front().a;
      out.row = axes.front().out;
    }
    m *= axes.front().extent;
    axes.erase(axes.begin());
  }
  for (size_t i = 0; i < 3; ++i) {
    Axis axis = i < axes.size() ? axes[i] : Axis{1, 0, 0, 0};
    batch[2 - i] = axis.extent;
    a.batch[2 - i] = axis.a;
    b.batch[2 - i] = axis.b;
    out.batch[2 - i] = axis.out;
  }
}

Products::~Products() {
  for (auto &[key, plan] : plans_)
    drop(plan);
}

void Products::drop(Plan &plan) {
  if (plan.desc)
    blas_->descDestroy(plan.desc);
  for (BlasLayout layout : {plan.a, plan.b, plan.c})
    if (layout)
      blas_->layoutDestroy(layout);
  plan = {};
}

Status Products::blasStatus(int result, const char *what) const {
  if (result == kBlasSuccess)
    return success();
  if (result == kBlasAllocFailed)
    return failure(LATHE_OUT_OF_MEMORY, what, ": cuBLASLt has not enough memory");
  const char *name = blas_->statusName(result);
  return failure(result == kBlasExecutionFailed ? LATHE_DEVICE_LOST : LATHE_INTERNAL, what, ": cuBLASLt says ",
                 name ? name : "nothing", " (", result, ")");
}

//===----------------------------------------------------------------------===//
// Operands that the library can't read
//===----------------------------------------------------------------------===//

/// Makes a matrix dense where its strides are none that the library reads.
Status Products::stage(Product &product, MatrixView &matrix, int64_t rows, int64_t cols, Scratch &scratch,
                       bool prepareOnly) {
  if (orient(rows, cols, matrix.row, matrix.col).possible)
    return success();
  int64_t extents[3], strides[3], items = 1;
  for (int i = 2; i >= 0; --i) {
    extents[i] = matrix.batch[i] == 0 ? 1 : product.batch[i]; // shared ones are copied once
    strides[i] = matrix.batch[i] == 0 ? 0 : items * rows * cols;
    items *= extents[i];
  }
  if (Status status =
          scratch.reserve(static_cast<uint64_t>(items * rows * cols * kElement), "a dense copy of an operand");
      status.failed())
    return status;
  if (!prepareOnly) {
    CopyArgs args = {reinterpret_cast<const void *>(matrix.data),
                     reinterpret_cast<void *>(scratch.address()),
                     {extents[0], extents[1], extents[2], rows, cols},
                     {matrix.batch[0], matrix.batch[1], matrix.batch[2], matrix.row, matrix.col},
                     {strides[0], strides[1], strides[2], cols, 1}};
    KernelLaunch launch;
    std::string why;
    if (!copyLaunch(args, kElement, &launch, &why))
      return failure(LATHE_INTERNAL, why);
    if (Status status = module_.start(launch, stream_); status.failed())
      return status;
  }
  matrix = {scratch.address(), cols, 1, {strides[0], strides[1], strides[2]}};
  return success();
}

/// A product over nothing is one over a column and a row of zeros.
Status Products::zeroOperands(Product &product, bool prepareOnly) {
  auto bytes = static_cast<uint64_t>(std::max(product.m, product.n) * kElement);
  if (Status status = stagedA_.reserve(bytes, "zeros"); status.failed())
    return status;
  product.k = 1;
  product.a = {stagedA_.address(), 1, 1, {}};
  product.b = {stagedA_.address(), product.n, 1, {}};
  return prepareOnly ? success()
                     : device_.status(driver_.memsetD8Async(stagedA_.address(), 0, bytes, stream_), "writing zeros");
}

//===----------------------------------------------------------------------===//
// The library
//===----------------------------------------------------------------------===//

Status Products::choose(const Key &key, Plan &plan) {
  constexpr uint64_t kMaxWorkspace = uint64_t(32) << 20; // what the documentation advises for the largest GPUs
  BlasPreference preference = nullptr;
  if (int result = blas_->preferenceCreate(&preference))
    return blasStatus(result, "choosing an algorithm");
  uint64_t workspace = kMaxWorkspace;
  int result = blas_->preferenceSet(preference, kPreferenceWorkspaceBytes, &workspace, sizeof(workspace));
  const std::pair<int, int64_t> alignments[] = {{kPreferenceAlignmentA, key.alignA},
                                                {kPreferenceAlignmentB, key.alignB},
                                                {kPreferenceAlignmentC, key.alignC},
                                                {kPreferenceAlignmentD, key.alignD}};
  for (auto [attribute, alignment] : alignments) {
    auto bytes = static_cast<uint32_t>(alignment);
    if (!result)
      result = blas_->preferenceSet(preference, attribute, &bytes, sizeof(bytes));
  }
  BlasHeuristic best;
  int found = 0;
  if (!result)
    result = blas_->heuristic(handle_, plan.desc, plan.a, plan.b, plan.c, plan.c, preference, 1, &best, &found);
  blas_->preferenceDestroy(preference);
  if (!result && (found < 1 || best.state != kBlasSuccess))
    result = found < 1 ? int(kBlasNotSupported) : best.state;
  plan.algo = best.algo;
  plan.workspaceBytes = best.workspaceBytes;
  return blasStatus(result, "choosing an algorithm");
}

Status Products::makePlan(const Key &key, Plan &plan) {
  int32_t transA = static_cast<int32_t>(key.transA), transB = static_cast<int32_t>(key.transB);
  auto epilogue = static_cast<uint32_t>(key.epilogue);
  int result = blas_->descCreate(&plan.desc, kBlasComputeF32, kBlasF32);
  if (!result)
    result = blas_->descSet(plan.desc, kDescTransA, &transA, sizeof(transA));
  if (!result)
    result = blas_->descSet(plan.desc, kDescTransB, &transB, sizeof(transB));
  if (!result)
    result = blas_->descSet(plan.desc, kDescEpilogue, &epilogue, sizeof(epilogue));
  auto layout = [&](BlasLayout *made, int64_t rows, int64_t cols, int64_t ld, int64_t stride) {
    auto count = static_cast<int32_t>(key.batch);
    if (!result)
      result = blas_->layoutCreate(made, kBlasF32, static_cast<uint64_t>(rows), static_cast<uint64_t>(cols), ld);
    if (!result && count > 1)
      result = blas_->layoutSet(*made, kLayoutBatchCount, &count, sizeof(count));
    if (!result && count > 1)
      result = blas_->layoutSet(*made, kLayoutBatchStride, &stride, sizeof(stride));
  };
  layout(&plan.a, transA ? key.k : key.m, transA ? key.m : key.k, key.lda, key.strideA);
  layout(&plan.b, transB ? key.n : key.k, transB ? key.k : key.n, key.ldb, key.strideB);
  layout(&plan.c, key.m, key.n, key.ldc, key.strideC);
  return result ? blasStatus(result, "describing a product") : choose(key, plan);
}

Status Products::findPlan(const Key &key, Plan **plan) {
  auto found = plans_.find(key);
  if (found == plans_.end()) {
    Plan made;
    if (Status status = makePlan(key, made); status.failed()) {
      drop(made);
      return status;
    }
    if (plans_.size() >= kMaxPlans) {
      drop(plans_.begin()->second);
      plans_.erase(plans_.begin());
    }
    found = plans_.emplace(key, made).first;
  }
  *plan = &found->second;
  return workspace_.reserve((*plan)->workspaceBytes, "the workspace of products");
}

Status Products::multiply(const Product &product, const Key &key, Plan &plan) {
  int result = kBlasSuccess;
  if (key.epilogue & kEpilogueBias)
    result = blas_->descSet(plan.desc, kDescBiasPointer, &product.bias, sizeof(product.bias));
  float beta = product.residual ? 1.0f : 0.0f;
  for (int64_t i = 0; i < product.batch[0] && !result; ++i)
    for (int64_t j = 0; j < product.batch[1] && !result; ++j) {
      auto at = [&](DevicePointer data, const MatrixView &view) {
        return reinterpret_cast<void *>(advance(data, i * view.batch[0] + j * view.batch[1]));
      };
      void *out = at(product.out.data, product.out);
      result = blas_->matmul(handle_, plan.desc, &product.alpha, at(product.b.data, product.b), plan.a,
                             at(product.a.data, product.a), plan.b, &beta,
                             product.residual ? at(product.residual, product.out) : out, plan.c, out, plan.c,
                             &plan.algo, reinterpret_cast<void *>(workspace_.address()), plan.workspaceBytes, stream_);
    }
  return blasStatus(
      result, join("product of [", product.m, ", ", product.k, "] and [", product.k, ", ", product.n, "]").c_str());
}

Status Products::start(bool possible, const KernelLaunch &launch, const std::string &why) {
  return possible ? module_.start(launch, stream_) : failure(LATHE_INTERNAL, why);
}

/// By codes that are made numbers where they are multiplied; a left side that is rounded first is copied.
Status Products::runQuantized(const lathe_matmul_call &call, const runtime::Constant &weight, bool prepareOnly) {
  if (weight.dims[0] != call.k || weight.dims[1] != call.n)
    return failure(LATHE_INTERNAL, "constant '", weight.name, "' is no right side of [", call.k, ", ", call.n, "]");
  if (call.a_bytes || call.out_bytes)
    return failure(LATHE_INTERNAL, "the device has no product that reads or writes bytes");
  QuantizedMatmulArgs args = quantizedMatmulArgs(call, *weight.quantized, module_.constants()[call.weight]);
  KernelLaunch launch;
  std::string why;
  if (call.a_quantization != LATHE_QUANTIZE_NONE) {
    auto bytes = static_cast<uint64_t>(call.batch[0] * call.batch[1] * call.batch[2] * call.m * call.k * kElement);
    if (Status status = stagedA_.reserve(bytes, "a rounded operand"); status.failed() || prepareOnly)
      return status;
    RoundArgs round = roundArgs(call, reinterpret_cast<float *>(stagedA_.address()));
    if (Status status = start(roundLaunch(round, call.dtype, &launch, &why), launch, why); status.failed())
      return status;
    setRounded(round, &args);
  }
  if (prepareOnly)
    return success();
  return start(quantizedMatmulLaunch(args, call.dtype, &launch, &why), launch, why);
}

Status Products::run(const lathe_matmul_call &call, bool prepareOnly) {
  for (int64_t extent : {call.m, call.n, call.k, call.batch[0], call.batch[1], call.batch[2]})
    if (extent < 0)
      return failure(LATHE_INTERNAL, "negative extent in matmul");
  if (call.m == 0 || call.n == 0 || call.batch[0] == 0 || call.batch[1] == 0 || call.batch[2] == 0)
    return success();
  if (call.dtype != LATHE_F32)
    return failure(LATHE_INTERNAL, "the device has no product of this type; expected f32");
  const std::vector<runtime::Constant> &constants = module_.services().manifest().constants;
  if (call.weight >= 0 && static_cast<size_t>(call.weight) < constants.size() &&
      constants[static_cast<size_t>(call.weight)].quantized)
    return runQuantized(call, constants[static_cast<size_t>(call.weight)], prepareOnly);
  if (call.a_quantization != LATHE_QUANTIZE_NONE)
    return failure(LATHE_INTERNAL, "the device has no product of integers without a quantized weight");
  const float *weight = nullptr;
  lathe_matmul_call plain = call;
  if (call.weight >= 0) {
    if (Status status = module_.weightF32(call.weight, &weight); status.failed())
      return status;
    plain.b = weight;
    if (constants[static_cast<size_t>(call.weight)].packed) { // and unpacked when it was copied
      plain.b_row = call.n;
      plain.b_col = 1;
    }
  }
  int64_t epilogue = kEpilogueDefault;
  KernelLaunch launch;
  std::string why;
  if (!call.multiplier && findEpilogue(call.activation, call.bias, call.residual, &epilogue))
    return runByLibrary(plain, epilogue, prepareOnly);
  // In two steps what is added or multiplied last would be overwritten by the first.
  if (call.residual == call.out || call.multiplier == call.out)
    return prepareOnly ? success() : start(matmulLaunch(matmulArgs(plain), call.dtype, &launch, &why), launch, why);
  lathe_matmul_call product = plain;
  product.bias = product.residual = product.multiplier = nullptr;
  product.activation = LATHE_ACT_NONE;
  if (Status status = runByLibrary(product, kEpilogueDefault, prepareOnly); status.failed() || prepareOnly)
    return status;
  EpilogueArgs args = epilogueArgs(call);
  args.alpha = 1; // is in the product
  return start(epilogueLaunch(args, call.dtype, &launch, &why), launch, why);
}

Status Products::runByLibrary(const lathe_matmul_call &call, int64_t epilogue, bool prepareOnly) {
  Product product(call);
  Key key;
  key.epilogue = epilogue;
  if (!blas_)
    if (Status status = module_.blas(&blas_, &handle_); status.failed())
      return status;
  product.simplify();
  Status status = product.k == 0 ? zeroOperands(product, prepareOnly) : success();
  if (!status.failed())
    status = stage(product, product.a, product.m, product.k, stagedA_, prepareOnly);
  if (!status.failed())
    status = stage(product, product.b, product.k, product.n, stagedB_, prepareOnly);
  if (status.failed())
    return status;

  // The library's left side is our right one, and its rows are our columns.
  const MatrixView &a = product.a, &b = product.b, &out = product.out;
  Orientation left = orient(product.k, product.n, b.row, b.col), right = orient(product.m, product.k, a.row, a.col);
  key.m = product.n, key.n = product.m, key.k = product.k;
  key.transA = left.transposed, key.lda = left.ld;
  key.transB = right.transposed, key.ldb = right.ld;
  key.ldc = product.m == 1 ? product.n : out.row;
  key.batch = product.batch[2];
  if (key.batch > 1)
    key.strideA = b.batch[2], key.strideB = a.batch[2], key.strideC = out.batch[2];
  if (key.m > INT32_MAX || key.n > INT32_MAX || key.k > INT32_MAX || key.batch > INT32_MAX)
    return failure(LATHE_UNSUPPORTED_DEVICE,
                   "the device's library multiplies matrices of up to 2^31 - 1 rows and columns");
  key.alignA = alignmentOf(b.data, {b.batch[0], b.batch[1]});
  key.alignB = alignmentOf(a.data, {a.batch[0], a.batch[1]});
  key.alignD = alignmentOf(out.data, {out.batch[0], out.batch[1]});
  key.alignC = product.residual ? alignmentOf(product.residual, {out.batch[0], out.batch[1]}) : key.alignD;
  Plan *plan = nullptr;
  if (status = findPlan(key, &plan); status.failed() || prepareOnly)
    return status;
  return multiply(product, key, *plan);
}
