// RUN: lathe-opt %s -split-input-file --cpu-select-kernels=device | FileCheck %s
// RUN: lathe-opt %s -split-input-file --cpu-select-kernels | FileCheck %s --check-prefix=CPU

// A norm of rows says what it is, and where its buffers are among the arguments. The processor has no use for that.
// CHECK: kernel.kernels = [{computes = {arguments = array<i64: 0, 72, -1, 112>, columns = 8 : i64, epsilon = 9.9999999999999995E-7 : f64, operation = "rms_norm"}
// CPU-NOT: computes
func.func @main(%x: tensor<?x?x8xf32> {lathe.dims = ["batch", "n", "8"]}) -> tensor<?x?x8xf32> {
  %w = lathe.weight "w" in "m" at 0 : tensor<8xf32>
  %y = lathe.rms_norm %x, %w {axis = 2 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x?x8xf32>, tensor<8xf32>) -> tensor<?x?x8xf32>
  return %y : tensor<?x?x8xf32>
}

// -----

// CHECK: arguments = array<i64: 0, 56, 96, 136>, columns = 8 : i64, epsilon = 1.000000e-05 : f64, operation = "layer_norm"
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["n", "8"]}) -> tensor<?x8xf32> {
  %w = lathe.weight "w" in "m" at 0 : tensor<8xf32>
  %b = lathe.weight "b" in "m" at 64 : tensor<8xf32>
  %y = lathe.layer_norm %x, %w, %b {axis = 1 : i64, epsilon = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %y : tensor<?x8xf32>
}

// -----

// One whose result is rounded in the same kernel says to what; f16 within its bounds.
// CHECK: kernel.kernels = [{computes = {arguments = array<i64: 0, 56, -1, 96>, columns = 8 : i64, epsilon = 9.9999999999999995E-7 : f64, operation = "rms_norm", type = bf16}
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["n", "8"]}) -> tensor<?x8xbf16> {
  %w = lathe.weight "w" in "m" at 0 : tensor<8xf32>
  %y = lathe.rms_norm %x, %w {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %z = lathe.cast %y : (tensor<?x8xf32>) -> tensor<?x8xbf16>
  return %z : tensor<?x8xbf16>
}

// -----

// CHECK: operation = "rms_norm", type = f16}
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["n", "8"]}) -> tensor<?x8xf16> {
  %w = lathe.weight "w" in "m" at 0 : tensor<8xf32>
  %least = lathe.constant dense<-6.550400e+04> : tensor<f32>
  %most = lathe.constant dense<6.550400e+04> : tensor<f32>
  %y = lathe.rms_norm %x, %w {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %a = lathe.max %y, %least : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %b = lathe.min %a, %most : (tensor<?x8xf32>, tensor<f32>) -> tensor<?x8xf32>
  %z = lathe.cast %b : (tensor<?x8xf32>) -> tensor<?x8xf16>
  return %z : tensor<?x8xf16>
}

// -----

// Does not fire: f16 beyond whose bounds infinities are.
// CHECK-NOT: computes
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["n", "8"]}) -> tensor<?x8xf16> {
  %w = lathe.weight "w" in "m" at 0 : tensor<8xf32>
  %y = lathe.rms_norm %x, %w {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %z = lathe.cast %y : (tensor<?x8xf32>) -> tensor<?x8xf16>
  return %z : tensor<?x8xf16>
}

// -----

// Does not fire: over two axes, or with more in the kernel than the norm.
// CHECK-NOT: computes
func.func @main(%x: tensor<?x4x8xf32> {lathe.dims = ["n", "4", "8"]}) -> (tensor<?x4x8xf32>, tensor<?x4x8xf32>) {
  %w = lathe.weight "w" in "m" at 0 : tensor<4x8xf32>
  %v = lathe.weight "v" in "m" at 128 : tensor<8xf32>
  %y = lathe.rms_norm %x, %w {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x4x8xf32>, tensor<4x8xf32>) -> tensor<?x4x8xf32>
  %z = lathe.rms_norm %x, %v {axis = 2 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x4x8xf32>, tensor<8xf32>) -> tensor<?x4x8xf32>
  %t = lathe.tanh %z : (tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
  return %y, %t : tensor<?x4x8xf32>, tensor<?x4x8xf32>
}

// -----

// A rotation of the halves of rows, of heads that lie within rows.
// CHECK: computes = {arguments = array<i64: 0, 88, 176, 264>, columns = 8 : i64, operation = "rotate_half", order = array<i64: 0, 2, 1, 3>}
func.func @main(%x: tensor<?x?x2x8xf32> {lathe.dims = ["b", "n", "2", "8"]}, %cos: tensor<?x1x?x8xf32> {lathe.dims = ["b", "1", "n", "8"]},
                %sin: tensor<?x1x?x8xf32> {lathe.dims = ["b", "1", "n", "8"]}) -> tensor<?x2x?x8xf32> {
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %t = lathe.transpose %x {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x8xf32>) -> tensor<?x2x?x8xf32>
  %a = lathe.mul %t, %cos : (tensor<?x2x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %l = lathe.slice %t from [%c0] to [%c4] {axes = array<i64: 3>, steps = array<i64: 1>} : tensor<?x2x?x8xf32> -> tensor<?x2x?x4xf32>
  %h = lathe.slice %t from [%c4] to [%c8] {axes = array<i64: 3>, steps = array<i64: 1>} : tensor<?x2x?x8xf32> -> tensor<?x2x?x4xf32>
  %m = lathe.neg %h : (tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %c = lathe.concat %m, %l {axis = 3 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  %s = lathe.mul %c, %sin : (tensor<?x2x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %y = lathe.add %a, %s : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}

// -----

// Does not fire: the halves are the other way around.
// CHECK-NOT: computes
func.func @main(%x: tensor<?x2x?x8xf32> {lathe.dims = ["b", "2", "n", "8"]}, %cos: tensor<?x1x?x8xf32> {lathe.dims = ["b", "1", "n", "8"]},
                %sin: tensor<?x1x?x8xf32> {lathe.dims = ["b", "1", "n", "8"]}) -> tensor<?x2x?x8xf32> {
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %a = lathe.mul %x, %cos : (tensor<?x2x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %l = lathe.slice %x from [%c0] to [%c4] {axes = array<i64: 3>, steps = array<i64: 1>} : tensor<?x2x?x8xf32> -> tensor<?x2x?x4xf32>
  %h = lathe.slice %x from [%c4] to [%c8] {axes = array<i64: 3>, steps = array<i64: 1>} : tensor<?x2x?x8xf32> -> tensor<?x2x?x4xf32>
  %m = lathe.neg %l : (tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %c = lathe.concat %m, %h {axis = 3 : i64} : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x8xf32>
  %s = lathe.mul %c, %sin : (tensor<?x2x?x8xf32>, tensor<?x1x?x8xf32>) -> tensor<?x2x?x8xf32>
  %y = lathe.add %a, %s : (tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>) -> tensor<?x2x?x8xf32>
  return %y : tensor<?x2x?x8xf32>
}
