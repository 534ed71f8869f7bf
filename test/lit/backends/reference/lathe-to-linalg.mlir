// RUN: lathe-opt %s --lathe-to-linalg -split-input-file -verify-diagnostics | FileCheck %s

// CHECK-DAG: #[[ID:.*]] = affine_map<(d0, d1) -> (d0, d1)>
// CHECK-DAG: #[[REPEAT:.*]] = affine_map<(d0, d1) -> (d0, 0)>
// CHECK-DAG: #[[LAST:.*]] = affine_map<(d0, d1) -> (d1)>

// An extent of 1 repeats, leading axes are missing, and the dynamic extent comes from the operand that has it.
// CHECK-LABEL: func.func @broadcast_add
// CHECK-SAME: (%[[A:.*]]: tensor<?x1xf32>, %[[B:.*]]: tensor<4xf32>)
// CHECK: %[[D:.*]] = tensor.dim %[[A]]
// CHECK: tensor.empty(%[[D]]) : tensor<?x4xf32>
// CHECK: linalg.generic {indexing_maps = [#[[REPEAT]], #[[LAST]], #[[ID]]]
// CHECK: arith.addf %{{.*}}, %{{.*}} : f32
func.func @broadcast_add(%a: tensor<?x1xf32>, %b: tensor<4xf32>) -> tensor<?x4xf32> {
  %0 = lathe.add %a, %b : (tensor<?x1xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// A constant of equal elements is a scalar of the body; f16 is computed in f32.
// CHECK-LABEL: func.func @splat
// CHECK-NOT: arith.constant dense
// CHECK: linalg.generic
// CHECK-SAME: ins(%{{[a-z0-9]*}} : tensor<?xf16>)
// CHECK: arith.extf
// CHECK: arith.divf %{{.*}} : f32
// CHECK: arith.truncf
func.func @splat(%a: tensor<?xf16>) -> tensor<?xf16> {
  %c = lathe.constant dense<3.0> : tensor<f16>
  %0 = lathe.div %a, %c : (tensor<?xf16>, tensor<f16>) -> tensor<?xf16>
  return %0 : tensor<?xf16>
}

// -----

// CHECK-LABEL: func.func @swish
// CHECK: linalg.generic
// CHECK: ^bb0(%[[X:[a-z0-9]*]]: f32
// CHECK: %[[SCALED:.*]] = arith.mulf %[[X]], %{{.*}} : f32
// CHECK: %[[EXP:.*]] = math.exp %[[SCALED]]
// CHECK: %[[SUM:.*]] = arith.addf %{{.*}}, %[[EXP]]
// CHECK: arith.divf %[[X]], %[[SUM]]
func.func @swish(%a: tensor<?xf32>) -> tensor<?xf32> {
  %0 = lathe.swish %a {beta = 1.702 : f64} : (tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

// Neither division by zero nor that of the smallest integer by -1 reaches the instruction.
// CHECK-LABEL: func.func @integer_division
// CHECK: %[[SAFE:.*]] = arith.select %{{.*}}, %{{.*}}, %{{.*}} : i32
// CHECK: arith.divsi %{{.*}}, %[[SAFE]] : i32
func.func @integer_division(%a: tensor<4xi32>, %b: tensor<4xi32>) -> tensor<4xi32> {
  %0 = lathe.div %a, %b : (tensor<4xi32>, tensor<4xi32>) -> tensor<4xi32>
  return %0 : tensor<4xi32>
}

// -----

// CHECK-DAG: #[[L:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d3)>
// CHECK-DAG: #[[R:.*]] = affine_map<(d0, d1, d2, d3) -> (d2, d3)>
// CHECK-DAG: #[[O:.*]] = affine_map<(d0, d1, d2, d3) -> (d0, d1, d2)>
// CHECK-LABEL: func.func @matmul
// CHECK: linalg.fill
// CHECK: linalg.generic {indexing_maps = [#[[L]], #[[R]], #[[O]]], iterator_types = ["parallel", "parallel", "parallel", "reduction"]}
// CHECK: arith.mulf {{.*}} fastmath<reassoc,contract>
// CHECK: arith.addf {{.*}} fastmath<reassoc,contract>
func.func @matmul(%a: tensor<?x?x8xf32>, %b: tensor<4x8xf32>) -> tensor<?x?x4xf32> {
  %0 = lathe.matmul %a, %b {transpose_rhs} : (tensor<?x?x8xf32>, tensor<4x8xf32>) -> tensor<?x?x4xf32>
  return %0 : tensor<?x?x4xf32>
}

// -----

// Minus infinity under the maximum; four loops.
// CHECK-LABEL: func.func @softmax
// CHECK: arith.constant 0xFF800000 : f32
// CHECK: arith.maxnumf
// CHECK: math.exp
// CHECK: arith.addf {{.*}} fastmath<reassoc,contract>
// CHECK: arith.divf
func.func @softmax(%x: tensor<?x4xf32>) -> tensor<?x4xf32> {
  %0 = lathe.softmax %x {axis = 0 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// CHECK-DAG: #[[DROP:.*]] = affine_map<(d0, d1) -> (d0)>
// CHECK-LABEL: func.func @mean_keep_dims
// CHECK: linalg.generic {{.*}} iterator_types = ["parallel", "reduction"]
// CHECK: linalg.generic {indexing_maps = [#[[DROP]], #{{.*}}], iterator_types = ["parallel", "parallel"]}
// CHECK-SAME: ins(%{{.*}} : tensor<?xf32>) outs(%{{.*}} : tensor<?x1xf32>)
// CHECK: arith.divf
func.func @mean_keep_dims(%x: tensor<?x4xf32>) -> tensor<?x1xf32> {
  %0 = lathe.reduce mean %x {axes = array<i64: 1>, keep_dims} : (tensor<?x4xf32>) -> tensor<?x1xf32>
  return %0 : tensor<?x1xf32>
}

// -----

// CHECK-LABEL: func.func @layer_norm
// CHECK-COUNT-5: linalg.generic
// CHECK-NOT: linalg.generic
func.func @layer_norm(%x: tensor<?x4xf32>, %s: tensor<4xf32>) -> tensor<?x4xf32> {
  %0 = lathe.layer_norm %x, %s, %s {axis = 1 : i64, epsilon = 1.0e-5 : f64}
     : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// The read is in bounds even where assertions are not kept.
// CHECK-LABEL: func.func @gather
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf32>
// CHECK: linalg.generic
// CHECK: cf.assert %{{.*}}, "index out of range
// CHECK: arith.minsi
// CHECK: %[[I:.*]] = arith.maxsi
// CHECK: tensor.extract %[[X]][%[[I]], %{{.*}}]
func.func @gather(%x: tensor<?x4xf32>, %i: tensor<?x?xi64>) -> tensor<?x?x4xf32> {
  %0 = lathe.gather %x, %i {axis = 0 : i64} : (tensor<?x4xf32>, tensor<?x?xi64>) -> tensor<?x?x4xf32>
  return %0 : tensor<?x?x4xf32>
}

// -----

// CHECK-LABEL: func.func @concat
// CHECK-SAME: (%[[A:.*]]: tensor<?x4xf32>, %[[B:.*]]: tensor<?x3xf32>)
// CHECK: linalg.generic
// CHECK: scf.if
// CHECK: tensor.extract %[[A]]
// CHECK: } else {
// CHECK: arith.subi
// CHECK: tensor.extract %[[B]]
func.func @concat(%a: tensor<?x4xf32>, %b: tensor<?x3xf32>) -> tensor<?x7xf32> {
  %0 = lathe.concat %a, %b {axis = 1 : i64} : (tensor<?x4xf32>, tensor<?x3xf32>) -> tensor<?x7xf32>
  return %0 : tensor<?x7xf32>
}

// -----

// What -1 stands for follows from the other dimensions.
// CHECK-LABEL: func.func @reshape
// CHECK: %[[N:.*]] = arith.divsi
// CHECK: %[[S:.*]] = tensor.from_elements %[[N]], %{{.*}} : tensor<2xindex>
// CHECK: tensor.reshape %{{.*}}(%[[S]])
func.func @reshape(%x: tensor<?x2x2xf32>) -> tensor<?x4xf32> {
  %m1 = arith.constant -1 : index
  %c4 = arith.constant 4 : index
  %0 = lathe.reshape %x [%m1, %c4] : tensor<?x2x2xf32> -> tensor<?x4xf32>
  return %0 : tensor<?x4xf32>
}

// -----

// A dynamic axis that may be 1 when it runs is read by a computed index; one that is equal by a map.
// CHECK-LABEL: func.func @broadcast_unknown
// CHECK: tensor.extract
// CHECK-LABEL: func.func @broadcast_equal
// CHECK-NOT: tensor.extract
func.func @broadcast_unknown(%x: tensor<?xf32>, %n: index) -> tensor<?xf32> {
  %0 = lathe.broadcast %x [%n] : tensor<?xf32> -> tensor<?xf32>
  return %0 : tensor<?xf32>
}
func.func @broadcast_equal(%x: tensor<?xf32>) -> tensor<2x?xf32> {
  %c2 = arith.constant 2 : index
  %n = lathe.dim %x {axis = 0 : i64} : tensor<?xf32>
  %0 = lathe.broadcast %x [%c2, %n] : tensor<?xf32> -> tensor<2x?xf32>
  return %0 : tensor<2x?xf32>
}

// -----

// Read within the input, else the value: a branch, since there may be nothing to read. An axis that is taken from its
// start needs no test.
// CHECK-LABEL: func.func @pad
// CHECK: %[[D:.*]] = tensor.dim %{{.*}}, %{{.*}} : tensor<?x4xf32>
// CHECK: linalg.generic
// CHECK: %[[I:.*]] = arith.subi
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult, %[[I]], %[[D]]
// CHECK: scf.if %[[INSIDE]]
// CHECK-NEXT: tensor.extract %{{.*}}[%[[I]], %{{.*}}] : tensor<?x4xf32>
func.func @pad(%x: tensor<?x4xf32>, %v: tensor<f32>, %low: index, %n: index) -> tensor<?x3xf32> {
  %c0 = arith.constant 0 : index
  %c3 = arith.constant 3 : index
  %0 = lathe.pad %x with %v low [%low, %c0] extents [%n, %c3] : tensor<?x4xf32>, tensor<f32> -> tensor<?x3xf32>
  return %0 : tensor<?x3xf32>
}

// -----

// CHECK-LABEL: func.func @windows
// CHECK-SAME: (%[[X:.*]]: tensor<2x?xf32>, %[[LOW:.*]]: index, %[[N:.*]]: index)
// CHECK: tensor.empty(%[[N]]) : tensor<2x?x3xf32>
// CHECK: linalg.generic
// CHECK: arith.muli
// CHECK: arith.addi
// CHECK: %[[I:.*]] = arith.subi %{{.*}}, %[[LOW]]
// CHECK: scf.if
// CHECK: tensor.extract %[[X]][%{{.*}}, %[[I]]]
func.func @windows(%x: tensor<2x?xf32>, %low: index, %n: index) -> tensor<2x?x3xf32> {
  %c3 = arith.constant 3 : index
  %0 = lathe.windows %x kernel [%c3] low [%low] extents [%n]
      {strides = array<i64: 2>, dilations = array<i64: 1>, base_dilations = array<i64: 1>, padding = 0.0 : f64}
      : tensor<2x?xf32> -> tensor<2x?x3xf32>
  return %0 : tensor<2x?x3xf32>
}

// -----

// Only multiples of the base dilation are elements. What infinity is to integers is their lowest value.
// CHECK-LABEL: func.func @windows_of_spread_integers
// CHECK: arith.remsi
// CHECK: arith.divsi
// CHECK: arith.constant -128 : i8
// CHECK: scf.if
func.func @windows_of_spread_integers(%x: tensor<?xi8>, %low: index, %n: index) -> tensor<?x?xi8> {
  %0 = lathe.windows %x kernel [%n] low [%low] extents [%n]
      {strides = array<i64: 1>, dilations = array<i64: -1>, base_dilations = array<i64: 2>, padding = 0xFFF0000000000000 : f64}
      : tensor<?xi8> -> tensor<?x?xi8>
  return %0 : tensor<?x?xi8>
}

// -----

// Weights and symbols stay.
// CHECK-LABEL: func.func @stays
// CHECK: lathe.weight
// CHECK: lathe.symbol
func.func @stays() -> (tensor<4xf32>, index) {
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<4xf32>
  %s = lathe.symbol "batch"
  return %w, %s : tensor<4xf32>, index
}

// -----

func.func @unsigned(%x: tensor<4xui8>) -> tensor<4xui8> {
  // expected-error @below {{is not lowered on elements of type 'ui8', only on floats and signless integers}}
  %0 = lathe.add %x, %x : (tensor<4xui8>, tensor<4xui8>) -> tensor<4xui8>
  return %0 : tensor<4xui8>
}

// -----

// Each element looks along the axis for the indices that name it, and only where there are any.
// CHECK-LABEL: func.func @scatter_elements
// CHECK-SAME: (%[[X:.*]]: tensor<?x4xf16>, %[[I:.*]]: tensor<?x2xi64>, %[[U:.*]]: tensor<?x2xf16>)
// CHECK: linalg.generic
// CHECK-SAME: ins(%[[X]] : tensor<?x4xf16>)
// CHECK: scf.if
// CHECK: scf.for
// CHECK: tensor.extract %[[I]]
// CHECK: cf.assert
// CHECK: scf.if
// CHECK: tensor.extract %[[U]]
// CHECK: arith.addf %{{.*}} : f32
func.func @scatter_elements(%x: tensor<?x4xf16>, %i: tensor<?x2xi64>, %u: tensor<?x2xf16>) -> tensor<?x4xf16> {
  %0 = lathe.scatter_elements add %x, %i, %u {axis = 1 : i64} : (tensor<?x4xf16>, tensor<?x2xi64>, tensor<?x2xf16>) -> tensor<?x4xf16>
  return %0 : tensor<?x4xf16>
}

// -----

// One loop for each axis of the tuples.
// CHECK-LABEL: func.func @scatter_nd
// CHECK-COUNT-2: scf.for
// CHECK-COUNT-2: tensor.extract %{{.*}} : tensor<?x?x2xi32>
// CHECK: scf.if
// CHECK-NEXT: tensor.extract %{{.*}} : tensor<?x?x5xf32>
func.func @scatter_nd(%x: tensor<?x4x5xf32>, %i: tensor<?x?x2xi32>, %u: tensor<?x?x5xf32>) -> tensor<?x4x5xf32> {
  %0 = lathe.scatter_nd assign %x, %i, %u : (tensor<?x4x5xf32>, tensor<?x?x2xi32>, tensor<?x?x5xf32>) -> tensor<?x4x5xf32>
  return %0 : tensor<?x4x5xf32>
}

// -----

// A scan for each rank up to the own one. Comparisons of floats are complete: NaN has its place.
// CHECK-LABEL: func.func @top_k
// CHECK-SAME: %[[K:[a-z0-9]+]]: index
// CHECK: tensor.empty({{.*}}%[[K]]) : tensor<?x?xi64>
// CHECK: scf.for
// CHECK: scf.for
// CHECK: arith.cmpf une
// CHECK: arith.index_cast %{{.*}} : index to i64
func.func @top_k(%x: tensor<?x4xf32>, %k: index) -> tensor<?x?xi64> {
  %0 = lathe.top_k %x, %k {axis = 1 : i64} : tensor<?x4xf32> -> tensor<?x?xi64>
  return %0 : tensor<?x?xi64>
}

// -----

// Four-bit integers come as they are; the block that a column belongs to is its index divided by the block's size.
// CHECK-LABEL: func.func @dequantize_blocked
// CHECK-SAME: (%[[Q:.*]]: tensor<?x5xi4>, %[[S:.*]]: tensor<?x3xf16>)
// CHECK: %[[D:.*]] = tensor.dim %[[Q]]
// CHECK: tensor.empty(%[[D]]) : tensor<?x5xf32>
// CHECK: linalg.generic
// CHECK-DAG: arith.sitofp %{{.*}} : i4 to f32
// CHECK-DAG: %[[BLOCK:.*]] = arith.divui
// CHECK-DAG: %[[SCALE:.*]] = tensor.extract %[[S]][%{{.*}}, %[[BLOCK]]]
// CHECK-DAG: arith.extf %[[SCALE]] : f16 to f32
// CHECK: arith.mulf
func.func @dequantize_blocked(%q: tensor<?x5xi4>, %s: tensor<?x3xf16>) -> tensor<?x5xf32> {
  %0 = lathe.dequantize %q, %s {axis = 1 : i64, block_size = 2 : i64} : (tensor<?x5xi4>, tensor<?x3xf16>) -> tensor<?x5xf32>
  return %0 : tensor<?x5xf32>
}

// -----

// Each code gives four elements of a row; one beyond the table is the last.
// CHECK-LABEL: func.func @codebook
// CHECK: linalg.generic
// CHECK: %[[COLUMN:.*]] = linalg.index 1
// CHECK-DAG: %[[WITHIN:.*]] = arith.remui %[[COLUMN]]
// CHECK-DAG: %[[VECTOR:.*]] = arith.divui %[[COLUMN]]
// CHECK: %[[CODE:.*]] = tensor.extract %{{.*}}[%{{.*}}, %[[VECTOR]]]
// CHECK: %[[INDEX:.*]] = arith.index_castui %[[CODE]]
// CHECK: %[[ENTRY:.*]] = arith.minui %[[INDEX]]
// CHECK: tensor.extract %{{.*}}[%[[ENTRY]], %[[WITHIN]]]
func.func @codebook(%c: tensor<?x16xi8>, %v: tensor<200x4xf32>) -> tensor<?x64xf32> {
  %0 = lathe.codebook_lookup %c, %v {axis = 1 : i64} : (tensor<?x16xi8>, tensor<200x4xf32>) -> tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}

// -----

// Rounded before the zero point is added, then saturated.
// CHECK-LABEL: func.func @quantize_axis
// CHECK: %[[QUOTIENT:.*]] = arith.divf
// CHECK: %[[ROUND:.*]] = math.roundeven %[[QUOTIENT]]
// CHECK: arith.addf %[[ROUND]]
// CHECK: arith.fptosi %{{.*}} : f32 to i8
func.func @quantize_axis(%x: tensor<?x4xf32>, %s: tensor<4xf32>, %z: tensor<4xi8>) -> tensor<?x4xi8> {
  %0 = lathe.quantize %x, %s, %z {axis = 1 : i64} : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xi8>) -> tensor<?x4xi8>
  return %0 : tensor<?x4xi8>
}

// -----

// 8-bit floats are taken apart as integers: no instruction converts them.
// CHECK-LABEL: func.func @narrow_floats
// CHECK: arith.bitcast %{{.*}} : f8E4M3FN to i8
// CHECK-NOT: arith.extf
// CHECK: arith.bitcast %{{.*}} : i8 to f8E5M2
func.func @narrow_floats(%x: tensor<?xf8E4M3FN>) -> tensor<?xf8E5M2> {
  %0 = lathe.cast %x : (tensor<?xf8E4M3FN>) -> tensor<?xf8E5M2>
  return %0 : tensor<?xf8E5M2>
}

// -----

// No distance from the width on reaches the instruction.
// CHECK-LABEL: func.func @shift
// CHECK: %[[INSIDE:.*]] = arith.cmpi ult
// CHECK: %[[SAFE:.*]] = arith.select %[[INSIDE]]
// CHECK: arith.shrsi %{{.*}}, %[[SAFE]] : i32
func.func @shift(%a: tensor<?xi32>, %b: tensor<?xi32>) -> tensor<?xi32> {
  %0 = lathe.shift_right %a, %b : (tensor<?xi32>, tensor<?xi32>) -> tensor<?xi32>
  return %0 : tensor<?xi32>
}

// -----

// CHECK-LABEL: func.func @control_flow
// CHECK: %[[C:.*]] = arith.cmpi ne
// CHECK: scf.if %[[C]] -> (tensor<?xf32>) {
// CHECK: linalg.generic
// CHECK: scf.yield
// CHECK: } else {
// CHECK: tensor.cast %{{.*}} : tensor<4xf32> to tensor<?xf32>
// CHECK: tensor.empty(%{{.*}}) : tensor<?x4xf32>
// CHECK: %[[LOOP:.*]]:4 = scf.while
// CHECK: scf.condition
// CHECK: } do {
// CHECK: linalg.generic
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[%{{.*}}, 0] [1, 4] [1, 1] : tensor<4xf32> into tensor<?x4xf32>
// CHECK: scf.yield
// CHECK: return %{{.*}}, %[[LOOP]]#3
func.func @control_flow(%c: index, %x: tensor<?xf32>, %y: tensor<4xf32>) -> (tensor<?xf32>, tensor<?x4xf32>) {
  %0 = lathe.if %c -> (tensor<?xf32>) {
    %a = lathe.exp %x : (tensor<?xf32>) -> tensor<?xf32>
    lathe.yield %a : tensor<?xf32>
  } else {
    lathe.yield %y : tensor<4xf32>
  }
  %1:3 = lathe.loop %c, %c(%y) : (tensor<4xf32>) -> (index, tensor<4xf32>, tensor<?x4xf32>) {
  ^bb0(%i: index, %s: tensor<4xf32>):
    %2 = lathe.exp %s : (tensor<4xf32>) -> tensor<4xf32>
    lathe.yield %c, %2, %s : index, tensor<4xf32>, tensor<4xf32>
  }
  return %0, %1#2 : tensor<?xf32>, tensor<?x4xf32>
}

// -----

// The extents of what is gathered are those of a state, and of what the body makes of it.
// CHECK-LABEL: func.func @gathers_dynamic
// CHECK-SAME: (%{{.*}}: index, %[[X:.*]]: tensor<?xf32>)
// CHECK: %[[EXTENT:.*]] = tensor.dim %[[X]]
// CHECK: %[[TWICE:.*]] = arith.muli %[[EXTENT]]
// CHECK: tensor.empty(%{{.*}}, %[[EXTENT]]) : tensor<?x?xf32>
// CHECK: tensor.empty(%{{.*}}, %[[TWICE]]) : tensor<?x?xf32>
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[%{{.*}}, 0] [1, %[[EXTENT]]] [1, 1] : tensor<?xf32> into tensor<?x?xf32>
// CHECK: tensor.insert_slice %{{.*}} into %{{.*}}[%{{.*}}, 0] [1, %[[TWICE]]] [1, 1] : tensor<?xf32> into tensor<?x?xf32>
func.func @gathers_dynamic(%c: index, %y: tensor<?xf32>) -> (tensor<?x?xf32>, tensor<?x?xf32>) {
  %1:4 = lathe.loop %c, %c(%y) : (tensor<?xf32>) -> (index, tensor<?xf32>, tensor<?x?xf32>, tensor<?x?xf32>) {
  ^bb0(%i: index, %s: tensor<?xf32>):
    %2 = lathe.concat %s, %s {axis = 0 : i64} : (tensor<?xf32>, tensor<?xf32>) -> tensor<?xf32>
    lathe.yield %c, %s, %s, %2 : index, tensor<?xf32>, tensor<?xf32>, tensor<?xf32>
  }
  return %1#2, %1#3 : tensor<?x?xf32>, tensor<?x?xf32>
}

// -----

func.func @gathers_ragged(%c: index, %y: tensor<4xf32>) -> tensor<?x?xf32> {
  // expected-error @below {{is lowered where the extents of what is gathered of all iterations are known before it, got another one for axis 0 of 'tensor<?xf32>'}}
  %1:3 = lathe.loop %c, %c(%y) : (tensor<4xf32>) -> (index, tensor<4xf32>, tensor<?x?xf32>) {
  ^bb0(%i: index, %s: tensor<4xf32>):
    %c0 = arith.constant 0 : index
    %2 = lathe.slice %s from [%c0] to [%i] {axes = array<i64: 0>, steps = array<i64: 1>} : tensor<4xf32> -> tensor<?xf32>
    lathe.yield %c, %s, %2 : index, tensor<4xf32>, tensor<?xf32>
  }
  return %1#2 : tensor<?x?xf32>
}

// -----

// CHECK-LABEL: func.func @require
// CHECK-SAME: (%[[C:.*]]: index, %{{.*}}: index)
// CHECK: %[[HOLDS:.*]] = arith.cmpi ne, %[[C]], %{{.*}} : index
// CHECK: cf.assert %[[HOLDS]], "expects an axis within rank 3"
func.func @require(%c: index, %axis: index) {
  lathe.require %c, "expects an axis within rank 3" got %axis
  return
}
