//===- LatheAttentionOps.td - Attention --------------------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_LATHEATTENTIONOPS_TD
#define LATHE_DIALECTS_LATHE_LATHEATTENTIONOPS_TD

include "dialects/lathe/LatheSparseOps.td"

def Lathe_AttentionOp : Lathe_TensorOp<"attention", [AttrSizedOperandSegments, AllElementTypesMatch<["query", "key", "value", "result"]>]> {
  let summary = "Softmax of scaled products of queries and keys, times values";
  let description = [{
    Of a query [.., S, D], a key [.., T, D] and a value [.., T, E] the result [.., S, E]:

        scores = scale * query * transpose(key)
        scores = softcap * tanh(scores / softcap)            where there is a softcap
        scores = scores + bias                               for each bias, in their order
        scores = -infinity at keys t > positions             where there are positions
        scores = -infinity at keys t <= positions - window   where there is a window
        result = softmax(scores, last axis) * value

    A row of scores that are all minus infinity gives NaN, or zeros under `zero_masked`; under `zero_nan` zeros, too, as does a row
    one of whose scores is NaN.

    Leading axes broadcast. Query heads, which are axis -3, may be a multiple of the heads of key and value: head h of the query reads head
    h / (query heads / key heads). Masks are biases of minus infinity. `positions` [B, S], of which either may be 1, say for each query the
    last key that it sees: B is the first axis of four, of queries [B, H, S, D]. So a batch may hold sequences of different lengths.

    `arithmetic`, bf16, f16 or i8, says that the two products may be computed from operands that are rounded to this type, by a backend that
    gains by it; scores, the softmax and sums stay f32.

    Constraints: (C1) query, key and value have ranks from 3 to 5; (C2) query and key have the same last dimension; (C3) key and value
    have the same T; (C4) leading dimensions broadcast, and heads are a multiple; (C5) biases broadcast to [.., S, T]; (C6) the
    softcap is above 0; (C7) the biases' element type is the queries'; (C8) positions are i64, of rank 2, and go with a query of rank 4
    whose B and S they broadcast to; (C9) a window is above 0 and goes with positions; (C10) an arithmetic is bf16, f16 or i8 and goes with
    tensors of f32.

    ```mlir
    %r = lathe.attention %q, %k, %v, %mask {scale = 1.250000e-01 : f64}
       : (tensor<?x8x?x64xf32>, tensor<?x2x?x64xf32>, tensor<?x2x?x64xf32>, tensor<?x1x1x?xf32>) -> tensor<?x8x?x64xf32>
    ```
  }];
  let arguments = (ins Lathe_AnyFloatTensor:$query, Lathe_AnyFloatTensor:$key, Lathe_AnyFloatTensor:$value,
      Variadic<Lathe_AnyFloatTensor>:$biases, DefaultValuedAttr<F64Attr, "1.0">:$scale, OptionalAttr<F64Attr>:$softcap,
      Optional<RankedTensorOf<[I64]>>:$positions, UnitAttr:$zero_masked, UnitAttr:$zero_nan, OptionalAttr<I64Attr>:$window,
      OptionalAttr<TypeAttr>:$arithmetic);
  let assemblyFormat = [{$query `,` $key `,` $value (`,` $biases^)? (`positions` `(` $positions^ `)`)? attr-dict `:`
    functional-type(operands, results)}];
}

def Lathe_CacheOp : Lathe_TensorOp<"cache", [AttrSizedOperandSegments]> {
  let summary = "Rows of a sequence so far, kept between runs";
  let description = [{
    A session keeps rows for each sequence that it generates, under `name`. Of new `rows` [B, H, N, D], which are put behind those that
    sequence b has, or without them, the result [B, H, T, D] is all of them: `dims` are its extents (C1: four). T is the largest
    count of rows in the batch; what a sequence has fewer is 0. A name stands once in a program. Rows are [.., N, D] where the
    result is [.., T, D] (C2), and of its element type (C3).

    Under `codes`, one of i8, ui8, i4 and ui4 (C4), rows of f32 (C5) are rounded when they come into the cache, and the result is what the
    codes stand for. Of each row of a head, each `group_size` columns (C6: 0, which is all, or a multiple of 16, and with `codes` alone) are

        scale * code,            scale = max(|x|) / m, m = 127 or 7,                       code = round(x / scale)              of i8, i4
        lowest + scale * code,   scale = (max(x) - lowest) / m, m = 255 or 15, lowest = min(x), code = round((x - lowest) / scale)   of ui8, ui4

    where halves are rounded to even codes, the scale upwards and the lowest value downwards to bf16, so that no value is clipped. A
    group of one number, to the precision of this, has the scale 0. One with something that is not finite is NaN.
    Under `rotated`, which goes with codes (C7), what is rounded are products with the orthonormal Hadamard matrix of as many columns as the
    largest power of two, 128 at most, that divides D, and the result is what the codes stand for times the same matrix, which is its own
    inverse: a few large columns are spread over all (QuaRot, arXiv:2404.00456).

    ```mlir
    %k = lathe.cache "key.0" %new : tensor<?x8x?x64xf32> [%b, %h, %t, %d] : tensor<?x8x?x64xf32>
    %v = lathe.cache "value.0" %n : tensor<?x8x?x64xf32> [%b, %h, %t, %d] {codes = ui4, group_size = 32 : i64, rotated} : tensor<?x8x?x64xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, Optional<Lathe_AnyFloatTensor>:$rows, Variadic<Index>:$dims, OptionalAttr<TypeAttr>:$codes,
      DefaultValuedAttr<I64Attr, "0">:$group_size, UnitAttr:$rotated);
  let assemblyFormat = "$name ($rows^ `:` type($rows))? `[` $dims `]` attr-dict `:` type($result)";
}

#endif // LATHE_DIALECTS_LATHE_LATHEATTENTIONOPS_TD
