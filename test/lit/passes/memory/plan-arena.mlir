// RUN: lathe-opt %s -split-input-file --plan-arena --canonicalize --cse | FileCheck %s
// RUN: lathe-opt %s -split-input-file --plan-arena=in-place=false --canonicalize --cse | FileCheck %s --check-prefix=APART

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

// Sizes of symbols: batch * 64 and batch * 192 bytes need no rounding, and compare like numbers: three of the smaller buffers, which are
// needed together, lie where the larger one was.
module attributes {kernel.symbols = [{name = "batch", min = 0 : i64, max = -1 : i64}]} {
  // CHECK-LABEL: func.func @run
  // CHECK-NOT: arith.floordivsi
  // CHECK-DAG: %[[C0:.*]] = arith.constant 0 : index
  // CHECK-DAG: %[[C64:.*]] = arith.constant 64 : index
  // CHECK-DAG: %[[C128:.*]] = arith.constant 128 : index
  // CHECK-DAG: %[[ONE:.*]] = arith.muli %{{.*}}, %[[C64]]
  // CHECK-DAG: %[[TWO:.*]] = arith.muli %{{.*}}, %[[C128]]
  // CHECK: kernel.arena %{{.*}} at %[[C0]][%{{.*}}] : memref<?x48xf32>
  // CHECK-DAG: kernel.arena %{{.*}} at %[[C0]][%{{.*}}] : memref<?x16xf32>
  // CHECK-DAG: kernel.arena %{{.*}} at %[[ONE]][%{{.*}}] : memref<?x16xf32>
  // CHECK-DAG: kernel.arena %{{.*}} at %[[TWO]][%{{.*}}] : memref<?x16xf32>
  // CHECK-LABEL: func.func @plan
  // CHECK-DAG: %[[BATCH:.*]] = lathe.symbol "batch"
  // CHECK-DAG: %[[C192:.*]] = arith.constant 192 : index
  // CHECK: %[[BYTES:.*]] = arith.muli %[[BATCH]], %[[C192]]
  // CHECK: %[[TOTAL:.*]] = arith.maxsi %[[BYTES]], %{{.*}}
  // CHECK: %[[WORD:.*]] = arith.index_cast %[[TOTAL]]
  // CHECK: llvm.store %[[WORD]]
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %batch = lathe.symbol "batch"
    %a = kernel.alloc [%batch] : memref<?x48xf32>
    kernel.launch %frame @kernel(%a) count %batch grain %batch {kernel = 0 : i64} : memref<?x48xf32>
    %b = kernel.alloc [%batch] : memref<?x16xf32>
    %c = kernel.alloc [%batch] : memref<?x16xf32>
    %d = kernel.alloc [%batch] : memref<?x16xf32>
    kernel.launch %frame @kernel(%b, %c, %d) count %batch grain %batch {kernel = 0 : i64} : memref<?x16xf32>, memref<?x16xf32>, memref<?x16xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}

// -----

// Nothing says which of two symbols is the larger: two parts, each rounded up to 64 bytes.
// CHECK-LABEL: func.func @run
// CHECK: %[[C0:.*]] = arith.constant 0 : index
// CHECK: arith.floordivsi
// CHECK: %[[SIZE:.*]] = arith.muli
// CHECK: %[[END:.*]] = arith.maxsi %[[SIZE]], %[[C0]]
// CHECK: kernel.arena %{{.*}} at %[[C0]][%{{.*}}] : memref<?xf32>
// CHECK: kernel.arena %{{.*}} at %[[END]][%{{.*}}] : memref<?xf32>
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %m = lathe.symbol "m"
  %n = lathe.symbol "n"
  %a = kernel.alloc [%m] : memref<?xf32>
  kernel.launch %frame @kernel(%a) count %m grain %m {kernel = 0 : i64} : memref<?xf32>
  %b = kernel.alloc [%n] : memref<?xf32>
  kernel.launch %frame @kernel(%a, %b) count %n grain %n {kernel = 0 : i64} : memref<?xf32>, memref<?xf32>
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

// -----

