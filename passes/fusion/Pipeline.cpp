//===- Pipeline.cpp - The phase that recognises composite operations ------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "mlir/Pass/PassManager.h"
#include "mlir/Transforms/Passes.h"
#include "passes/fusion/Passes.h"

using namespace mlir;

namespace lathe::fusion {

void buildPipeline(OpPassManager &passes, bool explain) {
  OpPassManager &functions = passes.nest<func::FuncOp>();
  functions.addPass(createFuseAttentionPass({explain}));
  functions.addPass(createFuseLayerNormPass({explain}));
  functions.addPass(createFuseRmsNormPass({explain}));
  functions.addPass(createFuseGeluPass({explain}));
  functions.addPass(createFuseSiluPass({explain}));
  functions.addPass(createCanonicalizerPass());
  functions.addPass(createCSEPass());
}

} // namespace lathe::fusion
