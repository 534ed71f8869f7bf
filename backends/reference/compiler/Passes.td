//===- Passes.td - Passes of the reference backend ---------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_REFERENCE_PASSES_TD
#define LATHE_BACKENDS_REFERENCE_PASSES_TD

include "mlir/Pass/PassBase.td"

def LatheToLinalg : Pass<"lathe-to-linalg"> {
  let summary = "Lower every lathe operation on tensors to loops over elements (linalg.generic)";
  let description = [{
    Pre-condition: verified `lathe` operations on ranked tensors of floats and signless integers. Dimensions that
    broadcast are statically 1; two dynamic dimensions that meet are equal (shape inference checks both).

    Post-condition: of `lathe`, only `lathe.symbol` and `lathe.weight` are left. Everything else is `linalg.generic`,
    `linalg.fill`, `tensor.empty`, `tensor.dim`, `tensor.reshape`, `tensor.from_elements`, `tensor.extract` and
    arithmetic on `index`, and in the bodies of generics `arith`, `math`, `linalg.index`, `tensor.extract`, `scf.if`,
    `scf.for` and `cf.assert`. Maps of inputs are projected permutations, with a constant 0 where a dimension of
    extent 1 broadcasts; maps of outputs are projected permutations. Floats narrower than 32 bits are computed and
    accumulated in f32. Only the additions and multiplications of sums carry fast-math flags. A read by a
    computed index is checked by `cf.assert`, then clamped, so that it is in bounds whether or not assertions are kept.
    Branches and loops become `scf.if` and `scf.while` over tensors.

    Fails, with an error on the operation, for unsigned integers, and for a loop that gathers tensors whose extents are not
    known before it.

    ```mlir
    // Before.
    %r = lathe.add %a, %b : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32>
    // After.
    %d = tensor.dim %a, %c0 : tensor<?x4xf32>
    %e = tensor.empty(%d) : tensor<?x4xf32>
    %r = linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (0, d1)>,
                                          affine_map<(d0, d1) -> (d0, d1)>],
                         iterator_types = ["parallel", "parallel"]}
        ins(%a, %b : tensor<?x4xf32>, tensor<1x4xf32>) outs(%e : tensor<?x4xf32>) {
    ^bb0(%x: f32, %y: f32, %out: f32):
      %s = arith.addf %x, %y : f32
      linalg.yield %s : f32
    } -> tensor<?x4xf32>
    ```
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::cf::ControlFlowDialect",
                           "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect", "::mlir::scf::SCFDialect",
                           "::mlir::tensor::TensorDialect"];
}

#endif // LATHE_BACKENDS_REFERENCE_PASSES_TD
