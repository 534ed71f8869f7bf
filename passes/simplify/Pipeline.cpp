//===- Pipeline.cpp - The phase that simplifies imported graphs -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/simplify/Passes.h"

using namespace mlir;

namespace lathe::simplify {

void buildPipeline(OpPassManager &passes) {
  OpPassManager &functions = passes.nest<func::FuncOp>();
  functions.addPass(createSimplifyShapesPass());
  functions.addPass(createCanonicalizerPass());
  functions.addPass(createCSEPass());
  functions.addPass(createSimplifyBranchesPass());
  functions.addPass(createSimplifyArithmeticPass());
  functions.addPass(createCanonicalizerPass());
  functions.addPass(createCSEPass());
}

} // namespace lathe::simplify
