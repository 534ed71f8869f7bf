// RUN: lathe-opt %s --split-input-file --cpu-select-kernels | FileCheck %s

#w = {bits = 8 : i64, codes = {file = "m", offset = 0 : i64, type = tensor<64x16xi8>}, dimension = 1 : i64, group = 64 : i64, packed = true,
  scale = {file = "m", offset = 1024 : i64, type = tensor<16xf32>}, transposed = false, type = tensor<64x16xf32>, values = 0 : i64}
#rows = {mode = 1 : i64, scale = 1.0 : f64, zero = 0 : i64}

// What nothing but products that round by rows reads is nowhere stored as numbers: its kernel writes bytes, scales and sums of rows. The
// bytes are written by the loop that adds them up.
// CHECK-LABEL: func.func {{.*}}@run
// CHECK-DAG: %[[Q:.*]] = kernel.alloc[%{{.*}}] : memref<?x64xi8>
// CHECK-DAG: %[[S:.*]] = kernel.alloc[%{{.*}}] : memref<?x1xf32>
// CHECK-DAG: %[[U:.*]] = kernel.alloc[%{{.*}}] : memref<?x1xi32>
// CHECK-NOT: memref<?x64xf32>{{$}}
// CHECK: kernel.launch %{{.*}} @kernel_0(%{{.*}}, %[[Q]], %[[S]], %[[U]]) count
// CHECK: kernel.matmul %{{.*}} lhs(%[[Q]] : memref<?x64xi8>) scales(%[[S]] : memref<?x1xf32>) sums(%[[U]] : memref<?x1xi32>)
// CHECK-SAME: lhs_quantization = 1
// CHECK: kernel.matmul %{{.*}} lhs(%[[Q]] : memref<?x64xi8>) scales(%[[S]] : memref<?x1xf32>) sums(%[[U]] : memref<?x1xi32>)
// CHECK-SAME: lhs_again
// CHECK: func.func private @kernel_0
// CHECK: %[[BYTES:.*]] = kernel.arg {{.*}} : memref<?x64xi8>
// CHECK: %[[SCALES:.*]] = kernel.arg {{.*}} : memref<?x1xf32>
// CHECK: %[[SUMS:.*]] = kernel.arg {{.*}} : memref<?x1xi32>
// CHECK: arith.maxnumf
// CHECK: memref.store %{{.*}}, %[[SCALES]]
// CHECK: %[[SUM:.*]] = scf.for {{.*}} -> (i32)
// CHECK: memref.store %{{.*}}, %[[BYTES]]
// CHECK-NEXT: scf.yield
// CHECK: memref.store %[[SUM]], %[[SUMS]]
// CHECK-NOT: memref.store
// CHECK: return
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", ""]}, %g: tensor<64xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>) {
  %w = lathe.weight "w" in "m" at 0 {kernel.compressed = #w} : tensor<64x16xf32>
  %y = lathe.rms_norm %x, %g {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %a = lathe.matmul %y, %w {kernel.lhs_quantization = #rows} : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  %b = lathe.matmul %y, %w {kernel.lhs_quantization = #rows} : (tensor<?x64xf32>, tensor<64x16xf32>) -> tensor<?x16xf32>
  return %a, %b : tensor<?x16xf32>, tensor<?x16xf32>
}

// -----

#w = {bits = 4 : i64, codes = {file = "m", offset = 0 : i64, type = tensor<64x64xi4>}, dimension = 1 : i64, group = 32 : i64, packed = true,
  scale = {file = "m", offset = 4096 : i64, type = tensor<2x64xf32>}, transposed = false, type = tensor<64x64xf32>, values = 0 : i64}
#rows = {mode = 1 : i64, scale = 1.0 : f64, zero = 0 : i64}

// What a residual reads, too, is stored once, by the loop that looks for the largest, and read there by the one that rounds. Products with
// several groups of inputs take no sums.
// CHECK-LABEL: func.func {{.*}}@run
// CHECK-DAG: %[[Y:.*]] = kernel.alloc[%{{.*}}] : memref<?x64xf32>
// CHECK-DAG: %[[Q:.*]] = kernel.alloc[%{{.*}}] : memref<?x64xi8>
// CHECK-DAG: %[[S:.*]] = kernel.alloc[%{{.*}}] : memref<?x1xf32>
// CHECK: kernel.launch %{{.*}} @kernel_0(%{{.*}}, %[[Q]], %[[S]], %[[Y]]) count
// CHECK: kernel.matmul %{{.*}} lhs(%[[Q]] : memref<?x64xi8>) scales(%[[S]] : memref<?x1xf32>) residual(%[[Y]] : memref<?x64xf32>)
// CHECK: func.func private @kernel_0
// CHECK: %[[BYTES:.*]] = kernel.arg {{.*}} : memref<?x64xi8>
// CHECK: %[[SCALES:.*]] = kernel.arg {{.*}} : memref<?x1xf32>
// CHECK: %[[NUMBERS:.*]] = kernel.arg %{{.*}} : memref<?x64xf32>
// CHECK: arith.maxnumf
// CHECK: memref.store %{{.*}}, %[[NUMBERS]]
// CHECK-NEXT: scf.yield
// CHECK: memref.store %{{.*}}, %[[SCALES]]
// CHECK: memref.load %[[NUMBERS]]
// CHECK: memref.store %{{.*}}, %[[BYTES]]
// CHECK-NOT: memref.store
// CHECK: return
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", ""]}, %g: tensor<64xf32>) -> tensor<?x64xf32> {
  %w = lathe.weight "w" in "m" at 0 {kernel.compressed = #w} : tensor<64x64xf32>
  %y = lathe.layer_norm %x, %g {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %a = lathe.matmul %y, %w {kernel.lhs_quantization = #rows} : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %b = lathe.add %a, %y : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<?x64xf32>
  return %b : tensor<?x64xf32>
}

// -----

#w = {bits = 8 : i64, codes = {file = "m", offset = 0 : i64, type = tensor<64x64xi8>}, dimension = 1 : i64, group = 64 : i64, packed = true,
  scale = {file = "m", offset = 4096 : i64, type = tensor<64xf32>}, transposed = false, type = tensor<64x64xf32>, values = 0 : i64}
#rows = {mode = 1 : i64, scale = 1.0 : f64, zero = 0 : i64}

// Functions that cost more than to read what they give are computed once.
// CHECK-LABEL: func.func {{.*}}@run
// CHECK: kernel.launch %{{.*}} @kernel_0(%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}) count {{.*}} : memref<?x64xf32>, memref<?x64xi8>, memref<?x1xf32>, memref<?x1xi32>, memref<?x64xf32>
// CHECK: func.func private @kernel_0
// CHECK-COUNT-1: math.sin
// CHECK-NOT: math.sin
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", ""]}) -> tensor<?x64xf32> {
  %w = lathe.weight "w" in "m" at 0 {kernel.compressed = #w} : tensor<64x64xf32>
  %y = lathe.sin %x : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %a = lathe.matmul %y, %w {kernel.lhs_quantization = #rows} : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %a : tensor<?x64xf32>
}

// -----

#w = {bits = 8 : i64, codes = {file = "m", offset = 0 : i64, type = tensor<64x64xi8>}, dimension = 1 : i64, group = 64 : i64, packed = true,
  scale = {file = "m", offset = 4096 : i64, type = tensor<64xf32>}, transposed = false, type = tensor<64x64xf32>, values = 0 : i64}
#rows = {mode = 1 : i64, scale = 1.0 : f64, zero = 0 : i64}
#static = {mode = 2 : i64, scale = 0.5 : f64, zero = 0 : i64}

// Not fired: an input of the model, what a product computes, one scale for all rows, a product of floats.
// CHECK-LABEL: func.func {{.*}}@run
// CHECK-NOT: xi8>
// CHECK-COUNT-4: kernel.matmul %{{.*}} lhs(%{{.*}} : memref<?x64xf32>)
// CHECK-NOT: xi8>
// CHECK: return
func.func @main(%x: tensor<?x64xf32> {lathe.dims = ["n", ""]}, %g: tensor<64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) {
  %w = lathe.weight "w" in "m" at 0 {kernel.compressed = #w} : tensor<64x64xf32>
  %a = lathe.matmul %x, %w {kernel.lhs_quantization = #rows} : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %b = lathe.gelu %a : (tensor<?x64xf32>) -> tensor<?x64xf32>
  %c = lathe.matmul %b, %w {kernel.lhs_quantization = #rows} : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %y = lathe.rms_norm %c, %g {axis = 1 : i64, epsilon = 1.0e-6 : f64} : (tensor<?x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %d = lathe.matmul %y, %w {kernel.lhs_quantization = #static} : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %e = lathe.matmul %y, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %d, %e : tensor<?x64xf32>, tensor<?x64xf32>
}
