//===- cuda_products.cpp - What a GPU does at best, and our products ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Prints a JSON object: the rate of copies on the device, and products [m, k] * [k, n] by the fastest of all algorithms
// that cuBLASLt offers and as sessions ask for them. Times are the device's, of many calls in a row, the least of a few
// rounds; test/bench/bench_gpu.py makes a table of them.
//
//   ninja -C build lathe_bench_cuda && build/bin/lathe_bench_cuda cuda|cuda-emulator [m,n,k ...]
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/runtime/CudaBackend.h"
#include "backends/cuda/runtime/Device.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;

namespace {

constexpr int kRounds = 4;

void check(const runtime::Status &status) {
  if (status.failed())
    throw std::runtime_error(status.message());
}

struct Shape {
  int64_t m, n, k;
};

struct Type {
  const char *name;
  lathe_dtype dtype;
  int blas;
};
constexpr Type kTypes[] = {{"f32", LATHE_F32, kBlasF32}, {"f16", LATHE_F16, kBlasF16}, {"bf16", LATHE_BF16, kBlasBf16}};

/// How often something is asked for at once, so that the device never waits for the host: as long as that takes some
/// milliseconds on a fast one.
int repetitions(const Shape &shape, bool isEmulated) {
  double operations = 2.0 * double(shape.m) * double(shape.n) * double(shape.k);
  return isEmulated ? 2 : static_cast<int>(std::clamp(2e12 / operations, 5.0, 500.0));
}

/// Memory of the device for as long as this lives.
class Memory {
public:
  Memory(const Device &device, uint64_t bytes) : device_(device) {
    check(device.status(device.driver().memAlloc(&address_, bytes), "allocating memory"));
    // No zeros, which take less power; 0x3c3c is 1.06 as f16.
    check(device.status(device.driver().memsetD8Async(address_, 0x3c, bytes, nullptr), "filling memory"));
    check(device.status(device.driver().streamSynchronize(nullptr), "filling memory"));
  }
  ~Memory() { device_.driver().memFree(address_); }
  Memory(const Memory &) = delete;
  void *address() const { return reinterpret_cast<void *>(address_); }
  operator DevicePointer() const { return address_; }

private:
  const Device &device_;
  DevicePointer address_ = 0;
};

/// Times what is put into a stream of the device.
class Clock {
public:
  explicit Clock(const Device &device) : device_(device) {
    const DriverApi &driver = device.driver();
    check(device.status(driver.streamCreate(&stream, kStreamNonBlocking), "creating a stream"));
    for (Event &event : events_)
      check(device.status(driver.eventCreate(&event, 0), "creating an event"));
  }
  ~Clock() {
    for (Event event : events_)
      device_.driver().eventDestroy(event);
    device_.driver().streamDestroy(stream);
  }
  Clock(const Clock &) = delete;

  /// Milliseconds of one of `count` calls, the least of a few rounds behind one that may load code; -1 where a call
  /// returns false.
  template <typename Fn> double of(int count, Fn call) {
    const DriverApi &driver = device_.driver();
    double least = -1;
    for (int round = 0; round <= kRounds; ++round) {
      int result = driver.eventRecord(events_[0], stream);
      for (int i = 0; i < (round ? count : 1); ++i)
        if (!call())
          return -1;
      if (!result)
        result = driver.eventRecord(events_[1], stream);
      if (!result)
        result = driver.streamSynchronize(stream);
      float own = 0;
      if (!result)
        result = driver.eventElapsedTime(&own, events_[0], events_[1]);
      check(device_.status(result, "timing"));
      if (round && (least < 0 || double(own) / count < least))
        least = double(own) / count;
    }
    return least;
  }

  Stream stream = nullptr;

private:
  const Device &device_;
  Event events_[2] = {};
};

/// Gigabytes that copies on the device read and write, each in a second.
double copyRate(const Device &device, uint64_t bytes) {
  Memory from(device, bytes), to(device, bytes);
  Clock clock(device);
  const DriverApi &driver = device.driver();
  double ms = clock.of(device.isEmulated() ? 2 : 20,
                       [&] { return driver.memcpyDtoDAsync(to, from, bytes, clock.stream) == kDriverSuccess; });
  if (ms < 0)
    throw std::runtime_error("the device does not copy");
  return 2 * double(bytes) / (std::max(ms, 1e-6) * 1e6);
}

/// The library by itself: all algorithms that it offers.
class Library {
public:
  explicit Library(const Device &device) : device_(device) {
    if (device.isEmulated())
      blas_ = emulatorBlas();
    else
      ::check(openBlas(blasLibraries(device.driverVersion()), &blas_));
    check(blas_.create(&handle_), "starting");
  }
  ~Library() { blas_.destroy(handle_); }
  Library(const Library &) = delete;

