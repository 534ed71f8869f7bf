// RUN: lathe-opt %s -split-input-file --cuda-thread-loops --canonicalize --cse | FileCheck %s

module attributes {kernel.kernels = []} {
// Rows of unknown length: one for a block. The sum of a thread's columns goes through the warp, then through shared memory, and the next row waits.
// CHECK-LABEL: func.func private @norm
// CHECK-SAME: (%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %[[COUNT:.*]]: index) attributes {nvvm.maxntid = array<i32: 512>}
// CHECK-DAG: %[[NONE:.*]] = arith.constant -0.000000e+00 : f32
// CHECK-DAG: %[[C32:.*]] = arith.constant 32 : index
// CHECK-DAG: %[[T:.*]] = gpu.thread_id  x
// CHECK-DAG: %[[THREADS:.*]] = gpu.block_dim  x
// CHECK-DAG: %[[B:.*]] = gpu.block_id  x
// CHECK-DAG: %[[BLOCKS:.*]] = gpu.grid_dim  x
// CHECK: scf.for %[[I:.*]] = %[[B]] to %[[COUNT]] step %[[BLOCKS]] {
// CHECK:   %[[PART:.*]] = scf.for %[[J:.*]] = %[[T]] to %[[N:.*]] step %[[THREADS]] iter_args(%[[S:.*]] = %[[NONE]]) -> (f32) {
// CHECK:     memref.load %{{.*}}[%[[I]], %[[J]]]
// CHECK:     arith.addf
// CHECK:   }
// CHECK:   %[[BITS:.*]] = arith.bitcast %[[PART]] : f32 to i32
// CHECK:   gpu.shuffle  xor %[[BITS]]
// CHECK-COUNT-4: gpu.shuffle  xor
// CHECK:   %[[MORE:.*]] = arith.cmpi ugt, %[[THREADS]], %[[C32]]
// CHECK:   scf.if %[[MORE]]
// CHECK:     memref.store %{{.*}}, %[[PLACE:.*]][%{{.*}}] : memref<32xi32, #gpu.address_space<workgroup>>
// CHECK:     gpu.barrier
// CHECK:     memref.load %[[PLACE]]
// CHECK-COUNT-5: gpu.shuffle  xor
// CHECK:   scf.for %[[K:.*]] = %[[T]] to %[[N]] step %[[THREADS]] {
// CHECK:     memref.store %{{.*}}, %{{.*}}[%[[I]], %[[K]]]
// CHECK:   }
// CHECK:   gpu.barrier
// CHECK-NEXT: }
func.func private @norm(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %x = kernel.arg %args at 0 : memref<?x?xf32>
  %y = kernel.arg %args at 56 : memref<?x?xf32>
  %n = memref.dim %y, %c1 : memref<?x?xf32>
  scf.for %i = %begin to %end step %c1 {
    %sum = scf.for %j = %c0 to %n step %c1 iter_args(%state = %zero) -> (f32) {
      %0 = memref.load %x[%i, %j] : memref<?x?xf32>
      %1 = arith.addf %state, %0 fastmath<reassoc> : f32
      scf.yield %1 : f32
    }
    scf.for %j = %c0 to %n step %c1 {
      %0 = memref.load %x[%i, %j] : memref<?x?xf32>
      %1 = arith.divf %0, %sum : f32
      memref.store %1, %y[%i, %j] : memref<?x?xf32>
    }
  }
  return
}

// As many threads as the row's columns make whole warps, of which a block has at most 16, and three slots of 32 words would be 768 bytes.
// CHECK-LABEL: func.func @run
// CHECK: %[[DIM:.*]] = memref.dim %{{.*}}
// CHECK: %[[LONGEST:.*]] = arith.maxsi %[[DIM]], %{{.*}}
// CHECK: %[[THREADS:.*]] = arith.minsi %{{.*}}, %c512
// CHECK: %[[BLOCKS:.*]] = arith.minsi %{{.*}}, %c65536
// CHECK: %[[GRID:.*]] = arith.maxsi %[[BLOCKS]], %c1
// CHECK: kernel.device_launch %{{.*}} "norm"(%{{.*}}, %{{.*}}) count %{{.*}} grid %[[GRID]] block %[[THREADS]] {kernel = 0 : i64, shared = 256 : i64}
// CHECK: kernel.read %{{.*}} %{{.*}}[%{{.*}}] : memref<1xi64>
func.func @run(%frame: !llvm.ptr) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %m = lathe.symbol "m"
  %n = lathe.symbol "n"
  %x = kernel.input %frame 0 [%m, %n] : memref<?x?xf32>
  %y = kernel.output %frame 0 [%m, %n] : memref<?x?xf32>
  %z = kernel.input %frame 1 [] : memref<1xi64>
  kernel.launch %frame @norm(%x, %y) count %m grain %c1 {kernel = 0 : i64} : memref<?x?xf32>, memref<?x?xf32>
  %0 = memref.load %z[%c0] : memref<1xi64>
  %1 = arith.index_cast %0 : i64 to index
  kernel.define %frame "z[0]" = %1
  return
}
}

