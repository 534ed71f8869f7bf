//===- CompressionText.h - Compression as users read it ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_COMPRESSIONTEXT_H
#define LATHE_COMPILER_TOOLS_LATHE_COMPRESSIONTEXT_H

#include "compiler/CompressionReport.h"
#include "compiler/tools/lathe/CompileFlags.h"

namespace lathe::tool {

/// The recipe of --int8, --int4 or --fp8.
std::string oneStepRecipe(const Flags &flags);

/// Adds the step of --kv-cache to a recipe, which may be empty. What is wrong, or nothing.
std::string addCacheStep(const std::string &kvCache, std::string &recipe);

/// Adds the step of --attention to a recipe, which may be empty. What is wrong, or nothing.
std::string addAttentionStep(const Flags &flags, std::string &recipe);

/// Compiles by the recipe of the flags; to ONNX where the output's name says so. Returns the exit code.
int compress(Flags flags);

/// Adds what --prefer and --rows say to a recipe. What is wrong, or nothing.
std::string addPreferences(const Flags &flags, std::string &recipe);

/// Adds the step of --sparse to a recipe, which may be empty.
void addSparseStep(const Flags &flags, std::string &recipe);

/// What became of the weights, in a few lines.
void printCompression(const CompressionReport &report);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_COMPRESSIONTEXT_H
