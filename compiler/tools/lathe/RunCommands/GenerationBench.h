//===- GenerationBench.h - How fast text is generated -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATIONBENCH_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATIONBENCH_H

#include "compiler/tools/lathe/RunCommands/Inputs.h"

namespace lathe::tool {

struct GenerationBenchOptions {
  int64_t prompt = -1, generate = -1; ///< tokens; -1 where not given
  bool asked() const { return prompt >= 0 || generate >= 0; }
};

/// Measures the prompt and the steps after it, apart: tokens per second, their deviation over repetitions, and how near
/// steps come to reading the weights at the speed of the memory. Prints; returns the exit code.
int benchGeneration(const MeasureOptions &options, const GenerationBenchOptions &generation, bool verify);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATIONBENCH_H
