//===- Import.cpp - Fuzzing of the ONNX importer --------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// One input is the bytes of a model. It is imported, and what could be imported is simplified.
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Import.h"
#include "compiler/Dialects.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "passes/simplify/Passes.h"
#include <string>
#include <sys/mman.h>
#include <unistd.h>

using namespace mlir;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  // Models are read from files, with what lies beside them: here a folder of open files, which holds none.
  static const int file = memfd_create("model", 0);
  if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != static_cast<ssize_t>(size))
    abort();
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.getDiagEngine().registerHandler([](Diagnostic &) { return success(); });
  lathe::ImportResult result = lathe::importOnnx(context, "/proc/self/fd/" + std::to_string(file), {});
  if (!result.module) {
    if (result.error.empty() && result.unsupported.empty())
      abort(); // a refusal has a reason
    return 0;
  }
  PassManager passes(&context);
  lathe::simplify::buildPipeline(passes);
  if (failed(verify(*result.module)) || failed(passes.run(*result.module)))
    return 0;
  return 0;
}
