// RUN: not lathe-opt %s -split-input-file --cuda-to-nvvm 2>%t.err | FileCheck %s
// RUN: FileCheck %s --check-prefix=NONE --input-file=%t.err

// CHECK: llvm.mlir.global external @lathe_shared() {addr_space = 3 : i32, alignment = 16 : i64} : !llvm.array<0 x i8>
// CHECK-LABEL: func.func private @kernel
// CHECK: %[[T:.*]] = nvvm.read.ptx.sreg.tid.x : i32
// CHECK: arith.index_castui %[[T]] : i32 to index
// CHECK: nvvm.read.ptx.sreg.ntid.x
// CHECK: nvvm.read.ptx.sreg.ctaid.x
// CHECK: nvvm.read.ptx.sreg.nctaid.x
// CHECK: %[[BASE:.*]] = llvm.mlir.addressof @lathe_shared : !llvm.ptr<3>
// CHECK: memref.view %{{.*}}[%{{.*}}][] : memref<?xi8, 3> to memref<32xi32, 3>
// CHECK: nvvm.barrier0
// CHECK: %[[ALL:.*]] = llvm.mlir.constant(-1 : i32)
// CHECK: %[[CLAMP:.*]] = llvm.mlir.constant(31 : i32)
// CHECK: nvvm.shfl.sync  bfly %[[ALL]], %{{.*}}, %{{.*}}, %[[CLAMP]] : i32 -> i32
func.func private @kernel(%value: i32) -> i32 {
  %c0 = arith.constant 0 : index
  %t = gpu.thread_id x
  %n = gpu.block_dim x
  %b = gpu.block_id x
  %g = gpu.grid_dim x
  %all = gpu.dynamic_shared_memory : memref<?xi8, #gpu.address_space<workgroup>>
  %place = memref.view %all[%c0][] : memref<?xi8, #gpu.address_space<workgroup>> to memref<32xi32, #gpu.address_space<workgroup>>
  memref.store %value, %place[%t] : memref<32xi32, #gpu.address_space<workgroup>>
  gpu.barrier
  %c16 = arith.constant 16 : i32
  %c32 = arith.constant 32 : i32
  %r, %valid = gpu.shuffle xor %value, %c16, %c32 : i32
  return %r : i32
}

// -----

// NONE: error: 'gpu.shuffle' op has no lowering to NVVM
func.func private @idx(%value: i32) -> i32 {
  %c16 = arith.constant 16 : i32
  %c32 = arith.constant 32 : i32
  %r, %valid = gpu.shuffle idx %value, %c16, %c32 : i32
  return %r : i32
}
