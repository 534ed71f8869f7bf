// RUN: lathe-opt %s -split-input-file --simplify-shapes --canonicalize --cse | FileCheck %s

// An exporter's way to merge two axes. The -1 becomes an expression of symbols, the tensor arithmetic is dead.
// CHECK-LABEL: func.func @shape_arithmetic
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : index
// CHECK-DAG: %[[BATCH:.*]] = lathe.symbol "batch"
// CHECK-DAG: %[[SEQUENCE:.*]] = lathe.symbol "sequence"
// CHECK-NOT: lathe.shape_of
// CHECK-NOT: lathe.to_index
// CHECK: %[[COLUMNS:.*]] = arith.muli %[[SEQUENCE]], %[[C8]]
// CHECK: lathe.reshape %{{.*}}[%[[BATCH]], %[[COLUMNS]]] : tensor<?x?x8xf32> -> tensor<?x?xf32>
func.func @shape_arithmetic(%x: tensor<?x?x8xf32> {lathe.dims = ["batch", "sequence", "8"]}) -> tensor<?x?xf32> {
  %s = lathe.shape_of %x : tensor<?x?x8xf32> -> tensor<3xi64>
  %b = lathe.to_index %s {position = 0 : i64} : tensor<3xi64>
  %minus1 = arith.constant -1 : index
  %y = lathe.reshape %x [%b, %minus1] : tensor<?x?x8xf32> -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

// Through arithmetic on tensors of integers: [batch, sequence * 8 / 4, 4].
// CHECK-LABEL: func.func @through_tensors
// CHECK-DAG: %[[C2:.*]] = arith.constant 2 : index
// CHECK-DAG: %[[C4:.*]] = arith.constant 4 : index
// CHECK-DAG: %[[BATCH:.*]] = lathe.symbol "batch"
// CHECK-DAG: %[[SEQUENCE:.*]] = lathe.symbol "sequence"
// CHECK-NOT: lathe.gather
// CHECK: %[[ROWS:.*]] = arith.muli %[[SEQUENCE]], %[[C2]]
// CHECK: lathe.reshape %{{.*}}[%[[BATCH]], %[[ROWS]], %[[C4]]] : tensor<?x?x8xf32> -> tensor<?x?x4xf32>
func.func @through_tensors(%x: tensor<?x?x8xf32> {lathe.dims = ["batch", "sequence", "8"]}) -> tensor<?x?x?xf32> {
  %s = lathe.shape_of %x : tensor<?x?x8xf32> -> tensor<3xi64>
  %one = lathe.constant dense<1> : tensor<1xi64>
  %two = lathe.constant dense<2> : tensor<1xi64>
  %four = lathe.constant dense<4> : tensor<1xi64>
  %zero = lathe.constant dense<0> : tensor<1xi64>
  %b = lathe.gather %s, %zero {axis = 0 : i64} : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
  %n = lathe.gather %s, %one {axis = 0 : i64} : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
  %d = lathe.gather %s, %two {axis = 0 : i64} : (tensor<3xi64>, tensor<1xi64>) -> tensor<1xi64>
  %nd = lathe.mul %n, %d : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
  %rows = lathe.div %nd, %four : (tensor<1xi64>, tensor<1xi64>) -> tensor<1xi64>
  %shape = lathe.concat %b, %rows, %four {axis = 0 : i64} : (tensor<1xi64>, tensor<1xi64>, tensor<1xi64>) -> tensor<3xi64>
  %i0 = lathe.to_index %shape {position = 0 : i64} : tensor<3xi64>
  %i1 = lathe.to_index %shape {position = 1 : i64} : tensor<3xi64>
  %i2 = lathe.to_index %shape {position = 2 : i64} : tensor<3xi64>
  %y = lathe.reshape %x [%i0, %i1, %i2] : tensor<?x?x8xf32> -> tensor<?x?x?xf32>
  return %y : tensor<?x?x?xf32>
}

// -----

// What changes nothing goes; the static extent that this reveals reaches the types after it and the function's.
// CHECK-LABEL: func.func @nothing_changes
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32> {{.*}}) -> tensor<?x8xf32>
// CHECK-NEXT: %[[Y:.*]] = lathe.exp %[[X]] : (tensor<?x8xf32>) -> tensor<?x8xf32>
// CHECK-NEXT: return %[[Y]]
func.func @nothing_changes(%x: tensor<?x8xf32> {lathe.dims = ["batch", "8"]}) -> tensor<?x?xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = lathe.dim %x {axis = 1 : i64} : tensor<?x8xf32>
  %reshape = lathe.reshape %x [%c0, %n] {zero_copies} : tensor<?x8xf32> -> tensor<?x?xf32>
  %broadcast = lathe.broadcast %reshape [%c1, %c1] : tensor<?x?xf32> -> tensor<?x?xf32>
  %slice = lathe.slice %broadcast from [%c0] to [%n] {axes = array<i64: 1>, steps = array<i64: 1>}
    : tensor<?x?xf32> -> tensor<?x?xf32>
  %y = lathe.exp %slice : (tensor<?x?xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}

