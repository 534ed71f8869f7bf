//===- DeviceTest.cpp - Runs on the emulated device -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"
#include "runtime/include/lathe/lathe.hpp"
#include "test/unit/cuda/CudaDemo.h"
#include "test/unit/runtime/ErrorSupport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>

using namespace lathe::test;
using lathe::cuda::emulatorSettings;
using lathe::cuda::emulatorStatistics;
using testing::HasSubstr;

namespace {

/// Leaves the emulator as it was found, and nothing alive on it.
class Device : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override {
    emulatorSettings() = {};
    EXPECT_EQ(emulatorStatistics().allocations, 0u);
    EXPECT_EQ(emulatorStatistics().pinned, 0u);
  }
};

struct Inputs {
  int64_t batch;
  std::vector<float> x;
  std::vector<int64_t> index, limits{3, 4};

  explicit Inputs(int64_t batch) : batch(batch) {
    for (int64_t i = 0; i < batch * 8; ++i)
      x.push_back(static_cast<float>(i * 37 % 23) / 4 - 3);
    for (int64_t i = 0; i < batch; ++i)
      index.push_back(i * 3 % 4);
  }
  void bind(lathe::Session &session) const {
    session.setInput(0, {batch, 8}, x.data());
    session.setInput(1, {batch}, index.data());
    session.setInput(2, {2}, limits.data());
  }
};

std::vector<float> valuesOf(const lathe::Output &output) {
  int64_t count = 1;
  for (int64_t dim : output.dims)
    count *= dim;
  return count ? std::vector<float>(output.as<float>(), output.as<float>() + count) : std::vector<float>();
}

void expectResult(const lathe::Session &session, const CudaDemo &demo, const Inputs &in) {
  EXPECT_EQ(valuesOf(session.output(0)), demo.scaled(in.x, in.index));
  EXPECT_EQ(valuesOf(session.output(2)), demo.chosen(in.x));
  std::vector<float> product = valuesOf(session.output(1)), expected = demo.product(in.x);
  ASSERT_EQ(product.size(), expected.size());
  for (size_t i = 0; i < product.size(); ++i)
    ASSERT_NEAR(product[i], expected[i], 1e-3) << i;
}

lathe::LoadOptions onEmulator() {
  lathe::LoadOptions options;
  options.device = "cuda-emulator";
  return options;
}

TEST_F(Device, RunsAtManyShapes) {
  for (bool pools : {true, false})
    for (bool packed : {false, true}) {
      emulatorSettings().hasPools = pools;
      emulatorSettings().delays = packed;
      CudaDemo demo(packed);
      lathe::Module module(demo.write("demo.lathe"), onEmulator());
      EXPECT_STREQ(module.info().device, "cuda-emulator");
      lathe::Session session(module, {});
      for (int64_t batch : {1, 7, 100, 3, 1000, 0, 2}) {
        Inputs in(batch);
        in.bind(session);
        session.run();
        expectResult(session, demo, in);
      }
    }
}

TEST_F(Device, SharesWeightsAmongSessions) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  uint64_t weights = module.info().private_bytes;
  EXPECT_GE(weights, (4 + 8 * 16 + 16) * sizeof(float));
  lathe::Session one(module, {}), two(module, {});
  Inputs in(5), other(3);
  in.bind(one);
  other.bind(two);
  one.run();
  two.run();
  expectResult(one, demo, in);
  expectResult(two, demo, other);
  EXPECT_EQ(module.info().private_bytes, weights);
}

TEST_F(Device, PreparesWhatARunHolds) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  Inputs in(4);
  in.bind(session);
  lathe::check(lathe_session_prepare(session.get()));
  session.run();
  expectResult(session, demo, in);
}

TEST_F(Device, TellsObserversCopiesOfResults) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  for (int64_t batch : {5, 1, 0}) {
    Inputs in(batch);
    in.bind(session);
    std::map<std::string, std::vector<float>> seen;
    auto observe = [&](size_t, const lathe_kernel_result &result) {
      auto *data = static_cast<const float *>(result.data);
      seen[result.value] = result.elements ? std::vector<float>(data, data + result.elements) : std::vector<float>();
    };
    session.setObserver(observe);
    session.run();
    EXPECT_EQ(seen.at("product"), valuesOf(session.output(1)));
    EXPECT_EQ(seen.at("scaled"), demo.scaled(in.x, in.index));
  }
}

