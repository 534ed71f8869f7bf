//===- Passes.td - Passes that plan memory -----------------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_MEMORY_PASSES_TD
#define LATHE_PASSES_MEMORY_PASSES_TD

include "mlir/Pass/PassBase.td"

def PlanArenaPass : Pass<"plan-arena", "::mlir::ModuleOp"> {
  let summary = "Give every intermediate buffer a place in one arena";
  let description = [{
    Pre-condition: `@run` is one block of `kernel` operations, `@plan` computes its third argument nowhere. Post-condition: no
    `kernel.alloc` is left; offsets are expressions of the symbolic dimensions; `@plan` stores the arena's size.

    The result of a launch takes the place of a buffer that `kernel.in_place` lists, and that of a matmul the place of its residual or multiplier, if
    that has the same size and is not needed afterwards. Sizes that
    are multiples of one expression of the symbols, which compare like numbers, share a part of the arena: from the largest on,
    each buffer goes to the smallest gap that it fits between those whose lives overlap with its own. A part begins behind those buffers of
    the parts before it that are needed together with one of its own. All places are multiples of 64 bytes.

    ```mlir
    // before
    %t = kernel.alloc [%batch] : memref<?x4xf32>
    // after
    %t = kernel.arena %frame at %offset [%batch] : memref<?x4xf32>
    ```
  }];
  let options = [Option<"inPlace", "in-place", "bool", "true", "Let results of launches take the place of operands">];
  let dependentDialects = ["::lathe::LatheDialect", "::lathe::kernel::KernelDialect", "::mlir::LLVM::LLVMDialect"];
}

#endif // LATHE_PASSES_MEMORY_PASSES_TD
