//===- main.cpp - The lathe command ---------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/tools/lathe/Help.h"
#include "compiler/tools/lathe/RunCommands/Commands.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include "compiler/tools/lathe/Version.h"
#include <CLI/CLI.hpp>

int main(int argc, char **argv) {
  CLI::App app("Lathe compiles ONNX Transformers into one file that a small runtime runs");
  app.set_version_flag("--version", lathe::tool::versionText, "print the version");
  app.require_subcommand(1);
  int exitCode = 0;
  lathe::tool::addCheckCommand(app, exitCode);
  lathe::tool::addCompileCommand(app, exitCode);
  lathe::tool::addQuantizeCommand(app, exitCode);
  lathe::tool::addOptimizeCommand(app, exitCode);
  lathe::tool::addPruneCommand(app, exitCode);
  lathe::tool::addLowRankCommand(app, exitCode);
  lathe::tool::addRunCommand(app, exitCode);
  lathe::tool::addBenchCommand(app, exitCode);
  lathe::tool::addProfileCommand(app, exitCode);
  lathe::tool::addCompareCommand(app, exitCode);
  lathe::tool::addBisectCommand(app, exitCode);
  lathe::tool::addReportCommand(app, exitCode);
  lathe::tool::addExplainCommand(app, exitCode);
  lathe::tool::addInspectAnyCommand(app, exitCode);
#ifdef LATHE_HAS_AUDIO
  lathe::tool::addLogMelCommand(app, exitCode);
#endif
#ifdef LATHE_HAS_TOKENIZER
  lathe::tool::addGenerateCommand(app, exitCode);
  lathe::tool::addPerplexityCommand(app, exitCode);
  lathe::tool::addTokenizeCommand(app, exitCode);
#endif
  lathe::tool::describe(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    if (error.get_exit_code() == 0)
      return app.exit(error);
    lathe::tool::printError(lathe::tool::usageError(app, error, argc, argv));
    return 2;
  }
  return exitCode;
}
