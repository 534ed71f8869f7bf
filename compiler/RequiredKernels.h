//===- RequiredKernels.h - Whether kernels read what is made ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_REQUIREDKERNELS_H
#define LATHE_COMPILER_REQUIREDKERNELS_H

#include "compiler/LayerVariants.h"

namespace lathe {

/// Why no kernel of the target reads weights as the last of these steps stores them, after the ones before, with the
/// nearest step that one reads; empty where there are kernels. Found out by compiling products of matrices with made up
/// numbers, as wide as the layers that the step is for, without data. False with `error` set where that fails.
bool findMissingKernel(const Compression &compression, llvm::ArrayRef<RecipeStep> steps,
                       llvm::ArrayRef<compression::Layer> layers, const CarryOut &carryOut, std::string &why,
                       std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_REQUIREDKERNELS_H
