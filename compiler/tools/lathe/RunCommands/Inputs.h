//===- Inputs.h - What models are measured with -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_INPUTS_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_INPUTS_H

#include "compiler/tools/lathe/RunCommands/TensorFiles.h"
#include "lathe/lathe.hpp"
#include <map>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lathe::tool {

using Dims = std::map<std::string, int64_t>;

/// --dim and --inputs, of which one is given at most.
struct InputOptions {
  std::vector<std::string> dims;
  std::string file;
};

/// What the commands that measure have in common.
struct MeasureOptions {
  std::string artifact, device;
  bool tf32 = false;
  InputOptions inputs;
  int threads = 0, warmup = 3, iterations = 20;
  bool json = false;
};
void addMeasureOptions(CLI::App &command, MeasureOptions &options);

/// Bytes of an artifact's constants that a run reads: of tables that are only looked up, their rows at most, of which each counts
/// `leastOfRow` bytes at least.
uint64_t bytesRead(const Module &module, const Dims &dims, uint64_t leastOfRow = 0);

/// The same of a program beside the model, of which the artifact says what it reads.
uint64_t bytesReadBy(const Module &module, const std::string &program, const Dims &dims);

/// The tensors of an .npz, if one is named, and those of texts "name=@file.npy". Throws CommandError.
std::vector<Tensor> readNamedTensors(const std::string &npz, const std::vector<std::string> &named);

struct ChosenInputs {
  std::vector<Tensor> tensors;
  Dims dims; ///< values of symbols
};

/// The tensors of the file, or made-up ones of the dimensions asked for, which are 1 where nothing is said. Throws CommandError.
ChosenInputs chooseInputs(const Module &module, const InputOptions &options);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_INPUTS_H
