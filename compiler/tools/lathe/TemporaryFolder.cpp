//===- TemporaryFolder.cpp - Where commands compile on the way ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/TemporaryFolder.h"
#include <cstdlib>
#include <system_error>

namespace lathe::tool {

TemporaryFolder::TemporaryFolder(const std::string &purpose) {
  std::string name = (std::filesystem::temp_directory_path() / ("lathe-" + purpose + "-XXXXXX")).string();
  if (mkdtemp(name.data()))
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code code;
  if (!path_.empty())
    std::filesystem::remove_all(path_, code);
}

} // namespace lathe::tool