// -----

// A slice of as many elements in another order is no copy.
// CHECK-LABEL: func.func @reversed
// CHECK: lathe.slice
func.func @reversed(%x: tensor<4xf32>) -> tensor<?xf32> {
  %last = arith.constant -1 : index
  %beyond = arith.constant -9223372036854775807 : index
  %y = lathe.slice %x from [%last] to [%beyond] {axes = array<i64: 0>, steps = array<i64: -1>} : tensor<4xf32> -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

// A declared range decides the clamping of bounds: no minimum of "sequence" and 512 is left.
module attributes {lathe.symbols = {sequence = array<i64: 1, 512>}} {
  // CHECK-LABEL: func.func @ranges
  // CHECK: %[[SEQUENCE:.*]] = lathe.symbol "sequence"
  // CHECK-NOT: arith.minsi
  // CHECK: %[[ROWS:.*]] = lathe.slice
  // CHECK: lathe.broadcast %[[ROWS]][%{{.*}}, %[[SEQUENCE]]]
  func.func @ranges(%x: tensor<?xf32> {lathe.dims = ["sequence"]}, %table: tensor<512xi64>) -> tensor<?x?xi64> {
    %c0 = arith.constant 0 : index
    %c2 = arith.constant 2 : index
    %n = lathe.dim %x {axis = 0 : i64} : tensor<?xf32>
    %rows = lathe.slice %table from [%c0] to [%n] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<512xi64> -> tensor<?xi64>
    %m = lathe.dim %rows {axis = 0 : i64} : tensor<?xi64>
    %y = lathe.broadcast %rows [%c2, %m] : tensor<?xi64> -> tensor<?x?xi64>
    return %y : tensor<?x?xi64>
  }
}

// -----

// Without it the minimum stays.
// CHECK-LABEL: func.func @no_ranges
// CHECK: arith.minsi
// CHECK: lathe.broadcast
func.func @no_ranges(%x: tensor<?xf32> {lathe.dims = ["sequence"]}, %table: tensor<512xi64>) -> tensor<?x?xi64> {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %n = lathe.dim %x {axis = 0 : i64} : tensor<?xf32>
  %rows = lathe.slice %table from [%c0] to [%n] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<512xi64> -> tensor<?xi64>
  %m = lathe.dim %rows {axis = 0 : i64} : tensor<?xi64>
  %y = lathe.broadcast %rows [%c2, %m] : tensor<?xi64> -> tensor<?x?xi64>
  return %y : tensor<?x?xi64>
}

// -----

// A shape that depends on data stays as it is.
// CHECK-LABEL: func.func @depends_on_data
// CHECK: %[[N:.*]] = lathe.to_index
// CHECK: lathe.broadcast %{{.*}}[%[[N]]]
func.func @depends_on_data(%x: tensor<1xf32>, %count: tensor<1xi64>) -> tensor<?xf32> {
  %n = lathe.to_index %count {position = 0 : i64} : tensor<1xi64>
  %y = lathe.broadcast %x [%n] : tensor<1xf32> -> tensor<?xf32>
  return %y : tensor<?xf32>
}

// -----

// Keys of attention: batch and heads are merged for a transpose of the others, and taken apart again.
// CHECK-LABEL: func.func @transpose_of_parts
// CHECK: %[[KEYS:.*]] = lathe.transpose %{{.*}} {permutation = array<i64: 0, 1, 3, 2>} : (tensor<?x12x?x32xf32>) -> tensor<?x12x32x?xf32>
// CHECK: return %[[KEYS]]
func.func @transpose_of_parts(%k: tensor<?x12x?x32xf32> {lathe.dims = ["batch", "12", "rows", "32"]}) -> tensor<?x12x32x?xf32> {
  %c12 = arith.constant 12 : index
  %c32 = arith.constant 32 : index
  %minus1 = arith.constant -1 : index
  %b = lathe.dim %k {axis = 0 : i64} : tensor<?x12x?x32xf32>
  %n = lathe.dim %k {axis = 2 : i64} : tensor<?x12x?x32xf32>
  %0 = lathe.reshape %k[%minus1, %n, %c32] : tensor<?x12x?x32xf32> -> tensor<?x?x32xf32>
  %1 = lathe.transpose %0 {permutation = array<i64: 0, 2, 1>} : (tensor<?x?x32xf32>) -> tensor<?x32x?xf32>
  %2 = lathe.reshape %1[%b, %c12, %c32, %n] : tensor<?x32x?xf32> -> tensor<?x12x32x?xf32>
  return %2 : tensor<?x12x32x?xf32>
}

// -----

// Axes that are taken apart in another way than they were merged, and axes that are cut.
// CHECK-LABEL: func.func @transpose_stays
// CHECK: lathe.reshape
// CHECK: lathe.transpose %{{.*}} {permutation = array<i64: 1, 0>}
// CHECK: lathe.reshape
// CHECK: lathe.reshape
// CHECK: lathe.transpose %{{.*}} {permutation = array<i64: 1, 0>}
// CHECK: lathe.reshape
func.func @transpose_stays(%x: tensor<2x3x4xf32>, %y: tensor<6x4xf32>) -> (tensor<4x3x2xf32>, tensor<4x6xf32>) {
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c6 = arith.constant 6 : index
  %c8 = arith.constant 8 : index
  %0 = lathe.reshape %x[%c6, %c4] : tensor<2x3x4xf32> -> tensor<6x4xf32>
  %1 = lathe.transpose %0 {permutation = array<i64: 1, 0>} : (tensor<6x4xf32>) -> tensor<4x6xf32>
  %2 = lathe.reshape %1[%c4, %c3, %c2] : tensor<4x6xf32> -> tensor<4x3x2xf32>
  %3 = lathe.reshape %y[%c3, %c8] : tensor<6x4xf32> -> tensor<3x8xf32>
  %4 = lathe.transpose %3 {permutation = array<i64: 1, 0>} : (tensor<3x8xf32>) -> tensor<8x3xf32>
  %5 = lathe.reshape %4[%c4, %c6] : tensor<8x3xf32> -> tensor<4x6xf32>
  return %2, %5 : tensor<4x3x2xf32>, tensor<4x6xf32>
}

// -----

// A linear layer whose exporter made rows of batch and sequence: the product keeps the axes, so does what is added.
// CHECK-LABEL: func.func @product_of_rows
// CHECK: %[[P:.*]] = lathe.matmul %{{.*}}, %{{.*}} : (tensor<?x?x8xf32>, tensor<8x4xf32>) -> tensor<?x?x4xf32>
// CHECK: %[[S:.*]] = lathe.add %{{.*}}, %[[P]] : (tensor<4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
// CHECK: %[[T:.*]] = lathe.tanh %[[S]]
// CHECK: return %[[T]]
func.func @product_of_rows(%x: tensor<?x?x8xf32> {lathe.dims = ["batch", "rows", "8"]}, %w: tensor<8x4xf32>, %bias: tensor<4xf32>) -> tensor<?x?x4xf32> {
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %minus1 = arith.constant -1 : index
  %b = lathe.dim %x {axis = 0 : i64} : tensor<?x?x8xf32>
  %n = lathe.dim %x {axis = 1 : i64} : tensor<?x?x8xf32>
  %0 = lathe.reshape %x[%minus1, %c8] : tensor<?x?x8xf32> -> tensor<?x8xf32>
  %1 = lathe.matmul %0, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.add %bias, %1 : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.tanh %2 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %4 = lathe.reshape %3[%b, %n, %c4] : tensor<?x4xf32> -> tensor<?x?x4xf32>
  return %4 : tensor<?x?x4xf32>
}

// -----

// Not where the product is read elsewhere, where a tensor of its rows is added, and where columns are taken apart.
// CHECK-LABEL: func.func @rows_stay
// CHECK-COUNT-3: lathe.matmul %{{.*}}, %{{.*}} : (tensor<6x8xf32>, tensor<8x4xf32>) -> tensor<6x4xf32>
func.func @rows_stay(%x: tensor<2x3x8xf32>, %w: tensor<8x4xf32>, %v: tensor<8x4xf32>, %u: tensor<8x4xf32>, %r: tensor<6x4xf32>) -> (tensor<6x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<6x2x2xf32>) {
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c6 = arith.constant 6 : index
  %c8 = arith.constant 8 : index
  %0 = lathe.reshape %x[%c6, %c8] : tensor<2x3x8xf32> -> tensor<6x8xf32>
  %1 = lathe.matmul %0, %w : (tensor<6x8xf32>, tensor<8x4xf32>) -> tensor<6x4xf32>
  %2 = lathe.reshape %1[%c2, %c3, %c4] : tensor<6x4xf32> -> tensor<2x3x4xf32>
  %3 = lathe.matmul %0, %v : (tensor<6x8xf32>, tensor<8x4xf32>) -> tensor<6x4xf32>
  %4 = lathe.mul %3, %r : (tensor<6x4xf32>, tensor<6x4xf32>) -> tensor<6x4xf32>
  %5 = lathe.reshape %4[%c2, %c3, %c4] : tensor<6x4xf32> -> tensor<2x3x4xf32>
  %6 = lathe.matmul %0, %u : (tensor<6x8xf32>, tensor<8x4xf32>) -> tensor<6x4xf32>
  %7 = lathe.reshape %6[%c6, %c2, %c2] : tensor<6x4xf32> -> tensor<6x2x2xf32>
  return %1, %2, %5, %7 : tensor<6x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<6x2x2xf32>
}

// -----

// Parts of a merged projection that are then taken apart into heads: the projection is taken apart, and heads are taken. The
// blocks may be of several axes, and axes before may be merged.
// CHECK-LABEL: func.func @slice_of_parts
// CHECK: %[[ALL:.*]] = lathe.reshape %arg0{{.*}} -> tensor<?x?x12x8xf32>
// CHECK: lathe.slice %[[ALL]] from[%c4] to[%c8] {axes = array<i64: 2>, {{.*}} -> tensor<?x?x4x8xf32>
// CHECK: lathe.slice %[[ALL]] from[%c8] to[%c12] {axes = array<i64: 2>, {{.*}} -> tensor<?x?x4x8xf32>
// CHECK: %[[ROWS:.*]] = lathe.reshape %arg0{{.*}} -> tensor<?x6x2x8xf32>
// CHECK: lathe.slice %[[ROWS]] from[%c2] to[%c4] {axes = array<i64: 1>, {{.*}} -> tensor<?x2x2x8xf32>
func.func @slice_of_parts(%x: tensor<?x?x96xf32> {lathe.dims = ["batch", "rows", "96"]}) -> (tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x2x2x8xf32>) {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %c32 = arith.constant 32 : index
  %c64 = arith.constant 64 : index
  %end = arith.constant 9223372036854775807 : index
  %minus1 = arith.constant -1 : index
  %0 = lathe.slice %x from[%c32] to[%c64] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x?x96xf32> -> tensor<?x?x32xf32>
  %1 = lathe.reshape %0[%c0, %c0, %c4, %c8] {zero_copies} : tensor<?x?x32xf32> -> tensor<?x?x4x8xf32>
  %2 = lathe.slice %x from[%c64] to[%end] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x?x96xf32> -> tensor<?x?x32xf32>
  %3 = lathe.reshape %2[%c0, %c0, %c4, %c8] {zero_copies} : tensor<?x?x32xf32> -> tensor<?x?x4x8xf32>
  %4 = lathe.slice %x from[%c32] to[%c64] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x?x96xf32> -> tensor<?x?x32xf32>
  %5 = lathe.reshape %4[%minus1, %c2, %c2, %c8] : tensor<?x?x32xf32> -> tensor<?x2x2x8xf32>
  return %1, %3, %5 : tensor<?x?x4x8xf32>, tensor<?x?x4x8xf32>, tensor<?x2x2x8xf32>
}

// -----

// Not where a part begins or ends within a block, where the axis stays whole or is merged with another, nor where the part is used
// elsewhere.
// CHECK-LABEL: func.func @slices_stay
// CHECK-COUNT-5: lathe.slice %arg0
func.func @slices_stay(%x: tensor<2x3x12xf32>) -> (tensor<2x3x2x4xf32>, tensor<2x3x3x3xf32>, tensor<6x8xf32>, tensor<2x24xf32>, tensor<2x3x8xf32>, tensor<2x3x2x4xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c6 = arith.constant 6 : index
  %c8 = arith.constant 8 : index
  %c10 = arith.constant 10 : index
  %c11 = arith.constant 11 : index
  %c24 = arith.constant 24 : index
  %0 = lathe.slice %x from[%c2] to[%c10] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<2x3x12xf32> -> tensor<2x3x8xf32>
  %1 = lathe.reshape %0[%c2, %c3, %c2, %c4] : tensor<2x3x8xf32> -> tensor<2x3x2x4xf32>
  %2 = lathe.slice %x from[%c1] to[%c10] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<2x3x12xf32> -> tensor<2x3x9xf32>
  %3 = lathe.reshape %2[%c2, %c3, %c3, %c3] : tensor<2x3x9xf32> -> tensor<2x3x3x3xf32>
  %4 = lathe.slice %x from[%c0] to[%c8] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<2x3x12xf32> -> tensor<2x3x8xf32>
  %5 = lathe.reshape %4[%c6, %c8] : tensor<2x3x8xf32> -> tensor<6x8xf32>
  %7 = lathe.slice %x from[%c3] to[%c11] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<2x3x12xf32> -> tensor<2x3x8xf32>
  %8 = lathe.reshape %7[%c2, %c24] : tensor<2x3x8xf32> -> tensor<2x24xf32>
  %11 = lathe.slice %x from[%c4] to[%c24] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<2x3x12xf32> -> tensor<2x3x8xf32>
  %12 = lathe.reshape %11[%c2, %c3, %c2, %c4] : tensor<2x3x8xf32> -> tensor<2x3x2x4xf32>
  return %1, %3, %5, %8, %11, %12 : tensor<2x3x2x4xf32>, tensor<2x3x3x3xf32>, tensor<6x8xf32>, tensor<2x24xf32>, tensor<2x3x8xf32>, tensor<2x3x2x4xf32>
}

// -----

// Neither functions without a body nor those of several blocks are touched.
// CHECK: func.func private @external(tensor<?xf32>) -> tensor<?xf32>
func.func private @external(tensor<?xf32>) -> tensor<?xf32>
// CHECK-LABEL: func.func @blocks
// CHECK: lathe.dim
func.func @blocks(%x: tensor<?xf32> {lathe.dims = ["n"]}, %c: i1) -> index {
  cf.cond_br %c, ^yes, ^no
^yes:
  %n = lathe.dim %x {axis = 0 : i64} : tensor<?xf32>
  return %n : index
^no:
  %c0 = arith.constant 0 : index
  return %c0 : index
}
