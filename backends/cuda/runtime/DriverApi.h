//===- DriverApi.h - The CUDA driver, as far as it is used -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Declarations of our own, after NVIDIA's documentation of the driver API: no toolkit is needed to build this, and no
// driver to start what uses it. The functions come from the driver's library, opened when a device is asked for, or
// from the emulator.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_DRIVERAPI_H
#define LATHE_BACKENDS_CUDA_RUNTIME_DRIVERAPI_H

#include "runtime/Status.h"

#include <cstddef>
#include <cstdint>

namespace lathe::cuda {

/// CUresult: those that are told apart.
enum DriverResult : int {
  kDriverSuccess = 0,
  kDriverInvalidValue = 1,
  kDriverOutOfMemory = 2,
  kDriverNotInitialized = 3,
  kDriverNoDevice = 100,
  kDriverInvalidDevice = 101,
  kDriverInvalidImage = 200,
  kDriverInvalidContext = 201,
  kDriverNoBinaryForGpu = 209,
  kDriverEccUncorrectable = 214,
  kDriverInvalidPtx = 218,
  kDriverLinkUncorrectable = 220,
  kDriverJitCompilerNotFound = 221,
  kDriverUnsupportedPtxVersion = 222,
  kDriverJitCompilationDisabled = 223,
  kDriverContained = 226,
  kDriverInvalidHandle = 400,
  kDriverIllegalState = 401,
  kDriverNotFound = 500,
  kDriverNotReady = 600,
  kDriverIllegalAddress = 700,
  kDriverLaunchOutOfResources = 701,
  kDriverLaunchTimeout = 702,
  kDriverContextIsDestroyed = 709,
  kDriverAssert = 710,
  kDriverHardwareStackError = 714,
  kDriverIllegalInstruction = 715,
  kDriverMisalignedAddress = 716,
  kDriverInvalidAddressSpace = 717,
  kDriverInvalidPc = 718,
  kDriverLaunchFailed = 719,
  kDriverTensorMemoryLeak = 721,
  kDriverMpsClientTerminated = 810,
  kDriverStreamCaptureUnsupported = 900,
  kDriverStreamCaptureInvalidated = 901,
  kDriverStreamCaptureWrongThread = 908,
  kDriverUnknown = 999,
};

/// CUdevice_attribute.
enum DriverAttribute : int {
  kAttributeMultiprocessors = 16,
  kAttributeComputeCapabilityMajor = 75,
  kAttributeComputeCapabilityMinor = 76,
  kAttributeMaxSharedBytesOptin = 97,
  kAttributeMemoryPoolsSupported = 115,
};

inline constexpr unsigned kStreamNonBlocking = 1;        ///< CU_STREAM_NON_BLOCKING
inline constexpr unsigned kEventDisableTiming = 2;       ///< CU_EVENT_DISABLE_TIMING
inline constexpr int kCaptureThreadLocal = 1;            ///< CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
inline constexpr int kFunctionMaxDynamicSharedBytes = 8; ///< CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
inline constexpr int kPoolReleaseThreshold = 4;          ///< CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
inline constexpr int kJitErrorLogBuffer = 5, kJitErrorLogBufferBytes = 6; ///< CU_JIT_ERROR_LOG_BUFFER...
inline constexpr unsigned kMemoryTypeDevice = 2;                          ///< CU_MEMORYTYPE_DEVICE

using DevicePointer = unsigned long long; ///< CUdeviceptr
using DeviceOrdinal = int;                ///< CUdevice
using Context = struct ContextHandle *;
using ModuleHandle = struct ModuleTag *;
using FunctionHandle = struct FunctionTag *;
using Stream = struct StreamTag *;
using Event = struct EventTag *;
using Pool = struct PoolTag *;
using Graph = struct GraphTag *;
using GraphExec = struct GraphExecTag *;

/// CUDA_MEMCPY2D.
struct Copy2D {
  size_t srcX = 0, srcY = 0;
  unsigned srcType = kMemoryTypeDevice;
  const void *srcHost = nullptr;
  DevicePointer src = 0;
  void *srcArray = nullptr;
  size_t srcPitch = 0;
  size_t dstX = 0, dstY = 0;
  unsigned dstType = kMemoryTypeDevice;
  void *dstHost = nullptr;
  DevicePointer dst = 0;
  void *dstArray = nullptr;
  size_t dstPitch = 0;
  size_t widthBytes = 0, height = 0;
};
static_assert(sizeof(Copy2D) == 128, "as the driver lays it out");

/// FUNCTION(member, symbol of the library, parameters), and those that old drivers do not have.
#define LATHE_CUDA_DRIVER(FUNCTION, OPTIONAL)                                                                          \
  FUNCTION(init, "cuInit", (unsigned flags))                                                                           \
  FUNCTION(driverGetVersion, "cuDriverGetVersion", (int *version))                                                     \
  FUNCTION(getErrorName, "cuGetErrorName", (int result, const char **text))                                            \
  FUNCTION(getErrorString, "cuGetErrorString", (int result, const char **text))                                        \
  FUNCTION(deviceGetCount, "cuDeviceGetCount", (int *count))                                                           \
  FUNCTION(deviceGet, "cuDeviceGet", (DeviceOrdinal * device, int index))                                              \
  FUNCTION(deviceGetName, "cuDeviceGetName", (char *name, int bytes, DeviceOrdinal device))                            \
  FUNCTION(deviceGetAttribute, "cuDeviceGetAttribute", (int *value, int attribute, DeviceOrdinal device))              \
  FUNCTION(primaryContextRetain, "cuDevicePrimaryCtxRetain", (Context * context, DeviceOrdinal device))                \
  FUNCTION(primaryContextRelease, "cuDevicePrimaryCtxRelease_v2", (DeviceOrdinal device))                              \
  FUNCTION(contextPush, "cuCtxPushCurrent_v2", (Context context))                                                      \
  FUNCTION(contextPop, "cuCtxPopCurrent_v2", (Context * context))                                                      \
  FUNCTION(memGetInfo, "cuMemGetInfo_v2", (size_t *free, size_t *total))                                               \
  FUNCTION(memAlloc, "cuMemAlloc_v2", (DevicePointer * address, size_t bytes))                                         \
  FUNCTION(memFree, "cuMemFree_v2", (DevicePointer address))                                                           \
  FUNCTION(memHostAlloc, "cuMemHostAlloc", (void **address, size_t bytes, unsigned flags))                             \
  FUNCTION(memFreeHost, "cuMemFreeHost", (void *address))                                                              \
  FUNCTION(memcpyHtoDAsync, "cuMemcpyHtoDAsync_v2", (DevicePointer to, const void *from, size_t bytes, Stream stream)) \
  FUNCTION(memcpyDtoHAsync, "cuMemcpyDtoHAsync_v2", (void *to, DevicePointer from, size_t bytes, Stream stream))       \
  FUNCTION(memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2",                                                                    \
           (DevicePointer to, DevicePointer from, size_t bytes, Stream stream))                                        \
  FUNCTION(memcpy2DAsync, "cuMemcpy2DAsync_v2", (const Copy2D *copy, Stream stream))                                   \
  FUNCTION(memsetD8Async, "cuMemsetD8Async", (DevicePointer to, unsigned char value, size_t bytes, Stream stream))     \
  FUNCTION(streamCreate, "cuStreamCreate", (Stream * stream, unsigned flags))                                          \
  FUNCTION(streamDestroy, "cuStreamDestroy_v2", (Stream stream))                                                       \
  FUNCTION(streamSynchronize, "cuStreamSynchronize", (Stream stream))                                                  \
  FUNCTION(eventCreate, "cuEventCreate", (Event * event, unsigned flags))                                              \
  FUNCTION(eventDestroy, "cuEventDestroy_v2", (Event event))                                                           \
  FUNCTION(eventRecord, "cuEventRecord", (Event event, Stream stream))                                                 \
  FUNCTION(eventSynchronize, "cuEventSynchronize", (Event event))                                                      \
  FUNCTION(eventElapsedTime, "cuEventElapsedTime", (float *milliseconds, Event from, Event to))                        \
  FUNCTION(moduleLoadDataEx, "cuModuleLoadDataEx",                                                                     \
           (ModuleHandle * module, const void *image, unsigned count, int *options, void **values))                    \
  FUNCTION(moduleUnload, "cuModuleUnload", (ModuleHandle module))                                                      \
  FUNCTION(moduleGetFunction, "cuModuleGetFunction",                                                                   \
           (FunctionHandle * function, ModuleHandle module, const char *name))                                         \
  FUNCTION(functionSetAttribute, "cuFuncSetAttribute", (FunctionHandle function, int attribute, int value))            \
  FUNCTION(launchKernel, "cuLaunchKernel",                                                                             \
           (FunctionHandle function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY, \
            unsigned blockZ, unsigned sharedBytes, Stream stream, void **parameters, void **extra))                    \
  OPTIONAL(memAllocAsync, "cuMemAllocAsync", (DevicePointer * address, size_t bytes, Stream stream))                   \
  OPTIONAL(memFreeAsync, "cuMemFreeAsync", (DevicePointer address, Stream stream))                                     \
  OPTIONAL(streamBeginCapture, "cuStreamBeginCapture_v2", (Stream stream, int mode))                                   \
  OPTIONAL(streamEndCapture, "cuStreamEndCapture", (Stream stream, Graph * graph))                                     \
  OPTIONAL(graphInstantiate, "cuGraphInstantiateWithFlags", (GraphExec * exec, Graph graph, unsigned long long flags)) \
  OPTIONAL(graphLaunch, "cuGraphLaunch", (GraphExec exec, Stream stream))                                              \
  OPTIONAL(graphDestroy, "cuGraphDestroy", (Graph graph))                                                              \
  OPTIONAL(graphExecDestroy, "cuGraphExecDestroy", (GraphExec exec))                                                   \
  OPTIONAL(deviceGetDefaultPool, "cuDeviceGetDefaultMemPool", (Pool * pool, DeviceOrdinal device))                     \
  OPTIONAL(poolSetAttribute, "cuMemPoolSetAttribute", (Pool pool, int attribute, void *value))

/// The functions; each returns a CUresult.
struct DriverApi {
#define LATHE_CUDA_MEMBER(member, symbol, parameters) int(*member) parameters = nullptr;
  LATHE_CUDA_DRIVER(LATHE_CUDA_MEMBER, LATHE_CUDA_MEMBER)
#undef LATHE_CUDA_MEMBER
};

/// Fills a table from a library, `libcuda.so.1` for the driver, which stays open. UNSUPPORTED_DEVICE with the reason in
/// one line where it is not there or too old.
runtime::Status openDriver(const char *library, DriverApi *api);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_DRIVERAPI_H
