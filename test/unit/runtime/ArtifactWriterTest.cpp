//===- ArtifactWriterTest.cpp - Writing artifacts ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/ArtifactWriter.h"
#include "test/unit/runtime/DemoArtifact.h"

#include <csignal>
#include <cstring>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/resource.h>

using namespace lathe::artifact;
using namespace lathe::test;
using nlohmann::ordered_json;

namespace {

/// Files in the folder of `path`.
size_t filesBeside(const std::string &path) {
  size_t count = 0;
  for (auto &entry : std::filesystem::directory_iterator(std::filesystem::path(path).parent_path()))
    count += entry.is_regular_file();
  return count;
}

ordered_json manifestFor(size_t constants) {
  ordered_json manifest;
  manifest["constants"] = ordered_json::array();
  for (size_t i = 0; i < constants; ++i)
    manifest["constants"].push_back({{"name", "c" + std::to_string(i)}});
  return manifest;
}

TEST(ArtifactWriter, WritesTheSameBytesTwice) {
  EXPECT_EQ(readFile(DemoArtifact().write("one.lathe")), readFile(DemoArtifact().write("two.lathe")));
}

TEST(ArtifactWriter, ReplacesTheFileAndFollowsLinks) {
  std::string link = temporaryPath("link.lathe"), target = temporaryPath("target.lathe");
  writeFile(target, {1, 2, 3});
  std::filesystem::create_symlink(target, link);
  DemoArtifact().write("link.lathe");
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_GT(readFile(target).size(), 4096u);
}

TEST(ArtifactWriter, RefusesBadTargets) {
  std::string error;
  EXPECT_FALSE(writeArtifact("/nonexistent/folder/x.lathe", manifestFor(0), {}, {}, &error));
  EXPECT_EQ(error, "cannot write '/nonexistent/folder/x.lathe': No such file or directory");
  EXPECT_FALSE(writeArtifact("/dev/null", manifestFor(0), {}, {}, &error));
  EXPECT_FALSE(writeArtifact(std::filesystem::temp_directory_path().string(), manifestFor(0), {}, {}, &error));
}

TEST(ArtifactWriter, LeavesNothingBehindOnFailure) {
  std::string path = temporaryPath("failed.lathe"), error;
  writeFile(path, {1, 2, 3});
  size_t files = filesBeside(path);
  std::vector<ConstantSource> constants(1);
  constants[0].size = 8;
  constants[0].produce = [](Sink &sink, std::string *) { return sink.write("1234", 4); };
  EXPECT_FALSE(writeArtifact(path, manifestFor(1), {}, constants, &error));
  EXPECT_EQ(error, "constant 0 has 4 bytes, expected 8");
  constants[0].produce = [](Sink &, std::string *message) {
    *message = "weights are gone";
    return false;
  };
  EXPECT_FALSE(writeArtifact(path, manifestFor(1), {}, constants, &error));
  EXPECT_EQ(error, "weights are gone");
  EXPECT_FALSE(writeArtifact(path, manifestFor(0), {}, constants, &error));
  std::string longName(32, 'n');
  EXPECT_FALSE(writeArtifact(path, manifestFor(0), {{longName, "x", 1}}, {}, &error));
  EXPECT_FALSE(writeArtifact(path, manifestFor(0), std::vector<SectionSource>(63, {"c", "x", 1}), {}, &error));
  EXPECT_EQ(filesBeside(path), files);
  EXPECT_EQ(readFile(path), (std::vector<unsigned char>{1, 2, 3}));
}

TEST(ArtifactWriter, ReportsAFullDisk) {
  std::string path = temporaryPath("full.lathe"), error;
  size_t files = filesBeside(path);
  rlimit old{}, small{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  small = old;
  small.rlim_cur = 1 << 20;
  auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::vector<char> data(3 << 20, 'x');
  std::vector<ConstantSource> constants(1);
  constants[0].size = data.size();
  constants[0].data = data.data();
  EXPECT_FALSE(writeArtifact(path, manifestFor(1), {}, constants, &error));
  setrlimit(RLIMIT_FSIZE, &old);
  signal(SIGXFSZ, handler);
  EXPECT_NE(error.find("cannot write"), std::string::npos) << error;
  EXPECT_EQ(filesBeside(path), files);
}

} // namespace
