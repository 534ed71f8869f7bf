//===- CodeLoaderTest.cpp - Which kernels a device gets ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/CodeLoader.h"
#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/kernels/Kernels.h"
#include "runtime/include/lathe/lathe.hpp"
#include "test/unit/cuda/CudaDemo.h"
#include "test/unit/cuda/Harness.h"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace lathe::cuda;
using namespace lathe::test;
using testing::HasSubstr;

namespace {

const std::string kCubin("\x7f"
                         "ELF and what follows",
                         20);
const std::string kPtx =
    ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry main_scale(.param .u64 failures) { ret; }\n";

class CodeLoader : public testing::Test {
protected:
  void SetUp() override { emulatorSettings() = {}; }
  void TearDown() override { emulatorSettings() = {}; }

  /// What is loaded of the images, or the error.
  std::string load(std::vector<CodeImage> images, lathe_status expected = LATHE_OK) {
    lathe::cuda::Device device;
    EXPECT_FALSE(device.open(emulatorDriver()).failed());
    lathe::cuda::Device::Current current(device);
    ModuleHandle module = nullptr;
    std::string chosen;
    lathe::runtime::Status status = loadCode(device, std::move(images), &module, &chosen);
    EXPECT_EQ(status.code(), expected) << status.message();
    if (!status.failed())
      device.driver().moduleUnload(module);
    return status.failed() ? status.message() : chosen;
  }
};

TEST_F(CodeLoader, TakesTheClosestCubin) {
  std::vector<CodeImage> images = {{true, "sm_80", kPtx},
                                   {false, "sm_80", kCubin},
                                   {false, "sm_89", kCubin},
                                   {false, "sm_90", kCubin},
                                   {false, "sm_90a", kCubin}};
  emulatorSettings().capability = 90;
  EXPECT_EQ(load(images), "cubin sm_90a");
  emulatorSettings().capability = 89;
  EXPECT_EQ(load(images), "cubin sm_89");
  emulatorSettings().capability = 86;
  EXPECT_EQ(load(images), "cubin sm_80");
}

TEST_F(CodeLoader, FallsBackToPtx) {
  std::vector<CodeImage> images = {{false, "sm_90", kCubin}, {true, "sm_80", kPtx}};
  emulatorSettings().capability = 100; // no cubin is for it
  EXPECT_EQ(load(images), "ptx sm_80");
  emulatorSettings().capability = 90;
  EXPECT_EQ(load(images), "cubin sm_90");
  emulatorSettings().driverVersion = 12040; // older than what made the cubin
  EXPECT_EQ(load(images), "ptx sm_80");
}

TEST_F(CodeLoader, SaysWhyNothingRuns) {
  std::vector<CodeImage> images = {{false, "sm_90", kCubin}, {true, "sm_80", kPtx}};
  emulatorSettings().capability = 75;
  EXPECT_EQ(load(images, LATHE_UNSUPPORTED_DEVICE),
            "'emulated GPU' (sm_75, driver for CUDA 13.0) can't run the artifact's kernels (cubin sm_90: for newer "
            "GPUs; ptx sm_80: for newer GPUs); "
            "compile with --target cuda:sm_75 or update the driver");
  emulatorSettings().capability = 90;
  emulatorSettings().driverVersion = 11040;
  EXPECT_THAT(load(images, LATHE_UNSUPPORTED_DEVICE), HasSubstr("ptx sm_80: CUDA_ERROR_UNSUPPORTED_PTX_VERSION (222)"));
  EXPECT_THAT(load({{false, "volta", kCubin}}, LATHE_UNSUPPORTED_DEVICE),
              HasSubstr("cubin volta: no architecture that is known"));
  EXPECT_THAT(load({{true, "sm_80", "no code"}}, LATHE_UNSUPPORTED_DEVICE),
              HasSubstr("ptx sm_80: CUDA_ERROR_INVALID_IMAGE (200)"));
}

TEST_F(CodeLoader, SaysWhichLibraryIsMissing) {
  DriverApi driver;
  lathe::runtime::Status status = openDriver("liblathe-no-driver.so.1", &driver);
  EXPECT_EQ(status.code(), LATHE_UNSUPPORTED_DEVICE);
  EXPECT_EQ(status.message(), "no NVIDIA driver: 'liblathe-no-driver.so.1' can't be opened");
  EXPECT_EQ(driver.init, nullptr);
  status = openDriver("libm.so.6", &driver); // a library, but no driver
  EXPECT_EQ(status.message(), "the NVIDIA driver is too old: 'libm.so.6' has no cuInit");
  BlasApi blas;
  const char *const libraries[] = {"liblathe-no-blas.so.13", "liblathe-no-blas.so.12", nullptr};
  status = openBlas(libraries, &blas);
  EXPECT_EQ(status.code(), LATHE_UNSUPPORTED_DEVICE);
  EXPECT_THAT(status.message(), HasSubstr("none of 'liblathe-no-blas.so.13', 'liblathe-no-blas.so.12' can be opened"));
}

/// A library of CUDA 13 can be opened beside an older driver, and says then that it is not initialized.
TEST_F(CodeLoader, KnowsWhichLibrariesADriverStarts) {
  auto names = [](int driverVersion) {
    std::string text;
    for (const char *const *library = blasLibraries(driverVersion); *library; ++library)
      text += std::string(*library) + " ";
    return text;
  };
  EXPECT_EQ(names(12080), "libcublasLt.so.12 ");
  EXPECT_EQ(names(13000), "libcublasLt.so.13 libcublasLt.so.12 ");
  EXPECT_EQ(names(13020), "libcublasLt.so.13 libcublasLt.so.12 ");
}

/// After the first ones the driver asks for a new process.
TEST_F(CodeLoader, KnowsAfterWhichErrorsNothingWorks) {
  CurrentDevice current;
  for (int result : {kDriverEccUncorrectable, kDriverLinkUncorrectable, kDriverContained, kDriverIllegalAddress,
                     kDriverLaunchFailed, kDriverTensorMemoryLeak, kDriverMpsClientTerminated})
    EXPECT_EQ(current.device.status(result, "running").code(), LATHE_DEVICE_LOST) << result;
  for (int result :
       {kDriverInvalidValue, kDriverNotReady, kDriverLaunchOutOfResources, kDriverStreamCaptureUnsupported})
    EXPECT_EQ(current.device.status(result, "running").code(), LATHE_INTERNAL) << result;
}

TEST(KernelOf, TakesOneOfManyKernels) {
  const std::string ptx = ".version 7.0\n.target sm_80\n.extern .shared .b8 memory[];\n.visible .entry one(\n\t.param "
                          ".u64 x\n)\n{\n\t{ ret; }\n}\n"
                          "// between\n.visible .entry another(.param .u64 x)\n{\n\tret;\n}\n";
  const std::string head = ".version 7.0\n.target sm_80\n.extern .shared .b8 memory[];\n";
  EXPECT_EQ(kernelOf(ptx, "one"), head + ".visible .entry one(\n\t.param .u64 x\n)\n{\n\t{ ret; }\n}\n");
  EXPECT_EQ(kernelOf(ptx, "another"), head + ".visible .entry another(.param .u64 x)\n{\n\tret;\n}\n");
  EXPECT_EQ(kernelOf(ptx, "other"), "");
  EXPECT_EQ(kernelOf(ptx + ".func f() { ret; }\n", "one"), ptx + ".func f() { ret; }\n");
}

TEST(KernelOf, KnowsTheKernelsOfThisBuild) {
  if (kernelsPtx().empty())
    GTEST_SKIP() << "this build has none";
  std::string one = kernelOf(kernelsPtx(), "lathe_copy_4");
  EXPECT_LT(one.size(), 20000u);
  EXPECT_EQ(one.find(".visible .entry"), one.rfind(".visible .entry"));
  EXPECT_NE(one.find(".target sm_80"), std::string::npos);
}

/// An artifact whose manifest was changed, on the emulator.
std::string loadEdited(const std::function<void(nlohmann::ordered_json &)> &edit, lathe_status expected) {
  CudaDemo demo;
  edit(demo.manifest);
  lathe::LoadOptions options;
  options.device = "cuda-emulator";
  try {
    lathe::Module module(demo.write("edited.lathe"), options);
    lathe::Session session(module, {});
    float x[8] = {};
    int64_t index = 0, limits[2] = {};
    session.setInput(0, {1, 8}, x);
    session.setInput(1, {1}, &index);
    session.setInput(2, {2}, limits);
    session.run();
  } catch (const lathe::Error &error) {
    EXPECT_EQ(error.status(), expected) << error.what();
    return error.what();
  }
  EXPECT_EQ(expected, LATHE_OK);
  return "";
}

TEST_F(CodeLoader, DistrustsTheManifest) {
  using json = nlohmann::ordered_json;
  loadEdited([](json &) {}, LATHE_OK);
  auto invalid = [](const std::function<void(json &)> &edit) { return loadEdited(edit, LATHE_INVALID_ARTIFACT); };
  EXPECT_THAT(invalid([](json &m) { m["device"] = "tpu"; }),
              HasSubstr("manifest.devices must have 'tpu', which program 'main' is for"));
  EXPECT_THAT(invalid([](json &m) { m["device"] = 3; }), HasSubstr("manifest.device must be a string"));
  EXPECT_THAT(invalid([](json &m) { m["devices"] = {"cpu", "cuda"}, m["device"] = "cpu"; }),
              HasSubstr("manifest.devices has 'cuda', whose first program must be 'main', found none"));
  EXPECT_THAT(invalid([](json &m) { m["kernels"][0]["function"] = ""; }),
              HasSubstr("manifest.kernels[0].function must not be empty"));
  EXPECT_THAT(invalid([](json &m) { m["kernels"][0]["function"] = 1; }),
              HasSubstr("manifest.kernels[0].function must be a string"));
  EXPECT_THAT(invalid([](json &m) { m["kernels"][0]["function"] = "nothing"; }),
              HasSubstr("the artifact's code for the device has no function 'nothing'"));
  EXPECT_THAT(invalid([](json &m) { m["kernels"][0].erase("function"); }),
              HasSubstr("the manifest gives it no function"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"] = 1; }), HasSubstr("manifest.device_code must be an array"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0].erase("kind"); }),
              HasSubstr("manifest.device_code[0] has no 'kind'"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0]["kind"] = "spirv"; }),
              HasSubstr("manifest.device_code[0].kind has unknown value 'spirv'"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0]["kind"] = "ptx"; }),
              HasSubstr("manifest.device_code[0] has no 'arch'"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0]["section"] = "missing"; }),
              HasSubstr("names section 'missing', which is no code for a device"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0]["kernels"] = 1; }),
              HasSubstr("manifest.device_code[0].kernels must be an object"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0]["kernels"]["main_scale"] = -1; }),
              HasSubstr("kernels.main_scale must be an integer"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0]["kernels"]["main_scale"] = 1 << 20; }),
              HasSubstr("kernel 'main_scale' of section 'cuda.emulation' lies outside of it"));
  EXPECT_THAT(invalid([](json &m) { m["device_code"][0]["device"] = "tpu"; }),
              HasSubstr("manifest.devices must have 'tpu', which section 'cuda.emulation' is for"));
  auto unsupported = [](const std::function<void(json &)> &edit) { return loadEdited(edit, LATHE_UNSUPPORTED_DEVICE); };
  EXPECT_THAT(unsupported([](json &m) { m["device_code"][0]["isa"] = "sparc"; }),
              HasSubstr("the artifact has no kernels that device 'cuda-emulator' can run on this machine"));
  // There is none where all that a program does are calls of libraries.
  EXPECT_THAT(invalid([](json &m) { m.erase("device_code"); }),
              HasSubstr("kernel 'scale_0' (nodes 'Gather_0', 'Mul_1'): the artifact's code for the device has no function 'main_scale'"));
}

} // namespace
