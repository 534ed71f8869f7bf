//===- Commands.h - Subcommands that run artifacts --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// All of them use only the public C interface of the runtime. Exit codes: docs/exit-codes.md.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_COMMANDS_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_COMMANDS_H

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lathe::tool {

/// Adds `lathe run`. Its callback sets `exitCode`, which must outlive the parse, as in the others.
void addRunCommand(CLI::App &app, int &exitCode);

/// Adds `lathe bench`.
void addBenchCommand(CLI::App &app, int &exitCode);

/// Adds `lathe profile`.
void addProfileCommand(CLI::App &app, int &exitCode);

/// Adds `lathe report`.
void addReportCommand(CLI::App &app, int &exitCode);

/// Adds `lathe inspect`, for .lathe files.
void addInspectCommand(CLI::App &app, int &exitCode);

/// Adds `lathe log-mel`; there where the audio library is (LATHE_HAS_AUDIO).
void addLogMelCommand(CLI::App &app, int &exitCode);

/// These are there where the tokenizer library is (LATHE_HAS_TOKENIZER): `lathe generate`, `lathe perplexity` and `lathe tokenize`.
void addGenerateCommand(CLI::App &app, int &exitCode);
void addPerplexityCommand(CLI::App &app, int &exitCode);
void addTokenizeCommand(CLI::App &app, int &exitCode);

struct InspectOptions {
  std::string file;
  std::string html; ///< a page to write; none, if empty
  bool json = false, verify = false;
  std::vector<std::string> dims; ///< for which peak memory is forecast
  int threads = 0;
};
void addInspectOptions(CLI::App &command, InspectOptions &options);

/// What `lathe inspect` does, for a tool that decides by the kind of file; returns the exit code.
int inspectArtifact(const InspectOptions &options);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_COMMANDS_H