// What a kernel computes element by element takes the place of an operand that nothing needs afterwards.
// CHECK-LABEL: func.func @run
// CHECK: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK: %[[A:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<4x4xf32>
// CHECK: %[[V:.*]] = kernel.view %[[A]][] : memref<4x4xf32> -> memref<16xf32>
// CHECK: %[[B:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<16xf32>
// CHECK: kernel.launch %{{.*}}(%[[V]], %[[B]])
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 64 : i64
// APART: %[[V:.*]] = kernel.view %{{.*}}[] : memref<4x4xf32> -> memref<16xf32>
// APART: kernel.launch %{{.*}}(%[[V]], %{{.*}}) {{.*}}kernel.in_place
// APART: func.func @plan
// APART: arith.constant 128 : i64
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %n = arith.constant 1 : index
  %a = kernel.alloc [] : memref<4x4xf32>
  kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<4x4xf32>
  %v = kernel.view %a [] : memref<4x4xf32> -> memref<16xf32>
  %b = kernel.alloc [] : memref<16xf32>
  kernel.launch %frame @kernel(%v, %b) count %n grain %n {kernel = 0 : i64, kernel.in_place = array<i64: 0>} : memref<16xf32>, memref<16xf32>
  kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// Also where operand and result are written under another shape.
// CHECK-LABEL: func.func @run
// CHECK: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK: %[[A:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<4x4xf32>
// CHECK: %[[V:.*]] = kernel.view %[[A]][] : memref<4x4xf32> -> memref<16xf32>
// CHECK: kernel.launch %{{.*}}(%[[V]], %[[V]])
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 64 : i64
// APART: kernel.launch %{{.*}}(%{{.*}}, %{{.*}}) {{.*}}kernel.in_place
// APART: func.func @plan
// APART: arith.constant 128 : i64
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %n = arith.constant 1 : index
  %a = kernel.alloc [] : memref<4x4xf32>
  kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<4x4xf32>
  %b = kernel.alloc [] : memref<4x4xf32>
  %v = kernel.view %a [] : memref<4x4xf32> -> memref<16xf32>
  %w = kernel.view %b [] : memref<4x4xf32> -> memref<16xf32>
  kernel.launch %frame @kernel(%v, %w) count %n grain %n {kernel = 0 : i64, kernel.in_place = array<i64: 0>} : memref<16xf32>, memref<16xf32>
  kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 0 : i64} : memref<4x4xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// Not where the operand is needed later (%a), is not listed (%b), is read under another shape too (%c), or has another size (%d).
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[NEXT:.*]] = arith.constant 64 : index
// CHECK: %[[A:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<16xf32>
// CHECK: %[[B:.*]] = kernel.arena %{{.*}} at %[[NEXT]][] : memref<16xf32>
// The pass gives %c what %a had, and %d what %b had: one operation each once they are merged.
// CHECK: kernel.launch %{{.*}}(%[[A]], %[[B]]) {{.*}}kernel = 1
// CHECK: kernel.launch %{{.*}}(%[[B]], %[[A]]) {{.*}}kernel = 3
// CHECK: kernel.launch %{{.*}}(%[[A]], %{{.*}}, %[[B]]) {{.*}}kernel = 4
// CHECK: kernel.arena %{{.*}} at %[[ZERO]][] : memref<8xf32>
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 128 : i64
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %n = arith.constant 1 : index
  %a = kernel.alloc [] : memref<16xf32>
  kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
  %b = kernel.alloc [] : memref<16xf32>
  kernel.launch %frame @kernel(%a, %b) count %n grain %n {kernel = 1 : i64, kernel.in_place = array<i64: 0>} : memref<16xf32>, memref<16xf32>
  kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 2 : i64} : memref<16xf32>
  %c = kernel.alloc [] : memref<16xf32>
  kernel.launch %frame @kernel(%b, %c) count %n grain %n {kernel = 3 : i64} : memref<16xf32>, memref<16xf32>
  %v = kernel.view %c [] : memref<16xf32> -> memref<4x4xf32>
  %d = kernel.alloc [] : memref<16xf32>
  kernel.launch %frame @kernel(%c, %v, %d) count %n grain %n {kernel = 4 : i64, kernel.in_place = array<i64: 0>} : memref<16xf32>, memref<4x4xf32>, memref<16xf32>
  %e = kernel.alloc [] : memref<8xf32>
  kernel.launch %frame @kernel(%d, %e) count %n grain %n {kernel = 5 : i64, kernel.in_place = array<i64: 0>} : memref<16xf32>, memref<8xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// In a loop, the state that the next iteration reads keeps its place.
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[NEXT:.*]] = arith.constant 64 : index
// CHECK: %[[A:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<16xf32>
// CHECK: scf.for
// CHECK: %[[B:.*]] = kernel.arena %{{.*}} at %[[NEXT]][] : memref<16xf32>
// CHECK: kernel.launch %{{.*}}(%[[A]], %[[B]])
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %n = arith.constant 3 : index
  %one = arith.constant 1 : index
  %a = kernel.alloc [] : memref<16xf32>
  kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
  scf.for %i = %one to %n step %one {
    %b = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%a, %b) count %n grain %n {kernel = 1 : i64, kernel.in_place = array<i64: 0>} : memref<16xf32>, memref<16xf32>
    kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 2 : i64} : memref<16xf32>
  }
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// Sizes that don't compare: what is never needed together with %b, as %a, gives its place to %b all the same; the arena is as large as the larger.
// CHECK-LABEL: func.func @run
// CHECK: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK: kernel.arena %{{.*}} at %[[ZERO]][%{{.*}}] : memref<?x16xf32>
// CHECK: kernel.arena %{{.*}} at %[[ZERO]][%{{.*}}] : memref<?x16xf32>
// CHECK-LABEL: func.func @plan
// CHECK-DAG: %[[M:.*]] = lathe.symbol "m"
// CHECK-DAG: %[[N:.*]] = lathe.symbol "n"
// CHECK-DAG: %[[A:.*]] = arith.muli %[[M]], %{{.*}}
// CHECK-DAG: %[[B:.*]] = arith.muli %[[N]], %{{.*}}
// CHECK: arith.maxsi %{{.*}}, %[[B]]
func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
func.func @run(%frame: !llvm.ptr) {
  %m = lathe.symbol "m"
  %n = lathe.symbol "n"
  %a = kernel.alloc [%m] : memref<?x16xf32>
  kernel.launch %frame @kernel(%a) count %m grain %m {kernel = 0 : i64} : memref<?x16xf32>
  %b = kernel.alloc [%n] : memref<?x16xf32>
  kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 0 : i64} : memref<?x16xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// A product takes the place of its multiplier.
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK: %[[A:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<4x4xf32>
// CHECK: kernel.matmul %{{.*}} lhs(%{{.*}}) multiplier(%[[A]] : memref<4x4xf32>) residual(%{{.*}} : memref<4x4xf32>) out(%[[A]] : memref<4x4xf32>)
// CHECK: kernel.launch %{{.*}} @kernel(%[[A]])
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 64 : i64
module attributes {kernel.constants = [{name = "w", type = tensor<4x4xf32>, value = dense<1.0> : tensor<4x4xf32>, packed = true, transposed = false}]} {
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %n = arith.constant 1 : index
    %x = kernel.input %frame 0 [] : memref<4x4xf32>
    %a = kernel.alloc [] : memref<4x4xf32>
    kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<4x4xf32>
    %b = kernel.alloc [] : memref<4x4xf32>
    kernel.matmul %frame lhs(%x : memref<4x4xf32>) multiplier(%a : memref<4x4xf32>) residual(%x : memref<4x4xf32>) out(%b : memref<4x4xf32>) {activation = 0 : i64, kernel = 1 : i64, weight = 0 : i64, weight_shape = array<i64: 4, 4>}
    kernel.launch %frame @kernel(%b) count %n grain %n {kernel = 0 : i64} : memref<4x4xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}

// -----

// A product takes the place of its residual; not of one that is its left side, too, or is needed later.
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0 : index
// CHECK-DAG: %[[NEXT:.*]] = arith.constant 64 : index
// CHECK: %[[A:.*]] = kernel.arena %{{.*}} at %[[ZERO]][] : memref<4x4xf32>
// CHECK: kernel.matmul %{{.*}} lhs(%{{.*}}) residual(%[[A]] : memref<4x4xf32>) out(%[[A]] : memref<4x4xf32>)
// CHECK: %[[B:.*]] = kernel.arena %{{.*}} at %[[NEXT]][] : memref<4x4xf32>
// CHECK: kernel.matmul %{{.*}} lhs(%[[A]] : memref<4x4xf32>) residual(%[[A]] : memref<4x4xf32>) out(%[[B]] : memref<4x4xf32>)
// CHECK: kernel.matmul %{{.*}} lhs(%{{.*}}) residual(%[[B]] : memref<4x4xf32>) out(%[[A]] : memref<4x4xf32>)
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 128 : i64
// APART: func.func @run
// APART: kernel.matmul %{{.*}} lhs(%{{.*}}) residual(%[[A:.*]] : memref<4x4xf32>) out(%[[A]] : memref<4x4xf32>)
module attributes {kernel.constants = [{name = "w", type = tensor<4x4xf32>, value = dense<1.0> : tensor<4x4xf32>, packed = true, transposed = false}]} {
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %n = arith.constant 1 : index
    %x = kernel.input %frame 0 [] : memref<4x4xf32>
    %a = kernel.alloc [] : memref<4x4xf32>
    kernel.launch %frame @kernel(%a) count %n grain %n {kernel = 0 : i64} : memref<4x4xf32>
    %b = kernel.alloc [] : memref<4x4xf32>
    kernel.matmul %frame lhs(%x : memref<4x4xf32>) residual(%a : memref<4x4xf32>) out(%b : memref<4x4xf32>) {activation = 0 : i64, kernel = 1 : i64, weight = 0 : i64, weight_shape = array<i64: 4, 4>}
    %c = kernel.alloc [] : memref<4x4xf32>
    kernel.matmul %frame lhs(%b : memref<4x4xf32>) residual(%b : memref<4x4xf32>) out(%c : memref<4x4xf32>) {activation = 0 : i64, kernel = 2 : i64, weight = 0 : i64, weight_shape = array<i64: 4, 4>}
    %d = kernel.alloc [] : memref<4x4xf32>
    kernel.matmul %frame lhs(%x : memref<4x4xf32>) residual(%c : memref<4x4xf32>) out(%d : memref<4x4xf32>) {activation = 0 : i64, kernel = 3 : i64, weight = 0 : i64, weight_shape = array<i64: 4, 4>}
    kernel.launch %frame @kernel(%c, %d) count %n grain %n {kernel = 0 : i64} : memref<4x4xf32>, memref<4x4xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}

// -----

// Neighbours that rotate rows may be one kernel of a device: the second writes where nothing is that the first reads.
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 256 : i64
module attributes {kernel.kernels = [
    {name = "k", kind = "generated", nodes = []},
    {name = "r", kind = "generated", nodes = [], computes = {operation = "rotate_half", arguments = array<i64: 0, 72, 112, 152>, columns = 8 : i64, order = array<i64: 0, 1, 2, 3>}}]} {
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %n = arith.constant 1 : index
    %q = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%q) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
    %k = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%k) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
    %rows = kernel.view %q [] : memref<16xf32> -> memref<2x8xf32>
    %a = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%rows, %a) count %n grain %n {kernel = 1 : i64} : memref<2x8xf32>, memref<16xf32>
    %b = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%k, %b) count %n grain %n {kernel = 1 : i64} : memref<16xf32>, memref<16xf32>
    kernel.launch %frame @kernel(%a, %b) count %n grain %n {kernel = 0 : i64} : memref<16xf32>, memref<16xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}