  size_t version() const { return blas_.version(); }

  /// Milliseconds of the fastest algorithm, and in *algorithms how many were tried.
  double best(const Shape &shape, const Type &type, int *algorithms) {
    constexpr int kMaxCandidates = 64;
    constexpr uint64_t kWorkspace = uint64_t(64) << 20;
    Memory workspace(device_, kWorkspace), a(device_, static_cast<uint64_t>(shape.m * shape.k * bytesOf(type.blas))),
        b(device_, static_cast<uint64_t>(shape.k * shape.n * bytesOf(type.blas))),
        d(device_, static_cast<uint64_t>(shape.m * shape.n * bytesOf(type.blas)));
    // Rows here are columns there: D^T = B^T * A^T.
    BlasDesc desc = nullptr;
    BlasLayout layouts[3] = {};
    BlasPreference preference = nullptr;
    auto type32 = static_cast<int>(type.blas);
    check(blas_.descCreate(&desc, kBlasComputeF32, kBlasF32), "describing");
    const int64_t sides[3][2] = {{shape.n, shape.k}, {shape.k, shape.m}, {shape.n, shape.m}};
    for (int i = 0; i < 3; ++i)
      check(blas_.layoutCreate(&layouts[i], type32, static_cast<uint64_t>(sides[i][0]),
                               static_cast<uint64_t>(sides[i][1]), sides[i][0]),
            "describing");
    check(blas_.preferenceCreate(&preference), "describing");
    check(blas_.preferenceSet(preference, kPreferenceWorkspaceBytes, &kWorkspace, sizeof(kWorkspace)), "describing");
    BlasHeuristic found[kMaxCandidates];
    int count = 0;
    check(blas_.heuristic(handle_, desc, layouts[0], layouts[1], layouts[2], layouts[2], preference, kMaxCandidates,
                          found, &count),
          "choosing");
    Clock clock(device_);
    double least = -1;
    *algorithms = count;
    const float alpha = 1, beta = 0;
    for (int i = 0; i < count; ++i) {
      double ms = found[i].state != kBlasSuccess ? -1 : clock.of(repetitions(shape, device_.isEmulated()), [&] {
        return blas_.matmul(handle_, desc, &alpha, b.address(), layouts[0], a.address(), layouts[1], &beta, d.address(),
                            layouts[2], d.address(), layouts[2], &found[i].algo, workspace.address(),
                            found[i].workspaceBytes, clock.stream) == kBlasSuccess;
      });
      if (ms >= 0 && (least < 0 || ms < least))
        least = ms;
    }
    blas_.preferenceDestroy(preference);
    for (BlasLayout layout : layouts)
      blas_.layoutDestroy(layout);
    blas_.descDestroy(desc);
    if (least < 0)
      throw std::runtime_error("cuBLASLt has no algorithm that runs");
    return least;
  }

private:
  void check(int result, const char *what) const {
    if (result)
      throw std::runtime_error(runtime::join(what, " a product: cuBLASLt says ", blas_.statusName(result)));
  }

  const Device &device_;
  BlasApi blas_;
  BlasHandle handle_ = nullptr;
};

/// A session without an artifact, for products alone.
class Products final : public runtime::ModuleServices, public runtime::SessionServices {
public:
  explicit Products(runtime::Backend &backend) {
    runtime::Program program;
    program.name = "main";
    program.kernels.push_back({"product", "matmul", {}, {}, {}});
    manifest_.programs.push_back(program);
    ::check(backend.createModule(*this, &module_));
    ::check(module_->createSession(*this, &session_));
  }

