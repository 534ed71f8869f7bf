//===- DeclarationsTest.cpp - Our declarations beside NVIDIA's ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// DriverApi.h and BlasApi.h declare what is used of the driver and of cuBLASLt, so that building needs no toolkit.
// Where there is one, its headers say here whether numbers, layouts and parameters are theirs; no GPU could show that
// sooner.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/BlasApi.h"

#include <cublasLt.h>
#include <cuda.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

using namespace lathe::cuda;

namespace {

/// Whether a caller of one type passes what a function of the other reads: pointers, or numbers of one size and kind.
template <typename Own, typename Theirs> constexpr bool isPassedAs() {
  if constexpr (std::is_pointer_v<Own> || std::is_pointer_v<Theirs>)
    return std::is_pointer_v<Own> && std::is_pointer_v<Theirs>;
  else
    return sizeof(Own) == sizeof(Theirs) && std::is_floating_point_v<Own> == std::is_floating_point_v<Theirs>;
}

template <typename Own, typename Theirs> struct IsCalledAs : std::false_type {};
template <typename R, typename... P, typename OtherR, typename... OtherP>
struct IsCalledAs<R (*)(P...), OtherR (*)(OtherP...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(P) != sizeof...(OtherP))
      return false;
    else
      return (isPassedAs<P, OtherP>() && ... && isPassedAs<R, OtherR>());
  }
  static constexpr bool value = compare();
};

struct Symbol {
  const char *member, *name;
  bool fits;
};

std::set<std::string> names(const std::vector<Symbol> &symbols) {
  std::set<std::string> result;
  for (const Symbol &symbol : symbols)
    result.insert(std::string(symbol.member) + " is " + symbol.name);
  return result;
}

void check(const std::vector<Symbol> &theirs, const std::vector<Symbol> &own) {
  EXPECT_EQ(names(theirs), names(own)) << "all that is opened is compared";
  for (const Symbol &symbol : theirs)
    EXPECT_TRUE(symbol.fits) << symbol.name << " has other parameters in NVIDIA's header";
}

// Headers rename functions that have newer forms by macros, so names are put into quotes before that.
#define DRIVER(member, symbol) {#member, #symbol, IsCalledAs<decltype(DriverApi::member), decltype(&symbol)>::value}
#define BLAS(member, symbol) {#member, #symbol, IsCalledAs<decltype(BlasApi::member), decltype(&symbol)>::value}
#define OWN_DRIVER(member, symbol, parameters) {#member, symbol, true},
#define OWN_BLAS(result, member, symbol, parameters) {#member, symbol, true},

TEST(Declarations, OfDriverFunctions) {
  check({DRIVER(init, cuInit),
         DRIVER(driverGetVersion, cuDriverGetVersion),
         DRIVER(getErrorName, cuGetErrorName),
         DRIVER(getErrorString, cuGetErrorString),
         DRIVER(deviceGetCount, cuDeviceGetCount),
         DRIVER(deviceGet, cuDeviceGet),
         DRIVER(deviceGetName, cuDeviceGetName),
         DRIVER(deviceGetAttribute, cuDeviceGetAttribute),
         DRIVER(primaryContextRetain, cuDevicePrimaryCtxRetain),
         DRIVER(primaryContextRelease, cuDevicePrimaryCtxRelease_v2),
         DRIVER(contextPush, cuCtxPushCurrent_v2),
         DRIVER(contextPop, cuCtxPopCurrent_v2),
         DRIVER(memGetInfo, cuMemGetInfo_v2),
         DRIVER(memAlloc, cuMemAlloc_v2),
         DRIVER(memFree, cuMemFree_v2),
         DRIVER(memHostAlloc, cuMemHostAlloc),
         DRIVER(memFreeHost, cuMemFreeHost),
         DRIVER(memcpyHtoDAsync, cuMemcpyHtoDAsync_v2),
         DRIVER(memcpyDtoHAsync, cuMemcpyDtoHAsync_v2),
         DRIVER(memcpyDtoDAsync, cuMemcpyDtoDAsync_v2),
         DRIVER(memcpy2DAsync, cuMemcpy2DAsync_v2),
         DRIVER(memsetD8Async, cuMemsetD8Async),
         DRIVER(streamCreate, cuStreamCreate),
         DRIVER(streamDestroy, cuStreamDestroy_v2),
         DRIVER(streamSynchronize, cuStreamSynchronize),
         DRIVER(eventCreate, cuEventCreate),
         DRIVER(eventDestroy, cuEventDestroy_v2),
         DRIVER(eventRecord, cuEventRecord),
         DRIVER(eventSynchronize, cuEventSynchronize),
         DRIVER(eventElapsedTime, cuEventElapsedTime),
         DRIVER(moduleLoadDataEx, cuModuleLoadDataEx),
         DRIVER(moduleUnload, cuModuleUnload),
         DRIVER(moduleGetFunction, cuModuleGetFunction),
         DRIVER(functionSetAttribute, cuFuncSetAttribute),
         DRIVER(launchKernel, cuLaunchKernel),
         DRIVER(memAllocAsync, cuMemAllocAsync),
         DRIVER(memFreeAsync, cuMemFreeAsync),
         DRIVER(streamBeginCapture, cuStreamBeginCapture_v2),
         DRIVER(streamEndCapture, cuStreamEndCapture),
         DRIVER(graphInstantiate, cuGraphInstantiateWithFlags),
         DRIVER(graphLaunch, cuGraphLaunch),
         DRIVER(graphDestroy, cuGraphDestroy),
         DRIVER(graphExecDestroy, cuGraphExecDestroy),
         DRIVER(deviceGetDefaultPool, cuDeviceGetDefaultMemPool),
         DRIVER(poolSetAttribute, cuMemPoolSetAttribute)},
        {LATHE_CUDA_DRIVER(OWN_DRIVER, OWN_DRIVER)});
}

