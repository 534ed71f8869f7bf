//===- ManualPage.cpp - The manual page of the command --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Help.h"
#include <CLI/CLI.hpp>
#include <sstream>

namespace lathe::tool {
namespace {

/// Text as man(7) prints it: with hyphens that can be copied, and no line that begins a request.
std::string escaped(const std::string &text) {
  std::string result;
  for (char c : text)
    result += c == '\\' ? "\\e" : c == '-' ? "\\-" : c == '\'' ? "\\(aq" : std::string(1, c);
  return result.empty() || result[0] != '.' ? result : "\\&" + result;
}

std::string bold(const std::string &text) { return "\\fB" + escaped(text) + "\\fR"; }
std::string italic(const std::string &text) { return "\\fI" + escaped(text) + "\\fR"; }

void writeOption(std::ostream &out, const CLI::Option &option) {
  out << ".TP\n";
  if (option.get_positional()) {
    out << italic(option.get_name(true)) << '\n';
  } else {
    std::string names;
    for (const std::string &name : option.get_snames())
      names += (names.empty() ? "" : ", ") + bold("-" + name);
    for (const std::string &name : option.get_lnames())
      names += (names.empty() ? "" : ", ") + bold("--" + name);
    out << names << (isFlag(option) ? "" : " " + italic(placeholderOf(option)))
        << (option.get_expected_max() >= CLI::detail::expected_max_vector_size ? " .\\|.\\|." : "") << '\n';
  }
  out << escaped(option.get_description());
  if (!option.get_default_str().empty())
    out << " (" << escaped(option.get_default_str()) << ')';
  out << (option.get_required() && option.nonpositional() ? " (required)" : "") << '\n';
}

void writeCommand(std::ostream &out, const CLI::App &command) {
  out << ".SS \"lathe " << escaped(command.get_name()) << "\"\n"
      << escaped(command.get_description()) << ".\n.PP\n"
      << bold("lathe " + command.get_name());
  for (const CLI::Option *option : positionalsOf(command))
    out << ' '
        << (option->get_required() ? italic(option->get_name(true)) : '[' + italic(option->get_name(true)) + ']');
  for (const CLI::Option *option : optionsOf(command))
    if (option->get_required())
      out << ' ' << bold(option->get_name()) << ' ' << italic(placeholderOf(*option));
  out << " [" << italic("OPTIONS") << "]\n";
  for (const CLI::Option *option : positionalsOf(command))
    writeOption(out, *option);
  for (const CLI::Option *option : optionsOf(command))
    if (option != command.get_help_ptr())
      writeOption(out, *option);
  const std::vector<Example> &examples = examplesOf(command.get_name());
  if (examples.empty())
    return;
  out << ".PP\nExamples:\n";
  for (const Example &example : examples)
    out << ".PP\n" << escaped(example.what) << ":\n.PP\n.in +4n\n.nf\n" << escaped(example.command) << "\n.fi\n.in\n";
}

/// docs/exit-codes.md
constexpr struct {
  int code;
  const char *what;
} kExitCodes[] = {{0, "Success."},
                  {1, "Internal error, or an output that can't be written."},
                  {2, "Usage: an option, an input or a file that is not as the command expects it."},
                  {3, "The model or artifact is invalid, or not supported."},
                  {4, "Outputs are outside of the tolerance that was given."},
                  {5, "A memory budget is passed, or memory is exhausted."},
                  {130, "Interrupted."}};

constexpr struct {
  const char *name, *what;
} kVariables[] = {
    {"LATHE_ISA", "Instruction set to run with, such as avx2, instead of the best that the processor has."},
    {"NO_COLOR", "Where it is set and not empty, messages have no colour. They have none but on terminals."}};

} // namespace

std::string manualPage(const CLI::App &app) {
  std::ostringstream out;
  out << ".\\\" Printed by 'lathe help --man'.\n.TH LATHE 1 \"\" \"lathe " LATHE_VERSION "\" \"User Commands\"\n"
      << ".SH NAME\nlathe \\- compile ONNX Transformers, compress and run them\n.SH SYNOPSIS\n"
      << bold("lathe") << ' ' << italic("COMMAND") << " [" << italic("OPTIONS") << "]\n.SH DESCRIPTION\n"
      << escaped(app.get_description())
      << ".\nA model in ONNX is compiled, and compressed where that is asked for, into an artifact: one file, "
      << "which the other commands and the runtime library read.\n"
      << "An artifact holds native code: load only what you trust, as for any program.\n.SH OPTIONS\n";
  for (const CLI::Option *option : optionsOf(app))
    writeOption(out, *option);
  out << "Each command has\n" << bold("--help") << ", too.\n.SH COMMANDS\n";
  for (const CLI::App *command : commandsOf(app))
    writeCommand(out, *command);
  out << ".SH EXIT STATUS\n";
  for (const auto &entry : kExitCodes)
    out << ".TP\n" << bold(std::to_string(entry.code)) << '\n' << escaped(entry.what) << '\n';
  out << ".SH ENVIRONMENT\n";
  for (const auto &entry : kVariables)
    out << ".TP\n" << bold(entry.name) << '\n' << escaped(entry.what) << '\n';
  return out.str();
}

} // namespace lathe::tool
