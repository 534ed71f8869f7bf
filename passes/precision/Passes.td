//===- Passes.td - Passes that choose types -----------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRECISION_PASSES_TD
#define LATHE_PASSES_PRECISION_PASSES_TD

include "mlir/Pass/PassBase.td"

def WidenFloatsPass : Pass<"widen-floats", "::mlir::func::FuncOp"> {
  let summary = "Compute models of 16-bit floats in f32";
  let description = [{
    Pre-condition: a lathe program. Post-condition: where it has a matrix product or an attention of f16 or bf16, it computes nothing in these
    types. Weights and larger constants stay as they are stored, and are widened for each of their readers, inputs are widened and results
    rounded, and casts to 16 bits on the way round no more: so the program is that of a model of f32 whose weights were narrowed, with what all
    passes know of f32. Numbers are nearer to exact ones than those of the model, and do not overflow where it would. Programs without such a
    product stay: their operations round as ONNX says.

    ```mlir
    // before
    %w = lathe.weight "w" in "model.onnx.data" at 0 : tensor<8x4xf16>
    %y = lathe.matmul %x, %w : (tensor<?x8xf16>, tensor<8x4xf16>) -> tensor<?x4xf16>
    // after
    %a = lathe.cast %x : (tensor<?x8xf16>) -> tensor<?x8xf32>
    %w = lathe.weight "w" in "model.onnx.data" at 0 : tensor<8x4xf16>
    %d = lathe.cast %w : (tensor<8x4xf16>) -> tensor<8x4xf32>
    %p = lathe.matmul %a, %d : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    %y = lathe.cast %p : (tensor<?x4xf32>) -> tensor<?x4xf16>
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def NarrowWeightsPass : Pass<"narrow-weights", "::mlir::func::FuncOp"> {
  let summary = "Store weights in 16 bits";
  let description = [{
    Pre-condition: a lathe program of one block. Post-condition: each f32 `lathe.weight` of two axes or more that is read only as the
    right side of matrix products, or as the table of a `lathe.gather`, is rounded to `type`, and widened for each of its readers. What
    is computed stays f32. The rounding is of a constant: it is done once, when the artifact is written, and the widening is part
    of the product that reads it. Weights for which `types` has an entry are rounded to that type, or are left as they are where that
    is `f32`.

    ```mlir
    // before
    %w = lathe.weight "w" in "model.onnx.data" at 0 : tensor<8x4xf32>
    %y = lathe.matmul %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    // after
    %w = lathe.weight "w" in "model.onnx.data" at 0 : tensor<8x4xf32>
    %n = lathe.cast %w : (tensor<8x4xf32>) -> tensor<8x4xbf16>
    %d = lathe.cast %n : (tensor<8x4xbf16>) -> tensor<8x4xf32>
    %y = lathe.matmul %x, %d : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let options = [Option<"type", "type", "std::string", "\"bf16\"", "bf16 or f16">,
      ListOption<"types", "types", "std::string", "exceptions: name=bf16, name=f16 or name=f32">];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def NarrowOperandsPass : Pass<"narrow-operands", "::mlir::func::FuncOp"> {
  let summary = "Keep what products with weights of 16 bits read in 16 bits";
  let description = [{
    Pre-condition: a lathe program, for a device whose products round f32 that they multiply by weights of 16 bits to the weight's type.
    Post-condition: a tensor of f32 that nothing but left sides of such products reads, perhaps through reshapes, is rounded where it is
    computed and widened again, where an operation of the same block computes it that may well write 16 bits itself. What is multiplied is
    the same; numbers beyond those of f16 become its largest. Inputs, constants, and results of attentions, caches, branches and loops stay,
    as do those of products without such a weight.

    ```mlir
    // before
    %x = lathe.gelu %h : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %w = lathe.cast %stored : (tensor<8x4xbf16>) -> tensor<8x4xf32>
    %y = lathe.matmul %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    // after
    %x = lathe.gelu %h : (tensor<?x8xf32>) -> tensor<?x8xf32>
    %n = lathe.cast %x : (tensor<?x8xf32>) -> tensor<?x8xbf16>
    %a = lathe.cast %n : (tensor<?x8xbf16>) -> tensor<?x8xf32>
    %w = lathe.cast %stored : (tensor<8x4xbf16>) -> tensor<8x4xf32>
    %y = lathe.matmul %a, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def NarrowAttentionPass : Pass<"narrow-attention", "::mlir::func::FuncOp"> {
  let summary = "Let attention multiply in 16 bits";
  let description = [{
    Pre-condition: a lathe program whose attention is fused. Post-condition: each `lathe.attention` of f32 that has no arithmetic has that of `type`: a backend may round what its two products read to
    it, where that is faster. Scores, the softmax and all sums stay f32.

    ```mlir
    // before
    %r = lathe.attention %q, %k, %v : (tensor<?x3x8xf32>, tensor<?x5x8xf32>, tensor<?x5x8xf32>) -> tensor<?x3x8xf32>
    // after
    %r = lathe.attention %q, %k, %v {arithmetic = bf16} : (tensor<?x3x8xf32>, tensor<?x5x8xf32>, tensor<?x5x8xf32>) -> tensor<?x3x8xf32>
    ```
  }];
  let options = [Option<"type", "type", "std::string", "\"bf16\"", "bf16 or f16">];
  let dependentDialects = ["::lathe::LatheDialect"];
}

#endif // LATHE_PASSES_PRECISION_PASSES_TD
