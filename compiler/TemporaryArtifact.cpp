//===- TemporaryArtifact.cpp - An artifact for a while --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/TemporaryArtifact.h"
#include "llvm/Support/FileSystem.h"
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
