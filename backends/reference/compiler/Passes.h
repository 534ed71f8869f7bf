//===- Passes.h - Passes of the reference backend ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_REFERENCE_COMPILER_PASSES_H
#define LATHE_BACKENDS_REFERENCE_COMPILER_PASSES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

namespace mlir {
class DialectRegistry;
class RewritePatternSet;
namespace arith {
class ArithDialect;
} // namespace arith
namespace cf {
class ControlFlowDialect;
} // namespace cf
namespace linalg {
class LinalgDialect;
} // namespace linalg
namespace math {
class MathDialect;
} // namespace math
namespace scf {
class SCFDialect;
} // namespace scf
namespace tensor {
class TensorDialect;
} // namespace tensor
} // namespace mlir

namespace lathe {

/// Patterns that lower every lathe operation but lathe.symbol, lathe.weight and lathe.constant (which is a constant of
/// arith by another name). They read producers of operands (constants, symbolic shapes), which they find when all of a
/// function is converted at once by a dialect conversion.
void populateLatheToLinalgPatterns(mlir::RewritePatternSet &patterns);

/// Turns unsigned integers of a function's tensors into signless ones, which is all that arithmetic is on below lathe,
/// and notes on the operations which they were: their lowerings read that.
void makeSignless(mlir::func::FuncOp func);

/// lathe-to-linalg, then buffers and loops: `lathe-reference`. Leaves memref.alloc at the top level of functions.
void buildReferencePipeline(mlir::OpPassManager &passes);

/// Registers the pipeline `lathe-reference`.
void registerReferencePipelines();

/// Registers what the pipeline needs beside the dialects themselves: how their operations bufferize.
void registerReferenceInterfaces(mlir::DialectRegistry &registry);

#define GEN_PASS_DECL
#define GEN_PASS_REGISTRATION
#include "backends/reference/compiler/Passes.h.inc"

} // namespace lathe

#endif // LATHE_BACKENDS_REFERENCE_COMPILER_PASSES_H
