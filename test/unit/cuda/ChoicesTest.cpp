//===- ChoicesTest.cpp - Algorithms that were timed ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Choices.h"
#include "test/unit/cuda/Harness.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <random>
#include <unistd.h>

using namespace lathe;
using namespace lathe::cuda;
using namespace lathe::test;
using json = nlohmann::json;
using testing::HasSubstr;

namespace {

class ChoicesOfAlgorithms : public testing::Test {
protected:
  void SetUp() override {
    emulatorSettings() = {};
    folder = std::filesystem::temp_directory_path() / ("lathe-choices-" + std::to_string(getpid()));
    std::filesystem::create_directories(folder);
    file = (folder / "choices.json").string();
    setenv("LATHE_CUDA_CHOICES", file.c_str(), 1);
  }
  void TearDown() override {
    emulatorSettings() = {};
    unsetenv("LATHE_CUDA_CHOICES");
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
    std::filesystem::remove_all(folder);
    EXPECT_EQ(emulatorStatistics().allocations, 0u);
  }

  /// Multiplies once in a new process's module; the number of the library's products.
  int64_t run(int64_t m = 5) {
    Harness harness;
    harness.services.file = artifact;
    harness.start();
    std::mt19937 random(1);
    Tensor a(harness, size_t(m * 4), &random), b(harness, 12, &random), out(harness, size_t(m * 3), nullptr);
    lathe_matmul_call call = {};
    call.dtype = LATHE_F32;
    call.weight = -1;
    call.alpha = 1;
    call.m = m, call.n = 3, call.k = 4;
    call.a_row = 4, call.a_col = 1, call.b_row = 3, call.b_col = 1, call.out_row = 3;
    call.batch[0] = call.batch[1] = call.batch[2] = 1;
    call.a = a.device, call.b = b.device, call.out = out.device;
    call.residual = out.device;
    std::vector<float> zeros(out.host.size());
    EXPECT_FALSE(harness.session->upload(out.device, zeros.data(), zeros.size() * 4).failed());
    int64_t before = emulatorStatistics().products[kBlasF32];
    EXPECT_FALSE(harness.run(call).failed());
    int64_t products = emulatorStatistics().products[kBlasF32] - before;
    std::vector<float> got = out.read();
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < 3; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < 4; ++l)
          sum += double(a.host[size_t(i * 4 + l)]) * b.host[size_t(l * 3 + j)];
        EXPECT_NEAR(got[size_t(i * 3 + j)], sum, 1e-4); // timing has written nothing of the run's
      }
    EXPECT_FALSE(harness.run(call).failed()); // what is known is not timed again
    EXPECT_EQ(emulatorStatistics().products[kBlasF32] - before, products + 1);
    return products;
  }

  json read() {
    std::ifstream stream(file);
    return json::parse(stream, nullptr, false);
  }

  std::filesystem::path folder;
  std::string file, artifact;
};

TEST_F(ChoicesOfAlgorithms, AreKeptBesideTheArtifact) {
  emulatorSettings().algorithmMilliseconds = {3, 1};
  artifact = (folder / "model.lathe").string();
  unsetenv("LATHE_CUDA_CHOICES");
  EXPECT_EQ(run(), 9);
  file = artifact + ".cuda-choices.json";
  EXPECT_EQ(read()["machines"][0]["problems"].size(), 1u);
  EXPECT_EQ(run(), 1);
  // Not where the user says so, and not in a folder that is not there.
  for (const char *nowhere : {"none", ""}) {
    setenv("LATHE_CUDA_CHOICES", nowhere, 1);
    std::filesystem::remove(file);
    EXPECT_EQ(run(), 9);
    EXPECT_TRUE(std::filesystem::is_empty(folder)) << nowhere;
  }
  unsetenv("LATHE_CUDA_CHOICES");
  artifact = (folder / "missing" / "model.lathe").string();
  testing::internal::CaptureStderr();
  EXPECT_EQ(run(), 9);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST_F(ChoicesOfAlgorithms, AreTheFastestAndKept) {
  emulatorSettings().algorithmMilliseconds = {3, 1, 2};
  EXPECT_EQ(run(), 3 * 4 + 1); // each once to warm up, and three times
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 1);
  json kept = read();
  ASSERT_TRUE(kept.is_object());
  EXPECT_EQ(kept["machines"][0]["problems"].size(), 1u);
  EXPECT_NEAR(kept["machines"][0]["problems"].begin().value()["microseconds"].get<double>(), 1000, 1e-3);
  EXPECT_EQ(run(), 1);
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 1);
  EXPECT_EQ(run(6), 13);
  EXPECT_EQ(read()["machines"][0]["problems"].size(), 2u);
  for (const auto &entry : std::filesystem::directory_iterator(folder))
    EXPECT_EQ(entry.path().string(), file); // nothing half written
}