TEST_F(Device, ProfilesByItsOwnClock) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  lathe::check(lathe_session_set_profiling(session.get(), 1));
  Inputs in(50);
  in.bind(session);
  session.run();
  session.run();
  for (size_t kernel = 0; kernel < 4; ++kernel) {
    lathe_kernel_profile profile;
    lathe::check(lathe_session_profile(session.get(), kernel, &profile));
    EXPECT_EQ(profile.calls, 2u) << kernel;
    EXPECT_GT(profile.nanoseconds, 0u) << kernel;
  }
}

TEST_F(Device, ReportsChecksThatKernelsFindFailed) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  Inputs in(6);
  in.index[4] = 4;
  in.bind(session);
  std::string message = messageOf(LATHE_EXECUTION_ERROR, [&] { session.run(); });
  EXPECT_EQ(message, "node 'Gather_0': index out of range: the table has 4 rows");
  in.index[4] = 3;
  session.run();
  expectResult(session, demo, in);
}

TEST_F(Device, ReadsShapesFromElementsOfInputs) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  Inputs in(2);
  in.limits[0] = -1;
  in.bind(session);
  EXPECT_THAT(messageOf(LATHE_INVALID_ARGUMENT, [&] { session.run(); }), HasSubstr("the limit must not be negative"));
}

TEST_F(Device, IsUsableAfterItHadNoMemory) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  Inputs small(2), large(1000);
  small.bind(session);
  session.run();
  emulatorSettings().memoryBytes = emulatorStatistics().bytes + 4096;
  large.bind(session);
  EXPECT_THAT(messageOf(LATHE_OUT_OF_MEMORY, [&] { session.run(); }), HasSubstr("the device has not enough memory"));
  small.bind(session);
  session.run();
  expectResult(session, demo, small);
  emulatorSettings().memoryBytes = uint64_t(1) << 40;
  large.bind(session);
  session.run();
  expectResult(session, demo, large);
}

TEST_F(Device, SaysWhenAModuleHasNoMemory) {
  CudaDemo demo;
  std::string path = demo.write("demo.lathe");
  emulatorSettings().memoryBytes = 512;
  EXPECT_THAT(messageOf(LATHE_OUT_OF_MEMORY, [&] { lathe::Module module(path, onEmulator()); }),
              HasSubstr("bytes for the weights"));
}

/// Each allocation of a session in turn.
TEST_F(Device, FailsCleanlyWhereverMemoryEnds) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  Inputs in(9);
  int64_t failures = 0;
  for (int64_t allocations = 0; allocations < 20; ++allocations) {
    emulatorSettings().allocationsUntilFull = allocations;
    bool worked = false;
    try {
      lathe::Session session(module, {});
      in.bind(session);
      session.run();
      worked = true;
    } catch (const lathe::Error &error) {
      EXPECT_EQ(error.status(), LATHE_OUT_OF_MEMORY) << error.what();
      ++failures;
    }
    emulatorSettings().allocationsUntilFull = -1;
    if (worked)
      break;
  }
  EXPECT_GE(failures, 7); // failures, arena, three outputs and inputs, a value
  EXPECT_LT(failures, 20);
}

TEST_F(Device, CountsAgainstTheBudget) {
  CudaDemo demo;
  std::string path = demo.write("demo.lathe");
  lathe::LoadOptions tight = onEmulator();
  lathe::Module module(path, onEmulator());
  tight.memoryBudget = module.info().file_bytes + 100;
  EXPECT_THAT(messageOf(LATHE_OVER_BUDGET, [&] { lathe::Module refused(path, tight); }),
              HasSubstr("the module's memory budget"));
  lathe::SessionOptions options;
  options.memoryBudget = 20000;
  lathe::Session session(module, options);
  Inputs in(10), large(900);
  in.bind(session);
  session.run();
  large.bind(session);
  EXPECT_THAT(messageOf(LATHE_OVER_BUDGET, [&] { session.run(); }), HasSubstr("memory budget is 20000"));
  in.bind(session);
  session.run();
  expectResult(session, demo, in);
}

