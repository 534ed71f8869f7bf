//===- CompileCommands.h - Subcommands that need the compiler ---*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_COMPILECOMMANDS_H
#define LATHE_COMPILER_TOOLS_LATHE_COMPILECOMMANDS_H

namespace CLI {
class App;
}

namespace lathe::tool {

/// Adds `lathe check`. Its callback sets `exitCode`, which must outlive the parse, as in the others.
void addCheckCommand(CLI::App &app, int &exitCode);
/// Adds `lathe compile`.
void addCompileCommand(CLI::App &app, int &exitCode);
/// Adds `lathe quantize`.
void addQuantizeCommand(CLI::App &app, int &exitCode);
/// Adds `lathe optimize`.
void addOptimizeCommand(CLI::App &app, int &exitCode);
/// Adds `lathe prune`.
void addPruneCommand(CLI::App &app, int &exitCode);
/// Adds `lathe lowrank`.
void addLowRankCommand(CLI::App &app, int &exitCode);
/// Adds `lathe bisect`.
void addBisectCommand(CLI::App &app, int &exitCode);
/// Adds `lathe compare`, for models and artifacts.
void addCompareCommand(CLI::App &app, int &exitCode);
/// Adds `lathe explain`.
void addExplainCommand(CLI::App &app, int &exitCode);
/// Adds `lathe inspect`, for models and artifacts.
void addInspectAnyCommand(CLI::App &app, int &exitCode);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_COMPILECOMMANDS_H