TEST_F(ChoicesOfAlgorithms, OfOtherMachinesStay) {
  emulatorSettings().algorithmMilliseconds = {3, 1};
  EXPECT_EQ(run(), 9);
  emulatorSettings().driverVersion = 13010;
  emulatorSettings().algorithmMilliseconds = {1, 3};
  EXPECT_EQ(run(), 9);
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 0);
  EXPECT_EQ(read()["machines"].size(), 2u);
  emulatorSettings().driverVersion = 13000;
  EXPECT_EQ(run(), 1);
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 1);
}

/// An algorithm that the library does not offer is timed anew, and never handed to it.
TEST_F(ChoicesOfAlgorithms, ThatAreNotOfferedAreNotUsed) {
  emulatorSettings().algorithmMilliseconds = {3, 1};
  EXPECT_EQ(run(), 9);
  json kept = read();
  for (auto &entry : kept["machines"][0]["problems"])
    entry["algorithm"] = std::string(128, 'f');
  std::ofstream(file) << kept;
  EXPECT_EQ(run(), 9);
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 1);
}

TEST_F(ChoicesOfAlgorithms, InForeignFilesAreIgnored) {
  emulatorSettings().algorithmMilliseconds = {2, 1};
  for (const char *text : {"", "{", "[]", "{\"lathe_cuda_choices\": 2, \"machines\": []}", "hello",
                           "{\"lathe_cuda_choices\": 1, \"machines\": [3]}"}) {
    std::ofstream(file) << text;
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(), 9) << text;
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("it holds no choices of algorithms")) << text;
    std::ifstream stream(file);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(stream), {}), text);
  }
}

TEST_F(ChoicesOfAlgorithms, NeedNoFile) {
  emulatorSettings().algorithmMilliseconds = {2, 1};
  std::filesystem::remove_all(folder);
  EXPECT_EQ(run(), 9);
  std::filesystem::create_directories(folder);
}

TEST_F(ChoicesOfAlgorithms, AreSwitchedOff) {
  emulatorSettings().algorithmMilliseconds = {2, 1};
  setenv("LATHE_CUDA_CHOICES", "0", 1);
  EXPECT_EQ(run(), 1);
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 0);
  EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(ChoicesOfAlgorithms, AreTheLibrarysWithoutMemoryToTime) {
  emulatorSettings().algorithmMilliseconds = {2, 1};
  Harness harness;
  harness.start();
  std::mt19937 random(1);
  Tensor a(harness, 4, &random), out(harness, 4, nullptr);
  lathe_matmul_call call = {};
  call.weight = -1;
  call.dtype = LATHE_F32;
  call.alpha = 1;
  call.m = call.n = call.k = 2;
  call.a_row = call.b_row = call.out_row = 2, call.a_col = call.b_col = 1;
  call.batch[0] = call.batch[1] = call.batch[2] = 1;
  call.a = call.b = a.device, call.out = out.device;
  harness.services.budget = harness.services.held + 4096 + 767;
  ASSERT_FALSE(harness.run(call).failed());
  EXPECT_EQ(emulatorStatistics().lastAlgorithm, 0);
}

} // namespace
