//===- Harness.h - A session on the emulator without an artifact -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_CUDA_HARNESS_H
#define LATHE_TEST_UNIT_CUDA_HARNESS_H

#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/CudaSession.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

namespace lathe::test {

class Services final : public runtime::ModuleServices, public runtime::SessionServices {
public:
  Services() {
    runtime::Program program;
    program.name = "main";
    program.kernels.push_back({"product", "matmul", {"MatMul_0"}, {}, {}});
    manifest_.programs.push_back(program);
  }

  const runtime::Manifest &manifest() const override { return manifest_; }
  std::string_view path() const override { return file; }
  const void *constant(size_t index) const override { return constants[index].data(); }
  std::string_view isa() const override { return "avx2"; }
  bool chargePrivate(uint64_t bytes) override {
    if (bytes > privateBudget)
      return false;
    privateBudget -= bytes;
    return true;
  }
  const runtime::Program &program() const override { return manifest_.programs[0]; }
  runtime::ThreadPool &pool() override { return pool_; }
  void fail(runtime::Status status) override {
    if (!failure.failed())
      failure = std::move(status);
  }
  bool charge(int64_t bytes) override {
    if (bytes > 0 && held + bytes > budget)
      return false;
    held += bytes;
    return true;
  }
  /// Adds a constant [rows, cols] as it is stored.
  template <typename T> void addConstant(lathe_dtype type, int64_t rows, int64_t cols, const std::vector<T> &values) {
    runtime::Constant constant;
    constant.name = "weight";
    constant.type = runtime::dataType(type);
    constant.dims = {rows, cols};
    constant.offset = constants.size() << 24;
    constant.size = values.size() * sizeof(T);
    manifest_.constants.push_back(constant);
    auto *bytes = reinterpret_cast<const unsigned char *>(values.data());
    constants.emplace_back(bytes, bytes + constant.size);
  }

  /// Says of the last constant what the compiler found: runtime::Constant::halfZeros.
  void setHalfZeros(unsigned axes) { manifest_.constants.back().halfZeros = axes; }

  /// Adds a constant that is stored without its zeros.
  void addSparse(const runtime::SparseLayout &layout, const std::vector<unsigned char> &image) {
    addConstant(LATHE_F32, layout.k, layout.n, image);
    manifest_.constants.back().sparse = layout;
  }

  /// Adds a quantized constant.
  void addQuantized(const runtime::QuantizedLayout &layout, const void *packed) {
    auto *bytes = static_cast<const unsigned char *>(packed);
    addConstant(LATHE_F32, layout.k, layout.n,
                std::vector<unsigned char>(bytes, bytes + static_cast<size_t>(layout.bytes())));
    manifest_.constants.back().quantized = layout;
  }

  std::vector<std::vector<unsigned char>> constants;
  std::string file; ///< of the artifact
  runtime::Status failure;
  int64_t held = 0, budget = INT64_MAX;
  uint64_t privateBudget = UINT64_MAX;

private:
  runtime::Manifest manifest_;
  runtime::ThreadPool pool_;
};

/// A session without an artifact, and its device.
struct Harness {
  Services services;
  std::unique_ptr<cuda::CudaModule> module;
  std::unique_ptr<cuda::CudaSession> session;

  static runtime::Status openEmulatorBlas(int, cuda::BlasApi *api) {
    *api = cuda::emulatorBlas();
    return runtime::success();
  }

  void start(const cuda::DriverApi &driver = cuda::emulatorDriver(), cuda::OpenBlas openBlas = openEmulatorBlas) {
    auto device = std::make_shared<cuda::Device>();
    ASSERT_FALSE(device->open(driver, true).failed());
    module = std::make_unique<cuda::CudaModule>(device, services, openBlas, cuda::emulatorDnn, cuda::emulatorSparseLt);
    runtime::Status status = module->start();
    ASSERT_FALSE(status.failed()) << status.message();
    session = std::make_unique<cuda::CudaSession>(*module, services);
    ASSERT_FALSE(session->start().failed());
  }
  runtime::Status run(const lathe_matmul_call &call) {
    return runCalls([&] { session->matmul(call); });
  }
  /// The failure of a run that makes these calls.
  template <typename Fn> runtime::Status runCalls(Fn calls) {
    services.failure = runtime::success();
    session->beginRun();
    calls();
    session->endRun();
    int64_t check = -1;
    EXPECT_FALSE(session->finish(&check).failed());
    EXPECT_EQ(check, -1);
    return services.failure;
  }
};

/// The emulated device and its context, for tests that call its libraries themselves.
struct CurrentDevice {
  CurrentDevice() : isOpen(!device.open(cuda::emulatorDriver(), true).failed()), current(device) {
    EXPECT_TRUE(isOpen);
  }
  cuda::Device device;
  bool isOpen;
  cuda::Device::Current current;
};

/// Values of the host and their copy on the device.
struct Tensor {
  std::vector<float> host;
  void *device = nullptr;
  Harness *harness = nullptr;

  Tensor(Harness &harness, size_t count, std::mt19937 *random) : host(count), harness(&harness) {
    for (float &value : host)
      value = random ? static_cast<float>((*random)() % 200) / 50 - 2 : NAN;
    EXPECT_FALSE(harness.session->allocate(count * 4, &device).failed());
    EXPECT_FALSE(harness.session->upload(device, host.data(), count * 4).failed());
  }
  ~Tensor() { harness->session->release(device); }
  Tensor(const Tensor &) = delete;
  std::vector<float> read() {
    std::vector<float> values(host.size());
    EXPECT_FALSE(harness->session->download(values.data(), device, values.size() * 4).failed());
    EXPECT_FALSE(harness->session->wait().failed());
    return values;
  }
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_CUDA_HARNESS_H
