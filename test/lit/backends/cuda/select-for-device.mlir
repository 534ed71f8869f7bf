// RUN: split-file %s %t
// RUN: lathe-opt %t/select.mlir -split-input-file --cpu-select-kernels=device --canonicalize --cse | FileCheck %t/select.mlir
// RUN: lathe-opt %t/sparse.mlir "--pass-pipeline=builtin.module(func.func(cpu-compressed-products{device=true}),cpu-select-kernels{device=true})" | FileCheck %t/sparse.mlir
// RUN: lathe-opt %t/rounded.mlir "--pass-pipeline=builtin.module(func.func(cpu-compressed-products{device=true}),cpu-select-kernels{device=true})" | FileCheck %t/rounded.mlir
// RUN: lathe-opt %t/floats.mlir "--pass-pipeline=builtin.module(func.func(cpu-compressed-products{device=true}),cpu-select-kernels{device=true})" | FileCheck %t/floats.mlir
// RUN: lathe-opt %t/codes.mlir "--pass-pipeline=builtin.module(func.func(cpu-compressed-products{device=true arithmetic=f16}),cpu-select-kernels{device=true})" | FileCheck %t/codes.mlir
// RUN: lathe-opt %t/codes.mlir "--pass-pipeline=builtin.module(func.func(cpu-compressed-products{device=true arithmetic=auto}),cpu-select-kernels{device=true})" | FileCheck %t/codes.mlir --check-prefix=NONE
// RUN: lathe-opt %t/narrow.mlir -split-input-file "--pass-pipeline=builtin.module(func.func(narrow-operands),cpu-select-kernels{device=true})" | FileCheck %t/narrow.mlir

// RUN: lathe-opt %t/many.mlir --cpu-select-kernels=device | FileCheck %t/many.mlir
// RUN: lathe-opt %t/many.mlir --cpu-select-kernels | FileCheck %t/many.mlir --check-prefix=HOST

//--- select.mlir

// Nothing is packed for a device; products have their epilogues, attention is a call.
// CHECK: kernel.constants = [
// CHECK-SAME: name = "w", offset = 128 : i64, packed = false, transposed = false, type = tensor<4x4xf32>}
// CHECK-NOT: packed = true
// CHECK-LABEL: func.func @run
// CHECK: kernel.matmul {{.*}} bias({{.*}}) out({{.*}}) {activation = 2 : i64, kernel = 0 : i64, weight = {{[0-9]+}} : i64, weight_shape = array<i64: 4, 4>}
// CHECK: kernel.attention
func.func @main(%x: tensor<?x4x4xf32> {lathe.dims = ["batch", "4", "4"]}) -> (tensor<?x4x4xf32>, tensor<?x4x4xf32>) {
  %b = lathe.weight "b" in "m" at 0 : tensor<4xf32>
  %w = lathe.weight "w" in "m" at 128 : tensor<4x4xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x4x4xf32>, tensor<4x4xf32>) -> tensor<?x4x4xf32>
  %1 = lathe.add %0, %b : (tensor<?x4x4xf32>, tensor<4xf32>) -> tensor<?x4x4xf32>
  %2 = lathe.gelu %1 : (tensor<?x4x4xf32>) -> tensor<?x4x4xf32>
  %3 = lathe.attention %2, %2, %2 {scale = 0.5 : f64} : (tensor<?x4x4xf32>, tensor<?x4x4xf32>, tensor<?x4x4xf32>) -> tensor<?x4x4xf32>
  return %2, %3 : tensor<?x4x4xf32>, tensor<?x4x4xf32>
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

