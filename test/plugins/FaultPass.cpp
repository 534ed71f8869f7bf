//===- FaultPass.cpp - Passes that make models wrong ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A pass plug-in for the tests of lathe bisect: additions of some nodes become subtractions. It knows operations by
// name alone, so that it needs nothing of Lathe.
//
//===----------------------------------------------------------------------===//
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;

namespace {

bool isOf(Operation *op, StringRef node) {
  bool found = false;
  op->getLoc()->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner))
      found |= name.getName().getValue() == node;
    return found ? WalkResult::interrupt() : WalkResult::advance();
  });
  return found && op->getName().getStringRef() == "lathe.add";
}

Operation *subtraction(OpBuilder &b, Operation *addition) {
  OperationState state(addition->getLoc(), "lathe.sub", addition->getOperands(), addition->getResultTypes(),
                       addition->getAttrs());
  return b.create(state);
}

/// All of a function in one go.
struct Fault : PassWrapper<Fault, OperationPass<func::FuncOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(Fault)
  Fault() = default;
  Fault(const Fault &other) : PassWrapper(other) {}
  StringRef getArgument() const override { return "test-fault"; }
  StringRef getDescription() const override { return "Subtract where a node adds"; }
  void runOnOperation() override {
    SmallVector<Operation *> additions;
    getOperation().walk([&](Operation *op) {
      if (isOf(op, node))
        additions.push_back(op);
    });
    for (Operation *op : additions) {
      OpBuilder b(op);
      op->replaceAllUsesWith(subtraction(b, op));
      op->erase();
    }
  }
  Option<std::string> node{*this, "node", llvm::cl::desc("name of the node")};
};

/// The same by a pattern, which is tried at every addition.
struct FaultByPattern : PassWrapper<FaultByPattern, OperationPass<func::FuncOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(FaultByPattern)
  FaultByPattern() = default;
  FaultByPattern(const FaultByPattern &other) : PassWrapper(other) {}
  StringRef getArgument() const override { return "test-fault-pattern"; }
  StringRef getDescription() const override { return "Subtract where a node adds, as a pattern"; }
  struct Subtract : RewritePattern {
    Subtract(MLIRContext *context, std::string node) : RewritePattern("lathe.add", 1, context), node(std::move(node)) {}
    LogicalResult matchAndRewrite(Operation *op, PatternRewriter &rewriter) const override {
      if (!isOf(op, node))
        return rewriter.notifyMatchFailure(op, "is of another node");
      rewriter.replaceOp(op, subtraction(rewriter, op));
      return success();
    }
    std::string node;
  };
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<Subtract>(&getContext(), node);
    (void)applyPatternsAndFoldGreedily(getOperation(), std::move(patterns));
  }
  Option<std::string> node{*this, "node", llvm::cl::desc("name of the node")};
};

} // namespace

extern "C" __attribute__((visibility("default"))) PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "FaultPasses", "1", [] {
            PassRegistration<Fault>();
            PassRegistration<FaultByPattern>();
          }};
}
