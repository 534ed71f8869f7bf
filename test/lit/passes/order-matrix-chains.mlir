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
