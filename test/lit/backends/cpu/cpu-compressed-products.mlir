// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(cpu-compressed-products))' | FileCheck %s

// Integers in groups along the inner dimension, in either orientation.
// CHECK-LABEL: func.func @groups
// CHECK: lathe.weight "w" in "m" at 0 {kernel.compressed = {bits = 4 : i64, codes = {file = "m", offset = 0 : i64, type = tensor<64x16xi4>}, dimension = 1 : i64, group = 32 : i64, packed = true, scale = {file = "m", offset = 1024 : i64, type = tensor<2x16xf16>}, transposed = false, type = tensor<64x16xf32>, values = 0 : i64}} : tensor<64x16xf32>
// CHECK: lathe.weight "v" in "m" at 2048 {kernel.compressed = {{.*}}group = 64 : i64{{.*}}transposed = true{{.*}}} : tensor<16x64xf32>
// CHECK-NOT: lathe.dequantize
func.func @groups(%x: tensor<?x64xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x16xi4>
  %s = lathe.weight "w.scales" in "m" at 1024 : tensor<2x16xf16>
  %w = lathe.dequantize %q, %s {axis = 0 : i64, block_size = 32 : i64} : (tensor<64x16xi4>, tensor<2x16xf16>) -> tensor<64x16xf32>
  %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %p = lathe.weight "v.codes" in "m" at 2048 : tensor<16x64xi8>
  %t = lathe.weight "v.scales" in "m" at 4096 : tensor<16xf32>
  %v = lathe.dequantize %p, %t {axis = 0 : i64} : (tensor<16x64xi8>, tensor<16xf32>) -> tensor<16x64xf32>
  %z = lathe.matmul %x, %v {transpose_rhs} : (tensor<?x64xf32>, tensor<16x64xf32>) -> tensor<?x16xf32>
  return %y, %z : tensor<?x16xf32>, tensor<?x16xf32>
}

// Tables, vectors of a codebook, powers of two; and lookups of rows.
// CHECK-LABEL: func.func @others
// CHECK: lathe.weight "t" {{.*}}table = {type = tensor<16xf32>, value = dense<{{.*}}> : tensor<16xf32>}{{.*}}values = 1 : i64
// CHECK: lathe.weight "c" {{.*}}dimension = 4 : i64{{.*}}values = 4 : i64
// CHECK: lathe.weight "l" {{.*}}bits = 3 : i64{{.*}}table = {type = tensor<8xf32>, value = dense<[0.000000e+00, 2.500000e-01, 5.000000e-01, 1.000000e+00, {{.*}}-1.000000e+00]> : tensor<8xf32>}
// CHECK-NOT: lathe.codebook_lookup
// CHECK: lathe.gather
func.func @others(%x: tensor<?x64xf32>, %i: tensor<?xi64>) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x64xf32>) {
  %tc = lathe.weight "t.codes" in "m" at 0 : tensor<64x16xui4>
  %table = lathe.constant dense<1.0> : tensor<16xf32>
  %ts = lathe.weight "t.scales" in "m" at 1024 : tensor<16xf16>
  %tv = lathe.codebook_lookup %tc, %table : (tensor<64x16xui4>, tensor<16xf32>) -> tensor<64x16xf32>
  %t = lathe.dequantize %tv, %ts {axis = 1 : i64} : (tensor<64x16xf32>, tensor<16xf16>) -> tensor<64x16xf32>
  %a = lathe.matmul %x, %t : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %cc = lathe.weight "c.codes" in "m" at 0 : tensor<16x16xui8>
  %book = lathe.weight "c.table" in "m" at 1024 : tensor<256x4xf32>
  %c = lathe.codebook_lookup %cc, %book {axis = 0 : i64} : (tensor<16x16xui8>, tensor<256x4xf32>) -> tensor<64x16xf32>
  %b = lathe.matmul %x, %c : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %lc = lathe.weight "l.codes" in "m" at 0 : tensor<100x64xui3>
  %ls = lathe.weight "l.scales" in "m" at 8192 : tensor<100xf32>
  %l = lathe.dequantize_log2 %lc, %ls {axis = 0 : i64} : (tensor<100x64xui3>, tensor<100xf32>) -> tensor<100x64xf32>
  %g = lathe.gather %l, %i {axis = 0 : i64} : (tensor<100x64xf32>, tensor<?xi64>) -> tensor<?x64xf32>
  return %a, %b, %g : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x64xf32>
}