// -----

// A kernel of another kind does: %b lies where %q was.
// CHECK-LABEL: func.func @plan
// CHECK: arith.constant 192 : i64
module attributes {kernel.kernels = [
    {name = "k", kind = "generated", nodes = []},
    {name = "r", kind = "generated", nodes = [], computes = {operation = "rotate_half", arguments = array<i64: 0, 72, 112, 152>, columns = 8 : i64, order = array<i64: 0, 1, 2, 3>}}]} {
  func.func private @kernel(!llvm.ptr, !llvm.ptr, index, index)
  func.func @run(%frame: !llvm.ptr) {
    %n = arith.constant 1 : index
    %q = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%q) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
    %k = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%k) count %n grain %n {kernel = 0 : i64} : memref<16xf32>
    %rows = kernel.view %q [] : memref<16xf32> -> memref<2x8xf32>
    %a = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%rows, %a) count %n grain %n {kernel = 1 : i64} : memref<2x8xf32>, memref<16xf32>
    %b = kernel.alloc [] : memref<16xf32>
    kernel.launch %frame @kernel(%k, %b) count %n grain %n {kernel = 0 : i64} : memref<16xf32>, memref<16xf32>
    kernel.launch %frame @kernel(%a, %b) count %n grain %n {kernel = 0 : i64} : memref<16xf32>, memref<16xf32>
    return
  }
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %0 = arith.constant 0 : i64
    return %0 : i64
  }
}
