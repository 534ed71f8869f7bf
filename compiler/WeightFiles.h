//===- WeightFiles.h - Where the bytes of weights are -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_WEIGHTFILES_H
#define LATHE_COMPILER_WEIGHTFILES_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace lathe {

/// The file of `lathe.weight` that stands for what the compiler made itself. No path of a model's external data has a colon first.
inline constexpr llvm::StringLiteral kMadeFile = ":made";

/// Files of weights, mapped once, and the weights that the compiler makes: they lie in a file without a name, so that memory need
/// not hold them and nothing is left of them, however the process ends. Used by one thread at a time, but for bytes that were given.
class WeightFiles {
public:
  explicit WeightFiles(std::string folder = "") : folder(std::move(folder)) {}
  WeightFiles(const WeightFiles &) = delete;
  ~WeightFiles();
  /// The folder that the files are relative to; before any of them is read.
  void setFolder(std::string path) { folder = std::move(path); }
  /// Bytes [offset, offset + size) of a file; null, with `error` set, if it does not have them.
  const char *bytes(llvm::StringRef file, uint64_t offset, uint64_t size, std::string &error);
  /// The bytes will not be read again soon, and need not stay in memory.
  void release(const char *begin, uint64_t size) const;
  /// Appends to what the compiler made. The offset in kMadeFile, or nullopt with `error` set.
  std::optional<uint64_t> append(const void *data, uint64_t size, std::string &error);

private:
  struct Range {
    char *data = nullptr;
    uint64_t size = 0;
  };

  std::string folder;
  std::map<std::string, std::unique_ptr<llvm::MemoryBuffer>> files;
  int made = -1;
  uint64_t madeSize = 0;
  std::map<uint64_t, Range> ranges; ///< of what was made, by offset
};

} // namespace lathe

#endif // LATHE_COMPILER_WEIGHTFILES_H
