//===- TemporaryArtifact.cpp - An artifact for a while --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/TemporaryArtifact.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace lathe {

TemporaryArtifact::~TemporaryArtifact() {
  if (descriptor >= 0)
    close(descriptor);
  else if (!name.empty())
    llvm::sys::fs::remove(name);
}

bool TemporaryArtifact::make(llvm::function_ref<bool(const std::string &path, std::string &error)> write,
                             std::string &error) {
  llvm::SmallString<128> folder;
  llvm::sys::path::system_temp_directory(/*ErasedOnReboot=*/true, folder);
  // Without a name, so that nothing is left of a process that is killed; else with one until it is written.
  descriptor = open(folder.c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
  if (descriptor >= 0) {
    name = "/proc/self/fd/" + std::to_string(descriptor);
    return write(path(), error);
  }
  int made = -1;
  if (std::error_code code = llvm::sys::fs::createTemporaryFile("lathe-run", "lathe", made, name)) {
    error = "can't make a temporary file: " + code.message();
    return false;
  }
  close(made);
  if (!write(path(), error))
    return false;
  descriptor = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    error = "can't open a temporary file: " + std::string(strerror(errno));
    return false;
  }
  llvm::sys::fs::remove(name);
  name = "/proc/self/fd/" + std::to_string(descriptor);
  return true;
}

} // namespace lathe
