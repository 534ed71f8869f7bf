//===- Passes.td - Passes of the CPU backend's compile half -*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_PASSES_TD
#define LATHE_BACKENDS_CPU_COMPILER_PASSES_TD

include "mlir/Pass/PassBase.td"

def CpuIntegerProductsPass : Pass<"cpu-integer-products", "::mlir::func::FuncOp"> {
  let summary = "Compute matrix products of bytes by way of f32, exactly";
  let description = [{
    Pre-condition: a lathe program. Post-condition: a product in i32 of operands that were widened from 8 bits or fewer, less zero
    points or not, whose inner dimension is static, is one or several products in f32, over parts so short that each of
    their sums is a whole number below 2^24. So it is exact in whatever order it is summed, and goes to the library.

    ```mlir
    // before
    %r = lathe.matmul %a, %b : (tensor<?x384xi32>, tensor<384x4xi32>) -> tensor<?x4xi32>
    // after
    %x = lathe.cast %a : (tensor<?x384xi32>) -> tensor<?x384xf32>
    %s = lathe.slice %x from [%c0] to [%c256] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x384xf32> -> tensor<?x256xf32>
    %p = lathe.matmul %s, …              // and one over the other 128, both cast to i32 and added
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def CpuWideProductsPass : Pass<"cpu-wide-products", "::mlir::func::FuncOp"> {
  let summary = "Compute matrix products of 16-bit floats in f32";
  let description = [{
    Pre-condition: a lathe program. Post-condition: no product of f16 or bf16 is left: each is one of f32, whose operands are widened and
    whose result is rounded. A constant stays as it is stored, as the product widens what it reads of it; an expression of a compressed
    weight is one of f32, and rows of such a table are looked up in f32 and rounded. With `lookups` rows of 16-bit weights are, too: before
    weights are compressed.

    ```mlir
    // before
    %r = lathe.matmul %a, %b : (tensor<?x8xf16>, tensor<8x4xf16>) -> tensor<?x4xf16>
    // after
    %x = lathe.cast %a : (tensor<?x8xf16>) -> tensor<?x8xf32>
    %y = lathe.cast %b : (tensor<8x4xf16>) -> tensor<8x4xf32>
    %p = lathe.matmul %x, %y : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    %r = lathe.cast %p : (tensor<?x4xf32>) -> tensor<?x4xf16>
    ```
  }];
  let options = [Option<"lookups", "lookups", "bool", /*default=*/"false", "look up rows of weights in f32 as well">];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def CpuCompressedProductsPass : Pass<"cpu-compressed-products", "::mlir::func::FuncOp"> {
  let summary = "Let products and lookups read compressed weights as they are stored";
  let description = [{
    Pre-condition: a lathe program. Post-condition: a matrix that is an expression of constants (`lathe.dequantize`,
    `lathe.dequantize_log2`, `lathe.codebook_lookup`) for which there are kernels is, to f32 products whose right side it is and to lookups
    of its rows, a `lathe.weight` with the attribute `kernel.compressed`: the entry of the table of constants. A left side
    that is rounded to 8 bits and back, by a scale for each row that is its largest magnitude over 127 or by one scale for all, is read before it is
    rounded where the right side is of integers: the attribute `kernel.lhs_quantization` tells the product to round. Where one constant scale rounds
    it and the bytes are worth being a tensor, the product reads these (`bytes`), signed ones where nothing else needs them otherwise: several
    products read them, another product writes them, perhaps with reshapes between, or a generated kernel does. With `device` likewise a left side
    that is rounded to 8-bit floats (E4M3) and back, by its largest magnitude over 448, where the right side is of 8-bit floats. With `arithmetic` products by codes whose left side is not rounded
    get `kernel.arithmetic`. Other expressions stay.

    ```mlir
    // before
    %w = lathe.dequantize %q, %s {axis = 0 : i64, block_size = 32 : i64} : (tensor<64x4xi4>, tensor<2x4xf16>) -> tensor<64x4xf32>
    %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x4xf32>) -> tensor<?x4xf32>
    // after
    %w = lathe.weight "w" in ":made" at 0 {kernel.compressed = {bits = 4 : i64, group = 32 : i64, …}} : tensor<64x4xf32>
    %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let options = [
    Option<"device", "device", "bool", "false", "for a device that is not the processor: left sides are rounded to 8-bit floats by products">,
    Option<"arithmetic", "arithmetic", "std::string", "\"\"", "f16 or bf16: what a device's products by codes may round numbers to; all else is nothing">,
  ];
  let dependentDialects = ["::lathe::LatheDialect", "::lathe::kernel::KernelDialect"];
}

def CpuSelectKernelsPass : Pass<"cpu-select-kernels", "::mlir::ModuleOp"> {
  let summary = "Turn a lathe program into library calls and generated kernels over buffers";
  let description = [{
    Pre-condition: `@main` is a lathe program whose shapes are simplified.
    Post-condition: `@main` is gone; `@run` and `@plan` and the kernels are there (dialect `kernel`), with `kernel.alloc`
    for intermediate values.

    f32 matrix products become `kernel.matmul`, with a following bias and activation as its epilogue. All other operations are grouped:
    an operation joins the group of its users when it is computed in one place only, or is cheap enough to be computed
    again, and the group's loops can compute it without storing it. Each group becomes one generated kernel
    through its operations' lowering to linalg; one of elementwise operations on a single shape sees its buffers with one axis. With `fuse=false` every operation is a group of its own, with
    `library=false` matrix products are generated too: that is the reference backend.

    With `device` no dense constant is packed.

    Constants of the same content become one entry of `kernel.constants`. Where the module has such a table already, that of
    another program of the artifact, the program's own entries come behind it, and a weight that is in it is read in the layout that
    it has there, if that can be; `kernel.reads` then says which entries the program reads.

    ```mlir
    // before
    %0 = lathe.add %a, %b : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    %1 = lathe.tanh %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
    // after
    kernel.launch %frame @kernel_0(%a, %b, %out) count %rows grain %grain {kernel = 0 : i64} : …
    ```
  }];
  let options = [
    Option<"fuse", "fuse", "bool", "true", "group operations and use epilogues">,
    Option<"library", "library", "bool", "true", "use library calls for matrix products">,
    Option<"device", "device", "bool", "false", "for a device that is not the processor: dense constants stay as they are">,
  ];
  let dependentDialects = ["::lathe::LatheDialect", "::lathe::kernel::KernelDialect", "::mlir::linalg::LinalgDialect", "::mlir::scf::SCFDialect",
    "::mlir::math::MathDialect", "::mlir::tensor::TensorDialect", "::mlir::cf::ControlFlowDialect", "::mlir::memref::MemRefDialect"];
}

def CpuVectorizeLoopsPass : Pass<"cpu-vectorize-loops", "::mlir::func::FuncOp"> {
  let summary = "Compute iterations of a kernel's loops side by side, in vectors";
  let description = [{
    Pre-condition: kernels of `cpu-select-kernels`. Post-condition: the outermost loops whose iterations read and write elements
    that follow one another are loops over vectors of 512 bits, and a masked one for what is left. The states of a loop that are
    sums, maxima and the like are kept in four vectors, which are combined behind it. Branches on what differs from lane to lane are
    both computed, with masked reads. A loop that stays as it is, without loops in it, has an attribute `kernel.scalar` that
    says why.

    ```mlir
    // before
    scf.for %j = %c0 to %n step %c1 {
      %x = memref.load %a[%i, %j] : memref<?x?xf32>
    // after
    scf.for %j = %c0 to %whole step %c16 {
      %x = vector.load %a[%i, %j] : memref<?x?xf32>, vector<16xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect",
    "::mlir::vector::VectorDialect"];
}

def KernelToLLVMPass : Pass<"kernel-to-llvm", "::mlir::ModuleOp"> {
  let summary = "Lower kernel operations to LLVM, over the layouts of runtime/Abi.h";
  let description = [{
    Pre-condition: the arena is planned (no `kernel.alloc`). Post-condition: no operation of `kernel` or `lathe` is left;
    memrefs are connected to LLVM descriptors by unrealized casts that the conversion of the other dialects resolves.

    ```mlir
    // before
    %x = kernel.input %frame 0 [%n] : memref<?xf32>
    // after
    %p = llvm.getelementptr %frame[16] …   // lathe_frame::inputs
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect", "::mlir::func::FuncDialect", "::mlir::LLVM::LLVMDialect",
    "::mlir::memref::MemRefDialect", "::mlir::scf::SCFDialect"];
}

#endif // LATHE_BACKENDS_CPU_COMPILER_PASSES_TD
