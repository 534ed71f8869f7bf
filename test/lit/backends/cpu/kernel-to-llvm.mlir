// RUN: lathe-opt %s -split-input-file -verify-diagnostics --kernel-to-llvm --canonicalize --cse | FileCheck %s

// Offsets are those of the structures in runtime/Abi.h.

// A launch: the frame's symbols (at 8), inputs (16) and outputs (24), then lathe_runtime_table::parallel_for (8). The
// arguments are laid out one behind the other: a descriptor of 56 bytes, an index of 8, a descriptor.
module attributes {kernel.symbols = [{name = "batch", min = 1 : i64, max = -1 : i64}, {name = "rows", min = 1 : i64, max = -1 : i64}]} {
  // CHECK-LABEL: func.func private @add
  func.func private @add(!llvm.ptr, !llvm.ptr, index, index)
  // CHECK-LABEL: func.func @run
  // CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr)
  // CHECK-DAG: %[[KERNEL:.*]] = llvm.mlir.constant(5 : i64)
  // CHECK-DAG: %[[ADD:.*]] = constant @add
  // CHECK-DAG: %[[SIZE:.*]] = llvm.mlir.constant(120 : i64)
  // CHECK: %[[ARGS:.*]] = llvm.alloca %[[SIZE]] x i8 {alignment = 64 : i64}
  // CHECK: %[[SYMBOLS_AT:.*]] = llvm.getelementptr %[[FRAME]][8]
  // CHECK: %[[SYMBOLS:.*]] = llvm.load %[[SYMBOLS_AT]]
  // CHECK: %[[ROWS_AT:.*]] = llvm.getelementptr %[[SYMBOLS]][8]
  // CHECK: %[[ROWS:.*]] = llvm.load %[[ROWS_AT]] : !llvm.ptr -> i64
  // CHECK: %[[INPUTS_AT:.*]] = llvm.getelementptr %[[FRAME]][16]
  // CHECK: %[[INPUTS:.*]] = llvm.load %[[INPUTS_AT]]
  // CHECK: llvm.getelementptr %[[INPUTS]][16]
  // CHECK: %[[OUTPUTS_AT:.*]] = llvm.getelementptr %[[FRAME]][24]
  // CHECK: %[[OUTPUTS:.*]] = llvm.load %[[OUTPUTS_AT]]
  // CHECK: llvm.getelementptr %[[OUTPUTS]][8]
  // CHECK: llvm.store %{{.*}}, %[[ARGS]] : !llvm.struct<(ptr, ptr, i64, array<2 x i64>, array<2 x i64>)>
  // CHECK: %[[SECOND:.*]] = llvm.getelementptr %[[ARGS]][56]
  // CHECK: llvm.store %[[ROWS]], %[[SECOND]]
  // CHECK: %[[THIRD:.*]] = llvm.getelementptr %[[ARGS]][64]
  // CHECK: llvm.store %{{.*}}, %[[THIRD]] : !llvm.struct
  // CHECK: %[[TASK:.*]] = builtin.unrealized_conversion_cast %[[ADD]]
  // CHECK: %[[TABLE:.*]] = llvm.load %[[FRAME]]
  // CHECK: %[[FUNCTION_AT:.*]] = llvm.getelementptr %[[TABLE]][8]
  // CHECK: %[[FUNCTION:.*]] = llvm.load %[[FUNCTION_AT]]
  // CHECK: llvm.call %[[FUNCTION]](%[[FRAME]], %[[KERNEL]], %[[TASK]], %[[ARGS]], %[[ROWS]], %[[ROWS]])
  func.func @run(%frame: !llvm.ptr) {
    %n = lathe.symbol "rows"
    %x = kernel.input %frame 2 [%n] : memref<?x4xf32>
    %y = kernel.output %frame 1 [%n] : memref<?x4xf32>
    kernel.launch %frame @add(%x, %n, %y) count %n grain %n {kernel = 5 : i64} : memref<?x4xf32>, index, memref<?x4xf32>
    return
  }

