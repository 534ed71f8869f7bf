//===- CompareCommands.cpp - lathe compare, of models too -----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/CompileCommands.h"
#include "compiler/tools/lathe/CompileFlags.h"
#include "compiler/tools/lathe/RunCommands/CompareCommand.h"
#include "compiler/tools/lathe/RunCommands/Terminal.h"
#include "compiler/tools/lathe/TemporaryFolder.h"
#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

namespace lathe::tool {
namespace {

int compare(CompareOptions options, const std::string &target) {
  std::unique_ptr<TemporaryFolder> folder;
  for (int side : {0, 1}) {
    std::filesystem::path file = options.names[side] = options.files[side];
    if (file.extension() != ".onnx")
      continue;
    if (!folder)
      folder = std::make_unique<TemporaryFolder>("compare");
    if (folder->path().empty()) {
      printError("can't make a temporary folder to compile '" + file.string() + "' in");
      return static_cast<int>(ExitCode::internal);
    }
    Flags flags;
    flags.model = file;
    flags.output = options.files[side] = (folder->path() / (side ? "b.lathe" : "a.lathe")).string();
    flags.target = target;
    flags.generate = "off";
    flags.quiet = true;
    if (int code = compile(flags))
      return code;
  }
  return compareArtifacts(options);
}

} // namespace

void addCompareCommand(CLI::App &app, int &exitCode) {
  auto options = std::make_shared<CompareOptions>();
  auto target = std::make_shared<std::string>("cpu");
  CLI::App *command =
      app.add_subcommand("compare", "Tell at which node of the model the values of two compiled models part");
  addCompareOptions(*command, *options);
  command->get_option("a")->description("the model to compare with (.lathe or .onnx)");
  command->get_option("b")->description("the model that is judged (.lathe or .onnx)");
  command
      ->add_option(
          "--target", *target,
          "what .onnx files are compiled for: cpu, cpu:avx2, cpu:avx512, or reference, each operation on its own")
      ->capture_default_str();
  command->callback([=, &exitCode] { exitCode = compare(*options, *target); });
}

} // namespace lathe::tool