TEST_F(Device, NamesTheKernelThatReadsOutOfBounds) {
  CudaDemo demo;
  std::string path = demo.write("demo.lathe");
  {
    lathe::Module module(path, onEmulator());
    lathe::Session session(module, {});
    Inputs in(3);
    in.index[2] = 100;
    in.bind(session);
    std::string message = messageOf(LATHE_DEVICE_LOST, [&] { session.run(); });
    EXPECT_THAT(message, HasSubstr("kernel 'scale_0' (nodes 'Gather_0', 'Mul_1'): launch: the device failed, "
                                   "CUDA_ERROR_ILLEGAL_ADDRESS (700)"));
    EXPECT_THAT(message, HasSubstr("main_scale"));
    // As after a real failure nothing else works,
    in.index[2] = 0;
    messageOf(LATHE_DEVICE_LOST, [&] { session.run(); });
    messageOf(LATHE_DEVICE_LOST, [&] { lathe::Session another(module, {}); });
  }
  // until all that was there is released.
  lathe::Module module(path, onEmulator());
  lathe::Session session(module, {});
  Inputs in(3);
  in.bind(session);
  session.run();
  expectResult(session, demo, in);
}

TEST_F(Device, SaysWhenItIsLost) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  Inputs in(3);
  in.bind(session);
  emulatorSettings().launchesUntilLost = 3; // of the four of a run
  EXPECT_THAT(messageOf(LATHE_DEVICE_LOST, [&] { session.run(); }), HasSubstr("kernel 'copy_3' (node 'NonZero_3')"));
  messageOf(LATHE_DEVICE_LOST, [&] { session.run(); });
}

TEST_F(Device, RefusesOutputsThatDoNotFit) {
  CudaDemo demo;
  lathe::Module module(demo.write("demo.lathe"), onEmulator());
  lathe::Session session(module, {});
  Inputs in(4);
  in.x[0] = in.x[8] = 1;
  in.bind(session);
  float one = 0;
  lathe::check(lathe_session_set_output(session.get(), 2, &one, sizeof(one)));
  EXPECT_THAT(messageOf(LATHE_INVALID_ARGUMENT, [&] { session.run(); }), HasSubstr("but the given buffer has 4"));
  std::vector<float> chosen(4);
  lathe::check(lathe_session_set_output(session.get(), 2, chosen.data(), chosen.size() * sizeof(float)));
  session.run();
  expectResult(session, demo, in);
}

TEST_F(Device, IsChosenByName) {
  CudaDemo demo;
  std::string path = demo.write("demo.lathe");
  auto load = [&](const std::string &device) {
    lathe::LoadOptions options;
    options.device = device;
    lathe::Module module(path, options);
    return std::string(module.info().device);
  };
  EXPECT_THAT(messageOf(LATHE_NOT_FOUND, [&] { load("cpu"); }),
              HasSubstr("the artifact is not for device 'cpu'; it is for: cuda"));
  EXPECT_THAT(messageOf(LATHE_NOT_FOUND, [&] { load("tpu"); }),
              HasSubstr("the artifact is not for device 'tpu'; it is for: cuda"));
  emulatorSettings().hasDevice = false;
  EXPECT_THAT(messageOf(LATHE_UNSUPPORTED_DEVICE, [&] { load("cuda-emulator"); }),
              HasSubstr("the driver finds no GPU"));
  if (lathe::cuda::DriverApi driver; !lathe::cuda::openDriver("libcuda.so.1", &driver).failed())
    GTEST_SKIP() << "this machine has a driver";
  std::string message = messageOf(LATHE_UNSUPPORTED_DEVICE, [&] { load(""); });
  EXPECT_THAT(message, HasSubstr("device 'cuda' does not work here: no NVIDIA driver"));
  EXPECT_THAT(message, HasSubstr("'cuda-emulator'"));
  EXPECT_THAT(messageOf(LATHE_UNSUPPORTED_DEVICE, [&] { load("auto"); }),
              HasSubstr("no device of the artifact works here (cuda: no NVIDIA driver"));

  // With programs for both the processor is what is left.
  nlohmann::ordered_json cuda = demo.manifest;
  cuda["name"] = "main";
  demo.manifest["programs"] = nlohmann::ordered_json::array({cuda});
  demo.manifest["device"] = "cpu";
  demo.manifest["devices"] = nlohmann::ordered_json::array({"cuda", "cpu"});
  path = demo.write("both.lathe");
  EXPECT_EQ(load("auto"), "cpu");
  EXPECT_EQ(load("cpu"), "cpu");
  emulatorSettings().hasDevice = true;
  EXPECT_EQ(load("cuda-emulator"), "cuda-emulator");
  lathe::LoadOptions onCpu;
  onCpu.device = "cpu";
  lathe::Module module(path, onCpu);
  lathe::Session session(module, {});
  Inputs in(1);
  in.bind(session);
  EXPECT_THAT(messageOf(LATHE_INTERNAL, [&] { session.run(); }), HasSubstr("launched a kernel"));
}

} // namespace
