//===- HalfZeros.h - Weights of which half are zeros ------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_HALFZEROS_H
#define LATHE_COMPILER_HALFZEROS_H

#include "compiler/Programs.h"
#include "compiler/WeightFiles.h"
#include <nlohmann/json.hpp>

namespace lathe {

/// Looks, of each constant of f16 or bf16 that a product of a selected program for CUDA reads, whether of each four
/// neighbours along the axis that is summed over two or more are zeros, whatever made them so; adds `half_zeros`
/// (docs/artifact.md) to its entry in the manifest, and `zeros` to the products that read such a constant. Only
/// matrices of extents that sparse matrix instructions take. False with `error` set.
bool tellHalfZeros(llvm::ArrayRef<Program> programs, WeightFiles &files, nlohmann::ordered_json &manifest,
                   std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_HALFZEROS_H
