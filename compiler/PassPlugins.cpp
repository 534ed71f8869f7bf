//===- PassPlugins.cpp - Passes that users bring --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/PassPlugins.h"
#include "compiler/Dialects.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"

using namespace mlir;

namespace lathe {
namespace {

/// The phases that a compilation goes through whatever the model, in their order.
std::vector<std::string> phasesOf(const CompileOptions &options) {
  if (options.emit != "onnx")
    return {"import", "simplify", "fuse", "select", "plan", "llvm"};
  return options.recipe.empty() ? std::vector<std::string>{"import", "simplify"}
                                : std::vector<std::string>{"import", "simplify", "fuse"};
}

std::string load(const std::string &file) {
  // What the system's loader looks up in its own folders is not what the user named.
  llvm::SmallString<256> path(file);
  if (!llvm::sys::fs::exists(file) || llvm::sys::fs::make_absolute(path))
    return "can't load the pass plug-in '" + file + "': there is no such file";
  llvm::Expected<PassPlugin> plugin = PassPlugin::load(std::string(path));
  if (!plugin)
    return "can't load the pass plug-in '" + file + "': " + llvm::toString(plugin.takeError());
  plugin->registerPassRegistryCallbacks();
  return "";
}

std::string check(const PhasePipeline &pipeline, const CompileOptions &options) {
  std::vector<std::string> phases = phasesOf(options);
  if (!llvm::is_contained(phases, pipeline.phase))
    return "pass pipeline '" + pipeline.text + "': expected it behind one of the phases " + llvm::join(phases, ", ") +
           (options.emit == "onnx" ? ", as ONNX is written" : "") + ", got '" + pipeline.phase + "'";
  std::string reason;
  llvm::raw_string_ostream stream(reason);
  OpPassManager manager(ModuleOp::getOperationName());
  if (succeeded(parsePassPipeline(pipeline.text, manager, stream)) && !manager.empty())
    return "";
  return "pass pipeline '" + pipeline.text +
         "': " + (reason.empty() ? "expected names of passes" : llvm::StringRef(reason).trim().str());
}

} // namespace

std::string preparePasses(const CompileOptions &options) {
  if (options.passPlugins.empty() && options.pipelines.empty())
    return "";
  [[maybe_unused]] static const bool once = (registerPasses(), true);
  for (const std::string &file : options.passPlugins)
    if (std::string problem = load(file); !problem.empty())
      return problem;
  for (const PhasePipeline &pipeline : options.pipelines)
    if (std::string problem = check(pipeline, options); !problem.empty())
      return problem;
  return "";
}

const std::string *runPipelines(const CompileOptions &options, const std::string &phase, ModuleOp module) {
  for (const PhasePipeline &pipeline : options.pipelines) {
    if (pipeline.phase != phase)
      continue;
    PassManager manager(module.getContext());
    if (failed(parsePassPipeline(pipeline.text, manager, llvm::nulls())) || failed(manager.run(module)))
      return &pipeline.text;
  }
  return nullptr;
}

} // namespace lathe
