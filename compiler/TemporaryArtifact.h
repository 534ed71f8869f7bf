//===- TemporaryArtifact.h - An artifact for a while ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TEMPORARYARTIFACT_H
#define LATHE_COMPILER_TEMPORARYARTIFACT_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallString.h"
#include <string>

namespace lathe {

/// A file for an artifact that the compiler has others run; it is gone when its scope ends.
class TemporaryArtifact {
public:
  TemporaryArtifact() = default;
  TemporaryArtifact(const TemporaryArtifact &) = delete;
  ~TemporaryArtifact();
  /// Lets `write` fill the file, and takes its name away, so that nothing is left of it however the process ends. False
  /// with `error` set.
  bool make(llvm::function_ref<bool(const std::string &path, std::string &error)> write, std::string &error);
  /// Opens it, while it is there.
  std::string path() const { return std::string(name); }

private:
  llvm::SmallString<128> name;
  int descriptor = -1;
};

} // namespace lathe

#endif // LATHE_COMPILER_TEMPORARYARTIFACT_H
