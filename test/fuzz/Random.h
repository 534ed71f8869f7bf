//===- Random.h - Choices of mutators ---------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_FUZZ_RANDOM_H
#define LATHE_TEST_FUZZ_RANDOM_H

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>

namespace lathe::fuzz {

/// The same choices for the same seed.
class Random {
public:
  explicit Random(unsigned seed) : engine(seed) {}
  size_t pick(size_t below) { return below ? std::uniform_int_distribution<size_t>(0, below - 1)(engine) : 0; }

  /// Extents and indices, and where arithmetic with them ends.
  int64_t number() {
    // clang-format off
    static const int64_t known[] = {
        0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 31, 32, 33, 63, 64, 100, 127, 128, 1000, 4096, 65536, -1, -2, -3, -4, -7, -8,
        1 << 20, 1 << 30, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, INT64_MIN + 1,
        int64_t(1) << 31, int64_t(1) << 32, int64_t(1) << 40, int64_t(1) << 60, int64_t(1) << 62};
    // clang-format on
    return known[pick(std::size(known))];
  }

private:
  std::minstd_rand engine;
};

} // namespace lathe::fuzz

#endif // LATHE_TEST_FUZZ_RANDOM_H
