// RUN: lathe-opt %s --fuse-silu=explain --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @silu
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>)
// CHECK-SAME: lathe.fusions = [{kind = "silu", nodes = ["/Sigmoid", "/Mul"]}]
// CHECK-NEXT: %[[Y:.*]] = lathe.swish %[[X]] :
// CHECK-NEXT: return %[[Y]]
func.func @silu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = lathe.sigmoid %x : (tensor<?x4xf32>) -> tensor<?x4xf32> loc("/Sigmoid")
  %1 = lathe.mul %x, %0 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> loc("/Mul")
  return %1 : tensor<?x4xf32>
}

// -----

// CHECK-LABEL: func.func @quick_gelu
// CHECK-SAME: kind = "quick_gelu"
// CHECK-NEXT: lathe.swish %{{.*}} {beta = 1.702000e+00 : f64}
// CHECK-NEXT: return
func.func @quick_gelu(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %c = lathe.constant dense<1.702> : tensor<f32>
  %0 = lathe.mul %c, %x : (tensor<f32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.sigmoid %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.mul %1, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %2 : tensor<?x4xf32>
}

// -----

// x / (1 + exp(-x)), x * (1 / (1 + exp(-x))), x/2 * (1 + tanh(x/2))
// CHECK-LABEL: func.func @spelled_out
// CHECK: %[[A:.*]] = lathe.swish
// CHECK: %[[B:.*]] = lathe.swish
// CHECK: %[[C:.*]] = lathe.swish
// CHECK: return %[[A]], %[[B]], %[[C]]
func.func @spelled_out(%x: tensor<4xf32>, %y: tensor<4xf32>, %z: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %one = lathe.constant dense<1.0> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %0 = lathe.neg %x : (tensor<4xf32>) -> tensor<4xf32>
  %1 = lathe.exp %0 : (tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.add %1, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %3 = lathe.div %x, %2 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = lathe.neg %y : (tensor<4xf32>) -> tensor<4xf32>
  %5 = lathe.exp %4 : (tensor<4xf32>) -> tensor<4xf32>
  %6 = lathe.add %one, %5 : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  %7 = lathe.reciprocal %6 : (tensor<4xf32>) -> tensor<4xf32>
  %8 = lathe.mul %y, %7 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %9 = lathe.mul %z, %half : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %10 = lathe.tanh %9 : (tensor<4xf32>) -> tensor<4xf32>
  %11 = lathe.add %10, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %12 = lathe.mul %9, %11 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %3, %8, %12 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// -----

// CHECK-LABEL: func.func @used_elsewhere
// CHECK-SAME: at = "/Other", failed = "a value within the expression is used elsewhere, too", kind = "silu"
// CHECK: lathe.sigmoid
func.func @used_elsewhere(%x: tensor<4xf32>, %y: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = lathe.sigmoid %x : (tensor<4xf32>) -> tensor<4xf32>
  %1 = lathe.mul %x, %0 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.mul %y, %0 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32> loc("/Other")
  return %1, %2 : tensor<4xf32>, tensor<4xf32>
}

// -----

// A gate of something else, and a constant that enlarges x.
// CHECK-LABEL: func.func @other
// CHECK-SAME: lathe.fusions = [{{{.*}}failed = "a constant's shape enlarges x"{{[^{]*}}}]
// CHECK-COUNT-2: lathe.sigmoid
func.func @other(%x: tensor<4xf32>, %y: tensor<4xf32>) -> (tensor<4xf32>, tensor<1x4xf32>) {
  %one = lathe.constant dense<1.0> : tensor<1x1xf32>
  %0 = lathe.sigmoid %x : (tensor<4xf32>) -> tensor<4xf32>
  %1 = lathe.mul %y, %0 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.sigmoid %y : (tensor<4xf32>) -> tensor<4xf32>
  %3 = lathe.mul %2, %one : (tensor<4xf32>, tensor<1x1xf32>) -> tensor<1x4xf32>
  %4 = lathe.mul %y, %3 : (tensor<4xf32>, tensor<1x4xf32>) -> tensor<1x4xf32>
  return %1, %4 : tensor<4xf32>, tensor<1x4xf32>
}

// -----

// Of constants alone: the last operation is what it stands for.
// CHECK-LABEL: func.func @of_constants
// CHECK-SAME: lathe.fusions = [{kind = "silu", nodes = ["/Mul"]}]
// CHECK: lathe.swish
func.func @of_constants() -> tensor<3xf32> {
  %x = lathe.constant dense<[1.0, 2.0, 3.0]> : tensor<3xf32>
  %0 = lathe.sigmoid %x : (tensor<3xf32>) -> tensor<3xf32> loc("/Sigmoid")
  %1 = lathe.mul %x, %0 : (tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32> loc("/Mul")
  return %1 : tensor<3xf32>
}
