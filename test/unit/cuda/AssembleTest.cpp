//===- AssembleTest.cpp - The kernels as machine code ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/kernels/HostKernels.h"
#include "backends/cuda/kernels/Kernels.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace lathe::cuda {
namespace {

class Assemble : public testing::TestWithParam<const char *> {};

/// What the toolkit's assembler says of the kernels, and whether it took them.
bool assemble(const std::string &arch, std::string *log) {
  std::string folder = testing::TempDir() + "lathe_kernels_" + arch + "XXXXXX";
  if (!mkdtemp(folder.data()))
    return false;
  std::string ptx = folder + "/kernels.ptx", text = folder + "/log", cubin = folder + "/kernels.cubin";
  std::ofstream(ptx) << kernelsPtx();
  std::string command =
      std::string("'") + LATHE_PTXAS + "' -v -arch=" + arch + " '" + ptx + "' -o '" + cubin + "' > '" + text + "' 2>&1";
  bool good = std::system(command.c_str()) == 0;
  std::stringstream read;
  read << std::ifstream(text).rdbuf();
  *log = read.str();
  for (const std::string &file : {ptx, text, cubin})
    std::remove(file.c_str());
  std::remove(folder.c_str());
  return good;
}

TEST_P(Assemble, WithoutSpills) {
  if (std::string(LATHE_PTXAS).empty())
    GTEST_SKIP() << "this build has no ptxas of the CUDA toolkit";
  if (kernelsPtx().empty())
    GTEST_SKIP() << "the build had no clang for the kernels";
  std::string log;
  ASSERT_TRUE(assemble(GetParam(), &log)) << log;
  std::istringstream lines(log);
  std::string line, function;
  int kernels = 0;
  while (std::getline(lines, line)) {
    if (size_t at = line.find("Function properties for "); at != std::string::npos)
      function = line.substr(at + 24);
    int stack = 0, stores = 0, loads = 0;
    if (std::sscanf(line.c_str(), " %d bytes stack frame, %d bytes spill stores, %d bytes spill loads", &stack, &stores,
                    &loads) != 3)
      continue;
    ++kernels;
    EXPECT_EQ(stores + loads, 0) << function << " spills registers";
    EXPECT_EQ(stack, 0) << function << " has arrays in local memory";
  }
  EXPECT_GT(kernels, 50);
}

INSTANTIATE_TEST_SUITE_P(Architectures, Assemble, testing::Values("sm_80", "sm_90", "sm_100"),
                         [](const auto &info) { return std::string(info.param); });

TEST(Kernels, PtxAndHostHaveTheSame) {
  if (kernelsPtx().empty())
    GTEST_SKIP() << "the build had no clang for the kernels";
  int kernels = 0;
  constexpr std::string_view entry = ".visible .entry ";
  for (size_t at = 0; (at = kernelsPtx().find(entry, at)) != std::string_view::npos; ++kernels) {
    at += entry.size();
    std::string_view name = kernelsPtx().substr(at, kernelsPtx().find('(', at) - at);
    EXPECT_NE(hostKernel(name), nullptr) << name;
  }
  EXPECT_GT(kernels, 50);
  EXPECT_EQ(hostKernel("lathe_attention"), nullptr);
}

} // namespace
} // namespace lathe::cuda
