//===- UsageErrors.cpp - What is wrong with a command line ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Help.h"
#include <CLI/CLI.hpp>
#include <algorithm>

namespace lathe::tool {
namespace {

/// How many characters differ (Damerau-Levenshtein, neighbours that are swapped count once).
size_t editDistance(const std::string &a, const std::string &b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i)
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  return cost[a.size()][b.size()];
}

/// "; did you mean 'x'?", or nothing where nothing is near.
std::string suggestion(const std::string &text, const std::vector<std::string> &known) {
  const std::string *best = nullptr;
  size_t least = std::max<size_t>(2, text.size() / 3) + 1;
  for (const std::string &candidate : known)
    if (size_t own = editDistance(text, candidate); own < least) {
      least = own;
      best = &candidate;
    }
  return best ? "; did you mean '" + *best + "'?" : "";
}

/// The words of a command line that a command doesn't know.
std::string unknownOption(const CLI::App &command) {
  for (const std::string &word : command.remaining())
    if (word.size() > 1 && word[0] == '-')
      return word.substr(0, word.find('='));
  return "";
}

} // namespace

std::string usageError(const CLI::App &app, const CLI::ParseError &error, int argc, char **argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (first.empty())
    return "expected a command, got none\nsee 'lathe --help'";
  std::vector<CLI::App *> parsed = app.get_subcommands();
  if (parsed.empty()) {
    std::vector<std::string> names;
    for (const CLI::App *command : commandsOf(app))
      names.push_back(command->get_name());
    bool isOption = first[0] == '-';
    return "'" + first + "' is no " + (isOption ? "option" : "command") + " of lathe" +
           (isOption ? "" : suggestion(first, names)) + "\nsee 'lathe --help'";
  }
  const CLI::App &command = *parsed.front();
  std::string what = error.what(), help = "\nsee 'lathe " + command.get_name() + " --help'";
  if (std::string option = unknownOption(command); !option.empty()) {
    std::vector<std::string> names;
    for (const CLI::Option *own : optionsOf(command))
      for (const std::string &name : own->get_lnames())
        names.push_back("--" + name);
    return "'" + option + "' is no option of 'lathe " + command.get_name() + "'" + suggestion(option, names) + help;
  }
  if (std::vector<std::string> rest = command.remaining(); !rest.empty())
    return "'lathe " + command.get_name() + "' expects no argument '" + rest.front() + "'" + help;
  // Of the library's messages, which begin as sentences, only the first letter is another.
  if (what.size() > 1 && std::isupper(static_cast<unsigned char>(what[0])) &&
      std::islower(static_cast<unsigned char>(what[1])))
    what[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(what[0])));
  return "'lathe " + command.get_name() + "': " + what + help;
}

} // namespace lathe::tool
