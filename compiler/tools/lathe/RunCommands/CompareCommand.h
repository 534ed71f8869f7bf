//===- CompareCommand.h - lathe compare -------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_COMPARECOMMAND_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_COMPARECOMMAND_H

#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include <optional>

namespace lathe::tool {

struct CompareOptions {
  std::string files[2]; ///< artifacts
  std::string names[2]; ///< what users call them
  std::string calibration;
  std::string html; ///< a page to write; none, if empty
  InputOptions inputs;
  int64_t context = 256;
  size_t samples = 0, top = 10;
  double threshold = 0.01;
  std::optional<double> rtol, atol;
  int threads = 0;
  bool json = false;
};
void addCompareOptions(CLI::App &command, CompareOptions &options);

/// What `lathe compare` does with two artifacts; returns the exit code.
int compareArtifacts(const CompareOptions &options);

/// The first node, in the order of `a`, whose value in `b` has a relative error above the threshold, or, where none has,
/// that of the largest step, and behind it the nodes that its kernel in either computes with it, of whose values nothing
/// is known; empty where the two have no value in common that differs. Throws CommandError.
std::vector<std::string> firstParting(const std::string &a, const std::string &b, const std::vector<Tensor> &inputs, double threshold,
                                      int threads);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_COMPARECOMMAND_H
