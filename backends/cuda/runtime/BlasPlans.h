//===- BlasPlans.h - Products that cuBLASLt was asked about -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_BLASPLANS_H
#define LATHE_BACKENDS_CUDA_RUNTIME_BLASPLANS_H

#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/Scratch.h"

#include <cstring>
#include <map>
#include <set>

namespace lathe::cuda {

/// What the library's choice depends on, in its terms: matrices by columns, D = epilogue(alpha * op(A) * op(B) + beta *
/// C), where C and D have one layout. Only 8-byte members: compared as bytes.
struct BlasProblem {
  int64_t m = 0, n = 0, k = 0;
  int64_t transA = 0, transB = 0, lda = 0, ldb = 0, ldc = 0;
  int64_t batch = 1, strideA = 0, strideB = 0, strideC = 0;
  int64_t epilogue = kEpilogueDefault;
  int64_t alignA = 0, alignB = 0, alignC = 0, alignD = 0; ///< of addresses, in bytes
  int64_t alignBias = 0;                                  ///< likewise; 0 where the epilogue has none
  int64_t operands = kBlasF32, result = kBlasF32, compute = kBlasComputeF32;
  int64_t scales = kScaleScalar; ///< BlasScaleMode of both operands, whose scales lie on 16 bytes

  bool operator<(const BlasProblem &other) const { return memcmp(this, &other, sizeof(*this)) < 0; }
};

/// The library's objects for a problem, and its algorithm.
struct BlasPlan {
  BlasDesc desc = nullptr;
  BlasLayout a = nullptr, b = nullptr, c = nullptr;
  BlasAlgo algo;
  size_t workspaceBytes = 0;
};

/// Addresses of a product. Factors are f32, or i32 where sums are.
struct BlasOperands {
  const void *a = nullptr, *b = nullptr, *c = nullptr;
  void *d = nullptr;
  const void *alpha = nullptr, *beta = nullptr;
  DevicePointer bias = 0;                             ///< where the epilogue has one
  const float *aScales = nullptr, *bScales = nullptr; ///< with kScaleOuterVector, of m and n
};

/// Plans of a session. The device's context is current in all calls.
class BlasPlans {
public:
  /// `replay`: whose graphs have products.
  BlasPlans(CudaModule &module, runtime::SessionServices &services, Stream stream, Replay *replay)
      : module_(module), services_(services), stream_(stream), workspace_(module.device(), services, stream, replay) {}
  ~BlasPlans();
  BlasPlans(const BlasPlans &) = delete;

  /// Makes the plan where there is none, and reserves what it needs. The plan stays until the next call. What the
  /// library has not on this device fails, or, with `isRefused`, is told there, without a plan.
  runtime::Status find(const BlasProblem &problem, BlasPlan **plan, bool *isRefused = nullptr);
  /// Puts the product into the stream. `what` names it.
  runtime::Status multiply(const BlasPlan &plan, const BlasOperands &operands, const std::string &what);

private:
  /// Models with more distinct shapes pay for planning again.
  static constexpr size_t kMaxPlans = 1024;

  /// `answer`: the library's, where that is what fails.
  runtime::Status make(const BlasProblem &problem, BlasPlan &plan, int *answer);
  runtime::Status choose(const BlasProblem &problem, BlasPlan &plan, int *answer);
  runtime::Status fastest(const BlasProblem &problem, const BlasPlan &plan, const BlasHeuristic *found, int count,
                          Choices &choices, const BlasHeuristic **best);
  runtime::Status time(const BlasProblem &problem, BlasPlan plan, const BlasHeuristic &algorithm, DevicePointer base,
                       float *milliseconds);
  runtime::Status status(int result, const char *what) const;
  void drop(BlasPlan &plan);

  CudaModule &module_;
  runtime::SessionServices &services_;
  Stream stream_;
  const BlasApi *blas_ = nullptr;
  BlasHandle handle_ = nullptr;
  std::map<BlasProblem, BlasPlan> plans_;
  std::set<BlasProblem> refused_;
  Scratch workspace_;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_BLASPLANS_H
