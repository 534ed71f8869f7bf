// RUN: split-file %s %t
// RUN: lathe-opt %t/select.mlir -split-input-file --cpu-select-kernels=device --canonicalize --cse | FileCheck %t/select.mlir
// RUN: lathe-opt %t/sparse.mlir "--pass-pipeline=builtin.module(func.func(cpu-compressed-products{device=true}))" | FileCheck %t/sparse.mlir

//--- select.mlir

// Nothing is packed for a device; products have their epilogues, attention is a call.
// CHECK: kernel.constants = [
// CHECK-SAME: name = "w", offset = 128 : i64, packed = false, transposed = false, type = tensor<4x4xf32>}
// CHECK-NOT: packed = true
// CHECK-LABEL: func.func @run
// CHECK: kernel.matmul {{.*}} bias({{.*}}) out({{.*}}) {activation = 2 : i64, kernel = 0 : i64, weight = {{[0-9]+}} : i64, weight_shape = array<i64: 4, 4>}
// CHECK: kernel.attention
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %b = lathe.weight "b" in "m" at 0 : tensor<4xf32>
  %w = lathe.weight "w" in "m" at 128 : tensor<4x4xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.add %0, %b : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %2 = lathe.gelu %1 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.attention %2, %2, %2 {scale = 0.5 : f64} : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %2, %3 : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// What a program for the processor has packed is shared, by products and by what looks up rows: of [100, 16], which are rows of 16 then.
// CHECK: kernel.constants = [{file = "m", name = "e", offset = 0 : i64, packed = true, transposed = true, type = tensor<100x16xf32>}]
// CHECK-LABEL: func.func @run
// CHECK: kernel.constant %{{.*}} 0 : memref<1x16x100xf32>
// CHECK: kernel.matmul {{.*}}weight = 0 : i64
module attributes {kernel.constants = [{file = "m", name = "e", offset = 0 : i64, packed = true, transposed = true, type = tensor<100x16xf32>}]} {
  func.func @main(%i: tensor<?xi64> {lathe.dims = ["n"]}) -> tensor<?x100xf32> {
    %e = lathe.weight "e" in "m" at 0 : tensor<100x16xf32>
    %x = lathe.gather %e, %i {axis = 0 : i64} : (tensor<100x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
    %y = lathe.matmul %x, %e {transpose_rhs} : (tensor<?x16xf32>, tensor<100x16xf32>) -> tensor<?x100xf32>
    return %y : tensor<?x100xf32>
  }
}

//--- sparse.mlir

// Does not fire: a device has no products with sparse matrices, which are made dense.
// CHECK-LABEL: func.func @sparse
// CHECK: lathe.sparse_to_dense
// CHECK-NOT: kernel.compressed
func.func @sparse(%x: tensor<?x64xf32>) -> tensor<?x16xf32> {
  %wv = lathe.weight "w.values" in "m" at 0 : tensor<40xf32>
  %wi = lathe.weight "w.indices" in "m" at 256 : tensor<40xui8>
  %wp = lathe.weight "w.pointers" in "m" at 512 : tensor<65xi32>
  %w = lathe.sparse_to_dense "csr" %wv, %wi, %wp {shape = array<i64: 64, 16>} : (tensor<40xf32>, tensor<40xui8>, tensor<65xi32>) -> tensor<64x16xf32>
  %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}