  // The plan is handed the symbols themselves.
  // CHECK-LABEL: func.func @plan
  // CHECK-SAME: (%[[SYMBOLS:.*]]: !llvm.ptr, %{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr)
  // CHECK: %[[AT:.*]] = llvm.getelementptr %[[SYMBOLS]][8]
  // CHECK: %[[ROWS:.*]] = llvm.load %[[AT]] : !llvm.ptr -> i64
  // CHECK: return %[[ROWS]]
  func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
    %n = lathe.symbol "rows"
    %0 = arith.index_cast %n : index to i64
    return %0 : i64
  }
}

// -----

// What a kernel does: arguments by offset, a constant (frame at 32), the arena (at 40), a check (the table's fail at 24).
// CHECK-LABEL: func.func @kernel
// CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr, %[[ARGS:.*]]: !llvm.ptr, %[[BEGIN:[a-z0-9]*]]: index
// CHECK-DAG: %[[CHECK:.*]] = llvm.mlir.constant(3 : i64)
// CHECK: llvm.load %[[ARGS]] : !llvm.ptr -> !llvm.struct<(ptr, ptr, i64, array<1 x i64>, array<1 x i64>)>
// CHECK: %[[N_AT:.*]] = llvm.getelementptr %[[ARGS]][40]
// CHECK: llvm.load %[[N_AT]] : !llvm.ptr -> i64
// CHECK: %[[CONSTANTS:.*]] = llvm.getelementptr %[[FRAME]][32]
// CHECK: llvm.load %[[CONSTANTS]]
// CHECK: %[[ARENA_AT:.*]] = llvm.getelementptr %[[FRAME]][40]
// CHECK: %[[ARENA:.*]] = llvm.load %[[ARENA_AT]]
// CHECK: %[[OFFSET:.*]] = arith.index_cast %[[BEGIN]]
// CHECK: llvm.getelementptr %[[ARENA]][%[[OFFSET]]]
// CHECK: scf.if
// CHECK: %[[TABLE:.*]] = llvm.load %[[FRAME]]
// CHECK: %[[FAIL_AT:.*]] = llvm.getelementptr %[[TABLE]][24]
// CHECK: %[[FAIL:.*]] = llvm.load %[[FAIL_AT]]
// CHECK: llvm.call %[[FAIL]](%[[FRAME]], %[[CHECK]])
func.func @kernel(%frame: !llvm.ptr, %args: !llvm.ptr, %begin: index, %end: index) {
  %c0 = arith.constant 0 : index
  %x = kernel.arg %args at 0 : memref<?xf32>
  %n = kernel.arg %args at 40 : index
  %c = kernel.constant %frame 1 : memref<4xf32>
  %t = kernel.arena %frame at %begin [%n] : memref<?xf32>
  %v = memref.load %x[%begin] : memref<?xf32>
  %w = memref.load %c[%c0] : memref<4xf32>
  %sum = arith.addf %v, %w : f32
  memref.store %sum, %t[%begin] : memref<?xf32>
  %ok = arith.cmpi slt, %begin, %end : index
  kernel.check %frame, %ok {check = 3 : i64}
  return
}

// -----

