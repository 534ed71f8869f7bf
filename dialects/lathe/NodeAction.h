//===- NodeAction.h - What a pass does at one operation ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_NODEACTION_H
#define LATHE_DIALECTS_LATHE_NODEACTION_H

#include "mlir/IR/Action.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Operation.h"

namespace lathe {

/// What a pass that is not made of patterns may do, or leave, at an operation. Patterns have an action of their own
/// (mlir::ApplyPatternAction), so that whoever handles the actions of a context can leave out any of both
/// (docs/design/0028-bisect.md).
class NodeAction : public mlir::tracing::ActionImpl<NodeAction> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(NodeAction)
  explicit NodeAction(llvm::ArrayRef<mlir::IRUnit> units) : ActionImpl<NodeAction>(units) {}
  static constexpr llvm::StringLiteral tag = "lathe-node";
  static constexpr llvm::StringLiteral desc = "what a pass does at one operation";
};

/// Whether the pass at hand may change what it finds at `op`; yes, where nobody handles actions.
inline bool mayChange(mlir::Operation *op) {
  bool allowed = false;
  op->getContext()->executeAction<NodeAction>([&] { allowed = true; }, {op});
  return allowed;
}

} // namespace lathe

#endif // LATHE_DIALECTS_LATHE_NODEACTION_H
