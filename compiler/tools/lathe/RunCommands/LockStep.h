//===- LockStep.h - Two runs side by side, value by value -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LOCKSTEP_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LOCKSTEP_H

#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "lathe/lathe.hpp"
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace lathe::tool {

/// How far values are from those that they are compared with, over all that was added.
struct Distance {
  double difference2 = 0, reference2 = 0, value2 = 0, product = 0; ///< sums of squares, and of products
  double maxAbs = 0, maxReference = 0;
  uint64_t elements = 0,
           nonFinite = 0; ///< nonFinite: elements of which one is infinite or NaN and the other is not the same

  /// Adds elements; both have `count`.
  void add(const void *reference, lathe_dtype referenceType, const void *value, lathe_dtype valueType, size_t count);
  double relative() const; ///< norm of the difference over that of the reference; infinite with nonFinite
  double snrDb() const;    ///< infinite where nothing differs
  double cosine() const;
};

/// A value that both artifacts compute.
struct Pair {
  std::string node, value;
  size_t kernels[2] = {0, 0};
  Distance distance;
  uint64_t compared = 0;
  bool otherSize = false; ///< the values had different numbers of elements: not compared
};

/// Runs two sessions in two threads, of which each waits for the other where both compute the same value, and compares
/// it there. Values are copied only where the two compute them in different orders, so memory does not grow with the
/// model.
class LockStep {
public:
  LockStep(std::vector<Pair> &pairs, size_t kernelsOfA, size_t kernelsOfB);

  /// Throws what either run throws.
  void run(Session &a, Session &b);

private:
  struct Side {
    std::vector<int64_t> pairOf; ///< by kernel; -1: none
    bool running = false;
    int64_t waiting = -1;                      ///< the pair that it has come to
    const lathe_kernel_result *live = nullptr; ///< of that
    std::map<int64_t, std::deque<Tensor>> kept;
  };
  void arrive(int side, size_t kernel, const lathe_kernel_result &result);
  void compare(int64_t pair, int side, const lathe_kernel_result &own, lathe_dtype otherType, const void *other,
               size_t otherElements);
  void runSide(int side, Session &session, std::exception_ptr &error);

  std::vector<Pair> &pairs_;
  Side sides_[2];
  std::mutex mutex_;
  std::condition_variable moved_;
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_LOCKSTEP_H
