//===- ChangeGate.h - Leaves out what passes would change -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_CHANGEGATE_H
#define LATHE_COMPILER_CHANGEGATE_H

#include "compiler/ChangeLimit.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/StringRef.h"
#include <map>
#include <string>

namespace lathe {

/// Handles the actions of a context: passes, patterns, NodeActions and StepActions are carried out where the limit
/// allows it. Each run of a pass is one change, and, within it, each node at which it tries something is one more.
/// Passes that a model can't be compiled without are always run.
class ChangeGate {
public:
  /// The limit outlives the gate, which goes before the context. `added` names passes that users bring: these may be
  /// left out behind any phase.
  ChangeGate(mlir::MLIRContext &context, ChangeLimit *limit, std::string added);
  ~ChangeGate();
  ChangeGate(const ChangeGate &) = delete;
  ChangeGate &operator=(const ChangeGate &) = delete;

  /// While it lives, actions are those of a phase; those of no phase are always carried out.
  class Phase {
  public:
    Phase(ChangeGate *gate, llvm::StringRef name) : gate(gate) {
      if (gate)
        gate->phase = name.str();
    }
    ~Phase() {
      if (gate)
        gate->phase.clear();
    }
    Phase(const Phase &) = delete;
    Phase &operator=(const Phase &) = delete;

  private:
    ChangeGate *gate;
  };

private:
  bool isRequired(llvm::StringRef pass) const;
  void handle(llvm::function_ref<void()> carryOut, const mlir::tracing::Action &action);

  mlir::MLIRContext &context;
  ChangeLimit *limit;
  std::string added;
  std::string phase, pass;               ///< at hand; empty for none
  uint64_t runs = 0;                     ///< of passes so far
  std::map<std::string, uint64_t> steps; ///< of recipes, in the order in which they ask
};

} // namespace lathe

#endif // LATHE_COMPILER_CHANGEGATE_H
