// RUN: lathe-opt %s -verify-diagnostics -split-input-file

// What verifiers refuse, an operation and a constraint (Cn) each.

func.func @elementwise_broadcast(%a: tensor<3xf32>, %b: tensor<4xf32>) {
  // expected-error @below {{expects operands that broadcast, got dimensions 3 and 4 at axis 0}}
  %0 = lathe.add %a, %b : (tensor<3xf32>, tensor<4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @elementwise_result(%a: tensor<3xf32>) {
  // expected-error @below {{expects a result of shape}}
  %0 = lathe.neg %a : (tensor<3xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @elementwise_types(%a: tensor<3xf32>, %b: tensor<3xf64>) {
  // expected-error @below {{requires the same element type for all operands and results}}
  %0 = lathe.add %a, %b : (tensor<3xf32>, tensor<3xf64>) -> tensor<3xf32>
  return
}

// -----

func.func @swish_c1(%a: tensor<3xf32>) {
  // expected-error @below {{expects a finite beta, got INF}}
  %0 = lathe.swish %a {beta = 0x7FF0000000000000 : f64} : (tensor<3xf32>) -> tensor<3xf32>
  return
}

// -----

func.func @matmul_c1(%a: tensor<8xf32>, %b: tensor<8x4xf32>) {
  // expected-error @below {{expects operands of rank 2 or more, got ranks 1 and 2}}
  %0 = lathe.matmul %a, %b : (tensor<8xf32>, tensor<8x4xf32>) -> tensor<4xf32>
  return
}

// -----

func.func @matmul_c2(%a: tensor<?x8xf32>, %b: tensor<7x4xf32>) {
  // expected-error @below {{expects inner dimensions to match, got 8 and 7}}
  %0 = lathe.matmul %a, %b : (tensor<?x8xf32>, tensor<7x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @matmul_c3(%a: tensor<2x1x8xf32>, %b: tensor<3x8x4xf32>) {
  // expected-error @below {{expects leading dimensions that broadcast, got 2 and 3 at axis 0}}
  %0 = lathe.matmul %a, %b : (tensor<2x1x8xf32>, tensor<3x8x4xf32>) -> tensor<3x1x4xf32>
  return
}

// -----

func.func @reduce_c1_rank(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.reduce sum %x {axes = array<i64: 2>} : (tensor<?x4xf32>) -> tensor<?xf32>
  return
}

// -----

func.func @reduce_c1_distinct(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects distinct axes, got 1 twice}}
  %0 = lathe.reduce sum %x {axes = array<i64: 1, 1>} : (tensor<?x4xf32>) -> tensor<?xf32>
  return
}

// -----

func.func @reduce_c1_sorted(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects sorted axes, got [1, 0]}}
  %0 = lathe.reduce sum %x {axes = array<i64: 1, 0>} : (tensor<?x4xf32>) -> tensor<f32>
  return
}

// -----

func.func @softmax_c1(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got -1}}
  %0 = lathe.softmax %x {axis = -1 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @layer_norm_c1(%x: tensor<?x4xf32>, %v: tensor<2x1x4xf32>) {
  // expected-error @below {{expects scale and bias that broadcast to the input's shape}}
  %0 = lathe.layer_norm %x, %v {axis = 1 : i64, epsilon = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<2x1x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @layer_norm_c2(%x: tensor<?x4xf32>, %v: tensor<4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.layer_norm %x, %v {axis = 2 : i64, epsilon = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @rms_norm_c1(%x: tensor<?x4xf32>, %v: tensor<3xf32>) {
  // expected-error @below {{expects scale and bias that broadcast to the input's shape}}
  %0 = lathe.rms_norm %x, %v {axis = 1 : i64, epsilon = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<3xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @rms_norm_c2(%x: tensor<?x4xf32>, %v: tensor<4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 3}}
  %0 = lathe.rms_norm %x, %v {axis = 3 : i64, epsilon = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @cumsum_c1(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.cumsum %x {axis = 2 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @transpose_c1_count(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects a permutation of 2 axes, got 1}}
  %0 = lathe.transpose %x {permutation = array<i64: 1>} : (tensor<?x4xf32>) -> tensor<4x?xf32>
  return
}

// -----

func.func @transpose_c1_distinct(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects distinct axes, got 0 twice}}
  %0 = lathe.transpose %x {permutation = array<i64: 0, 0>} : (tensor<?x4xf32>) -> tensor<?x?xf32>
  return
}

// -----

func.func @reshape_c1(%x: tensor<?x4xf32>) {
  %m1 = arith.constant -1 : index
  // expected-error @below {{expects at most one dimension of -1, got them at axes 0 and 1}}
  %0 = lathe.reshape %x [%m1, %m1] : tensor<?x4xf32> -> tensor<?x?xf32>
  return
}

// -----

func.func @reshape_c2(%x: tensor<?x4xf32>) {
  %c0 = arith.constant 0 : index
  %c4 = arith.constant 4 : index
  // expected-error @below {{expects an input dimension to copy at axis 2, got an input of rank 2}}
  %0 = lathe.reshape %x [%c0, %c4, %c0] {zero_copies} : tensor<?x4xf32> -> tensor<?x4x?xf32>
  return
}

// -----

func.func @reshape_c3(%x: tensor<3x4xf32>) {
  %c5 = arith.constant 5 : index
  // expected-error @below {{expects to keep the number of elements, got 12}}
  %0 = lathe.reshape %x [%c5] : tensor<3x4xf32> -> tensor<5xf32>
  return
}

// -----

func.func @broadcast_c1(%x: tensor<3xf32>) {
  %c4 = arith.constant 4 : index
  // expected-error @below {{expects a shape that the input's broadcasts to, got 4 for dimension 3}}
  %0 = lathe.broadcast %x [%c4] : tensor<3xf32> -> tensor<4xf32>
  return
}

// -----

func.func @concat_c2(%a: tensor<3x4xf32>, %b: tensor<4xf32>) {
  // expected-error @below {{expects operands of equal rank, got 2 and 1}}
  %0 = lathe.concat %a, %b {axis = 0 : i64} : (tensor<3x4xf32>, tensor<4xf32>) -> tensor<4x4xf32>
  return
}

// -----

func.func @concat_c3(%a: tensor<3x4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.concat %a, %a {axis = 2 : i64} : (tensor<3x4xf32>, tensor<3x4xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @concat_c4(%a: tensor<3x4xf32>, %b: tensor<3x5xf32>) {
  // expected-error @below {{expects equal dimensions off the axis, got 4 and 5 at axis 1}}
  %0 = lathe.concat %a, %b {axis = 0 : i64} : (tensor<3x4xf32>, tensor<3x5xf32>) -> tensor<6x4xf32>
  return
}

// -----

func.func @slice_c1(%x: tensor<?x4xf32>, %n: index) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.slice %x from [%n] to [%n] {axes = array<i64: 2>, steps = array<i64: 1>} : tensor<?x4xf32> -> tensor<?x4xf32>
  return
}

// -----

func.func @slice_c2(%x: tensor<?x4xf32>, %n: index) {
  // expected-error @below {{expects a start, an end and a step for each of 1 axes, got 2, 1 and 1}}
  %0 = lathe.slice %x from [%n, %n] to [%n] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<?x4xf32> -> tensor<?x4xf32>
  return
}

// -----

func.func @slice_c3(%x: tensor<?x4xf32>, %n: index) {
  // expected-error @below {{expects steps other than 0}}
  %0 = lathe.slice %x from [%n] to [%n] {axes = array<i64: 0>, steps = array<i64: 0>} : tensor<?x4xf32> -> tensor<?x4xf32>
  return
}

// -----

func.func @gather_c1(%x: tensor<?x4xf32>, %i: tensor<2xi64>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.gather %x, %i {axis = 2 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<?x2xf32>
  return
}

// -----

func.func @gather_elements_c1(%x: tensor<?x4xf32>, %i: tensor<2xi64>) {
  // expected-error @below {{expects indices of the input's rank 2, got rank 1}}
  %0 = lathe.gather_elements %x, %i {axis = 0 : i64} : (tensor<?x4xf32>, tensor<2xi64>) -> tensor<2xf32>
  return
}

// -----

func.func @gather_elements_c2(%x: tensor<?x4xf32>, %i: tensor<?x4xi64>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.gather_elements %x, %i {axis = 2 : i64} : (tensor<?x4xf32>, tensor<?x4xi64>) -> tensor<?x4xf32>
  return
}

// -----

func.func @gather_elements_c3(%x: tensor<?x4xf32>, %i: tensor<?x5xi64>) {
  // expected-error @below {{expects indices within the input off the axis, got 5 for dimension 4}}
  %0 = lathe.gather_elements %x, %i {axis = 0 : i64} : (tensor<?x4xf32>, tensor<?x5xi64>) -> tensor<?x5xf32>
  return
}

// -----

func.func @gather_nd_c1(%x: tensor<?x4xf32>, %i: tensor<3x?xi64>) {
  // expected-error @below {{expects indices whose last dimension is static}}
  %0 = lathe.gather_nd %x, %i {batch_dims = 0 : i64} : (tensor<?x4xf32>, tensor<3x?xi64>) -> tensor<3xf32>
  return
}

// -----

func.func @gather_nd_c2(%x: tensor<2x4xf32>, %i: tensor<3x1xi64>) {
  // expected-error @below {{expects equal batch dimensions, got 2 and 3}}
  %0 = lathe.gather_nd %x, %i {batch_dims = 1 : i64} : (tensor<2x4xf32>, tensor<3x1xi64>) -> tensor<3xf32>
  return
}

// -----

func.func @range_c1(%n: index) {
  %c0 = arith.constant 0 : index
  // expected-error @below {{expects a step other than 0}}
  %0 = lathe.range %n, %n, %c0 : tensor<?xi64>
  return
}

// -----

func.func @dim_c1(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.dim %x {axis = 2 : i64} : tensor<?x4xf32>
  return
}

// -----

func.func @shape_of_result(%x: tensor<?x4xf32>) {
  // expected-error @below {{expects a result of shape}}
  %0 = lathe.shape_of %x : tensor<?x4xf32> -> tensor<3xi64>
  return
}

// -----

func.func @pad_c1(%x: tensor<4xf32>, %v: tensor<1xf32>, %n: index) {
  // expected-error @below {{expects a scalar to pad with, got rank 1}}
  %0 = lathe.pad %x with %v low [%n] extents [%n] : tensor<4xf32>, tensor<1xf32> -> tensor<?xf32>
  return
}

// -----

func.func @pad_c2(%x: tensor<2x4xf32>, %v: tensor<f32>, %n: index) {
  // expected-error @below {{expects a low pad and an extent for each of 2 axes, got 1 and 2}}
  %0 = lathe.pad %x with %v low [%n] extents [%n, %n] : tensor<2x4xf32>, tensor<f32> -> tensor<?x?xf32>
  return
}

// -----

func.func @pad_c3(%x: tensor<2x4xf32>, %v: tensor<f32>, %n: index) {
  %m1 = arith.constant -1 : index
  // expected-error @below {{expects extents of at least 0, got -1 at position 1}}
  %0 = lathe.pad %x with %v low [%n, %n] extents [%n, %m1] : tensor<2x4xf32>, tensor<f32> -> tensor<?x?xf32>
  return
}

// -----

func.func @windows_c1_counts(%x: tensor<2x4xf32>, %n: index) {
  // expected-error @below {{expects a low pad, an extent, a stride, a dilation and a base dilation for each of 1 kernel sizes, got 1, 1, 2, 1 and 1}}
  %0 = lathe.windows %x kernel [%n] low [%n] extents [%n]
      {strides = array<i64: 1, 1>, dilations = array<i64: 1>, base_dilations = array<i64: 1>, padding = 0.0 : f64}
      : tensor<2x4xf32> -> tensor<2x?x?xf32>
  return
}

// -----

func.func @windows_c1_rank(%x: tensor<4xf32>, %n: index) {
  // expected-error @below {{expects windows over 1 to 1 axes, got 2}}
  %0 = lathe.windows %x kernel [%n, %n] low [%n, %n] extents [%n, %n]
      {strides = array<i64: 1, 1>, dilations = array<i64: 1, 1>, base_dilations = array<i64: 1, 1>, padding = 0.0 : f64}
      : tensor<4xf32> -> tensor<?x?x?x?xf32>
  return
}

// -----

func.func @windows_c2(%x: tensor<4xf32>, %n: index) {
  // expected-error @below {{expects strides from 1 to 2147483647, got 0}}
  %0 = lathe.windows %x kernel [%n] low [%n] extents [%n]
      {strides = array<i64: 0>, dilations = array<i64: 1>, base_dilations = array<i64: 1>, padding = 0.0 : f64}
      : tensor<4xf32> -> tensor<?x?xf32>
  return
}

// -----

func.func @windows_c3(%x: tensor<4xf32>, %n: index) {
  %m1 = arith.constant -1 : index
  // expected-error @below {{expects kernel sizes of at least 0, got -1 at position 0}}
  %0 = lathe.windows %x kernel [%m1] low [%n] extents [%n]
      {strides = array<i64: 1>, dilations = array<i64: 1>, base_dilations = array<i64: 1>, padding = 0.0 : f64}
      : tensor<4xf32> -> tensor<?x?xf32>
  return
}

// -----

func.func @from_index_c1(%n: index) {
  // expected-error @below {{expects a result of shape}}
  %0 = lathe.from_index %n, %n : tensor<i64>
  return
}

// -----

func.func @to_index_c1(%x: tensor<2x2xi64>) {
  // expected-error @below {{expects a tensor of rank 0 or 1, got rank 2}}
  %0 = lathe.to_index %x {position = 0 : i64} : tensor<2x2xi64>
  return
}

// -----

func.func @to_index_c2(%x: tensor<2xi64>) {
  // expected-error @below {{expects a position within}}
  %0 = lathe.to_index %x {position = 2 : i64} : tensor<2xi64>
  return
}

// -----

func.func @weight_offset() {
  // expected-error @below {{expects an offset of at least 0, got -1}}
  %0 = lathe.weight "w" in "model.safetensors" at -1 : tensor<4x8xf32>
  return
}

// -----

func.func @concat_c1() {
  // expected-error @below {{expects at least one operand}}
  %0 = "lathe.concat"() {axis = 0 : i64} : () -> tensor<4xf32>
  return
}

// -----

func.func @scatter_elements_c1(%x: tensor<?x4xf32>, %i: tensor<2xi64>, %u: tensor<2xf32>) {
  // expected-error @below {{expects indices and updates of the input's rank 2, got ranks 1 and 1}}
  %0 = lathe.scatter_elements assign %x, %i, %u {axis = 1 : i64} : (tensor<?x4xf32>, tensor<2xi64>, tensor<2xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @scatter_elements_c2(%x: tensor<?x4xf32>, %i: tensor<?x2xi64>, %u: tensor<?x2xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.scatter_elements assign %x, %i, %u {axis = 2 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x2xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @scatter_elements_c3(%x: tensor<?x4xf32>, %i: tensor<?x2xi64>, %u: tensor<?x3xf32>) {
  // expected-error @below {{expects updates of the shape of the indices}}
  %0 = lathe.scatter_elements assign %x, %i, %u {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x2xi64>, tensor<?x3xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @scatter_elements_c4(%x: tensor<3x4xf32>, %i: tensor<4x2xi64>, %u: tensor<4x2xf32>) {
  // expected-error @below {{expects indices within the input off the axis, got 4 for dimension 3}}
  %0 = lathe.scatter_elements assign %x, %i, %u {axis = 1 : i64} : (tensor<3x4xf32>, tensor<4x2xi64>, tensor<4x2xf32>) -> tensor<3x4xf32>
  return
}

// -----

func.func @scatter_nd_c1(%x: tensor<?x4xf32>, %i: tensor<?x3xi64>, %u: tensor<?xf32>) {
  // expected-error @below {{expects indices whose last dimension is static and from 1 to 2}}
  %0 = lathe.scatter_nd assign %x, %i, %u : (tensor<?x4xf32>, tensor<?x3xi64>, tensor<?xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @scatter_nd_c2(%x: tensor<?x4xf32>, %i: tensor<?x1xi64>, %u: tensor<?x3xf32>) {
  // expected-error @below {{expects updates of shape}}
  %0 = lathe.scatter_nd assign %x, %i, %u : (tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x3xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @top_k_c1(%x: tensor<?x4xf32>) {
  %c1 = arith.constant 1 : index
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.top_k %x, %c1 {axis = 2 : i64} : tensor<?x4xf32> -> tensor<?x4xi64>
  return
}

// -----

func.func @top_k_c2(%x: tensor<?x4xf32>) {
  %c5 = arith.constant 5 : index
  // expected-error @below {{expects k from 0 to the extent 4, got 5}}
  %0 = lathe.top_k %x, %c5 {axis = 1 : i64} : tensor<?x4xf32> -> tensor<?x5xi64>
  return
}

// -----

func.func @dequantize_c1(%q: tensor<?x4xi8>, %s: tensor<4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.dequantize %q, %s {axis = 2 : i64} : (tensor<?x4xi8>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_c2_size(%q: tensor<?x4xi8>, %s: tensor<?x4xf32>) {
  // expected-error @below {{expects a block size of at least 1 and an axis, got 0}}
  %0 = lathe.dequantize %q, %s {axis = 1 : i64, block_size = 0 : i64} : (tensor<?x4xi8>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_c2_axis(%q: tensor<?x4xi8>, %s: tensor<?x4xf32>) {
  // expected-error @below {{expects a block size of at least 1 and an axis, got 2 and none}}
  %0 = lathe.dequantize %q, %s {block_size = 2 : i64} : (tensor<?x4xi8>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_c3(%q: tensor<?x4xi8>, %s: tensor<4xf32>) {
  // expected-error @below {{expects a scale of shape [], got [4]}}
  %0 = lathe.dequantize %q, %s : (tensor<?x4xi8>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_c4(%q: tensor<3x5xi4>, %s: tensor<3x2xf32>) {
  // expected-error @below {{expects a scale of shape [3, 3], got [3, 2]}}
  %0 = lathe.dequantize %q, %s {axis = 1 : i64, block_size = 2 : i64} : (tensor<3x5xi4>, tensor<3x2xf32>) -> tensor<3x5xf32>
  return
}

// -----

func.func @dequantize_c5(%q: tensor<?x4xi8>, %s: tensor<f32>, %z: tensor<4xi8>) {
  // expected-error @below {{expects a zero point of the scale's shape [], got [4]}}
  %0 = lathe.dequantize %q, %s, %z : (tensor<?x4xi8>, tensor<f32>, tensor<4xi8>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_c6(%q: tensor<?x4xi8>, %s: tensor<f32>) {
  // expected-error @below {{expects a result of floats}}
  %0 = lathe.dequantize %q, %s : (tensor<?x4xi8>, tensor<f32>) -> tensor<?x4xi32>
  return
}

// -----

func.func @dequantize_c7(%q: tensor<?x4xi8>, %s: tensor<f32>, %z: tensor<ui8>) {
  // expected-error @below {{expects a zero point of type}}
  %0 = lathe.dequantize %q, %s, %z : (tensor<?x4xi8>, tensor<f32>, tensor<ui8>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_c7_narrow(%q: tensor<?x4xi64>, %s: tensor<f32>) {
  // expected-error @below {{expects quantized values of an integer type of 2 to 32 bits or an 8-bit float type}}
  %0 = lathe.dequantize %q, %s : (tensor<?x4xi64>, tensor<f32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @quantize_c6(%x: tensor<?x4xf16>, %s: tensor<f32>) {
  // expected-error @below {{expects an input of the scale's type}}
  %0 = lathe.quantize %x, %s : (tensor<?x4xf16>, tensor<f32>) -> tensor<?x4xi8>
  return
}

// -----

func.func @quantize_c7(%x: tensor<?x4xf32>, %s: tensor<f32>) {
  // expected-error @below {{expects quantized values of an integer type of 2 to 16 bits or an 8-bit float type}}
  %0 = lathe.quantize %x, %s : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xi32>
  return
}

// -----

func.func @shift_types(%x: tensor<?x4xf32>) {
  // expected-error @below {{operand #0 must be}}
  %0 = lathe.shift_left %x, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @if_c1(%c: index, %x: tensor<4xf32>) {
  // expected-error @below {{expects branches that yield values of types (tensor<4xf32>), got ()}}
  %0 = lathe.if %c -> (tensor<4xf32>) {
    lathe.yield %x : tensor<4xf32>
  } else {
    lathe.yield
  }
  return
}

// -----

func.func @if_c2(%c: index, %x: tensor<4xf32>, %y: tensor<5xf32>) {
  // expected-error @below {{expects branches that yield values of types (tensor<4xf32>), got (tensor<5xf32>)}}
  %0 = lathe.if %c -> (tensor<4xf32>) {
    lathe.yield %x : tensor<4xf32>
  } else {
    lathe.yield %y : tensor<5xf32>
  }
  return
}

// -----

func.func @if_terminator(%c: index) {
  // expected-error @below {{expects regions that end in lathe.yield}}
  lathe.if %c {
    llvm.unreachable
  } else {
    lathe.yield
  }
  return
}

// -----

func.func @loop_c1(%n: index, %x: tensor<4xf32>) {
  // expected-error @below {{expects a body that takes values of types (index, tensor<4xf32>), got (index)}}
  %0:2 = lathe.loop %n, %n(%x) : (tensor<4xf32>) -> (index, tensor<4xf32>) {
  ^bb0(%i: index):
    lathe.yield %n, %x : index, tensor<4xf32>
  }
  return
}

// -----

func.func @loop_c2(%n: index, %x: tensor<4xf32>) {
  // expected-error @below {{expects a body that yields values of types (index, tensor<4xf32>), got (tensor<4xf32>)}}
  %0:2 = lathe.loop %n, %n(%x) : (tensor<4xf32>) -> (index, tensor<4xf32>) {
  ^bb0(%i: index, %s: tensor<4xf32>):
    lathe.yield %s : tensor<4xf32>
  }
  return
}

// -----

func.func @loop_c3(%n: index, %x: tensor<4xf32>) {
  // expected-error @below {{expects a body that yields values of types (index, tensor<4xf32>, tensor<3xf32>), got (index, tensor<4xf32>, tensor<4xf32>)}}
  %0:3 = lathe.loop %n, %n(%x) : (tensor<4xf32>) -> (index, tensor<4xf32>, tensor<?x3xf32>) {
  ^bb0(%i: index, %s: tensor<4xf32>):
    lathe.yield %n, %s, %s : index, tensor<4xf32>, tensor<4xf32>
  }
  return
}

// -----

func.func @loop_c3_rank(%n: index, %x: tensor<f32>) {
  // expected-error @below {{expects tensors of all iterations to have an axis of iterations, got 'tensor<f32>'}}
  %0:3 = lathe.loop %n, %n(%x) : (tensor<f32>) -> (index, tensor<f32>, tensor<f32>) {
  ^bb0(%i: index, %s: tensor<f32>):
    lathe.yield %n, %s, %s : index, tensor<f32>, tensor<f32>
  }
  return
}

// -----

func.func @loop_c4(%n: index, %x: tensor<4xf32>) {
  // expected-error @below {{expects states of types (index, tensor<5xf32>), got (index, tensor<4xf32>)}}
  %0:2 = lathe.loop %n, %n(%x) : (tensor<4xf32>) -> (index, tensor<5xf32>) {
  ^bb0(%i: index, %s: tensor<4xf32>):
    lathe.yield %n, %s : index, tensor<4xf32>
  }
  return
}

// -----

func.func @yield_parent(%x: tensor<4xf32>) {
  // expected-error @below {{expects parent op to be one of}}
  lathe.yield %x : tensor<4xf32>
}

// -----

func.func @require_condition(%x: tensor<2xi64>) {
  // expected-note @above {{prior use here}}
  // expected-error @below {{use of value '%x' expects different type than prior uses: 'index' vs 'tensor<2xi64>'}}
  lathe.require %x, "expects something"
  return
}

// -----

func.func @dequantize_c8(%q: tensor<?x4xi8>, %s: tensor<4xf16>, %z: tensor<4xf32>) {
  // expected-error @below {{expects a zero point of type 'i8', or of the scale's, got 'f32'}}
  %0 = lathe.dequantize %q, %s, %z {axis = 1 : i64} : (tensor<?x4xi8>, tensor<4xf16>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @codebook_lookup_c1(%q: tensor<?x4xi32>, %t: tensor<16xf32>) {
  // expected-error @below {{expects codes of at most 16 bits, got 'i32'}}
  %0 = lathe.codebook_lookup %q, %t : (tensor<?x4xi32>, tensor<16xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @codebook_lookup_c2(%q: tensor<?x4xui8>, %t: tensor<16x4xf32>) {
  // expected-error @below {{expects a codebook that is not empty, of static shape [entries], or [entries, d] with an axis, got 'tensor<16x4xf32>' without an axis}}
  %0 = lathe.codebook_lookup %q, %t : (tensor<?x4xui8>, tensor<16x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @codebook_lookup_c3(%q: tensor<?x4xui8>, %t: tensor<16x4xf32>) {
  // expected-error @below {{expects an axis within rank 2, got 2}}
  %0 = lathe.codebook_lookup %q, %t {axis = 2 : i64} : (tensor<?x4xui8>, tensor<16x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @codebook_lookup_c4(%q: tensor<?x4xui8>, %t: tensor<0xf32>) {
  // expected-error @below {{expects a codebook that is not empty}}
  %0 = lathe.codebook_lookup %q, %t : (tensor<?x4xui8>, tensor<0xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @codebook_lookup_c5(%q: tensor<?x4xui8>, %t: tensor<16xf16>) {
  // expected-error @below {{expects a result of the codebook's type 'f16', got 'f32'}}
  %0 = lathe.codebook_lookup %q, %t : (tensor<?x4xui8>, tensor<16xf16>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_log2_c4(%q: tensor<?x4xui4>, %s: tensor<5xf32>) {
  // expected-error @below {{expects a scale of shape}}
  %0 = lathe.dequantize_log2 %q, %s {axis = 1 : i64} : (tensor<?x4xui4>, tensor<5xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_log2_c5(%q: tensor<?x4xi4>, %s: tensor<4xf32>) {
  // expected-error @below {{expects codes of an unsigned integer type of 2 to 8 bits, got 'i4'}}
  %0 = lathe.dequantize_log2 %q, %s {axis = 1 : i64} : (tensor<?x4xi4>, tensor<4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @dequantize_log2_c6(%q: tensor<?x4xui4>, %s: tensor<4xf32>) {
  // expected-error @below {{expects a result of floats, got 'i32'}}
  %0 = lathe.dequantize_log2 %q, %s {axis = 1 : i64} : (tensor<?x4xui4>, tensor<4xf32>) -> tensor<?x4xi32>
  return
}
