//===- TemporaryFolder.h - Where commands compile on the way ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_TEMPORARYFOLDER_H
#define LATHE_COMPILER_TOOLS_LATHE_TEMPORARYFOLDER_H

#include <filesystem>
#include <string>

namespace lathe::tool {

/// A folder that is gone at the end, whatever happens; its path is empty where it can't be made.
class TemporaryFolder {
public:
  /// `purpose` is a part of its name.
  explicit TemporaryFolder(const std::string &purpose);
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder &) = delete;
  TemporaryFolder &operator=(const TemporaryFolder &) = delete;
  const std::filesystem::path &path() const { return path_; }

private:
  std::filesystem::path path_;
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_TEMPORARYFOLDER_H
