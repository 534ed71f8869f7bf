// RUN: lathe-opt %s -split-input-file -verify-diagnostics --plan-arena

// expected-error @below {{expects a program of one block}}
func.func private @run(!llvm.ptr)
func.func private @plan(!llvm.ptr, !llvm.ptr, !llvm.ptr) -> i64

// -----

func.func @run(%frame: !llvm.ptr) {
  return
}
// expected-error @below {{expects @plan to take 3 pointers, got '() -> i64'}}
func.func @plan() -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

// The size must be known before the program runs: it says how large the arena is.
func.func @run(%frame: !llvm.ptr) {
  %0 = llvm.load %frame : !llvm.ptr -> i64
  %n = arith.index_cast %0 : i64 to index
  // expected-error @below {{expects a size that follows from symbolic dimensions}}
  %a = kernel.alloc [%n] : memref<?xf32>
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  %0 = arith.constant 0 : i64
  return %0 : i64
}

// -----

func.func @run(%frame: !llvm.ptr) {
  return
}
func.func @plan(%symbols: !llvm.ptr, %dims: !llvm.ptr, %bytes: !llvm.ptr) -> i64 {
  // expected-error @below {{expects to stand in @run}}
  %a = kernel.alloc [] : memref<4xf32>
  %0 = arith.constant 0 : i64
  return %0 : i64
}
