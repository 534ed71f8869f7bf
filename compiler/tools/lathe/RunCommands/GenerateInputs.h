//===- GenerateInputs.h - What text is generated from -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATEINPUTS_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATEINPUTS_H

#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "runtime/include/lathe/lathe.hpp"
#include "runtime/include/lathe/tokenizer.hpp"

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lathe::tool {

struct GenerateOptions {
  std::string artifact, device, tokenizer, generationConfig, ids, idsOut, inputsFile;
  bool tf32 = false;
  std::vector<std::string> prompts, promptFiles, sourceTexts, inputs, stops;
  nlohmann::ordered_json given = nlohmann::ordered_json::object(); ///< members of a generation config that options set
  bool ignoreEos = false, withoutSpecial = false, withSpecial = false, echo = false, json = false,
       verify = false;
  int threads = 0;
  int64_t maxSequence = 0;
  uint64_t memoryBudget = 0;
};
void addGenerateOptions(CLI::App &command, GenerateOptions &options);

struct GenerateInputs {
  std::unique_ptr<Tokenizer> tokenizer; ///< null where there is none
  nlohmann::ordered_json config;        ///< the members of a generation_config.json
  std::vector<std::string> stops;
  std::vector<std::vector<int64_t>> prompts;
  std::vector<std::vector<Tensor>> sources; ///< by prompt and input of the encoder
  bool usesBeams = false;
  size_t copies = 1; ///< results of each prompt

  size_t results() const { return prompts.size() * copies; }
};

/// Reads what the options name. Throws CommandError, FileError and TokenizerError.
GenerateInputs readGenerateInputs(const Module &module, const GenerateOptions &options);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_GENERATEINPUTS_H
