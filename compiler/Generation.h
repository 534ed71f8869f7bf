//===- Generation.h - Programs for text generation --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_GENERATION_H
#define LATHE_COMPILER_GENERATION_H

#include "compiler/Programs.h"
#include "mlir/IR/BuiltinOps.h"

namespace lathe {

/// Names of the programs that generation runs: new tokens of sequences, and what their caches that do not grow begin with.
inline constexpr const char *kStepProgram = "step", *kEncodeProgram = "encode";

/// Whether the imported module has what a decoder has: tokens, and logits of as many numbers as there are tokens.
bool isDecoder(mlir::ModuleOp imported);

/// Appends the programs that generate with an imported module that is a decoder. Returns why there are none, or an empty text; errors of
/// passes are part of it and do not go to the context's diagnostics.
std::string addGenerationPrograms(mlir::ModuleOp imported, std::vector<NewProgram> &added);

/// Makes a clone of an imported module that is a decoder a program of its tokens alone, simplified and fused. Returns why there is none,
/// or an empty text, as addGenerationPrograms.
std::string makeTokenProgram(mlir::ModuleOp imported, mlir::OwningOpRef<mlir::ModuleOp> &made);

} // namespace lathe

#endif // LATHE_COMPILER_GENERATION_H
