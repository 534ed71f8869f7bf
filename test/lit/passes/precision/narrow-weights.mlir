// RUN: lathe-opt %s -split-input-file --pass-pipeline='builtin.module(func.func(narrow-weights{type=bf16 types=fine=f16,wide=f32}))' | FileCheck %s
// RUN: not lathe-opt %s -split-input-file --pass-pipeline='builtin.module(func.func(narrow-weights{type=f8}))' 2>&1 | FileCheck %s --check-prefix=TYPE

// TYPE: expects a type of bf16, f16 or f32, got 'f8'

// A table that is also a matrix: rounded once, widened for each reader.
// CHECK-LABEL: func.func @tied
// CHECK: %[[W:.*]] = lathe.weight "w"
// CHECK: %[[N:.*]] = lathe.cast %[[W]] : (tensor<8x4xf32>) -> tensor<8x4xbf16>
// CHECK: %[[T:.*]] = lathe.cast %[[N]] : (tensor<8x4xbf16>) -> tensor<8x4xf32>
// CHECK: lathe.gather %[[T]]
// CHECK: %[[M:.*]] = lathe.cast %[[N]] : (tensor<8x4xbf16>) -> tensor<8x4xf32>
// CHECK: lathe.matmul %{{.*}}, %[[M]]
func.func @tied(%ids: tensor<2xi64>) -> tensor<2x8xf32> {
  %w = lathe.weight "w" in "model.onnx.data" at 0 : tensor<8x4xf32>
  %0 = lathe.gather %w, %ids {axis = 0 : i64} : (tensor<8x4xf32>, tensor<2xi64>) -> tensor<2x4xf32>
  %1 = lathe.matmul %0, %w {transpose_rhs} : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x8xf32>
  return %1 : tensor<2x8xf32>
}

// -----

// Exceptions by name.
// CHECK-LABEL: func.func @exceptions
// CHECK: lathe.cast %{{.*}} : (tensor<4x4xf32>) -> tensor<4x4xf16>
// CHECK-NOT: bf16
// CHECK: return
func.func @exceptions(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %fine = lathe.weight "fine" in "model.onnx.data" at 0 : tensor<4x4xf32>
  %wide = lathe.weight "wide" in "model.onnx.data" at 64 : tensor<4x4xf32>
  %0 = lathe.matmul %x, %fine : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  %1 = lathe.matmul %0, %wide : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  return %1 : tensor<2x4xf32>
}

// -----

// Not what something else reads too, what has one axis, what is on the left, and what is no f32.
// CHECK-LABEL: func.func @stays
// CHECK-NOT: lathe.cast
// CHECK: return
func.func @stays(%x: tensor<2x4xf32>, %y: tensor<4x2xf64>) -> (tensor<2x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf64>) {
  %a = lathe.weight "a" in "model.onnx.data" at 0 : tensor<4x4xf32>
  %b = lathe.weight "b" in "model.onnx.data" at 64 : tensor<4xf32>
  %c = lathe.weight "c" in "model.onnx.data" at 128 : tensor<4x4xf32>
  %d = lathe.weight "d" in "model.onnx.data" at 192 : tensor<2x4xf64>
  %0 = lathe.matmul %x, %a : (tensor<2x4xf32>, tensor<4x4xf32>) -> tensor<2x4xf32>
  %1 = lathe.add %0, %b : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
  %2 = lathe.tanh %a : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %3 = lathe.matmul %c, %2 : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %4 = lathe.matmul %y, %d : (tensor<4x2xf64>, tensor<2x4xf64>) -> tensor<4x4xf64>
  return %1, %2, %3, %4 : tensor<2x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf64>
}
