// RUN: lathe-opt %s --fuse-gelu=explain --split-input-file | FileCheck %s

// CHECK-LABEL: func.func @erf
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>)
// CHECK-SAME: lathe.fusions = [{kind = "gelu", nodes = ["/Div", "/Erf", "/Add", "/Mul", "/Half"]}]
// CHECK-NEXT: %[[Y:.*]] = lathe.gelu %[[X]] :
// CHECK-NEXT: return %[[Y]]
func.func @erf(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %root = lathe.constant dense<1.41421354> : tensor<f32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %0 = lathe.div %x, %root : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32> loc("/Div")
  %1 = lathe.erf %0 : (tensor<?x4xf32>) -> tensor<?x4xf32> loc("/Erf")
  %2 = lathe.add %1, %one : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32> loc("/Add")
  %3 = lathe.mul %x, %2 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> loc("/Mul")
  %4 = lathe.mul %3, %half : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32> loc("/Half")
  return %4 : tensor<?x4xf32>
}

// -----

// The half comes first, operands are the other way round, constants have a shape.
// CHECK-LABEL: func.func @erf_half_first
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>)
// CHECK: %[[Y:.*]] = lathe.gelu %[[X]] :
// CHECK: return %[[Y]]
func.func @erf_half_first(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %root = lathe.constant dense<0.707106769> : tensor<1x4xf32>
  %half = lathe.constant dense<0.5> : tensor<4xf32>
  %0 = lathe.mul %root, %x : (tensor<1x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.erf %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.mul %half, %1 : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.add %half, %2 : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %4 = lathe.mul %3, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %4 : tensor<?x4xf32>
}

// -----

// x itself is computed, and is a product by a constant.
// CHECK-LABEL: func.func @scaled_input
// CHECK: %[[X:.*]] = lathe.mul
// CHECK: lathe.gelu %[[X]]
func.func @scaled_input(%a: tensor<4xf32>) -> tensor<4xf32> {
  %three = lathe.constant dense<3.0> : tensor<f32>
  %root = lathe.constant dense<0.707106769> : tensor<f32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %x = lathe.mul %a, %three : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %0 = lathe.mul %x, %root : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = lathe.erf %0 : (tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.add %1, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %3 = lathe.mul %x, %half : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %4 = lathe.mul %2, %3 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %4 : tensor<4xf32>
}

// -----

// CHECK-LABEL: func.func @tanh
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>)
// CHECK-NEXT: %[[Y:.*]] = lathe.gelu %[[X]] {approximation = #lathe.gelu_approximation<tanh>}
// CHECK-NEXT: return %[[Y]]
func.func @tanh(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %one = lathe.constant dense<1.0> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %three = lathe.constant dense<3.0> : tensor<f32>
  %c = lathe.constant dense<4.471500e-02> : tensor<f32>
  %r = lathe.constant dense<0.797884583> : tensor<f32>
  %0 = lathe.pow %x, %three : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %1 = lathe.mul %0, %c : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %2 = lathe.add %x, %1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.mul %2, %r : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %4 = lathe.tanh %3 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %5 = lathe.add %4, %one : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %6 = lathe.mul %x, %half : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %7 = lathe.mul %6, %5 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %7 : tensor<?x4xf32>
}

// -----

// x * 0.79788456 * (1 + 0.044715 * x * x)
// CHECK-LABEL: func.func @tanh_factored
// CHECK: lathe.gelu %{{.*}} {approximation = #lathe.gelu_approximation<tanh>}
// CHECK-NOT: lathe.tanh
func.func @tanh_factored(%x: tensor<4xf32>) -> tensor<4xf32> {
  %one = lathe.constant dense<1.0> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %c = lathe.constant dense<4.471500e-02> : tensor<f32>
  %r = lathe.constant dense<0.797884583> : tensor<f32>
  %0 = lathe.mul %c, %x : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  %1 = lathe.mul %0, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.add %1, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %3 = lathe.mul %x, %r : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %4 = lathe.mul %3, %2 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %5 = lathe.tanh %4 : (tensor<4xf32>) -> tensor<4xf32>
  %6 = lathe.add %one, %5 : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  %7 = lathe.mul %6, %half : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %8 = lathe.mul %7, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %8 : tensor<4xf32>
}

// -----

// A constant that is off.
// CHECK-LABEL: func.func @wrong_constant
// CHECK-SAME: advice = "correct the constants of the argument", at = "/Erf", failed = "expects erf(0.7071068 x), got erf(0.6666667 x)"
// CHECK-SAME: kind = "gelu", met = [], node = "/Erf"
// CHECK: lathe.erf
func.func @wrong_constant(%x: tensor<4xf32>) -> tensor<4xf32> {
  %root = lathe.constant dense<1.5> : tensor<f32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %0 = lathe.div %x, %root : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = lathe.erf %0 : (tensor<4xf32>) -> tensor<4xf32> loc("/Erf")
  %2 = lathe.add %1, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %3 = lathe.mul %x, %2 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = lathe.mul %3, %half : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  return %4 : tensor<4xf32>
}

// -----

// Another factor at the end, and a value that something else uses.
// CHECK-LABEL: func.func @near
// CHECK-SAME: failed = "expects 0.5 x + 0.5 x erf, got 0.25 x + 0.25 x erf"
// CHECK-SAME: at = "/Other", failed = "a value within the expression is used elsewhere, too"
// CHECK-COUNT-2: lathe.erf
func.func @near(%x: tensor<4xf32>, %y: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>, tensor<4xf32>) {
  %root = lathe.constant dense<0.707106769> : tensor<f32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %quarter = lathe.constant dense<0.25> : tensor<f32>
  %0 = lathe.mul %x, %root : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %1 = lathe.erf %0 : (tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.add %1, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %3 = lathe.mul %x, %2 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %4 = lathe.mul %3, %quarter : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %5 = lathe.mul %y, %root : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %6 = lathe.erf %5 : (tensor<4xf32>) -> tensor<4xf32>
  %7 = lathe.add %6, %one : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %8 = lathe.mul %y, %7 : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  %9 = lathe.mul %8, %half : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
  %10 = lathe.mul %6, %x : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32> loc("/Other")
  return %4, %9, %10 : tensor<4xf32>, tensor<4xf32>, tensor<4xf32>
}

// -----

// Nothing like it: no fusion, and nothing near.
// CHECK-LABEL: func.func @other
// CHECK-SAME: lathe.fusions = []
func.func @other(%x: tensor<4xf32>, %y: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %0 = lathe.erf %x : (tensor<4xf32>) -> tensor<4xf32>
  %1 = lathe.tanh %y : (tensor<4xf32>) -> tensor<4xf32>
  %2 = lathe.mul %1, %y : (tensor<4xf32>, tensor<4xf32>) -> tensor<4xf32>
  return %0, %2 : tensor<4xf32>, tensor<4xf32>
}
