//===- SessionStopwatch.h - Times of kernels by the runtime -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_SESSIONSTOPWATCH_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_SESSIONSTOPWATCH_H

#include "compiler/Stopwatch.h"

#include <memory>

namespace lathe::tool {

/// Runs artifacts with all processors, as models run unless told otherwise, and takes the least time of each kernel.
std::unique_ptr<Stopwatch> makeStopwatch();

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_SESSIONSTOPWATCH_H
