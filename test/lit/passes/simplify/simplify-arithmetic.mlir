// RUN: lathe-opt %s --simplify-arithmetic | FileCheck %s

// CHECK-LABEL: func.func @pow
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>)
// CHECK-NOT: lathe.pow
// CHECK: %[[ROOT:.*]] = lathe.sqrt %[[X]]
// CHECK: %[[SQUARE:.*]] = lathe.mul %[[X]], %[[X]]
// CHECK: %[[SQUARE_AGAIN:.*]] = lathe.mul %[[X]], %[[X]]
// CHECK: %[[CUBE:.*]] = lathe.mul %[[SQUARE_AGAIN]], %[[X]]
// CHECK: return %[[ROOT]], %[[X]], %[[SQUARE]], %[[CUBE]]
func.func @pow(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %half = lathe.constant dense<0.5> : tensor<f32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %two = lathe.constant dense<2.0> : tensor<1x4xf32>
  %three = lathe.constant dense<3.0> : tensor<1xf32>
  %0 = lathe.pow %x, %half : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %1 = lathe.pow %x, %one : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %2 = lathe.pow %x, %two : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.pow %x, %three : (tensor<?x4xf32>, tensor<1xf32>) -> tensor<?x4xf32>
  return %0, %1, %2, %3 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// Another exponent, one that is not the same everywhere, one that makes the result larger than the base, and integers.
// CHECK-LABEL: func.func @pow_stays
// CHECK-COUNT-4: lathe.pow
func.func @pow_stays(%x: tensor<4xf32>, %i: tensor<4xi32>)
    -> (tensor<4xf32>, tensor<4xf32>, tensor<2x4xf32>, tensor<4xi32>) {
  %four = lathe.constant dense<4.0> : tensor<f32>
  %mixed = lathe.constant dense<[1.0, 2.0, 2.0, 1.0]> : tensor<4xf32>
  %twos = lathe.constant dense<2.0> : tensor<2x1xf32>
  %two = lathe.constant dense<2> : tensor<i32>
  %0 = lathe.pow %x, %four : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = lathe.pow %x, %mixed : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.pow %x, %twos : (tensor<4xf32>, tensor<2x1xf32>) -> tensor<2x4xf32>
  %3 = lathe.pow %i, %two : (tensor<4xi32>, tensor<i32>) -> tensor<4xi32>
  return %0, %1, %2, %3 : tensor<4xf32>, tensor<4xf32>, tensor<2x4xf32>, tensor<4xi32>
}

// CHECK-LABEL: func.func @transpose_into_matmul
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[W:.*]]: tensor<4x8xf32>)
// CHECK-NOT: lathe.transpose
// CHECK: lathe.matmul %[[X]], %[[W]] {transpose_rhs}
func.func @transpose_into_matmul(%x: tensor<?x8xf32>, %w: tensor<4x8xf32>) -> tensor<?x4xf32> {
  %t = lathe.transpose %w {permutation = array<i64: 1, 0>} : (tensor<4x8xf32>) -> tensor<8x4xf32>
  %y = lathe.matmul %x, %t : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// Row 0 of what is read is row 2 of %w, so column 2 of %x is multiplied with the row that comes first in %w, and so on.
// CHECK-LABEL: func.func @rows_in_another_order
// CHECK-SAME: (%[[X:.*]]: tensor<?x3xf32>, %[[W:.*]]: tensor<3x4xf32>)
// CHECK: %[[ORDER:.*]] = lathe.constant dense<[1, 2, 0]> : tensor<3xi64>
// CHECK: %[[PICKED:.*]] = lathe.gather %[[X]], %[[ORDER]] {axis = 1 : i64} : (tensor<?x3xf32>, tensor<3xi64>) -> tensor<?x3xf32>
// CHECK: lathe.matmul %[[PICKED]], %[[W]] :
func.func @rows_in_another_order(%x: tensor<?x3xf32>, %w: tensor<3x4xf32>) -> tensor<?x4xf32> {
  %i = lathe.constant dense<[2, 0, -2]> : tensor<3xi64>
  %g = lathe.gather %w, %i {axis = 0 : i64} : (tensor<3x4xf32>, tensor<3xi64>) -> tensor<3x4xf32>
  %y = lathe.matmul %x, %g : (tensor<?x3xf32>, tensor<3x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// CHECK-LABEL: func.func @columns_in_another_order
// CHECK-SAME: (%[[X:.*]]: tensor<3x?xf32>, %[[W:.*]]: tensor<4x3xf32>)
// CHECK: %[[PICKED:.*]] = lathe.gather %[[X]], %{{.*}} {axis = 0 : i64} : (tensor<3x?xf32>, tensor<3xi64>) -> tensor<3x?xf32>
// CHECK: lathe.matmul %[[PICKED]], %[[W]] {transpose_lhs, transpose_rhs} :
func.func @columns_in_another_order(%x: tensor<3x?xf32>, %w: tensor<4x3xf32>) -> tensor<?x4xf32> {
  %i = lathe.constant dense<[2, 0, 1]> : tensor<3xi64>
  %g = lathe.gather %w, %i {axis = 1 : i64} : (tensor<4x3xf32>, tensor<3xi64>) -> tensor<4x3xf32>
  %y = lathe.matmul %x, %g {transpose_lhs, transpose_rhs} : (tensor<3x?xf32>, tensor<4x3xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// A row that is there twice, a row that is not there, other axes, and an order that is no constant.
// CHECK-LABEL: func.func @no_order
// CHECK-SAME: (%[[X:.*]]: tensor<?x3xf32>, %
// CHECK-COUNT-4: lathe.matmul %[[X]],
func.func @no_order(%x: tensor<?x3xf32>, %w: tensor<3x3xf32>, %n: tensor<3xi64>)
    -> (tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>) {
  %twice = lathe.constant dense<[2, 0, 2]> : tensor<3xi64>
  %beyond = lathe.constant dense<[2, 0, 3]> : tensor<3xi64>
  %order = lathe.constant dense<[2, 0, 1]> : tensor<3xi64>
  %a = lathe.gather %w, %twice {axis = 0 : i64} : (tensor<3x3xf32>, tensor<3xi64>) -> tensor<3x3xf32>
  %b = lathe.gather %w, %beyond {axis = 0 : i64} : (tensor<3x3xf32>, tensor<3xi64>) -> tensor<3x3xf32>
  %c = lathe.gather %w, %order {axis = 1 : i64} : (tensor<3x3xf32>, tensor<3xi64>) -> tensor<3x3xf32>
  %d = lathe.gather %w, %n {axis = 0 : i64} : (tensor<3x3xf32>, tensor<3xi64>) -> tensor<3x3xf32>
  %0 = lathe.matmul %x, %a : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  %1 = lathe.matmul %x, %b : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  %2 = lathe.matmul %x, %c : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  %3 = lathe.matmul %x, %d : (tensor<?x3xf32>, tensor<3x3xf32>) -> tensor<?x3xf32>
  return %0, %1, %2, %3 : tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>, tensor<?x3xf32>
}

// Both sides, with leading axes; a second transpose takes the first one's attribute back.
// CHECK-LABEL: func.func @transposes_of_both
// CHECK-SAME: (%[[A:.*]]: tensor<2x8x?xf32>, %[[B:.*]]: tensor<2x8x4xf32>)
// CHECK-NOT: lathe.transpose
// CHECK: lathe.matmul %[[A]], %[[B]] {transpose_lhs} :
func.func @transposes_of_both(%a: tensor<2x8x?xf32>, %b: tensor<2x8x4xf32>) -> tensor<2x?x4xf32> {
  %ta = lathe.transpose %a {permutation = array<i64: 0, 2, 1>} : (tensor<2x8x?xf32>) -> tensor<2x?x8xf32>
  %tb = lathe.transpose %b {permutation = array<i64: 0, 2, 1>} : (tensor<2x8x4xf32>) -> tensor<2x4x8xf32>
  %y = lathe.matmul %ta, %tb {transpose_rhs} : (tensor<2x?x8xf32>, tensor<2x4x8xf32>) -> tensor<2x?x4xf32>
  return %y : tensor<2x?x4xf32>
}

// Permutations that move other axes are work of their own.
// CHECK-LABEL: func.func @transpose_stays
// CHECK: %[[T:.*]] = lathe.transpose
// CHECK: lathe.matmul %{{.*}}, %[[T]] :
func.func @transpose_stays(%a: tensor<2x3x8xf32>, %b: tensor<8x2x4xf32>) -> tensor<2x3x4xf32> {
  %t = lathe.transpose %b {permutation = array<i64: 1, 0, 2>} : (tensor<8x2x4xf32>) -> tensor<2x8x4xf32>
  %y = lathe.matmul %a, %t : (tensor<2x3x8xf32>, tensor<2x8x4xf32>) -> tensor<2x3x4xf32>
  return %y : tensor<2x3x4xf32>
}

// CHECK-LABEL: func.func @reshape_of_reshape
// CHECK-SAME: (%[[X:.*]]: tensor<2x12xf32>)
// CHECK: %[[Y:.*]] = lathe.reshape %[[X]][%{{.*}}, %{{.*}}] : tensor<2x12xf32> -> tensor<4x6xf32>
// CHECK-NEXT: return %[[Y]]
func.func @reshape_of_reshape(%x: tensor<2x12xf32>) -> tensor<4x6xf32> {
  %c24 = arith.constant 24 : index
  %c4 = arith.constant 4 : index
  %c6 = arith.constant 6 : index
  %0 = lathe.reshape %x [%c24] : tensor<2x12xf32> -> tensor<24xf32>
  %1 = lathe.reshape %0 [%c4, %c6] : tensor<24xf32> -> tensor<4x6xf32>
  return %1 : tensor<4x6xf32>
}

// The 0 copies a dimension of the first reshape's result, which the input need not have.
// CHECK-LABEL: func.func @reshape_copies
// CHECK-COUNT-2: lathe.reshape
func.func @reshape_copies(%x: tensor<2x12xf32>) -> tensor<4x3x2xf32> {
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c6 = arith.constant 6 : index
  %0 = lathe.reshape %x [%c4, %c6] : tensor<2x12xf32> -> tensor<4x6xf32>
  %1 = lathe.reshape %0 [%c0, %c3, %c2] {zero_copies} : tensor<4x6xf32> -> tensor<4x3x2xf32>
  return %1 : tensor<4x3x2xf32>
}

// CHECK-LABEL: func.func @reshape_of_weight
// CHECK-DAG: %[[W:.*]] = lathe.weight "w" in "model.onnx" at 64 : tensor<4x6xf32>
// CHECK-DAG: %[[C:.*]] = lathe.constant dense<{{\[}}[1.000000e+00], [2.000000e+00]]> : tensor<2x1xf32>
// CHECK: return %[[W]], %[[C]]
func.func @reshape_of_weight() -> (tensor<4x6xf32>, tensor<2x1xf32>) {
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c6 = arith.constant 6 : index
  %w = lathe.weight "w" in "model.onnx" at 64 : tensor<4x3x2xf32>
  %0 = lathe.reshape %w [%c4, %c6] : tensor<4x3x2xf32> -> tensor<4x6xf32>
  %c = lathe.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %1 = lathe.reshape %c [%c2, %c1] : tensor<2xf32> -> tensor<2x1xf32>
  return %0, %1 : tensor<4x6xf32>, tensor<2x1xf32>
}

// Stored once, as both users read it.
// CHECK-LABEL: func.func @reshape_of_shared_weight
// CHECK: %[[W:.*]] = lathe.weight
// CHECK: %[[R:.*]] = lathe.reshape %[[W]]
// CHECK: return %[[W]], %[[R]]
func.func @reshape_of_shared_weight() -> (tensor<4x3x2xf32>, tensor<4x6xf32>) {
  %c4 = arith.constant 4 : index
  %c6 = arith.constant 6 : index
  %w = lathe.weight "w" in "model.onnx" at 64 : tensor<4x3x2xf32>
  %0 = lathe.reshape %w [%c4, %c6] : tensor<4x3x2xf32> -> tensor<4x6xf32>
  return %w, %0 : tensor<4x3x2xf32>, tensor<4x6xf32>
}

// Parts of a weight are weights further on in the file, unless something else needs it whole.

// CHECK-LABEL: func.func @slice_of_weight
// CHECK-DAG: lathe.weight "w[1:3]" in "model.onnx" at 88 : tensor<2x6xf32>
// CHECK-DAG: lathe.weight "w[0:1]" in "model.onnx" at 64 : tensor<1x6xf32>
// CHECK-NOT: lathe.slice
// CHECK: return
func.func @slice_of_weight() -> (tensor<2x6xf32>, tensor<1x6xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %w = lathe.weight "w" in "model.onnx" at 64 : tensor<4x6xf32>
  %a = lathe.slice %w from [%c1] to [%c3] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<4x6xf32> -> tensor<2x6xf32>
  %b = lathe.slice %w from [%c0] to [%c1] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<4x6xf32> -> tensor<1x6xf32>
  return %a, %b : tensor<2x6xf32>, tensor<1x6xf32>
}

// CHECK-LABEL: func.func @slice_of_used_weight
// CHECK: lathe.weight "w" in
// CHECK: lathe.slice
func.func @slice_of_used_weight() -> (tensor<2x6xf32>, tensor<4x6xf32>) {
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %w = lathe.weight "w" in "model.onnx" at 64 : tensor<4x6xf32>
  %a = lathe.slice %w from [%c1] to [%c3] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<4x6xf32> -> tensor<2x6xf32>
  return %a, %w : tensor<2x6xf32>, tensor<4x6xf32>
}

// A table of 16 bits that is turned before it is widened stays a weight of 16 bits.
// CHECK-LABEL: func.func @widened_transpose_into_matmul
// CHECK-SAME: (%[[X:.*]]: tensor<?x8xf32>, %[[W:.*]]: tensor<4x8xf16>)
// CHECK-NOT: lathe.transpose
// CHECK: %[[WIDE:.*]] = lathe.cast %[[W]] : (tensor<4x8xf16>) -> tensor<4x8xf32>
// CHECK: lathe.matmul %[[X]], %[[WIDE]] {transpose_rhs}
func.func @widened_transpose_into_matmul(%x: tensor<?x8xf32>, %w: tensor<4x8xf16>) -> tensor<?x4xf32> {
  %t = lathe.transpose %w {permutation = array<i64: 1, 0>} : (tensor<4x8xf16>) -> tensor<8x4xf16>
  %c = lathe.cast %t : (tensor<8x4xf16>) -> tensor<8x4xf32>
  %y = lathe.matmul %x, %c : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// A transpose of other axes stays.
// CHECK-LABEL: func.func @widened_transpose_of_others
// CHECK: lathe.transpose
// CHECK: lathe.matmul
func.func @widened_transpose_of_others(%x: tensor<2x?x8xf32>, %w: tensor<8x2x4xf16>) -> tensor<2x?x4xf32> {
  %t = lathe.transpose %w {permutation = array<i64: 1, 0, 2>} : (tensor<8x2x4xf16>) -> tensor<2x8x4xf16>
  %c = lathe.cast %t : (tensor<2x8x4xf16>) -> tensor<2x8x4xf32>
  %y = lathe.matmul %x, %c : (tensor<2x?x8xf32>, tensor<2x8x4xf32>) -> tensor<2x?x4xf32>
  return %y : tensor<2x?x4xf32>
}
