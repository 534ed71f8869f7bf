//===- Passes.td - Passes for weights of low rank ------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_LOWRANK_PASSES_TD
#define LATHE_PASSES_LOWRANK_PASSES_TD

include "mlir/Pass/PassBase.td"

def OrderMatrixChainsPass : Pass<"order-matrix-chains", "::mlir::func::FuncOp"> {
  let summary = "Multiply by the factors of a matrix one after the other";
  let description = [{
    Pre-condition: a lathe program. Post-condition: a matrix a b that has more numbers than its factors a and b together, and that only
    products read, as their right side, and lookups of its rows, is not computed: x (a b) is (x a) b, and row i of a b is row i of a,
    times b. Where something is added to the product first, x (a b + c) is (x a) b + x c. That takes fewer multiplications for any number of rows, so the number need not be known. Where the factors are as large as their
    product it stays: what it costs is then paid once for all readers, or when the program is compiled.

    ```mlir
    // before
    %w = lathe.matmul %a, %b : (tensor<64x4xf32>, tensor<4x32xf32>) -> tensor<64x32xf32>
    %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
    // after
    %t = lathe.matmul %x, %a : (tensor<?x64xf32>, tensor<64x4xf32>) -> tensor<?x4xf32>
    %y = lathe.matmul %t, %b : (tensor<?x4xf32>, tensor<4x32xf32>) -> tensor<?x32xf32>
    ```

    A matrix may also be a train of cores, each of some digits of a row's number and of some of a column's: products of the cores with reshapes between
    them, a transpose that puts the digits of rows in order, and a reshape. A sum of Kronecker products is one of two cores. Where that takes fewer
    multiplications for each row of x, x is multiplied by the cores from the last to the first; rows that are looked up are products of what is looked up in the cores.
  }];
  let dependentDialects = ["::lathe::LatheDialect"];
}

#endif // LATHE_PASSES_LOWRANK_PASSES_TD
