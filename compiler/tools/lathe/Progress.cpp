//===- Progress.cpp - A line on the terminal while work goes on -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Progress.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace lathe::tool {
namespace {

double since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// "48 s", "3 min", "2 h 5 min": as exact as it can be meant.
std::string durationText(double seconds) {
  auto whole = static_cast<long long>(seconds + 0.5);
  if (whole < 120)
    return std::to_string(whole) + " s";
  long long minutes = (whole + 30) / 60;
  if (minutes < 120)
    return std::to_string(minutes) + " min";
  return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
}

} // namespace

WorkProgress::WorkProgress(const std::string &text) : what(text) {
  size_t of = text.rfind(" of "), colon = text.rfind(": ");
  if (of == std::string::npos || colon == std::string::npos || colon > of)
    return;
  std::string part = text.substr(colon + 2, of - colon - 2), all = text.substr(of + 4);
  auto isNumber = [](const std::string &digits) {
    return !digits.empty() && digits.size() < 19 && digits.find_first_not_of("0123456789") == std::string::npos;
  };
  if (!isNumber(part) || !isNumber(all))
    return;
  what = text.substr(0, colon);
  total = std::stoull(all);
  done = std::stoull(part);
  done = std::min(done > 0 ? done - 1 : 0, total);
}

double secondsLeft(const WorkProgress &work, double seconds) {
  // From the first part alone, or the first second, nothing can be told.
  if (work.total == 0 || work.done < 2 || work.done > work.total || seconds < 1)
    return -1;
  return seconds / static_cast<double>(work.done) * static_cast<double>(work.total - work.done);
}

std::string progressLine(const WorkProgress &work, double left, double seconds, int columns) {
  std::string text = work.what, time = durationText(seconds);
  if (work.total > 0) {
    uint64_t done = std::min(work.done, work.total);
    constexpr uint64_t kWidth = 20;
    auto filled = static_cast<size_t>(static_cast<double>(done) / static_cast<double>(work.total) * kWidth);
    text += " [" + std::string(filled, '#') + std::string(kWidth - filled, '-') + "] ";
    // Of bytes nobody wants to know the number.
    constexpr uint64_t kCountable = 100000;
    text += work.total < kCountable
                ? std::to_string(done) + " of " + std::to_string(work.total)
                : std::to_string(static_cast<int>(100 * static_cast<double>(done) / static_cast<double>(work.total))) +
                      " %";
    if (left >= 0)
      time += ", about " + durationText(left) + " left";
  }
  text += " … " + time;
  // A line that is broken can't be erased; the ellipsis is three bytes of one column.
  size_t most = columns > 4 ? static_cast<size_t>(columns) + 1 : 0;
  return most && text.size() > most ? time.substr(0, most) : text;
}

Progress::Progress(bool quiet)
    : isOn(!quiet && !isQuiet() && isatty(STDERR_FILENO)), isDetailed(!quiet && isVerbose()) {
  if (isOn)
    thread = std::thread([this] { run(); });
}

void Progress::show(const WorkProgress &next) {
  if (!isOn && !isDetailed)
    return;
  std::lock_guard guard(mutex);
  if (next.what != work.what) {
    finishDetail();
    beginOfWork = Clock::now();
    doneAtBegin = next.done;
    isRepeated = false;
  } else if (next.total != work.total || next.done < work.done) {
    isRepeated = true;
  }
  work = next;
}

/// With the mutex held.
void Progress::finishDetail() {
  if (isDetailed && !work.what.empty())
    std::fprintf(stderr, "%slathe: %8.3f s  %s\n", isOn ? "\r\033[K" : "", since(beginOfWork), work.what.c_str());
}

void Progress::say(const std::string &what) {
  std::lock_guard guard(mutex);
  std::fprintf(stderr, "%slathe: %s\n", isOn ? "\r\033[K" : "", what.c_str());
  std::fflush(stderr);
}

void Progress::stop() {
  {
    std::lock_guard guard(mutex);
    if (!done)
      finishDetail();
    done = true;
  }
  changed.notify_all();
  if (thread.joinable())
    thread.join();
}

void Progress::run() {
  using namespace std::chrono_literals;
  std::unique_lock lock(mutex);
  bool isShown = false;
  for (Clock::time_point next = begin + 2s; !changed.wait_until(lock, next, [&] { return done; });
       next = Clock::now() + 200ms) {
    if (work.what.empty())
      continue;
    // What was there already took none of this time.
    WorkProgress own(work.what, work.done - doneAtBegin, work.total ? work.total - doneAtBegin : 0);
    double left = isRepeated ? -1 : secondsLeft(own, since(beginOfWork));
    std::string line = progressLine(work, left, since(begin), columnsOf(STDERR_FILENO, 80));
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
    isShown = true;
  }
  if (isShown)
    std::fprintf(stderr, "\r\033[K");
}

} // namespace lathe::tool
