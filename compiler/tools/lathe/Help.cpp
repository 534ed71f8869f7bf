//===- Help.cpp - How help looks ------------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Help.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <sstream>
#include <unistd.h>

namespace lathe::tool {
namespace {

/// What options' values are that CLI11 knows as texts alone. One name means one thing in all commands.
const std::map<std::string, ValueKind> &valueKinds() {
  using Kind = ValueKind;
  static const std::map<std::string, ValueKind> kinds = {
      {"model", {Kind::file, {"onnx"}, {}}},
      {"artifact", {Kind::file, {"lathe"}, {}}},
      {"a", {Kind::file, {"lathe", "onnx"}, {}}},
      {"b", {Kind::file, {"lathe", "onnx"}, {}}},
      {"file", {Kind::file, {"lathe", "onnx"}, {}}},
      {"report", {Kind::file, {"json"}, {}}},
      {"sound", {Kind::file, {"wav"}, {}}},
      {"tokenizer", {Kind::file, {}, {}}},
      {"--output", {Kind::file, {}, {}}},
      {"--inputs", {Kind::file, {"npz"}, {}}},
      {"--outputs", {Kind::file, {"npz"}, {}}},
      {"--expect", {Kind::file, {"npz"}, {}}},
      {"--tokens", {Kind::file, {"npy"}, {}}},
      {"--ids", {Kind::file, {"npy"}, {}}},
      {"--ids-out", {Kind::file, {"npy"}, {}}},
      {"--decode", {Kind::file, {"npy"}, {}}},
      {"--file", {Kind::file, {}, {}}},
      {"--text", {Kind::text, {}, {}}},
      {"--prompt-file", {Kind::file, {}, {}}},
      {"--tokenizer", {Kind::file, {}, {}}},
      {"--generation-config", {Kind::file, {"json"}, {}}},
      {"--kl-divergence-base", {Kind::file, {}, {}}},
      {"--kl-divergence", {Kind::file, {}, {}}},
      {"--kl-divergence-with", {Kind::file, {"lathe"}, {}}},
      {"--recipe", {Kind::file, {"json"}, {}}},
      {"--pass-plugin", {Kind::file, {"so"}, {}}},
      {"--report", {Kind::file, {"json", "html"}, {}}},
      {"--html", {Kind::file, {"html"}, {}}},
      {"--trace", {Kind::file, {"json"}, {}}},
      {"--gradients", {Kind::file, {"safetensors"}, {}}},
      {"--dump-ir", {Kind::folder, {}, {}}},
      {"--weights", {Kind::path, {}, {}}},
      {"--calib", {Kind::path, {}, {}}},
      {"--target", {Kind::text, {}, {"cpu", "cpu:avx2", "cpu:avx512", "cpu:amx", "cuda", "cpu,cuda", "reference"}}},
      {"--precision", {Kind::text, {}, {"f32", "bf16", "f16", "auto"}}},
      {"--device", {Kind::text, {}, {"cpu", "cuda", "cuda-emulator", "auto"}}},
  };
  return kinds;
}

/// What CLI11 calls the value of an option, without what checks add to it.
std::string typeName(const CLI::Option &option) {
  std::string name = option.get_type_name();
  return name.substr(0, name.find(':'));
}

/// The words of a check for members, which CLI11 tells in its name alone: "TEXT:{a,b}".
std::vector<std::string> membersOf(const CLI::Option &option) {
  std::string name = option.get_type_name();
  size_t begin = name.find(":{"), end = name.rfind('}');
  std::vector<std::string> words;
  if (begin == std::string::npos || end == std::string::npos)
    return words;
  std::stringstream list(name.substr(begin + 2, end - begin - 2));
  for (std::string word; std::getline(list, word, ',');)
    words.push_back(word);
  return words;
}

void wrap(std::ostream &out, const std::string &text, size_t indent, size_t width) {
  std::stringstream words(text);
  size_t column = indent;
  for (std::string word; words >> word;) {
    // Columns, not bytes: what continues a character has no width.
    auto size = static_cast<size_t>(std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xc0) != 0x80; }));
    if (column > indent && column + 1 + size > width) {
      out << '\n' << std::string(indent, ' ');
      column = indent;
    }
    out << (column > indent ? " " : "") << word;
    column += size + (column > indent ? 1 : 0);
  }
  out << '\n';
}

