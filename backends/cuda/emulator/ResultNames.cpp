//===- ResultNames.cpp - What the driver calls its results ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"

using namespace lathe::cuda;

const emulator::ResultName *emulator::resultName(int result) {
  static const ResultName names[] = {
      {kDriverSuccess, "CUDA_SUCCESS", "no error"},
      {kDriverInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
      {kDriverOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
      {kDriverNoDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
      {kDriverInvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
      {kDriverInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
      {kDriverNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU",
       "no kernel image is available for execution on the device"},
      {kDriverEccUncorrectable, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
      {kDriverInvalidPtx, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
      {kDriverUnsupportedPtxVersion, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
       "the provided PTX was compiled with an unsupported toolchain"},
      {kDriverInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
      {kDriverNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
      {kDriverIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
      {kDriverLaunchOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
      {kDriverIllegalState, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state"},
      {kDriverNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
      {kDriverStreamCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
       "operation not permitted when stream is capturing"},
      {kDriverStreamCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
       "operation failed due to a previous error during capture"},
      {kDriverStreamCaptureWrongThread, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
       "attempt to terminate a thread-local capture sequence from another thread"},
      {kDriverMisalignedAddress, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
      {kDriverLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
  };
  for (const ResultName &name : names)
    if (name.result == result)
      return &name;
  return nullptr;
}
