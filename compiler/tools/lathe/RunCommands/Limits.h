//===- Limits.h - What this machine can do at most --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LIMITS_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LIMITS_H

#include <cstdint>
#include <vector>

namespace lathe::tool {

/// One thing that a machine does at most so often or so fast.
struct Limit {
  const char *key;  ///< in JSON, such as "fma_avx512_gflops"
  const char *what; ///< for people
  const char *unit;
  double (*measure)(int threads); ///< the best of several trials, all threads together
  bool (*isThere)();              ///< whether this processor and its operating system have it
};

/// Arithmetic with registers alone: f32 by FMA, int8 by VNNI, bf16 and int8 by AMX; reads from the second and the third
/// cache and from memory; the start and the end of a parallel loop of the runtime's threads.
const std::vector<Limit> &limits();

/// The measured value of one; 0 where the machine does not have it. Takes about 0.1 s.
double measureLimit(const char *key, int threads);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LIMITS_H
