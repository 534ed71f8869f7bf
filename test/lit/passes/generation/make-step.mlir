// RUN: split-file %s %t
// RUN: lathe-opt %t/step.mlir --make-step -split-input-file | FileCheck %t/step.mlir
// RUN: lathe-opt %t/invalid.mlir --make-step -verify-diagnostics -split-input-file
// RUN: lathe-opt %t/encode.mlir --make-step | FileCheck %t/encode.mlir

//--- step.mlir

// Attention's keys are a cache that grows, of which queries see what is not behind them; of what follows the last attention, which
// only the logits need, the wanted tokens are computed.
// CHECK-LABEL: func.func @main
// CHECK-SAME: lathe.dims = ["b", "s"], lathe.name = "ids"
// CHECK-SAME: lathe.dims = ["b", "s"], lathe.name = "positions"
// CHECK-SAME: lathe.dims = ["total"], lathe.name = "key_positions"
// CHECK-SAME: %[[WANTED:.*]]: tensor<?xi64> {lathe.dims = ["wanted"], lathe.name = "wanted"}
// CHECK-NOT: lathe.compare
// CHECK: %[[K:.*]] = lathe.cache "keys.0" %{{.*}} : tensor<?x2x?x4xf32>
// CHECK-NOT: lathe.cache
// CHECK: lathe.attention %{{.*}}, %[[K]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>) -> tensor<?x2x?x4xf32>
// CHECK: lathe.matmul {{.*}} -> tensor<?x?x10xf32>
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// The same from the other side.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare ge %query, %key : (tensor<?x1xi64>, tensor<?xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// Hidden where the key is later.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare gt %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %least, %zero : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// Below the next place.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %one = lathe.constant dense<1> : tensor<i64>
  %next = lathe.add %query, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %seen = lathe.compare lt %key, %next : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// A difference that is not below 0.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %none = lathe.constant dense<0> : tensor<i64>
  %difference = lathe.sub %query, %key : (tensor<?x1xi64>, tensor<?xi64>) -> tensor<?x?xi64>
  %seen = lathe.compare ge %difference, %none : (tensor<?x?xi64>, tensor<i64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// What is not later, of keys that all are seen.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %later = lathe.compare lt %query, %key : (tensor<?x1xi64>, tensor<?xi64>) -> tensor<?x?xi1>
  %earlier = lathe.not %later : (tensor<?x?xi1>) -> tensor<?x?xi1>
  %all = lathe.constant dense<true> : tensor<i1>
  %seen = lathe.and %all, %earlier : (tensor<i1>, tensor<?x?xi1>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// Hidden where it is later or where nothing is hidden.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %later = lathe.compare lt %query, %key : (tensor<?x1xi64>, tensor<?xi64>) -> tensor<?x?xi1>
  %nothing = lathe.constant dense<false> : tensor<i1>
  %hidden = lathe.or %later, %nothing : (tensor<?x?xi1>, tensor<i1>) -> tensor<?x?xi1>
  %mask = lathe.select %hidden, %least, %zero : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// Multiplied by the least number.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %number = lathe.cast %seen : (tensor<?x?xi1>) -> tensor<?x?xf32>
  %one = lathe.constant dense<1.0> : tensor<f32>
  %hidden = lathe.sub %one, %number : (tensor<f32>, tensor<?x?xf32>) -> tensor<?x?xf32>
  %mask = lathe.mul %hidden, %least : (tensor<?x?xf32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// Only the last three.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention {{.*}} positions(%{{.*}}) {window = 3 : i64}
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %three = lathe.constant dense<3> : tensor<i64>
  %first = lathe.sub %query, %three : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %near = lathe.compare gt %key, %first : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %earlier = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %seen = lathe.and %near, %earlier : (tensor<?x?xi1>, tensor<?x?xi1>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// What depends on the distance of a key is computed for the last token and all keys.
// CHECK-LABEL: func.func @main
// CHECK: lathe.attention {{.*}} positions(%{{.*}}) : {{.*}}, tensor<?x1x?x?xf32>, tensor<?x?xi64>)
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %difference = lathe.sub %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi64>
  %distance = lathe.cast %difference : (tensor<?x?xi64>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %distance, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// Rows of a table of positions are looked up by the positions.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[P:[a-z0-9]+]]: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "positions"}
// CHECK: %[[TABLE:.*]] = lathe.constant dense<2.000000e+00> : tensor<32x8xf32>
// CHECK: lathe.gather %[[TABLE]], %{{.*}} {axis = 0 : i64}
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %places = lathe.constant dense<2.0> : tensor<32x8xf32>
  %numbers = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %row = lathe.reshape %numbers[%c1, %s] : tensor<?xi64> -> tensor<1x?xi64>
  %rows = lathe.gather %places, %row {axis = 0 : i64} : (tensor<32x8xf32>, tensor<1x?xi64>) -> tensor<1x?x8xf32>
  %embedded = lathe.add %x, %rows : (tensor<?x?x8xf32>, tensor<1x?x8xf32>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %embedded[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// The first rows of a table are looked up, too.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[P:[a-z0-9]+]]: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "positions"}
// CHECK: %[[TABLE:.*]] = lathe.constant dense<2.000000e+00> : tensor<1x32x8xf32>
// CHECK: lathe.gather %[[TABLE]], %[[P]] {axis = 1 : i64}
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %places = lathe.constant dense<2.0> : tensor<1x32x8xf32>
  %rows = lathe.slice %places from[%c0] to[%s] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<1x32x8xf32> -> tensor<1x?x8xf32>
  %embedded = lathe.add %x, %rows : (tensor<?x?x8xf32>, tensor<1x?x8xf32>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %embedded[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// So is what is computed of them.
// CHECK-LABEL: func.func @main
// CHECK-SAME: %[[P:[a-z0-9]+]]: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "positions"}
// CHECK: %[[MOVED:.*]] = lathe.add %[[P]],
// CHECK: %[[ANGLE:.*]] = lathe.cast
// CHECK: lathe.cos
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %start = lathe.constant dense<3> : tensor<i64>
  %numbers = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %moved = lathe.add %numbers, %start : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %angle = lathe.cast %moved : (tensor<?xi64>) -> tensor<?xf32>
  %column = lathe.reshape %angle[%c1, %s, %c1] : tensor<?xf32> -> tensor<1x?x1xf32>
  %frequencies = lathe.constant dense<0.5> : tensor<8xf32>
  %product = lathe.mul %column, %frequencies : (tensor<1x?x1xf32>, tensor<8xf32>) -> tensor<1x?x8xf32>
  %rows = lathe.cos %product : (tensor<1x?x8xf32>) -> tensor<1x?x8xf32>
  %embedded = lathe.add %x, %rows : (tensor<?x?x8xf32>, tensor<1x?x8xf32>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %embedded[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// A program that takes the last token by itself is not asked for others.
// CHECK-LABEL: func.func @main
// CHECK-NOT: "wanted"
// CHECK: lathe.attention %{{.*}}, %[[K:.*]], %[[K]] positions(%{{.*}}) : (tensor<?x2x1x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x1xi64>)
// CHECK: lathe.matmul {{.*}} -> tensor<?x1x10xf32>
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x1x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %end = arith.subi %s, %c1 : index
  %last = lathe.slice %y from[%end] to[%s] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x?x8xf32> -> tensor<?x1x8xf32>
  %logits = lathe.matmul %last, %table {transpose_rhs} : (tensor<?x1x8xf32>, tensor<10x8xf32>) -> tensor<?x1x10xf32>
  return %logits : tensor<?x1x10xf32>
}

//--- encode.mlir

// Keys that depend on a source alone are what @encode gives, once; all of them are seen.
// CHECK-LABEL: func.func @encode
// CHECK-SAME: (%[[X:.*]]: tensor<?x2x?x4xf32> {lathe.dims = ["b", "", "n", ""], lathe.name = "states", lathe.role = "source"})
// CHECK-SAME: {lathe.name = "keys.source.0"}
// CHECK-NEXT: %[[R:.*]] = lathe.tanh %[[X]]
// CHECK-NEXT: return %[[R]]
// CHECK-LABEL: func.func @main
// CHECK-SAME: lathe.name = "positions"
// CHECK-SAME: lathe.dims = ["source"], lathe.name = "source_positions"
// CHECK-SAME: %[[LAST:[a-z0-9]+]]: tensor<?x1xi64> {lathe.dims = ["b", "1"], lathe.name = "source_last"}
// CHECK-NOT: lathe.tanh
// CHECK: %[[K:.*]] = lathe.cache "keys.source.0"[%{{.*}}] : tensor<?x2x?x4xf32>
// CHECK: lathe.attention %{{.*}}, %[[K]], %[[K]] positions(%[[LAST]])
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"},
    %states: tensor<?x2x?x4xf32> {lathe.dims = ["b", "", "n", ""], lathe.name = "states", lathe.role = "source"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %k = lathe.tanh %states : (tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %a = lathe.attention %h, %k, %k : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

//--- invalid.mlir

// Every token sees all.
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  // expected-error @below {{cannot generate with a cache: a token may see later ones: no mask that compares its place with theirs was found}}
  %a = lathe.attention %h, %h, %h : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// The next token is seen.
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %one = lathe.constant dense<1> : tensor<i64>
  %next = lathe.add %query, %one : (tensor<?x1xi64>, tensor<i64>) -> tensor<?x1xi64>
  %seen = lathe.compare le %key, %next : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  // expected-error @below {{cannot generate with a cache: a token may see later ones}}
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// What is added makes keys unlikely, but does not hide them.
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-1.0> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  // expected-error @below {{cannot generate with a cache: a token may see later ones}}
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// A mean over the sequence.
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %rows = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  // expected-error @below {{cannot generate with a cache: it reduces along the sequence}}
  %mean = lathe.reduce mean %rows {axes = array<i64: 1>, keep_dims} : (tensor<?x?x8xf32>) -> tensor<?x1x8xf32>
  %y = lathe.sub %rows, %mean : (tensor<?x?x8xf32>, tensor<?x1x8xf32>) -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// A sum over what came before has no cache.
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids", lathe.role = "tokens"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %rows = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  // expected-error @below {{cannot generate with a cache: 'lathe.cumsum' is not known to keep places of the sequence apart}}
  %sums = lathe.cumsum %rows {axis = 1 : i64} : (tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %y = lathe.add %rows, %sums : (tensor<?x?x8xf32>, tensor<?x?x8xf32>) -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}

// -----

// No tokens.
// expected-error @below {{cannot generate with a cache: expects an input with the role 'tokens', found none}}
func.func @main(%t: tensor<?x?xi64> {lathe.dims = ["b", "s"], lathe.name = "ids"}) -> (tensor<?x?x10xf32> {lathe.name = "logits"}) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %s = lathe.symbol "s"
  %table = lathe.constant dense<1.0> : tensor<10x8xf32>
  %x = lathe.gather %table, %t {axis = 0 : i64} : (tensor<10x8xf32>, tensor<?x?xi64>) -> tensor<?x?x8xf32>
  %split = lathe.reshape %x[%b, %s, %c2, %c4] : tensor<?x?x8xf32> -> tensor<?x?x2x4xf32>
  %h = lathe.transpose %split {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x2x4xf32>) -> tensor<?x2x?x4xf32>
  %key = lathe.range %c0, %s, %c1 : tensor<?xi64>
  %query = lathe.reshape %key[%s, %c1] : tensor<?xi64> -> tensor<?x1xi64>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %least = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %seen = lathe.compare le %key, %query : (tensor<?xi64>, tensor<?x1xi64>) -> tensor<?x?xi1>
  %mask = lathe.select %seen, %zero, %least : (tensor<?x?xi1>, tensor<f32>, tensor<f32>) -> tensor<?x?xf32>
  %a = lathe.attention %h, %h, %h, %mask : (tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x2x?x4xf32>, tensor<?x?xf32>) -> tensor<?x2x?x4xf32>
  %joined = lathe.transpose %a {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x2x?x4xf32>) -> tensor<?x?x2x4xf32>
  %y = lathe.reshape %joined[%b, %s, %c8] : tensor<?x?x2x4xf32> -> tensor<?x?x8xf32>
  %logits = lathe.matmul %y, %table {transpose_rhs} : (tensor<?x?x8xf32>, tensor<10x8xf32>) -> tensor<?x?x10xf32>
  return %logits : tensor<?x?x10xf32>
}
