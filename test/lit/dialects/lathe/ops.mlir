// RUN: lathe-opt %s | lathe-opt | FileCheck %s

// Every operation of the dialect, printed and parsed again.

// CHECK-LABEL: func.func @unary
func.func @unary(%x: tensor<?x4xf32>, %b: tensor<?xi1>) {
  // CHECK: lathe.neg %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %0 = lathe.neg %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.abs %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.abs %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.sign %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.sign %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.sqrt %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.sqrt %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.rsqrt %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %4 = lathe.rsqrt %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.reciprocal %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %5 = lathe.reciprocal %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.exp %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %6 = lathe.exp %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.log %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %7 = lathe.log %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.erf %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %8 = lathe.erf %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.tanh %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %9 = lathe.tanh %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.sin %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %10 = lathe.sin %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.cos %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %11 = lathe.cos %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.sigmoid %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %12 = lathe.sigmoid %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.relu %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %13 = lathe.relu %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.floor %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %14 = lathe.floor %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.ceil %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %15 = lathe.ceil %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.round %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %16 = lathe.round %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.not %{{.*}} : (tensor<?xi1>) -> tensor<?xi1>
  %n = lathe.not %b : (tensor<?xi1>) -> tensor<?xi1>
  // CHECK: lathe.gelu %{{.*}} {approximation = #lathe.gelu_approximation<tanh>}
  %g = lathe.gelu %x {approximation = #lathe.gelu_approximation<tanh>} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.gelu %{{[a-z0-9]*}} :
  %h = lathe.gelu %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.swish %{{.*}} {beta = 1.702000e+00 : f64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %swish = lathe.swish %x {beta = 1.702 : f64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.is_nan %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xi1>
  %is_nan = lathe.is_nan %x : (tensor<?x4xf32>) -> tensor<?x4xi1>
  // CHECK: lathe.is_inf %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xi1>
  %is_inf = lathe.is_inf %x : (tensor<?x4xf32>) -> tensor<?x4xi1>
  return
}

// CHECK-LABEL: func.func @binary
func.func @binary(%a: tensor<?x1xf32>, %b: tensor<4xf32>, %i: tensor<?xi64>, %j: tensor<i64>, %p: tensor<?xi1>) {
  // CHECK: lathe.add %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %0 = lathe.add %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.add %{{.*}}, %{{.*}} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %i0 = lathe.add %i, %j : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.sub %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %1 = lathe.sub %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.sub %{{.*}}, %{{.*}} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %i1 = lathe.sub %i, %j : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.mul %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %2 = lathe.mul %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.mul %{{.*}}, %{{.*}} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %i2 = lathe.mul %i, %j : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.div %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %3 = lathe.div %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.div %{{.*}}, %{{.*}} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %i3 = lathe.div %i, %j : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.pow %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %4 = lathe.pow %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.pow %{{.*}}, %{{.*}} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %i4 = lathe.pow %i, %j : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.min %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %5 = lathe.min %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.min %{{.*}}, %{{.*}} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %i5 = lathe.min %i, %j : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.max %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %6 = lathe.max %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.max %{{.*}}, %{{.*}} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %i6 = lathe.max %i, %j : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.and %{{.*}}, %{{.*}} : (tensor<?xi1>, tensor<?xi1>) -> tensor<?xi1>
  %p0 = lathe.and %p, %p : (tensor<?xi1>, tensor<?xi1>) -> tensor<?xi1>
  // CHECK: lathe.or %{{.*}}, %{{.*}} : (tensor<?xi1>, tensor<?xi1>) -> tensor<?xi1>
  %p1 = lathe.or %p, %p : (tensor<?xi1>, tensor<?xi1>) -> tensor<?xi1>
  // CHECK: lathe.xor %{{.*}}, %{{.*}} : (tensor<?xi1>, tensor<?xi1>) -> tensor<?xi1>
  %p2 = lathe.xor %p, %p : (tensor<?xi1>, tensor<?xi1>) -> tensor<?xi1>
  // CHECK: lathe.mod %{{.*}}, %{{.*}} : (tensor<?x1xf32>
  %m0 = lathe.mod %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.mod %{{.*}}, %{{.*}} {truncated} : (tensor<?xi64>
  %m1 = lathe.mod %i, %j {truncated} : (tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.compare eq %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  %ceq = lathe.compare eq %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  // CHECK: lathe.compare ne %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  %cne = lathe.compare ne %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  // CHECK: lathe.compare lt %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  %clt = lathe.compare lt %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  // CHECK: lathe.compare le %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  %cle = lathe.compare le %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  // CHECK: lathe.compare gt %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  %cgt = lathe.compare gt %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  // CHECK: lathe.compare ge %{{.*}}, %{{.*}} : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  %cge = lathe.compare ge %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xi1>
  // CHECK: lathe.select %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?xi1>, tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  %s = lathe.select %p, %i, %j : (tensor<?xi1>, tensor<?xi64>, tensor<i64>) -> tensor<?xi64>
  // CHECK: lathe.cast %{{.*}} : (tensor<?x1xf32>) -> tensor<?x1xi8>
  %t0 = lathe.cast %a : (tensor<?x1xf32>) -> tensor<?x1xi8>
  // CHECK: lathe.cast %{{.*}} : (tensor<?x1xf32>) -> tensor<?x1xi1>
  %t1 = lathe.cast %a : (tensor<?x1xf32>) -> tensor<?x1xi1>
  // CHECK: lathe.cast %{{.*}} : (tensor<?xi64>) -> tensor<?xf16>
  %t2 = lathe.cast %i : (tensor<?xi64>) -> tensor<?xf16>
  // CHECK: lathe.cast %{{.*}} : (tensor<?xi1>) -> tensor<?xf32>
  %t3 = lathe.cast %p : (tensor<?xi1>) -> tensor<?xf32>
  // CHECK: lathe.cast %{{.*}} : (tensor<?xi64>) -> tensor<?xi32>
  %t4 = lathe.cast %i : (tensor<?xi64>) -> tensor<?xi32>
  // CHECK: lathe.cast %{{.*}} : (tensor<?xi1>) -> tensor<?xi64>
  %t5 = lathe.cast %p : (tensor<?xi1>) -> tensor<?xi64>
  // CHECK: lathe.cast %{{.*}} : (tensor<?xi64>) -> tensor<?xi1>
  %t6 = lathe.cast %i : (tensor<?xi64>) -> tensor<?xi1>
  // CHECK: lathe.cast %{{.*}} : (tensor<?x1xf32>) -> tensor<?x1xbf16>
  %t7 = lathe.cast %a : (tensor<?x1xf32>) -> tensor<?x1xbf16>
  return
}

// CHECK-LABEL: func.func @products
func.func @products(%a: tensor<?x?x8xf32>, %b: tensor<4x8xf32>, %c: tensor<8x?xi32>, %h: tensor<?x8x?xf16>, %i: tensor<1x4x8xf16>) {
  // CHECK: lathe.matmul %{{.*}}, %{{.*}} {transpose_rhs} : (tensor<?x?x8xf32>, tensor<4x8xf32>) -> tensor<?x?x4xf32>
  %0 = lathe.matmul %a, %b {transpose_rhs} : (tensor<?x?x8xf32>, tensor<4x8xf32>) -> tensor<?x?x4xf32>
  // CHECK: lathe.matmul %{{.*}}, %{{.*}} {transpose_lhs} : (tensor<8x?xi32>, tensor<8x?xi32>) -> tensor<?x?xi32>
  %1 = lathe.matmul %c, %c {transpose_lhs} : (tensor<8x?xi32>, tensor<8x?xi32>) -> tensor<?x?xi32>
  // CHECK: lathe.matmul %{{.*}}, %{{.*}} {transpose_lhs, transpose_rhs} : (tensor<?x8x?xf16>, tensor<1x4x8xf16>) -> tensor<?x?x4xf16>
  %2 = lathe.matmul %h, %i {transpose_lhs, transpose_rhs} : (tensor<?x8x?xf16>, tensor<1x4x8xf16>) -> tensor<?x?x4xf16>
  return
}

// CHECK-LABEL: func.func @reductions
func.func @reductions(%x: tensor<?x4xf32>, %i: tensor<?x4xi32>, %v: tensor<4xf32>, %h: tensor<?x4xf16>, %w: tensor<1xf16>) {
  // CHECK: lathe.reduce sum %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %ksum = lathe.reduce sum %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce sum %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dsum = lathe.reduce sum %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce mean %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %kmean = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce mean %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dmean = lathe.reduce mean %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce max %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %kmax = lathe.reduce max %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce max %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dmax = lathe.reduce max %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce min %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %kmin = lathe.reduce min %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce min %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dmin = lathe.reduce min %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce prod %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %kprod = lathe.reduce prod %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce prod %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dprod = lathe.reduce prod %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce l1 %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %kl1 = lathe.reduce l1 %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce l1 %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dl1 = lathe.reduce l1 %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce l2 %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %kl2 = lathe.reduce l2 %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce l2 %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dl2 = lathe.reduce l2 %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce sum_square %{{.*}} {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  %ksum_square = lathe.reduce sum_square %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  // CHECK: lathe.reduce sum_square %{{.*}} {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  %dsum_square = lathe.reduce sum_square %i {axes = array<i64: 0, 1>} : (tensor<?x4xi32>) -> tensor<i32>
  // CHECK: lathe.reduce mean %{{.*}} {axes = array<i64>} : (tensor<?x4xf16>) -> tensor<?x4xf16>
  %none = lathe.reduce mean %h {axes = array<i64>} : (tensor<?x4xf16>) -> tensor<?x4xf16>
  // CHECK: lathe.softmax %{{.*}} {axis = 0 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %s = lathe.softmax %x {axis = 0 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.softmax %{{.*}} {axis = 1 : i64} : (tensor<?x4xf16>) -> tensor<?x4xf16>
  %sh = lathe.softmax %h {axis = 1 : i64} : (tensor<?x4xf16>) -> tensor<?x4xf16>
  // CHECK: lathe.layer_norm %{{.*}}, %{{.*}}, %{{.*}} {axis = 1 : i64, epsilon = 9.9999999999999998E-13 : f64} : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %l = lathe.layer_norm %x, %v, %v {axis = 1 : i64, epsilon = 1.0e-12 : f64} : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.layer_norm %{{.*}}, %{{.*}} {axis = 0 : i64, epsilon = 1.000000e-03 : f64} : (tensor<?x4xf16>, tensor<1xf16>) -> tensor<?x4xf16>
  %lh = lathe.layer_norm %h, %w {axis = 0 : i64, epsilon = 1.0e-3 : f64} : (tensor<?x4xf16>, tensor<1xf16>) -> tensor<?x4xf16>
  // CHECK: lathe.rms_norm %{{.*}}, %{{.*}} {axis = 1 : i64, epsilon = 1.000000e-03 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %r = lathe.rms_norm %x, %v {axis = 1 : i64, epsilon = 1.0e-3 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.cumsum %{{.*}} {axis = 1 : i64} : (tensor<?x4xi32>) -> tensor<?x4xi32>
  %c0 = lathe.cumsum %i {axis = 1 : i64} : (tensor<?x4xi32>) -> tensor<?x4xi32>
  // CHECK: lathe.cumsum %{{.*}} {axis = 0 : i64, exclusive, reverse} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %c1 = lathe.cumsum %x {axis = 0 : i64, exclusive, reverse} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// CHECK-LABEL: func.func @movement
func.func @movement(%x: tensor<?x4xf32>, %y: tensor<?x2x2xf32>, %one: tensor<1x4xf32>, %z: tensor<?x3xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %m1 = arith.constant -1 : index
  // CHECK: lathe.transpose %{{.*}} {permutation = array<i64: 1, 0>} : (tensor<?x4xf32>) -> tensor<4x?xf32>
  %0 = lathe.transpose %x {permutation = array<i64: 1, 0>} : (tensor<?x4xf32>) -> tensor<4x?xf32>
  // CHECK: lathe.reshape %{{.*}}[%{{.*}}, %{{.*}}] : tensor<?x2x2xf32> -> tensor<?x4xf32>
  %1 = lathe.reshape %y [%m1, %c4] : tensor<?x2x2xf32> -> tensor<?x4xf32>
  // CHECK: lathe.reshape %{{.*}}[%{{.*}}, %{{.*}}] {zero_copies} : tensor<?x2x2xf32> -> tensor<?x4xf32>
  %2 = lathe.reshape %y [%c0, %c4] {zero_copies} : tensor<?x2x2xf32> -> tensor<?x4xf32>
  // CHECK: lathe.broadcast %{{.*}}[%{{.*}}, %{{.*}}] : tensor<1x4xf32> -> tensor<?x4xf32>
  %3 = lathe.broadcast %one [%n, %c4] : tensor<1x4xf32> -> tensor<?x4xf32>
  // CHECK: lathe.broadcast %{{.*}}[%{{.*}}, %{{.*}}] : tensor<?x4xf32> -> tensor<?x4xf32>
  %4 = lathe.broadcast %x [%n, %c1] : tensor<?x4xf32> -> tensor<?x4xf32>
  // CHECK: lathe.concat %{{.*}}, %{{.*}} {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x3xf32>) -> tensor<?x7xf32>
  %5 = lathe.concat %x, %z {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x3xf32>) -> tensor<?x7xf32>
  // CHECK: lathe.concat %{{.*}}, %{{.*}}, %{{.*}} {axis = 0 : i64}
  %6 = lathe.concat %x, %x, %one {axis = 0 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.slice %{{.*}} from[%{{.*}}] to[%{{.*}}] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x4xf32> -> tensor<?x2xf32>
  %7 = lathe.slice %x from [%c0] to [%c2] {axes = array<i64: 1>, steps = array<i64: 1>} : tensor<?x4xf32> -> tensor<?x2xf32>
  // CHECK: lathe.slice %{{.*}} from[%{{.*}}, %{{.*}}] to[%{{.*}}, %{{.*}}] {axes = array<i64: 0, 1>, steps = array<i64: 2, -1>} : tensor<?x4xf32> -> tensor<?x3xf32>
  %8 = lathe.slice %x from [%c0, %m1] to [%n, %c0] {axes = array<i64: 0, 1>, steps = array<i64: 2, -1>} : tensor<?x4xf32> -> tensor<?x3xf32>
  return
}

// CHECK-LABEL: func.func @gathers
func.func @gathers(%x: tensor<10x4xf32>, %i: tensor<?x?xi64>, %y: tensor<?x4xf32>, %j: tensor<?x2xi64>, %b: tensor<?x?xi1>, %k: tensor<?x1x2xi64>, %n: index) {
  %c1 = arith.constant 1 : index
  // CHECK: lathe.gather %{{.*}}, %{{.*}} {axis = 0 : i64} : (tensor<10x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  %0 = lathe.gather %x, %i {axis = 0 : i64} : (tensor<10x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  // CHECK: lathe.gather_elements %{{.*}}, %{{.*}} {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  %1 = lathe.gather_elements %y, %j {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>) -> tensor<?x2xf32>
  // CHECK: lathe.gather_nd %{{.*}}, %{{.*}} {batch_dims = 0 : i64} : (tensor<?x?xi1>, tensor<?x1x2xi64>) -> tensor<?x1xi1>
  %2 = lathe.gather_nd %b, %k {batch_dims = 0 : i64} : (tensor<?x?xi1>, tensor<?x1x2xi64>) -> tensor<?x1xi1>
  // CHECK: lathe.range %{{.*}}, %{{.*}}, %{{.*}} : tensor<?xi64>
  %3 = lathe.range %n, %n, %c1 : tensor<?xi64>
  return
}

// CHECK-LABEL: func.func @pads_and_windows
func.func @pads_and_windows(%x: tensor<?x4xf32>, %zero: tensor<f32>, %y: tensor<?x80x?xf32>, %n: index) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %c6 = arith.constant 6 : index
  // CHECK: lathe.pad %{{.*}} with %{{.*}} low[%{{.*}}, %{{.*}}] extents[%{{.*}}, %{{.*}}] : tensor<?x4xf32>, tensor<f32> -> tensor<?x6xf32>
  %0 = lathe.pad %x with %zero low [%c0, %c1] extents [%n, %c6] : tensor<?x4xf32>, tensor<f32> -> tensor<?x6xf32>
  // CHECK: lathe.windows %{{.*}} kernel[%{{.*}}] low[%{{.*}}] extents[%{{.*}}] {base_dilations = array<i64: 1>, dilations = array<i64: -1>, padding = 0.000000e+00 : f64, strides = array<i64: 2>} : tensor<?x80x?xf32> -> tensor<?x80x?x3xf32>
  %1 = lathe.windows %y kernel [%c3] low [%c1] extents [%n]
      {strides = array<i64: 2>, dilations = array<i64: -1>, base_dilations = array<i64: 1>, padding = 0.0 : f64}
      : tensor<?x80x?xf32> -> tensor<?x80x?x3xf32>
  // CHECK: lathe.windows %{{.*}} kernel[%{{.*}}, %{{.*}}] low[%{{.*}}, %{{.*}}] extents[%{{.*}}, %{{.*}}]
  %2 = lathe.windows %y kernel [%n, %c1] low [%n, %c1] extents [%c6, %n]
      {strides = array<i64: 1, 1>, dilations = array<i64: 1, 2>, base_dilations = array<i64: 2, 1>, padding = 0.0 : f64}
      : tensor<?x80x?xf32> -> tensor<?x6x?x?x1xf32>
  return
}

// CHECK-LABEL: func.func @scatters
func.func @scatters(%x: tensor<?x4xf32>, %i: tensor<?x2xi64>, %u: tensor<?x2xf32>, %t: tensor<?x1xi32>, %v: tensor<?x4xf32>, %s: tensor<2xi64>, %w: tensor<f32>) {
  // CHECK: lathe.scatter_elements assign %{{.*}}, %{{.*}}, %{{.*}} {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  %0 = lathe.scatter_elements assign %x, %i, %u {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.scatter_elements max %{{.*}}, %{{.*}}, %{{.*}} {axis = 0 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  %1 = lathe.scatter_elements max %x, %i, %u {axis = 0 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.scatter_nd add %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x4xf32>, tensor<?x1xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.scatter_nd add %x, %t, %v : (tensor<?x4xf32>, tensor<?x1xi32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.scatter_nd mul %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x4xf32>, tensor<2xi64>, tensor<f32>) -> tensor<?x4xf32>
  %3 = lathe.scatter_nd mul %x, %s, %w : (tensor<?x4xf32>, tensor<2xi64>, tensor<f32>) -> tensor<?x4xf32>
  return
}

// CHECK-LABEL: func.func @top_k
func.func @top_k(%x: tensor<?x4xf32>, %k: index) {
  %c2 = arith.constant 2 : index
  // CHECK: lathe.top_k %{{.*}}, %{{.*}} {axis = 1 : i64} : tensor<?x4xf32> -> tensor<?x2xi64>
  %0 = lathe.top_k %x, %c2 {axis = 1 : i64} : tensor<?x4xf32> -> tensor<?x2xi64>
  // CHECK: lathe.top_k %{{.*}}, %{{.*}} {axis = 0 : i64, smallest} : tensor<?x4xf32> -> tensor<?x4xi32>
  %1 = lathe.top_k %x, %k {axis = 0 : i64, smallest} : tensor<?x4xf32> -> tensor<?x4xi32>
  return
}

// CHECK-LABEL: func.func @constants_and_shapes
func.func @constants_and_shapes(%x: tensor<?x4xf32>, %n: index) {
  // CHECK: lathe.constant dense<[1.000000e+00, 2.000000e+00]> : tensor<2xf32>
  %c = lathe.constant dense<[1.0, 2.0]> : tensor<2xf32>
  // CHECK: lathe.weight "layer.0.weight" in "model.safetensors" at 128 : tensor<4x8xf32>
  %w = lathe.weight "layer.0.weight" in "model.safetensors" at 128 : tensor<4x8xf32>
  // CHECK: lathe.symbol "batch"
  %b = lathe.symbol "batch"
  // CHECK: lathe.dim %{{.*}} {axis = 0 : i64} : tensor<?x4xf32>
  %d = lathe.dim %x {axis = 0 : i64} : tensor<?x4xf32>
  // CHECK: lathe.shape_of %{{.*}} : tensor<?x4xf32> -> tensor<2xi64>
  %s = lathe.shape_of %x : tensor<?x4xf32> -> tensor<2xi64>
  // CHECK: lathe.from_index %{{.*}}, %{{.*}} : tensor<2xi64>
  %f = lathe.from_index %b, %d : tensor<2xi64>
  // CHECK: lathe.from_index %{{.*}} : tensor<i64>
  %g = lathe.from_index %n : tensor<i64>
  // CHECK: lathe.from_index : tensor<0xi64>
  %e = lathe.from_index : tensor<0xi64>
  // CHECK: lathe.to_index %{{.*}} {position = 1 : i64} : tensor<2xi64>
  %t = lathe.to_index %s {position = 1 : i64} : tensor<2xi64>
  // CHECK: lathe.to_index %{{.*}} {position = 0 : i64} : tensor<i64>
  %u = lathe.to_index %g {position = 0 : i64} : tensor<i64>
  // CHECK: lathe.require %{{.*}}, "expects an even number"
  lathe.require %t, "expects an even number"
  // CHECK: lathe.require %{{.*}}, "expects an axis within rank 3" got %{{.*}}, %{{.*}}
  lathe.require %t, "expects an axis within rank 3" got %t, %u
  return
}

// CHECK-LABEL: func.func @atan_and_bits
func.func @atan_and_bits(%x: tensor<?x4xf32>, %a: tensor<?x1xui8>, %b: tensor<4xui8>) {
  // CHECK: lathe.atan %{{.*}} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %0 = lathe.atan %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  // CHECK: lathe.shift_left %{{.*}}, %{{.*}} : (tensor<?x1xui8>, tensor<4xui8>) -> tensor<?x4xui8>
  %1 = lathe.shift_left %a, %b : (tensor<?x1xui8>, tensor<4xui8>) -> tensor<?x4xui8>
  // CHECK: lathe.shift_right %{{.*}}, %{{.*}} : (tensor<?x1xui8>, tensor<4xui8>) -> tensor<?x4xui8>
  %2 = lathe.shift_right %a, %b : (tensor<?x1xui8>, tensor<4xui8>) -> tensor<?x4xui8>
  // CHECK: lathe.and %{{.*}}, %{{.*}} : (tensor<?x1xui8>, tensor<4xui8>) -> tensor<?x4xui8>
  %3 = lathe.and %a, %b : (tensor<?x1xui8>, tensor<4xui8>) -> tensor<?x4xui8>
  // CHECK: lathe.not %{{.*}} : (tensor<4xui8>) -> tensor<4xui8>
  %4 = lathe.not %b : (tensor<4xui8>) -> tensor<4xui8>
  return
}

// CHECK-LABEL: func.func @quantization
func.func @quantization(%x: tensor<?x64xf32>, %s: tensor<f32>, %z: tensor<ui8>, %sa: tensor<64xf32>, %za: tensor<64xui8>, %sb: tensor<?x2xf32>) {
  // CHECK: lathe.quantize %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x64xf32>, tensor<f32>, tensor<ui8>) -> tensor<?x64xui8>
  %0 = lathe.quantize %x, %s, %z : (tensor<?x64xf32>, tensor<f32>, tensor<ui8>) -> tensor<?x64xui8>
  // CHECK: lathe.dequantize %{{.*}}, %{{.*}}, %{{.*}} {axis = 1 : i64} : (tensor<?x64xui8>, tensor<64xf32>, tensor<64xui8>) -> tensor<?x64xf32>
  %1 = lathe.dequantize %0, %sa, %za {axis = 1 : i64} : (tensor<?x64xui8>, tensor<64xf32>, tensor<64xui8>) -> tensor<?x64xf32>
  // CHECK: lathe.quantize %{{.*}}, %{{.*}} {axis = 1 : i64, block_size = 32 : i64, overflows} : (tensor<?x64xf32>, tensor<?x2xf32>) -> tensor<?x64xf8E4M3FN>
  %2 = lathe.quantize %x, %sb {axis = 1 : i64, block_size = 32 : i64, overflows} : (tensor<?x64xf32>, tensor<?x2xf32>) -> tensor<?x64xf8E4M3FN>
  // CHECK: lathe.cast %{{.*}} {overflows} : (tensor<?x64xf32>) -> tensor<?x64xf8E5M2>
  %3 = lathe.cast %x {overflows} : (tensor<?x64xf32>) -> tensor<?x64xf8E5M2>
  return
}

// CHECK-LABEL: func.func @codes
func.func @codes(%c: tensor<?x16xui4>, %t: tensor<16xf32>, %v: tensor<16x4xf32>, %s: tensor<?x2xf16>) {
  // CHECK: lathe.codebook_lookup %{{.*}}, %{{.*}} : (tensor<?x16xui4>, tensor<16xf32>) -> tensor<?x16xf32>
  %0 = lathe.codebook_lookup %c, %t : (tensor<?x16xui4>, tensor<16xf32>) -> tensor<?x16xf32>
  // CHECK: lathe.codebook_lookup %{{.*}}, %{{.*}} {axis = 1 : i64} : (tensor<?x16xui4>, tensor<16x4xf32>) -> tensor<?x64xf32>
  %1 = lathe.codebook_lookup %c, %v {axis = 1 : i64} : (tensor<?x16xui4>, tensor<16x4xf32>) -> tensor<?x64xf32>
  // CHECK: lathe.dequantize %{{.*}}, %{{.*}}, %{{.*}} {axis = 1 : i64, block_size = 8 : i64} : (tensor<?x16xui4>, tensor<?x2xf16>, tensor<?x2xf16>) -> tensor<?x16xf32>
  %2 = lathe.dequantize %c, %s, %s {axis = 1 : i64, block_size = 8 : i64} : (tensor<?x16xui4>, tensor<?x2xf16>, tensor<?x2xf16>) -> tensor<?x16xf32>
  // CHECK: lathe.dequantize_log2 %{{.*}}, %{{.*}} {axis = 1 : i64, block_size = 8 : i64} : (tensor<?x16xui4>, tensor<?x2xf16>) -> tensor<?x16xf32>
  %3 = lathe.dequantize_log2 %c, %s {axis = 1 : i64, block_size = 8 : i64} : (tensor<?x16xui4>, tensor<?x2xf16>) -> tensor<?x16xf32>
  return
}

// CHECK-LABEL: func.func @control_flow
func.func @control_flow(%c: index, %n: index, %x: tensor<?x4xf32>, %y: tensor<2x4xf32>) -> tensor<?x4xf32> {
  // CHECK: lathe.if %{{.*}} -> (tensor<?x4xf32>) {
  // CHECK: lathe.yield %{{.*}} : tensor<?x4xf32>
  // CHECK: } else {
  // CHECK: lathe.yield %{{.*}} : tensor<2x4xf32>
  %0 = lathe.if %c -> (tensor<?x4xf32>) {
    lathe.yield %x : tensor<?x4xf32>
  } else {
    lathe.yield %y : tensor<2x4xf32>
  }
  // CHECK: lathe.loop %{{.*}}, %{{.*}}(%{{.*}}) : (tensor<2x4xf32>) -> (index, tensor<2x4xf32>, tensor<?x2x4xf32>) {
  // CHECK: ^bb0(%{{.*}}: index, %{{.*}}: tensor<2x4xf32>):
  // CHECK: lathe.yield %{{.*}}, %{{.*}}, %{{.*}} : index, tensor<2x4xf32>, tensor<2x4xf32>
  %1:3 = lathe.loop %n, %c(%y) : (tensor<2x4xf32>) -> (index, tensor<2x4xf32>, tensor<?x2x4xf32>) {
  ^bb0(%i: index, %s: tensor<2x4xf32>):
    %2 = lathe.exp %s : (tensor<2x4xf32>) -> tensor<2x4xf32>
    lathe.yield %c, %2, %s : index, tensor<2x4xf32>, tensor<2x4xf32>
  }
  return %0 : tensor<?x4xf32>
}
