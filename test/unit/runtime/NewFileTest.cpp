//===- NewFileTest.cpp - Files that are there whole or not ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/NewFile.h"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <unistd.h>

using lathe::runtime::NewFile;
namespace fs = std::filesystem;

namespace {

class NewFiles : public testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "lathe-new-file-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override { fs::remove_all(folder); }

  size_t count() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
  }
  static std::string read(const fs::path &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Whether the file system has files without names.
  bool hasNameless() const {
    int file = open(folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600);
    if (file >= 0)
      close(file);
    return file >= 0;
  }

  fs::path folder;
};

TEST_F(NewFiles, AreThereWhenTheyAreFinished) {
  fs::path path = folder / "a";
  for (const char *text : {"first", "second"}) { // the one takes the other's place
    std::string before = fs::exists(path) ? read(path) : "";
    NewFile file(path);
    ASSERT_EQ(file.open(), "");
    ASSERT_EQ(file.write("....", 4), "");
    ASSERT_EQ(file.seek(0), "");
    ASSERT_EQ(file.write(text, strlen(text)), "");
    if (hasNameless()) {
      EXPECT_EQ(count(), before.empty() ? 0u : 1u); // what is killed here leaves nothing
    }
    EXPECT_EQ(fs::exists(path) ? read(path) : "", before);
    ASSERT_EQ(file.finish(), "");
    EXPECT_EQ(read(path), text);
    EXPECT_EQ(count(), 1u);
  }
}

TEST_F(NewFiles, VanishWhereTheyAreNotFinished) {
  fs::path path = folder / "a";
  {
    NewFile file(path);
    ASSERT_EQ(file.open(), "");
    ASSERT_EQ(file.write("1", 1), "");
  }
  EXPECT_EQ(count(), 0u);
}

TEST_F(NewFiles, FollowLinks) {
  fs::path path = folder / "a", link = folder / "link";
  std::ofstream(path) << "before";
  fs::create_symlink("a", link);
  NewFile file(link);
  ASSERT_EQ(file.open(), "");
  EXPECT_EQ(fs::path(file.target()), fs::canonical(path));
  ASSERT_EQ(file.write("after", 5), "");
  ASSERT_EQ(file.finish(), "");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read(path), "after");
  EXPECT_EQ(count(), 2u);
}

TEST_F(NewFiles, TakeNoOtherPlaces) {
  EXPECT_EQ(NewFile("/dev/null").open(), "it exists and is not a regular file");
  EXPECT_EQ(NewFile(folder).open(), "it exists and is not a regular file");
  EXPECT_EQ(NewFile(folder / "none" / "a").open(), "No such file or directory");
  fs::create_symlink("/dev/null", folder / "link");
  EXPECT_EQ(NewFile(folder / "link").open(), "it exists and is not a regular file");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
}

TEST_F(NewFiles, WriteFilesWithoutANameInPlace) {
  if (!hasNameless())
    GTEST_SKIP() << "the file system has no files without names";
  int descriptor = open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  ASSERT_GE(descriptor, 0);
  NewFile file("/proc/self/fd/" + std::to_string(descriptor));
  ASSERT_EQ(file.open(), "");
  ASSERT_EQ(file.write("text", 4), "");
  ASSERT_EQ(file.finish(), "");
  char text[8] = {};
  EXPECT_EQ(pread(descriptor, text, sizeof text, 0), 4);
  EXPECT_STREQ(text, "text");
  EXPECT_EQ(count(), 0u);
  close(descriptor);
}

} // namespace
