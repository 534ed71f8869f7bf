// What the pass does to floats, and that it leaves integers alone.

// CHECK-LABEL: func.func @floats
// CHECK: %[[RELU:.*]] = lathe.relu %arg0
// CHECK: %[[LIMIT:.*]] = lathe.constant dense<4.000000e+00> : tensor<f32>
// CHECK: %[[CAPPED:.*]] = lathe.min %[[RELU]], %[[LIMIT]]
// CHECK: return %[[CAPPED]]
func.func @floats(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %0 = lathe.relu %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// CHECK-LABEL: func.func @integers
// CHECK: %[[RELU:.*]] = lathe.relu %arg0
// CHECK-NEXT: return %[[RELU]]
func.func @integers(%x: tensor<4xi32>) -> tensor<4xi32> {
  %0 = lathe.relu %x : (tensor<4xi32>) -> tensor<4xi32>
  return %0 : tensor<4xi32>
}
