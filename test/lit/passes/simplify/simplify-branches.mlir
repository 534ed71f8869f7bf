// RUN: lathe-opt %s -split-input-file --simplify-branches --canonicalize --cse | FileCheck %s

// A few cheap operations on either side: both are computed.
// CHECK-LABEL: func.func @select
// CHECK-NOT: lathe.if
// CHECK-DAG: %[[Y:.*]] = lathe.mul %arg0, %arg0
// CHECK-DAG: %[[N:.*]] = lathe.neg %arg0
// CHECK: lathe.select %arg1, %[[Y]], %[[N]]
func.func @select(%x: tensor<?x4xf32> {lathe.dims = ["n", "4"]}, %c: tensor<i1>) -> tensor<?x4xf32> {
  %i = lathe.to_index %c {position = 0 : i64} : tensor<i1>
  %r = lathe.if %i -> (tensor<?x4xf32>) {
    %a = lathe.mul %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    lathe.yield %a : tensor<?x4xf32>
  } else {
    %b = lathe.neg %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
    lathe.yield %b : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// A condition that is a number of symbols is compared.
// CHECK-LABEL: func.func @select_by_symbol
// CHECK: %[[N:.*]] = lathe.symbol "n"
// CHECK: %[[T:.*]] = lathe.from_index %[[N]]
// CHECK: %[[C:.*]] = lathe.compare ne %[[T]], 
// CHECK: lathe.select %[[C]]
func.func @select_by_symbol(%x: tensor<4xf32>) -> tensor<4xf32> {
  %n = lathe.symbol "n"
  %r = lathe.if %n -> (tensor<4xf32>) {
    %a = lathe.abs %x : (tensor<4xf32>) -> tensor<4xf32>
    lathe.yield %a : tensor<4xf32>
  } else {
    lathe.yield %x : tensor<4xf32>
  }
  return %r : tensor<4xf32>
}

// -----

// CHECK-LABEL: func.func @known
// CHECK-NOT: lathe.if
// CHECK: %[[A:.*]] = lathe.softmax %arg0
// CHECK: return %[[A]]
func.func @known(%x: tensor<4xf32>) -> tensor<4xf32> {
  %one = arith.constant 1 : index
  %r = lathe.if %one -> (tensor<4xf32>) {
    %a = lathe.softmax %x {axis = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
    lathe.yield %a : tensor<4xf32>
  } else {
    lathe.yield %x : tensor<4xf32>
  }
  return %r : tensor<4xf32>
}

// -----

// Results that nothing uses go, with what computes them.
// CHECK-LABEL: func.func @unused
// CHECK-NOT: lathe.exp
// CHECK: lathe.if %{{.*}} -> (tensor<4xf32>)
// CHECK: lathe.loop {{.*}} : (tensor<4xf32>) -> (index, tensor<4xf32>) {
func.func @unused(%x: tensor<4xf32>, %w: tensor<4x4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %n = lathe.symbol "n"
  %one = arith.constant 1 : index
  %r:2 = lathe.if %n -> (tensor<4xf32>, tensor<4xf32>) {
    %a = lathe.softmax %x {axis = 0 : i64} : (tensor<4xf32>) -> tensor<4xf32>
    %b = lathe.exp %x : (tensor<4xf32>) -> tensor<4xf32>
    lathe.yield %b, %a : tensor<4xf32>, tensor<4xf32>
  } else {
    lathe.yield %x, %x : tensor<4xf32>, tensor<4xf32>
  }
  %l:3 = lathe.loop %n, %one (%x) : (tensor<4xf32>) -> (index, tensor<4xf32>, tensor<?x4xf32>) {
  ^bb0(%i: index, %s: tensor<4xf32>):
    %a = lathe.neg %s : (tensor<4xf32>) -> tensor<4xf32>
    %b = lathe.exp %s : (tensor<4xf32>) -> tensor<4xf32>
    lathe.yield %one, %a, %b : index, tensor<4xf32>, tensor<4xf32>
  }
  return %r#1, %l#1 : tensor<4xf32>, tensor<4xf32>
}

// -----

// Does not fire: a product is too much to compute in vain, a look-up may be out of range, shapes differ.
// CHECK-LABEL: func.func @stays
// CHECK-COUNT-3: lathe.if
func.func @stays(%x: tensor<?x4xf32> {lathe.dims = ["n", "4"]}, %w: tensor<4x4xf32>, %i: tensor<2xi64>)
    -> (tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x4xf32>) {
  %c = lathe.symbol "c"
  %zero = arith.constant 0 : index
  %one = arith.constant 1 : index
  %two = arith.constant 2 : index
  %a = lathe.if %c -> (tensor<?x4xf32>) {
    %y = lathe.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
    lathe.yield %y : tensor<?x4xf32>
  } else {
    lathe.yield %x : tensor<?x4xf32>
  }
  %b = lathe.if %c -> (tensor<?x2xf32>) {
    %y = lathe.gather %x, %i {axis = 1 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x2xf32>
    lathe.yield %y : tensor<?x2xf32>
  } else {
    %y = lathe.slice %x from [%zero] to [%two] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x4xf32> -> tensor<?x2xf32>
    lathe.yield %y : tensor<?x2xf32>
  }
  %d = lathe.if %c -> (tensor<?x4xf32>) {
    %y = lathe.slice %x from [%zero] to [%one] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<?x4xf32> -> tensor<?x4xf32>
    lathe.yield %y : tensor<?x4xf32>
  } else {
    lathe.yield %x : tensor<?x4xf32>
  }
  return %a, %b, %d : tensor<?x4xf32>, tensor<?x2xf32>, tensor<?x4xf32>
}