// What the run computes: a condition that does not hold ends it, after lathe_runtime_table::fail (at 24); memory comes
// from allocate (32) and output (40), and without any the run ends, too.
// CHECK-LABEL: func.func @run
// CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr, %[[N:.*]]: index, %[[OK:.*]]: i1)
// CHECK: %[[SYMBOLS:.*]] = llvm.getelementptr %[[FRAME]][8]
// CHECK: %[[LIST:.*]] = llvm.load %[[SYMBOLS]]
// CHECK: %[[PLACE:.*]] = llvm.getelementptr %[[LIST]][8]
// CHECK: llvm.store %{{.*}}, %[[PLACE]] : i64, !llvm.ptr
// CHECK: llvm.cond_br %[[OK]], ^[[GO:.*]], ^[[STOP:.*]]
// CHECK: ^[[STOP]]:
// CHECK: llvm.getelementptr %{{.*}}[24]
// CHECK: llvm.call
// CHECK: return
// CHECK: ^[[GO]]:
// CHECK: %[[BYTES:.*]] = llvm.mul
// CHECK: llvm.getelementptr %{{.*}}[32]
// CHECK: %[[A:.*]] = llvm.call %{{.*}}(%[[FRAME]], %{{.*}}, %[[BYTES]])
// CHECK: %[[SOME:.*]] = llvm.icmp "ne" %[[A]]
// CHECK: llvm.cond_br %[[SOME]]
// CHECK: llvm.getelementptr %{{.*}}[40]
// CHECK: llvm.call
// CHECK: llvm.cond_br
// CHECK: memref.store
module attributes {kernel.symbols = [{name = "batch", min = 1 : i64, max = -1 : i64},
                                     {name = "count[0]", min = -1 : i64, max = -1 : i64, computed}]} {
  func.func @run(%frame: !llvm.ptr, %n: index, %ok: i1) {
    kernel.define %frame "count[0]" = %n
    kernel.require %frame, %ok {check = 3 : i64}
    %a = kernel.dynamic_alloc %frame 0 [%n] : memref<?xf32>
    %b = kernel.dynamic_output %frame 0 [%n] : memref<?xf32>
    %c0 = arith.constant 0 : index
    %v = memref.load %a[%c0] : memref<?xf32>
    memref.store %v, %b[%c0] : memref<?xf32>
    return
  }
}

// -----

