//===- AttentionStep.h - A recipe's step of attentions of integers -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_ATTENTIONSTEP_H
#define LATHE_COMPILER_ATTENTIONSTEP_H

#include "compiler/StepKinds.h"
#include "compiler/StepRun.h"

namespace lathe {

/// Whether a step is of attentions, not of weights.
bool isAttentionStep(const RecipeStep &step);

namespace recipe {

/// Of a report's layers those of kind "attention" are what becomes of attentions: they are told by a node of the model,
/// `inputs` are numbers of a query, `outputs` keys, and `rows` queries.
StepKind attentionsKind();

} // namespace recipe

} // namespace lathe

#endif // LATHE_COMPILER_ATTENTIONSTEP_H
