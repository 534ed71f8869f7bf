//===- Bisection.h - Which change makes a result wrong ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_BISECTION_H
#define LATHE_COMPILER_TOOLS_LATHE_BISECTION_H

#include "compiler/tools/lathe/CompileFlags.h"
#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include <functional>

namespace lathe::tool {

struct BisectOptions {
  Flags flags; ///< how the model is compiled that goes wrong
  std::string inputs, output, device;
  double rtol = 0.01, atol = 0;
  int threads = 0;
  bool json = false;
};

/// Whether what is bisected rounds what generation keeps in caches: then it is judged by what it predicts through them.
bool goesThroughCaches(const Flags &flags);

/// The output that is farthest from the reference, as a share of what is allowed.
struct Deviation {
  std::string output;
  double error = 0, allowed = 0; ///< largest difference; infinite where one is no number or the shapes differ
  double relative = 0;           ///< that by the largest magnitude of the reference
  bool within() const { return error <= allowed; }
};

/// Flags of the model that others are judged by: each operation on its own, nothing compressed.
Flags referenceFlags(const Flags &flags);

/// Compiles as the flags say and runs what was made. Throws CommandError where the flags are wrong or the model can't
/// be compiled; then the compiler has said why, unless `flags.mute`.
std::vector<Tensor> compileAndRun(const Flags &flags, const BisectOptions &options, const std::vector<Tensor> &inputs);

Deviation deviationOf(const std::vector<Tensor> &outputs, const std::vector<Tensor> &reference, double rtol,
                      double atol);

/// What was found.
struct Culprit {
  bool isWrong = false;           ///< whether anything is
  Change change;                  ///< whose `where` is a node or a weight
  std::vector<std::string> nodes; ///< that, and nodes whose values are computed with it, so that it may be one of them
  bool isCode = false;            ///< no change is at fault, but the kernels that are always made
  Deviation before, after;        ///< without the change, and with it
  Deviation whole;                ///< with all of them
  uint64_t number = 0, changes = 0; ///< of the change, from 1, and of all
  size_t passes = 0, places = 0;    ///< that changes are of
  unsigned runs = 0;                ///< of the model: compilations that were run
  std::string recipe;               ///< as it was carried out; empty for none
  bool isCache = false;             ///< the change is of a cache, which no node stands for
};

/// Finds the change behind which the outputs leave the tolerance, in about as many runs as the number of changes has
/// binary digits. `note` is told of each run.
Culprit bisect(BisectOptions options, const std::string &folder, const std::vector<Tensor> &inputs,
               const std::function<void(const std::string &)> &note);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_BISECTION_H
