// RUN: lathe-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(cpu-compressed-products))' | FileCheck %s
// RUN: lathe-opt %s --split-input-file --pass-pipeline='builtin.module(func.func(cpu-compressed-products),cpu-select-kernels)' | FileCheck %s --check-prefix=KERNELS

// A product writes what the next one reads: bytes, with a sign. Its own left side it rounds itself, as nothing else reads that.
// CHECK-LABEL: func.func @main
// CHECK: lathe.matmul %arg0, {{.*}}kernel.lhs_quantization = {mode = 2 : i64, scale = 2.500000e-01 : f64, zero = 0 : i64}
// CHECK: %[[G:.*]] = lathe.gelu
// CHECK: %[[Q:.*]] = lathe.quantize %[[G]]{{.*}}-> tensor<?x32xi8>
// CHECK: %[[D:.*]] = lathe.dequantize %[[Q]]
// CHECK: lathe.matmul %[[D]], {{.*}}kernel.lhs_quantization = {bytes, mode = 2 : i64, scale = 5.000000e-01 : f64, zero = -28 : i64}
// KERNELS: %[[M:.*]] = kernel.alloc[%{{.*}}] : memref<?x32xi8>
// KERNELS-NEXT: kernel.matmul %{{.*}} lhs(%{{.*}} : memref<?x64xf32>) bias({{.*}}) out(%[[M]] : memref<?x32xi8>)
// KERNELS-SAME: activation = 2 : i64
// KERNELS-SAME: lhs_scale = 2.500000e-01 : f64
// KERNELS-SAME: out_scale = 5.000000e-01 : f64, out_zero = -28 : i64
// KERNELS-NOT: kernel.launch
// KERNELS: kernel.matmul %{{.*}} lhs(%[[M]] : memref<?x32xi8>)
// KERNELS-SAME: lhs_quantization = 2 : i64, lhs_scale = 5.000000e-01 : f64, lhs_zero = -28 : i64
// KERNELS-NOT: kernel.launch
// KERNELS: return
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", ""]}) -> tensor<?x16xf32> {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x32xi8>
  %s = lathe.weight "w.scales" in "m" at 4096 : tensor<32xf32>
  %w = lathe.dequantize %q, %s {axis = 1 : i64} : (tensor<64x32xi8>, tensor<32xf32>) -> tensor<64x32xf32>
  %p = lathe.weight "v.codes" in "m" at 8192 : tensor<32x16xi8>
  %t = lathe.weight "v.scales" in "m" at 9216 : tensor<16xf32>
  %v = lathe.dequantize %p, %t {axis = 1 : i64} : (tensor<32x16xi8>, tensor<16xf32>) -> tensor<32x16xf32>
  %quarter = lathe.constant dense<0.25> : tensor<f32>
  %i = lathe.quantize %x, %quarter : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xi8>
  %r = lathe.dequantize %i, %quarter : (tensor<?x64xi8>, tensor<f32>) -> tensor<?x64xf32>
  %y = lathe.matmul %r, %w : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %bias = lathe.weight "b" in "m" at 12288 : tensor<32xf32>
  %a = lathe.add %y, %bias : (tensor<?x32xf32>, tensor<32xf32>) -> tensor<?x32xf32>
  %g = lathe.gelu %a : (tensor<?x32xf32>) -> tensor<?x32xf32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %zero = lathe.constant dense<100> : tensor<ui8>
  %j = lathe.quantize %g, %half, %zero : (tensor<?x32xf32>, tensor<f32>, tensor<ui8>) -> tensor<?x32xui8>
  %u = lathe.dequantize %j, %half, %zero : (tensor<?x32xui8>, tensor<f32>, tensor<ui8>) -> tensor<?x32xf32>
  %z = lathe.matmul %u, %v : (tensor<?x32xf32>, tensor<32x16xf32>) -> tensor<?x16xf32>
  return %z : tensor<?x16xf32>
}

// -----

