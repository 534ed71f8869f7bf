//===- Selection.h - Parts of a distribution, without sorting ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_GENERATION_SELECTION_H
#define LATHE_RUNTIME_GENERATION_SELECTION_H

#include "runtime/generation/RowKernels.h"

#include <vector>

namespace lathe::runtime {

/// Numbers of a row and their places, in the order of the row.
struct Candidates {
  std::vector<float> values;
  std::vector<int32_t> places;
  size_t count = 0; ///< used of the two

  /// Keeps those for which `keep(index)` holds.
  template <typename Keep> void filter(Keep keep) {
    size_t kept = 0;
    for (size_t i = 0; i < count; ++i) {
      if (!keep(i))
        continue;
      values[kept] = values[i];
      places[kept] = places[i];
      ++kept;
    }
    count = kept;
  }
};

/// Looks at one row after another. Memory is got once for the longest of them.
class Selection {
public:
  /// Must come first; the others look at this row.
  RowScan scan(const float *row, size_t count);

  /// The finite numbers not below `threshold`.
  void collect(float threshold, Candidates &candidates);

  /// The `k` largest finite numbers, with all that equal the least of them.
  void largest(size_t k, Candidates &candidates);

private:
  const float *row_ = nullptr;
  size_t count_ = 0;
  std::vector<float> blocks_;
  std::vector<float> scratch_;
};

/// What is sorted by `key`, the least first, and, of equal keys, with the greatest place first.
struct Ranked {
  float key;
  int32_t place;
  float weight;
};

/// The last, in that order, before which less than `mass` lies; changes the order of `items`. The first one where
/// `mass` is not above 0. There is at least one item. Time is that of the number of items.
Ranked rankedByMass(Ranked *items, size_t count, double mass);

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_GENERATION_SELECTION_H
