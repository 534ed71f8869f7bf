//===- CudaBackend.cpp - The devices 'cuda' and 'cuda-emulator' -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/CudaBackend.h"

#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/runtime/CudaModule.h"

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::Status;
using runtime::success;

namespace {

/// A driver, and the device that modules share while any of them lives.
class CudaBackend final : public runtime::Backend {
public:
  using OpenDriver = Status (*)(DriverApi *api);
  CudaBackend(const char *name, OpenDriver openDriver, OpenBlas openBlas, OpenDnn openDnn, OpenSparseLt openSparseLt)
      : name_(name), openDriver_(openDriver), openBlas_(openBlas), openDnn_(openDnn), openSparseLt_(openSparseLt) {}

  const char *name() const override { return name_; }
  const char *programs() const override { return "cuda"; }
  bool emulates() const override { return openDriver_ != openSystem; }

  Status available() override {
    std::shared_ptr<Device> device;
    return open(&device);
  }

  Status createModule(runtime::ModuleServices &services, std::unique_ptr<runtime::BackendModule> *module) override {
    std::shared_ptr<Device> device;
    if (Status status = open(&device); status.failed())
      return failure(status.code(), "device '", name_, "' does not work here: ", status.message(),
                     openDriver_ == openSystem
                         ? "; load the artifact for device 'cuda-emulator' to run its kernels on the processor"
                         : "");
    auto result = std::make_unique<CudaModule>(std::move(device), services, openBlas_, openDnn_, openSparseLt_);
    if (Status status = result->start(); status.failed())
      return status;
    *module = std::move(result);
    return success();
  }

  static Status openSystem(DriverApi *api) { return openDriver("libcuda.so.1", api); }
  static Status openSystemBlas(int driverVersion, BlasApi *api) {
    return cuda::openBlas(blasLibraries(driverVersion), api);
  }
  static Status openSystemSparseLt(SparseLtApi *api) { return cuda::openSparseLt("libcusparseLt.so.0", api); }

private:
  Status open(std::shared_ptr<Device> *device) {
    std::lock_guard<std::mutex> lock(mutex_);
    *device = device_.lock();
    if (*device)
      return success();
    DriverApi driver;
    if (Status status = openDriver_(&driver); status.failed())
      return status;
    auto opened = std::make_shared<Device>();
    if (Status status = opened->open(driver, openDriver_ != openSystem); status.failed())
      return status;
    device_ = opened;
    *device = std::move(opened);
    return success();
  }

  const char *name_;
  OpenDriver openDriver_;
  OpenBlas openBlas_;
  OpenDnn openDnn_;
  OpenSparseLt openSparseLt_;
  std::mutex mutex_;
  std::weak_ptr<Device> device_;
};

} // namespace

// Never destroyed: modules may outlive static objects.
runtime::Backend &cuda::cudaBackend() {
  static CudaBackend *instance = new CudaBackend("cuda", CudaBackend::openSystem, CudaBackend::openSystemBlas, openDnn,
                                                 CudaBackend::openSystemSparseLt);
  return *instance;
}

runtime::Backend &cuda::cudaEmulatorBackend() {
  static CudaBackend *instance = new CudaBackend(
      "cuda-emulator",
      [](DriverApi *api) {
        *api = emulatorDriver();
        return success();
      },
      [](int, BlasApi *api) {
        *api = emulatorBlas();
        return success();
      },
      emulatorDnn, emulatorSparseLt);
  return *instance;
}
