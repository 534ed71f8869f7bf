//===- NewFile.cpp - A file that is there whole or not --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/NewFile.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace lathe {

static std::error_code lastError() { return {errno, std::generic_category()}; }

NewFile::~NewFile() {
  if (file >= 0)
    close(file);
  if (!temporary.empty())
    unlink(temporary.c_str());
}

std::error_code NewFile::open() {
  std::string folder = llvm::sys::path::parent_path(path).str();
  file = ::open(folder.empty() ? "." : folder.c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (file >= 0)
    return {};
  std::string name = path + ".tmp" + std::to_string(getpid());
  file = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0)
    return lastError();
  temporary = name;
  return {};
}

std::error_code NewFile::write(llvm::function_ref<void(llvm::raw_ostream &)> body) {
  if (std::error_code code = open())
    return code;
  llvm::raw_fd_ostream stream(file, /*shouldClose=*/false);
  body(stream);
  stream.flush();
  std::error_code code = stream.error();
  stream.clear_error();
  return code;
}

std::error_code NewFile::finish() {
  if (temporary.empty()) {
    std::string self = "/proc/self/fd/" + std::to_string(file);
    auto link = [&](const std::string &name) {
      return linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    if (!link(path)) {
      // A link can't take the place of another file, as a name can.
      temporary = path + ".tmp" + std::to_string(getpid());
      if (errno != EEXIST || (!link(temporary) && (errno != EEXIST || unlink(temporary.c_str()) != 0 || !link(temporary)))) {
        std::error_code code = lastError();
        temporary.clear();
        return code;
      }
    }
  }
  // Some file systems report a full disk only here.
  int closed = close(file);
  file = -1;
  if (closed != 0 || (!temporary.empty() && rename(temporary.c_str(), path.c_str()) != 0))
    return lastError();
  temporary.clear();
  return {};
}

} // namespace lathe
