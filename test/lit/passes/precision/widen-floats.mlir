// RUN: lathe-opt %s --widen-floats --split-input-file | FileCheck %s

// Inputs, weights and results keep their types, all between is f32. Casts on the way are gone.
// CHECK-LABEL: func.func @layer
// CHECK-SAME: %[[X:.*]]: tensor<2x8xf16>
// CHECK-SAME: -> tensor<2x4xf16>
// CHECK: %[[WIDE:.*]] = lathe.cast %[[X]] : (tensor<2x8xf16>) -> tensor<2x8xf32>
// CHECK: %[[W:.*]] = lathe.weight "w" in "m.onnx" at 0 : tensor<8x4xf16>
// CHECK: %[[HALF:.*]] = lathe.constant dense<5.000000e-01> : tensor<f32>
// CHECK: %[[D:.*]] = lathe.cast %[[W]] : (tensor<8x4xf16>) -> tensor<8x4xf32>
// CHECK: %[[P:.*]] = lathe.matmul %[[WIDE]], %[[D]] : (tensor<2x8xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
// CHECK: %[[M:.*]] = lathe.mul %[[P]], %[[HALF]] : (tensor<2x4xf32>, tensor<f32>) -> tensor<2x4xf32>
// CHECK: %[[E:.*]] = lathe.exp %[[M]] : (tensor<2x4xf32>) -> tensor<2x4xf32>
// CHECK: %[[R:.*]] = lathe.cast %[[E]] : (tensor<2x4xf32>) -> tensor<2x4xf16>
// CHECK: return %[[R]]
func.func @layer(%x: tensor<2x8xf16>) -> tensor<2x4xf16> {
  %w = lathe.weight "w" in "m.onnx" at 0 : tensor<8x4xf16>
  %half = lathe.constant dense<0.5> : tensor<f16>
  %0 = lathe.matmul %x, %w : (tensor<2x8xf16>, tensor<8x4xf16>) -> tensor<2x4xf16>
  %1 = lathe.mul %0, %half : (tensor<2x4xf16>, tensor<f16>) -> tensor<2x4xf16>
  %2 = lathe.cast %1 : (tensor<2x4xf16>) -> tensor<2x4xf32>
  %3 = lathe.exp %2 : (tensor<2x4xf32>) -> tensor<2x4xf32>
  %4 = lathe.cast %3 : (tensor<2x4xf32>) -> tensor<2x4xf16>
  return %4 : tensor<2x4xf16>
}

// -----

// Attention of bf16; a weight that is read twice is widened for each reader.
// CHECK-LABEL: func.func @attention
// CHECK: lathe.attention %{{.*}}, %{{.*}}, %{{.*}} : (tensor<2x3x8xf32>, tensor<2x3x8xf32>, tensor<2x3x8xf32>) -> tensor<2x3x8xf32>
// CHECK: lathe.cast %{{.*}} : (tensor<8xbf16>) -> tensor<8xf32>
// CHECK: lathe.add
// CHECK: lathe.cast %{{.*}} : (tensor<8xbf16>) -> tensor<8xf32>
// CHECK: lathe.mul
func.func @attention(%q: tensor<2x3x8xbf16>) -> tensor<2x3x8xbf16> {
  %b = lathe.weight "b" in "m.onnx" at 0 : tensor<8xbf16>
  %0 = lathe.attention %q, %q, %q : (tensor<2x3x8xbf16>, tensor<2x3x8xbf16>, tensor<2x3x8xbf16>) -> tensor<2x3x8xbf16>
  %1 = lathe.add %0, %b : (tensor<2x3x8xbf16>, tensor<8xbf16>) -> tensor<2x3x8xbf16>
  %2 = lathe.mul %1, %b : (tensor<2x3x8xbf16>, tensor<8xbf16>) -> tensor<2x3x8xbf16>
  return %2 : tensor<2x3x8xbf16>
}

// -----

// Scales of codes stay as they are stored.
// CHECK-LABEL: func.func @codes
// CHECK: %[[S:.*]] = lathe.weight "s" in "m.onnx" at 64 : tensor<4xf16>
// CHECK: lathe.dequantize %{{.*}}, %[[S]] {axis = 1 : i64} : (tensor<8x4xi8>, tensor<4xf16>) -> tensor<8x4xf32>
func.func @codes(%x: tensor<2x8xf16>) -> tensor<2x4xf16> {
  %w = lathe.weight "w" in "m.onnx" at 0 : tensor<8x4xi8>
  %s = lathe.weight "s" in "m.onnx" at 64 : tensor<4xf16>
  %d = lathe.dequantize %w, %s {axis = 1 : i64} : (tensor<8x4xi8>, tensor<4xf16>) -> tensor<8x4xf16>
  %0 = lathe.matmul %x, %d : (tensor<2x8xf16>, tensor<8x4xf16>) -> tensor<2x4xf16>
  return %0 : tensor<2x4xf16>
}

// -----

// What regions carry and give is f32, too.
// CHECK-LABEL: func.func @branch
// CHECK: lathe.if {{.*}} -> (tensor<2x2xf32>) {
// CHECK: lathe.yield %{{.*}} : tensor<2x2xf32>
// CHECK: lathe.yield %{{.*}} : tensor<2x2xf32>
func.func @branch(%c: index, %x: tensor<2x2xf16>) -> tensor<2x2xf16> {
  %0 = lathe.if %c -> (tensor<2x2xf16>) {
    %1 = lathe.matmul %x, %x : (tensor<2x2xf16>, tensor<2x2xf16>) -> tensor<2x2xf16>
    lathe.yield %1 : tensor<2x2xf16>
  } else {
    lathe.yield %x : tensor<2x2xf16>
  }
  return %0 : tensor<2x2xf16>
}

// -----

// Without a product operations round as they did; nor is there anything to do for products of f32.
// CHECK-LABEL: func.func @others
// CHECK-NOT: lathe.cast
// CHECK: lathe.softmax %{{.*}} : (tensor<2x2xf16>) -> tensor<2x2xf16>
// CHECK-NOT: lathe.cast
// CHECK: return
func.func @others(%x: tensor<2x2xf16>, %y: tensor<2x2xf32>) -> (tensor<2x2xf16>, tensor<2x2xf32>) {
  %0 = lathe.softmax %x {axis = 1 : i64} : (tensor<2x2xf16>) -> tensor<2x2xf16>
  %1 = lathe.matmul %y, %y : (tensor<2x2xf32>, tensor<2x2xf32>) -> tensor<2x2xf32>
  return %0, %1 : tensor<2x2xf16>, tensor<2x2xf32>
}
