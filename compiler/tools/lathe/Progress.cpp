//===- Progress.cpp - A line on the terminal while work goes on -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Progress.h"
#include <chrono>
#include <cstdio>
#include <unistd.h>

namespace lathe::tool {

using Clock = std::chrono::steady_clock;

Progress::Progress(bool quiet) : isOn(!quiet && isatty(STDERR_FILENO)) {
  if (isOn)
    thread = std::thread([this] { run(); });
}

void Progress::show(const std::string &what) {
  if (!isOn)
    return;
  std::lock_guard guard(mutex);
  text = what;
}

void Progress::say(const std::string &what) {
  std::lock_guard guard(mutex);
  std::fprintf(stderr, "%slathe: %s\n", isOn ? "\r\033[K" : "", what.c_str());
  std::fflush(stderr);
}

void Progress::stop() {
  {
    std::lock_guard guard(mutex);
    done = true;
  }
  changed.notify_all();
  if (thread.joinable())
    thread.join();
}

void Progress::run() {
  using namespace std::chrono_literals;
  const Clock::time_point begin = Clock::now();
  std::unique_lock lock(mutex);
  bool isShown = false;
  for (Clock::time_point next = begin + 2s; !changed.wait_until(lock, next, [&] { return done; });
       next = Clock::now() + 200ms) {
    auto seconds = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - begin).count();
    std::fprintf(stderr, "\r\033[K%s … %lld s", text.c_str(), static_cast<long long>(seconds));
    std::fflush(stderr);
    isShown = true;
  }
  if (isShown)
    std::fprintf(stderr, "\r\033[K");
}

} // namespace lathe::tool
