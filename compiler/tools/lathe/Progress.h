//===- Progress.h - A line on the terminal while work goes on ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_PROGRESS_H
#define LATHE_COMPILER_TOOLS_LATHE_PROGRESS_H

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace lathe::tool {

/// Shows what goes on, from two seconds after it began until it ends; then the line is gone. Only where standard error
/// is a terminal.
class Progress {
public:
  explicit Progress(bool quiet);
  ~Progress() { stop(); }

  /// From any thread.
  void show(const std::string &what);
  /// Prints a line for good, on standard error. From any thread.
  void say(const std::string &what);
  /// Erases the line; what follows may be printed.
  void stop();

private:
  void run();

  std::mutex mutex;
  std::condition_variable changed;
  std::string text;
  bool isOn = false, done = false;
  std::thread thread;
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_PROGRESS_H
