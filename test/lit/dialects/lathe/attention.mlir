// RUN: split-file %s %t
// RUN: lathe-opt %t/ops.mlir | lathe-opt | FileCheck %t/ops.mlir
// RUN: lathe-opt %t/cache.mlir | lathe-opt | FileCheck %t/cache.mlir
// RUN: lathe-opt %t/invalid.mlir -verify-diagnostics -split-input-file
// RUN: lathe-opt %t/ops.mlir --lathe-to-linalg | FileCheck %t/ops.mlir --check-prefix=LINALG

//--- ops.mlir

// CHECK-LABEL: func.func @plain
// CHECK: lathe.attention %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x4x?x6xf32>) -> tensor<?x4x?x6xf32>
// It is two products, and a softmax between them.
// LINALG-LABEL: func.func @plain
// LINALG-NOT: lathe.attention
// LINALG: arith.mulf
// LINALG: arith.maxnumf
// LINALG: math.exp
// LINALG: arith.mulf
// LINALG: return
func.func @plain(%q: tensor<?x4x?x8xf32>, %k: tensor<?x4x?x8xf32>, %v: tensor<?x4x?x6xf32>) -> tensor<?x4x?x6xf32> {
  %0 = lathe.attention %q, %k, %v : (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>, tensor<?x4x?x6xf32>) -> tensor<?x4x?x6xf32>
  return %0 : tensor<?x4x?x6xf32>
}

// Two heads are shared by eight; biases broadcast; rows without a key are 0.
// CHECK-LABEL: func.func @shared
// CHECK: lathe.attention {{.*}} {scale = 2.500000e-01 : f64, softcap = 5.000000e+01 : f64, zero_masked}
// LINALG-LABEL: func.func @shared
// LINALG: tensor.reshape
// LINALG: math.tanh
// LINALG: arith.addf
// LINALG: arith.cmpf oeq
// LINALG: return
func.func @shared(%q: tensor<2x8x3x16xf32>, %k: tensor<2x2x5x16xf32>, %v: tensor<2x2x5x16xf32>, %a: tensor<5xf32>, %b: tensor<2x1x3x1xf32>)
    -> tensor<2x8x3x16xf32> {
  %0 = lathe.attention %q, %k, %v, %a, %b {scale = 0.25 : f64, softcap = 50.0 : f64, zero_masked}
    : (tensor<2x8x3x16xf32>, tensor<2x2x5x16xf32>, tensor<2x2x5x16xf32>, tensor<5xf32>, tensor<2x1x3x1xf32>) -> tensor<2x8x3x16xf32>
  return %0 : tensor<2x8x3x16xf32>
}

// Three axes and five, of which the first broadcast.
// CHECK-LABEL: func.func @ranks
// CHECK: lathe.attention {{.*}} {zero_nan}
// LINALG-LABEL: func.func @ranks
// LINALG: arith.cmpf uno
// LINALG: return
func.func @ranks(%q: tensor<4x3x8xf32>, %k: tensor<2x7x1x5x8xf32>, %v: tensor<1x7x1x5x6xf32>) -> tensor<2x7x4x3x6xf32> {
  %0 = lathe.attention %q, %k, %v {zero_nan} : (tensor<4x3x8xf32>, tensor<2x7x1x5x8xf32>, tensor<1x7x1x5x6xf32>) -> tensor<2x7x4x3x6xf32>
  return %0 : tensor<2x7x4x3x6xf32>
}

// A query sees the keys up to its position, and no more than a window of them: others are minus infinity.
// CHECK-LABEL: func.func @positions
// CHECK: lathe.attention %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} positions(%{{.*}}) {window = 5 : i64}
// LINALG-LABEL: func.func @positions
// LINALG-NOT: lathe.attention
// LINALG: arith.cmpi sle
// LINALG: arith.subi
// LINALG: arith.cmpi sgt
// LINALG: arith.andi
// LINALG: arith.select
// LINALG: return
func.func @positions(%q: tensor<?x4x?x8xf32> {lathe.dims = ["b", "", "s", ""]}, %k: tensor<?x2x?x8xf32> {lathe.dims = ["b", "", "t", ""]}, %m: tensor<?xf32> {lathe.dims = ["t"]},
    %p: tensor<?x?xi64> {lathe.dims = ["b", "s"]}) -> tensor<?x4x?x8xf32> {
  %0 = lathe.attention %q, %k, %k, %m positions(%p) {window = 5 : i64}
    : (tensor<?x4x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?x2x?x8xf32>, tensor<?xf32>, tensor<?x?xi64>) -> tensor<?x4x?x8xf32>
  return %0 : tensor<?x4x?x8xf32>
}

