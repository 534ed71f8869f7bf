//===- WorkProgress.h - How far long work has come --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_WORKPROGRESS_H
#define LATHE_COMPILER_TOOLS_LATHE_WORKPROGRESS_H

#include <cstdint>
#include <string>
#include <utility>

namespace lathe::tool {

/// What goes on: a phase, or the parts of one of which it is known how many there are.
struct WorkProgress {
  std::string what;   ///< "quantize"
  uint64_t done = 0;  ///< parts that are finished, at most `total`
  uint64_t total = 0; ///< parts that there are; 0 where nobody knows

  WorkProgress() = default;
  WorkProgress(std::string what, uint64_t done, uint64_t total) : what(std::move(what)), done(done), total(total) {}
  /// As the compiler tells it: "quantize: 4 of 12" while the fourth is under way, or a text without numbers.
  explicit WorkProgress(const std::string &text);
};

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_WORKPROGRESS_H
