//===- NewFile.h - A file that is there whole or not ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_NEWFILE_H
#define LATHE_RUNTIME_NEWFILE_H

#include <cstddef>
#include <cstdint>
#include <string>

namespace lathe::runtime {

/// A file that has its name only once it is complete, and then takes the place of what had it. Until then it has none
/// where the file system can do so, and nothing is left of a process that is killed; else it lies beside its place, and
/// vanishes with this object. Links are followed: what they point to is replaced. Everything that the compiler and the
/// tool write goes this way.
///
/// Functions return what is wrong, without the path; empty where nothing is.
class NewFile {
public:
  explicit NewFile(std::string path) : path_(std::move(path)), target_(path_) {}
  ~NewFile();
  NewFile(const NewFile &) = delete;
  NewFile &operator=(const NewFile &) = delete;

  /// Refuses to take the place of what is not a regular file, such as a device.
  std::string open();
  /// Writes all of the bytes where the last ones ended.
  std::string write(const void *data, size_t size);
  /// Goes to a place that was written, to write it again.
  std::string seek(uint64_t offset);
  /// Takes the place of what has the name now, if anything has.
  std::string finish();

  /// Of the open file, for what writes by itself; -1 where none is.
  int descriptor() const { return file_; }
  const std::string &path() const { return path_; }
  /// What has, or gets, the content: the path, or what its links lead to, once it is open.
  const std::string &target() const { return target_; }

private:
  std::string takeName();

  std::string path_;
  std::string target_;     ///< behind links
  std::string temporary_;  ///< the file's name by now, if it has one
  bool isInPlace_ = false; ///< what is written is the target itself
  int file_ = -1;
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_NEWFILE_H