// The left side is rounded by the product: a scale for each row, or one for all.
// CHECK-LABEL: func.func @rows
// CHECK: lathe.matmul %arg0, {{.*}}kernel.lhs_quantization = {mode = 1 : i64, scale = 1.000000e+00 : f64, zero = 0 : i64}
// CHECK: lathe.matmul %arg0, {{.*}}kernel.lhs_quantization = {mode = 2 : i64, scale = 5.000000e-01 : f64, zero = -28 : i64}
// CHECK-NOT: lathe.quantize
func.func @rows(%x: tensor<?x64xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
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
  %zero = lathe.constant dense<100> : tensor<ui8>
  %j = lathe.quantize %x, %one, %zero : (tensor<?x64xf32>, tensor<f32>, tensor<ui8>) -> tensor<?x64xui8>
  %u = lathe.dequantize %j, %one, %zero : (tensor<?x64xui8>, tensor<f32>, tensor<ui8>) -> tensor<?x64xf32>
  %z = lathe.matmul %u, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %y, %z : tensor<?x16xf32>, tensor<?x16xf32>
}

// Not fired: groups along the other axis, groups that no panel has, codes that the run computes, a scale that is no row's.
// CHECK-LABEL: func.func @stay
// CHECK-NOT: kernel.compressed
// CHECK-COUNT-3: lathe.dequantize
// CHECK-NOT: kernel.lhs_quantization
// CHECK: return
func.func @stay(%x: tensor<?x64xf32>, %codes: tensor<64x16xi8>) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x16xi8>
  %s = lathe.weight "w.scales" in "m" at 1024 : tensor<64x2xf32>
  %w = lathe.dequantize %q, %s {axis = 1 : i64, block_size = 8 : i64} : (tensor<64x16xi8>, tensor<64x2xf32>) -> tensor<64x16xf32>
  %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %t = lathe.weight "v.scales" in "m" at 1024 : tensor<22x16xf32>
  %v = lathe.dequantize %q, %t {axis = 0 : i64, block_size = 3 : i64} : (tensor<64x16xi8>, tensor<22x16xf32>) -> tensor<64x16xf32>
  %z = lathe.matmul %x, %v : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %u = lathe.weight "u.scales" in "m" at 1024 : tensor<16xf32>
  %c = lathe.dequantize %codes, %u {axis = 1 : i64} : (tensor<64x16xi8>, tensor<16xf32>) -> tensor<64x16xf32>
  %d = lathe.matmul %x, %c : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %y, %z, %d : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}

// Not fired on the processor: it has no products of 8-bit floats, so left sides are rounded before.
// CHECK-LABEL: func.func @floats
// CHECK: lathe.quantize
// CHECK: %[[ROUNDED:.*]] = lathe.dequantize
// CHECK: lathe.weight "w" {{.*}}kernel.compressed
// CHECK: lathe.matmul %[[ROUNDED]],
// CHECK-NOT: kernel.lhs_quantization
// CHECK: return
func.func @floats(%x: tensor<?x64xf32>) -> tensor<?x16xf32> {
  %q = lathe.weight "w.codes" in "m" at 0 : tensor<64x16xf8E4M3FN>
  %s = lathe.weight "w.scales" in "m" at 1024 : tensor<16xf16>
  %w = lathe.dequantize %q, %s {axis = 1 : i64} : (tensor<64x16xf8E4M3FN>, tensor<16xf16>) -> tensor<64x16xf32>
  %least = lathe.constant dense<1.0e-30> : tensor<f32>
  %steps = lathe.constant dense<448.0> : tensor<f32>
  %abs = lathe.abs %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %max = lathe.reduce max %abs {axes = array<i64: 1>, keep_dims} : (tensor<?x64xf32>) -> tensor<?x1xf32>
  %bound = lathe.max %max, %least : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %scale = lathe.div %bound, %steps : (tensor<?x1xf32>, tensor<f32>) -> tensor<?x1xf32>
  %i = lathe.quantize %x, %scale {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xf32>, tensor<?x1xf32>) -> tensor<?x64xf8E4M3FN>
  %r = lathe.dequantize %i, %scale {axis = 1 : i64, block_size = 64 : i64} : (tensor<?x64xf8E4M3FN>, tensor<?x1xf32>) -> tensor<?x64xf32>
  %y = lathe.matmul %r, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}
