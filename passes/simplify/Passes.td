//===- Passes.td - Passes that simplify imported graphs ----*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_SIMPLIFY_PASSES_TD
#define LATHE_PASSES_SIMPLIFY_PASSES_TD

include "mlir/Pass/PassBase.td"

def SimplifyShapesPass : Pass<"simplify-shapes", "::mlir::func::FuncOp"> {
  let summary = "Turn shape arithmetic into index values over named symbolic dimensions";
  let description = [{
    Pre-condition: a lathe program of one block. Post-condition: index operands are expressions over `lathe.symbol`, wherever they do
    not depend on data; reshapes name every dimension (no -1, no copies); types are as static as the symbolic shapes say;
    reshapes, broadcasts and slices that change nothing are gone; axes that are merged, permuted and taken apart again are permuted; axes
    of which whole blocks are taken before they are taken apart are taken apart first; axes that are merged for a product with a matrix and taken apart again are the product's rows; the tensor arithmetic that computed shapes is dead.

    ```mlir
    // before
    %s = lathe.shape_of %x : tensor<?x?x8xf32> -> tensor<3xi64>
    %b = lathe.to_index %s {position = 0 : i64} : tensor<3xi64>
    %y = lathe.reshape %x [%b, %minus1] : tensor<?x?x8xf32> -> tensor<?x?xf32>
    // after
    %b = lathe.symbol "batch"
    %n = arith.muli …                    // 8 * sequence
    %y = lathe.reshape %x [%b, %n] : tensor<?x?x8xf32> -> tensor<?x?xf32>
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def SimplifyBranchesPass : Pass<"simplify-branches", "::mlir::func::FuncOp"> {
  let summary = "Branches that are not needed as such";
  let description = [{
    Pre-condition: a lathe program. Post-condition: a `lathe.if` whose condition is known is the branch that is taken; one whose
    branches are a few cheap operations that can't fail, and whose results have the same shapes, computes both and selects, so
    that it is part of the kernels around it; results and states that nothing uses are gone.

    ```mlir
    // before
    %r = lathe.if %c -> (tensor<4xf32>) { %a = lathe.neg %x … lathe.yield %a } else { lathe.yield %x }
    // after
    %a = lathe.neg %x …
    %t = arith.cmpi …, lathe.from_index …
    %r = lathe.select %t, %a, %x …
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

def SimplifyArithmeticPass : Pass<"simplify-arithmetic", "::mlir::func::FuncOp"> {
  let summary = "Cheaper forms of the same arithmetic";
  let description = [{
    Pre-condition: a lathe program. Post-condition: `pow` by a constant 1, 2, 3 or 0.5 is products or a root;
    a transpose of the last two axes before a matrix product, with a cast between or without, is the product's attribute; a constant permutation of the rows that a
    product sums over on its right side is one of the left side's columns; a reshape of a reshape is one
    reshape; a reshape of a weight that nothing else uses is the weight under another shape, and slices of its leading axis
    are weights of their own. Results are the same but for the rounding of `pow`.

    ```mlir
    // before
    %t = lathe.transpose %w {permutation = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
    %y = lathe.matmul %x, %t : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    // after
    %y = lathe.matmul %x, %w {transpose_rhs} : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
    ```
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

#endif // LATHE_PASSES_SIMPLIFY_PASSES_TD
