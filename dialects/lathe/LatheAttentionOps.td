//===- LatheAttentionOps.td - Attention --------------------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_LATHEATTENTIONOPS_TD
#define LATHE_DIALECTS_LATHE_LATHEATTENTIONOPS_TD

include "dialects/lathe/LatheOps.td"

def Lathe_AttentionOp : Lathe_TensorOp<"attention", [SameOperandsAndResultElementType]> {
  let summary = "Softmax of scaled products of queries and keys, times values";
  let description = [{
    Of a query [.., S, D], a key [.., T, D] and a value [.., T, E] the result [.., S, E]:

        scores = scale * query * transpose(key)
        scores = softcap * tanh(scores / softcap)            where there is a softcap
        scores = scores + bias                               for each bias, in their order
        result = softmax(scores, last axis) * value

    A row of scores that are all minus infinity gives NaN, or zeros under `zero_masked`; under `zero_nan` zeros, too, as does a row
    one of whose scores is NaN.

    Leading axes broadcast. Query heads, which are axis -3, may be a multiple of the heads of key and value: head h of the query reads head
    h / (query heads / key heads). Masks are biases of minus infinity.

    Constraints: (C1) query, key and value have ranks from 3 to 5; (C2) query and key have the same last dimension; (C3) key and value
    have the same T; (C4) leading dimensions broadcast, and heads are a multiple; (C5) biases broadcast to [.., S, T]; (C6) the
    softcap is above 0.

    ```mlir
    %r = lathe.attention %q, %k, %v, %mask {scale = 1.250000e-01 : f64}
       : (tensor<?x8x?x64xf32>, tensor<?x2x?x64xf32>, tensor<?x2x?x64xf32>, tensor<?x1x1x?xf32>) -> tensor<?x8x?x64xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$query, Lathe_AnyFloatTensor:$key, Lathe_AnyFloatTensor:$value,
      Variadic<Lathe_AnyFloatTensor>:$biases, DefaultValuedAttr<F64Attr, "1.0">:$scale, OptionalAttr<F64Attr>:$softcap,
      UnitAttr:$zero_masked, UnitAttr:$zero_nan);
  let assemblyFormat = "operands attr-dict `:` functional-type(operands, results)";
}

#endif // LATHE_DIALECTS_LATHE_LATHEATTENTIONOPS_TD