// Positions broadcast over sequences and over queries; without a window there is one comparison.
// CHECK-LABEL: func.func @one_position
// CHECK: lathe.attention %{{.*}} positions(%{{.*}}) : (
// LINALG-LABEL: func.func @one_position
// LINALG: arith.cmpi sle
// LINALG-NOT: arith.cmpi sgt
// LINALG: return
func.func @one_position(%q: tensor<3x4x2x8xf32>, %k: tensor<3x4x7x8xf32>, %p: tensor<1x1xi64>) -> tensor<3x4x2x8xf32> {
  %0 = lathe.attention %q, %k, %k positions(%p) : (tensor<3x4x2x8xf32>, tensor<3x4x7x8xf32>, tensor<3x4x7x8xf32>, tensor<1x1xi64>) -> tensor<3x4x2x8xf32>
  return %0 : tensor<3x4x2x8xf32>
}

//--- cache.mlir

// What is put behind the rows of a sequence, and what only is read.
// CHECK-LABEL: func.func @cache
// CHECK: lathe.cache "key.0" %{{.*}} : tensor<?x4x?x8xf32>[%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}] : tensor<?x4x?x8xf32>
// CHECK: lathe.cache "key.1"[%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}] : tensor<?x4x?x8xf32>
// CHECK: lathe.cache "key.2"[%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}] {codes = ui4, group_size = 16 : i64} : tensor<?x4x?x8xf32>
func.func @cache(%k: tensor<?x4x?x8xf32> {lathe.dims = ["b", "", "s", ""]}, %n: tensor<?xi64> {lathe.dims = ["t"]}) -> (tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>) {
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %b = lathe.symbol "b"
  %t = lathe.symbol "t"
  %0 = lathe.cache "key.0" %k : tensor<?x4x?x8xf32> [%b, %c4, %t, %c8] : tensor<?x4x?x8xf32>
  %1 = lathe.cache "key.1" [%b, %c4, %t, %c8] : tensor<?x4x?x8xf32>
  %2 = lathe.cache "key.2" [%b, %c4, %t, %c8] {codes = ui4, group_size = 16 : i64} : tensor<?x4x?x8xf32>
  return %0, %1 : tensor<?x4x?x8xf32>, tensor<?x4x?x8xf32>
}

//--- invalid.mlir

func.func @c8_rank(%q: tensor<2x3x8xf32>, %p: tensor<2x3xi64>) {
  // expected-error @below {{expects positions of shape [B, S] of queries [B, H, S, D], got [2, 3] for scores of [2, 3]}}
  %0 = lathe.attention %q, %q, %q positions(%p) : (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3xi64>) -> tensor<2x3x8xf32>
  return
}

// -----

func.func @c8_positions(%q: tensor<2x4x3x8xf32>, %p: tensor<3xi64>) {
  // expected-error @below {{expects positions of shape [B, S] of queries [B, H, S, D], got [3] for scores of [2, 4, 3]}}
  %0 = lathe.attention %q, %q, %q positions(%p) : (tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>, tensor<3xi64>) -> tensor<2x4x3x8xf32>
  return
}

// -----

func.func @c8_type(%q: tensor<2x4x3x8xf32>, %p: tensor<2x3xi32>) {
  // expected-error @below {{must be ranked tensor of 64-bit signless integer values}}
  %0 = lathe.attention %q, %q, %q positions(%p) : (tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>, tensor<2x3xi32>) -> tensor<2x4x3x8xf32>
  return
}

// -----

func.func @c9_zero(%q: tensor<2x4x3x8xf32>, %p: tensor<2x3xi64>) {
  // expected-error @below {{expects a window above 0 and positions, got 0}}
  %0 = lathe.attention %q, %q, %q positions(%p) {window = 0 : i64} : (tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>, tensor<2x3xi64>) -> tensor<2x4x3x8xf32>
  return
}