/// Lines no wider than the terminal, and values that are called by what they are.
class HelpFormatter : public CLI::Formatter {
public:
  std::string make_option(const CLI::Option *option, bool isPositional) const override {
    return entry("  " + make_option_name(option, isPositional) + make_option_opts(option), option->get_description());
  }
  std::string make_subcommand(const CLI::App *command) const override {
    return entry("  " + command->get_name(), command->get_description());
  }
  std::string make_option_name(const CLI::Option *option, bool isPositional) const override {
    std::string name = CLI::Formatter::make_option_name(option, isPositional);
    size_t comma = name.find(',');
    return comma == std::string::npos ? name : name.replace(comma, 1, ", ");
  }
  std::string make_option_opts(const CLI::Option *option) const override {
    std::string text;
    if (option->get_positional())
      return text;
    if (!isFlag(*option))
      text += " " + placeholderOf(*option);
    if (option->get_expected_max() >= CLI::detail::expected_max_vector_size)
      text += " ...";
    if (!option->get_default_str().empty())
      text += " (" + option->get_default_str() + ")";
    return text + (option->get_required() ? " (required)" : "");
  }
  std::string make_description(const CLI::App *app) const override {
    std::ostringstream out;
    wrap(out, app->get_description(), 0, lineWidth());
    return out.str() + "\n";
  }
  std::string make_help(const CLI::App *app, std::string name, CLI::AppFormatMode mode) const override {
    return CLI::detail::find_and_replace(CLI::Formatter::make_help(app, name, mode), "\n\n\n", "\n\n");
  }
  std::string make_usage(const CLI::App *app, std::string) const override {
    std::string text = "Usage: lathe" + std::string(app->get_parent() ? " " + app->get_name() : "");
    if (!app->get_parent())
      return text + " COMMAND [OPTIONS]\n";
    for (const CLI::Option *option : positionalsOf(*app))
      text += option->get_required() ? " " + option->get_name(true) : " [" + option->get_name(true) + "]";
    for (const CLI::Option *option : optionsOf(*app))
      if (option->get_required())
        text += " " + option->get_name() + " " + placeholderOf(*option);
    return text + " [OPTIONS]\n";
  }
  std::string make_footer(const CLI::App *app) const override {
    if (!app->get_parent())
      return "'lathe COMMAND --help' has a command's options, and examples of it.\n";
    const std::vector<Example> &examples = examplesOf(app->get_name());
    std::string text = examples.empty() ? "" : "Examples:\n";
    for (const Example &example : examples)
      text += "  # " + example.what + "\n  " + example.command + "\n";
    return text;
  }

private:
  static size_t lineWidth() { return static_cast<size_t>(std::clamp(columnsOf(STDOUT_FILENO, 100), 60, 120)); }
  static std::string entry(const std::string &name, const std::string &description) {
    constexpr size_t kIndent = 30;
    std::ostringstream out;
    out << name
        << (name.size() + 2 > kIndent ? "\n" + std::string(kIndent, ' ') : std::string(kIndent - name.size(), ' '));
    wrap(out, description, kIndent, lineWidth());
    return out.str();
  }
};

/// -q and -v; what they mean is decided where something is said.
void addVerbosityOptions(CLI::App &command) {
  command.add_flag_callback(
      "-q,--quiet", [] { setVerbosity(Verbosity::quiet); },
      "print what was asked for and errors: no notes, warnings or progress");
  command.add_flag_callback(
      "-v,--verbose", [] { setVerbosity(Verbosity::verbose); },
      "also print what goes on, and how long it takes, on standard error");
}

void addCompletionCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("completion", "Print what completes commands and options in a shell");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&app, shell] { std::fputs(completion(app, *shell).c_str(), stdout); });
}

void addHelpCommand(CLI::App &app) {
  CLI::App *command = app.add_subcommand("help", "Print the help of a command, or the manual page");
  auto name = std::make_shared<std::string>();
  auto isManual = std::make_shared<bool>(false);
  command->add_option("command", *name, "the command")->check([&app](const std::string &text) {
    return findCommand(app, text) ? std::string() : "'" + text + "' is no command of lathe; 'lathe --help' lists them";
  });
  command->add_flag("--man", *isManual, "print the manual page of all commands, in the language of man(7)");
  command->callback([&app, name, isManual] {
    std::string text = *isManual ? manualPage(app) : name->empty() ? app.help() : findCommand(app, *name)->help();
    std::fputs(text.c_str(), stdout);
  });
}

} // namespace

ValueKind valueKindOf(const CLI::Option &option) {
  auto found = valueKinds().find(option.get_name());
  ValueKind kind = found == valueKinds().end() || typeName(option) != "TEXT" ? ValueKind() : found->second;
  if (std::vector<std::string> members = membersOf(option); !members.empty())
    kind = {ValueKind::text, {}, members};
  return kind;
}

std::string placeholderOf(const CLI::Option &option) {
  ValueKind kind = valueKindOf(option);
  if (kind.kind == ValueKind::folder)
    return "FOLDER";
  if (kind.kind == ValueKind::path)
    return "PATH";
  if (kind.kind == ValueKind::file)
    return "FILE";
  if (std::vector<std::string> members = membersOf(option); !members.empty())
    return CLI::detail::join(members, "|");
  std::string type = typeName(option);
  return type == "TEXT" ? type : type == "FLOAT" ? "X" : type.empty() ? type : "N";
}

bool isFlag(const CLI::Option &option) { return option.get_type_size() == 0 || option.get_expected_max() == 0; }

std::vector<const CLI::Option *> optionsOf(const CLI::App &command) {
  return command.get_options(
      [](const CLI::Option *option) { return option->nonpositional() && !option->get_group().empty(); });
}

std::vector<const CLI::Option *> positionalsOf(const CLI::App &command) {
  return command.get_options([](const CLI::Option *option) { return option->get_positional(); });
}

std::vector<const CLI::App *> commandsOf(const CLI::App &app) {
  return app.get_subcommands([](const CLI::App *command) { return !command->get_name().empty(); });
}

const CLI::App *findCommand(const CLI::App &app, const std::string &name) {
  for (const CLI::App *command : commandsOf(app))
    if (command->get_name() == name)
      return command;
  return nullptr;
}

void describe(CLI::App &app) {
  for (CLI::App *command : app.get_subcommands([](const CLI::App *) { return true; }))
    addVerbosityOptions(*command);
  addCompletionCommand(app);
  addHelpCommand(app);
  auto formatter = std::make_shared<HelpFormatter>();
  app.formatter(formatter);
  app.set_help_flag("-h,--help", "print this help");
  for (CLI::App *command : app.get_subcommands([](const CLI::App *) { return true; })) {
    command->formatter(formatter);
    command->set_help_flag("-h,--help", "print this help");
  }
}

} // namespace lathe::tool
