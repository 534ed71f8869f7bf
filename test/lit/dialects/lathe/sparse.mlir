// RUN: lathe-opt %s -split-input-file | lathe-opt -split-input-file | FileCheck %s
// RUN: lathe-opt %s -split-input-file --lathe-to-linalg | FileCheck %s --check-prefix=LINALG

// CHECK-LABEL: func.func @formats
func.func @formats(%v: tensor<5xf32>, %b: tensor<2x4x3xf16>, %u: tensor<4x4xi8>, %i: tensor<5xi16>, %j: tensor<2xi8>, %p: tensor<5xi32>,
                   %q: tensor<3xi32>, %m: tensor<4x2xi8>, %g: tensor<4x4xi8>) {
  // CHECK: lathe.sparse_to_dense "csr" %{{.*}}, %{{.*}}, %{{.*}} {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<5xi16>, tensor<5xi32>) -> tensor<4x9xf32>
  %0 = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<5xi16>, tensor<5xi32>) -> tensor<4x9xf32>
  // CHECK: lathe.sparse_to_dense "bsr" %{{.*}}, %{{.*}}, %{{.*}} {block = array<i64: 4, 3>, shape = array<i64: 7, 9>} : (tensor<2x4x3xf16>, tensor<2xi8>, tensor<3xi32>) -> tensor<7x9xf16>
  %1 = lathe.sparse_to_dense "bsr" %b, %j, %q {block = array<i64: 4, 3>, shape = array<i64: 7, 9>} : (tensor<2x4x3xf16>, tensor<2xi8>, tensor<3xi32>) -> tensor<7x9xf16>
  // CHECK: lathe.sparse_to_dense "bitmap" %{{.*}}, %{{.*}}, %{{.*}} {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<4x2xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  %2 = lathe.sparse_to_dense "bitmap" %v, %m, %p {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<4x2xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  // CHECK: lathe.sparse_to_dense "n_of_m" %{{.*}}, %{{.*}} {axis = 1 : i64, m = 4 : i64, shape = array<i64: 4, 7>} : (tensor<4x4xi8>, tensor<4x4xi8>) -> tensor<4x7xi8>
  %3 = lathe.sparse_to_dense "n_of_m" %u, %g {shape = array<i64: 4, 7>, m = 4 : i64, axis = 1 : i64} : (tensor<4x4xi8>, tensor<4x4xi8>) -> tensor<4x7xi8>
  return
}

// -----

// An element looks for its column among those of its row.
// LINALG-LABEL: func.func @csr
// LINALG: linalg.generic
// LINALG: %[[ROW:.*]] = linalg.index 0
// LINALG: %[[COLUMN:.*]] = linalg.index 1
// LINALG: tensor.extract %{{.*}}[%[[ROW]]] : tensor<5xi32>
// LINALG: scf.for
// LINALG: tensor.extract %{{.*}} : tensor<5xi8>
// LINALG: arith.index_castui
// LINALG: arith.cmpi eq, %{{.*}}, %[[COLUMN]]
// LINALG: arith.select
func.func @csr(%v: tensor<5xf32>, %i: tensor<5xi8>, %p: tensor<5xi32>) -> tensor<4x9xf32> {
  %0 = lathe.sparse_to_dense "csr" %v, %i, %p {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<5xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  return %0 : tensor<4x9xf32>
}

// -----

// Of a bitmap an element counts the bits before its own.
// LINALG-LABEL: func.func @bitmap
// LINALG: scf.for
// LINALG: arith.shrui
// LINALG: scf.if
// LINALG: tensor.extract %{{.*}} : tensor<5xf32>
func.func @bitmap(%v: tensor<5xf32>, %m: tensor<4x2xi8>, %p: tensor<5xi32>) -> tensor<4x9xf32> {
  %0 = lathe.sparse_to_dense "bitmap" %v, %m, %p {shape = array<i64: 4, 9>} : (tensor<5xf32>, tensor<4x2xi8>, tensor<5xi32>) -> tensor<4x9xf32>
  return %0 : tensor<4x9xf32>
}
