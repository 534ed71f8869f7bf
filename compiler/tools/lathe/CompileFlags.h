//===- CompileFlags.h - The flags of commands that compile ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_COMPILEFLAGS_H
#define LATHE_COMPILER_TOOLS_LATHE_COMPILEFLAGS_H

#include "compiler/Compile.h"
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lathe {
struct CompilerLibrary;
}

namespace lathe::tool {

struct Flags {
  std::string model, output, target = "cpu", precision = "f32", generate = "auto", emit = "artifact", dumpDir, report, maxMemory;
  std::string weights; ///< a checkpoint
  std::vector<std::string> skippedWeights;
  bool partialWeights = false; ///< the model is a part of what the checkpoint is of
  std::string tokenizer, generationConfig; ///< files that the artifact carries
  std::string recipe;    ///< JSON, or what reads it from a file
  std::string recipeFile, calibration, gradients;
  std::string kvCache;   ///< "int8", "int4", or nothing
  std::string attention; ///< "int8", or nothing
  std::string prefer;    ///< what the recipe prefers: "speed", "size", or nothing
  int64_t rows = 0;      ///< of left sides of products that are timed; 0: the recipe says
  int64_t context = 256; ///< tokens of a calibration window
  size_t samples = 0;    ///< of calibration; 0: all
  std::vector<std::string> passPlugins, pipelines;
  std::vector<std::string> dims, exclude;
  std::vector<std::string> moreOutputs;              ///< values that are given out, too
  std::optional<uint64_t> firstChanges;              ///< what is left out are those behind these
  ChangeLimit *changes = nullptr;                    ///< in place of that
  unsigned level = 2, jobs = 0;
  bool mute = false; ///< whoever compiles tells what goes wrong
  bool json = false, quiet = false, bf16 = false, fp16 = false, int8 = false, int4 = false, fp8 = false, sparse = false, requireKernel = false, fusions = false;
};

/// The checkpoint whose weights take the place of the model's.
void addWeightsOptions(CLI::App &command, Flags &flags);
/// The options that every command that compiles has.
void addCompileOptions(CLI::App &command, Flags &flags);
/// What keys and values are kept in, and attention is computed by.
void addCacheOption(CLI::App &command, Flags &flags);
/// Those of the data that methods look at, and of what they are chosen by.
void addCalibrationOptions(CLI::App &command, Flags &flags);
/// The compiler's library, beside the tool; null, after a message, where it can't be loaded.
const CompilerLibrary *loadCompiler();
/// Compiles as the flags say; prints what went wrong, or what was made. Returns the exit code.
int compile(const Flags &flags);
/// Takes apart `PHASE=PIPELINE`, or a pipeline alone, which runs behind the phase `fuse`.
PhasePipeline parsePhasePipeline(const std::string &text);
/// Prints a mistake on the command line; returns its exit code.
int usage(const std::string &message);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_COMPILEFLAGS_H
