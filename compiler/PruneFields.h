//===- PruneFields.h - The fields of a step that prunes ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_PRUNEFIELDS_H
#define LATHE_COMPILER_PRUNEFIELDS_H

#include "compiler/RecipeFields.h"

namespace lathe::recipe {

/// The kind of step `prune`. Of what it says the pattern is one that parsePattern reads, and `sparsity` is there unless
/// there is a threshold.
StepKind pruneKind();

} // namespace lathe::recipe

#endif // LATHE_COMPILER_PRUNEFIELDS_H
