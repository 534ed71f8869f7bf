//===- NewFile.h - A file that is there whole or not ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_ONNX_EXPORT_NEWFILE_H
#define LATHE_FRONTENDS_ONNX_EXPORT_NEWFILE_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include <string>
#include <system_error>

namespace llvm {
class raw_ostream;
}

namespace lathe {

/// A file that has its name only once it is complete. Until then it has none where the file system can do so, and nothing
/// is left of a process that is killed; else it lies beside its place, and vanishes with this object.
class NewFile {
public:
  explicit NewFile(std::string path) : path(std::move(path)) {}
  ~NewFile();
  NewFile(const NewFile &) = delete;
  NewFile &operator=(const NewFile &) = delete;

  /// Writes all of the content; once.
  std::error_code write(llvm::function_ref<void(llvm::raw_ostream &)> body);
  /// Takes the place of what has the name now, if anything has.
  std::error_code finish();

private:
  std::error_code open();
  std::string path;
  std::string temporary; ///< its name by now, if it has one
  int file = -1;
};

} // namespace lathe

#endif // LATHE_FRONTENDS_ONNX_EXPORT_NEWFILE_H
