//===- Support.h - What the subcommands share -------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_SUPPORT_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_SUPPORT_H

#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "runtime/include/lathe/lathe.hpp"

#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace lathe::tool {

/// docs/exit-codes.md
enum ExitCode { kOk = 0, kInternal = 1, kUsage = 2, kInvalidModel = 3, kOutsideTolerance = 4, kOverBudget = 5, kInterrupted = 130 };

/// A failure of a subcommand, with the exit code that it means.
class CommandError : public std::runtime_error {
public:
  CommandError(int code, const std::string &message) : std::runtime_error(message), code_(code) {}
  int code() const { return code_; }

private:
  int code_;
};

/// Exit code for a status of the runtime.
int exitCodeFor(lathe_status status);

/// Prints a failure to standard error; returns its exit code.
int reportFailure(const std::exception &error);

/// Runs `body`; prints what it throws to standard error. Returns the exit code.
template <typename Body> int guarded(Body body) {
  try {
    return body();
  } catch (const std::exception &error) {
    return reportFailure(error);
  }
}

/// "[batch, 384]"
std::string shapeText(const std::vector<std::string> &dims);
std::string shapeText(const std::vector<int64_t> &dims);

/// What the system says of this process's memory in bytes, such as VmRSS or VmHWM; 0 if unknown.
uint64_t processStatus(const char *key);

/// Says on what a model runs, and how long its loading and its first run took, where the command is verbose.
void detailRun(const Module &module, const Session &session, double loadMs, double runMs);

/// Binds tensors to the inputs of their names; every input must be there, but for those that are `given`, and nothing else.
void bindInputs(const Module &module, Session &session, const std::vector<Tensor> &tensors,
                const std::vector<std::string> &given = {});

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_SUPPORT_H
