//===- Stopwatch.h - How long artifacts take on this machine ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// What is compressed is to pay in time as well, which only the machine can tell. Whoever calls the compiler runs what
// it compiled, as the compiler has no runtime.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_STOPWATCH_H
#define LATHE_COMPILER_STOPWATCH_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace lathe {

/// Numbers from -1 to 1 that are about random, the same each time: what timed models read and multiply by.
inline std::vector<float> aboutRandom(size_t count) {
  std::vector<float> numbers(count);
  uint32_t state = 1;
  for (float &number : numbers) {
    state = state * 1664525u + 1013904223u; // the constants of Numerical Recipes
    number = static_cast<float>(state >> 8) / 8388608.0f - 1;
  }
  return numbers;
}

/// What the kernels of a node took.
struct NodeTime {
  double microseconds = 0; ///< the sum of the least time of each
  std::string kernel;      ///< what they are, such as "matmul int8 x int8"; of several the slowest first
};

class Stopwatch {
public:
  virtual ~Stopwatch() = default;
  /// Tells machines apart, and what of them runs use: times of one are of no use to another.
  virtual std::string machine() const = 0;
  /// Runs artifacts whose inputs are of f32 and of fixed shapes, in turns, so that what else the machine does falls on
  /// all of them alike, and gives for each the times of its nodes, by name. Where `isWarm` a run that is timed follows
  /// one of the same artifact, so that what fits into caches is there, else weights come from memory. Returns what went
  /// wrong, or an empty text.
  virtual std::string time(const std::vector<std::string> &paths, bool isWarm,
                           std::vector<std::map<std::string, NodeTime>> &times) = 0;
};

} // namespace lathe

#endif // LATHE_COMPILER_STOPWATCH_H
