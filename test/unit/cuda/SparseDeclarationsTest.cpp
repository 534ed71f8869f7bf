//===- SparseDeclarationsTest.cpp - Our declarations beside NVIDIA's -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// As DeclarationsTest.cpp, of SparseLtApi.h, where there is a header of cuSPARSELt.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/BlasApi.h"
#include "backends/cuda/runtime/SparseLtApi.h"

#include <cusparseLt.h>
#include <gtest/gtest.h>
#include <type_traits>

using namespace lathe::cuda;

namespace {

/// Whether a caller of one type passes what a function of the other reads: pointers, or numbers of one size and kind.
template <typename Own, typename Theirs> constexpr bool isPassedAs() {
  if constexpr (std::is_pointer_v<Own> || std::is_pointer_v<Theirs>)
    return std::is_pointer_v<Own> && std::is_pointer_v<Theirs>;
  else
    return sizeof(Own) == sizeof(Theirs) && std::is_floating_point_v<Own> == std::is_floating_point_v<Theirs>;
}

template <typename R, typename... P, typename OtherR, typename... OtherP>
constexpr bool isCalledAs(R (*)(P...), OtherR (*)(OtherP...)) {
  if constexpr (sizeof...(P) != sizeof...(OtherP))
    return false;
  else
    return (isPassedAs<P, OtherP>() && ... && isPassedAs<R, OtherR>());
}

#define CALLED(member, symbol)                                                                                         \
  EXPECT_TRUE(isCalledAs(decltype(SparseLtApi::member)(nullptr), decltype (&symbol)(nullptr))) << #symbol;             \
  compared += " " #member

TEST(Declarations, OfProductsWithZeros) {
  std::string compared, own;
  CALLED(init, cusparseLtInit);
  CALLED(destroy, cusparseLtDestroy);
  CALLED(getVersion, cusparseLtGetVersion);
  CALLED(denseInit, cusparseLtDenseDescriptorInit);
  CALLED(structuredInit, cusparseLtStructuredDescriptorInit);
  CALLED(matrixDestroy, cusparseLtMatDescriptorDestroy);
  CALLED(productInit, cusparseLtMatmulDescriptorInit);
  CALLED(selectionInit, cusparseLtMatmulAlgSelectionInit);
  CALLED(selectionSet, cusparseLtMatmulAlgSetAttribute);
  CALLED(selectionGet, cusparseLtMatmulAlgGetAttribute);
  CALLED(planInit, cusparseLtMatmulPlanInit);
  CALLED(planDestroy, cusparseLtMatmulPlanDestroy);
  CALLED(workspace, cusparseLtMatmulGetWorkspace);
  CALLED(pruneCheck, cusparseLtSpMMAPruneCheck2);
  CALLED(compressedSize, cusparseLtSpMMACompressedSize2);
  CALLED(compress, cusparseLtSpMMACompress2);
  CALLED(matmul, cusparseLtMatmul);
#if CUSPARSELT_VERSION >= 800
  CALLED(selectionDestroy, cusparseLtMatmulAlgSelectionDestroy);
#else
  compared += " selectionDestroy";
#endif
#define LATHE_NAME(member, symbol, parameters) own += " " #member;
  LATHE_CUDA_SPARSELT(LATHE_NAME, LATHE_NAME)
#undef LATHE_NAME
  EXPECT_EQ(compared, own) << "all that is opened is compared";
}

#define SAME(own, theirs) static_assert(static_cast<long long>(own) == static_cast<long long>(theirs), #theirs)
#define HOLDS(theirs)                                                                                                  \
  static_assert(sizeof(theirs) <= sizeof(SparseLtObject) && alignof(theirs) <= alignof(SparseLtObject), #theirs)

HOLDS(cusparseLtHandle_t);
HOLDS(cusparseLtMatDescriptor_t);
HOLDS(cusparseLtMatmulDescriptor_t);
HOLDS(cusparseLtMatmulAlgSelection_t);
HOLDS(cusparseLtMatmulPlan_t);

SAME(kSparseLtSuccess, CUSPARSE_STATUS_SUCCESS);
SAME(kSparseLtNotInitialized, CUSPARSE_STATUS_NOT_INITIALIZED);
SAME(kSparseLtAllocFailed, CUSPARSE_STATUS_ALLOC_FAILED);
SAME(kSparseLtInvalidValue, CUSPARSE_STATUS_INVALID_VALUE);
SAME(kSparseLtArchMismatch, CUSPARSE_STATUS_ARCH_MISMATCH);
SAME(kSparseLtExecutionFailed, CUSPARSE_STATUS_EXECUTION_FAILED);
SAME(kSparseLtInternalError, CUSPARSE_STATUS_INTERNAL_ERROR);
SAME(kSparseLtNotSupported, CUSPARSE_STATUS_NOT_SUPPORTED);
SAME(kSparseLtPlain, CUSPARSE_OPERATION_NON_TRANSPOSE);
SAME(kSparseLtTransposed, CUSPARSE_OPERATION_TRANSPOSE);
SAME(kSparseLtByColumns, CUSPARSE_ORDER_COL);
SAME(kSparseLtByRows, CUSPARSE_ORDER_ROW);
SAME(kSparseLtComputeF32, CUSPARSE_COMPUTE_32F);
SAME(kSparseLtHalfZeros, CUSPARSELT_SPARSITY_50_PERCENT);
SAME(kSparseLtAnyAlgorithm, CUSPARSELT_MATMUL_ALG_DEFAULT);
SAME(kSparseLtConfig, CUSPARSELT_MATMUL_ALG_CONFIG_ID);
SAME(kSparseLtConfigs, CUSPARSELT_MATMUL_ALG_CONFIG_MAX_ID);
SAME(kBlasF16, CUDA_R_16F);
SAME(kBlasBf16, CUDA_R_16BF);

} // namespace
