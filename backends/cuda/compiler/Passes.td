//===- Passes.td - Passes of the CUDA backend's compile half -*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_COMPILER_PASSES_TD
#define LATHE_BACKENDS_CUDA_COMPILER_PASSES_TD

include "mlir/Pass/PassBase.td"

def CudaThreadLoopsPass : Pass<"cuda-thread-loops", "::mlir::ModuleOp"> {
  let summary = "Make threads of the iterations of kernels' loops, and launches on a device of launches";
  let description = [{
    Pre-condition: the kernels of `cpu-select-kernels`. Post-condition: each is a function (failures, arguments, count) of a device, which is launched by
    `kernel.device_launch` with as many blocks and threads as there is work; what `@run` reads of buffers it reads by `kernel.read`.

    Where the loops over a row's columns are long, a row goes to a block and columns to its threads. A loop's states that are sums, maxima and the like are
    then those of its threads, which shuffles combine, and shared memory between warps, so that all threads have the result; other loops without stores are run
    by each thread, and what stands in no loop is stored by the first one. Short rows that nothing is summed over are elements, each for a thread. Other rows go to a thread
    each, and kernels without a loop over rows to a single one. `nvvm.maxntid` tells how many threads a block has at most, which bounds their registers.

    ```mlir
    // before
    scf.for %i = %begin to %end step %c1 {
      scf.for %j = %c0 to %n step %c1 {
    // after
    scf.for %i = %block to %count step %blocks {
      scf.for %j = %thread to %n step %threads {
    ```
  }];
  let dependentDialects = ["::lathe::kernel::KernelDialect", "::mlir::arith::ArithDialect", "::mlir::gpu::GPUDialect", "::mlir::memref::MemRefDialect",
    "::mlir::NVVM::NVVMDialect", "::mlir::scf::SCFDialect"];
}

def CudaToNvvmPass : Pass<"cuda-to-nvvm", "::mlir::ModuleOp"> {
  let summary = "Lower what only a GPU has to NVVM";
  let description = [{
    Pre-condition: the kernels of `cuda-thread-loops`. Post-condition: no operation of `gpu` is left, and shared memory is memory space 3: all of a block's begins where the
    symbol `lathe_shared` is.

    ```mlir
    // before
    %t = gpu.thread_id x
    // after
    %0 = nvvm.read.ptx.sreg.tid.x : i32
    %t = arith.index_castui %0 : i32 to index
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::LLVM::LLVMDialect", "::mlir::NVVM::NVVMDialect"];
}

#endif // LATHE_BACKENDS_CUDA_COMPILER_PASSES_TD
