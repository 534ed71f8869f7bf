// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(cpu-wide-products))' | FileCheck %s

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
