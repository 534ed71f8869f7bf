//===- Terminal.cpp - What users see beside results -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Terminal.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/ioctl.h>
#include <unistd.h>

namespace lathe::tool {
namespace {

Verbosity current = Verbosity::normal;

/// "lathe: error: …" with the kind of message in a colour of the terminal's sixteen, which users choose.
void print(const char *kind, const char *colour, const std::string &message) {
  bool isColoured = hasColour();
  std::fprintf(stderr, "lathe: %s%s:%s %s\n", isColoured ? colour : "", kind, isColoured ? "\033[0m" : "",
               message.c_str());
}

} // namespace

Verbosity verbosity() { return current; }
void setVerbosity(Verbosity value) { current = value; }

bool hasColour() {
  const char *off = std::getenv("NO_COLOR"), *terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) && !(off && *off) && terminal && std::strcmp(terminal, "dumb") != 0;
}

int columnsOf(int descriptor, int otherwise) {
  winsize size{};
  return isatty(descriptor) && ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : otherwise;
}

void printError(const std::string &message) { print("error", "\033[1;31m", message); }

void printWarning(const std::string &message) {
  if (!isQuiet())
    print("warning", "\033[1;35m", message);
}

void printDetail(const std::string &message) {
  if (isVerbose())
    std::fprintf(stderr, "lathe: %s\n", message.c_str());
}

} // namespace lathe::tool
