// RUN: lathe-opt %s --cpu-integer-products -split-input-file | FileCheck %s

// 255 * 255 * 256 is below 2^24: two parts, added as integers.
// CHECK-LABEL: func.func @two_parts
// CHECK: %[[A:.*]] = lathe.cast %{{.*}} : (tensor<?x384xi32>) -> tensor<?x384xf32>
// CHECK: %[[B:.*]] = lathe.cast %{{.*}} : (tensor<384x4xi32>) -> tensor<384x4xf32>
// CHECK-DAG: %[[A0:.*]] = lathe.slice %[[A]] {{.*}} -> tensor<?x256xf32>
// CHECK-DAG: %[[B0:.*]] = lathe.slice %[[B]] {{.*}} -> tensor<256x4xf32>
// CHECK: %[[P0:.*]] = lathe.matmul %[[A0]], %[[B0]] : {{.*}} -> tensor<?x4xf32>
// CHECK: %[[I0:.*]] = lathe.cast %[[P0]] : (tensor<?x4xf32>) -> tensor<?x4xi32>
// CHECK: lathe.matmul {{.*}} : (tensor<?x128xf32>, tensor<128x4xf32>) -> tensor<?x4xf32>
// CHECK: lathe.add %[[I0]],
func.func @two_parts(%a: tensor<?x384xui8>, %z: tensor<ui8>, %b: tensor<384x4xi8>, %y: tensor<4xi8>) -> tensor<?x4xi32> {
  %0 = lathe.cast %a : (tensor<?x384xui8>) -> tensor<?x384xi32>
  %1 = lathe.cast %z : (tensor<ui8>) -> tensor<i32>
  %2 = lathe.sub %0, %1 : (tensor<?x384xi32>, tensor<i32>) -> tensor<?x384xi32>
  %3 = lathe.cast %b : (tensor<384x4xi8>) -> tensor<384x4xi32>
  %4 = lathe.cast %y : (tensor<4xi8>) -> tensor<4xi32>
  %5 = lathe.sub %3, %4 : (tensor<384x4xi32>, tensor<4xi32>) -> tensor<384x4xi32>
  %6 = lathe.matmul %2, %5 : (tensor<?x384xi32>, tensor<384x4xi32>) -> tensor<?x4xi32>
  return %6 : tensor<?x4xi32>
}

// -----

// Narrower values: sums stay small for longer.
// CHECK-LABEL: func.func @one_part
// CHECK-NOT: lathe.slice
// CHECK: lathe.matmul {{.*}} {transpose_rhs} : (tensor<?x384xf32>, tensor<4x384xf32>) -> tensor<?x4xf32>
func.func @one_part(%a: tensor<?x384xi8>, %b: tensor<4x384xi4>) -> tensor<?x4xi32> {
  %0 = lathe.cast %a : (tensor<?x384xi8>) -> tensor<?x384xi32>
  %1 = lathe.cast %b : (tensor<4x384xi4>) -> tensor<4x384xi32>
  %2 = lathe.matmul %0, %1 {transpose_rhs} : (tensor<?x384xi32>, tensor<4x384xi32>) -> tensor<?x4xi32>
  return %2 : tensor<?x4xi32>
}

// -----

// Integers of any size, and sums of any length, stay as they are.
// CHECK-LABEL: func.func @unknown
// CHECK-NOT: f32
func.func @unknown(%a: tensor<?x8xi32>, %b: tensor<8x4xi32>, %c: tensor<?x?xi8>, %d: tensor<?x4xi8>) -> (tensor<?x4xi32>, tensor<?x4xi32>) {
  %0 = lathe.matmul %a, %b : (tensor<?x8xi32>, tensor<8x4xi32>) -> tensor<?x4xi32>
  %1 = lathe.cast %c : (tensor<?x?xi8>) -> tensor<?x?xi32>
  %2 = lathe.cast %d : (tensor<?x4xi8>) -> tensor<?x4xi32>
  %3 = lathe.matmul %1, %2 : (tensor<?x?xi32>, tensor<?x4xi32>) -> tensor<?x4xi32>
  return %0, %3 : tensor<?x4xi32>, tensor<?x4xi32>
}
