// RUN: lathe-opt %s -split-input-file --pass-pipeline='builtin.module(func.func(order-matrix-chains))' | FileCheck %s

// Every reader multiplies by the factors, whatever is transposed.
// CHECK-LABEL: func.func @products
// CHECK-SAME: %[[X:.*]]: tensor<?x?x64xf32>, %[[Z:.*]]: tensor<3x32x5xf32>
// CHECK: %[[A:.*]] = lathe.weight "a"
// CHECK: %[[B:.*]] = lathe.weight "b"
// CHECK: %[[T:.*]] = lathe.matmul %[[X]], %[[A]] : (tensor<?x?x64xf32>, tensor<64x4xf32>) -> tensor<?x?x4xf32>
// CHECK: %[[Y:.*]] = lathe.matmul %[[T]], %[[B]] {transpose_rhs} : (tensor<?x?x4xf32>, tensor<32x4xf32>) -> tensor<?x?x32xf32>
// CHECK: %[[S:.*]] = lathe.matmul %[[Z]], %[[B]] {transpose_lhs} : (tensor<3x32x5xf32>, tensor<32x4xf32>) -> tensor<3x5x4xf32>
// CHECK: %[[W:.*]] = lathe.matmul %[[S]], %[[A]] {transpose_rhs} : (tensor<3x5x4xf32>, tensor<64x4xf32>) -> tensor<3x5x64xf32>
// CHECK: return %[[Y]], %[[W]]
func.func @products(%x: tensor<?x?x64xf32>, %z: tensor<3x32x5xf32>) -> (tensor<?x?x32xf32>, tensor<3x5x64xf32>) {
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<64x4xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 1024 : tensor<32x4xf32>
  %w = lathe.matmul %a, %b {transpose_rhs} : (tensor<64x4xf32>, tensor<32x4xf32>) -> tensor<64x32xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x?x64xf32>, tensor<64x32xf32>) -> tensor<?x?x32xf32>
  %1 = lathe.matmul %z, %w {transpose_lhs, transpose_rhs} : (tensor<3x32x5xf32>, tensor<64x32xf32>) -> tensor<3x5x64xf32>
  return %0, %1 : tensor<?x?x32xf32>, tensor<3x5x64xf32>
}

// -----

