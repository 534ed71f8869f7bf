//===- Progress.h - A line on the terminal while work goes on ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_PROGRESS_H
#define LATHE_COMPILER_TOOLS_LATHE_PROGRESS_H

#include "compiler/tools/lathe/WorkProgress.h"
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace lathe::tool {

/// Seconds that the rest of work takes that has come as far after `seconds`, if it goes on as it did; negative where
/// that can't be told yet.
double secondsLeft(const WorkProgress &work, double seconds);

/// The line that shows work: what it is, and where its parts are counted a bar, their number and the seconds that are
/// `left` of them, unless negative; `seconds` are those since the command began. At most `columns` wide.
std::string progressLine(const WorkProgress &work, double left, double seconds, int columns);

/// Shows what goes on, from two seconds after it began until it ends; then the line is gone. Only where standard error
/// is a terminal, and the command is not quiet. Where it is verbose, a line stays of each thing that was done, with its
/// time, on whatever standard error is.
class Progress {
public:
  explicit Progress(bool quiet = false);
  ~Progress() { stop(); }

  /// From any thread.
  void show(const WorkProgress &work);
  /// Prints a line for good, on standard error. From any thread.
  void say(const std::string &what);
  /// Erases the line; what follows may be printed.
  void stop();

private:
  using Clock = std::chrono::steady_clock;
  void run();
  void finishDetail();

  std::mutex mutex;
  std::condition_variable changed;
  WorkProgress work;
  Clock::time_point begin = Clock::now(), beginOfWork = begin;
  uint64_t doneAtBegin = 0; ///< what of the work was done when it was first told of, such as what an earlier run left
  bool isRepeated = false;  ///< its parts are done again, nobody knows how often, so that no time can be told
  bool isOn = false, isDetailed = false, done = false;
  std::thread thread;
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_PROGRESS_H
