//===- NewFile.cpp - A file that is there whole or not ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/NewFile.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace lathe::runtime {

static std::string lastError() { return strerror(errno); }

/// Two files of a process may be on their way to one place.
static std::string temporaryName(const std::string &target) {
  static std::atomic<unsigned> counter{0};
  return target + ".tmp." + std::to_string(getpid()) + "." + std::to_string(counter++);
}

static std::string folderOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

NewFile::~NewFile() {
  if (file_ >= 0)
    close(file_);
  if (!temporary_.empty())
    unlink(temporary_.c_str());
}

std::string NewFile::open() {
  struct stat info;
  // One without a name has no place to take: it is written itself.
  if (stat(path_.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 0) {
    isInPlace_ = true;
    file_ = ::open(path_.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
    return file_ < 0 ? lastError() : "";
  }
  if (char *real = realpath(path_.c_str(), nullptr)) {
    target_ = real;
    free(real);
  }
  if (stat(target_.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return "it exists and is not a regular file";
  file_ = ::open(folderOf(target_).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (file_ >= 0)
    return "";
  std::string name = temporaryName(target_);
  unlink(name.c_str()); // of a process of the same number, long ago
  file_ = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file_ < 0)
    return lastError();
  temporary_ = name;
  return "";
}

std::string NewFile::write(const void *data, size_t size) {
  auto *bytes = static_cast<const char *>(data);
  while (size > 0) {
    ssize_t written = ::write(file_, bytes, size);
    if (written < 0 && errno == EINTR)
      continue;
    if (written < 0)
      return lastError();
    bytes += written;
    size -= static_cast<size_t>(written);
  }
  return "";
}

std::string NewFile::seek(uint64_t offset) {
  return lseek(file_, static_cast<off_t>(offset), SEEK_SET) < 0 ? lastError() : "";
}

/// Gives a file without a name that of the target, or one that can take its place.
std::string NewFile::takeName() {
  std::string self = "/proc/self/fd/" + std::to_string(file_);
  auto link = [&](const std::string &name) {
    return linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
  };
  if (link(target_))
    return "";
  if (errno != EEXIST)
    return lastError();
  // A link can't take the place of another file, as a name can.
  std::string name = temporaryName(target_);
  unlink(name.c_str());
  if (!link(name))
    return lastError();
  temporary_ = name;
  return "";
}

std::string NewFile::finish() {
  std::string problem = temporary_.empty() && !isInPlace_ ? takeName() : "";
  if (!problem.empty())
    return problem;
  // Some file systems report a full disk only here.
  int closed = close(file_);
  file_ = -1;
  if (closed != 0 || (!temporary_.empty() && rename(temporary_.c_str(), target_.c_str()) != 0))
    return lastError();
  temporary_.clear();
  return "";
}

} // namespace lathe::runtime
