// RUN: lathe-opt %s --kernel-to-llvm --canonicalize --cse | FileCheck %s

// A launch on a device: 56 bytes of lathe_launch_call, then the arguments; lathe_runtime_table::launch is at 72, and read at 80.
module attributes {kernel.symbols = [{name = "rows", min = 1 : i64, max = -1 : i64}]} {
  // CHECK-LABEL: func.func private @kernel
  // CHECK: scf.if
  // CHECK:   llvm.cmpxchg %{{.*}}, %[[NONE:.*]], %[[NUMBER:.*]] monotonic monotonic : !llvm.ptr, i64
  func.func private @kernel(%failures: !llvm.ptr, %args: !llvm.ptr, %count: index) {
    %n = kernel.arg %args at 0 : index
    %good = arith.cmpi ult, %n, %count : index
    kernel.check %failures, %good {check = 6 : i64}
    return
  }
  // CHECK-LABEL: func.func @run
  // CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr)
  // CHECK-DAG: %[[SIZE:.*]] = llvm.mlir.constant(120 : i64)
  // CHECK-DAG: %[[KERNEL:.*]] = llvm.mlir.constant(5 : i64)
  // CHECK-DAG: %[[SHARED:.*]] = llvm.mlir.constant(256 : i64)
  // CHECK-DAG: %[[BYTES:.*]] = llvm.mlir.constant(64 : i64)
  // CHECK: %[[CALL:.*]] = llvm.alloca %[[SIZE]] x i8
  // CHECK: %[[ARGS:.*]] = llvm.getelementptr %[[CALL]][56]
  // CHECK: llvm.store %{{.*}}, %[[ARGS]] : !llvm.struct
  // CHECK: llvm.store %[[KERNEL]], %[[CALL]]
  // CHECK: llvm.store %[[BYTES]], %{{.*}} : i64, !llvm.ptr
  // CHECK: llvm.store %[[SHARED]], %{{.*}}
  // CHECK: %[[TABLE:.*]] = llvm.load %[[FRAME]]
  // CHECK: %[[LAUNCH_AT:.*]] = llvm.getelementptr %[[TABLE]][72]
  // CHECK: %[[LAUNCH:.*]] = llvm.load %[[LAUNCH_AT]]
  // CHECK: llvm.call %[[LAUNCH]](%[[FRAME]], %[[CALL]]) : !llvm.ptr, (!llvm.ptr, !llvm.ptr) -> ()
  // CHECK: %[[READ_AT:.*]] = llvm.getelementptr %{{.*}}[80]
  // CHECK: %[[READ:.*]] = llvm.load %[[READ_AT]]
  // CHECK: %[[COPY:.*]] = llvm.call %[[READ]](%[[FRAME]], %{{.*}}, %{{.*}}) : !llvm.ptr, (!llvm.ptr, !llvm.ptr, i64) -> !llvm.ptr
  // CHECK: llvm.icmp "ne" %[[COPY]]
  // CHECK: llvm.cond_br
  // CHECK: llvm.load %[[COPY]] : !llvm.ptr -> i32
  func.func @run(%frame: !llvm.ptr) {
    %c0 = arith.constant 0 : index
    %n = lathe.symbol "rows"
    %x = kernel.input %frame 2 [%n] : memref<?x4xf32>
    %y = kernel.input %frame 1 [] : memref<1xi32>
    kernel.device_launch %frame "main_kernel_5"(%x, %n) count %n grid %n block %n {kernel = 5 : i64, shared = 256 : i64} : memref<?x4xf32>, index
    %0 = kernel.read %frame %y[%c0] : memref<1xi32>
    %1 = arith.index_cast %0 : i32 to index
    kernel.define %frame "rows" = %1
    return
  }
}