// -----

func.func @c9_alone(%q: tensor<2x4x3x8xf32>) {
  // expected-error @below {{expects a window above 0 and positions, got 4 and none}}
  %0 = lathe.attention %q, %q, %q {window = 4 : i64} : (tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>, tensor<2x4x3x8xf32>) -> tensor<2x4x3x8xf32>
  return
}

// -----

func.func @c10_type(%q: tensor<4x3x8xf32>) {
  // expected-error @below {{expects an arithmetic of bf16, f16 or i8 of tensors of f32, got 'f64' of 'f32'}}
  %0 = lathe.attention %q, %q, %q {arithmetic = f64} : (tensor<4x3x8xf32>, tensor<4x3x8xf32>, tensor<4x3x8xf32>) -> tensor<4x3x8xf32>
  return
}

// -----

func.func @c10_tensors(%q: tensor<4x3x8xf16>) {
  // expected-error @below {{expects an arithmetic of bf16, f16 or i8 of tensors of f32, got 'i8' of 'f16'}}
  %0 = lathe.attention %q, %q, %q {arithmetic = i8} : (tensor<4x3x8xf16>, tensor<4x3x8xf16>, tensor<4x3x8xf16>) -> tensor<4x3x8xf16>
  return
}

// -----

func.func @cache_c1(%d: index) {
  // expected-error @below {{expects the extents of four axes, got 3}}
  %0 = lathe.cache "k" [%d, %d, %d] : tensor<?x?x?xf32>
  return
}

// -----

func.func @cache_c2(%k: tensor<2x4x8xf32>) {
  %c2 = arith.constant 2 : index
  // expected-error @below {{expects rows of shape [.., N, D] for a result of shape [.., T, D], got [2, 4, 8] and [2, 2, 2, 2]}}
  %0 = lathe.cache "k" %k : tensor<2x4x8xf32> [%c2, %c2, %c2, %c2] : tensor<2x2x2x2xf32>
  return
}

// -----

func.func @cache_c3(%k: tensor<2x2x1x2xf16>) {
  %c2 = arith.constant 2 : index
  // expected-error @below {{expects rows of the result's element type, got 'tensor<2x2x1x2xf16>'}}
  %0 = lathe.cache "k" %k : tensor<2x2x1x2xf16> [%c2, %c2, %c2, %c2] : tensor<2x2x2x2xf32>
  return
}

// -----

func.func @cache_c4() {
  %c2 = arith.constant 2 : index
  // expected-error @below {{expects codes of i8, ui8, i4 or ui4, got 'i16'}}
  %0 = lathe.cache "k" [%c2, %c2, %c2, %c2] {codes = i16} : tensor<2x2x2x2xf32>
  return
}

// -----

func.func @cache_c5() {
  %c2 = arith.constant 2 : index
  // expected-error @below {{expects rows of f32 where they are rounded to codes, got 'f16'}}
  %0 = lathe.cache "k" [%c2, %c2, %c2, %c2] {codes = i8} : tensor<2x2x2x2xf16>
  return
}

// -----

func.func @cache_c6() {
  %c2 = arith.constant 2 : index
  // expected-error @below {{expects a group size of 0 or a multiple of 16, got 20}}
  %0 = lathe.cache "k" [%c2, %c2, %c2, %c2] {codes = i8, group_size = 20 : i64} : tensor<2x2x2x2xf32>
  return
}

// -----

func.func @cache_c6_alone() {
  %c2 = arith.constant 2 : index
  // expected-error @below {{expects a group size with codes alone, got 16}}
  %0 = lathe.cache "k" [%c2, %c2, %c2, %c2] {group_size = 16 : i64} : tensor<2x2x2x2xf32>
  return
}

// -----

func.func @cache_c7() {
  %c2 = arith.constant 2 : index
  // expected-error @below {{expects rows to be rotated with codes alone}}
  %0 = lathe.cache "k" [%c2, %c2, %c2, %c2] {rotated} : tensor<2x2x2x2xf32>
  return
}

// -----

