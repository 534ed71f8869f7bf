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
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>

using namespace mlir;

namespace {

/// Models are read from files, with what lies beside them: here a folder in memory with a file of weights.
class Folder {
public:
  Folder() {
    std::string name = std::filesystem::exists("/dev/shm") ? "/dev/shm/lathe-XXXXXX" : "/tmp/lathe-XXXXXX";
    if (!mkdtemp(name.data()))
      abort();
    path = name;
    std::string weights(1 << 16, '\0');
    for (size_t i = 0; i < weights.size(); ++i)
      weights[i] = static_cast<char>(i * 2654435761u >> 16);
    write("weights.bin", weights.data(), weights.size());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }

  std::string write(const char *name, const char *data, size_t size) const {
    std::string file = path + "/" + name;
    if (!std::ofstream(file, std::ios::binary).write(data, static_cast<std::streamsize>(size)))
      abort();
    return file;
  }

private:
  std::string path;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const Folder folder;
  std::string path = folder.write("model.onnx", reinterpret_cast<const char *>(data), size);
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.getDiagEngine().registerHandler([](Diagnostic &) { return success(); });
  lathe::ImportResult result = lathe::importOnnx(context, path, {});
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
