//===- LatheSparseOps.td - Matrices with zeros -------------*- tablegen -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_LATHESPARSEOPS_TD
#define LATHE_DIALECTS_LATHE_LATHESPARSEOPS_TD

include "dialects/lathe/LatheOps.td"

def Lathe_SparseToDenseOp : Lathe_TensorOp<"sparse_to_dense", [AllElementTypesMatch<["values", "result"]>]> {
  let summary = "The matrix that stored elements and their places stand for";
  let description = [{
    A matrix [r, c] of `shape` whose elements are zero but for those that are stored. Of each format the places:

        csr      values [z], indices [z], pointers [r + 1]: elements pointers[i] up to pointers[i + 1] are of row i, in columns indices
        bsr      values [z, R, C], indices [z], pointers [ceil(r / R) + 1]: the same of blocks of R x C elements; what of the
                 last ones lies beyond the matrix is left out. `block` is [R, C]
        bitmap   values [z], indices [r, ceil(c / 8)], pointers [r + 1]: element j of row i is stored where bit j % 8 of
                 indices[i][j / 8] is set, in the order of columns, from values[pointers[i]] on
        n_of_m   of each m elements along `axis` n are stored: values and indices have the matrix's extents, but for
                 n * ceil(extent / m) along the axis; indices are places in the group, all different

    Indices and pointers are unsigned, whatever their type. Places within a row are different; where they are not within the matrix,
    or there are fewer values than pointers say, the element is not stored. Constraints: (C1) the format is one of these;
    (C2) `shape` has two extents, none negative, and what is stored is of static shape; (C3) values are f32, f16, bf16 or i8; (C4) indices
    and pointers are integers of 8 to 64 bits, those of bitmaps and of groups of 8; (C5) values, indices and pointers have the extents
    that are said above, and n_of_m has no pointers; (C6) `block` goes with bsr alone, `m`, from 2 to 16, and `axis`, 0 or 1, with n_of_m alone.

    ```mlir
    %w = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4, 8>} : (tensor<5xf32>, tensor<5xui8>, tensor<5xi32>) -> tensor<4x8xf32>
    %x = lathe.sparse_to_dense "n_of_m" %u, %j {shape = array<i64: 4, 8>, m = 4 : i64, axis = 1 : i64}
       : (tensor<4x4xf32>, tensor<4x4xui8>) -> tensor<4x8xf32>
    ```
  }];
  let arguments = (ins StrAttr:$format, AnyRankedTensor:$values, Lathe_AnyIntTensor:$indices, Optional<Lathe_AnyIntTensor>:$pointers,
      DenseI64ArrayAttr:$shape, OptionalAttr<DenseI64ArrayAttr>:$block, OptionalAttr<I64Attr>:$m, OptionalAttr<I64Attr>:$axis);
  let assemblyFormat = "$format operands attr-dict `:` functional-type(operands, results)";
}

#endif // LATHE_DIALECTS_LATHE_LATHESPARSEOPS_TD
