//===- CapRelu.cpp - A pass in a library of its own -----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// `example-cap-relu` makes min(relu(x), limit) of each relu(x) of floats, which keeps activations in a range that
// integers hold well (ReLU6: Howard et al., "MobileNets", 2017).
//
// Lathe's operations are met by their names, and made by them: MLIR tells the C++ classes of operations by addresses in
// the library that defines them, and Lathe's are within its programs. Names, operands and attributes are those of
// docs/dialects/lathe.md.
//
//===----------------------------------------------------------------------===//
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "llvm/Config/llvm-config.h"
#include <cmath>

using namespace mlir;

namespace {

/// Makes an operation of one result.
Value make(OpBuilder &builder, Location loc, StringRef name, ValueRange operands, Type type,
           ArrayRef<NamedAttribute> attributes = {}) {
  return builder.create(OperationState(loc, name, operands, type, attributes))->getResult(0);
}

/// Before: any function. After: no float that a relu gives is above `limit`; integers, and all else, are as they were.
class CapReluPass : public PassWrapper<CapReluPass, OperationPass<func::FuncOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(CapReluPass)

  CapReluPass() = default;
  CapReluPass(const CapReluPass &other) : PassWrapper(other) {}

  StringRef getArgument() const override { return "example-cap-relu"; }
  StringRef getDescription() const override { return "Cap what relu gives"; }

  void runOnOperation() override {
    if (!(limit > 0) || !std::isfinite(limit)) {
      getOperation().emitError() << "pass '" << getArgument() << "': expects a limit above 0, got " << limit;
      return signalPassFailure();
    }
    SmallVector<Operation *> found; // first: what is made of one is not to be walked over
    getOperation().walk([&](Operation *op) {
      if (op->getName().getStringRef() == "lathe.relu")
        found.push_back(op);
    });
    for (Operation *relu : found)
      cap(relu);
  }

private:
  void cap(Operation *relu) {
    auto type = dyn_cast<RankedTensorType>(relu->getResult(0).getType());
    auto element = type ? dyn_cast<FloatType>(type.getElementType()) : FloatType();
    if (!element)
      return;
    // With the relu's location: what is made of it bears the ONNX node's name in messages and profiles.
    OpBuilder builder(relu->getContext());
    builder.setInsertionPointAfter(relu);
    auto scalar = RankedTensorType::get({}, element);
    auto number = DenseElementsAttr::get(scalar, builder.getFloatAttr(element, limit));
    Value bound = make(builder, relu->getLoc(), "lathe.constant", {}, scalar, builder.getNamedAttr("value", number));
    Value capped = make(builder, relu->getLoc(), "lathe.min", {relu->getResult(0), bound}, type);
    relu->getResult(0).replaceAllUsesExcept(capped, capped.getDefiningOp());
  }

  Option<double> limit{*this, "limit", llvm::cl::desc("the largest value"), llvm::cl::init(6.0)};
};

} // namespace

extern "C" LLVM_ATTRIBUTE_WEAK mlir::PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "example-cap-relu", LLVM_VERSION_STRING, [] { PassRegistration<CapReluPass>(); }};
}