  /// Milliseconds of a product as programs ask for it.
  double time(const Device &device, const Shape &shape, const Type &type) {
    auto size = static_cast<uint64_t>(bytesOf(type.blas));
    Memory a(device, static_cast<uint64_t>(shape.m * shape.k) * size),
        b(device, static_cast<uint64_t>(shape.k * shape.n) * size),
        d(device, static_cast<uint64_t>(shape.m * shape.n) * size);
    lathe_matmul_call call = {};
    call.dtype = type.dtype;
    call.weight = -1;
    call.alpha = 1;
    call.m = shape.m, call.n = shape.n, call.k = shape.k;
    call.a_row = shape.k, call.a_col = 1, call.b_row = shape.n, call.b_col = 1, call.out_row = shape.n;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.a = a.address(), call.b = b.address(), call.out = d.address();
    int count = repetitions(shape, device.isEmulated());
    double least = -1;
    for (int round = 0; round <= kRounds; ++round) {
      int own = round ? count : 1;
      session_->beginRun();
      size_t from = session_->device()->mark();
      for (int i = 0; i < own; ++i)
        session_->matmul(call);
      size_t to = session_->device()->mark();
      session_->endRun();
      int64_t failed = -1;
      runtime::Status status = session_->device()->finish(&failed);
      ::check(failure_);
      ::check(status);
      double ms = double(session_->device()->elapsed(from, to)) / 1e6 / own;
      if (round && (least < 0 || ms < least))
        least = ms;
    }
    return least;
  }

  const runtime::Manifest &manifest() const override { return manifest_; }
  const void *constant(size_t) const override { return nullptr; }
  std::string_view isa() const override { return ""; }
  bool chargePrivate(uint64_t) override { return true; }
  const runtime::Program &program() const override { return manifest_.programs[0]; }
  runtime::ThreadPool &pool() override { return pool_; }
  void fail(runtime::Status status) override {
    if (!failure_.failed())
      failure_ = std::move(status);
  }
  bool charge(int64_t) override { return true; }

private:
  runtime::Manifest manifest_;
  runtime::ThreadPool pool_;
  runtime::Status failure_;
  std::unique_ptr<runtime::BackendModule> module_;
  std::unique_ptr<runtime::BackendSession> session_;
};

nlohmann::json measure(bool isEmulated, const std::vector<Shape> &shapes) {
  DriverApi driver = emulatorDriver();
  if (!isEmulated)
    check(openDriver("libcuda.so.1", &driver));
  Device device;
  check(device.open(driver, isEmulated));
  Device::Current current(device);
  Library library(device);
  Products products(isEmulated ? cudaEmulatorBackend() : cudaBackend());
  nlohmann::json report = {{"device", device.name()},
                           {"capability", device.capability()},
                           {"driver", device.driverVersion()},
                           {"cublaslt", library.version()}};
  report["copy_gb_s"] = copyRate(device, isEmulated ? uint64_t(1) << 16 : uint64_t(1) << 30);
  report["products"] = nlohmann::json::array();
  for (const Type &type : kTypes)
    for (const Shape &shape : shapes) {
      int algorithms = 0;
      double best = library.best(shape, type, &algorithms), own = products.time(device, shape, type);
      report["products"].push_back({{"type", type.name},
                                    {"m", shape.m},
                                    {"n", shape.n},
                                    {"k", shape.k},
                                    {"algorithms", algorithms},
                                    {"best_ms", best},
                                    {"own_ms", own}});
    }
  return report;
}

} // namespace

int main(int argc, char **argv) {
  std::vector<Shape> shapes;
  bool isEmulated = argc > 1 && strcmp(argv[1], "cuda-emulator") == 0, isRight = argc > 1;
  if (argc > 1 && !isEmulated && strcmp(argv[1], "cuda") != 0)
    isRight = false;
  for (int i = 2; i < argc; ++i) {
    long long m = 0, n = 0, k = 0;
    char rest = 0;
    isRight &= sscanf(argv[i], "%lld,%lld,%lld%c", &m, &n, &k, &rest) == 3 && m > 0 && n > 0 && k > 0;
    shapes.push_back({m, n, k});
  }
  if (!isRight) {
    fprintf(stderr, "usage: lathe_bench_cuda cuda|cuda-emulator [m,n,k ...]\n");
    return 2;
  }
  try {
    printf("%s\n", measure(isEmulated, shapes).dump(1).c_str());
  } catch (const std::exception &error) {
    fprintf(stderr, "lathe_bench_cuda: error: %s\n", error.what());
    return 3;
  }
  return 0;
}
