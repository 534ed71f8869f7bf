//===- Passes.td - Passes that recognise composite operations -*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_FUSION_PASSES_TD
#define LATHE_PASSES_FUSION_PASSES_TD

include "mlir/Pass/PassBase.td"

/// A pass that recognises one kind of composite operation, and says why where it nearly does.
class Lathe_FusionPass<string name> : Pass<name, "::mlir::func::FuncOp"> {
  let options = [Option<"explain", "explain", "bool", "false",
                        "list what fused and what nearly did in the function's attribute lathe.fusions">];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def FuseAttentionPass : Lathe_FusionPass<"fuse-attention"> {
  let summary = "Recognise attention";
  let description = [{
    Pre-condition: a simplified lathe program. Post-condition: a softmax, over the last axis, of products of queries and keys, whose
    only use is a product with values, is `lathe.attention` with the products and what is between them:

    - constant factors of the query, the key, their product or sums with it;
    - a tanh between constant factors (softcap);
    - sums and differences with biases, which are summed where they are more than two;
    - choices between a score and minus infinity or a number of at most -1e20: masks, which become biases. A sum with such a
      number is that number. A number of at most -10000 will do for a mask that is the only bias: it becomes the lowest number, which is
      the same as long as each row that is not masked as a whole has a score above it by more than 104, where exp is 0.
      Masks of one number are one mask;
    - reshapes of the axes before the last two;
    - the choice of 0 where the softmax is NaN;
    - keys and values whose heads are repeated by a broadcast and a reshape: they are read by groups of queries.

    Everything that is not the result is used by nothing else, and types are f32.

    ```mlir
    // before
    %0 = lathe.matmul %q, %k {transpose_rhs} : (tensor<?x8x?x64xf32>, tensor<?x8x?x64xf32>) -> tensor<?x8x?x?xf32>
    %1 = lathe.mul %0, %scale : (tensor<?x8x?x?xf32>, tensor<f32>) -> tensor<?x8x?x?xf32>
    %2 = lathe.add %1, %mask : (tensor<?x8x?x?xf32>, tensor<?x1x1x?xf32>) -> tensor<?x8x?x?xf32>
    %3 = lathe.softmax %2 {axis = 3 : i64} : (tensor<?x8x?x?xf32>) -> tensor<?x8x?x?xf32>
    %r = lathe.matmul %3, %v : (tensor<?x8x?x?xf32>, tensor<?x8x?x64xf32>) -> tensor<?x8x?x64xf32>
    // after
    %r = lathe.attention %q, %k, %v, %mask {scale = 1.250000e-01 : f64}
       : (tensor<?x8x?x64xf32>, tensor<?x8x?x64xf32>, tensor<?x8x?x64xf32>, tensor<?x1x1x?xf32>) -> tensor<?x8x?x64xf32>
    ```
  }];
}

def FuseGeluPass : Lathe_FusionPass<"fuse-gelu"> {
  let summary = "Recognise gelu";
  let description = [{
    Pre-condition: a lathe program. Post-condition: what computes `x/2 * (1 + erf(x / sqrt(2)))`, or
    `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`, in whatever order and grouping of its sums and products, is `lathe.gelu`. The
    expressions are compared as polynomials of x and of the one erf or tanh, constants up to the rounding of their type.

    ```mlir
    // before
    %0 = lathe.div %x, %root2 : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
    %1 = lathe.erf %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
    %2 = lathe.add %1, %one : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
    %3 = lathe.mul %x, %2 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    %y = lathe.mul %3, %half : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
    // after
    %y = lathe.gelu %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
  }];
}

def FuseSiluPass : Lathe_FusionPass<"fuse-silu"> {
  let summary = "Recognise silu and the quick form of gelu";
  let description = [{
    Pre-condition: a lathe program. Post-condition: what computes `x * sigmoid(beta x)` for a constant beta is `lathe.swish`. The
    sigmoid may be spelled `1 / (1 + exp(-x))`, or by tanh. Expressions are compared as those of gelu are.

    ```mlir
    // before
    %0 = lathe.sigmoid %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
    %y = lathe.mul %x, %0 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    // after
    %y = lathe.swish %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
    ```
  }];
}

def FuseLayerNormPass : Lathe_FusionPass<"fuse-layer-norm"> {
  let summary = "Recognise layer normalization";
  let description = [{
    Pre-condition: a lathe program whose powers are simplified. Post-condition: what computes
    `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias`, means along the last axes, is `lathe.layer_norm`. Means may be
    sums that are divided; the variance may be `mean(x^2) - mean(x)^2`; the root may be inverted, and multiplied by the scale
    before x is; the bias may take the mean in; all of it may be computed in a wider type. Scale and bias are computed from weights and
    constants alone, and may be missing. Values between are used by nothing else.

    ```mlir
    // before
    %m = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
    %c = lathe.sub %x, %m : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
    %2 = lathe.mul %c, %c : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    %v = lathe.reduce mean %2 {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
    %e = lathe.add %v, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
    %d = lathe.sqrt %e : (tensor<?x1xf32>) -> tensor<?x1xf32>
    %n = lathe.div %c, %d : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
    // after
    %n = lathe.layer_norm %x, %one {axis = 1 : i64, epsilon = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
    ```
  }];
}

def FuseRmsNormPass : Lathe_FusionPass<"fuse-rms-norm"> {
  let summary = "Recognise root mean square normalization";
  let description = [{
    Pre-condition: a lathe program whose powers are simplified. Post-condition: what computes
    `x / sqrt(mean(x^2) + epsilon) * scale` is `lathe.rms_norm`; it may be spelt in the ways that
    `fuse-layer-norm` knows. What is a layer normalization is left alone, also where that could not be fused.

    ```mlir
    // before
    %2 = lathe.mul %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    %v = lathe.reduce mean %2 {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
    %e = lathe.add %v, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
    %r = lathe.rsqrt %e : (tensor<?x1xf32>) -> tensor<?x1xf32>
    %n = lathe.mul %x, %r : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
    %y = lathe.mul %w, %n : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    // after
    %y = lathe.rms_norm %x, %w {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
    ```
  }];
}

#endif // LATHE_PASSES_FUSION_PASSES_TD
