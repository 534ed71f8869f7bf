//===- Generation.cpp - Programs for text generation ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Generation.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/fusion/Passes.h"
#include "passes/generation/Passes.h"
#include "passes/simplify/Passes.h"

using namespace mlir;

namespace lathe {

bool isDecoder(ModuleOp imported) {
  auto main = imported.lookupSymbol<func::FuncOp>("main");
  return main && generation::resemblesDecoder(main);
}

/// Runs passes; returns the first error, with its node, which does not go to the context's diagnostics, or an empty text.
static std::string runPasses(ModuleOp module, llvm::function_ref<void(OpPassManager &)> build) {
  std::string reason;
  ScopedDiagnosticHandler handler(module.getContext(), [&](Diagnostic &diagnostic) {
    if (diagnostic.getSeverity() != DiagnosticSeverity::Error || !reason.empty())
      return success();
    diagnostic.getLocation()->walk([&](Location inner) {
      if (auto name = dyn_cast<NameLoc>(inner); name && reason.empty())
        reason = "node '" + name.getName().str() + "': ";
      return WalkResult::advance();
    });
    reason += diagnostic.str();
    return success();
  });
  PassManager passes(module.getContext());
  build(passes);
  if (succeeded(passes.run(module)))
    return "";
  return reason.empty() ? "a pass failed without a reason" : reason;
}

static void buildTokenProgram(OpPassManager &passes) {
  passes.addPass(generation::createSpecializeDecoderPass());
  simplify::buildPipeline(passes);
  fusion::buildPipeline(passes);
}

std::string makeTokenProgram(ModuleOp imported, OwningOpRef<ModuleOp> &made) {
  made = imported.clone();
  return runPasses(*made, buildTokenProgram);
}

std::string addGenerationPrograms(ModuleOp imported, std::vector<NewProgram> &added) {
  OwningOpRef<ModuleOp> step = imported.clone();
  std::string reason = runPasses(*step, [](OpPassManager &passes) {
    buildTokenProgram(passes);
    passes.addPass(generation::createMakeStepPass());
    passes.addPass(createCanonicalizerPass());
    passes.addPass(createCSEPass());
  });
  if (!reason.empty())
    return reason;
  OwningOpRef<ModuleOp> encode;
  if (step->lookupSymbol(generation::kEncodeName)) {
    encode = step->clone();
    encode->lookupSymbol("main")->erase();
    encode->lookupSymbol<func::FuncOp>(generation::kEncodeName).setName("main");
    step->lookupSymbol(generation::kEncodeName)->erase();
  }
  added.push_back({kStepProgram, std::move(step)});
  if (encode)
    added.push_back({kEncodeProgram, std::move(encode)});
  return "";
}

} // namespace lathe