// A matrix product with a constant, by lathe_runtime_table::matmul (at 16). The leading axes are rows, too: m (at 88) is
// 2 * 3. The constant stands transposed: its row stride (128) is 1, its column stride (136) is k.
// CHECK-LABEL: func.func @matmul
// CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr
// CHECK-DAG: %[[C2:.*]] = llvm.mlir.constant(2 : i64)
// CHECK-DAG: %[[C7:.*]] = llvm.mlir.constant(7 : i64)
// CHECK-DAG: %[[C8:.*]] = llvm.mlir.constant(8 : i64)
// CHECK-DAG: %[[C1:.*]] = llvm.mlir.constant(1 : i64)
// CHECK-DAG: %[[NULL:.*]] = llvm.mlir.zero
// CHECK: %[[CALL:.*]] = llvm.alloca
// CHECK: %[[ROWS:.*]] = llvm.mul %c3_i64, %c2_i64
// CHECK: llvm.store %[[C7]], %[[CALL]]
// CHECK: %[[WEIGHT:.*]] = llvm.getelementptr %[[CALL]][16]
// CHECK: llvm.store %[[C1]], %[[WEIGHT]]
// CHECK: %[[ACTIVATION:.*]] = llvm.getelementptr %[[CALL]][24]
// CHECK: llvm.store %[[C2]], %[[ACTIVATION]]
// CHECK: %[[B:.*]] = llvm.getelementptr %[[CALL]][48]
// CHECK: llvm.store %[[NULL]], %[[B]]
// CHECK: %[[M:.*]] = llvm.getelementptr %[[CALL]][88]
// CHECK: llvm.store %[[ROWS]], %[[M]]
// CHECK: %[[B_ROW:.*]] = llvm.getelementptr %[[CALL]][128]
// CHECK: llvm.store %[[C1]], %[[B_ROW]]
// CHECK: %[[B_COLUMN:.*]] = llvm.getelementptr %[[CALL]][136]
// CHECK: llvm.store %[[C8]], %[[B_COLUMN]]
// CHECK: %[[TABLE:.*]] = llvm.load %[[FRAME]]
// CHECK: %[[FUNCTION_AT:.*]] = llvm.getelementptr %[[TABLE]][16]
// CHECK: %[[FUNCTION:.*]] = llvm.load %[[FUNCTION_AT]]
// CHECK: llvm.call %[[FUNCTION]](%[[FRAME]], %[[CALL]])
func.func @matmul(%frame: !llvm.ptr, %x: memref<2x3x8xf32>, %bias: memref<4xf32>, %y: memref<2x3x4xf32>) {
  kernel.matmul %frame lhs(%x : memref<2x3x8xf32>) bias(%bias : memref<4xf32>) out(%y : memref<2x3x4xf32>)
    {activation = 2 : i64, kernel = 7 : i64, transpose_rhs, weight = 1 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

// The multiplier's and the residual's addresses stand behind the bias's; their strides are the result's.
// CHECK-LABEL: func.func @residual
// CHECK-SAME: %[[G:[a-z0-9]+]]: memref<2x4xf32>, %[[R:[a-z0-9]+]]: memref<2x4xf32>, %{{.*}}: memref<2x4xf32>)
// CHECK: %[[STRUCT:.*]] = builtin.unrealized_conversion_cast %[[G]]
// CHECK: %[[ADDRESS:.*]] = llvm.extractvalue %[[STRUCT]][1]
// CHECK: %[[AT:.*]] = llvm.getelementptr %{{.*}}[64]
// CHECK: llvm.store %[[ADDRESS]], %[[AT]]
// CHECK: %[[STRUCT:.*]] = builtin.unrealized_conversion_cast %[[R]]
// CHECK: %[[ADDRESS:.*]] = llvm.extractvalue %[[STRUCT]][1]
// CHECK: %[[AT:.*]] = llvm.getelementptr %{{.*}}[72]
// CHECK: llvm.store %[[ADDRESS]], %[[AT]]
// CHECK: llvm.call
func.func @residual(%frame: !llvm.ptr, %x: memref<2x8xf32>, %g: memref<2x4xf32>, %r: memref<2x4xf32>, %y: memref<2x4xf32>) {
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) multiplier(%g : memref<2x4xf32>) residual(%r : memref<2x4xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 7 : i64, weight = 1 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

// Batches of two operands: the right one's is repeated, its batch stride (at 200 for the innermost axis + 16) is 0.
// CHECK-LABEL: func.func @batches
// CHECK: %[[ZERO:.*]] = llvm.mlir.constant(0 : i64)
// CHECK: %[[CALL:.*]] = llvm.alloca
// CHECK: %[[BATCH:.*]] = llvm.getelementptr %[[CALL]][168]
// CHECK: llvm.store %c5_i64, %[[BATCH]]
// CHECK: %[[STRIDE:.*]] = llvm.getelementptr %[[CALL]][216]
// CHECK: llvm.store %[[ZERO]], %[[STRIDE]]
func.func @batches(%frame: !llvm.ptr, %x: memref<5x3x8xf32>, %w: memref<1x8x4xf32>, %y: memref<5x3x4xf32>) {
  kernel.matmul %frame lhs(%x : memref<5x3x8xf32>) rhs(%w : memref<1x8x4xf32>) out(%y : memref<5x3x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>}
  return
}

// -----

// Transposed operands and a transposed result: [batch, rows, heads, size] as [batch, heads, rows, size]. Strides are those of
// the buffers.
// CHECK-LABEL: func.func @axes
// CHECK-DAG: %[[C3:.*]] = arith.constant 3 : i64
// CHECK-DAG: %[[C7:.*]] = arith.constant 7 : i64
// CHECK-DAG: %[[C8:.*]] = arith.constant 8 : i64
// CHECK-DAG: %[[C9:.*]] = arith.constant 9 : i64
// CHECK-DAG: %[[HALF:.*]] = llvm.mlir.constant(5.000000e-01 : f64)
// CHECK-DAG: %[[ONE:.*]] = llvm.mlir.constant(1 : i64)
// CHECK: %[[CALL:.*]] = llvm.alloca
// CHECK: %[[ROW:.*]] = llvm.mul %[[C8]], %[[C3]]
// CHECK: %[[OUT_ROW:.*]] = llvm.mul %[[C9]], %[[C3]]
// CHECK: %[[ALPHA_AT:.*]] = llvm.getelementptr %[[CALL]][32]
// CHECK: llvm.store %[[HALF]], %[[ALPHA_AT]]
// CHECK: %[[M_AT:.*]] = llvm.getelementptr %[[CALL]][88]
// CHECK: llvm.store %[[C7]], %[[M_AT]]
// CHECK: %[[A_ROW_AT:.*]] = llvm.getelementptr %[[CALL]][112]
// CHECK: llvm.store %[[ROW]], %[[A_ROW_AT]]
// CHECK: %[[B_ROW_AT:.*]] = llvm.getelementptr %[[CALL]][128]
// CHECK: llvm.store %[[ONE]], %[[B_ROW_AT]]
// CHECK: %[[B_COLUMN_AT:.*]] = llvm.getelementptr %[[CALL]][136]
// CHECK: llvm.store %[[ROW]], %[[B_COLUMN_AT]]
// CHECK: %[[OUT_ROW_AT:.*]] = llvm.getelementptr %[[CALL]][144]
// CHECK: llvm.store %[[OUT_ROW]], %[[OUT_ROW_AT]]
// CHECK: %[[HEADS_AT:.*]] = llvm.getelementptr %[[CALL]][168]
// CHECK: llvm.store %[[C3]], %[[HEADS_AT]]
// CHECK: %[[A_BATCH_AT:.*]] = llvm.getelementptr %[[CALL]][192]
// CHECK: llvm.store %[[C8]], %[[A_BATCH_AT]]
func.func @axes(%frame: !llvm.ptr, %x: memref<5x7x3x8xf32>, %w: memref<5x9x3x8xf32>, %y: memref<5x7x3x9xf32>) {
  kernel.matmul %frame lhs(%x : memref<5x7x3x8xf32>) rhs(%w : memref<5x9x3x8xf32>) out(%y : memref<5x7x3x9xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>, transpose_rhs, alpha = 5.0e-01 : f64,
     lhs_axes = array<i64: 0, 2, 1, 3>, rhs_axes = array<i64: 0, 2, 1, 3>, out_axes = array<i64: 0, 2, 1, 3>}
  return
}

// -----

// Other dialects' operations stay.
// CHECK-LABEL: func.func @other
// CHECK: memref.load
func.func @other(%x: memref<4xf32>, %i: index) -> f32 {
  %0 = memref.load %x[%i] : memref<4xf32>
  return %0 : f32
}

// -----

func.func @not_planned() {
  // expected-error @below {{unexpected operation kernel.alloc: expected the arena to be planned}}
  %0 = kernel.alloc [] : memref<4xf32>
  return
}

// -----

func.func @not_selected(%x: tensor<4xf32>) -> tensor<4xf32> {
  // expected-error @below {{unexpected operation lathe.neg: expected kernels to be selected}}
  %0 = lathe.neg %x : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @not_bound(%frame: !llvm.ptr) -> index {
  // expected-error @below {{the symbolic dimension 'batch' is not bound by an input}}
  %0 = lathe.symbol "batch"
  return %0 : index
}

// -----

module attributes {kernel.symbols = [{name = "batch", min = 1 : i64, max = -1 : i64}]} {
  func.func @no_frame() -> index {
    // expected-error @below {{expects to stand in a function of a frame, got one of type '() -> index'}}
    %0 = lathe.symbol "batch"
    return %0 : index
  }
}

// -----

llvm.func @no_function(%frame: !llvm.ptr, %ok: i1) {
  // expected-error @below {{expects to stand in a function}}
  kernel.check %frame, %ok {check = 0 : i64}
  llvm.return
}

// -----

// Branches and loops of the program are blocks, any of which may return.
// CHECK-LABEL: func.func @run
// CHECK-NOT: scf.
// CHECK: cf.cond_br
// CHECK: llvm.cond_br
// CHECK: return
module attributes {kernel.checks = [{node = "a", message = "b"}]} {
  func.func @run(%frame: !llvm.ptr) {
    %c = arith.constant 3 : index
    %x = kernel.arena %frame at %c [] : memref<4x4xf32>
    %r = kernel.row %x at %c [] : memref<4x4xf32> -> memref<4xf32>
    %v = memref.load %r[%c] : memref<4xf32>
    %zero = arith.constant 0.0 : f32
    %ok = arith.cmpf ogt, %v, %zero : f32
    scf.if %ok {
      kernel.require %frame, %ok {check = 0 : i64}
    }
    return
  }
}
