//===- Dialects.cpp - What the compiler and its tools register ------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Dialects.h"
#include "backends/cpu/compiler/Passes.h"
#include "backends/cuda/compiler/Passes.h"
#include "backends/reference/compiler/Passes.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Index/IR/IndexDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Transforms/Passes.h"
#include "passes/fusion/Passes.h"
#include "passes/generation/Passes.h"
#include "passes/lowrank/Passes.h"
#include "passes/memory/Passes.h"
#include "passes/precision/Passes.h"
#include "passes/simplify/Passes.h"

using namespace mlir;

void lathe::registerDialects(DialectRegistry &registry) {
  registry.insert<LatheDialect, kernel::KernelDialect, arith::ArithDialect, cf::ControlFlowDialect, func::FuncDialect, gpu::GPUDialect,
                  index::IndexDialect, linalg::LinalgDialect, LLVM::LLVMDialect, math::MathDialect, memref::MemRefDialect, NVVM::NVVMDialect,
                  scf::SCFDialect, tensor::TensorDialect>();
  registerReferenceInterfaces(registry);
}

void lathe::registerPasses() {
  simplify::registerLatheSimplifyPasses();
  fusion::registerLatheFusionPasses();
  lowrank::registerLatheLowRankPasses();
  memory::registerLatheMemoryPasses();
  generation::registerLatheGenerationPasses();
  precision::registerLathePrecisionPasses();
  cpu::registerLatheCpuPasses();
  cuda::registerLatheCudaPasses();
  registerLatheReferencePasses();
  registerReferencePipelines();
  registerCanonicalizerPass();
  registerCSEPass();
  registerSymbolDCEPass();
}
