//===- Report.h - What fused, and what nearly did ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_FUSION_REPORT_H
#define LATHE_PASSES_FUSION_REPORT_H

#include "dialects/lathe/Lathe.h"
#include "dialects/lathe/NodeAction.h"
#include "passes/fusion/Findings.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SetVector.h"
#include <string>

namespace lathe::fusion {

/// Attribute of a function: what passes with `explain` have found. An array of dictionaries: `kind`; of what fused, `nodes`, the
/// names of the model's nodes; of a near miss, `node` (the anchor's), `at` (where the condition fails), `met`,
/// `failed` and `advice`.
inline constexpr llvm::StringLiteral kFusionsAttr = "lathe.fusions";

/// Composite operations that a program has before fusion.
void collectStated(mlir::ModuleOp module, Findings &findings);
/// What the passes have listed. An anchor that another pass fused is no near miss, and of several kinds that it is near to the
/// nearest is told.
void collectFound(mlir::ModuleOp module, Findings &findings);

/// One attempt to match a composite operation from its anchor, an operation that each of its kind has once. Conditions are
/// stated in the order in which they are looked at; the first that does not hold ends the attempt.
class Attempt {
public:
  explicit Attempt(mlir::Operation *anchor) : anchor(anchor), at(anchor) {}

  /// States a condition and returns whether it holds. `failure` says what was expected and found, `advice` what change of the
  /// model would make it hold; `at` is the operation that is to change, the anchor where it is none.
  bool require(bool holds, const llvm::Twine &condition, const llvm::Twine &failure = "", const llvm::Twine &advice = "",
               mlir::Operation *at = nullptr);
  /// Up to here the anchor might have been part of anything: only what fails from here on is a near miss.
  void resembles() { near = true; }

  mlir::Operation *anchor, *at;
  llvm::SmallVector<std::string> met;
  std::string failed, advice;
  bool near = false;
};

/// Replaces matches of one pass, and lists them and the near misses for `explain`.
class Fuser {
public:
  Fuser(mlir::func::FuncOp func, llvm::StringRef kind, bool explain);
  ~Fuser(); ///< writes the list

  /// Tries `match` on each operation of the types, in the order of the program. It replaces what it matches through `replace`.
  template <typename... OpTys> void forEach(llvm::function_ref<void(mlir::Operation *)> match) {
    llvm::SmallVector<mlir::Operation *> anchors;
    func.walk([&](mlir::Operation *op) {
      if (llvm::isa<OpTys...>(op))
        anchors.push_back(op);
    });
    for (mlir::Operation *op : anchors)
      if (!erased.contains(op) && mayChange(op))
        match(op);
  }

  /// Replaces `root` by `composite`, which computes the same; erases what is then not used. `covered` are the operations that the
  /// composite stands for: its location names their nodes.
  void replace(mlir::Operation *root, mlir::Operation *composite, llvm::ArrayRef<mlir::Operation *> covered);
  /// Lists the attempt, where it is a near miss.
  void missed(const Attempt &attempt);

  llvm::StringRef kind; ///< of what is found next

private:
  void eraseDead(mlir::Operation *op);

  mlir::func::FuncOp func;
  bool explain;
  llvm::SmallVector<mlir::Attribute> entries;
  llvm::DenseSet<mlir::Operation *> erased; ///< addresses, which nothing new has while a pass runs its matches
};

/// The names of the model's nodes in a location.
void collectNodes(mlir::Location loc, llvm::SetVector<mlir::StringAttr> &names);

/// Users other than operations that nothing uses, each once.
llvm::SmallVector<mlir::Operation *> usersOf(mlir::Value value);

} // namespace lathe::fusion

#endif // LATHE_PASSES_FUSION_REPORT_H
