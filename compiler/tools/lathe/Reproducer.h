//===- Reproducer.h - A few nodes that still go wrong -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_REPRODUCER_H
#define LATHE_COMPILER_TOOLS_LATHE_REPRODUCER_H

#include "compiler/tools/lathe/Bisection.h"

namespace lathe::tool {

struct Reproducer {
  std::string model, inputs, recipe; ///< files; `recipe` is empty where there is none
  std::string weights;               ///< the checkpoint that has its weights; empty where these are its own
  std::vector<std::string> nodes;
  Deviation deviation; ///< of the part alone, from its reference
  bool isShown() const { return !deviation.within(); }
};

/// Writes a model of at most 20 nodes around a culprit's, with the values that reach them beside it, as .npz, and what
/// is left of the recipe, as .recipe.json: the fewest nodes that go out of tolerance by themselves, or, where none do,
/// those that come nearest. Throws CommandError.
Reproducer writeReproducer(const BisectOptions &options, const Culprit &culprit, const std::string &folder,
                           const std::vector<Tensor> &inputs);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_REPRODUCER_H
