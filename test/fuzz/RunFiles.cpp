//===- RunFiles.cpp - A fuzz target on given files ------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Each file within a second and 16 MiB beyond what went before, sanitizers aside: what a hostile file may cost at most.
//
//===----------------------------------------------------------------------===//
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/resource.h>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LATHE_SLOW 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define LATHE_SLOW 1
#endif

static long peakKib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

int main(int argc, char **argv) {
  int failures = 0;
  // What is loaded and registered once is not a file's cost.
  (void)LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(""), 0);
  for (int i = 1; i < argc; ++i) {
    std::ifstream stream(argv[i], std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    long before = peakKib();
    rusage start{}, end{};
    getrusage(RUSAGE_SELF, &start);
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
    getrusage(RUSAGE_SELF, &end);
    double seconds = static_cast<double>(end.ru_utime.tv_sec - start.ru_utime.tv_sec) +
                     static_cast<double>(end.ru_utime.tv_usec - start.ru_utime.tv_usec) * 1e-6;
    long kib = peakKib() - before;
    std::printf("%s: %zu bytes, %.3f s, %ld KiB\n", argv[i], bytes.size(), seconds, kib);
#ifndef LATHE_SLOW
    double allowed = 1 + static_cast<double>(bytes.size()) * 1e-4;
    if (seconds > allowed || kib > (16 << 10) + static_cast<long>(bytes.size() / 4)) {
      std::printf("  expected at most %.1f s and 16 MiB\n", allowed);
      ++failures;
    }
#endif
  }
  return failures != 0;
}
