//===- Help.h - The command line, described ---------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
//
// Subcommands describe their options to CLI11; from that description, and the examples here, come the texts of --help,
// the manual page and the completions of shells.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_HELP_H
#define LATHE_COMPILER_TOOLS_LATHE_HELP_H

#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
class ParseError;
} // namespace CLI

namespace lathe::tool {

/// A command as one types it, and what it does.
struct Example {
  std::string what, command;
};

/// Of a subcommand; none of one that is not known.
const std::vector<Example> &examplesOf(const std::string &command);

/// What the value of an option is.
struct ValueKind {
  enum Of { text, file, folder, path } kind = text;
  std::vector<std::string> endings; ///< of files, without the dot; any, if empty
  std::vector<std::string> words;   ///< that are expected; others may be right, too
};
ValueKind valueKindOf(const CLI::Option &option);

/// How help calls the value of an option: "FILE", "N", "rtn|gptq".
std::string placeholderOf(const CLI::Option &option);
/// Whether an option has no value.
bool isFlag(const CLI::Option &option);
/// Those of a command that have names, in their order, and those that have none.
std::vector<const CLI::Option *> optionsOf(const CLI::App &command);
std::vector<const CLI::Option *> positionalsOf(const CLI::App &command);
/// All commands, in their order; null where none has the name.
std::vector<const CLI::App *> commandsOf(const CLI::App &app);
const CLI::App *findCommand(const CLI::App &app, const std::string &name);

/// Adds what all subcommands have in common, `help` and `completion`, and sets how help looks. After all others were
/// added.
void describe(CLI::App &app);

/// The manual page, in the language of man(7).
std::string manualPage(const CLI::App &app);

/// The completion of a shell: "bash", "zsh" or "fish".
std::string completion(const CLI::App &app, const std::string &shell);

/// What is wrong with a command line that CLI11 refused, with what may have been meant.
std::string usageError(const CLI::App &app, const CLI::ParseError &error, int argc, char **argv);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_HELP_H
