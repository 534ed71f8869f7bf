//===- Allocation.h - Which layer gets which alternative --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Bytes, or any other cost that is to be saved, such as time, are shared out among layers so that the sum of their
// losses is small: each layer's options on the lower convex hull of cost and loss are its steps down, and all layers'
// steps are taken in the order of what they lose for a byte (Shoham and Gersho 1988). For each cost that this order
// passes, no other choice loses less.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_ALLOCATION_H
#define LATHE_COMPILER_ALLOCATION_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lathe {

/// One way to store a layer.
struct LayerOption {
  uint64_t cost = 0; ///< such as bytes, or picoseconds
  double loss = 0; ///< that it alone brings; below 0 counts as 0
};

/// The options on the lower convex hull, from the most bytes to the fewest: more and more is lost for each byte. Of
/// options that are no worse in anything the first one stays. The first entry is the one that loses least, and of these
/// the smallest.
std::vector<size_t> lowerHull(const std::vector<LayerOption> &options);

/// The steps down from the layers' best options to their smallest.
class AllocationPath {
public:
  /// Option 0 of each layer is to leave it as it is. Every layer has at least one.
  explicit AllocationPath(std::vector<std::vector<LayerOption>> layers);

  size_t length() const { return moves.size(); }
  /// The option of each layer after the first `steps` steps.
  std::vector<size_t> choice(size_t steps) const;
  uint64_t cost(const std::vector<size_t> &choice) const;
  double loss(const std::vector<size_t> &choice) const;
  uint64_t cost(size_t steps) const { return cost(choice(steps)); }
  /// The fewest steps whose choice costs at most so much; length() + 1 where none does.
  size_t stepsFor(uint64_t limit) const;
  /// A choice with what is left of `limit` given to the layers that gain most from it.
  std::vector<size_t> filled(std::vector<size_t> choice, uint64_t limit) const;

private:
  struct Move {
    size_t layer = 0, option = 0;
    double slope = 0; ///< loss for a byte
  };
  std::vector<std::vector<LayerOption>> layers;
  std::vector<size_t> first; ///< of each layer
  std::vector<Move> moves;
};

} // namespace lathe

#endif // LATHE_COMPILER_ALLOCATION_H