// A matrix that is stored without its zeros is a weight of the device, too, which reads it dense.
// CHECK: kernel.constants = [{{.*}}name = "w"{{.*}}sparse = "csr"
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.device_launch
// CHECK: kernel.matmul {{.*}}weight = 0 : i64, weight_shape = array<i64: 64, 16>
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", "64"]}) -> tensor<?x16xf32> {
  %wv = lathe.weight "w.values" in "m" at 0 : tensor<40xf32>
  %wi = lathe.weight "w.indices" in "m" at 256 : tensor<40xui8>
  %wp = lathe.weight "w.pointers" in "m" at 512 : tensor<65xi32>
  %w = lathe.sparse_to_dense "csr" %wv, %wi, %wp {shape = array<i64: 64, 16>} : (tensor<40xf32>, tensor<40xui8>, tensor<65xi32>) -> tensor<64x16xf32>
  %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}

//--- rounded.mlir

// Products round left sides of integers, once for all that read them; none reads bytes. Of weights of 16 bits the left side is shared likewise.
// CHECK-LABEL: func.func @run
// CHECK-NOT: memref<?x64xi8>
// CHECK: kernel.matmul {{.*}}lhs_quantization = 1 : i64
// CHECK: kernel.matmul {{.*}}lhs_again{{.*}}lhs_quantization = 2 : i64
// CHECK: kernel.matmul
// CHECK-NOT: lhs_again
// CHECK: kernel.matmul {{.*}}lhs_again
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", "64"]}, %v: tensor<?x64xf32> {lathe.dims = ["n", "64"]})
    -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x16xi8>
  %s = lathe.weight "w.scales" in "m" at 1024 : tensor<16xf16>
  %w = lathe.dequantize %q, %s {axis = 1 : i64} : (tensor<64x16xi8>, tensor<16xf16>) -> tensor<64x16xf32>
  %least = lathe.constant dense<1.0e-30> : tensor<f32>
  %steps = lathe.constant dense<127.0> : tensor<f32>
  %abs = lathe.abs %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %max = lathe.reduce max %abs {axes = array<i64: 1>, keep_dims} : (tensor<?x64xf32>) -> tensor<?x1xf32>
  %bound = lathe.max %max, %least : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %scale = lathe.div %bound, %steps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %i = lathe.quantize %x, %scale {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xi8>
  %r = lathe.dequantize %i, %scale {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xi8>, tensor<?x1xf32>) -> tensor<?x64xf32>
  %y = lathe.matmul %r, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %one = lathe.constant dense<0.5> : tensor<f32>
  %j = lathe.quantize %x, %one : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xi8>
  %u = lathe.dequantize %j, %one : (tensor<?x64xi8>, tensor<f32>) -> tensor<?x64xf32>
  %z = lathe.matmul %u, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %d = lathe.weight "d" in "m" at 2048 : tensor<64x16xf32>
  %h = lathe.cast %d : (tensor<64x16xf32>) -> tensor<64x16xbf16>
  %e = lathe.cast %h : (tensor<64x16xbf16>) -> tensor<64x16xf32>
  %f = lathe.cast %h : (tensor<64x16xbf16>) -> tensor<64x16xf32>
  %a = lathe.matmul %v, %e : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %b = lathe.matmul %v, %f : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %y, %z, %a, %b : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}

//--- floats.mlir

