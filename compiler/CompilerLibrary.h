//===- CompilerLibrary.h - The compiler as a shared library -----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_COMPILERLIBRARY_H
#define LATHE_COMPILER_COMPILERLIBRARY_H

#include "compiler/Compile.h"
#include "frontends/onnx/Extract.h"

namespace lathe {

/// What liblathe-compiler.so offers. The tool loads it when a command needs it: MLIR and LLVM cost 61 MiB of memory and 30 ms
/// at start, which running a model must not pay.
struct CompilerLibrary {
  CompileResult (*check)(const std::string &model, const CompileOptions &options);
  CompileResult (*explain)(const std::string &model, const CompileOptions &options);
  CompileResult (*compile)(const std::string &model, const std::string &output, const CompileOptions &options);
  bool (*findPart)(const std::string &model, const std::string &node, size_t count, ModelPart &part, std::string &error);
  bool (*writePart)(const std::string &model, const ModelPart &part, const std::vector<PartValue> &types,
                    const std::string &output, std::string &error);
};

/// Name of the symbol of type `const CompilerLibrary *(*)(const char *interface)`; null for a tool that was built
/// against other structures than the library's, which calls would mistake for each other.
inline constexpr const char *kCompilerLibraryEntry = "lathe_compiler_library";
/// Name of the symbol of type `const char *` that says against which ones the library was built, as CompilerBuild.h has
/// it: the version and a hash.
inline constexpr const char *kCompilerInterface = "lathe_compiler_interface";

} // namespace lathe

#endif // LATHE_COMPILER_COMPILERLIBRARY_H
