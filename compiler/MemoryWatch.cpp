//===- MemoryWatch.cpp - A bound on resident memory -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/MemoryWatch.h"
#include <chrono>
#include <cstdio>
#include <unistd.h>

namespace lathe {

uint64_t residentBytes() {
  std::FILE *file = std::fopen("/proc/self/statm", "re");
  if (!file)
    return 0;
  unsigned long long total = 0, resident = 0;
  int read = std::fscanf(file, "%llu %llu", &total, &resident);
  std::fclose(file);
  return read == 2 ? resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

std::string sizeText(uint64_t bytes) {
  const char *unit = bytes >= uint64_t(1) << 30 ? "GiB" : "MiB";
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s",
                static_cast<double>(bytes) / (bytes >= uint64_t(1) << 30 ? 1 << 30 : 1 << 20), unit);
  return text;
}

MemoryWatch::MemoryWatch(uint64_t limit, std::function<void(const std::string &)> onExceeded)
    : limit(limit), onExceeded(std::move(onExceeded)) {
  if (limit)
    thread = std::thread([this] { run(); });
}

MemoryWatch::~MemoryWatch() {
  {
    std::lock_guard guard(mutex);
    done = true;
  }
  changed.notify_all();
  if (thread.joinable())
    thread.join();
}

void MemoryWatch::enter(const std::string &name) {
  std::lock_guard guard(mutex);
  phase = name;
}

bool MemoryWatch::sample() {
  if (limit && !passedWith)
    if (uint64_t bytes = residentBytes(); bytes > limit) {
      passedWith = bytes;
      passedIn = phase;
    }
  return passedWith != 0;
}

bool MemoryWatch::exceeded() {
  std::lock_guard guard(mutex);
  asked |= sample();
  return passedWith != 0;
}

std::string MemoryWatch::message() {
  std::lock_guard guard(mutex);
  return "compiling takes more than the " + sizeText(limit) + " of --max-memory: " + sizeText(passedWith) +
         " are resident in phase '" + passedIn +
         "'; give a larger --max-memory, or take less of it with --jobs 1 and one instruction set (--target cpu:avx2)";
}

void MemoryWatch::run() {
  using namespace std::chrono_literals;
  for (std::unique_lock lock(mutex); !done;) {
    if (sample()) {
      lock.unlock();
      std::string text = message();
      std::lock_guard guard(files);
      lock.lock();
      bool known = asked;
      lock.unlock();
      if (onExceeded && !known)
        onExceeded(text);
      return;
    }
    changed.wait_for(lock, 5ms);
  }
}

} // namespace lathe
