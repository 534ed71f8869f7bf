//===- SparseLtApi.h - cuSPARSELt, as far as it is used ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Declarations of our own, after NVIDIA's documentation of cuSPARSELt and the headers of its versions 0.6 to 0.10,
// whose functions and numbers are the same as far as they are used. The functions come from the library, opened when
// the first weight that it may multiply is met, or from the emulator's reference implementation.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_SPARSELTAPI_H
#define LATHE_BACKENDS_CUDA_RUNTIME_SPARSELTAPI_H

#include "backends/cuda/runtime/DriverApi.h"

namespace lathe::cuda {

/// cusparseStatus_t.
enum SparseLtStatus : int {
  kSparseLtSuccess = 0,
  kSparseLtNotInitialized = 1,
  kSparseLtAllocFailed = 2,
  kSparseLtInvalidValue = 3,
  kSparseLtArchMismatch = 4,
  kSparseLtExecutionFailed = 6,
  kSparseLtInternalError = 7,
  kSparseLtNotSupported = 10,
};

/// cusparseOperation_t, cusparseOrder_t, cusparseComputeType, cusparseLtSparsity_t, cusparseLtMatmulAlg_t. Types are
/// those of BlasType.
enum SparseLtOperation : int { kSparseLtPlain = 0, kSparseLtTransposed = 1 };
enum SparseLtOrder : int { kSparseLtByColumns = 1, kSparseLtByRows = 2 };
enum SparseLtCompute : int { kSparseLtComputeF32 = 2 };
inline constexpr int kSparseLtHalfZeros = 0;    ///< CUSPARSELT_SPARSITY_50_PERCENT
inline constexpr int kSparseLtAnyAlgorithm = 0; ///< CUSPARSELT_MATMUL_ALG_DEFAULT
/// cusparseLtMatmulAlgAttribute_t, both of an int.
enum SparseLtAlgorithmAttribute : int { kSparseLtConfig = 0, kSparseLtConfigs = 1 };

/// What the library keeps its objects in: 512 bytes since 0.8, 13072 before. Objects refer to each other by their
/// addresses, and so are never copied.
struct SparseLtObject {
  SparseLtObject() = default;
  SparseLtObject(const SparseLtObject &) = delete;
  alignas(64) unsigned char data[13312] = {};
};
/// For what is meant, not for the compiler.
using SparseLtHandle = SparseLtObject;
using SparseLtMatrix = SparseLtObject;
using SparseLtProduct = SparseLtObject;
using SparseLtSelection = SparseLtObject;
using SparseLtPlan = SparseLtObject;

/// FUNCTION(member, symbol of the library, parameters), and those that versions before 0.8 do not have.
#define LATHE_CUDA_SPARSELT(FUNCTION, OPTIONAL)                                                                        \
  FUNCTION(init, "cusparseLtInit", (SparseLtHandle * handle))                                                          \
  FUNCTION(destroy, "cusparseLtDestroy", (const SparseLtHandle *handle))                                               \
  FUNCTION(getVersion, "cusparseLtGetVersion", (const SparseLtHandle *handle, int *version))                           \
  FUNCTION(denseInit, "cusparseLtDenseDescriptorInit",                                                                 \
           (const SparseLtHandle *handle, SparseLtMatrix *matrix, int64_t rows, int64_t cols, int64_t ld,              \
            uint32_t alignment, int type, int order))                                                                  \
  FUNCTION(structuredInit, "cusparseLtStructuredDescriptorInit",                                                       \
           (const SparseLtHandle *handle, SparseLtMatrix *matrix, int64_t rows, int64_t cols, int64_t ld,              \
            uint32_t alignment, int type, int order, int sparsity))                                                    \
  FUNCTION(matrixDestroy, "cusparseLtMatDescriptorDestroy", (const SparseLtMatrix *matrix))                            \
  FUNCTION(productInit, "cusparseLtMatmulDescriptorInit",                                                              \
           (const SparseLtHandle *handle, SparseLtProduct *product, int operationA, int operationB,                    \
            const SparseLtMatrix *a, const SparseLtMatrix *b, const SparseLtMatrix *c, const SparseLtMatrix *d,        \
            int compute))                                                                                              \
  FUNCTION(                                                                                                            \
      selectionInit, "cusparseLtMatmulAlgSelectionInit",                                                               \
      (const SparseLtHandle *handle, SparseLtSelection *selection, const SparseLtProduct *product, int algorithm))     \
  FUNCTION(                                                                                                            \
      selectionSet, "cusparseLtMatmulAlgSetAttribute",                                                                 \
      (const SparseLtHandle *handle, SparseLtSelection *selection, int attribute, const void *value, size_t bytes))    \
  FUNCTION(                                                                                                            \
      selectionGet, "cusparseLtMatmulAlgGetAttribute",                                                                 \
      (const SparseLtHandle *handle, const SparseLtSelection *selection, int attribute, void *value, size_t bytes))    \
  FUNCTION(planInit, "cusparseLtMatmulPlanInit",                                                                       \
           (const SparseLtHandle *handle, SparseLtPlan *plan, const SparseLtProduct *product,                          \
            const SparseLtSelection *selection))                                                                       \
  FUNCTION(planDestroy, "cusparseLtMatmulPlanDestroy", (const SparseLtPlan *plan))                                     \
  FUNCTION(workspace, "cusparseLtMatmulGetWorkspace",                                                                  \
           (const SparseLtHandle *handle, const SparseLtPlan *plan, size_t *bytes))                                    \
  FUNCTION(pruneCheck, "cusparseLtSpMMAPruneCheck2",                                                                   \
           (const SparseLtHandle *handle, const SparseLtMatrix *matrix, int isA, int operation, const void *dense,     \
            int *isWrong, Stream stream))                                                                              \
  FUNCTION(compressedSize, "cusparseLtSpMMACompressedSize2",                                                           \
           (const SparseLtHandle *handle, const SparseLtMatrix *matrix, size_t *bytes, size_t *bufferBytes))           \
  FUNCTION(compress, "cusparseLtSpMMACompress2",                                                                       \
           (const SparseLtHandle *handle, const SparseLtMatrix *matrix, int isA, int operation, const void *dense,     \
            void *compressed, void *buffer, Stream stream))                                                            \
  FUNCTION(matmul, "cusparseLtMatmul",                                                                                 \
           (const SparseLtHandle *handle, const SparseLtPlan *plan, const void *alpha, const void *a, const void *b,   \
            const void *beta, const void *c, void *d, void *workspace, Stream *streams, int32_t count))                \
  OPTIONAL(selectionDestroy, "cusparseLtMatmulAlgSelectionDestroy", (const SparseLtSelection *selection))

/// The functions; each returns a SparseLtStatus.
struct SparseLtApi {
#define LATHE_CUDA_MEMBER(member, symbol, parameters) int(*member) parameters = nullptr;
  LATHE_CUDA_SPARSELT(LATHE_CUDA_MEMBER, LATHE_CUDA_MEMBER)
#undef LATHE_CUDA_MEMBER
  /// The library's words for a status, where there are any.
  const char *(*statusText)(int status) = nullptr;
};

/// Fills a table from a library that stays open. UNSUPPORTED_DEVICE with the reason in one line where it can't be
/// opened, or is another version.
runtime::Status openSparseLt(const char *library, SparseLtApi *api);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_SPARSELTAPI_H