// Left sides that are rounded to 8-bit floats by rows are products' with weights of such. Not fired: with integers, and from other scales.
// CHECK-LABEL: func.func @run
// CHECK: kernel.matmul {{.*}}lhs_quantization = 3 : i64
// CHECK: kernel.matmul {{.*}}lhs_again{{.*}}lhs_quantization = 3 : i64
// CHECK: kernel.launch
// CHECK: kernel.matmul
// CHECK-NOT: lhs_quantization
// CHECK: return
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", "64"]}) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x16xf8E4M3FN>
  %s = lathe.weight "w.scales" in "m" at 1024 : tensor<16xf16>
  %w = lathe.dequantize %q, %s {axis = 1 : i64} : (tensor<64x16xf8E4M3FN>, tensor<16xf16>) -> tensor<64x16xf32>
  %p = lathe.weight "v.codes" in "m" at 2048 : tensor<64x16xf8E5M2>
  %v = lathe.dequantize %p, %s {axis = 1 : i64} : (tensor<64x16xf8E5M2>, tensor<16xf16>) -> tensor<64x16xf32>
  %k = lathe.weight "u.codes" in "m" at 4096 : tensor<64x16xi8>
  %u = lathe.dequantize %k, %s {axis = 1 : i64} : (tensor<64x16xi8>, tensor<16xf16>) -> tensor<64x16xf32>
  %least = lathe.constant dense<1.0e-30> : tensor<f32>
  %steps = lathe.constant dense<448.0> : tensor<f32>
  %abs = lathe.abs %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %max = lathe.reduce max %abs {axes = array<i64: 1>, keep_dims} : (tensor<?x64xf32>) -> tensor<?x1xf32>
  %bound = lathe.max %max, %least : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %scale = lathe.div %bound, %steps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %i = lathe.quantize %x, %scale {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf8E4M3FN>
  %r = lathe.dequantize %i, %scale {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>) -> tensor<?x64xf32>
  %a = lathe.matmul %r, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %b = lathe.matmul %r, %v : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %c = lathe.matmul %r, %u : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %half = lathe.constant dense<240.0> : tensor<f32>
  %own = lathe.div %bound, %half : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %j = lathe.quantize %x, %own {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf8E4M3FN>
  %t = lathe.dequantize %j, %own {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>) -> tensor<?x64xf32>
  %d = lathe.matmul %t, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %a, %b, %c, %d : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}

//--- codes.mlir

// What products by codes may round numbers to. Not fired: where the left side is rounded to integers, and by numbers.
// CHECK-LABEL: func.func @run
// CHECK: kernel.matmul {{.*}}arithmetic = f16
// CHECK: kernel.matmul {{.*}}arithmetic = f16{{.*}}lhs_again
// CHECK: kernel.matmul
// CHECK-NOT: arithmetic
// CHECK: return
// NONE-LABEL: func.func @run
// NONE-NOT: arithmetic =
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", "64"]}) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x16xi4>
  %s = lathe.weight "w.scales" in "m" at 512 : tensor<2x16xf16>
  %w = lathe.dequantize %q, %s {axis = 0 : i64, block_size = 32 : i64} : (tensor<64x16xi4>, tensor<2x16xf16>) -> tensor<64x16xf32>
  %p = lathe.weight "v.codes" in "m" at 1024 : tensor<64x16xi8>
  %v = lathe.dequantize %p, %s {axis = 0 : i64, block_size = 32 : i64} : (tensor<64x16xi8>, tensor<2x16xf16>) -> tensor<64x16xf32>
  %u = lathe.weight "u" in "m" at 4096 : tensor<64x16xf32>
  %a = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %b = lathe.matmul %x, %v : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %c = lathe.matmul %x, %u : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %a, %b, %c : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}

//--- narrow.mlir

// A kernel writes 16 bits, which a product reads; it writes 16 bits for the next one, whose result is f32.
// CHECK-LABEL: func.func @run
// CHECK: kernel.alloc{{.*}} : memref<?x8xf16>
// CHECK: kernel.launch
// CHECK: kernel.matmul {{.*}}lhs({{.*}} : memref<?x8xf16>) out({{.*}} : memref<?x4xf16>) {activation = 1 : i64
// CHECK: kernel.matmul {{.*}}lhs({{.*}} : memref<?x4xf16>) out({{.*}} : memref<?x8xf32>)
// CHECK-NOT: kernel.launch
// CHECK: return
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["n", "8"]}) -> tensor<?x8xf32> {
  %v = lathe.weight "v" in "m" at 0 : tensor<8x4xf16>
  %w = lathe.weight "w" in "m" at 1024 : tensor<4x8xf16>
  %a = lathe.cast %v : (tensor<8x4xf16>) -> tensor<8x4xf32>
  %b = lathe.cast %w : (tensor<4x8xf16>) -> tensor<4x8xf32>
  %0 = lathe.tanh %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = lathe.matmul %0, %a : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.relu %1 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.matmul %2, %b : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  return %3 : tensor<?x8xf32>
}