// A tied table: rows of one factor, times the other.
// CHECK-LABEL: func.func @tied
// CHECK-SAME: %[[IDS:.*]]: tensor<?x?xi64>
// CHECK: %[[A:.*]] = lathe.weight "a"
// CHECK: %[[B:.*]] = lathe.weight "b"
// CHECK: %[[R:.*]] = lathe.gather %[[A]], %[[IDS]] {axis = 0 : i64} : (tensor<100x3xf32>, tensor<?x?xi64>) -> tensor<?x?x3xf32>
// CHECK: %[[X:.*]] = lathe.matmul %[[R]], %[[B]] : (tensor<?x?x3xf32>, tensor<3x8xf32>) -> tensor<?x?x8xf32>
// CHECK: %[[T:.*]] = lathe.matmul %[[X]], %[[B]] {transpose_rhs}
// CHECK: lathe.matmul %[[T]], %[[A]] {transpose_rhs} : (tensor<?x?x3xf32>, tensor<100x3xf32>) -> tensor<?x?x100xf32>
func.func @tied(%ids: tensor<?x?xi64>) -> tensor<?x?x100xf32> {
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<100x3xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 1200 : tensor<3x8xf32>
  %w = lathe.matmul %a, %b : (tensor<100x3xf32>, tensor<3x8xf32>) -> tensor<100x8xf32>
  %0 = lathe.gather %w, %ids {axis = 0 : i64} : (tensor<100x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %1 = lathe.matmul %0, %w {transpose_rhs} : (tensor<?x?x8xf32>, tensor<100x8xf32>) -> tensor<?x?x100xf32>
  return %1 : tensor<?x?x100xf32>
}

// -----

// Factors as large as their product save nothing.
// CHECK-LABEL: func.func @large
// CHECK: %[[W:.*]] = lathe.matmul %{{.*}}, %{{.*}} : (tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
// CHECK: lathe.matmul %{{.*}}, %[[W]]
func.func @large(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<8x4xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 128 : tensor<4x8xf32>
  %w = lathe.matmul %a, %b : (tensor<8x4xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// -----

// The matrix itself is wanted, or a single row of it, or it is a left side, too: it is computed.
// CHECK-LABEL: func.func @read
// CHECK-COUNT-3: lathe.matmul %{{.*}}, %{{.*}} : (tensor<8x2xf32>, tensor<2x8xf32>) -> tensor<8x8xf32>
func.func @read(%x: tensor<?x8xf32>, %i: tensor<i64>) -> (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>, tensor<8x8xf32>) {
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<8x2xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 64 : tensor<2x8xf32>
  %u = lathe.matmul %a, %b : (tensor<8x2xf32>, tensor<2x8xf32>) -> tensor<8x8xf32>
  %0 = lathe.matmul %x, %u : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %v = lathe.matmul %a, %b : (tensor<8x2xf32>, tensor<2x8xf32>) -> tensor<8x8xf32>
  %1 = lathe.gather %v, %i {axis = 0 : i64} : (tensor<8x8xf32>, tensor<i64>) -> tensor<8xf32>
  %w = lathe.matmul %a, %b : (tensor<8x2xf32>, tensor<2x8xf32>) -> tensor<8x8xf32>
  %2 = lathe.matmul %w, %w : (tensor<8x8xf32>, tensor<8x8xf32>) -> tensor<8x8xf32>
  return %0, %u, %1, %2 : tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>, tensor<8x8xf32>
}

// -----

// What factors leave of a matrix has a product, and a lookup, of its own.
// CHECK-LABEL: func.func @rest
// CHECK-SAME: %[[IDS:.*]]: tensor<?xi64>
// CHECK: %[[A:.*]] = lathe.weight "a"
// CHECK: %[[B:.*]] = lathe.weight "b"
// CHECK: %[[C:.*]] = lathe.weight "c"
// CHECK: %[[R:.*]] = lathe.gather %[[A]], %[[IDS]]
// CHECK: %[[S:.*]] = lathe.matmul %[[R]], %[[B]]
// CHECK: %[[G:.*]] = lathe.gather %[[C]], %[[IDS]]
// CHECK: %[[X:.*]] = lathe.add %[[S]], %[[G]]
// CHECK: %[[T:.*]] = lathe.matmul %[[X]], %[[B]] {transpose_rhs}
// CHECK: %[[U:.*]] = lathe.matmul %[[T]], %[[A]] {transpose_rhs}
// CHECK: %[[V:.*]] = lathe.matmul %[[X]], %[[C]] {transpose_rhs}
// CHECK: %[[Y:.*]] = lathe.add %[[U]], %[[V]]
// CHECK: return %[[Y]]
func.func @rest(%ids: tensor<?xi64>) -> tensor<?x100xf32> {
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<100x3xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 1200 : tensor<3x8xf32>
  %c = lathe.weight "c" in "model.onnx.data" at 1296 : tensor<100x8xf32>
  %f = lathe.matmul %a, %b : (tensor<100x3xf32>, tensor<3x8xf32>) -> tensor<100x8xf32>
  %w = lathe.add %c, %f : (tensor<100x8xf32>, tensor<100x8xf32>) -> tensor<100x8xf32>
  %0 = lathe.gather %w, %ids {axis = 0 : i64} : (tensor<100x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  %1 = lathe.matmul %0, %w {transpose_rhs} : (tensor<?x8xf32>, tensor<100x8xf32>) -> tensor<?x100xf32>
  return %1 : tensor<?x100xf32>
}

// -----

// A sum of two Kronecker products: x by the second factors, then by the first ones.
// CHECK-LABEL: func.func @kronecker
// CHECK-SAME: %[[X:.*]]: tensor<?x?x16xf32>
// CHECK-DAG: %[[A:.*]] = lathe.weight "a"
// CHECK-DAG: %[[B:.*]] = lathe.weight "b"
// CHECK: %[[R:.*]] = lathe.reshape %[[X]]{{.*}} -> tensor<?x?x4x4xf32>
// CHECK: %[[S:.*]] = lathe.matmul %[[R]], %[[B]] {transpose_rhs} : (tensor<?x?x4x4xf32>, tensor<10x4xf32>) -> tensor<?x?x4x10xf32>
// CHECK: %[[P:.*]] = lathe.reshape %[[S]]{{.*}} -> tensor<?x?x1x4x5x2xf32>
// CHECK: %[[T:.*]] = lathe.transpose %[[P]] {permutation = array<i64: 0, 1, 2, 4, 3, 5>}
// CHECK: %[[Q:.*]] = lathe.reshape %[[T]]{{.*}} -> tensor<?x?x5x8xf32>
// CHECK: %[[U:.*]] = lathe.matmul %[[Q]], %[[A]] {transpose_rhs} : (tensor<?x?x5x8xf32>, tensor<6x8xf32>) -> tensor<?x?x5x6xf32>
// CHECK: %[[V:.*]] = lathe.transpose %[[U]] {permutation = array<i64: 0, 1, 3, 2>}
// CHECK: %[[Y:.*]] = lathe.reshape %[[V]]{{.*}} -> tensor<?x?x30xf32>
// CHECK: return %[[Y]]
func.func @kronecker(%x: tensor<?x?x16xf32> {lathe.dims = ["batch", "sequence", 16]}) -> tensor<?x?x30xf32> {
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  %c6 = arith.constant 6 : index
  %c16 = arith.constant 16 : index
  %c24 = arith.constant 24 : index
  %c30 = arith.constant 30 : index
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<6x8xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 192 : tensor<10x4xf32>
  %0 = lathe.reshape %a [%c24, %c2] : tensor<6x8xf32> -> tensor<24x2xf32>
  %1 = lathe.reshape %b [%c5, %c2, %c4] : tensor<10x4xf32> -> tensor<5x2x4xf32>
  %2 = lathe.matmul %0, %1 : (tensor<24x2xf32>, tensor<5x2x4xf32>) -> tensor<5x24x4xf32>
  %3 = lathe.reshape %2 [%c5, %c6, %c16] : tensor<5x24x4xf32> -> tensor<5x6x16xf32>
  %4 = lathe.transpose %3 {permutation = array<i64: 1, 0, 2>} : (tensor<5x6x16xf32>) -> tensor<6x5x16xf32>
  %w = lathe.reshape %4 [%c30, %c16] : tensor<6x5x16xf32> -> tensor<30x16xf32>
  %y = lathe.matmul %x, %w {transpose_rhs} : (tensor<?x?x16xf32>, tensor<30x16xf32>) -> tensor<?x?x30xf32>
  return %y : tensor<?x?x30xf32>
}

// -----

// Rows are products of what is looked up in the cores.
// CHECK-LABEL: func.func @rows
// CHECK-SAME: %[[IDS:.*]]: tensor<?xi64>
// CHECK-DAG: %[[A:.*]] = lathe.weight "a"
// CHECK-DAG: %[[B:.*]] = lathe.weight "b"
// CHECK: %[[I:.*]] = lathe.mod
// CHECK: %[[P:.*]] = lathe.gather %[[B]], %[[I]] {axis = 0 : i64} : (tensor<5x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
// CHECK: %[[J:.*]] = lathe.div
// CHECK: %[[Q:.*]] = lathe.gather %[[A]], %[[J]] {axis = 0 : i64} : (tensor<3x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
// CHECK: lathe.matmul %{{.*}}, %{{.*}} : (tensor<?x2x2xf32>, tensor<?x2x4xf32>) -> tensor<?x2x4xf32>
// CHECK-NOT: tensor<15x8xf32>
// CHECK: lathe.reshape %{{.*}} : tensor<?x2x4xf32> -> tensor<?x8xf32>
func.func @rows(%ids: tensor<?xi64> {lathe.dims = ["batch"]}) -> tensor<?x8xf32> {
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  %c6 = arith.constant 6 : index
  %c8 = arith.constant 8 : index
  %c15 = arith.constant 15 : index
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<3x4xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 48 : tensor<5x8xf32>
  %0 = lathe.reshape %a [%c6, %c2] : tensor<3x4xf32> -> tensor<6x2xf32>
  %1 = lathe.reshape %b [%c5, %c2, %c4] : tensor<5x8xf32> -> tensor<5x2x4xf32>
  %2 = lathe.matmul %0, %1 : (tensor<6x2xf32>, tensor<5x2x4xf32>) -> tensor<5x6x4xf32>
  %3 = lathe.reshape %2 [%c5, %c3, %c8] : tensor<5x6x4xf32> -> tensor<5x3x8xf32>
  %4 = lathe.transpose %3 {permutation = array<i64: 1, 0, 2>} : (tensor<5x3x8xf32>) -> tensor<3x5x8xf32>
  %w = lathe.reshape %4 [%c15, %c8] : tensor<3x5x8xf32> -> tensor<15x8xf32>
  %y = lathe.gather %w, %ids {axis = 0 : i64} : (tensor<15x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// Cores that take more multiplications than the matrix, another order of its parts, and a matrix that something else
// reads: it is computed.
// CHECK-LABEL: func.func @dense
// CHECK-COUNT-3: lathe.reshape %{{.*}} : tensor<3x2x4xf32> -> tensor<6x4xf32>
func.func @dense(%x: tensor<?x4xf32> {lathe.dims = ["batch", 4]}) -> (tensor<?x6xf32>, tensor<?x6xf32>, tensor<6x4xf32>) {
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  %c6 = arith.constant 6 : index
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<3x10xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 120 : tensor<10x2xf32>
  %0 = lathe.reshape %a [%c6, %c5] : tensor<3x10xf32> -> tensor<6x5xf32>
  %1 = lathe.reshape %b [%c2, %c5, %c2] : tensor<10x2xf32> -> tensor<2x5x2xf32>
  %2 = lathe.matmul %0, %1 : (tensor<6x5xf32>, tensor<2x5x2xf32>) -> tensor<2x6x2xf32>
  %3 = lathe.reshape %2 [%c2, %c3, %c4] : tensor<2x6x2xf32> -> tensor<2x3x4xf32>
  %4 = lathe.transpose %3 {permutation = array<i64: 1, 0, 2>} : (tensor<2x3x4xf32>) -> tensor<3x2x4xf32>
  %w = lathe.reshape %4 [%c6, %c4] : tensor<3x2x4xf32> -> tensor<6x4xf32>
  %y = lathe.matmul %x, %w {transpose_rhs} : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x6xf32>
  %c = lathe.weight "c" in "model.onnx.data" at 200 : tensor<3x2xf32>
  %d = lathe.weight "d" in "model.onnx.data" at 224 : tensor<2x2xf32>
  %5 = lathe.reshape %c [%c6, %c1] : tensor<3x2xf32> -> tensor<6x1xf32>
  %6 = lathe.reshape %d [%c2, %c1, %c2] : tensor<2x2xf32> -> tensor<2x1x2xf32>
  %7 = lathe.matmul %5, %6 : (tensor<6x1xf32>, tensor<2x1x2xf32>) -> tensor<2x6x2xf32>
  %8 = lathe.reshape %7 [%c3, %c2, %c4] : tensor<2x6x2xf32> -> tensor<3x2x4xf32>
  %v = lathe.reshape %8 [%c6, %c4] : tensor<3x2x4xf32> -> tensor<6x4xf32>
  %z = lathe.matmul %x, %v {transpose_rhs} : (tensor<?x4xf32>, tensor<6x4xf32>) -> tensor<?x6xf32>
  %9 = lathe.reshape %7 [%c2, %c3, %c4] : tensor<2x6x2xf32> -> tensor<2x3x4xf32>
  %10 = lathe.transpose %9 {permutation = array<i64: 1, 0, 2>} : (tensor<2x3x4xf32>) -> tensor<3x2x4xf32>
  %u = lathe.reshape %10 [%c6, %c4] : tensor<3x2x4xf32> -> tensor<6x4xf32>
  return %y, %z, %u : tensor<?x6xf32>, tensor<?x6xf32>, tensor<6x4xf32>
}
