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

    Buffers whose lives don't overlap share a slot. A buffer goes to the free slot that it fits provably, the one of equal size first;
    else a new slot is made. Slots lie one behind the other, each a multiple of 64 bytes.

    ```mlir
    // before
    %t = kernel.alloc [%batch] : memref<?x4xf32>
    // after
    %t = kernel.arena %frame at %offset [%batch] : memref<?x4xf32>
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect", "::lathe::kernel::KernelDialect", "::mlir::LLVM::LLVMDialect"];
}

#endif // LATHE_PASSES_MEMORY_PASSES_TD
