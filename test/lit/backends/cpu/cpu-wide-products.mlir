// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(cpu-wide-products))' | FileCheck %s
// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(cpu-wide-products{lookups=true}))' | FileCheck %s --check-prefix=LOOKUPS

// CHECK-LABEL: func.func @f16
// CHECK: %[[X:.*]] = lathe.cast %arg0 : (tensor<?x8xf16>) -> tensor<?x8xf32>
// CHECK: %[[Y:.*]] = lathe.cast %arg1 : (tensor<4x8xf16>) -> tensor<4x8xf32>
// CHECK: %[[P:.*]] = lathe.matmul %[[X]], %[[Y]] {transpose_rhs} : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
// CHECK: %[[R:.*]] = lathe.cast %[[P]] : (tensor<?x4xf32>) -> tensor<?x4xf16>
// CHECK: return %[[R]]
func.func @f16(%a: tensor<?x8xf16>, %b: tensor<4x8xf16>) -> tensor<?x4xf16> {
  %0 = lathe.matmul %a, %b {transpose_rhs} : (tensor<?x8xf16>, tensor<4x8xf16>) -> tensor<?x4xf16>
  return %0 : tensor<?x4xf16>
}

// Others stay as they are.
// CHECK-LABEL: func.func @others
// CHECK-NOT: lathe.cast
// CHECK: return
func.func @others(%a: tensor<?x8xf32>, %b: tensor<8x4xf32>, %c: tensor<?x8xf64>, %d: tensor<8x4xf64>) -> (tensor<?x4xf32>, tensor<?x4xf64>) {
  %0 = lathe.matmul %a, %b : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.matmul %c, %d : (tensor<?x8xf64>, tensor<8x4xf64>) -> tensor<?x4xf64>
  return %0, %1 : tensor<?x4xf32>, tensor<?x4xf64>
}

// What codes stand for is computed in f32, and is not rounded before the product.
// CHECK-LABEL: func.func @codes
// CHECK: %[[X:.*]] = lathe.cast %arg0 : (tensor<?x64xf16>) -> tensor<?x64xf32>
// CHECK: %[[W:.*]] = lathe.dequantize %arg1, %arg2 {axis = 0 : i64, block_size = 32 : i64} : (tensor<64x8xi4>, tensor<2x8xf16>) -> tensor<64x8xf32>
// CHECK: lathe.matmul %[[X]], %[[W]]
// CHECK: %[[L:.*]] = lathe.dequantize_log2 %arg3, %arg4 : (tensor<64x8xui4>, tensor<f32>) -> tensor<64x8xf32>
// CHECK: lathe.matmul %{{.*}}, %[[L]]
func.func @codes(%x: tensor<?x64xf16>, %q: tensor<64x8xi4>, %s: tensor<2x8xf16>, %c: tensor<64x8xui4>, %t: tensor<f32>)
    -> (tensor<?x8xf16>, tensor<?x8xf16>) {
  %w = lathe.dequantize %q, %s {axis = 0 : i64, block_size = 32 : i64} : (tensor<64x8xi4>, tensor<2x8xf16>) -> tensor<64x8xf16>
  %0 = lathe.matmul %x, %w : (tensor<?x64xf16>, tensor<64x8xf16>) -> tensor<?x8xf16>
  %l = lathe.dequantize_log2 %c, %t : (tensor<64x8xui4>, tensor<f32>) -> tensor<64x8xf16>
  %1 = lathe.matmul %x, %l : (tensor<?x64xf16>, tensor<64x8xf16>) -> tensor<?x8xf16>
  return %0, %1 : tensor<?x8xf16>, tensor<?x8xf16>
}

// Rows of codes are looked up in f32; of weights only where that is asked for, along the first axis.
// CHECK-LABEL: func.func @rows
// CHECK: %[[W:.*]] = lathe.weight
// CHECK: lathe.gather %[[W]], %arg0 {axis = 0 : i64} : (tensor<9x8xf16>
// CHECK: lathe.gather %[[W]], %arg0 {axis = 1 : i64} : (tensor<9x8xf16>
// CHECK: %[[T:.*]] = lathe.dequantize %arg1, %arg2 : (tensor<9x8xi8>, tensor<f16>) -> tensor<9x8xf32>
// CHECK: %[[R:.*]] = lathe.gather %[[T]], %arg0 {axis = 0 : i64} : (tensor<9x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
// CHECK: lathe.cast %[[R]] : (tensor<?x8xf32>) -> tensor<?x8xf16>
// LOOKUPS-LABEL: func.func @rows
// LOOKUPS: %[[W:.*]] = lathe.weight
// LOOKUPS: %[[F:.*]] = lathe.cast %[[W]] : (tensor<9x8xf16>) -> tensor<9x8xf32>
// LOOKUPS: %[[R:.*]] = lathe.gather %[[F]], %arg0 {axis = 0 : i64} : (tensor<9x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
// LOOKUPS: lathe.cast %[[R]] : (tensor<?x8xf32>) -> tensor<?x8xf16>
// LOOKUPS: lathe.gather %[[W]], %arg0 {axis = 1 : i64} : (tensor<9x8xf16>
func.func @rows(%i: tensor<?xi64>, %q: tensor<9x8xi8>, %s: tensor<f16>) -> (tensor<?x8xf16>, tensor<9x?xf16>, tensor<?x8xf16>) {
  %w = lathe.weight "w" in "model.onnx" at 0 : tensor<9x8xf16>
  %0 = lathe.gather %w, %i {axis = 0 : i64} : (tensor<9x8xf16>, tensor<?xi64>) -> tensor<?x8xf16>
  %1 = lathe.gather %w, %i {axis = 1 : i64} : (tensor<9x8xf16>, tensor<?xi64>) -> tensor<9x?xf16>
  %t = lathe.dequantize %q, %s : (tensor<9x8xi8>, tensor<f16>) -> tensor<9x8xf16>
  %2 = lathe.gather %t, %i {axis = 0 : i64} : (tensor<9x8xf16>, tensor<?xi64>) -> tensor<?x8xf16>
  return %0, %1, %2 : tensor<?x8xf16>, tensor<9x?xf16>, tensor<?x8xf16>
}
