// RUN: lathe-opt %s --pass-pipeline='builtin.module(func.func(cpu-compressed-products))' | FileCheck %s

// Matrices with zeros, in either orientation: of floats, of 16-bit floats that are widened, of integers with scales.
// CHECK-LABEL: func.func @formats
// CHECK: lathe.weight "w" in "m" at 0 {kernel.compressed = {group = 0 : i64, indices = {file = "m", offset = 256 : i64, type = tensor<40xui8>}, packed = true, pointers = {file = "m", offset = 512 : i64, type = tensor<65xi32>}, sparse = "csr", stored = {file = "m", offset = 0 : i64, type = tensor<40xf32>}, transposed = false, type = tensor<64x16xf32>}} : tensor<64x16xf32>
// CHECK: lathe.weight "v" {{.*}}block = array<i64: 4, 16>{{.*}}sparse = "bsr"{{.*}}tensor<3x4x16xf16>{{.*}}transposed = true
// CHECK: lathe.weight "u" {{.*}}axis = 1 : i64, group = 32 : i64{{.*}}m = 4 : i64{{.*}}scale = {{.*}}sparse = "n_of_m"
// CHECK-NOT: lathe.sparse_to_dense
func.func @formats(%x: tensor<?x64xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %wv = lathe.weight "w.values" in "m" at 0 : tensor<40xf32>
  %wi = lathe.weight "w.indices" in "m" at 256 : tensor<40xui8>
  %wp = lathe.weight "w.pointers" in "m" at 512 : tensor<65xi32>
  %w = lathe.sparse_to_dense "csr" %wv, %wi, %wp {shape = array<i64: 64, 16>} : (tensor<40xf32>, tensor<40xui8>, tensor<65xi32>) -> tensor<64x16xf32>
  %y = lathe.matmul %x, %w : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %vv = lathe.weight "v.values" in "m" at 1024 : tensor<3x4x16xf16>
  %vi = lathe.weight "v.indices" in "m" at 2048 : tensor<3xui8>
  %vp = lathe.weight "v.pointers" in "m" at 2064 : tensor<5xi32>
  %vh = lathe.sparse_to_dense "bsr" %vv, %vi, %vp {shape = array<i64: 16, 64>, block = array<i64: 4, 16>} : (tensor<3x4x16xf16>, tensor<3xui8>, tensor<5xi32>) -> tensor<16x64xf16>
  %v = lathe.cast %vh : (tensor<16x64xf16>) -> tensor<16x64xf32>
  %z = lathe.matmul %x, %v {transpose_rhs} : (tensor<?x64xf32>, tensor<16x64xf32>) -> tensor<?x16xf32>
  %uv = lathe.weight "u.codes.values" in "m" at 4096 : tensor<16x32xi8>
  %ui = lathe.weight "u.codes.indices" in "m" at 5120 : tensor<16x32xui8>
  %us = lathe.weight "u.scales" in "m" at 6144 : tensor<16x2xf16>
  %uc = lathe.sparse_to_dense "n_of_m" %uv, %ui {shape = array<i64: 16, 64>, m = 4 : i64, axis = 1 : i64} : (tensor<16x32xi8>, tensor<16x32xui8>) -> tensor<16x64xi8>
  %u = lathe.dequantize %uc, %us {axis = 1 : i64, block_size = 32 : i64} : (tensor<16x64xi8>, tensor<16x2xf16>) -> tensor<16x64xf32>
  %t = lathe.matmul %x, %u {transpose_rhs} : (tensor<?x64xf32>, tensor<16x64xf32>) -> tensor<?x16xf32>
  return %y, %z, %t : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}

// Not fired: what the run computes, zero points, groups that no list has, lookups of rows.
// CHECK-LABEL: func.func @stay
// CHECK-NOT: kernel.compressed
// CHECK-COUNT-4: lathe.sparse_to_dense
// CHECK-NOT: kernel.compressed
// CHECK: return
func.func @stay(%x: tensor<?x64xf32>, %given: tensor<40xf32>, %rows: tensor<?xi64>) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  %v = lathe.weight "w.values" in "m" at 0 : tensor<40xi8>
  %f = lathe.weight "w.floats" in "m" at 0 : tensor<40xf32>
  %i = lathe.weight "w.indices" in "m" at 256 : tensor<40xui8>
  %p = lathe.weight "w.pointers" in "m" at 512 : tensor<65xi32>
  %a = lathe.sparse_to_dense "csr" %given, %i, %p {shape = array<i64: 64, 16>} : (tensor<40xf32>, tensor<40xui8>, tensor<65xi32>) -> tensor<64x16xf32>
  %y = lathe.matmul %x, %a : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %c = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 64, 16>} : (tensor<40xi8>, tensor<40xui8>, tensor<65xi32>) -> tensor<64x16xi8>
  %s = lathe.weight "w.scales" in "m" at 1024 : tensor<16xf32>
  %o = lathe.weight "w.zeros" in "m" at 2048 : tensor<16xi8>
  %b = lathe.dequantize %c, %s, %o {axis = 1 : i64} : (tensor<64x16xi8>, tensor<16xf32>, tensor<16xi8>) -> tensor<64x16xf32>
  %z = lathe.matmul %x, %b : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %d = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 64, 16>} : (tensor<40xi8>, tensor<40xui8>, tensor<65xi32>) -> tensor<64x16xi8>
  %g = lathe.weight "w.groups" in "m" at 1024 : tensor<6x16xf32>
  %e = lathe.dequantize %d, %g {axis = 0 : i64, block_size = 12 : i64} : (tensor<64x16xi8>, tensor<6x16xf32>) -> tensor<64x16xf32>
  %t = lathe.matmul %x, %e : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %h = lathe.sparse_to_dense "csr" %f, %i, %p {shape = array<i64: 64, 16>} : (tensor<40xf32>, tensor<40xui8>, tensor<65xi32>) -> tensor<64x16xf32>
  %l = lathe.gather %h, %rows {axis = 0 : i64} : (tensor<64x16xf32>, tensor<?xi64>) -> tensor<?x16xf32>
  return %y, %z, %t, %l : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}
