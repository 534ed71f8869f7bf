//===- MemoryWatch.h - A bound on resident memory ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_MEMORYWATCH_H
#define LATHE_COMPILER_MEMORYWATCH_H

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace lathe {

/// Bytes that this process holds resident; 0 where the system does not tell.
uint64_t residentBytes();

/// "1.5 GiB"
std::string sizeText(uint64_t bytes);

/// Watches how much memory the process holds. A pass of MLIR cannot be stopped from outside, so there are two ways to
/// act: the one who works asks `exceeded` where it can stop, and `onExceeded` is called on the watching thread.
class MemoryWatch {
public:
  /// No bound, and no thread, where `limit` is 0.
  MemoryWatch(uint64_t limit, std::function<void(const std::string &message)> onExceeded);
  ~MemoryWatch();

  void enter(const std::string &phase);
  bool exceeded();
  /// What was passed, in which phase, and what to do.
  std::string message();

  /// While it is held, `onExceeded` is not called, since a file is being written; and not after `exceeded` told.
  std::unique_lock<std::mutex> holdFiles() { return std::unique_lock(files); }

private:
  void run();
  bool sample();

  const uint64_t limit;
  std::function<void(const std::string &)> onExceeded;
  std::mutex mutex, files;
  std::condition_variable changed;
  std::string phase = "start", passedIn;
  uint64_t passedWith = 0; ///< bytes, when the bound was passed; 0 before
  bool asked = false;      ///< and who works knows it
  bool done = false;
  std::thread thread;
};

} // namespace lathe

#endif // LATHE_COMPILER_MEMORYWATCH_H
