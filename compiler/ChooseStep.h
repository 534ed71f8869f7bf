//===- ChooseStep.h - A recipe's step that chooses --------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CHOOSESTEP_H
#define LATHE_COMPILER_CHOOSESTEP_H

#include "compiler/LayerVariants.h"
#include "runtime/ThreadPool.h"

namespace lathe {

/// Finds out for each layer what the alternatives of a step `choose` cost in bytes and in quality, and shares out a
/// budget among them. `steps` are what is then to be carried out in its place. False with `error` set; `isUsage` where
/// the budget can't be met or the recipe is wrong.
bool chooseAlternatives(const Compression &compression, const RecipeStep &step,
                        const std::vector<compression::Layer> &layers, const CarryOut &carryOut,
                        runtime::ThreadPool &pool, CompressionReport &report, Recipe &steps, bool &isUsage,
                        std::string &error);

} // namespace lathe

#endif // LATHE_COMPILER_CHOOSESTEP_H