// -----

// Rows that one loop of three columns writes: a thread for each element. The indices of a row follow from its number.
// CHECK-LABEL: func.func private @short
// CHECK-SAME: nvvm.maxntid = array<i32: 128>
// CHECK: %[[ALL:.*]] = arith.muli %{{.*}}, %c3
// CHECK: scf.for %[[E:.*]] = %{{.*}} to %[[ALL]]
// CHECK:   %[[J:.*]] = arith.remui %[[E]], %c3
// CHECK:   %[[R:.*]] = arith.divui %[[E]], %c3
// CHECK:   %[[I:.*]] = arith.remui %[[R]], %c4
// CHECK:   %[[O:.*]] = arith.divui %[[R]], %c4
// CHECK:   memref.load %{{.*}}[%[[O]], %[[I]], %[[J]]]
// CHECK:   memref.store %{{.*}}, %{{.*}}[%[[O]], %[[I]], %[[J]]]
// CHECK-NOT: scf.for
// CHECK: return
func.func private @short(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %x = kernel.arg %args at 0 : memref<?x4x3xf32>
  %y = kernel.arg %args at 72 : memref<?x4x3xf32>
  %i0 = arith.remui %begin, %c4 : index
  %o0 = arith.divui %begin, %c4 : index
  %r:2 = scf.for %row = %begin to %end step %c1 iter_args(%i = %i0, %o = %o0) -> (index, index) {
    scf.for %j = %c0 to %c3 step %c1 {
      %0 = memref.load %x[%o, %i, %j] : memref<?x4x3xf32>
      memref.store %0, %y[%o, %i, %j] : memref<?x4x3xf32>
    }
    %next = arith.addi %i, %c1 : index
    %over = arith.cmpi eq, %next, %c4 : index
    %ni = arith.select %over, %c0, %next : index
    %carry = arith.select %over, %c1, %c0 : index
    %no = arith.addi %o, %carry : index
    scf.yield %ni, %no : index, index
  }
  return
}

// -----

// What a loop keeps in the result's row the same threads read again, though the loops' ends are told by different buffers.
// CHECK-LABEL: func.func private @kept
// CHECK: %[[T:.*]] = gpu.thread_id  x
// CHECK: scf.for %{{.*}} = %[[T]] to %{{.*}} step %[[THREADS:.*]] iter_args
// CHECK:   memref.store
// CHECK: gpu.shuffle
// CHECK: scf.for %{{.*}} = %[[T]] to %{{.*}} step %[[THREADS]] {
func.func private @kept(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant 0.0 : f32
  %x = kernel.arg %args at 0 : memref<?x?xf32>
  %y = kernel.arg %args at 56 : memref<?x?xf32>
  %m = memref.dim %x, %c1 : memref<?x?xf32>
  %n = memref.dim %y, %c1 : memref<?x?xf32>
  scf.for %i = %begin to %end step %c1 {
    %sum = scf.for %j = %c0 to %m step %c1 iter_args(%state = %zero) -> (f32) {
      %0 = memref.load %x[%i, %j] : memref<?x?xf32>
      %1 = math.exp %0 : f32
      %2 = arith.addf %state, %1 fastmath<reassoc> : f32
      memref.store %1, %y[%i, %j] : memref<?x?xf32>
      scf.yield %2 : f32
    }
    scf.for %j = %c0 to %n step %c1 {
      %0 = memref.load %y[%i, %j] : memref<?x?xf32>
      %1 = arith.divf %0, %sum : f32
      memref.store %1, %y[%i, %j] : memref<?x?xf32>
    }
  }
  return
}

