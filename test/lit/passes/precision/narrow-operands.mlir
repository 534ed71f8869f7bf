// RUN: lathe-opt %s -split-input-file --pass-pipeline='builtin.module(func.func(narrow-operands))' | FileCheck %s

// What a kernel computes for products alone, also through a reshape, is rounded once behind it.
// CHECK-LABEL: func.func @norm
// CHECK: %[[X:.*]] = lathe.tanh
// CHECK: %[[N:.*]] = lathe.cast %[[X]] : (tensor<2x3x4xf32>) -> tensor<2x3x4xbf16>
// CHECK: %[[A:.*]] = lathe.cast %[[N]] : (tensor<2x3x4xbf16>) -> tensor<2x3x4xf32>
// CHECK: %[[R:.*]] = lathe.reshape %[[N]]{{.*}} : tensor<2x3x4xbf16> -> tensor<6x4xbf16>
// CHECK: %[[B:.*]] = lathe.cast %[[R]] : (tensor<6x4xbf16>) -> tensor<6x4xf32>
// CHECK: lathe.matmul %[[A]],
// CHECK: lathe.matmul %[[B]],
func.func @norm(%x: tensor<2x3x4xf32>) -> (tensor<2x3x4xf32>, tensor<6x4xf32>) {
  %v = lathe.weight "v" in "m" at 0 : tensor<4x4xf32>
  %vn = lathe.cast %v : (tensor<4x4xf32>) -> tensor<4x4xbf16>
  %va = lathe.cast %vn : (tensor<4x4xbf16>) -> tensor<4x4xf32>
  %vb = lathe.cast %vn : (tensor<4x4xbf16>) -> tensor<4x4xf32>
  %0 = lathe.tanh %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %c6 = arith.constant 6 : index
  %c4 = arith.constant 4 : index
  %1 = lathe.reshape %0 [%c6, %c4] : tensor<2x3x4xf32> -> tensor<6x4xf32>
  %2 = lathe.matmul %0, %va : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  %3 = lathe.matmul %1, %vb : (tensor<6x4xf32>, tensor<4x4xf32>) -> tensor<6x4xf32>
  return %2, %3 : tensor<2x3x4xf32>, tensor<6x4xf32>
}

// -----

// f16 has bounds; the product before writes them.
// CHECK-LABEL: func.func @chain
// CHECK: %[[X:.*]] = lathe.relu
// CHECK: %[[L:.*]] = lathe.max %[[X]],
// CHECK: %[[M:.*]] = lathe.min %[[L]],
// CHECK: %[[N:.*]] = lathe.cast %[[M]] : (tensor<3x4xf32>) -> tensor<3x4xf16>
// CHECK: %[[A:.*]] = lathe.cast %[[N]] : (tensor<3x4xf16>) -> tensor<3x4xf32>
// CHECK: lathe.matmul %[[A]],
func.func @chain(%x: tensor<3x4xf32>) -> tensor<3x4xf32> {
  %w = lathe.weight "w" in "m" at 0 : tensor<4x4xf16>
  %wa = lathe.cast %w : (tensor<4x4xf16>) -> tensor<4x4xf32>
  %wb = lathe.cast %w : (tensor<4x4xf16>) -> tensor<4x4xf32>
  %0 = lathe.matmul %x, %wa : (tensor<3x4xf32>, tensor<4x4xf32>) -> tensor<3x4xf32>
  %1 = lathe.relu %0 : (tensor<3x4xf32>) -> tensor<3x4xf32>
  %2 = lathe.matmul %1, %wb : (tensor<3x4xf32>, tensor<4x4xf32>) -> tensor<3x4xf32>
  return %2 : tensor<3x4xf32>
}

// -----

// Not an input, what something else reads too, what attention computes, and by weights of f32 or of two types.
// CHECK-LABEL: func.func @stays
// CHECK-NOT: -> tensor<2x3x4xbf16>
// CHECK-NOT: -> tensor<2x3x4xf16>
// CHECK: return
func.func @stays(%x: tensor<2x3x4xf32>) -> (tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>) {
  %w = lathe.weight "w" in "m" at 0 : tensor<4x4xf32>
  %n = lathe.cast %w : (tensor<4x4xf32>) -> tensor<4x4xbf16>
  %a = lathe.cast %n : (tensor<4x4xbf16>) -> tensor<4x4xf32>
  %h = lathe.cast %w : (tensor<4x4xf32>) -> tensor<4x4xf16>
  %b = lathe.cast %h : (tensor<4x4xf16>) -> tensor<4x4xf32>
  %0 = lathe.matmul %x, %a : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  %1 = lathe.tanh %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %2 = lathe.matmul %1, %a : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  %3 = lathe.attention %x, %x, %x {scale = 0.5 : f64} : (tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %4 = lathe.matmul %3, %a : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  %5 = lathe.relu %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %6 = lathe.matmul %5, %a : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  %7 = lathe.matmul %5, %b : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  %8 = lathe.neg %x : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
  %9 = lathe.matmul %8, %w : (tensor<2x3x4xf32>, tensor<4x4xf32>) -> tensor<2x3x4xf32>
  return %0, %1, %2, %4, %6, %7, %9 : tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>
}
