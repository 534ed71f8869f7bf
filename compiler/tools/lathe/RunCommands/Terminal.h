//===- Terminal.h - What users see beside results ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Results go to standard output; messages, which this is about, to standard error. They have colour on terminals alone,
// and not where the environment says NO_COLOR (https://no-color.org).
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TERMINAL_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TERMINAL_H

#include <string>

namespace lathe::tool {

enum class Verbosity { quiet, normal, verbose };

/// Of this process, which runs one command; the command line sets it before the command begins.
Verbosity verbosity();
void setVerbosity(Verbosity value);
inline bool isQuiet() { return verbosity() == Verbosity::quiet; }
inline bool isVerbose() { return verbosity() == Verbosity::verbose; }

/// Whether standard error is a terminal that may be written to in colour.
bool hasColour();

/// Columns of the terminal that `descriptor` is; `otherwise` where it is none.
int columnsOf(int descriptor, int otherwise);

/// A line "lathe: error: …" on standard error.
void printError(const std::string &message);
/// A line "lathe: warning: …" on standard error; nothing where the command is quiet.
void printWarning(const std::string &message);
/// A line "lathe: …" on standard error where the command is verbose.
void printDetail(const std::string &message);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TERMINAL_H
