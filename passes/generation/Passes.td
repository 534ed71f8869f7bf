//===- Passes.td - Passes that make programs for generation -------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_GENERATION_PASSES_TD
#define LATHE_PASSES_GENERATION_PASSES_TD

include "mlir/Pass/PassBase.td"

def SpecializeDecoderPass : Pass<"specialize-decoder", "::mlir::ModuleOp"> {
  let summary = "What a decoder computes for whole sequences without a past";
  let description = [{
    Pre-condition: an imported program. Post-condition: of its inputs only the tokens [B, S] (attribute `lathe.role` "tokens") and those
    that do not change while a sequence grows ("source") are left, and of its outputs the logits. Caches, which are inputs that the program
    puts before what it computes of the new tokens, become empty; masks become 1, and positions count from 0. The tokens are
    those that look up a table of as many rows as there are logits. A program that is none of this fails.

    ```mlir
    // before
    func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"]}, %past: tensor<?x4x?x16xf32> {lathe.dims = ["b", "4", "p", "16"]})
    %k = lathe.concat %past, %new {axis = 2 : i64} : (tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
    // after
    func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.role = "tokens"})
    // and %new for %k
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def MakeStepPass : Pass<"make-step", "::mlir::ModuleOp"> {
  let summary = "What a decoder computes for new tokens of sequences that have a past";
  let description = [{
    Pre-condition: what specialize-decoder leaves, simplified and fused. Post-condition: a program of the new tokens [B, S], their
    positions [B, S] in sequences of different lengths, and `key_positions` [T], the numbers from 0 to below T, the length of the
    longest. `wanted` [W] are the places among the new tokens that the logits [B, W, N] are of; a program that takes the last token by itself
    has no such input. Keys and values of causal attention are `lathe.cache`s; each value that depends on positions alone is computed for the new
    positions, or for all of them where keys need it. Only what the logits of the wanted tokens need is computed.
    Keys and values that depend on source inputs alone are caches that do not grow; the results of `@encode` fill them.
    A program where tokens see later ones, or whose computation mixes positions in another way, fails with the reason.

    ```mlir
    // before
    %y = lathe.attention %q, %k, %v, %causal {scale = 1.0 : f64} : (tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, tensor<1x1x?x?xf32>) -> tensor<?x4x?x16xf32>
    // after
    %ks = lathe.cache "key.0" %k : tensor<?x4x?x16xf32> [%b, %c4, %t, %c16] : tensor<?x4x?x16xf32>
    %vs = lathe.cache "value.0" %v : tensor<?x4x?x16xf32> [%b, %c4, %t, %c16] : tensor<?x4x?x16xf32>
    %y = lathe.attention %q, %ks, %vs positions(%positions) {scale = 1.0 : f64} : (tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, tensor<?x4x?x16xf32>, tensor<?x?xi64>) -> tensor<?x4x?x16xf32>
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def QuantizeCachesPass : Pass<"quantize-caches", "::mlir::func::FuncOp"> {
  let summary = "Keys and values that are kept between runs as codes of few bits";
  let description = [{
    Pre-condition: a program that make-step leaves. Post-condition: rows of its caches of f32 are rounded as `lathe.cache` says to `codes`
    (i8, ui8, i4 or ui4) in groups of `group-size` columns, or all (0), with `rotate` as products with Hadamard matrices. `names` are the caches to round; all, if there are none. Caches that
    have codes, and those of other types, stay as they are.

    ```mlir
    // before
    %k = lathe.cache "keys.0" %n : tensor<?x4x?x64xf32> [%b, %c4, %t, %c64] : tensor<?x4x?x64xf32>
    // after, with codes=i8
    %k = lathe.cache "keys.0" %n : tensor<?x4x?x64xf32> [%b, %c4, %t, %c64] {codes = i8} : tensor<?x4x?x64xf32>
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
  let options = [
    Option<"codes", "codes", "std::string", "\"i8\"", "what rows are rounded to: i8, ui8, i4 or ui4">,
    Option<"groupSize", "group-size", "int64_t", "0", "columns that share a scale, a multiple of 16, or 0 for all">,
    Option<"rotate", "rotate", "bool", "false", "rounds products with Hadamard matrices">,
    ListOption<"names", "names", "std::string", "caches to round">
  ];
}

#endif // LATHE_PASSES_GENERATION_PASSES_TD
