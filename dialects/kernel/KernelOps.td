//===- KernelOps.td - The kernel dialect -------------------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_KERNEL_KERNELOPS_TD
#define LATHE_DIALECTS_KERNEL_KERNELOPS_TD

include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Dialect/LLVMIR/LLVMOpBase.td"

def Kernel_Dialect : Dialect {
  let name = "kernel";
  let cppNamespace = "::lathe::kernel";
  let summary = "How a program runs: buffers, library calls, launches of generated kernels, the arena";
  let description = [{
    A selected program is two functions and the kernels they launch. `@run(%frame)` executes the model once;
    `@plan(%symbols, %dims, %bytes)` computes the dimensions of inputs and outputs and the size of the arena. `%frame` is the
    `lathe_frame` of runtime/Abi.h. A kernel is a function `(%frame, %args, %begin, %end)` that executes the work items
    [begin, end). Module attributes hold the tables that the artifact's manifest is written from: `kernel.symbols`,
    `kernel.constants`, `kernel.kernels`, `kernel.checks`, `kernel.inputs`, `kernel.outputs`, `kernel.caches`. Operations name the entries by index,
    which is below 2^24. A program that shares the constants of another has `kernel.reads`, too: those that it reads.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect", "::mlir::LLVM::LLVMDialect", "::mlir::memref::MemRefDialect"];
  let hasOperationAttrVerify = 1;
}

/// A pointer in the default address space.
def Kernel_Pointer : Type<CPred<"::llvm::isa<::mlir::LLVM::LLVMPointerType>($_self)">, "pointer", "::mlir::LLVM::LLVMPointerType">,
    BuildableType<"::mlir::LLVM::LLVMPointerType::get($_builder.getContext())">;

/// Other memrefs (with strides, in other memory spaces) would be read as if they were dense. Truth values take a byte.
def Kernel_Buffer : Type<CPred<"::lathe::kernel::isBuffer($_self)">,
    "dense row-major buffer of numbers of 8, 16, 32 or 64 bits", "::mlir::MemRefType">;
def Kernel_Argument : AnyTypeOf<[Kernel_Buffer, Index]>;

class Kernel_Op<string mnemonic, list<Trait> traits = []> : Op<Kernel_Dialect, mnemonic, traits>;

def Kernel_InputOp : Kernel_Op<"input", [Pure]> {
  let summary = "Buffer of an input of the model";
  let description = [{
    `index` counts the inputs (C1); there is one size for each dynamic dimension (C2).

    ```mlir
    %x = kernel.input %frame 0 [%batch] : memref<?x4xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$index, Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$frame $index `[` $dims `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_OutputOp : Kernel_Op<"output", [Pure]> {
  let summary = "Buffer of an output of the model";
  let description = [{
    `index` counts the outputs (C1); there is one size for each dynamic dimension (C2).

    ```mlir
    %y = kernel.output %frame 0 [%batch] : memref<?x4xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$index, Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$frame $index `[` $dims `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_ConstantOp : Kernel_Op<"constant", [Pure]> {
  let summary = "Buffer of a constant of the artifact";
  let description = [{
    `index` counts `kernel.constants` (C1); the shape is static (C2).

    ```mlir
    %w = kernel.constant %frame 3 : memref<8x4xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$index);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$frame $index attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_AllocOp : Kernel_Op<"alloc", [MemoryEffects<[MemAlloc]>]> {
  let summary = "Buffer for an intermediate value; plan-arena gives it a place";
  let description = [{
    One size for each dynamic dimension (C1).

    ```mlir
    %t = kernel.alloc [%batch] : memref<?x4xf32>
    ```
  }];
  let arguments = (ins Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "`[` $dims `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_ArenaOp : Kernel_Op<"arena", [Pure]> {
  let summary = "Buffer at an offset in bytes of the arena";
  let description = [{
    One size for each dynamic dimension (C1).

    ```mlir
    %t = kernel.arena %frame at %offset [%batch] : memref<?x4xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, Index:$offset, Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$frame `at` $offset `[` $dims `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_DynamicAllocOp : Kernel_Op<"dynamic_alloc", [MemoryEffects<[MemAlloc]>]> {
  let summary = "Buffer whose size is known when the run has come to it";
  let description = [{
    The runtime keeps one allocation for each `slot` (C1) of a session, of the largest size that was asked for. Where there is no
    memory `@run` returns. One size for each dynamic dimension (C2).

    ```mlir
    %t = kernel.dynamic_alloc %frame 0 [%n] : memref<?x4xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$slot, Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$frame $slot `[` $dims `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_DynamicOutputOp : Kernel_Op<"dynamic_output", [MemoryEffects<[MemAlloc]>]> {
  let summary = "Buffer of an output whose shape is known when the run has come to it";
  let description = [{
    `@plan` gives -1 for its dimensions. `index` counts the outputs (C1). Where there is no memory, or too little of the caller's,
    `@run` returns. One size for each dynamic dimension (C2).

    ```mlir
    %y = kernel.dynamic_output %frame 0 [%n] : memref<?x4xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$index, Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$frame $index `[` $dims `]` attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_ViewOp : Kernel_Op<"view", [Pure]> {
  let summary = "The same dense buffer under another shape";
  let description = [{
    One size for each dynamic dimension (C1); the type and, where both are static, the number of elements stay (C2).

    ```mlir
    %y = kernel.view %x [%n] : memref<?x4xf32> -> memref<?xf32>
    ```
  }];
  let arguments = (ins Kernel_Buffer:$source, Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$source `[` $dims `]` attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Kernel_RowOp : Kernel_Op<"row", [Pure]> {
  let summary = "One entry of a dense buffer along its first axis";
  let description = [{
    The buffer has a first axis, and the result the others (C1); one size for each dynamic dimension (C2). The index is within the
    extent.

    ```mlir
    %y = kernel.row %x at %i [%n] : memref<?x?xf32> -> memref<?xf32>
    ```
  }];
  let arguments = (ins Kernel_Buffer:$source, Index:$index, Variadic<Index>:$dims);
  let results = (outs Kernel_Buffer:$result);
  let assemblyFormat = "$source `at` $index `[` $dims `]` attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Kernel_MatmulOp : Kernel_Op<"matmul", [AttrSizedOperandSegments]> {
  let summary = "Library call: (batched) matrix product with bias, activation, multiplier and residual";
  let description = [{
    `out = activation(alpha * lhs * rhs + bias) * multiplier + residual` over the last two axes, leading ones broadcast; the multiplier
    multiplies elements. `rhs` is absent when it is the constant `weight` (an index into `kernel.constants`, else -1); that constant has `weight_shape` [k, n] once
    `transpose_rhs` is applied. `activation` is a `lathe_activation` of runtime/Abi.h; `kernel` an index into
    `kernel.kernels`.

    Elements are f32, of lhs and out perhaps i8, f16 or bf16 (C1), ranks 2 to 5 and the result's the largest (C2), the bias has rank 1 (C3). Either `rhs` or `weight` is
    there (C4), `weight_shape` with the latter (C5). Dimensions fit where they are static (C6). The activation is known (C7).

    Where `lhs_axes`, `rhs_axes` or `out_axes` is there, axis i of the matrices is axis `axes[i]` of that buffer: transposes cost
    nothing. They are permutations (C8), the result's keeps the last axis (C9), and there is none with a weight (C10). The residual has the result's shape (C11) and order of
    axes, so it does not go with `out_axes` (C12); it may be the result's buffer. So may the multiplier, which has the result's shape (C13) and
    goes with a weight alone (C14). `lhs_quantization` is a `lathe_quantization` of runtime/Abi.h: with a weight of quantized integers the left
    side is rounded to integers, which are multiplied, by `lhs_scale`, above 0, and `lhs_zero`, from -128 to 127, where the
    scale is static (C15), and with one of 8-bit floats, on a device, to such. A left side of i8 has been rounded so, or with `lhs_scales` by rows (C16); `lhs_again` says that the last product before this one that read it
    left it as it was. A result of i8, with a weight alone, is rounded by `out_scale` and `out_zero` likewise (C17). `lhs_unsigned` and
    `out_unsigned` say that such bytes have no sign: they are 128 more than what zeros count. Bytes that were rounded by a scale for each row
    have a sign; these scales are `lhs_scales`, and `lhs_sums` what the bytes of each row add up to, in i32, or absent: dense buffers of the
    left side's shape but for a last axis of 1 (C18). On a device `lhs` may be of the type of a weight of 16-bit floats, without
    `lhs_quantization` (C19), and `out` of 16-bit floats with such a weight. Under `arithmetic`, f16 or bf16, with a weight and without
    `lhs_quantization`, a device may round operands to it where the weight is of codes (C20); sums stay f32.

    ```mlir
    kernel.matmul %frame lhs(%a : memref<?x8xf32>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
      weight = 2 : i64, weight_shape = array<i64: 8, 4>}
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, Kernel_Buffer:$lhs, Optional<Kernel_Buffer>:$lhs_scales,
      Optional<Kernel_Buffer>:$lhs_sums, Optional<Kernel_Buffer>:$rhs, Optional<Kernel_Buffer>:$bias, Optional<Kernel_Buffer>:$multiplier, Optional<Kernel_Buffer>:$residual, Kernel_Buffer:$out, I64Attr:$kernel, I64Attr:$weight, DenseI64ArrayAttr:$weight_shape, I64Attr:$activation,
      UnitAttr:$transpose_lhs, UnitAttr:$transpose_rhs, DefaultValuedAttr<F64Attr, "1.0">:$alpha,
      OptionalAttr<DenseI64ArrayAttr>:$lhs_axes, OptionalAttr<DenseI64ArrayAttr>:$rhs_axes,
      OptionalAttr<DenseI64ArrayAttr>:$out_axes, DefaultValuedAttr<I64Attr, "0">:$lhs_quantization,
      DefaultValuedAttr<F64Attr, "1.0">:$lhs_scale, DefaultValuedAttr<I64Attr, "0">:$lhs_zero, UnitAttr:$lhs_unsigned,
      UnitAttr:$lhs_again, DefaultValuedAttr<F64Attr, "1.0">:$out_scale, DefaultValuedAttr<I64Attr, "0">:$out_zero, UnitAttr:$out_unsigned,
      OptionalAttr<TypeAttr>:$arithmetic);
  let assemblyFormat = "$frame `lhs` `(` $lhs `:` type($lhs) `)` (`scales` `(` $lhs_scales^ `:` type($lhs_scales) `)`)? (`sums` `(` $lhs_sums^ `:` type($lhs_sums) `)`)? (`rhs` `(` $rhs^ `:` type($rhs) `)`)? (`bias` `(` $bias^ `:` type($bias) `)`)? (`multiplier` `(` $multiplier^ `:` type($multiplier) `)`)? (`residual` `(` $residual^ `:` type($residual) `)`)? `out` `(` $out `:` type($out) `)` attr-dict";
  let extraClassDeclaration = [{
    /// The shape of a buffer's matrices: its own, with the axes in the order that `axes` says.
    static ::llvm::SmallVector<int64_t> matrixShape(::mlir::Value buffer, ::std::optional<::llvm::ArrayRef<int64_t>> axes);
    bool readsBytes() { return getLhs().getType().getElementType().isInteger(8); }
    bool writesBytes() { return getOut().getType().getElementType().isInteger(8); }
  }];
  let hasVerifier = 1;
}

def Kernel_LookupOp : Kernel_Op<"lookup"> {
  let summary = "Library call: rows of a quantized table";
  let description = [{
    `out[i] = table[indices[i]]`, where `weight` is an index into `kernel.constants`, of the table's transpose. Indices are i64 or i32 (C1), `out`
    is of f32 and has the indices' dimensions and one more (C2). A negative index counts from the end; one out of bounds fails `check`, an index into
    `kernel.checks`. `kernel` is an index into `kernel.kernels`.

    ```mlir
    kernel.lookup %frame 2 indices(%i : memref<?x?xi64>) out(%y : memref<?x?x64xf32>) {check = 0 : i64, kernel = 0 : i64}
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$weight, Kernel_Buffer:$indices, Kernel_Buffer:$out, I64Attr:$check, I64Attr:$kernel);
  let assemblyFormat = "$frame $weight `indices` `(` $indices `:` type($indices) `)` `out` `(` $out `:` type($out) `)` attr-dict";
  let hasVerifier = 1;
}

def Kernel_AttentionOp : Kernel_Op<"attention", [AttrSizedOperandSegments]> {
  let summary = "Library call: attention over strided views";
  let description = [{
    As `lathe.attention`, of three leading axes. `sizes` are the extents of the leading axes, the last of which are the heads of
    queries, then the heads of keys, and S, T, D and E (C1: eight). A view of a buffer is an offset and the strides of the leading axes
    (of a key and a value the third is that of their own heads), rows and columns, in elements (C2: six): transposes, parts of
    a merged projection, heads that several queries share and broadcasts cost nothing. There are at most two biases, whose views
    stand one behind the other (C3). Elements are f32 (C4), and the views lie within their buffers. `softcap` is 0 for
    none (C5); `kernel` is an index into `kernel.kernels`.

    Keys and values are those of a cache (`key_cache`, `value_cache`: indices into `kernel.caches`) where there is no buffer (C6);
    the second leading axis then counts sequences. `positions` are i64, and their view an offset and the strides of the second
    leading axis and of the queries (C7). Under `arithmetic`, bf16, f16 or i8 (C8), products may round their operands to it.

    ```mlir
    kernel.attention %frame sizes[%b, %one, %h, %h, %s, %s, %d, %d] query(%q : memref<?x?x8x64xf32>)[%z, %qb, %z, %d, %qr, %one]
      key(%k : memref<?x?x8x64xf32>)[%z, %qb, %z, %d, %qr, %one] value(%v : memref<?x?x8x64xf32>)[%z, %qb, %z, %d, %qr, %one]
      biases(%m : memref<?x?xf32>)[%z, %s, %z, %z, %z, %one]
      out(%y : memref<?x?x8x64xf32>)[%z, %qb, %z, %d, %qr, %one] {kernel = 0 : i64, scale = 1.250000e-01 : f64}
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, Variadic<Index>:$sizes, Kernel_Buffer:$query, Variadic<Index>:$query_view,
      Optional<Kernel_Buffer>:$key, Variadic<Index>:$key_view, Optional<Kernel_Buffer>:$value, Variadic<Index>:$value_view,
      Variadic<Kernel_Buffer>:$biases, Variadic<Index>:$bias_views, Optional<Kernel_Buffer>:$positions,
      Variadic<Index>:$positions_view, Kernel_Buffer:$out, Variadic<Index>:$out_view,
      I64Attr:$kernel, F64Attr:$scale, DefaultValuedAttr<F64Attr, "0.0">:$softcap, UnitAttr:$zero_masked,
      UnitAttr:$zero_nan, OptionalAttr<I64Attr>:$key_cache, OptionalAttr<I64Attr>:$value_cache,
      DefaultValuedAttr<I64Attr, "0">:$window, OptionalAttr<TypeAttr>:$arithmetic);
  let assemblyFormat = [{$frame `sizes` `[` $sizes `]` `query` `(` $query `:` type($query) `)` `[` $query_view `]`
    (`key` `(` $key^ `:` type($key) `)` `[` $key_view `]`)? (`value` `(` $value^ `:` type($value) `)` `[` $value_view `]`)?
    (`biases` `(` $biases^ `:` type($biases) `)` `[` $bias_views `]`)?
    (`positions` `(` $positions^ `:` type($positions) `)` `[` $positions_view `]`)? `out` `(` $out `:` type($out) `)` `[` $out_view `]` attr-dict}];
  let hasVerifier = 1;
}

def Kernel_CacheAppendOp : Kernel_Op<"cache_append", [AttrSizedOperandSegments]> {
  let summary = "Puts new rows behind those that the sequences of the run have in a cache";
  let description = [{
    `sizes` are the extents B, H, N and D of the rows (C1: four), `view` an offset and the strides of these (C2: five). `cache` is an index
    into `kernel.caches`, `kernel` one into `kernel.kernels`. Elements are f32 (C3).

    ```mlir
    kernel.cache_append %frame 0 sizes[%b, %h, %n, %d] rows(%k : memref<?x?x8x64xf32>)[%z, %kb, %d, %kr, %one] {kernel = 0 : i64}
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$cache, Variadic<Index>:$sizes, Kernel_Buffer:$rows, Variadic<Index>:$view,
      I64Attr:$kernel);
  let assemblyFormat = [{$frame $cache `sizes` `[` $sizes `]` `rows` `(` $rows `:` type($rows) `)` `[` $view `]` attr-dict}];
  let hasVerifier = 1;
}

def Kernel_CacheReadOp : Kernel_Op<"cache_read"> {
  let summary = "Copies the rows that the sequences of the run have in a cache";
  let description = [{
    `out` is [B, H, T, D] (C1) of f32 (C2): of each sequence the first T rows, and zeros behind its last. `cache` is an index into
    `kernel.caches`, `kernel` one into `kernel.kernels`.

    ```mlir
    kernel.cache_read %frame 0 out(%k : memref<?x8x?x64xf32>) {kernel = 1 : i64}
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I64Attr:$cache, Kernel_Buffer:$out, I64Attr:$kernel);
  let assemblyFormat = [{$frame $cache `out` `(` $out `:` type($out) `)` attr-dict}];
  let hasVerifier = 1;
}

def Kernel_LaunchOp : Kernel_Op<"launch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Runs a generated kernel over [0, count), in chunks of at least `grain` work items";
  let description = [{
    Memrefs and index values are laid out one behind the other as the kernel's arguments: memrefs as the descriptors that MLIR's
    lowering to LLVM uses. `callee` is a kernel: a function (frame, arguments, begin, end) (C1). The last argument is its result; those before
    that may be further ones.

    `kernel.in_place` lists the positions of buffers that the kernel reads only at the element that it writes next: the last argument,
    its result, may lie at the same place.

    ```mlir
    kernel.launch %frame @add(%x, %y) count %rows grain %g {kernel = 1 : i64} : memref<?xf32>, memref<?xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, FlatSymbolRefAttr:$callee, Variadic<Kernel_Argument>:$args, Index:$count, Index:$grain,
      I64Attr:$kernel);
  let assemblyFormat = "$frame $callee `(` $args `)` `count` $count `grain` $grain attr-dict `:` type($args)";
  let hasVerifier = 1;
}

def Kernel_DeviceLaunchOp : Kernel_Op<"device_launch"> {
  let summary = "Puts a generated kernel behind what a device has to do";
  let description = [{
    As `kernel.launch`, of a function (failures, arguments, count) of the device, by `grid` blocks of `block` threads each of which shares
    `shared` bytes (C1: below 2^24). Nothing waits. The arguments take at most 4064 bytes (C2).

    ```mlir
    kernel.device_launch %frame "add"(%x, %y) count %rows grid %g block %t {kernel = 1 : i64, shared = 0 : i64} : memref<?xf32>, memref<?xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, StrAttr:$function, Variadic<Kernel_Argument>:$args, Index:$count, Index:$grid, Index:$block,
      I64Attr:$kernel, I64Attr:$shared);
  let assemblyFormat = "$frame $function `(` $args `)` `count` $count `grid` $grid `block` $block attr-dict `:` type($args)";
  let hasVerifier = 1;
}

def Kernel_ReadOp : Kernel_Op<"read", [TypesMatchWith<"result is of the buffer's elements", "buffer", "result",
    "::llvm::cast<::mlir::MemRefType>($_self).getElementType()">]> {
  let summary = "Reads an element of a buffer of a device, after all that was put before it";
  let description = [{
    Ends the run where that fails. It stands in `@run`; there is one index for each axis (C1).

    ```mlir
    %n = kernel.read %frame %x[%i] : memref<?xi64>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, Kernel_Buffer:$buffer, Variadic<Index>:$indices);
  let results = (outs AnyType:$result);
  let assemblyFormat = "$frame $buffer `[` $indices `]` attr-dict `:` type($buffer)";
  let hasVerifier = 1;
}

def Kernel_ArgOp : Kernel_Op<"arg", [Pure]> {
  let summary = "Argument of a kernel, at an offset in bytes of its arguments";
  let description = [{
    The offset is a multiple of 8 below 2^24 (C1).

    ```mlir
    %x = kernel.arg %args at 0 : memref<?xf32>
    ```
  }];
  let arguments = (ins Kernel_Pointer:$args, I64Attr:$offset);
  let results = (outs Kernel_Argument:$result);
  let assemblyFormat = "$args `at` $offset attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kernel_CheckOp : Kernel_Op<"check"> {
  let summary = "Records that a condition of the model does not hold";
  let description = [{
    `check` is an index into `kernel.checks`. Execution goes on: what follows must be safe whatever the condition.

    ```mlir
    kernel.check %frame, %ok {check = 0 : i64}
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I1:$condition, I64Attr:$check);
  let assemblyFormat = "$frame `,` $condition attr-dict";
  let hasVerifier = 1;
}

def Kernel_RequireOp : Kernel_Op<"require"> {
  let summary = "Ends the run where a condition of the model does not hold";
  let description = [{
    As `kernel.check`, in `@run`, which returns. `check` is an index into `kernel.checks` (C1).

    ```mlir
    kernel.require %frame, %ok {check = 0 : i64}
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, I1:$condition, I64Attr:$check);
  let assemblyFormat = "$frame `,` $condition attr-dict";
  let hasVerifier = 1;
}

def Kernel_DefineOp : Kernel_Op<"define"> {
  let summary = "Gives a symbol of the program its value, which the run has computed";
  let description = [{
    The symbol is one of `kernel.symbols` that is marked `computed`. `lathe.symbol` reads it after this.

    ```mlir
    kernel.define %frame "count[0]" = %n
    ```
  }];
  let arguments = (ins Kernel_Pointer:$frame, StrAttr:$name, Index:$value);
  let assemblyFormat = "$frame $name `=` $value attr-dict";
}

#endif // LATHE_DIALECTS_KERNEL_KERNELOPS_TD
