//===- Completion.cpp - Completions of shells -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Help.h"
#include <CLI/CLI.hpp>
#include <sstream>

namespace lathe::tool {
namespace {

std::vector<std::string> namesOf(const CLI::Option &option) {
  std::vector<std::string> names;
  for (const std::string &name : option.get_snames())
    names.push_back("-" + name);
  for (const std::string &name : option.get_lnames())
    names.push_back("--" + name);
  return names;
}

/// In single quotes, for a shell.
std::string quoted(const std::string &text) {
  std::string result = "'";
  for (char c : text)
    result += c == '\'' ? "'\\''" : std::string(1, c);
  return result + "'";
}

/// In single quotes of fish, where a backslash stands before what it means as it is.
std::string quotedForFish(const std::string &text) {
  std::string result = "'";
  for (char c : text)
    result += (c == '\'' || c == '\\' ? "\\" : "") + std::string(1, c);
  return result + "'";
}

std::string bash(const CLI::App &app) {
  std::ostringstream out;
  std::string commands;
  for (const CLI::App *command : commandsOf(app))
    commands += (commands.empty() ? "" : " ") + command->get_name();
  // Where no word is known readline completes names of files. A colon ends a word of readline's, so what stands before
  // it is cut off from words that have one.
  out << "# Printed by 'lathe completion bash'.\n"
         "_lathe() {\n"
         "  local line=\"${COMP_LINE:0:COMP_POINT}\" words='' word previous command='' taken\n"
         "  COMPREPLY=()\n"
         "  local -a typed\n"
         "  read -ra typed <<< \"$line\"\n"
         "  [[ \"$line\" == *[[:space:]] ]] && typed+=('')\n"
         "  word=\"${typed[${#typed[@]}-1]}\"\n"
         "  if (( ${#typed[@]} <= 2 )); then\n"
         "    mapfile -t COMPREPLY < <(compgen -W '"
      << commands
      << " --help --version' -- \"$word\")\n"
         "    return\n"
         "  fi\n"
         "  command=\"${typed[1]}\"\n"
         "  previous=\"${typed[${#typed[@]}-2]}\"\n"
         "  case \"$command $previous\" in\n";
  std::string others; // whose values readline completes as files, or nobody can
  for (const CLI::App *command : commandsOf(app))
    for (const CLI::Option *option : optionsOf(*command)) {
      if (isFlag(*option))
        continue;
      std::string pattern, words = CLI::detail::join(valueKindOf(*option).words, " ");
      for (const std::string &name : namesOf(*option))
        pattern += (pattern.empty() ? "" : "|") + quoted(command->get_name() + " " + name);
      if (words.empty())
        others += (others.empty() ? "" : "|\\\n    ") + pattern;
      else
        out << "    " << pattern << ") words=" << quoted(words) << " ;;\n";
    }
  out << "    " << others << ") return ;;\n";
  out << "  esac\n  if [[ -z \"$words\" ]]; then\n    case \"$command\" in\n";
  for (const CLI::App *command : commandsOf(app)) {
    std::string options, members;
    for (const CLI::Option *option : optionsOf(*command))
      for (const std::string &name : namesOf(*option))
        options += (options.empty() ? "" : " ") + name;
    for (const CLI::Option *option : positionalsOf(*command))
      members += (members.empty() ? "" : " ") + CLI::detail::join(valueKindOf(*option).words, " ");
    if (command->get_name() == "help")
      members = commands;
    out << "      " << command->get_name() << ") [[ \"$word\" == -* ]] && words=" << quoted(options);
    if (!members.empty())
      out << " || words=" << quoted(members);
    out << " ;;\n";
  }
  out << "    esac\n  fi\n"
         "  [[ -z \"$words\" ]] && return\n"
         "  mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
         "  taken=\"${word%\"${word##*:}\"}\"\n"
         "  [[ \"$COMP_WORDBREAKS\" == *:* && -n \"$taken\" ]] && COMPREPLY=(\"${COMPREPLY[@]#\"$taken\"}\")\n"
         "}\n"
         "complete -o bashdefault -o default -F _lathe lathe\n";
  return out.str();
}

/// In single quotes, where _arguments ends a description at a bracket and a message at a colon.
std::string forArguments(const std::string &text) {
  std::string result;
  for (char c : text)
    result += (c == '[' || c == ']' || c == ':' || c == '\\' ? "\\" : "") + std::string(1, c);
  return result;
}

/// What _arguments does for a value.
std::string zshAction(const CLI::App &app, const CLI::App &command, const CLI::Option &option) {
  ValueKind kind = valueKindOf(option);
  if (!kind.words.empty()) {
    std::string words;
    for (const std::string &word : kind.words)
      words += (words.empty() ? "" : " ") + forArguments(word);
    return "(" + words + ")";
  }
  if (command.get_name() == "help" && option.get_positional()) {
    std::string words;
    for (const CLI::App *other : commandsOf(app))
      words += (words.empty() ? "" : " ") + other->get_name();
    return "(" + words + ")";
  }
  if (kind.kind == ValueKind::folder)
    return "_files -/";
  // One word in parentheses would be qualifiers.
  if (kind.kind == ValueKind::file && kind.endings.size() == 1)
    return "_files -g \"*." + kind.endings.front() + "\"";
  if (kind.kind == ValueKind::file && !kind.endings.empty())
    return "_files -g \"*.(" + CLI::detail::join(kind.endings, "|") + ")\"";
  return kind.kind == ValueKind::text ? " " : "_files";
}

std::string zsh(const CLI::App &app) {
  std::ostringstream out;
  out << "#compdef lathe\n# Printed by 'lathe completion zsh'.\n_lathe() {\n  local curcontext=\"$curcontext\" state "
         "line\n  typeset -A opt_args\n"
         "  _arguments -C '(- *)'{-h,--help}'[print help]' '(- *)--version[print the version]' '1:command:->command' "
         "'*::argument:->argument'\n"
         "  case $state in\n  command)\n    local -a commands=(\n";
  for (const CLI::App *command : commandsOf(app))
    out << "      " << quoted(command->get_name() + ":" + forArguments(command->get_description())) << '\n';
  out << "    )\n    _describe command commands ;;\n  argument)\n    case $line[1] in\n";
  for (const CLI::App *command : commandsOf(app)) {
    out << "    " << command->get_name() << ")\n      _arguments";
    for (const CLI::Option *option : optionsOf(*command)) {
      bool isRepeated = option->get_expected_max() >= CLI::detail::expected_max_vector_size;
      std::vector<std::string> names = namesOf(*option);
      for (const std::string &name : names) {
        std::string others = isRepeated ? "*" : names.size() > 1 ? "(" + CLI::detail::join(names, " ") + ")" : "";
        std::string value =
            isFlag(*option) ? "" : ":" + forArguments(placeholderOf(*option)) + ":" + zshAction(app, *command, *option);
        out << " \\\n        " << quoted(others + name + "[" + forArguments(option->get_description()) + "]" + value);
      }
    }
    for (const CLI::Option *option : positionalsOf(*command))
      out << " \\\n        " << quoted(":" + option->get_name(true) + ":" + zshAction(app, *command, *option));
    out << " ;;\n";
  }
  out << "    esac ;;\n  esac\n}\n"
         "if [ \"$funcstack[1]\" = _lathe ]; then _lathe \"$@\"; else compdef _lathe lathe; fi\n";
  return out.str();
}

std::string fish(const CLI::App &app) {
  std::ostringstream out;
  out << "# Printed by 'lathe completion fish'.\n";
  for (const CLI::App *command : commandsOf(app))
    out << "complete -c lathe -n __fish_use_subcommand -f -a " << command->get_name() << " -d "
        << quotedForFish(command->get_description()) << '\n';
  for (const CLI::App *command : commandsOf(app)) {
    std::string condition = quotedForFish("__fish_seen_subcommand_from " + command->get_name());
    for (const CLI::Option *option : optionsOf(*command)) {
      out << "complete -c lathe -n " << condition;
      for (const std::string &name : option->get_snames())
        out << " -s " << name;
      for (const std::string &name : option->get_lnames())
        out << " -l " << name;
      ValueKind kind = valueKindOf(*option);
      if (!isFlag(*option) && !kind.words.empty())
        out << " -x -a " << quotedForFish(CLI::detail::join(kind.words, " "));
      else if (!isFlag(*option))
        out << (kind.kind == ValueKind::text ? " -x" : " -r -F");
      out << " -d " << quotedForFish(option->get_description()) << '\n';
    }
    for (const CLI::Option *option : positionalsOf(*command)) {
      ValueKind kind = valueKindOf(*option);
      std::string words = CLI::detail::join(kind.words, " ");
      for (const CLI::App *other : command->get_name() == "help" ? commandsOf(app) : std::vector<const CLI::App *>())
        words += (words.empty() ? "" : " ") + other->get_name();
      if (!words.empty())
        out << "complete -c lathe -n " << condition << " -f -a " << quotedForFish(words) << '\n';
    }
  }
  return out.str();
}

} // namespace

std::string completion(const CLI::App &app, const std::string &shell) {
  return shell == "bash" ? bash(app) : shell == "zsh" ? zsh(app) : fish(app);
}

} // namespace lathe::tool
