// RUN: lathe-opt %s | lathe-opt | FileCheck %s

// Every operation of the dialect, printed and parsed again.

// CHECK: kernel.checks = [{message = "an index is out of bounds", node = "/gather"}]
// CHECK-SAME: kernel.constants = [{file = "model.safetensors",
// CHECK-SAME: kernel.inputs = [{name = "x", shape = ["batch", 4], type = f32}]
// CHECK-SAME: kernel.kernels = [{kind = "generated", name = "add", nodes = ["/a", "/b"]}]
// CHECK-SAME: kernel.outputs = [{name = "y", shape = ["batch", 4], type = f32}]
// CHECK-SAME: kernel.symbols = [{max = -1 : i64, min = 1 : i64, name = "batch"}]
module attributes {
  kernel.symbols = [{name = "batch", min = 1 : i64, max = -1 : i64}],
  kernel.constants = [
    {name = "w", type = tensor<8x4xf32>, packed = true, transposed = false, file = "model.safetensors", offset = 0 : i64},
    {name = "b", type = tensor<4xf32>, packed = false, transposed = false, value = dense<1.0> : tensor<4xf32>}],
  kernel.kernels = [{name = "add", kind = "generated", nodes = ["/a", "/b"]}],
  kernel.checks = [{node = "/gather", message = "an index is out of bounds"}],
  kernel.inputs = [{name = "x", type = f32, shape = ["batch", 4]}],
  kernel.outputs = [{name = "y", type = f32, shape = ["batch", 4]}]
} {
  // CHECK-LABEL: func.func @buffers
  func.func @buffers(%frame: !llvm.ptr, %n: index) {
    // CHECK: %[[X:.*]] = kernel.input %{{.*}} 0[%{{.*}}] : memref<?x4xf32>
    %x = kernel.input %frame 0 [%n] : memref<?x4xf32>
    // CHECK: kernel.input %{{.*}} 1[] : memref<i64>
    %scalar = kernel.input %frame 1 [] : memref<i64>
    // CHECK: kernel.output %{{.*}} 0[%{{.*}}] : memref<?x4xf16>
    %y = kernel.output %frame 0 [%n] : memref<?x4xf16>
    // CHECK: kernel.constant %{{.*}} 1 : memref<4xi8>
    %w = kernel.constant %frame 1 : memref<4xi8>
    // CHECK: kernel.alloc[%{{.*}}, %{{.*}}] : memref<?x4x?xf64>
    %a = kernel.alloc [%n, %n] : memref<?x4x?xf64>
    // CHECK: kernel.arena %{{.*}} at %{{.*}}[%{{.*}}] : memref<?x4xf32>
    %t = kernel.arena %frame at %n [%n] : memref<?x4xf32>
    // CHECK: kernel.dynamic_alloc %{{.*}} 2[%{{.*}}] : memref<?x4xf32>
    %d = kernel.dynamic_alloc %frame 2 [%n] : memref<?x4xf32>
    // CHECK: kernel.dynamic_output %{{.*}} 1[%{{.*}}] : memref<?xi64>
    %o = kernel.dynamic_output %frame 1 [%n] : memref<?xi64>
    // CHECK: kernel.define %{{.*}} "count[0]" = %{{.*}}
    kernel.define %frame "count[0]" = %n
    // CHECK: %[[OK:.*]] = arith.cmpi
    %ok = arith.cmpi slt, %n, %n : index
    // CHECK: kernel.require %{{.*}}, %[[OK]] {check = 0 : i64}
    kernel.require %frame, %ok {check = 0 : i64}
    // CHECK: kernel.view %[[X]][%{{.*}}] : memref<?x4xf32> -> memref<?xf32>
    %v = kernel.view %x [%n] : memref<?x4xf32> -> memref<?xf32>
    return
  }

  // CHECK-LABEL: func.func @matmul
  func.func @matmul(%frame: !llvm.ptr, %a: memref<?x8xf32>, %b: memref<2x8x4xf32>, %bias: memref<4xf32>, %y: memref<?x4xf32>,
                    %z: memref<2x?x4xf32>, %c: memref<2x4x8xf32>, %t: memref<?x2x4xf32>) {
    // CHECK: kernel.matmul %{{.*}} lhs(%{{.*}} : memref<?x8xf32>) out(%{{.*}} : memref<?x4xf32>)
    // CHECK-SAME: {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
    kernel.matmul %frame lhs(%a : memref<?x8xf32>) out(%y : memref<?x4xf32>)
      {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
    // CHECK: kernel.matmul %{{.*}} lhs(%{{.*}} : memref<?x8xf32>) rhs(%{{.*}} : memref<2x8x4xf32>) bias(%{{.*}} : memref<4xf32>) out(%{{.*}} : memref<2x?x4xf32>)
    // CHECK-SAME: {activation = 6 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>}
    kernel.matmul %frame lhs(%a : memref<?x8xf32>) rhs(%b : memref<2x8x4xf32>) bias(%bias : memref<4xf32>)
      out(%z : memref<2x?x4xf32>) {activation = 6 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>}
    // CHECK: kernel.matmul
    // CHECK-SAME: alpha = 5.000000e-01 : f64
    // CHECK-SAME: out_axes = array<i64: 1, 0, 2>, rhs_axes = array<i64: 0, 2, 1>
    kernel.matmul %frame lhs(%a : memref<?x8xf32>) rhs(%c : memref<2x4x8xf32>) out(%t : memref<?x2x4xf32>)
      {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>, alpha = 0.5 : f64,
       rhs_axes = array<i64: 0, 2, 1>, out_axes = array<i64: 1, 0, 2>}
    return
  }

  // CHECK-LABEL: func.func @row
  func.func @row(%x: memref<?x?xf32>, %i: index, %n: index) {
    // CHECK: kernel.row %{{.*}} at %{{.*}}[%{{.*}}] : memref<?x?xf32> -> memref<?xf32>
    %0 = kernel.row %x at %i [%n] : memref<?x?xf32> -> memref<?xf32>
    return
  }

  // CHECK-LABEL: func.func @launch
  func.func @launch(%frame: !llvm.ptr, %x: memref<?xf32>, %n: index) {
    // CHECK: kernel.launch %{{.*}} @add(%{{.*}}, %{{.*}}) count %{{.*}} grain %{{.*}} {kernel = 0 : i64} : memref<?xf32>, index
    kernel.launch %frame @add(%x, %n) count %n grain %n {kernel = 0 : i64} : memref<?xf32>, index
    return
  }

  // CHECK-LABEL: func.func private @add
  func.func private @add(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
    // CHECK: kernel.arg %{{.*}} at 0 : memref<?xf32>
    %x = kernel.arg %args at 0 : memref<?xf32>
    // CHECK: kernel.arg %{{.*}} at 40 : index
    %n = kernel.arg %args at 40 : index
    %ok = arith.cmpi slt, %end, %n : index
    // CHECK: kernel.check %{{.*}}, %{{.*}} {check = 0 : i64}
    kernel.check %frame, %ok {check = 0 : i64}
    return
  }
}
