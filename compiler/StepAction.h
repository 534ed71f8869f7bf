//===- StepAction.h - What a step of a recipe does at one weight -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_STEPACTION_H
#define LATHE_COMPILER_STEPACTION_H

#include "mlir/IR/Action.h"
#include <string>

namespace lathe {

/// What a step of a recipe may do, or leave, at a weight, for whoever handles the actions of the context
/// (docs/design/0028-bisect.md).
class StepAction : public mlir::tracing::ActionImpl<StepAction> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(StepAction)
  StepAction(llvm::ArrayRef<mlir::IRUnit> units, const std::string &place, const std::string &kind,
             const std::string &weight)
      : ActionImpl<StepAction>(units), place(place), kind(kind), weight(weight) {}
  static constexpr llvm::StringLiteral tag = "lathe-step";
  static constexpr llvm::StringLiteral desc = "what a step of a recipe does at one weight";

  const std::string &place; ///< such as "recipe: step 2: "
  const std::string &kind, &weight;
};

} // namespace lathe

#endif // LATHE_COMPILER_STEPACTION_H
