// RUN: lathe-opt %s --fuse-rms-norm=explain --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @whole
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x4xf32>)
// CHECK-SAME: lathe.fusions = [{kind = "rms_norm", nodes = []}]
// CHECK: %[[W:.*]] = lathe.weight
// CHECK: %[[Y:.*]] = lathe.rms_norm %[[X]], %[[W]] {axis = 2 : i64, epsilon = {{.*}} : f64}
// CHECK-NEXT: return %[[Y]]
func.func @whole(%x: tensor<?x?x4xf32>) -> tensor<?x?x4xf32> {
  %epsilon = lathe.constant dense<1.0e-6> : tensor<f32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %w = lathe.weight "scale" in "model.onnx" at 0 : tensor<4xf32>
  %0 = lathe.mul %x, %x : (tensor<?x?x4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  %1 = lathe.reduce mean %0 {axes = array<i64: 2>, keep_dims} : (tensor<?x?x4xf32>) -> tensor<?x?x1xf32>
  %2 = lathe.add %1, %epsilon : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32>
  %3 = lathe.sqrt %2 : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %4 = lathe.div %one, %3 : (tensor<f32>, tensor<?x?x1xf32>) -> tensor<?x?x1xf32>
  %5 = lathe.mul %x, %4 : (tensor<?x?x4xf32>, tensor<?x?x1xf32>) -> tensor<?x?x4xf32>
  %6 = lathe.mul %w, %5 : (tensor<4xf32>, tensor<?x?x4xf32>) -> tensor<?x?x4xf32>
  return %6 : tensor<?x?x4xf32>
}

// -----

// The scale is one and a weight, and is multiplied by x first; the result is f16.
// CHECK-LABEL: func.func @scale_first
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf16>)
// CHECK: %[[S:.*]] = lathe.add
// CHECK: %[[WIDE:.*]] = lathe.cast %[[X]]
// CHECK: %[[N:.*]] = lathe.rms_norm %[[WIDE]], %[[S]] {axis = 1 : i64
// CHECK: lathe.cast %[[N]]
func.func @scale_first(%x: tensor<?x4xf16>) -> tensor<?x4xf16> {
  %epsilon = lathe.constant dense<1.0e-6> : tensor<f32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %w = lathe.weight "scale" in "model.onnx" at 0 : tensor<4xf32>
  %s = lathe.add %w, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %wide = lathe.cast %x : (tensor<?x4xf16>) -> tensor<?x4xf32>
  %0 = lathe.reduce sum_square %wide {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %four = lathe.constant dense<4.0> : tensor<f32>
  %1 = lathe.div %0, %four : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %2 = lathe.add %1, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = lathe.rsqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = lathe.mul %wide, %s : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %5 = lathe.mul %4, %3 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %6 = lathe.cast %5 : (tensor<?x4xf32>) -> tensor<?x4xf16>
  return %6 : tensor<?x4xf16>
}

// -----

// Not the value whose squares are averaged, and a bias that is no part of it.
// CHECK-LABEL: func.func @near
// CHECK-SAME: failed = "what is divided by the root is not the value whose squares are averaged"
// CHECK-SAME: {kind = "rms_norm", nodes = []}
// CHECK: lathe.sqrt
// CHECK: lathe.div
// CHECK: lathe.rms_norm
// CHECK: lathe.add
func.func @near(%x: tensor<?x4xf32>, %y: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %epsilon = lathe.constant dense<1.0e-6> : tensor<f32>
  %bias = lathe.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %0 = lathe.mul %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.reduce mean %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %2 = lathe.add %1, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %3 = lathe.sqrt %2 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %4 = lathe.div %y, %3 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %5 = lathe.mul %y, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %6 = lathe.reduce mean %5 {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %7 = lathe.add %6, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %8 = lathe.sqrt %7 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %9 = lathe.div %y, %8 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %10 = lathe.add %9, %bias : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %4, %10 : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// A layer normalization, a length, and roots of other things.
// CHECK-LABEL: func.func @other
// CHECK-SAME: lathe.fusions = []
// CHECK-NOT: lathe.rms_norm
func.func @other(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %epsilon = lathe.constant dense<1.0e-3> : tensor<f32>
  %m = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %c = lathe.sub %x, %m : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %s = lathe.mul %c, %c : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = lathe.reduce mean %s {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %e = lathe.add %v, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %d = lathe.sqrt %e : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %n = lathe.div %c, %d : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %0 = lathe.reduce sum_square %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %1 = lathe.add %0, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %2 = lathe.rsqrt %1 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %3 = lathe.mul %x, %2 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %4 = lathe.sqrt %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %n, %3, %4 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
