//===- StructuredFields.h - Fields of steps that take parts away -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_STRUCTUREDFIELDS_H
#define LATHE_COMPILER_STRUCTUREDFIELDS_H

#include "compiler/RecipeFields.h"

namespace lathe::recipe {

/// The kind of step `prune` whose field `pattern` is heads, neurons, channels or layers.
StepKind structuredKind();

} // namespace lathe::recipe

#endif // LATHE_COMPILER_STRUCTUREDFIELDS_H