// -----

// A result that is one number stands in no loop: the first thread writes it. The states of nested loops go through both.
// CHECK-LABEL: func.func private @total
// CHECK: %[[T:.*]] = gpu.thread_id  x
// CHECK: %[[PART:.*]] = scf.for %{{.*}} = %[[T]] to
// CHECK:   scf.for
// CHECK:     arith.maxsi
// CHECK: gpu.shuffle
// CHECK: %[[FIRST:.*]] = arith.cmpi eq, %[[T]], %c0
// CHECK: scf.if %[[FIRST]] {
// CHECK-NEXT: memref.store
func.func private @total(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %least = arith.constant -2147483648 : i32
  %x = kernel.arg %args at 0 : memref<?x?xi32>
  %y = kernel.arg %args at 56 : memref<i32>
  %m = memref.dim %x, %c0 : memref<?x?xi32>
  %n = memref.dim %x, %c1 : memref<?x?xi32>
  scf.for %row = %begin to %end step %c1 {
    %best = scf.for %i = %c0 to %m step %c1 iter_args(%outer = %least) -> (i32) {
      %inner = scf.for %j = %c0 to %n step %c1 iter_args(%state = %outer) -> (i32) {
        %0 = memref.load %x[%i, %j] : memref<?x?xi32>
        %1 = arith.maxsi %state, %0 : i32
        scf.yield %1 : i32
      }
      scf.yield %inner : i32
    }
    memref.store %best, %y[] : memref<i32>
  }
  return
}

// -----

// Does not fire: what a loop reads of its row another thread would have written, so that a thread has the row.
// CHECK-LABEL: func.func private @scan
// CHECK: %[[FIRST:.*]] = arith.addi
// CHECK: %[[STEP:.*]] = arith.muli
// CHECK: scf.for %{{.*}} = %[[FIRST]] to %{{.*}} step %[[STEP]] {
// CHECK:   scf.for %{{.*}} = %c1 to %{{.*}} step %c1 {
func.func private @scan(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %y = kernel.arg %args at 0 : memref<?x?xf32>
  %n = memref.dim %y, %c1 : memref<?x?xf32>
  scf.for %i = %begin to %end step %c1 {
    scf.for %j = %c1 to %n step %c1 {
      %before = arith.subi %j, %c1 : index
      %0 = memref.load %y[%i, %before] : memref<?x?xf32>
      %1 = arith.addf %0, %0 : f32
      memref.store %1, %y[%i, %j] : memref<?x?xf32>
    }
  }
  return
}

// -----

// Does not fire: a kernel without a loop over rows is a single thread's.
// CHECK-LABEL: func.func private @scatter
// CHECK-SAME: nvvm.maxntid = array<i32: 1>
// CHECK-NOT: gpu.
// CHECK: scf.for %{{.*}} = %c0 to %{{.*}} step %c1 {
func.func private @scatter(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %x = kernel.arg %args at 0 : memref<?xi32>
  %y = kernel.arg %args at 40 : memref<?xi32>
  %n = memref.dim %x, %c0 : memref<?xi32>
  scf.for %i = %c0 to %n step %c1 {
    %0 = memref.load %x[%i] : memref<?xi32>
    %1 = arith.index_cast %0 : i32 to index
    memref.store %0, %y[%1] : memref<?xi32>
  }
  return
}

// -----

// Does not fire: of the threads of a block all but one would have nothing to do but to read, perhaps what that one has written in its place.
// CHECK-LABEL: func.func private @number
// CHECK-NOT: gpu.
// CHECK: memref.store
func.func private @number(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c1 = arith.constant 1 : index
  %x = kernel.arg %args at 0 : memref<f32>
  %y = kernel.arg %args at 24 : memref<f32>
  %0 = memref.load %x[] : memref<f32>
  scf.for %row = %begin to %end step %c1 {
    %1 = arith.addf %0, %0 : f32
    memref.store %1, %y[] : memref<f32>
  }
  return
}