func.func @c1(%q: tensor<3x8xf32>, %k: tensor<2x5x8xf32>) {
  // expected-error @below {{expects operands of ranks from 3 to 5, got 2, 3 and 3}}
  %0 = lathe.attention %q, %k, %k : (tensor<3x8xf32>, tensor<2x5x8xf32>, tensor<2x5x8xf32>) -> tensor<2x3x8xf32>
  return
}

// -----

func.func @c2(%q: tensor<2x3x8xf32>, %k: tensor<2x5x7xf32>) {
  // expected-error @below {{expects queries and keys of the same size, got 8 and 7}}
  %0 = lathe.attention %q, %k, %k : (tensor<2x3x8xf32>, tensor<2x5x7xf32>, tensor<2x5x7xf32>) -> tensor<2x3x7xf32>
  return
}

// -----

func.func @c3(%q: tensor<2x3x8xf32>, %k: tensor<2x5x8xf32>, %v: tensor<2x4x8xf32>) {
  // expected-error @below {{expects as many keys as values, got 5 and 4}}
  %0 = lathe.attention %q, %k, %v : (tensor<2x3x8xf32>, tensor<2x5x8xf32>, tensor<2x4x8xf32>) -> tensor<2x3x8xf32>
  return
}

// -----

func.func @c4_broadcast(%q: tensor<2x4x3x8xf32>, %k: tensor<3x4x5x8xf32>) {
  // expected-error @below {{expects leading dimensions that broadcast, got 2, 3 and 3 at axis 0}}
  %0 = lathe.attention %q, %k, %k : (tensor<2x4x3x8xf32>, tensor<3x4x5x8xf32>, tensor<3x4x5x8xf32>) -> tensor<2x4x3x8xf32>
  return
}

// -----

func.func @c4_heads(%q: tensor<2x4x3x8xf32>, %k: tensor<2x3x5x8xf32>) {
  // expected-error @below {{expects query heads that are a multiple of the key heads, got 4 and 3}}
  %0 = lathe.attention %q, %k, %k : (tensor<2x4x3x8xf32>, tensor<2x3x5x8xf32>, tensor<2x3x5x8xf32>) -> tensor<2x4x3x8xf32>
  return
}

// -----

func.func @c4_no_heads(%q: tensor<4x3x8xf32>, %k: tensor<0x5x8xf32>) {
  // expected-error @below {{expects query heads that are a multiple of the key heads, got 4 and 0}}
  %0 = lathe.attention %q, %k, %k : (tensor<4x3x8xf32>, tensor<0x5x8xf32>, tensor<0x5x8xf32>) -> tensor<4x3x8xf32>
  return
}

// -----

func.func @c5(%q: tensor<2x3x8xf32>, %k: tensor<2x5x8xf32>, %b: tensor<3x4xf32>) {
  // expected-error @below {{expects biases that broadcast to the scores' shape [2, 3, 5], got [3, 4]}}
  %0 = lathe.attention %q, %k, %k, %b : (tensor<2x3x8xf32>, tensor<2x5x8xf32>, tensor<2x5x8xf32>, tensor<3x4xf32>) -> tensor<2x3x8xf32>
  return
}

// -----

func.func @c5_larger(%q: tensor<1x3x8xf32>, %k: tensor<1x5x8xf32>, %b: tensor<2x3x5xf32>) {
  // expected-error @below {{expects biases that broadcast to the scores' shape [1, 3, 5], got [2, 3, 5]}}
  %0 = lathe.attention %q, %k, %k, %b : (tensor<1x3x8xf32>, tensor<1x5x8xf32>, tensor<1x5x8xf32>, tensor<2x3x5xf32>) -> tensor<2x3x8xf32>
  return
}

// -----

func.func @c6(%q: tensor<2x3x8xf32>) {
  // expected-error @below {{expects a softcap above 0, got 0.000000e+00}}
  %0 = lathe.attention %q, %q, %q {softcap = 0.0 : f64} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
  return
}

// -----

func.func @result(%q: tensor<2x3x8xf32>) {
  // expected-error @below {{expects a result of shape}}
  %0 = lathe.attention %q, %q, %q : (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x7xf32>
  return
}
