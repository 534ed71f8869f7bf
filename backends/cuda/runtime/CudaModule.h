//===- CudaModule.h - What sessions of an artifact share on a GPU -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_CUDAMODULE_H
#define LATHE_BACKENDS_CUDA_RUNTIME_CUDAMODULE_H

#include "backends/cuda/kernels/Kernels.h"
#include "backends/cuda/runtime/Choices.h"
#include "backends/cuda/runtime/Device.h"
#include "backends/cuda/runtime/Dnn.h"
#include "backends/cuda/runtime/SparseProducts.h"
#include "runtime/Backend.h"

#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace lathe::cuda {

class Staging;

/// Whether an environment variable is set, to something else than 0.
bool isSet(const char *variable);

/// Opens cuBLASLt, or what plays it.
using OpenBlas = runtime::Status (*)(int driverVersion, BlasApi *api);

/// A weight of 8 bits as the library multiplies integers, or 8-bit floats: ExpandBytesArgs, with rows and columns of
/// multiples of 16.
struct ByteWeight {
  const int8_t *codes = nullptr;
  int64_t codesRow = 0, rows = 0;
  const float *scales = nullptr;
  const int32_t *zeros = nullptr, *sums = nullptr; ///< of integers
  bool hasZeros = false;                           ///< not all zero points are 0
};

/// Whether a product of integers has the sums that the weight stands for, none beyond 32 bits.
bool hasIntegers(const runtime::QuantizedLayout &layout);
/// Whether the weight is numbers of E4M3 times a scale for each column.
bool hasFloats(const runtime::QuantizedLayout &layout);

/// Kernels and weights on the device. Thread-safe.
class CudaModule final : public runtime::BackendModule {
public:
  /// Without `openDnn` attention is not the library's, without `openSparseLt` no product is cuSPARSELt's.
  CudaModule(std::shared_ptr<Device> device, runtime::ModuleServices &services, OpenBlas openBlas,
             OpenDnn openDnn = nullptr, OpenSparseLt openSparseLt = nullptr);
  ~CudaModule() override;

  /// Loads the kernels and copies the constants.
  runtime::Status start();

  runtime::Status createSession(runtime::SessionServices &services,
                                std::unique_ptr<runtime::BackendSession> *session) override;
  const void *const *constants() const override { return addresses_.data(); }

  const Device &device() const { return *device_; }
  runtime::ModuleServices &services() { return services_; }
  /// NOT_FOUND where the artifact's kernels have no such function.
  runtime::Status function(const std::string &name, FunctionHandle *function) const;
  /// Finds a hand-written kernel, and its name as long as the module lives; it is loaded when it is first.
  runtime::Status find(const KernelLaunch &launch, FunctionHandle *function, const char **name);
  /// Puts a hand-written kernel into a stream; it is loaded when it is first. The device's context is current.
  runtime::Status start(const KernelLaunch &launch, Stream stream);
  /// The library for products; opened once.
  runtime::Status blas(const BlasApi **api, BlasHandle *handle);
  /// cuDNN, for one session. UNSUPPORTED_DEVICE with the reason in one line.
  runtime::Status dnn(std::unique_ptr<Dnn> *dnn) const;
  /// Constant `index`, which is quantized, for products of integers or, of E4M3, of 8-bit floats: a copy that is made
  /// once, on `stream`. Null in *weight where it has another form (see hasIntegers, hasFloats), or there is no room for
  /// a copy.
  runtime::Status byteWeight(int64_t index, Stream stream, const ByteWeight **weight);

  /// cuSPARSELt, and what it multiplies by.
  SparseLibrary &sparse() { return sparse_; }
  /// Memory of the device as long as the module lives, which its budget counts.
  runtime::Status allocate(uint64_t bytes, const char *what, DevicePointer *address);

  /// Whether products of f32 may round their operands to 10 bits behind the first: where the user says so.
  bool allowsTf32() const { return allowsTf32_; }
  /// Algorithms that were timed; null where none are to be.
  Choices *choices() { return timesAlgorithms_ ? &choices_ : nullptr; }

private:
  struct WrittenKernel {
    ModuleHandle module = nullptr; ///< of its own
    FunctionHandle function = nullptr;
    int64_t sharedBytes = 48 << 10; ///< that it may ask for
  };

  runtime::Status loadKernels();
  runtime::Status loadWritten(const std::string &function, ModuleHandle *module);
  runtime::Status uploadConstants();
  runtime::Status uploadConstants(Staging &staging, DevicePointer base, const std::vector<uint64_t> &offsets);

  std::shared_ptr<Device> device_;
  runtime::ModuleServices &services_;
  OpenBlas openBlas_;
  OpenDnn openDnn_;
  ModuleHandle module_ = nullptr;
  std::map<std::string, WrittenKernel> writtenKernels_;
  std::vector<DevicePointer> allocations_;
  std::vector<const void *> addresses_; ///< of constants
  std::mutex mutex_;
  std::mutex allocationsMutex_;
  std::mutex bytesMutex_;
  std::map<int64_t, ByteWeight> bytes_; ///< without codes where there can be none
  Choices choices_;
  bool timesAlgorithms_ = false;
  const bool allowsTf32_;
  SparseLibrary sparse_;
  BlasApi blas_;
  BlasHandle blasHandle_ = nullptr;
};

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_CUDAMODULE_H
