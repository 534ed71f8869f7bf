//===- Random.h - Numbers drawn by a seed -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_QUANTIZATION_METHODS_RANDOM_H
#define LATHE_PASSES_QUANTIZATION_METHODS_RANDOM_H

#include <cstdint>

namespace lathe::quantization {

/// SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators"): the same numbers for a seed with
/// every standard library.
class Random {
public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// From 0 up to, without, 1.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

private:
  uint64_t state_;
};

} // namespace lathe::quantization

#endif // LATHE_PASSES_QUANTIZATION_METHODS_RANDOM_H
