// RUN: split-file %s %t
// RUN: lathe-opt %t/decoder.mlir --specialize-decoder -split-input-file | FileCheck %t/decoder.mlir
// RUN: lathe-opt %t/invalid.mlir --specialize-decoder -verify-diagnostics -split-input-file

//--- decoder.mlir

// A cache is what new rows are put behind and what is returned, whatever it is called. Without a past, the new rows are all
// there are; a mask as long as past and new tokens is 1, and of the results the logits are left.
// CHECK-LABEL: func.func @main
// CHECK-SAME: (%[[T:.*]]: tensor<?x?xi64> {lathe.dims = ["n", "m"], lathe.name = "words", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "scores"})
// CHECK-DAG: %[[ONE:.*]] = lathe.constant dense<1.000000e+00> : tensor<f32>
// CHECK-DAG: %[[X:.*]] = lathe.gather %{{.*}}, %[[T]]
// CHECK-NOT: lathe.concat
// CHECK: lathe.broadcast %[[ONE]]
// CHECK: lathe.slice
// CHECK: %[[MASK:.*]] = lathe.broadcast %[[ONE]]
// CHECK: lathe.mul %{{.*}}, %[[MASK]] : (tensor<?x?x8xf32>, tensor<?x?x1xf32>)
// CHECK: %[[R:.*]] = lathe.matmul
// CHECK-NEXT: return %[[R]] : tensor<?x?x10xf32>
func.func @main(%past: tensor<?x?x8xf32> {lathe.dims = ["n", "before", ""], lathe.name = "zebra"}, %t: tensor<?x?xi64> {lathe.dims = ["n", "m"], lathe.name = "words"},
    %seen: tensor<?x?xf32> {lathe.dims = ["n", "k"], lathe.name = "giraffe"}) -> (tensor<?x?x8xf32> {lathe.name = "lion"}, tensor<?x?x10xf32> {lathe.name = "scores"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = lathe.symbol "n"
  %m = lathe.symbol "m"
  %k = lathe.symbol "k"
  %table = lathe.constant dense<2.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %all = lathe.concat %past, %x {axis = 1 : i64} : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %column = lathe.reshape %seen[%n, %k, %c1] : tensor<?x?xf32> -> tensor<?x?x1xf32>
  %first = lathe.slice %column from[%c0] to[%m] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x?x1xf32> -> tensor<?x?x1xf32>
  %last = lathe.slice %all from[%c0] to[%m] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x?x8xf32> -> tensor<?x?x8xf32>
  %y = lathe.mul %last, %first : (tensor<?x?x8xf32>, tensor<?x?x1xf32>) -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %all, %logits : tensor<?x?x8xf32>, tensor<?x?x10xf32>
}

// -----

// Numbers that look up another table, or that are multiplied, are positions from 0.
// CHECK-LABEL: func.func @main
// CHECK-SAME: (%[[T:.*]]: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.role = "tokens"})
// CHECK: %[[P:.*]] = lathe.range
// CHECK: %[[ALL:.*]] = lathe.broadcast
// CHECK: lathe.gather %{{.*}}, %[[ALL]] {axis = 0 : i64} : (tensor<32x8xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"]}, %where: tensor<?x?xi64> {lathe.dims = ["b", "s"]}) -> tensor<?x?x10xf32> {
  %table = lathe.constant dense<2.0> : tensor<10x8xf32>
  %places = lathe.constant dense<3.0> : tensor<32x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %p = lathe.gather %places, %where {axis = 0 : i64} : (tensor<32x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %y = lathe.add %x, %p : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// Tokens of another length, and a signal, are what an encoder reads.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[S:.*]]: tensor<?x?xi64> {lathe.dims = ["b", "n"], lathe.role = "source"}
// CHECK-SAME: tensor<?x80x200xf32> {lathe.dims = ["b", "", ""], lathe.role = "source"}
// CHECK-SAME: %[[T:.*]]: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.role = "tokens"}
func.func @main(%source: tensor<?x?xi64> {lathe.dims = ["b", "n"]}, %sound: tensor<?x80x200xf32> {lathe.dims = ["b", "", ""]}, %t: tensor<?x?xi64> {lathe.dims = ["b", "s"]}) -> tensor<?x?x10xf32> {
  %table = lathe.constant dense<2.0> : tensor<10x8xf32>
  %e = lathe.gather %table, %source {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %m = lathe.reduce mean %e {axes = array<i64: 1>, keep_dims} : (tensor<?x?x8xf32>) -> tensor<?x1x8xf32>
  %l = lathe.reduce mean %sound {axes = array<i64: 1, 2>, keep_dims} : (tensor<?x80x200xf32>) -> tensor<?x1x1xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %y = lathe.add %x, %m : (tensor<?x?x8xf32>, tensor<?x1x8xf32>) -> tensor<?x?x8xf32>
  %z = lathe.add %y, %l : (tensor<?x?x8xf32>, tensor<?x1x1xf32>) -> tensor<?x?x8xf32>
  %logits = lathe.matmul %z, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

//--- invalid.mlir

// As many numbers for each token as a table that tokens look up has rows, and not another number.
// expected-error @below {{expects a decoder: tokens [batch, sequence] that look up a table, and logits [batch, sequence, }}
module {
  func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"]}) -> tensor<?x?x8xf32> {
    %table = lathe.constant dense<2.0> : tensor<10x8xf32>
    %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
    return %x : tensor<?x?x8xf32>
  }
}

// -----

// One row of logits for all tokens is a classification.
// expected-error @below {{expects a decoder}}
module {
  func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"]}) -> tensor<?x10xf32> {
    %table = lathe.constant dense<2.0> : tensor<10x10xf32>
    %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x10xf32>, tensor<?x?xi64>) -> tensor<?x?x10xf32>
    %m = lathe.reduce mean %x {axes = array<i64: 1>} : (tensor<?x?x10xf32>) -> tensor<?x10xf32>
    return %m : tensor<?x10xf32>
  }
}

// -----

// A past as long as the tokens can't be told from them.
// expected-error @below {{expects a cache whose length has a name of its own, got s for input 'old'}}
func.func @main(%past: tensor<?x?x8xf32> {lathe.dims = ["b", "s", ""], lathe.name = "old"}, %t: tensor<?x?xi64> {lathe.dims = ["b", "s"]}) -> (tensor<?x?x8xf32>, tensor<?x?x10xf32>) {
  %table = lathe.constant dense<2.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %all = lathe.concat %past, %x {axis = 1 : i64} : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %logits = lathe.matmul %x, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %all, %logits : tensor<?x?x8xf32>, tensor<?x?x10xf32>
}
