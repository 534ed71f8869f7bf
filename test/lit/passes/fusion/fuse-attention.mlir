// RUN: lathe-opt %s --fuse-attention | FileCheck %s

// Factors of the query, the key and the product are one; a transposed key is read as it is; the mask is a bias.
// CHECK-LABEL: func.func @factors
// CHECK-SAME: (%[[Q:.*]]: tensor<?x4x?x16xf32> {{.*}}, %[[K:.*]]: tensor<?x4x?x16xf32> {{.*}}, %[[V:.*]]: tensor<?x4x?x16xf32> {{.*}}, %[[M:[^:]*]]:
// CHECK-NEXT: %[[R:.*]] = lathe.attention %[[Q]], %[[K]], %[[V]], %[[M]] {scale = 5.000000e-01 : f64} : {{.*}} -> tensor<?x4x?x16xf32>
// CHECK-NEXT: return %[[R]]
func.func @factors(%q: tensor<?x4x?x16xf32> {lathe.dims = ["b", "", "s", ""]}, %k: tensor<?x4x?x16xf32> {lathe.dims = ["b", "", "t", ""]},
    %v: tensor<?x4x?x16xf32> {lathe.dims = ["b", "", "t", ""]}, %mask: tensor<?x1x1x?xf32> {lathe.dims = ["b", "", "", "t"]}) -> tensor<?x4x?x16xf32> {
  %half = lathe.constant dense<0.5> : tensor<f32>
  %two = lathe.constant dense<2.0> : tensor<1xf32>
  %0 = lathe.mul %q, %half : (tensor<?x4x?x16xf32>, tensor<f32>) -> tensor<?x4x?x16xf32>
  %1 = lathe.transpose %k {permutation = array<i64: 0, 1, 3, 2>} : (tensor<?x4x?x16xf32>) -> tensor<?x4x16x?xf32>
  %2 = lathe.mul %1, %two : (tensor<?x4x16x?xf32>, tensor<1xf32>) -> tensor<?x4x16x?xf32>
  %3 = lathe.matmul %0, %2 : (tensor<?x4x?x16xf32>, tensor<?x4x16x?xf32>) -> tensor<?x4x?x?xf32>
  %4 = lathe.div %3, %two : (tensor<?x4x?x?xf32>, tensor<1xf32>) -> tensor<?x4x?x?xf32>
  %5 = lathe.add %mask, %4 : (tensor<?x1x1x?xf32>, tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %6 = lathe.softmax %5 {axis = 3 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %7 = lathe.matmul %6, %v : (tensor<?x4x?x?xf32>, tensor<?x4x?x16xf32>) -> tensor<?x4x?x16xf32>
  return %7 : tensor<?x4x?x16xf32>
}

// A factor before the projection is taken apart into heads, and one before they are repeated.
// CHECK-LABEL: func.func @factors_before
// CHECK-NOT: lathe.mul
// CHECK: lathe.reshape %arg0
// CHECK: lathe.attention %{{.*}}, %arg1, %arg1 {scale = 1.250000e-01 : f64} : (tensor<1x4x3x16xf32>, tensor<1x2x5x16xf32>, tensor<1x2x5x16xf32>)
func.func @factors_before(%x: tensor<1x3x64xf32>, %k: tensor<1x2x5x16xf32>) -> tensor<1x4x3x16xf32> {
  %quarter = lathe.constant dense<0.25> : tensor<f32>
  %half = lathe.constant dense<0.5> : tensor<f32>
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  %c16 = arith.constant 16 : index
  %0 = lathe.mul %x, %quarter : (tensor<1x3x64xf32>, tensor<f32>) -> tensor<1x3x64xf32>
  %1 = lathe.reshape %0[%c1, %c3, %c4, %c16] : tensor<1x3x64xf32> -> tensor<1x3x4x16xf32>
  %2 = lathe.transpose %1 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<1x3x4x16xf32>) -> tensor<1x4x3x16xf32>
  %3 = lathe.mul %k, %half : (tensor<1x2x5x16xf32>, tensor<f32>) -> tensor<1x2x5x16xf32>
  %4 = lathe.reshape %3[%c1, %c2, %c1, %c5, %c16] : tensor<1x2x5x16xf32> -> tensor<1x2x1x5x16xf32>
  %5 = lathe.broadcast %4[%c1, %c2, %c2, %c5, %c16] : tensor<1x2x1x5x16xf32> -> tensor<1x2x2x5x16xf32>
  %6 = lathe.reshape %5[%c1, %c4, %c5, %c16] : tensor<1x2x2x5x16xf32> -> tensor<1x4x5x16xf32>
  %7 = lathe.reshape %k[%c1, %c2, %c1, %c5, %c16] : tensor<1x2x5x16xf32> -> tensor<1x2x1x5x16xf32>
  %8 = lathe.broadcast %7[%c1, %c2, %c2, %c5, %c16] : tensor<1x2x1x5x16xf32> -> tensor<1x2x2x5x16xf32>
  %9 = lathe.reshape %8[%c1, %c4, %c5, %c16] : tensor<1x2x2x5x16xf32> -> tensor<1x4x5x16xf32>
  %10 = lathe.matmul %2, %6 {transpose_rhs} : (tensor<1x4x3x16xf32>, tensor<1x4x5x16xf32>) -> tensor<1x4x3x5xf32>
  %11 = lathe.softmax %10 {axis = 3 : i64} : (tensor<1x4x3x5xf32>) -> tensor<1x4x3x5xf32>
  %12 = lathe.matmul %11, %9 : (tensor<1x4x3x5xf32>, tensor<1x4x5x16xf32>) -> tensor<1x4x3x16xf32>
  return %12 : tensor<1x4x3x16xf32>
}

// A softcap, sums and differences in any order, a mask of conditions, and the guard of rows without a key.
// CHECK-LABEL: func.func @biases
// CHECK-DAG: %[[ZERO:.*]] = lathe.constant dense<0.000000e+00> : tensor<f32>
// CHECK-DAG: %[[LOWEST:.*]] = lathe.constant dense<-3.40282347E+38> : tensor<f32>
// CHECK-DAG: %[[NEGATIVE:.*]] = lathe.neg %arg2
// CHECK-DAG: %[[MASK:.*]] = lathe.select %arg3, %[[ZERO]], %[[LOWEST]]
// CHECK: lathe.attention %arg0, %arg0, %arg0, %[[NEGATIVE]], %[[MASK]] {scale = 2.500000e-01 : f64, softcap = 3.000000e+01 : f64, zero_nan}
// CHECK-NOT: lathe.softmax
func.func @biases(%q: tensor<2x3x8xf32>, %unused: tensor<f32>, %b: tensor<3x3xf32>, %c: tensor<1x3x3xi1>) -> tensor<2x3x8xf32> {
  %cap = lathe.constant dense<30.0> : tensor<f32>
  %inner = lathe.constant dense<120.0> : tensor<f32>
  %lowest = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.div %0, %inner : (tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %2 = lathe.tanh %1 : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %3 = lathe.mul %2, %cap : (tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %4 = lathe.sub %3, %b : (tensor<2x3x3xf32>, tensor<3x3xf32>) -> tensor<2x3x3xf32>
  %5 = lathe.select %c, %4, %lowest : (tensor<1x3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %6 = lathe.softmax %5 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %7 = lathe.is_nan %6 : (tensor<2x3x3xf32>) -> tensor<2x3x3xi1>
  %8 = lathe.select %7, %zero, %6 : (tensor<2x3x3xi1>, tensor<f32>, tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %9 = lathe.matmul %8, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %9 : tensor<2x3x8xf32>
}

// Masked where the condition holds; rows whose best score is minus infinity are 0.
// CHECK-LABEL: func.func @masked_rows
// CHECK-DAG: %[[ZERO:.*]] = lathe.constant dense<0.000000e+00> : tensor<f32>
// CHECK-DAG: %[[LEAST:.*]] = lathe.constant dense<0xFF800000> : tensor<f32>
// CHECK: %[[MASK:.*]] = lathe.select %arg1, %[[LEAST]], %[[ZERO]]
// CHECK: lathe.attention %arg0, %arg0, %arg0, %[[MASK]] {zero_masked}
// CHECK-NOT: lathe.reduce
func.func @masked_rows(%q: tensor<2x3x8xf32>, %c: tensor<3x3xi1>) -> tensor<2x3x8xf32> {
  %least = lathe.constant dense<0xFF800000> : tensor<f32>
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.select %c, %least, %0 : (tensor<3x3xi1>, tensor<f32>, tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %2 = lathe.softmax %1 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %3 = lathe.reduce max %1 {axes = array<i64: 2>, keep_dims} : (tensor<2x3x3xf32>) -> tensor<2x3x1xf32>
  %4 = lathe.compare eq %3, %least : (tensor<2x3x1xf32>, tensor<f32>) -> tensor<2x3x1xi1>
  %5 = lathe.select %4, %zero, %2 : (tensor<2x3x1xi1>, tensor<f32>, tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %6 = lathe.matmul %5, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %6 : tensor<2x3x8xf32>
}

// Repeated heads are read by groups of queries.
// CHECK-LABEL: func.func @repeated
// CHECK-NEXT: lathe.attention %arg0, %arg1, %arg1 : (tensor<1x8x3x16xf32>, tensor<1x2x5x16xf32>, tensor<1x2x5x16xf32>) -> tensor<1x8x3x16xf32>
func.func @repeated(%q: tensor<1x8x3x16xf32>, %k: tensor<1x2x5x16xf32>) -> tensor<1x8x3x16xf32> {
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %c4 = arith.constant 4 : index
  %c5 = arith.constant 5 : index
  %c8 = arith.constant 8 : index
  %c16 = arith.constant 16 : index
  %0 = lathe.reshape %k [%c1, %c2, %c1, %c5, %c16] : tensor<1x2x5x16xf32> -> tensor<1x2x1x5x16xf32>
  %1 = lathe.broadcast %0 [%c1, %c2, %c4, %c5, %c16] : tensor<1x2x1x5x16xf32> -> tensor<1x2x4x5x16xf32>
  %2 = lathe.reshape %1 [%c1, %c8, %c5, %c16] : tensor<1x2x4x5x16xf32> -> tensor<1x8x5x16xf32>
  %3 = lathe.matmul %q, %2 {transpose_rhs} : (tensor<1x8x3x16xf32>, tensor<1x8x5x16xf32>) -> tensor<1x8x3x5xf32>
  %4 = lathe.softmax %3 {axis = 3 : i64} : (tensor<1x8x3x5xf32>) -> tensor<1x8x3x5xf32>
  %5 = lathe.matmul %4, %2 : (tensor<1x8x3x5xf32>, tensor<1x8x5x16xf32>) -> tensor<1x8x3x16xf32>
  return %5 : tensor<1x8x3x16xf32>
}

// The masks of windows are repeated for each image: the axes are apart, so that the mask and the position's bias are read as they are.
// CHECK-LABEL: func.func @windows
// CHECK-DAG: %[[Q:.*]] = lathe.reshape %arg0{{.*}} tensor<?x3x4x8xf32> -> tensor<?x7x3x4x8xf32>
// CHECK-DAG: %[[POSITION:.*]] = lathe.reshape %{{.*}} : tensor<1x3x4x4xf32> -> tensor<1x1x3x4x4xf32>
// CHECK-DAG: %[[WINDOW:.*]] = lathe.reshape %arg2{{.*}} -> tensor<1x7x1x4x4xf32>
// CHECK: %[[R:.*]] = lathe.attention %[[Q]], {{.*}}, %[[POSITION]], %[[WINDOW]]
// CHECK: lathe.reshape %[[R]]{{.*}} tensor<?x7x3x4x8xf32> -> tensor<?x3x4x8xf32>
func.func @windows(%q: tensor<?x3x4x8xf32> {lathe.dims = ["7*b", "", "", ""]}, %p: tensor<3x4x4xf32>, %w: tensor<7x4x4xf32>) -> tensor<?x3x4x8xf32> {
  %b = lathe.symbol "b"
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %c4 = arith.constant 4 : index
  %c7 = arith.constant 7 : index
  %n = arith.muli %b, %c7 : index
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<?x3x4x8xf32>, tensor<?x3x4x8xf32>) -> tensor<?x3x4x4xf32>
  %1 = lathe.reshape %p [%c1, %c3, %c4, %c4] : tensor<3x4x4xf32> -> tensor<1x3x4x4xf32>
  %2 = lathe.reshape %w [%c1, %c7, %c1, %c4, %c4] : tensor<7x4x4xf32> -> tensor<1x7x1x4x4xf32>
  %3 = lathe.broadcast %2 [%b, %c7, %c1, %c4, %c4] : tensor<1x7x1x4x4xf32> -> tensor<?x7x1x4x4xf32>
  %4 = lathe.reshape %3 [%n, %c1, %c4, %c4] : tensor<?x7x1x4x4xf32> -> tensor<?x1x4x4xf32>
  %5 = lathe.add %1, %4 : (tensor<1x3x4x4xf32>, tensor<?x1x4x4xf32>) -> tensor<?x3x4x4xf32>
  %6 = lathe.add %0, %5 : (tensor<?x3x4x4xf32>, tensor<?x3x4x4xf32>) -> tensor<?x3x4x4xf32>
  %7 = lathe.softmax %6 {axis = 3 : i64} : (tensor<?x3x4x4xf32>) -> tensor<?x3x4x4xf32>
  %8 = lathe.matmul %7, %q : (tensor<?x3x4x4xf32>, tensor<?x3x4x8xf32>) -> tensor<?x3x4x8xf32>
  return %8 : tensor<?x3x4x8xf32>
}

// Three biases: those of one shape are summed.
// CHECK-LABEL: func.func @three
// CHECK: %[[SUM:.*]] = lathe.add %arg1, %arg3 : (tensor<3x3xf32>, tensor<3x3xf32>) -> tensor<3x3xf32>
// CHECK: lathe.attention %arg0, %arg0, %arg0, %[[SUM]], %arg2
func.func @three(%q: tensor<2x3x8xf32>, %a: tensor<3x3xf32>, %b: tensor<3xf32>, %c: tensor<3x3xf32>) -> tensor<2x3x8xf32> {
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.add %0, %a : (tensor<2x3x3xf32>, tensor<3x3xf32>) -> tensor<2x3x3xf32>
  %2 = lathe.add %1, %b : (tensor<2x3x3xf32>, tensor<3xf32>) -> tensor<2x3x3xf32>
  %3 = lathe.add %2, %c : (tensor<2x3x3xf32>, tensor<3x3xf32>) -> tensor<2x3x3xf32>
  %4 = lathe.softmax %3 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %5 = lathe.matmul %4, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %5 : tensor<2x3x8xf32>
}

// The weights are a result, too.
// CHECK-LABEL: func.func @weights_used
// CHECK-NOT: lathe.attention
func.func @weights_used(%q: tensor<2x3x8xf32>) -> (tensor<2x3x8xf32>, tensor<2x3x3xf32>) {
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.softmax %0 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %2 = lathe.matmul %1, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %2, %1 : tensor<2x3x8xf32>, tensor<2x3x3xf32>
}

// The scores are a result, too.
// CHECK-LABEL: func.func @scores_used
// CHECK-NOT: lathe.attention
func.func @scores_used(%q: tensor<2x3x8xf32>) -> (tensor<2x3x8xf32>, tensor<2x3x3xf32>) {
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.softmax %0 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %2 = lathe.matmul %1, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %2, %0 : tensor<2x3x8xf32>, tensor<2x3x3xf32>
}

// Masked scores of -10000: any number does where nothing is added, and the lowest gives itself.
// CHECK-LABEL: func.func @small_mask
// CHECK-DAG: %[[ZERO:.*]] = lathe.constant dense<0.000000e+00> : tensor<f32>
// CHECK-DAG: %[[LOWEST:.*]] = lathe.constant dense<-3.40282347E+38> : tensor<f32>
// CHECK: %[[MASK:.*]] = lathe.select %arg1, %[[ZERO]], %[[LOWEST]]
// CHECK: lathe.attention %arg0, %arg0, %arg0, %[[MASK]] {softcap = 5.000000e+01 : f64}
func.func @small_mask(%q: tensor<2x3x8xf32>, %c: tensor<3x3xi1>) -> tensor<2x3x8xf32> {
  %small = lathe.constant dense<-1.0e4> : tensor<f32>
  %cap = lathe.constant dense<50.0> : tensor<f32>
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.div %0, %cap : (tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %2 = lathe.tanh %1 : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %3 = lathe.mul %2, %cap : (tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %4 = lathe.select %c, %3, %small : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %5 = lathe.softmax %4 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %6 = lathe.matmul %5, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %6 : tensor<2x3x8xf32>
}

// Masks of one number are one: their sum would be minus infinity. Not where that is what they are: then their sum is right, too.
// CHECK-LABEL: func.func @two_masks
// CHECK-DAG: %[[NOT:.*]] = lathe.not %arg2
// CHECK-DAG: %[[BOTH:.*]] = lathe.and %[[NOT]], %arg1
// CHECK-DAG: %[[MASK:.*]] = lathe.select %[[BOTH]], %{{.*}} -> tensor<2x3x3xf32>
// CHECK: lathe.attention %arg0, %arg0, %arg0, %[[MASK]] :
// CHECK: lathe.attention %arg0, %arg0, %arg0, %{{.*}}, %{{.*}} : {{.*}}tensor<3x3xf32>, tensor<2x1x3xf32>)
func.func @two_masks(%q: tensor<2x3x8xf32>, %c: tensor<3x3xi1>, %d: tensor<2x1x3xi1>) -> (tensor<2x3x8xf32>, tensor<2x3x8xf32>) {
  %lowest = lathe.constant dense<-3.40282347E+38> : tensor<f32>
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.select %d, %lowest, %0 : (tensor<2x1x3xi1>, tensor<f32>, tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %2 = lathe.select %c, %1, %lowest : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %3 = lathe.softmax %2 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %4 = lathe.matmul %3, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>

  %least = lathe.constant dense<0xFF800000> : tensor<f32>
  %5 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %6 = lathe.select %c, %5, %least : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %7 = lathe.select %d, %6, %least : (tensor<2x1x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %8 = lathe.softmax %7 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %9 = lathe.matmul %8, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %4, %9 : tensor<2x3x8xf32>, tensor<2x3x8xf32>
}

// Not beside a bias, in whatever order, nor beside a mask of another number: which number it is matters in rows that are masked as a
// whole. Nor where a factor makes it one that scores may reach.
// CHECK-LABEL: func.func @small_masks
// CHECK-NOT: lathe.attention
func.func @small_masks(%q: tensor<2x3x8xf32>, %c: tensor<3x3xi1>, %d: tensor<2x1x3xi1>, %b: tensor<2x1x3xf32>)
    -> (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) {
  %small = lathe.constant dense<-1.0e4> : tensor<f32>
  %smaller = lathe.constant dense<-1.0e9> : tensor<f32>
  %eighth = lathe.constant dense<0.125> : tensor<f32>
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.select %c, %0, %small : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %2 = lathe.add %1, %b : (tensor<2x3x3xf32>, tensor<2x1x3xf32>) -> tensor<2x3x3xf32>
  %3 = lathe.softmax %2 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %4 = lathe.matmul %3, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>

  %5 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %6 = lathe.add %5, %b : (tensor<2x3x3xf32>, tensor<2x1x3xf32>) -> tensor<2x3x3xf32>
  %7 = lathe.select %c, %6, %small : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %8 = lathe.softmax %7 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %9 = lathe.matmul %8, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>

  %10 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %11 = lathe.select %c, %10, %small : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %12 = lathe.select %d, %11, %smaller : (tensor<2x1x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %13 = lathe.softmax %12 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %14 = lathe.matmul %13, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>

  %15 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %16 = lathe.select %c, %15, %small : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %17 = lathe.mul %16, %eighth : (tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %18 = lathe.softmax %17 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %19 = lathe.matmul %18, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %4, %9, %14, %19 : tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>
}

// A mask of a number that scores may reach; a softmax over another axis; other types; a product
// with a weight; something else in between.
// CHECK-LABEL: func.func @others
// CHECK-NOT: lathe.attention
func.func @others(%q: tensor<2x3x8xf32>, %c: tensor<3x3xi1>, %h: tensor<2x3x8xf16>, %w: tensor<8x3xf32>)
    -> (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf16>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) {
  %small = lathe.constant dense<-1.0e3> : tensor<f32>
  %0 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %1 = lathe.select %c, %0, %small : (tensor<3x3xi1>, tensor<2x3x3xf32>, tensor<f32>) -> tensor<2x3x3xf32>
  %2 = lathe.softmax %1 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %3 = lathe.matmul %2, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>

  %4 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %5 = lathe.softmax %4 {axis = 1 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %6 = lathe.matmul %5, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>

  %7 = lathe.matmul %h, %h {transpose_rhs} : (tensor<2x3x8xf16>, tensor<2x3x8xf16>) -> tensor<2x3x3xf16>
  %8 = lathe.softmax %7 {axis = 2 : i64} : (tensor<2x3x3xf16>) -> tensor<2x3x3xf16>
  %9 = lathe.matmul %8, %h : (tensor<2x3x3xf16>, tensor<2x3x8xf16>) -> tensor<2x3x8xf16>

  %10 = lathe.matmul %q, %w : (tensor<2x3x8xf32>, tensor<8x3xf32>) -> tensor<2x3x3xf32>
  %11 = lathe.softmax %10 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %12 = lathe.matmul %11, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>

  %13 = lathe.matmul %q, %q {transpose_rhs} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x3xf32>
  %14 = lathe.relu %13 : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %15 = lathe.softmax %14 {axis = 2 : i64} : (tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  %16 = lathe.matmul %15, %q : (tensor<2x3x3xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return %3, %6, %9, %12, %16 : tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf16>, tensor<2x3x8xf32>, tensor<2x3x8xf32>
}
