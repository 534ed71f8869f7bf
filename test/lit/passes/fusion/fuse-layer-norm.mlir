// RUN: lathe-opt %s --fuse-layer-norm=explain --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @whole
// CHECK-SAME: (%[[X:.*]]: tensor<?x?x8xf32>, %[[W:.*]]: tensor
// CHECK-SAME: kind = "layer_norm", nodes = ["/Mean", "/Sub", "/Pow", "/Variance", "/Epsilon", "/Sqrt", "/Div", "/Mul", "/Add"]
// CHECK-DAG: %[[SCALE:.*]] = lathe.weight "scale"
// CHECK-DAG: %[[BIAS:.*]] = lathe.weight "bias"
// CHECK: %[[Y:.*]] = lathe.layer_norm %[[X]], %[[SCALE]], %[[BIAS]] {axis = 2 : i64, epsilon = {{9.9999.*E-13}} : f64}
// CHECK-NEXT: return %[[Y]]
func.func @whole(%x: tensor<?x?x8xf32>, %unused: tensor<8xf32>) -> tensor<?x?x8xf32> {
  %epsilon = lathe.constant dense<1.0e-12> : tensor<f32>
  %scale = lathe.weight "scale" in "model.onnx" at 0 : tensor<8xf32>
  %bias = lathe.weight "bias" in "model.onnx" at 32 : tensor<8xf32>
  %m = lathe.reduce mean %x {axes = array<i64: 2>, keep_dims} : (tensor<?x?x8xf32>) -> tensor<?x?x1xf32> loc("/Mean")
  %c = lathe.sub %x, %m : (tensor<?x?x8xf32>, tensor<?x?x1xf32>) -> tensor<?x?x8xf32> loc("/Sub")
  %s = lathe.mul %c, %c : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32> loc("/Pow")
  %v = lathe.reduce mean %s {axes = array<i64: 2>, keep_dims} : (tensor<?x?x8xf32>) -> tensor<?x?x1xf32> loc("/Variance")
  %e = lathe.add %v, %epsilon : (tensor<?x?x1xf32>, tensor<f32>) -> tensor<?x?x1xf32> loc("/Epsilon")
  %d = lathe.sqrt %e : (tensor<?x?x1xf32>) -> tensor<?x?x1xf32> loc("/Sqrt")
  %n = lathe.div %c, %d : (tensor<?x?x8xf32>, tensor<?x?x1xf32>) -> tensor<?x?x8xf32> loc("/Div")
  %g = lathe.mul %n, %scale : (tensor<?x?x8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32> loc("/Mul")
  %y = lathe.add %bias, %g : (tensor<8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32> loc("/Add")
  return %y : tensor<?x?x8xf32>
}

// -----

// Sums divided by their number, along two axes that are dropped; no scale, no bias, no epsilon; a power of -1/2.
// CHECK-LABEL: func.func @sums
// CHECK-SAME: (%[[X:.*]]: tensor<?x2x4xf32>
// CHECK: %[[ONE:.*]] = lathe.constant dense<1.000000e+00> : tensor<f32>
// CHECK: %[[Y:.*]] = lathe.layer_norm %[[X]], %[[ONE]] {axis = 1 : i64, epsilon = 0.000000e+00 : f64}
// CHECK-NEXT: return %[[Y]]
func.func @sums(%x: tensor<?x2x4xf32>, %n: index) -> tensor<?x2x4xf32> {
  %eight = lathe.constant dense<8.0> : tensor<f32>
  %eighth = lathe.constant dense<0.125> : tensor<1x1x1xf32>
  %power = lathe.constant dense<-0.5> : tensor<f32>
  %c1 = arith.constant 1 : index
  %0 = lathe.reduce sum %x {axes = array<i64: 1, 2>} : (tensor<?x2x4xf32>) -> tensor<?xf32>
  %1 = lathe.reshape %0 [%n, %c1, %c1] : tensor<?xf32> -> tensor<?x1x1xf32>
  %m = lathe.div %1, %eight : (tensor<?x1x1xf32>, tensor<f32>) -> tensor<?x1x1xf32>
  %c = lathe.sub %x, %m : (tensor<?x2x4xf32>, tensor<?x1x1xf32>) -> tensor<?x2x4xf32>
  %2 = lathe.reduce sum_square %c {axes = array<i64: 1, 2>, keep_dims} : (tensor<?x2x4xf32>) -> tensor<?x1x1xf32>
  %v = lathe.mul %eighth, %2 : (tensor<1x1x1xf32>, tensor<?x1x1xf32>) -> tensor<?x1x1xf32>
  %r = lathe.pow %v, %power : (tensor<?x1x1xf32>, tensor<f32>) -> tensor<?x1x1xf32>
  %y = lathe.mul %c, %r : (tensor<?x2x4xf32>, tensor<?x1x1xf32>) -> tensor<?x2x4xf32>
  return %y : tensor<?x2x4xf32>
}

// -----

// The inverse root times the scale is multiplied by x, and by the mean on the way to the bias; mean(x^2) - mean(x)^2.
// CHECK-LABEL: func.func @affine
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>)
// CHECK: %[[Y:.*]] = lathe.layer_norm %[[X]], %{{.*}}, %{{.*}} {axis = 1 : i64
// CHECK-NEXT: return %[[Y]]
func.func @affine(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %epsilon = lathe.constant dense<1.0e-3> : tensor<f32>
  %scale = lathe.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %bias = lathe.constant dense<[4.0, 2.0, 3.0, 4.0]> : tensor<4xf32>
  %m = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %0 = lathe.mul %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.reduce mean %0 {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %2 = lathe.mul %m, %m : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %v = lathe.sub %1, %2 : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %e = lathe.add %epsilon, %v : (tensor<f32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %r = lathe.rsqrt %e : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %k = lathe.mul %r, %scale : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %3 = lathe.mul %x, %k : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %4 = lathe.mul %m, %k : (tensor<?x1xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %5 = lathe.sub %bias, %4 : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %y = lathe.add %3, %5 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %y : tensor<?x4xf32>
}

// -----

// Computed in f32, scaled in f16.
// CHECK-LABEL: func.func @casts
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf16>)
// CHECK-NOT: lathe.cast
// CHECK: lathe.layer_norm %[[X]], %{{.*}} : (tensor<?x4xf16>, tensor<4xf16>) -> tensor<?x4xf16>
func.func @casts(%x: tensor<?x4xf16>) -> tensor<?x4xf16> {
  %epsilon = lathe.constant dense<1.0e-3> : tensor<f32>
  %scale = lathe.constant dense<[1.0, 2.0, 3.0, 4.0]> : tensor<4xf16>
  %w = lathe.cast %x : (tensor<?x4xf16>) -> tensor<?x4xf32>
  %m = lathe.reduce mean %w {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %c = lathe.sub %w, %m : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %s = lathe.mul %c, %c : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = lathe.reduce mean %s {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %e = lathe.add %v, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %d = lathe.sqrt %e : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %r = lathe.reciprocal %d : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %n = lathe.mul %r, %c : (tensor<?x1xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %h = lathe.cast %n : (tensor<?x4xf32>) -> tensor<?x4xf16>
  %y = lathe.mul %h, %scale : (tensor<?x4xf16>, tensor<4xf16>) -> tensor<?x4xf16>
  return %y : tensor<?x4xf16>
}

// -----

// CHECK-LABEL: func.func @other_mean
// CHECK-SAME: advice = "subtract the mean of the value itself", at = "/Sub2", failed = "the variance is computed about a different mean", kind = "layer_norm"
// CHECK-SAME: met = ["a root of a mean of squares", "epsilon is a constant"], node = "/Sqrt"
// CHECK-NOT: lathe.layer_norm
func.func @other_mean(%x: tensor<?x4xf32>, %z: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %epsilon = lathe.constant dense<1.0e-3> : tensor<f32>
  %m = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %m2 = lathe.reduce mean %z {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %c = lathe.sub %x, %m : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %c2 = lathe.sub %x, %m2 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32> loc("/Sub2")
  %s = lathe.mul %c2, %c2 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = lathe.reduce mean %s {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %e = lathe.add %v, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %d = lathe.sqrt %e : (tensor<?x1xf32>) -> tensor<?x1xf32> loc("/Sqrt")
  %n = lathe.div %c, %d : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  return %n : tensor<?x4xf32>
}

// -----

// An epsilon for each row, axes that are not the last, and a deviation that is returned, too.
// CHECK-LABEL: func.func @near
// CHECK-SAME: failed = "epsilon is not a constant that is 0 or more"
// CHECK-SAME: failed = "the mean is along axes 0 of 2, which are not the last"
// CHECK-SAME: failed = "the root is used more than once"
// CHECK-NOT: lathe.layer_norm
func.func @near(%x: tensor<?x4xf32>, %epsilons: tensor<?x1xf32>)
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x1xf32>) {
  %epsilon = lathe.constant dense<1.0e-3> : tensor<f32>
  %m = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %c = lathe.sub %x, %m : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %s = lathe.mul %c, %c : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v = lathe.reduce mean %s {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %e = lathe.add %v, %epsilons : (tensor<?x1xf32>, tensor<?x1xf32>) -> tensor<?x1xf32>
  %d = lathe.sqrt %e : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %y = lathe.div %c, %d : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %m2 = lathe.reduce mean %x {axes = array<i64: 0>, keep_dims} : (tensor<?x4xf32>) -> tensor<1x4xf32>
  %c2 = lathe.sub %x, %m2 : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32>
  %s2 = lathe.mul %c2, %c2 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %v2 = lathe.reduce mean %s2 {axes = array<i64: 0>, keep_dims} : (tensor<?x4xf32>) -> tensor<1x4xf32>
  %e2 = lathe.add %v2, %epsilon : (tensor<1x4xf32>, tensor<f32>) -> tensor<1x4xf32>
  %d2 = lathe.sqrt %e2 : (tensor<1x4xf32>) -> tensor<1x4xf32>
  %y2 = lathe.div %c2, %d2 : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32>
  %e3 = lathe.add %v, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %d3 = lathe.sqrt %e3 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %y3 = lathe.div %c, %d3 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  return %y, %y2, %y3, %d3 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x1xf32>
}

// -----

// A length, a root mean square normalization, and a mean that is divided by another number.
// CHECK-LABEL: func.func @other
// CHECK-SAME: lathe.fusions = []
// CHECK-NOT: lathe.layer_norm
func.func @other(%x: tensor<?x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %epsilon = lathe.constant dense<1.0e-3> : tensor<f32>
  %three = lathe.constant dense<3.0> : tensor<f32>
  %0 = lathe.reduce sum_square %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %1 = lathe.sqrt %0 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %2 = lathe.div %x, %1 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %3 = lathe.mul %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %4 = lathe.reduce mean %3 {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %5 = lathe.add %4, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %6 = lathe.sqrt %5 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %7 = lathe.div %x, %6 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %8 = lathe.div %0, %three : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %9 = lathe.add %8, %epsilon : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %10 = lathe.sqrt %9 : (tensor<?x1xf32>) -> tensor<?x1xf32>
  %11 = lathe.div %x, %10 : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  return %2, %7, %11 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}