// -----

// What something else reads in f32, too, is written in f32; the product rounds.
// CHECK-LABEL: func.func @run
// CHECK-NOT: bf16>
// CHECK: return
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["n", "8"]}) -> (tensor<?x4xf32>, tensor<?x8xf32>) {
  %v = lathe.weight "v" in "m" at 0 : tensor<8x4xbf16>
  %a = lathe.cast %v : (tensor<8x4xbf16>) -> tensor<8x4xf32>
  %0 = lathe.tanh %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %1 = lathe.matmul %0, %a : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  return %1, %0 : tensor<?x4xf32>, tensor<?x8xf32>
}

//--- many.mlir

// A kernel of a device has room for so many arguments: what reads more tensors is several kernels there.
// CHECK-LABEL: func.func @run
// CHECK-COUNT-2: kernel.launch
// CHECK-NOT: kernel.launch
// CHECK: return
// HOST-LABEL: func.func @run
// HOST-COUNT-1: kernel.launch
// HOST-NOT: kernel.launch
// HOST: return
func.func @main(%x0: tensor<1x1x2x3xf32>, %x1: tensor<1x1x2x3xf32>, %x2: tensor<1x1x2x3xf32>, %x3: tensor<1x1x2x3xf32>, %x4: tensor<1x1x2x3xf32>, %x5: tensor<1x1x2x3xf32>, %x6: tensor<1x1x2x3xf32>, %x7: tensor<1x1x2x3xf32>, %x8: tensor<1x1x2x3xf32>, %x9: tensor<1x1x2x3xf32>, %x10: tensor<1x1x2x3xf32>, %x11: tensor<1x1x2x3xf32>, %x12: tensor<1x1x2x3xf32>, %x13: tensor<1x1x2x3xf32>, %x14: tensor<1x1x2x3xf32>, %x15: tensor<1x1x2x3xf32>, %x16: tensor<1x1x2x3xf32>, %x17: tensor<1x1x2x3xf32>, %x18: tensor<1x1x2x3xf32>, %x19: tensor<1x1x2x3xf32>, %x20: tensor<1x1x2x3xf32>, %x21: tensor<1x1x2x3xf32>, %x22: tensor<1x1x2x3xf32>, %x23: tensor<1x1x2x3xf32>, %x24: tensor<1x1x2x3xf32>, %x25: tensor<1x1x2x3xf32>, %x26: tensor<1x1x2x3xf32>, %x27: tensor<1x1x2x3xf32>, %x28: tensor<1x1x2x3xf32>, %x29: tensor<1x1x2x3xf32>, %x30: tensor<1x1x2x3xf32>, %x31: tensor<1x1x2x3xf32>, %x32: tensor<1x1x2x3xf32>, %x33: tensor<1x1x2x3xf32>, %x34: tensor<1x1x2x3xf32>, %x35: tensor<1x1x2x3xf32>, %x36: tensor<1x1x2x3xf32>, %x37: tensor<1x1x2x3xf32>, %x38: tensor<1x1x2x3xf32>, %x39: tensor<1x1x2x3xf32>) -> tensor<1x40x2x3xf32> {
  %0 = lathe.concat %x0, %x1, %x2, %x3, %x4, %x5, %x6, %x7, %x8, %x9, %x10, %x11, %x12, %x13, %x14, %x15, %x16, %x17, %x18, %x19, %x20, %x21, %x22, %x23, %x24, %x25, %x26, %x27, %x28, %x29, %x30, %x31, %x32, %x33, %x34, %x35, %x36, %x37, %x38, %x39 {axis = 1 : i64} : (tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>, tensor<1x1x2x3xf32>) -> tensor<1x40x2x3xf32>
  return %0 : tensor<1x40x2x3xf32>
}
