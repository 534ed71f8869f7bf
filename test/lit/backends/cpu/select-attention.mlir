// RUN: split-file %s %t
// RUN: lathe-opt %t/main.mlir --cpu-select-kernels --canonicalize --cse | FileCheck %t/main.mlir
// RUN: lathe-opt %t/main.mlir --cpu-select-kernels --canonicalize --cse --plan-arena --kernel-to-llvm | FileCheck %t/main.mlir --check-prefix=LLVM
// RUN: lathe-opt %t/main.mlir --cpu-select-kernels=library=false --canonicalize --cse | FileCheck %t/main.mlir --check-prefix=OTHER
// RUN: lathe-opt %t/cache.mlir --cpu-select-kernels --canonicalize --cse | FileCheck %t/cache.mlir
// RUN: lathe-opt %t/codes.mlir --cpu-select-kernels --canonicalize --cse | FileCheck %t/codes.mlir
// RUN: lathe-opt %t/cache.mlir --cpu-select-kernels=library=false --canonicalize --cse | FileCheck %t/cache.mlir --check-prefix=OTHER
// RUN: lathe-opt %t/half.mlir --cpu-select-kernels | FileCheck %t/half.mlir

//--- main.mlir

// The heads of one merged projection are read where they lie, and the result is written as the next product reads it: one call, no
// generated kernel. The query's heads are 0 to 3, the key's and value's, two for four of the query, 4 and 5, and 6 and 7.
// CHECK: kernel.kernels = [{kind = "attention", name = "attention_0", nodes = []}]
// CHECK-LABEL: func.func @run
// CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C1:.*]] = arith.constant 1 : index
// CHECK-DAG: %[[C2:.*]] = arith.constant 2 : index
// CHECK-DAG: %[[C4:.*]] = arith.constant 4 : index
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : index
// CHECK-DAG: %[[C32:.*]] = arith.constant 32 : index
// CHECK-DAG: %[[C48:.*]] = arith.constant 48 : index
// CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
// CHECK-DAG: %[[B:.*]] = lathe.symbol "b"
// CHECK-DAG: %[[S:.*]] = lathe.symbol "s"
// CHECK: kernel.attention %[[FRAME]] sizes[%[[C1]], %[[B]], %[[C4]], %[[C2]], %[[S]], %[[S]], %[[C8]], %[[C8]]]
// CHECK-SAME: query(%[[X:[^ ]*]] : memref<?x?x64xf32>) [%[[C0]], %[[C0]], %[[XB:[^,]*]], %[[C8]], %[[C64]], %[[C1]]]
// CHECK-SAME: key(%[[X]] : memref<?x?x64xf32>) [%[[C32]], %[[C0]], %[[XB]], %[[C8]], %[[C64]], %[[C1]]]
// CHECK-SAME: value(%[[X]] : memref<?x?x64xf32>) [%[[C48]], %[[C0]], %[[XB]], %[[C8]], %[[C64]], %[[C1]]]
// CHECK-SAME: biases(%{{.*}} : memref<?x1x1x?xf32>) [%[[C0]], %[[C0]], %[[S]], %[[C0]], %[[C0]], %[[C1]]]
// CHECK-SAME: out(%{{.*}} : memref<?x?x4x8xf32>) [%[[C0]], %[[C0]], %[[YB:[^,]*]], %[[C8]], %[[C32]], %[[C1]]]
// CHECK-SAME: {kernel = 0 : i64, scale = 1.250000e-01 : f64, zero_nan}

// LLVM-LABEL: func.func @run
// LLVM-NOT: kernel.attention
// LLVM: llvm.getelementptr
// LLVM: llvm.call %{{.*}}(%{{.*}}, %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr) -> ()

