//===- Passes.cpp - Fuzzing of the dialects and passes --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is a line `// passes: NUMBER` and a text of MLIR, as lathe-opt reads it: the number says which of the
// passes run on it.
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Passes.h"
#include "backends/reference/compiler/Passes.h"
#include "compiler/Dialects.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "passes/memory/Passes.h"
#include "passes/simplify/Passes.h"
#include <string>

using namespace mlir;

/// The pipelines that a module goes through, whole and in parts.
static void addPasses(OpPassManager &passes, unsigned number) {
  if (number & 1)
    lathe::simplify::buildPipeline(passes);
  if (number & 2)
    passes.addPass(lathe::createLatheToLinalg());
  if (number & 4) {
    passes.addNestedPass<func::FuncOp>(lathe::cpu::createCpuIntegerProductsPass());
    passes.addPass(lathe::cpu::createCpuSelectKernelsPass());
  }
  if (number & 8)
    passes.addPass(lathe::memory::createPlanArenaPass());
  if (number & 16)
    passes.addPass(lathe::cpu::createKernelToLLVMPass());
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  StringRef text(reinterpret_cast<const char *>(data), size);
  unsigned number = 1;
  if (text.consume_front("// passes: "))
    (void)text.consumeInteger(10, number);
  // MLIR's own parser of this form keeps operands that the region after them replaces; the generic form is read.
  if (text.contains("scf.while "))
    return 0;
  DialectRegistry registry;
  lathe::registerDialects(registry);
  MLIRContext context(registry, MLIRContext::Threading::DISABLED);
  context.getDiagEngine().registerHandler([](Diagnostic &) { return success(); });
  std::string ended = text.str(); // the parser reads the zero after the end
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(ended, ParserConfig(&context));
  if (!module)
    return 0;
  PassManager passes(&context);
  addPasses(passes, number);
  (void)passes.run(*module);
  return 0;
}
