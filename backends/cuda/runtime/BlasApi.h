//===- BlasApi.h - cuBLASLt, as far as it is used ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Declarations of our own, after NVIDIA's documentation of cuBLASLt. The functions come from the library, opened when
// the first product is computed, or from the emulator's reference implementation.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_BLASAPI_H
#define LATHE_BACKENDS_CUDA_RUNTIME_BLASAPI_H

#include "backends/cuda/runtime/DriverApi.h"

namespace lathe::cuda {

/// cublasStatus_t.
enum BlasStatus : int {
  kBlasSuccess = 0,
  kBlasNotInitialized = 1,
  kBlasAllocFailed = 3,
  kBlasInvalidValue = 7,
  kBlasArchMismatch = 8,
  kBlasExecutionFailed = 13,
  kBlasInternalError = 14,
  kBlasNotSupported = 15,
};

/// cudaDataType and cublasComputeType_t.
enum BlasType : int { kBlasF32 = 0, kBlasF16 = 2, kBlasS8 = 3, kBlasS32 = 10, kBlasBf16 = 14, kBlasE4m3 = 28 };
enum BlasCompute : int {
  kBlasComputeF32 = 68,
  kBlasComputeS32 = 72,
  kBlasComputeTf32 = 77, ///< operands of f32 are rounded to 10 bits behind the first
};

/// Bytes of an element.
constexpr int64_t bytesOf(int64_t type) {
  return type == kBlasS8 || type == kBlasE4m3 ? 1 : type == kBlasF16 || type == kBlasBf16 ? 2 : 4;
}

/// cublasLtEpilogue_t.
enum BlasEpilogue : uint32_t {
  kEpilogueDefault = 1,
  kEpilogueRelu = 2,
  kEpilogueBias = 4,
  kEpilogueReluBias = 6,
  kEpilogueGelu = 32, ///< by tanh
  kEpilogueGeluBias = 36,
};

/// Attributes: cublasLtMatmulDescAttributes_t, cublasLtMatrixLayoutAttribute_t, cublasLtMatmulPreferenceAttributes_t.
enum BlasDescAttribute : int {
  kDescTransA = 3,
  kDescTransB = 4,
  kDescEpilogue = 7,
  kDescBiasPointer = 8,
  kDescScalePointerA = 17,
  kDescScalePointerB = 18,
  kDescScaleModeA = 31,
  kDescScaleModeB = 32,
};
/// cublasLtMatmulMatrixScale_t: of 8-bit floats one factor (1 where there is no pointer), or one for each row of D and
/// one for each column.
enum BlasScaleMode : int { kScaleScalar = 0, kScaleOuterVector = 3 };
enum BlasLayoutAttribute : int { kLayoutBatchCount = 5, kLayoutBatchStride = 6 };
enum BlasPreferenceAttribute : int {
  kPreferenceWorkspaceBytes = 1,
  kPreferenceReductions = 3,
  kPreferenceAlignmentA = 5,
  kPreferenceAlignmentB = 6,
  kPreferenceAlignmentC = 7,
  kPreferenceAlignmentD = 8,
};

/// How parts of a sum may become one: bits of a set, none of which is one sequence. kReductionsInSums: in the type that
/// is computed in alone; others have results' type, to which each part is rounded.
inline constexpr uint32_t kReductionsInSums = 2, kReductionsAll = 7;

using BlasHandle = struct BlasHandleTag *;
using BlasDesc = struct BlasDescTag *;
using BlasLayout = struct BlasLayoutTag *;
using BlasPreference = struct BlasPreferenceTag *;

/// cublasLtMatmulAlgo_t and cublasLtMatmulHeuristicResult_t.
struct BlasAlgo {
  uint64_t data[8] = {};
};
struct BlasHeuristic {
  BlasAlgo algo;
  size_t workspaceBytes = 0;
  int state = 0;
  float waves = 0;
  int reserved[4] = {};
};
static_assert(sizeof(BlasHeuristic) == 96, "as the library lays it out");

#define LATHE_CUDA_BLAS(FUNCTION)                                                                                      \
  FUNCTION(int, create, "cublasLtCreate", (BlasHandle * handle))                                                       \
  FUNCTION(int, destroy, "cublasLtDestroy", (BlasHandle handle))                                                       \
  FUNCTION(size_t, version, "cublasLtGetVersion", ())                                                                  \
  FUNCTION(const char *, statusName, "cublasLtGetStatusName", (int status))                                            \
  FUNCTION(int, descCreate, "cublasLtMatmulDescCreate", (BlasDesc * desc, int computeType, int scaleType))             \
  FUNCTION(int, descDestroy, "cublasLtMatmulDescDestroy", (BlasDesc desc))                                             \
  FUNCTION(int, descSet, "cublasLtMatmulDescSetAttribute",                                                             \
           (BlasDesc desc, int attribute, const void *value, size_t bytes))                                            \
  FUNCTION(int, layoutCreate, "cublasLtMatrixLayoutCreate",                                                            \
           (BlasLayout * layout, int type, uint64_t rows, uint64_t cols, int64_t ld))                                  \
  FUNCTION(int, layoutDestroy, "cublasLtMatrixLayoutDestroy", (BlasLayout layout))                                     \
  FUNCTION(int, layoutSet, "cublasLtMatrixLayoutSetAttribute",                                                         \
           (BlasLayout layout, int attribute, const void *value, size_t bytes))                                        \
  FUNCTION(int, preferenceCreate, "cublasLtMatmulPreferenceCreate", (BlasPreference * preference))                     \
  FUNCTION(int, preferenceDestroy, "cublasLtMatmulPreferenceDestroy", (BlasPreference preference))                     \
  FUNCTION(int, preferenceSet, "cublasLtMatmulPreferenceSetAttribute",                                                 \
           (BlasPreference preference, int attribute, const void *value, size_t bytes))                                \
  FUNCTION(int, heuristic, "cublasLtMatmulAlgoGetHeuristic",                                                           \
           (BlasHandle handle, BlasDesc desc, BlasLayout a, BlasLayout b, BlasLayout c, BlasLayout d,                  \
            BlasPreference preference, int requested, BlasHeuristic *results, int *returned))                          \
  FUNCTION(int, matmul, "cublasLtMatmul",                                                                              \
           (BlasHandle handle, BlasDesc desc, const void *alpha, const void *a, BlasLayout aLayout, const void *b,     \
            BlasLayout bLayout, const void *beta, const void *c, BlasLayout cLayout, void *d, BlasLayout dLayout,      \
            const BlasAlgo *algo, void *workspace, size_t workspaceBytes, Stream stream))

struct BlasApi {
#define LATHE_CUDA_MEMBER(result, member, symbol, parameters) result(*member) parameters = nullptr;
  LATHE_CUDA_BLAS(LATHE_CUDA_MEMBER)
#undef LATHE_CUDA_MEMBER
};

/// Fills a table from the first of the libraries (null-terminated) that can be opened. UNSUPPORTED_DEVICE with the
/// reason in one line where none can.
runtime::Status openBlas(const char *const *libraries, BlasApi *api);

/// The libraries to try, the newest first, and a null behind them: those that start with a driver of this version, as
/// it tells it. Older ones do with newer drivers, newer ones open, and do not start, with older drivers.
const char *const *blasLibraries(int driverVersion);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_BLASAPI_H