// Where the library is not asked for it is what it stands for.
// OTHER-NOT: kernel.attention
// OTHER: kernel.launch
func.func @main(%x: tensor<?x?x64xf32> {lathe.name = "x", lathe.dims = ["b", "s", ""]},
    %m: tensor<?x1x1x?xf32> {lathe.name = "m", lathe.dims = ["b", "", "", "s"]}) -> (tensor<?x?x4x8xf32> {lathe.name = "y"}) {
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %c0 = arith.constant 0 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %c32 = arith.constant 32 : index
  %c48 = arith.constant 48 : index
  %c64 = arith.constant 64 : index
  %0 = lathe.slice %x from [%c0] to [%c32] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x?x64xf32> -> tensor<?x?x32xf32>
  %1 = lathe.slice %x from [%c32] to [%c48] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x?x64xf32> -> tensor<?x?x16xf32>
  %2 = lathe.slice %x from [%c48] to [%c64] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x?x64xf32> -> tensor<?x?x16xf32>
  %3 = lathe.reshape %0 [%b, %s, %c4, %c8] : tensor<?x?x32xf32> -> tensor<?x?x4x8xf32>
  %4 = lathe.reshape %1 [%b, %s, %c2, %c8] : tensor<?x?x16xf32> -> tensor<?x?x2x8xf32>
  %5 = lathe.reshape %2 [%b, %s, %c2, %c8] : tensor<?x?x16xf32> -> tensor<?x?x2x8xf32>
  %6 = lathe.transpose %3 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x4x8xf32>) -> tensor<?x4x?x8xf32>
  %7 = lathe.transpose %4 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x8xf32>) -> tensor<?x2x?x8xf32>
  %8 = lathe.transpose %5 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x8xf32>) -> tensor<?x2x?x8xf32>
  %9 = lathe.attention %6, %7, %8, %m {scale = 0.125 : f64, zero_nan}
    : (tensor<?x4x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x1x1x?xf32>) -> tensor<?x4x?x8xf32>
  %10 = lathe.transpose %9 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x4x?x8xf32>) -> tensor<?x?x4x8xf32>
  return %10 : tensor<?x?x4x8xf32>
}

//--- cache.mlir

// New rows are put into the cache, and attention reads them there: nothing is copied out.
// CHECK-LABEL: func.func @run
// CHECK: kernel.cache_append %{{.*}} 0 sizes
// CHECK-NOT: kernel.cache_read
// CHECK: kernel.attention
// CHECK-SAME: positions(%{{.*}} : memref<?x?xi64>)
// CHECK-SAME: arithmetic = bf16
// CHECK-SAME: key_cache = 0 : i64
// CHECK-SAME: value_cache = 0 : i64, window = 7 : i64

// Otherwise the cache is read as a whole.
// OTHER-LABEL: func.func @run
// OTHER: kernel.cache_append %{{.*}} 0 sizes
// OTHER: kernel.cache_read %{{.*}} 0 out
// OTHER-NOT: kernel.attention
func.func @main(%q: tensor<?x4x?x8xf32> {lathe.name = "q", lathe.dims = ["b", "", "s", ""]}, %p: tensor<?x?xi64> {lathe.name = "p", lathe.dims = ["b", "s"]},
    %n: tensor<?xi64> {lathe.name = "n", lathe.dims = ["t"]}) -> (tensor<?x4x?x8xf32> {lathe.name = "y"}) {
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %t = lathe.symbol "t"
  %k = lathe.cache "key.0" %q : tensor<?x4x?x8xf32> [%b, %c4, %t, %c8] : tensor<?x4x?x8xf32>
  %0 = lathe.attention %q, %k, %k positions(%p) {arithmetic = bf16, window = 7 : i64} : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x?xi64>) -> tensor<?x4x?x8xf32>
  return %0 : tensor<?x4x?x8xf32>
}

//--- codes.mlir

// What a cache rounds to is told to the runtime; attention reads it as any other.
// CHECK: kernel.caches = [{appended = true, group = 32 : i64, heads = 4 : i64, name = "key.0", rotated = true, size = 8 : i64, type = ui4}]
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.cache_read
// CHECK: kernel.attention
// CHECK-SAME: key_cache = 0 : i64
func.func @main(%q: tensor<?x4x?x8xf32> {lathe.name = "q", lathe.dims = ["b", "", "s", ""]}, %p: tensor<?x?xi64> {lathe.name = "p", lathe.dims = ["b", "s"]},
    %n: tensor<?xi64> {lathe.name = "n", lathe.dims = ["t"]}) -> (tensor<?x4x?x8xf32> {lathe.name = "y"}) {
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %t = lathe.symbol "t"
  %k = lathe.cache "key.0" %q : tensor<?x4x?x8xf32> [%b, %c4, %t, %c8] {codes = ui4, group_size = 32 : i64, rotated} : tensor<?x4x?x8xf32>
  %0 = lathe.attention %q, %k, %k positions(%p) : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x?xi64>) -> tensor<?x4x?x8xf32>
  return %0 : tensor<?x4x?x8xf32>
}

//--- half.mlir

// The library has f32 alone.
// CHECK-NOT: kernel.attention
// CHECK: kernel.launch
func.func @main(%q: tensor<2x3x8xf16> {lathe.name = "q"}) -> (tensor<2x3x8xf16> {lathe.name = "y"}) {
  %0 = lathe.attention %q, %q, %q : (tensor<2x3x8xf16>, tensor<2x3x8xf16>, tensor<2x3x8xf16>) -> tensor<2x3x8xf16>
  return %0 : tensor<2x3x8xf16>
}