TEST(Declarations, OfProducts) {
  check({BLAS(create, cublasLtCreate), BLAS(destroy, cublasLtDestroy), BLAS(version, cublasLtGetVersion),
         BLAS(statusName, cublasLtGetStatusName), BLAS(descCreate, cublasLtMatmulDescCreate),
         BLAS(descDestroy, cublasLtMatmulDescDestroy), BLAS(descSet, cublasLtMatmulDescSetAttribute),
         BLAS(layoutCreate, cublasLtMatrixLayoutCreate), BLAS(layoutDestroy, cublasLtMatrixLayoutDestroy),
         BLAS(layoutSet, cublasLtMatrixLayoutSetAttribute), BLAS(preferenceCreate, cublasLtMatmulPreferenceCreate),
         BLAS(preferenceDestroy, cublasLtMatmulPreferenceDestroy),
         BLAS(preferenceSet, cublasLtMatmulPreferenceSetAttribute), BLAS(heuristic, cublasLtMatmulAlgoGetHeuristic),
         BLAS(matmul, cublasLtMatmul)},
        {LATHE_CUDA_BLAS(OWN_BLAS)});
}

#define SAME(own, theirs) static_assert(static_cast<long long>(own) == static_cast<long long>(theirs), #theirs)
#define SAME_MEMBER(own, theirs)                                                                                       \
  static_assert(offsetof(Copy2D, own) == offsetof(CUDA_MEMCPY2D, theirs) &&                                            \
                    sizeof(Copy2D::own) == sizeof(CUDA_MEMCPY2D::theirs),                                              \
                #theirs)

SAME(kDriverSuccess, CUDA_SUCCESS);
SAME(kDriverInvalidValue, CUDA_ERROR_INVALID_VALUE);
SAME(kDriverOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
SAME(kDriverNotInitialized, CUDA_ERROR_NOT_INITIALIZED);
SAME(kDriverNoDevice, CUDA_ERROR_NO_DEVICE);
SAME(kDriverInvalidDevice, CUDA_ERROR_INVALID_DEVICE);
SAME(kDriverInvalidImage, CUDA_ERROR_INVALID_IMAGE);
SAME(kDriverInvalidContext, CUDA_ERROR_INVALID_CONTEXT);
SAME(kDriverNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU);
SAME(kDriverEccUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE);
SAME(kDriverInvalidPtx, CUDA_ERROR_INVALID_PTX);
SAME(kDriverLinkUncorrectable, CUDA_ERROR_NVLINK_UNCORRECTABLE);
SAME(kDriverJitCompilerNotFound, CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
SAME(kDriverUnsupportedPtxVersion, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
SAME(kDriverJitCompilationDisabled, CUDA_ERROR_JIT_COMPILATION_DISABLED);
#if CUDA_VERSION >= 13000 // older ones have fewer
SAME(kDriverContained, CUDA_ERROR_CONTAINED);
SAME(kDriverTensorMemoryLeak, CUDA_ERROR_TENSOR_MEMORY_LEAK);
#endif
SAME(kDriverInvalidHandle, CUDA_ERROR_INVALID_HANDLE);
SAME(kDriverIllegalState, CUDA_ERROR_ILLEGAL_STATE);
SAME(kDriverNotFound, CUDA_ERROR_NOT_FOUND);
SAME(kDriverNotReady, CUDA_ERROR_NOT_READY);
SAME(kDriverIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS);
SAME(kDriverLaunchOutOfResources, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
SAME(kDriverLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT);
SAME(kDriverContextIsDestroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED);
SAME(kDriverAssert, CUDA_ERROR_ASSERT);
SAME(kDriverHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR);
SAME(kDriverIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION);
SAME(kDriverMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS);
SAME(kDriverInvalidAddressSpace, CUDA_ERROR_INVALID_ADDRESS_SPACE);
SAME(kDriverInvalidPc, CUDA_ERROR_INVALID_PC);
SAME(kDriverLaunchFailed, CUDA_ERROR_LAUNCH_FAILED);
SAME(kDriverMpsClientTerminated, CUDA_ERROR_MPS_CLIENT_TERMINATED);
SAME(kDriverStreamCaptureUnsupported, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
SAME(kDriverStreamCaptureInvalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
SAME(kDriverStreamCaptureWrongThread, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
SAME(kDriverUnknown, CUDA_ERROR_UNKNOWN);

SAME(kAttributeMultiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME(kAttributeComputeCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(kAttributeComputeCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME(kAttributeMaxSharedBytesOptin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
SAME(kAttributeMemoryPoolsSupported, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
SAME(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
SAME(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
SAME(kCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
SAME(kFunctionMaxDynamicSharedBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
SAME(kPoolReleaseThreshold, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD);
SAME(kJitErrorLogBuffer, CU_JIT_ERROR_LOG_BUFFER);
SAME(kJitErrorLogBufferBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
SAME(kMemoryTypeDevice, CU_MEMORYTYPE_DEVICE);

SAME(sizeof(Copy2D), sizeof(CUDA_MEMCPY2D));
SAME_MEMBER(srcX, srcXInBytes);
SAME_MEMBER(srcY, srcY);
SAME_MEMBER(srcType, srcMemoryType);
SAME_MEMBER(srcHost, srcHost);
SAME_MEMBER(src, srcDevice);
SAME_MEMBER(srcArray, srcArray);
SAME_MEMBER(srcPitch, srcPitch);
SAME_MEMBER(dstX, dstXInBytes);
SAME_MEMBER(dstY, dstY);
SAME_MEMBER(dstType, dstMemoryType);
SAME_MEMBER(dstHost, dstHost);
SAME_MEMBER(dst, dstDevice);
SAME_MEMBER(dstArray, dstArray);
SAME_MEMBER(dstPitch, dstPitch);
SAME_MEMBER(widthBytes, WidthInBytes);
SAME_MEMBER(height, Height);

SAME(kBlasSuccess, CUBLAS_STATUS_SUCCESS);
SAME(kBlasNotInitialized, CUBLAS_STATUS_NOT_INITIALIZED);
SAME(kBlasAllocFailed, CUBLAS_STATUS_ALLOC_FAILED);
SAME(kBlasInvalidValue, CUBLAS_STATUS_INVALID_VALUE);
SAME(kBlasArchMismatch, CUBLAS_STATUS_ARCH_MISMATCH);
SAME(kBlasExecutionFailed, CUBLAS_STATUS_EXECUTION_FAILED);
SAME(kBlasInternalError, CUBLAS_STATUS_INTERNAL_ERROR);
SAME(kBlasNotSupported, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(kBlasF32, CUDA_R_32F);
SAME(kBlasF16, CUDA_R_16F);
SAME(kBlasBf16, CUDA_R_16BF);
SAME(kBlasS8, CUDA_R_8I);
SAME(kBlasS32, CUDA_R_32I);
SAME(kBlasE4m3, CUDA_R_8F_E4M3);
SAME(kBlasComputeF32, CUBLAS_COMPUTE_32F);
SAME(kBlasComputeS32, CUBLAS_COMPUTE_32I);
SAME(kBlasComputeTf32, CUBLAS_COMPUTE_32F_FAST_TF32);
SAME(kEpilogueDefault, CUBLASLT_EPILOGUE_DEFAULT);
SAME(kEpilogueRelu, CUBLASLT_EPILOGUE_RELU);
SAME(kEpilogueBias, CUBLASLT_EPILOGUE_BIAS);
SAME(kEpilogueReluBias, CUBLASLT_EPILOGUE_RELU_BIAS);
SAME(kEpilogueGelu, CUBLASLT_EPILOGUE_GELU);
SAME(kEpilogueGeluBias, CUBLASLT_EPILOGUE_GELU_BIAS);
SAME(kDescTransA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(kDescTransB, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(kDescEpilogue, CUBLASLT_MATMUL_DESC_EPILOGUE);
SAME(kDescBiasPointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
SAME(kDescScalePointerA, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
SAME(kDescScalePointerB, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
#if CUBLAS_VERSION >= 120900 // older ones have no modes
SAME(kDescScaleModeA, CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
SAME(kDescScaleModeB, CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
SAME(kScaleScalar, CUBLASLT_MATMUL_MATRIX_SCALE_SCALAR_32F);
SAME(kScaleOuterVector, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
#endif
SAME(kLayoutBatchCount, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
SAME(kLayoutBatchStride, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
SAME(kPreferenceWorkspaceBytes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(kPreferenceReductions, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
SAME(kReductionsInSums, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_NONE);
SAME(kReductionsAll, CUBLASLT_REDUCTION_SCHEME_MASK);
SAME(kPreferenceAlignmentA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(kPreferenceAlignmentB, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
SAME(kPreferenceAlignmentC, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
SAME(kPreferenceAlignmentD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);

SAME(sizeof(BlasAlgo), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(BlasHeuristic), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(BlasHeuristic, workspaceBytes), offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
SAME(offsetof(BlasHeuristic, state), offsetof(cublasLtMatmulHeuristicResult_t, state));
SAME(offsetof(BlasHeuristic, waves), offsetof(cublasLtMatmulHeuristicResult_t, wavesCount));

} // namespace
