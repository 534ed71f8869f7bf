//===- ChangeLimit.h - How much the compiler changes ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CHANGELIMIT_H
#define LATHE_COMPILER_CHANGELIMIT_H

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace lathe {

/// What the compiler may do or leave out, and the model computes the same but for rounding: a pass, or a step of a
/// recipe, at one node or weight of the model.
struct Change {
  std::string phase; ///< such as "fuse", or "compress"
  std::string what;  ///< argument of the pass, or "step 2 (quantize)"
  std::string where; ///< node, or weight that the step applies to; empty for what is not divided by nodes
};

/// Counts changes in the order in which a compilation first comes to them, and allows the first ones alone. Those that
/// are allowed do not depend on the limit, so that two compilations whose limits differ by one differ by one change.
class ChangeLimit {
public:
  explicit ChangeLimit(uint64_t limit = UINT64_MAX) : limit(limit) {}

  /// Whether a change is made: the same answer each time that it is asked for. `run` tells runs of one pass apart.
  bool allows(uint64_t run, const Change &change) {
    auto [it, isNew] = numbers.try_emplace({run, change.where}, seen.size());
    if (isNew)
      seen.push_back(change);
    return it->second < limit;
  }

  const std::vector<Change> &changes() const { return seen; } ///< that were come to, made or not

private:
  uint64_t limit;
  std::map<std::pair<uint64_t, std::string>, uint64_t> numbers;
  std::vector<Change> seen;
};

} // namespace lathe

#endif // LATHE_COMPILER_CHANGELIMIT_H
