//===- FloatProducts.cpp - Products of 8-bit floats -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Weights of E4M3 with a scale for each column by left sides that are rounded to E4M3 with a scale for each row, by the
// library's matrix instructions of capability 8.9 and above (docs/design/0034-fp8-products.md).
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Products.h"

#include <algorithm>

using namespace lathe;
using namespace lathe::cuda;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

/// Of devices that multiply 8-bit floats, and of those whose library scales rows and columns.
constexpr int kFloatsCapability = 89, kOuterVectorCapability = 90;

int64_t roundUp(int64_t count) { return (count + 15) / 16 * 16; }

/// Sums of all rows by all columns of a weight, one row behind the other.
BlasProblem problemOf(const runtime::QuantizedLayout &layout, int64_t rows) {
  BlasProblem problem;
  problem.m = roundUp(layout.n), problem.n = rows, problem.k = roundUp(layout.k);
  problem.transA = 1; // the library multiplies 8-bit floats so alone
  problem.lda = problem.ldb = problem.k;
  problem.ldc = problem.m;
  problem.alignA = problem.alignB = 16;
  problem.alignC = problem.alignD = 256;
  problem.operands = kBlasE4m3;
  return problem;
}

/// Whether the library can do all that a call wants where its result lies, besides scaling: nothing but to add a
/// residual, as biases of f32 it has for no product of 8-bit floats.
bool isLibrarys(const lathe_matmul_call &call, const Product &product) {
  bool isAligned = product.out.data % 16 == 0 && product.residual % 16 == 0 && product.out.row % 4 == 0;
  return !call.bias && !call.multiplier && call.activation == LATHE_ACT_NONE && call.n == roundUp(call.n) &&
         product.batch[0] == 1 && product.batch[1] == 1 && product.batch[2] == 1 && product.out.row >= call.n &&
         isAligned;
}

} // namespace

/// A plan for the library with scales where it has them, else one without; none where it multiplies no 8-bit floats.
Status Products::findFloats(const lathe_matmul_call &call, const runtime::Constant &weight, FloatsPlan *plan) {
  *plan = {};
  const runtime::QuantizedLayout &layout = *weight.quantized;
  if (device_.capability() < kFloatsCapability || !hasFloats(layout))
    return success();
  BlasProblem problem = problemOf(layout, rowsOf(call));
  bool isRefused = true;
  if (device_.capability() == kOuterVectorCapability) {
    Product product(call);
    product.simplify();
    plan->isScaled = true;
    plan->isWhole = isLibrarys(call, product);
    BlasProblem scaled = problem;
    scaled.scales = kScaleOuterVector;
    if (plan->isWhole) {
      scaled.ldc = product.out.row;
      scaled.alignC = scaled.alignD = 16;
    }
    if (Status status = plans_.find(scaled, &plan->plan, &isRefused); status.failed())
      return status;
  }
  if (!isRefused)
    return success();
  *plan = {};
  return plans_.find(problem, &plan->plan, &isRefused);
}

/// With sums in f32, which the library scales, or the kernel behind it.
Status Products::runFloats(const lathe_matmul_call &call, const ByteWeight &weight, const FloatsPlan &plan,
                           bool prepareOnly) {
  int64_t rows = rowsOf(call);
  RoundBytesArgs round = {};
  if (Status status = stageCodes(call, weight.codesRow, kBlasE4m3, /*writes=*/true, prepareOnly, &round);
      status.failed())
    return status;
  if (!plan.isWhole)
    if (Status status = stagedOut_.reserve(static_cast<uint64_t>(rows * weight.rows * 4), "a product's sums");
        status.failed())
      return status;
  if (prepareOnly)
    return success();

  float alpha = plan.isWhole ? static_cast<float>(call.alpha) : 1.0f, beta = plan.isWhole && call.residual ? 1.0f : 0;
  BlasOperands addresses;
  addresses.a = weight.codes;
  addresses.b = round.codes;
  addresses.d = plan.isWhole ? call.out : reinterpret_cast<void *>(stagedOut_.address());
  addresses.c = beta != 0 ? call.residual : addresses.d;
  addresses.alpha = &alpha;
  addresses.beta = &beta;
  if (plan.isScaled) {
    addresses.aScales = weight.scales;
    addresses.bScales = round.scales;
  }
  std::string what = join("product of 8-bit floats [", rows, ", ", call.k, "] and [", call.k, ", ", call.n, "]");
  if (Status status = plans_.multiply(*plan.plan, addresses, what); status.failed() || plan.isWhole)
    return status;

  ScaledFinishArgs finish = {};
  finish.epilogue = epilogueArgs(call);
  finish.products = reinterpret_cast<const float *>(stagedOut_.address());
  finish.products_row = weight.rows;
  finish.row_scales = plan.isScaled ? nullptr : round.scales;
  finish.scales = weight.scales;
  KernelLaunch launch;
  std::string why;
  return start(finishScaledLaunch(finish, &launch, &why), launch, why);
}