// What several products read is rounded once, and by nobody twice; a reshape comes after the rounding.
// CHECK-LABEL: func.func @main
// CHECK: lathe.quantize
// CHECK-NOT: lathe.quantize %arg0
// CHECK-COUNT-2: lathe.matmul {{.*}}kernel.lhs_quantization = {bytes, mode = 2 : i64, scale = 2.500000e-01 : f64, zero = 0 : i64}
// CHECK: %[[Q:.*]] = lathe.quantize {{.*}} -> tensor<?x32xi8>
// CHECK: %[[R:.*]] = lathe.reshape %[[Q]]{{.*}}tensor<1x?x32xi8>
// CHECK: lathe.dequantize %[[R]]
// KERNELS: kernel.launch
// KERNELS: kernel.matmul %{{.*}} lhs(%[[X:.*]] : memref<?x64xi8>)
// KERNELS-SAME: lhs_quantization = 2
// KERNELS: kernel.matmul %{{.*}} lhs(%[[X]] : memref<?x64xi8>)
// KERNELS-SAME: lhs_again
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", ""]}) -> (tensor<?x32xf32>, tensor<1x?x16xf32>) {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x32xi8>
  %s = lathe.weight "w.scales" in "m" at 4096 : tensor<32xf32>
  %w = lathe.dequantize %q, %s {axis = 1 : i64} : (tensor<64x32xi8>, tensor<32xf32>) -> tensor<64x32xf32>
  %quarter = lathe.constant dense<0.25> : tensor<f32>
  %i = lathe.quantize %x, %quarter : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xi8>
  %r = lathe.dequantize %i, %quarter : (tensor<?x64xi8>, tensor<f32>) -> tensor<?x64xf32>
  %other = lathe.constant dense<0.25> : tensor<f32>
  %k = lathe.quantize %x, %other : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xi8>
  %l = lathe.dequantize %k, %other : (tensor<?x64xi8>, tensor<f32>) -> tensor<?x64xf32>
  %y = lathe.matmul %r, %w : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %z = lathe.matmul %l, %w : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  %n = lathe.symbol "n"
  %c1 = arith.constant 1 : index
  %c32 = arith.constant 32 : index
  %one = lathe.reshape %y [%c1, %n, %c32] : tensor<?x32xf32> -> tensor<1x?x32xf32>
  %j = lathe.quantize %one, %quarter : (tensor<1x?x32xf32>, tensor<f32>) -> tensor<1x?x32xi8>
  %u = lathe.dequantize %j, %quarter : (tensor<1x?x32xi8>, tensor<f32>) -> tensor<1x?x32xf32>
  %p = lathe.weight "v.codes" in "m" at 8192 : tensor<32x16xi8>
  %e = lathe.weight "v.scales" in "m" at 9216 : tensor<16xf32>
  %v = lathe.dequantize %p, %e {axis = 1 : i64} : (tensor<32x16xi8>, tensor<16xf32>) -> tensor<32x16xf32>
  %t = lathe.matmul %u, %v : (tensor<1x?x32xf32>, tensor<32x16xf32>) -> tensor<1x?x16xf32>
  return %z, %t : tensor<?x32xf32>, tensor<1x?x16xf32>
}

// -----

// Not fired: a result that something else reads, too; a rounding by what the run computes; to sixteen bits.
// CHECK-LABEL: func.func @main
// CHECK-NOT: bytes
// KERNELS-NOT: out(%{{.*}}xi8>)
// KERNELS: return
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", ""]}, %scale: tensor<f32>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xi16>) {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x64xi8>
  %s = lathe.weight "w.scales" in "m" at 4096 : tensor<64xf32>
  %w = lathe.dequantize %q, %s {axis = 1 : i64} : (tensor<64x64xi8>, tensor<64xf32>) -> tensor<64x64xf32>
  %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %quarter = lathe.constant dense<0.25> : tensor<f32>
  %i = lathe.quantize %y, %quarter : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xi8>
  %r = lathe.dequantize %i, %quarter : (tensor<?x64xi8>, tensor<f32>) -> tensor<?x64xf32>
  %z = lathe.matmul %r, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %j = lathe.quantize %z, %scale : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xi8>
  %u = lathe.dequantize %j, %scale : (tensor<?x64xi8>, tensor<f32>) -> tensor<?x64xf32>
  %t = lathe.matmul %u, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %v = lathe.matmul %t, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %k = lathe.quantize %v, %quarter : (tensor<?x64xf32>, tensor<f32>) -> tensor<?x64xi16>
  return %y, %u, %t, %k : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xi16>
}
