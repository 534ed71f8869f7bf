// RUN: lathe-opt %s -split-input-file --plan-arena --canonicalize --cse | FileCheck %s

// %a is last read where %b is written, %b where %c is: %c takes the place of %a, two slots of 64 bytes do.
// CHECK-LABEL: func.func @run
// CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr)
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
// CHECK-NOT: kernel.alloc
// CHECK: %[[A:.*]] = kernel.arena %[[FRAME]] at %[[C0]][] : memref<4xf32>
// CHECK: launch %[[FRAME]] @kernel(%[[A]])
// CHECK: %[[B:.*]] = kernel.arena %[[FRAME]] at %[[C64]][] : memref<4xf32>
// CHECK: launch %[[FRAME]] @kernel(%[[A]], %[[B]])
// The pass gives %c what %a had: one operation once they are merged.
// CHECK: launch %[[FRAME]] @kernel(%[[B]], %[[A]])
// CHECK-LABEL: func.func @plan
// CHECK-SAME: (%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %[[BYTES:.*]]: !llvm.ptr)
// CHECK: %[[TOTAL:.*]] = arith.constant 128 : i64
// CHECK: llvm.store %[[TOTAL]], %[[BYTES]]
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %n = arith.constant 1 : index
  %a = kernel.alloc [] : memref<4xf32>
  kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<4xf32>
  %b = kernel.alloc [] : memref<4xf32>
  kernel.launch %frame @kernel(%a, %b) count %n grain %n {kernel = 0 : i64} : memref<4xf32>, memref<4xf32>
  %c = kernel.alloc [] : memref<4xf32>
  kernel.launch %frame @kernel(%b, %c) count %n grain %n {kernel = 0 : i64} : memref<4xf32>, memref<4xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// As above, but %a is read at the end through a view: nothing is shared.
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
// CHECK-DAG: %[[C128:.*]] = arith.constant 128 : index
// CHECK: kernel.arena %{{.*}} at %[[C0]]
// CHECK: kernel.arena %{{.*}} at %[[C64]]
// CHECK: kernel.arena %{{.*}} at %[[C128]]
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 192 : i64
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %n = arith.constant 1 : index
  %a = kernel.alloc [] : memref<4xf32>
  %view = kernel.view %a [] : memref<4xf32> -> memref<2x2xf32>
  kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<4xf32>
  %b = kernel.alloc [] : memref<4xf32>
  kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 0 : i64} : memref<4xf32>
  %c = kernel.alloc [] : memref<4xf32>
  kernel.launch %frame @kernel(%b, %c) count %n grain %n {kernel = 0 : i64} : memref<4xf32>, memref<4xf32>
  kernel.launch %frame @kernel(%view, %c) count %n grain %n {kernel = 0 : i64} : memref<2x2xf32>, memref<4xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// Sizes of symbols: batch * 64 bytes need no rounding. One row fits into batch rows, for batch is at least 1, so that
// the second buffer is given the first one's place.
module attributes {kernel.symbols = [{name = "batch", min = 1 : i64, max = -1 : i64}]} {
  // CHECK-LABEL: func.func @run
  // CHECK-NOT: arith.floordivsi
  // CHECK: kernel.arena %{{.*}} at %[[C0:.*]][%{{.*}}] : memref<?x16xf32>
  // CHECK: kernel.arena %{{.*}} at %[[C0]][] : memref<16xf32>
  // CHECK-LABEL: func.func @plan
  // CHECK-DAG: %[[BATCH:.*]] = lathe.symbol "batch"
  // CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
  // CHECK: %[[TOTAL:.*]] = arith.muli %[[BATCH]], %[[C64]]
  // CHECK: %[[WORD:.*]] = arith.index_cast %[[TOTAL]]
  // CHECK: llvm.store %[[WORD]]
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %batch = lathe.symbol "batch"
    %a = kernel.alloc [%batch] : memref<?x16xf32>
    kernel.launch %frame @kernel(%a) count %batch grain %batch {kernel = 0 : i64} : memref<?x16xf32>
    %b = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%b) count %batch grain %batch {kernel = 0 : i64} : memref<16xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}

// -----

// Nothing says which of two symbols is the larger: two slots, each rounded up to 64 bytes.
// CHECK-LABEL: func.func @run
// CHECK: %[[C0:.*]] = arith.constant 0 : index
// CHECK: arith.floordivsi
// CHECK: %[[END:.*]] = arith.muli
// CHECK: kernel.arena %{{.*}} at %[[C0]][%{{.*}}] : memref<?xf32>
// CHECK: kernel.arena %{{.*}} at %[[END]][%{{.*}}] : memref<?xf32>
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %m = lathe.symbol "m"
  %n = lathe.symbol "n"
  %a = kernel.alloc [%m] : memref<?xf32>
  kernel.launch %frame @kernel(%a) count %m grain %m {kernel = 0 : i64} : memref<?xf32>
  %b = kernel.alloc [%n] : memref<?xf32>
  kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 0 : i64} : memref<?xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// A module that is no selected program stays as it is.
// CHECK-LABEL: func.func @other
// CHECK: kernel.alloc
func.func @other() {
  %a = kernel.alloc [] : memref<4xf32>
  return
}

// -----

// A size that the run computes has no place in the arena: each such buffer is the runtime's own.
// CHECK-LABEL: func.func @run
// CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr)
// CHECK-NOT: kernel.alloc
// CHECK: %[[A:.*]] = kernel.dynamic_alloc %[[FRAME]] 0[%{{.*}}] : memref<?xf32>
// CHECK: %[[B:.*]] = kernel.dynamic_alloc %[[FRAME]] 1[%{{.*}}] : memref<?x4xf32>
// CHECK: kernel.arena
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 64 : i64
module attributes {kernel.symbols = [{name = "count[0]", min = -9223372036854775808 : i64, max = -1 : i64, computed}]} {
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %n = lathe.symbol "count[0]"
    %a = kernel.alloc [%n] : memref<?xf32>
    %b = kernel.alloc [%n] : memref<?x4xf32>
    %c = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%a, %b, %c) count %n grain %n {kernel = 0 : i64} : memref<?xf32>, memref<?x4xf32>, memref<16xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}

// -----

// What a loop reads is needed until it ends: %b gets another place than %a, whose last use comes before it in the text. %c, and %d
// after the loop, lie where what is no longer needed was.
// CHECK-LABEL: func.func @run
// CHECK: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK: %[[A:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<16xf32>
// CHECK: scf.while
// CHECK: kernel.launch %{{.*}}(%[[A]])
// CHECK: %[[B:.*]] = kernel.arena %{{.*}} at %{{.*}}[] : memref<16xf32>
// CHECK: kernel.launch %{{.*}}(%[[B]])
// CHECK: kernel.launch %{{.*}}(%[[B]])
// CHECK: scf.yield
// CHECK: kernel.launch %{{.*}}(%[[A]])
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 128 : i64
module {
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %n = arith.constant 3 : index
    %one = arith.constant 1 : index
    %a = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
    %r = scf.while (%i = %n) : (index) -> index {
      %more = arith.cmpi sgt, %i, %one : index
      scf.condition(%more) %i : index
    } do {
    ^bb0(%i: index):
      kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
      %b = kernel.alloc [] : memref<16xf32>
      kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
      %c = kernel.alloc [] : memref<16xf32>
      kernel.launch %frame @kernel(%c) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
      scf.yield %i : index
    }
    %d = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%d) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}
