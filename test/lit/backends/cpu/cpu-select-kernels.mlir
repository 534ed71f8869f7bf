// RUN: split-file %s %t
// RUN: lathe-opt %t/main.mlir -split-input-file --cpu-select-kernels --canonicalize --cse | FileCheck %t/main.mlir
// RUN: lathe-opt %t/options.mlir --cpu-select-kernels=fuse=false --canonicalize --cse | FileCheck %t/options.mlir --check-prefix=NOFUSE
// RUN: lathe-opt %t/options.mlir --cpu-select-kernels=library=false --canonicalize --cse | FileCheck %t/options.mlir --check-prefix=NOLIBRARY
// RUN: lathe-opt %t/options.mlir "--cpu-select-kernels=fuse=false library=false" --canonicalize --cse | FileCheck %t/options.mlir --check-prefix=REFERENCE

//--- main.mlir

// Elementwise operations share one kernel, which keeps nothing in between. A work item is a row; chunks have about 4096 elements.
// CHECK: kernel.inputs = [{name = "x", shape = ["batch", 4], type = f32}, {name = "y", shape = [4], type = f32}]
// CHECK-SAME: kernel.kernels = [{kind = "generated", name = "kernel_0", nodes = []}]
// CHECK-SAME: kernel.outputs = [{name = "z", shape = ["batch", 4], type = f32}]
// CHECK-SAME: kernel.symbols = [{max = -1 : i64, min = 0 : i64, name = "batch"}]
// CHECK-NOT: func.func @main
// CHECK-LABEL: func.func @run
// CHECK-SAME: (%[[FRAME:.*]]: !llvm.ptr)
// CHECK: %[[GRAIN:.*]] = arith.constant 1024 : index
// CHECK: %[[BATCH:.*]] = lathe.symbol "batch"
// CHECK: %[[X:.*]] = kernel.input %[[FRAME]] 0[%[[BATCH]]] : memref<?x4xf32>
// CHECK: %[[Y:.*]] = kernel.input %[[FRAME]] 1[] : memref<4xf32>
// CHECK-NOT: kernel.alloc
// CHECK: %[[Z:.*]] = kernel.output %[[FRAME]] 0[%[[BATCH]]] : memref<?x4xf32>
// CHECK: kernel.launch %[[FRAME]] @kernel_0(%[[X]], %[[Y]], %[[Z]]) count %[[BATCH]] grain %[[GRAIN]] {kernel = 0 : i64, kernel.in_place = array<i64: 0>}
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func private @kernel_0
// CHECK-SAME: (%{{.*}}: !llvm.ptr, %[[ARGS:.*]]: !llvm.ptr, %[[BEGIN:.*]]: index, %[[END:.*]]: index)
// CHECK: %[[KX:.*]] = kernel.arg %[[ARGS]] at 0 : memref<?x4xf32>
// CHECK: %[[KY:.*]] = kernel.arg %[[ARGS]] at 56 : memref<4xf32>
// CHECK: %[[KZ:.*]] = kernel.arg %[[ARGS]] at 96 : memref<?x4xf32>
// CHECK: scf.for %[[I:.*]] = %[[BEGIN]] to %[[END]]
// CHECK: scf.for %[[J:.*]] =
// CHECK-DAG: memref.load %[[KX]][%[[I]], %[[J]]]
// CHECK-DAG: memref.load %[[KY]][%[[J]]]
// CHECK: arith.addf
// CHECK: %[[T:.*]] = math.tanh
// CHECK: memref.store %[[T]], %[[KZ]][%[[I]], %[[J]]]
// The plan stores batch, 4, 4 and batch, 4. All that can be wrong is that there are too many rows.
// CHECK-LABEL: func.func @plan
// CHECK-COUNT-5: llvm.store
// CHECK: %[[ROWS:.*]] = arith.maxui
// CHECK: %[[FLOAT:.*]] = arith.uitofp %[[ROWS]] : i64 to f64
// CHECK: %[[COUNT:.*]] = arith.mulf %[[FLOAT]], %{{.*}} : f64
// CHECK: %[[LARGE:.*]] = arith.cmpf ogt, %[[COUNT]]
// CHECK: %[[CODE:.*]] = arith.extui %[[LARGE]] : i1 to i64
// CHECK: return %[[CODE]]
func.func @main(%x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["batch", "4"]}, %y: tensor<4xf32> {lathe.name = "y"})
    -> (tensor<?x4xf32> {lathe.name = "z"}) {
  %0 = lathe.add %x, %y : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %1 = lathe.tanh %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// -----

// Elements that are computed from those at the same place and from numbers alone have no rows: a work item is an element.
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[C4096:.*]] = arith.constant 4096 : index
// CHECK-DAG: %[[X:.*]] = kernel.input %{{.*}} 0[
// CHECK-DAG: %[[S:.*]] = kernel.input %{{.*}} 1[] : memref<1xf32>
// CHECK-DAG: %[[Y:.*]] = kernel.output
// CHECK: %[[COUNT:.*]] = arith.muli
// CHECK: %[[X1:.*]] = kernel.view %[[X]][%[[COUNT]]] : memref<?x4xf32> -> memref<?xf32>
// CHECK: %[[Y1:.*]] = kernel.view %[[Y]][%[[COUNT]]] : memref<?x4xf32> -> memref<?xf32>
// CHECK: kernel.launch %{{.*}} @kernel_0(%[[X1]], %[[S]], %[[Y1]]) count %[[COUNT]] grain %[[C4096]]
// CHECK-LABEL: func.func private @kernel_0
// CHECK-SAME: %[[BEGIN:[^ ]*]]: index, %[[END:[^ ]*]]: index)
// CHECK: scf.for %[[I:.*]] = %[[BEGIN]] to %[[END]]
// CHECK-NOT: scf.for
// CHECK: memref.load %{{.*}}[%[[I]]] : memref<?xf32>
// CHECK: memref.store %{{.*}}[%[[I]]] : memref<?xf32>
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}, %s: tensor<1xf32>) -> tensor<?x4xf32> {
  %0 = lathe.mul %x, %s : (tensor<?x4xf32>, tensor<1xf32>) -> tensor<?x4xf32>
  %1 = lathe.tanh %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.add %1, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %2 : tensor<?x4xf32>
}

// -----

// A transpose reads elsewhere, though its shape is the same.
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.view
// CHECK-LABEL: func.func private @kernel_0
// CHECK: scf.for
// CHECK: scf.for
func.func @main(%x: tensor<4x4xf32>) -> tensor<4x4xf32> {
  %0 = lathe.transpose %x {permutation = array<i64: 1, 0>} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %1 = lathe.add %0, %x : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  return %1 : tensor<4x4xf32>
}

// -----

// A softmax and what is done to its result: the row's maximum and sum are loops of their own before the last one. The
// exponentials stay in the result's row until that is computed.
// CHECK-LABEL: func.func @run
// CHECK-COUNT-1: kernel.launch
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func private @kernel_0
// CHECK: scf.for %[[ROW:.*]] =
// CHECK:   %[[MAX:.*]] = scf.for {{.*}} iter_args
// CHECK:     arith.maxnumf
// CHECK:   %[[SUM:.*]] = scf.for {{.*}} iter_args
// CHECK:     %[[EXP:.*]] = math.exp
// CHECK:     arith.addf
// CHECK:     memref.store %[[EXP]], %[[OUT:.*]][
// CHECK:   %[[SCALE:.*]] = arith.divf %{{.*}}, %[[SUM]]
// CHECK:   scf.for
// CHECK-NOT: math.exp
// CHECK:     %[[KEPT:.*]] = memref.load %[[OUT]][
// CHECK:     arith.mulf %[[KEPT]], %[[SCALE]]
// CHECK:     arith.mulf
// CHECK:     memref.store {{.*}}, %[[OUT]][
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}, %m: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> tensor<?x4xf32> {
  %0 = lathe.add %x, %m : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.softmax %0 {axis = 1 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.mul %1, %m : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %2 : tensor<?x4xf32>
}

// -----

// Nothing is kept where the result has another type: the exponentials are computed twice.
// CHECK-LABEL: func.func private @kernel_0
// CHECK: scf.for {{.*}} iter_args
// CHECK: scf.for {{.*}} iter_args
// CHECK:   math.exp
// CHECK-NOT: memref.store
// CHECK: scf.for
// CHECK:   math.exp
// CHECK:   memref.store
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> tensor<?x4xf16> {
  %0 = lathe.softmax %x {axis = 1 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.cast %0 : (tensor<?x4xf32>) -> tensor<?x4xf16>
  return %1 : tensor<?x4xf16>
}

// -----

// A residual connection and its normalization are one kernel.
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.alloc
// CHECK-COUNT-1: kernel.launch
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func private @kernel_0
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}, %y: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> tensor<?x4xf32> {
  %scale = lathe.weight "scale" in "model.safetensors" at 0 : tensor<4xf32>
  %bias = lathe.weight "bias" in "model.safetensors" at 16 : tensor<4xf32>
  %0 = lathe.add %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.layer_norm %0, %scale, %bias {axis = 1 : i64, epsilon = 1.0e-12 : f64}
    : (tensor<?x4xf32>, tensor<4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// -----

// A softmax along another axis than the last is not computed row by row: what reads it is another kernel.
// CHECK-LABEL: func.func @run
// CHECK: %[[T:.*]] = kernel.alloc
// CHECK: kernel.launch %{{.*}} @kernel_0(%{{.*}}, %[[T]])
// CHECK: %[[V:.*]] = kernel.view %[[T]][
// CHECK: kernel.launch %{{.*}} @kernel_1(%[[V]], %{{.*}})
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> tensor<?x4xf32> {
  %0 = lathe.softmax %x {axis = 0 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.tanh %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// -----

// A product with a constant: the bias and the activation (2: gelu by erf) are its epilogue, the constant is packed,
// transposed while it is.
// CHECK: kernel.constants = [{file = "model.safetensors", name = "b", offset = 0 : i64, packed = false,
// CHECK-SAME: {file = "model.safetensors", name = "w", offset = 128 : i64, packed = true, transposed = true,
// CHECK-SAME: kernel.kernels = [{kind = "matmul", name = "matmul_0", nodes = ["/dense", "/bias", "/gelu"]}]
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[X:.*]] = kernel.input
// CHECK-DAG: %[[B:.*]] = kernel.constant %{{.*}} 0 : memref<4xf32>
// CHECK-DAG: %[[OUT:.*]] = kernel.output
// CHECK: kernel.matmul %{{.*}} lhs(%[[X]] : memref<?x8xf32>) bias(%[[B]] : memref<4xf32>) out(%[[OUT]] : memref<?x4xf32>)
// CHECK-SAME: {activation = 2 : i64, kernel = 0 : i64, transpose_rhs, weight = 1 : i64, weight_shape = array<i64: 8, 4>}
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func @plan
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["batch", "8"]}) -> tensor<?x4xf32> {
  %w = lathe.weight "w" in "model.safetensors" at 128 : tensor<4x8xf32>
  %b = lathe.weight "b" in "model.safetensors" at 0 : tensor<4xf32>
  %0 = lathe.matmul %x, %w {transpose_rhs} : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32> loc("/dense")
  %1 = lathe.add %b, %0 : (tensor<4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32> loc("/bias")
  %2 = lathe.gelu %1 {approximation = #lathe.gelu_approximation<erf>} : (tensor<?x4xf32>) -> tensor<?x4xf32> loc("/gelu")
  return %2 : tensor<?x4xf32>
}

// -----

// Silu is an epilogue, with another factor it is not.
// CHECK-LABEL: func.func @run
// CHECK: kernel.matmul
// CHECK-SAME: activation = 5 : i64, kernel = 0 : i64
// CHECK: kernel.matmul
// CHECK-SAME: activation = 0 : i64, kernel = 1 : i64
// CHECK: kernel.launch
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func @plan
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["batch", "8"]}) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<8x4xf32>
  %v = lathe.weight "v" in "model.safetensors" at 128 : tensor<8x4xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.swish %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.matmul %x, %v : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.swish %2 {beta = 1.702 : f64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1, %3 : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// No epilogue: what is added is no constant, and the product is needed without it, too. The constant is not packed,
// for another operation reads it as it is.
// CHECK: kernel.constants = [{{.*}}name = "w"{{.*}}packed = false
// CHECK-LABEL: func.func @run
// CHECK: kernel.matmul
// CHECK-NOT: bias
// CHECK-SAME: activation = 0
// CHECK-COUNT-2: kernel.launch
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<4x4xf32>) {
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<4x4xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.add %0, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.tanh %w : (tensor<4x4xf32>) -> tensor<4x4xf32>
  return %0, %1, %2 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<4x4xf32>
}

// -----

// A weight that is rounded to 16 bits is stored so; the product widens what it reads, and so does the gather.
// CHECK: kernel.constants = [
// CHECK-SAME: name = "table", offset = 0 : i64, packed = false, source = tensor<8x4xf32>, transposed = false, type = tensor<8x4xbf16>}
// CHECK-SAME: name = "w", offset = 128 : i64, packed = true, source = tensor<4x4xf32>, transposed = false, type = tensor<4x4xf16>}
// CHECK-LABEL: func.func @run
// CHECK: %[[TABLE:.*]] = kernel.constant %{{.*}} 0 : memref<8x4xbf16>
// CHECK: kernel.launch %{{.*}} @{{.*}}(%[[TABLE]]
// CHECK: kernel.matmul
// CHECK-SAME: weight = 1
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func @plan
func.func @main(%ids: tensor<?xi64> {lathe.dims = ["batch"]}) -> tensor<?x4xf32> {
  %t = lathe.weight "table" in "model.safetensors" at 0 : tensor<8x4xf32>
  %w = lathe.weight "w" in "model.safetensors" at 128 : tensor<4x4xf32>
  %0 = lathe.cast %t : (tensor<8x4xf32>) -> tensor<8x4xbf16>
  %1 = lathe.cast %0 : (tensor<8x4xbf16>) -> tensor<8x4xf32>
  %2 = lathe.gather %1, %ids {axis = 0 : i64} : (tensor<8x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %3 = lathe.cast %w : (tensor<4x4xf32>) -> tensor<4x4xf16>
  %4 = lathe.cast %3 : (tensor<4x4xf16>) -> tensor<4x4xf32>
  %5 = lathe.matmul %2, %4 : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %5 : tensor<?x4xf32>
}

// -----

// Weights of one place are one constant, whatever their names; of a table that is looked up twice, the rows of both are read.
// CHECK: kernel.constants = [{file = "f", name = "a", offset = 0 : i64, packed = false, rows = "m + n", {{[^}]*}}},
// CHECK-SAME: {file = "f", name = "other", offset = 256 : i64, packed = false, rows = "m",
// CHECK-LABEL: func.func @run
// CHECK-DAG: kernel.constant %{{.*}} 0 : memref<8x4xf32>
// CHECK-DAG: kernel.constant %{{.*}} 1 : memref<8x4xf32>
func.func @main(%i: tensor<?xi64> {lathe.dims = ["n"]}, %j: tensor<?xi64> {lathe.dims = ["m"]})
    -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %a = lathe.weight "a" in "f" at 0 : tensor<8x4xf32>
  %b = lathe.weight "b" in "f" at 0 : tensor<8x4xf32>
  %c = lathe.weight "other" in "f" at 256 : tensor<8x4xf32>
  %0 = lathe.gather %a, %i {axis = 0 : i64} : (tensor<8x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %1 = lathe.gather %b, %j {axis = 0 : i64} : (tensor<8x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %2 = lathe.gather %c, %j {axis = 0 : i64} : (tensor<8x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  return %0, %1, %2 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// A program that comes behind another finds its weights where that has them: %a is multiplied as it lies, %b is looked up in its
// panels. Where no layout will do, as with %c, it is stored again, and so is what has another type.
// CHECK: kernel.constants = [
// CHECK-SAME: {file = "f", name = "one", offset = 0 : i64, packed = false, rows = "p", transposed = false, type = tensor<8x4xf32>},
// CHECK-SAME: {file = "f", name = "two", offset = 128 : i64, packed = true, transposed = true, type = tensor<70x8xf32>},
// CHECK-SAME: {file = "f", name = "three", offset = 4096 : i64, packed = true, transposed = false, type = tensor<8x4xf32>},
// CHECK-SAME: {file = "f", name = "c", offset = 4096 : i64, packed = false, transposed = false, type = tensor<8x4xf32>},
// CHECK-SAME: {file = "f", name = "d", offset = 0 : i64, packed = true, transposed = false, type = tensor<4x8xf32>}]
// CHECK-SAME: kernel.reads = [{constant = 0 : i64}, {constant = 1 : i64}, {constant = 3 : i64}, {constant = 4 : i64}]
// CHECK-LABEL: func.func @run
// CHECK: kernel.matmul
// CHECK-SAME: weight = 0 : i64
// CHECK: kernel.constant %{{.*}} 1 : memref<2x8x64xf32>
// CHECK: kernel.launch
// CHECK: kernel.constant %{{.*}} 3 : memref<8x4xf32>
// CHECK: kernel.launch
// CHECK: kernel.matmul
// CHECK-SAME: weight = 4 : i64
module attributes {kernel.constants = [
  {name = "one", file = "f", offset = 0, packed = false, transposed = false, type = tensor<8x4xf32>, rows = "p"},
  {name = "two", file = "f", offset = 128, packed = true, transposed = true, type = tensor<70x8xf32>},
  {name = "three", file = "f", offset = 4096, packed = true, transposed = false, type = tensor<8x4xf32>}]} {
  func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["n", "8"]}, %i: tensor<?xi64> {lathe.dims = ["m"]})
      -> (tensor<?x4xf32>, tensor<?x8xf32>, tensor<8x4xf32>, tensor<?x8xf32>) {
    %a = lathe.weight "a" in "f" at 0 : tensor<8x4xf32>
    %b = lathe.weight "b" in "f" at 128 : tensor<70x8xf32>
    %c = lathe.weight "c" in "f" at 4096 : tensor<8x4xf32>
    %d = lathe.weight "d" in "f" at 0 : tensor<4x8xf32>
    %0 = lathe.matmul %x, %a : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
    %1 = lathe.gather %b, %i {axis = 0 : i64} : (tensor<70x8xf32>, tensor<?xi64>) -> tensor<?x8xf32>
    %2 = lathe.tanh %c : (tensor<8x4xf32>) -> tensor<8x4xf32>
    %3 = lathe.matmul %0, %d : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
    return %0, %1, %2, %3 : tensor<?x4xf32>, tensor<?x8xf32>, tensor<8x4xf32>, tensor<?x8xf32>
  }
}

// -----

// A table that is a matrix too (tied embeddings) is stored once, in panels, and the gather reads it there: 70 rows are two
// panels of 64 columns.
// CHECK: kernel.constants = [{file = "model.safetensors", name = "table", offset = 0 : i64, packed = true, transposed = true, type = tensor<70x4xf32>}]
// CHECK-LABEL: func.func @run
// CHECK: %[[PANELS:.*]] = kernel.constant %{{.*}} 0 : memref<2x4x64xf32>
// CHECK: kernel.launch %{{.*}} @kernel_0({{.*}}%[[PANELS]]
// CHECK: kernel.matmul
// CHECK-SAME: transpose_rhs, weight = 0
// CHECK-LABEL: func.func private @kernel_0
// CHECK-DAG: arith.divui %{{.*}}, %c64
// CHECK-DAG: arith.remui %{{.*}}, %c64
// CHECK: memref.load %{{.*}} : memref<2x4x64xf32>
func.func @main(%ids: tensor<?xi64> {lathe.dims = ["batch"]}) -> tensor<?x70xf32> {
  %t = lathe.weight "table" in "model.safetensors" at 0 : tensor<70x4xf32>
  %0 = lathe.gather %t, %ids {axis = 0 : i64} : (tensor<70x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %1 = lathe.matmul %0, %t {transpose_rhs} : (tensor<?x4xf32>, tensor<70x4xf32>) -> tensor<?x70xf32>
  return %1 : tensor<?x70xf32>
}

// -----

// A single number beside columns of one element: its index stays 0 whatever the row.
// CHECK-LABEL: func.func private @kernel_0
// CHECK: scf.for %[[I:.*]] = %arg2 to %arg3
// CHECK-DAG: memref.load %{{.*}}[%[[I]]{{.*}}] : memref<?x1xi64>
// CHECK-DAG: memref.load %{{.*}}[%c0] : memref<1xi64>
func.func @main(%x: tensor<?x1xi64> {lathe.dims = ["batch", "1"]}, %n: tensor<1xi64>) -> tensor<?x1xi64> {
  %0 = lathe.mul %x, %n : (tensor<?x1xi64>, tensor<1xi64>) -> tensor<?x1xi64>
  return %0 : tensor<?x1xi64>
}

// -----

// What is added after the bias is the product's residual, when it is there before the product is and has its shape.
// CHECK-LABEL: func.func @run
// CHECK-DAG: %[[X:.*]] = kernel.input %{{.*}} 0
// CHECK-DAG: %[[Y:.*]] = kernel.output
// CHECK: kernel.matmul %{{.*}} lhs(%[[X]] : memref<?x4xf32>) bias(%{{.*}} : memref<4xf32>) residual(%[[X]] : memref<?x4xf32>) out(%[[Y]] : memref<?x4xf32>)
// CHECK-NOT: kernel.launch
// CHECK: return
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> tensor<?x4xf32> {
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<4x4xf32>
  %b = lathe.weight "b" in "model.safetensors" at 64 : tensor<4xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.add %0, %b : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %2 = lathe.add %x, %1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %2 : tensor<?x4xf32>
}

// -----

// A gated layer: the second product multiplies its result by that of the first, whichever of the two that is.
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.launch
// CHECK: kernel.matmul %{{.*}} lhs(%{{.*}}) out(%[[GATE:.*]] : memref<?x8xf32>) {activation = 5 : i64
// CHECK: kernel.matmul %{{.*}} lhs(%{{.*}}) bias(%{{.*}}) multiplier(%[[GATE]] : memref<?x8xf32>) out(%[[H:.*]] : memref<?x8xf32>) {activation = 0 : i64
// CHECK: kernel.matmul %{{.*}} lhs(%[[H]] : memref<?x8xf32>) residual(%[[X:.*]] : memref<?x4xf32>) out(%[[SUM:.*]] : memref<?x4xf32>)
// CHECK: kernel.matmul %{{.*}} lhs(%[[SUM]] : memref<?x4xf32>) out(%[[UP:.*]] : memref<?x8xf32>) {activation = 0 : i64
// CHECK: kernel.matmul %{{.*}} lhs(%[[SUM]] : memref<?x4xf32>) multiplier(%[[UP]] : memref<?x8xf32>) residual(%{{.*}} : memref<?x8xf32>) out(%{{.*}} : memref<?x8xf32>) {activation = 3 : i64
// CHECK-NOT: kernel.launch
// CHECK: return
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}, %y: tensor<?x8xf32> {lathe.dims = ["batch", "8"]}) -> tensor<?x8xf32> {
  %g = lathe.weight "g" in "model.safetensors" at 0 : tensor<4x8xf32>
  %u = lathe.weight "u" in "model.safetensors" at 128 : tensor<4x8xf32>
  %b = lathe.weight "b" in "model.safetensors" at 256 : tensor<8xf32>
  %d = lathe.weight "d" in "model.safetensors" at 288 : tensor<8x4xf32>
  %0 = lathe.matmul %x, %g : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %1 = lathe.matmul %x, %u : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %2 = lathe.swish %0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %3 = lathe.add %1, %b : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %4 = lathe.mul %2, %3 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %5 = lathe.matmul %4, %d : (tensor<?x8xf32>, tensor<8x4xf32>) -> tensor<?x4xf32>
  %6 = lathe.add %x, %5 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %7 = lathe.matmul %6, %u : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %8 = lathe.matmul %6, %g : (tensor<?x4xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  %9 = lathe.gelu %8 {approximation = #lathe.gelu_approximation<tanh>} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %10 = lathe.mul %9, %7 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %11 = lathe.add %10, %y : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %11 : tensor<?x8xf32>
}

// -----

// No multiplier: of a product that the run computes both sides of, of another shape, and of what is multiplied by itself. A factor
// is a step of the product before, not of the one behind, too.
// CHECK-LABEL: func.func @run
// CHECK-NOT: multiplier
// CHECK: return
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}, %y: tensor<4x4xf32>, %s: tensor<?x1xf32> {lathe.dims = ["batch", "1"]}) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %half = lathe.constant dense<0.5> : tensor<f32>
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<4x4xf32>
  %0 = lathe.matmul %x, %y : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.mul %0, %x : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.mul %2, %s : (tensor<?x4xf32>, tensor<?x1xf32>) -> tensor<?x4xf32>
  %4 = lathe.matmul %3, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %5 = lathe.mul %4, %4 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %6 = lathe.matmul %5, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %7 = lathe.mul %6, %half : (tensor<?x4xf32>, tensor<f32>) -> tensor<?x4xf32>
  %8 = lathe.matmul %7, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  return %1, %3, %5, %8 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// No residual: one is computed later, the other has another shape, the third is read by nothing else and is computed
// where it is added.
// CHECK-LABEL: func.func @run
// CHECK-NOT: residual
// CHECK: return
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}, %y: tensor<1x4xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<4x4xf32>
  %0 = lathe.matmul %x, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.tanh %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.add %0, %1 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %3 = lathe.matmul %2, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %4 = lathe.add %3, %y : (tensor<?x4xf32>, tensor<1x4xf32>) -> tensor<?x4xf32>
  %5 = lathe.sigmoid %2 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %6 = lathe.matmul %4, %w : (tensor<?x4xf32>, tensor<4x4xf32>) -> tensor<?x4xf32>
  %7 = lathe.add %6, %5 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1, %2, %4, %7 : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// Attention's transposes and scales are the library's: it reads and writes heads where they lie.
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.launch
// CHECK: kernel.matmul
// CHECK-SAME: alpha = 1.250000e-01
// CHECK-SAME: lhs_axes = array<i64: 0, 2, 1, 3>
// CHECK-SAME: rhs_axes = array<i64: 0, 2, 3, 1>
// CHECK-COUNT-1: kernel.launch
// CHECK: kernel.matmul
// CHECK-SAME: out_axes = array<i64: 0, 2, 1, 3>
// CHECK-SAME: rhs_axes = array<i64: 0, 2, 1, 3>
// CHECK-NOT: kernel.launch
// CHECK: return
func.func @main(%q: tensor<?x?x4x8xf32> {lathe.dims = ["batch", "rows", "4", "8"]}, %k: tensor<?x?x4x8xf32> {lathe.dims = ["batch", "rows", "4", "8"]}, %v: tensor<?x?x4x8xf32> {lathe.dims = ["batch", "rows", "4", "8"]}) -> tensor<?x?x4x8xf32> {
  %half = lathe.constant dense<0.5> : tensor<f32>
  %two = lathe.constant dense<2.0> : tensor<f32>
  %0 = lathe.transpose %q {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x4x8xf32>) -> tensor<?x4x?x8xf32>
  %1 = lathe.mul %0, %half : (tensor<?x4x?x8xf32>, tensor<f32>) -> tensor<?x4x?x8xf32>
  %2 = lathe.transpose %k {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x4x8xf32>) -> tensor<?x4x?x8xf32>
  %3 = lathe.transpose %2 {permutation = array<i64: 0, 1, 3, 2>} : (tensor<?x4x?x8xf32>) -> tensor<?x4x8x?xf32>
  %4 = lathe.mul %half, %3 : (tensor<f32>, tensor<?x4x8x?xf32>) -> tensor<?x4x8x?xf32>
  %5 = lathe.matmul %1, %4 : (tensor<?x4x?x8xf32>, tensor<?x4x8x?xf32>) -> tensor<?x4x?x?xf32>
  %6 = lathe.div %5, %two : (tensor<?x4x?x?xf32>, tensor<f32>) -> tensor<?x4x?x?xf32>
  %7 = lathe.softmax %6 {axis = 3 : i64} : (tensor<?x4x?x?xf32>) -> tensor<?x4x?x?xf32>
  %8 = lathe.transpose %v {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x?x4x8xf32>) -> tensor<?x4x?x8xf32>
  %9 = lathe.matmul %7, %8 : (tensor<?x4x?x?xf32>, tensor<?x4x?x8xf32>) -> tensor<?x4x?x8xf32>
  %10 = lathe.transpose %9 {permutation = array<i64: 0, 2, 1, 3>} : (tensor<?x4x?x8xf32>) -> tensor<?x?x4x8xf32>
  return %10 : tensor<?x?x4x8xf32>
}

// -----

// What something else reads, too, is stored; matrices of which no axis is dense, and a result whose last axis moves.
// CHECK-LABEL: func.func @run
// CHECK-COUNT-2: kernel.launch
// CHECK: kernel.matmul
// CHECK-NOT: axes
// CHECK: kernel.launch
// CHECK: return
func.func @main(%x: tensor<2x3x4x8xf32>, %y: tensor<4x5x8x2xf32>) -> (tensor<2x4x3x8xf32>, tensor<2x4x5x3xf32>) {
  %0 = lathe.transpose %x {permutation = array<i64: 0, 2, 1, 3>} : (tensor<2x3x4x8xf32>) -> tensor<2x4x3x8xf32>
  %1 = lathe.transpose %y {permutation = array<i64: 3, 0, 2, 1>} : (tensor<4x5x8x2xf32>) -> tensor<2x4x8x5xf32>
  %3 = lathe.matmul %0, %1 : (tensor<2x4x3x8xf32>, tensor<2x4x8x5xf32>) -> tensor<2x4x3x5xf32>
  %4 = lathe.transpose %3 {permutation = array<i64: 0, 1, 3, 2>} : (tensor<2x4x3x5xf32>) -> tensor<2x4x5x3xf32>
  return %0, %4 : tensor<2x4x3x8xf32>, tensor<2x4x5x3xf32>
}

// -----

// Factors that are no normal number of f32, or whose reciprocal is none.
// CHECK-LABEL: func.func @run
// CHECK-COUNT-2: kernel.launch
// CHECK: kernel.matmul
// CHECK-NOT: alpha
// CHECK: kernel.launch
// CHECK: return
func.func @main(%x: tensor<2x3xf32>, %y: tensor<3x2xf32>) -> tensor<2x2xf32> {
  %zero = lathe.constant dense<0.0> : tensor<f32>
  %nan = lathe.constant dense<0x7FC00000> : tensor<f32>
  %tiny = lathe.constant dense<1.0e-44> : tensor<f32>
  %0 = lathe.mul %x, %nan : (tensor<2x3xf32>, tensor<f32>) -> tensor<2x3xf32>
  %1 = lathe.mul %y, %zero : (tensor<3x2xf32>, tensor<f32>) -> tensor<3x2xf32>
  %2 = lathe.matmul %0, %1 : (tensor<2x3xf32>, tensor<3x2xf32>) -> tensor<2x2xf32>
  %3 = lathe.div %2, %tiny : (tensor<2x2xf32>, tensor<f32>) -> tensor<2x2xf32>
  return %3 : tensor<2x2xf32>
}

// -----

// Products of other types than f32 have no library call.
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.matmul
// CHECK: kernel.launch
func.func @main(%x: tensor<2x3xi32>, %y: tensor<3x2xi32>) -> tensor<2x2xi32> {
  %0 = lathe.matmul %x, %y : (tensor<2x3xi32>, tensor<3x2xi32>) -> tensor<2x2xi32>
  return %0 : tensor<2x2xi32>
}

// -----

// A value with two users in two kernels is stored once if it is expensive. That two symbols must be equal is found when
// the model is run.
// CHECK: kernel.checks = [{{.*}}{message = "operands of an elementwise operation must have equal dimensions: got batch and rows"
// CHECK-LABEL: func.func @run
// CHECK: %[[E:.*]] = kernel.alloc
// CHECK: kernel.launch %{{.*}} @kernel_0(%{{.*}}, %{{.*}}, %[[E]])
// CHECK: %[[V:.*]] = kernel.view %[[E]][
// CHECK: kernel.launch %{{.*}} @kernel_1(%[[V]], %{{.*}})
// CHECK: kernel.launch %{{.*}} @kernel_2(%[[V]], %{{.*}})
// CHECK-LABEL: func.func private @kernel_0
// CHECK: math.exp
// CHECK-LABEL: func.func private @kernel_1
// CHECK-NOT: math.exp
// CHECK-LABEL: func.func @plan
// CHECK: %[[BAD:.*]] = arith.cmpi ne
// CHECK: %[[CODE:.*]] = arith.select %[[BAD]], %{{.*}}, %{{.*}} : i64
// CHECK: return %[[CODE]]
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}, %y: tensor<?x4xf32> {lathe.dims = ["rows", "4"]})
    -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %0 = lathe.add %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %e = lathe.exp %0 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.sqrt %e : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %2 = lathe.tanh %e : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1, %2 : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// Two uses in the same kernel read what is computed once.
// CHECK-LABEL: func.func @run
// CHECK-COUNT-1: kernel.launch
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func private @kernel_0
// CHECK: %[[ABS:.*]] = math.absf
// CHECK-NOT: math.absf
// CHECK: arith.mulf %[[ABS]], %[[ABS]]
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> tensor<?x4xf32> {
  %0 = lathe.abs %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.mul %0, %0 : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// -----

// An intermediate value that is an output as well is computed in the output's buffer, and read from there.
// CHECK-LABEL: func.func @run
// CHECK: %[[E:.*]] = kernel.output %{{.*}} 1[
// CHECK: %[[V:.*]] = kernel.view %[[E]][
// CHECK: kernel.launch %{{.*}} @kernel_0(%{{.*}}, %[[V]])
// CHECK: kernel.launch %{{.*}} @kernel_1(%[[V]], %{{.*}})
func.func @main(%x: tensor<?x4xf32> {lathe.dims = ["batch", "4"]}) -> (tensor<?x4xf32>, tensor<?x4xf32>) {
  %e = lathe.exp %x : (tensor<?x4xf32>) -> tensor<?x4xf32>
  %1 = lathe.sqrt %e : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %1, %e : tensor<?x4xf32>, tensor<?x4xf32>
}

// -----

// An extent that the run computes becomes a symbol once it is known. What it must satisfy is asked for then, and buffers
// that need it come after that.
// CHECK: kernel.checks = [{message = "a dimension must not be negative: got value[1]", node = ""},
// CHECK-SAME: kernel.symbols = [{max = -1 : i64, min = 0 : i64, name = "n"}, {computed, max = -1 : i64, min = -9223372036854775808 : i64, name = "value[1]"}]
// CHECK-LABEL: func.func @run
// CHECK: kernel.launch %[[FRAME:.*]] @kernel_0(%{{.*}}, %[[COUNTS:.*]]) count
// CHECK: %[[WORD:.*]] = memref.load %[[COUNTS]][%c1]
// CHECK: %[[COUNT:.*]] = arith.index_cast %[[WORD]] : i64 to index
// CHECK: kernel.define %[[FRAME]] "value[1]" = %[[COUNT]]
// CHECK: %[[SYMBOL:.*]] = lathe.symbol "value[1]"
// CHECK: kernel.require %[[FRAME]], %{{.*}} {check = 0 : i64}
// CHECK: kernel.require %[[FRAME]], %{{.*}} {check = 1 : i64}
// CHECK: %[[Y:.*]] = kernel.dynamic_output %[[FRAME]] 0[%[[SYMBOL]]] : memref<?xf32>
// CHECK: kernel.launch %[[FRAME]] @kernel_1(%{{.*}}, %[[Y]])
// CHECK-LABEL: func.func @plan
// CHECK: llvm.store %c-1_i64
// CHECK-NOT: lathe.symbol "value[1]"
func.func @main(%x: tensor<1xf32>, %counts: tensor<?x2xi64> {lathe.dims = ["n", "2"]}) -> tensor<?xf32> {
  %0 = lathe.reduce sum %counts {axes = array<i64: 0>} : (tensor<?x2xi64>) -> tensor<2xi64>
  %n = lathe.to_index %0 {position = 1 : i64} : tensor<2xi64>
  %1 = lathe.broadcast %x [%n] : tensor<1xf32> -> tensor<?xf32>
  return %1 : tensor<?xf32>
}

// -----

// What a run must satisfy is tested where it is known: of inputs in the plan.
// CHECK: kernel.checks = [{message = "expects an even number: got counts[1]", node = ""},
// CHECK-LABEL: func.func @run
// CHECK-NOT: kernel.require
// CHECK-LABEL: func.func @plan
// CHECK: %[[NUMBER:.*]] = lathe.symbol "counts[1]"
// CHECK: return
func.func @main(%x: tensor<1xf32>, %counts: tensor<2xi64> {lathe.name = "counts"}) -> tensor<?xf32> {
  %c2 = arith.constant 2 : index
  %n = lathe.to_index %counts {position = 1 : i64} : tensor<2xi64>
  %half = arith.floordivsi %n, %c2 : index
  %even = arith.muli %half, %c2 : index
  %rest = arith.subi %n, %even : index
  %one = arith.constant 1 : index
  %good = arith.subi %one, %rest : index
  lathe.require %good, "expects an even number" got %n
  %1 = lathe.broadcast %x [%n] : tensor<1xf32> -> tensor<?xf32>
  return %1 : tensor<?xf32>
}

// -----

// A reshape moves nothing; an input that is an output is copied. Truth values take a byte.
// CHECK-LABEL: func.func @run
// CHECK: %[[X:.*]] = kernel.input %{{.*}} 0[] : memref<2x2xi8>
// CHECK: %[[V:.*]] = kernel.view %[[X]][] : memref<2x2xi8> -> memref<4xi8>
// CHECK: kernel.launch %{{.*}} @kernel_0(%[[V]], %{{.*}})
// CHECK: kernel.launch %{{.*}} @kernel_1(%[[V]], %{{.*}})
func.func @main(%x: tensor<2x2xi1>) -> (tensor<4xi1>, tensor<2x2xi1>) {
  %c4 = arith.constant 4 : index
  %0 = lathe.reshape %x [%c4] : tensor<2x2xi1> -> tensor<4xi1>
  %1 = lathe.not %0 : (tensor<4xi1>) -> tensor<4xi1>
  return %1, %x : tensor<4xi1>, tensor<2x2xi1>
}

// -----

// An index out of bounds is found while the model runs.
// CHECK: kernel.checks = [{message = "{{.*}}", node = "/embeddings"}]
// A table that is only looked up tells how many rows a run reads, and the indices how many rows there are.
// CHECK-SAME: kernel.constants = [{file = "model.safetensors", name = "w", {{.*}}, rows = "sequence"
// CHECK-SAME: kernel.inputs = [{below = 10 : i64, name = "input_0"
// CHECK-LABEL: func.func @run
// CHECK-LABEL: func.func private @kernel_0
// CHECK: kernel.check %{{.*}}, %{{.*}} {check = 1 : i64}
func.func @main(%ids: tensor<?xi64> {lathe.dims = ["sequence"]}) -> tensor<?x4xf32> {
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<10x4xf32>
  %0 = lathe.gather %w, %ids {axis = 0 : i64} : (tensor<10x4xf32>, tensor<?xi64>) -> tensor<?x4xf32> loc("/embeddings")
  return %0 : tensor<?x4xf32>
}

// -----

// A table that is read as a whole as well tells nothing; indices that are computed say nothing of the input.
// CHECK: kernel.constants = [
// CHECK-NOT: rows =
// CHECK-NOT: below =
// CHECK-LABEL: func.func @run
func.func @main(%ids: tensor<?xi64> {lathe.dims = ["sequence"]}) -> (tensor<?x4xf32>, tensor<10x4xf32>) {
  %w = lathe.weight "w" in "model.safetensors" at 0 : tensor<10x4xf32>
  %i = lathe.neg %ids : (tensor<?xi64>) -> tensor<?xi64>
  %0 = lathe.gather %w, %i {axis = 0 : i64} : (tensor<10x4xf32>, tensor<?xi64>) -> tensor<?x4xf32>
  %1 = lathe.exp %w : (tensor<10x4xf32>) -> tensor<10x4xf32>
  return %0, %1 : tensor<?x4xf32>, tensor<10x4xf32>
}

// -----

// Operands that are read only at the element that is written may give the result their place: not one that is broadcast (%b), transposed
// (%t), read at another place too (%x as its own transpose), of another width (%h), or of a kernel that reduces.
// CHECK-LABEL: func.func @run
// CHECK: kernel.launch %{{.*}} @kernel_0({{.*}}) count {{.*}}kernel.in_place = array<i64: 0, 3>
// CHECK: kernel.launch %{{.*}} @kernel_1({{.*}}) count {{.*}} {kernel = 1 : i64} :
// CHECK: kernel.launch %{{.*}} @kernel_2({{.*}}) count {{.*}} {kernel = 2 : i64} :
// CHECK: kernel.launch %{{.*}} @kernel_3({{.*}}) count {{.*}} {kernel = 3 : i64} :
func.func @main(%x: tensor<4x4xf32>, %b: tensor<4xf32>, %y: tensor<4x4xf32>, %t: tensor<4x4xf32>, %h: tensor<4x4xf64>)
    -> (tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>, tensor<4xf32>) {
  %0 = lathe.add %x, %b : (tensor<4x4xf32>, tensor<4xf32>) -> tensor<4x4xf32>
  %1 = lathe.transpose %t {permutation = array<i64: 1, 0>} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %2 = lathe.mul %0, %y : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %3 = lathe.sub %2, %1 : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %4 = lathe.transpose %x {permutation = array<i64: 1, 0>} : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %5 = lathe.sub %x, %4 : (tensor<4x4xf32>, tensor<4x4xf32>) -> tensor<4x4xf32>
  %6 = lathe.cast %h : (tensor<4x4xf64>) -> tensor<4x4xf32>
  %7 = lathe.exp %6 : (tensor<4x4xf32>) -> tensor<4x4xf32>
  %8 = lathe.reduce sum %y {axes = array<i64: 1>} : (tensor<4x4xf32>) -> tensor<4xf32>
  return %3, %5, %7, %8 : tensor<4x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>, tensor<4xf32>
}

// -----

// A module without @main stays as it is.
// CHECK-LABEL: func.func @other
// CHECK-NEXT: lathe.neg
func.func @other(%x: tensor<4xf32>) -> tensor<4xf32> {
  %0 = lathe.neg %x : (tensor<4xf32>) -> tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

// The indices of rows along several axes are divided out of the first row's number, once, and count up with a carry.
// CHECK-LABEL: func.func private @kernel_0
// CHECK-SAME: (%{{.*}}: !llvm.ptr, %{{.*}}: !llvm.ptr, %[[BEGIN:.*]]: index, %[[END:.*]]: index)
// CHECK: %[[J0:.*]] = arith.remui %[[BEGIN]]
// CHECK: %[[I0:.*]] = arith.divui %[[BEGIN]]
// CHECK: scf.for %{{.*}} = %[[BEGIN]] to %[[END]] step %{{.*}} iter_args(%[[J:.*]] = %[[J0]], %[[I:.*]] = %[[I0]])
// CHECK-NOT: arith.remui
// CHECK: memref.store %{{.*}}, %{{.*}}[%[[I]], %[[J]], %{{.*}}]
// CHECK: %[[NEXT:.*]] = arith.addi %[[J]]
// CHECK: %[[OVER:.*]] = arith.cmpi eq, %[[NEXT]], %{{.*}}
// CHECK: %[[J1:.*]] = arith.select %[[OVER]], %{{.*}}, %[[NEXT]]
// CHECK: %[[CARRY:.*]] = arith.select %[[OVER]]
// CHECK: %[[I1:.*]] = arith.addi %[[I]], %[[CARRY]]
// CHECK: scf.yield %[[J1]], %[[I1]]
func.func @main(%x: tensor<?x7x4xf32> {lathe.dims = ["batch", "7", "4"]}, %y: tensor<4xf32>) -> tensor<?x7x4xf32> {
  %0 = lathe.add %x, %y : (tensor<?x7x4xf32>, tensor<4xf32>) -> tensor<?x7x4xf32>
  return %0 : tensor<?x7x4xf32>
}

// -----

// A scatter changes a copy of its input, one update after the other; what it reads is no part of its kernel, and a place out
// of bounds is not written to.
// CHECK-LABEL: func.func @run
// CHECK: kernel.launch %{{.*}} @kernel_0
// CHECK: %[[Z:.*]] = kernel.output
// CHECK: %[[V:.*]] = kernel.view %[[Z]][
// CHECK: kernel.launch %{{.*}} @kernel_1(%{{.*}}, %[[V]])
// CHECK: kernel.launch %{{.*}} @kernel_2(%{{.*}}, %{{.*}}, %[[Z]]) count %[[ONE:.*]] grain %[[ONE]] {kernel = 2 : i64}
// CHECK-LABEL: func.func private @kernel_2
// CHECK: scf.for
// CHECK: kernel.check %{{.*}}, %[[OK:[a-z0-9]+]] {check = {{[0-9]+}} : i64}
// CHECK: scf.if %[[OK]]
// CHECK: scf.for
// CHECK: arith.addf
// CHECK: memref.store
func.func @main(%x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["batch", "4"]},
    %i: tensor<3x1xi64> {lathe.name = "i", lathe.dims = ["3", "1"]}, %u: tensor<3x4xf32> {lathe.name = "u", lathe.dims = ["3", "4"]})
    -> (tensor<?x4xf32> {lathe.name = "z"}) {
  %0 = lathe.exp %u : (tensor<3x4xf32>) -> tensor<3x4xf32>
  %1 = lathe.scatter_nd add %x, %i, %0 : (tensor<?x4xf32>, tensor<3x1xi64>, tensor<3x4xf32>) -> tensor<?x4xf32>
  return %1 : tensor<?x4xf32>
}

// -----

// Either branch computes where the result lies; what a branch requires is not asked of the other.
// CHECK: message = "operands of an elementwise operation must have equal dimensions: got n and m"
// CHECK-LABEL: func.func @run
// CHECK: %[[OUT:.*]] = kernel.output %{{.*}} 0
// CHECK: scf.if
// CHECK: kernel.launch %{{.*}}%[[OUT]]
// CHECK: } else {
// CHECK: kernel.launch %{{.*}}%[[OUT]]
// CHECK-NOT: kernel.launch
// CHECK-LABEL: func.func @plan
// CHECK: %[[WRONG:.*]] = arith.cmpi ne
// CHECK: %[[TAKEN:.*]] = arith.cmpi ne
// CHECK: arith.andi %[[WRONG]], %[[TAKEN]]
func.func @main(%x: tensor<?x4xf32> {lathe.name = "x", lathe.dims = ["n", "4"]}, %y: tensor<?x4xf32> {lathe.name = "y", lathe.dims = ["m", "4"]},
    %c: tensor<1xi1> {lathe.name = "c", lathe.dims = ["1"]}) -> (tensor<?x4xf32> {lathe.name = "z"}) {
  %i = lathe.to_index %c {position = 0 : i64} : tensor<1xi1>
  %r = lathe.if %i -> (tensor<?x4xf32>) {
    %a = lathe.add %x, %y : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
    lathe.yield %a : tensor<?x4xf32>
  } else {
    %b = lathe.softmax %x {axis = 1 : i64} : (tensor<?x4xf32>) -> tensor<?x4xf32>
    lathe.yield %b : tensor<?x4xf32>
  }
  return %r : tensor<?x4xf32>
}

// -----

// States have a place from before the loop to after it; what is gathered is computed where it lies; the number of the iteration is
// a symbol.
// CHECK: kernel.symbols = [{{.*}}{computed, {{.*}}name = "value.iteration[0]"}
// CHECK-LABEL: func.func @run
// CHECK: %[[STATE:.*]] = kernel.output %{{.*}} 0
// CHECK: %[[ALL:.*]] = kernel.output %{{.*}} 1
// CHECK: kernel.launch {{.*}}%[[STATE]])
// CHECK: scf.while
// CHECK: } do {
// CHECK: ^bb0(%[[I:[a-z0-9]+]]: index
// CHECK: kernel.define %{{.*}} "value.iteration[0]" = %[[I]]
// CHECK: %[[ROW:.*]] = kernel.row %[[ALL]] at %[[I]]
// CHECK: kernel.launch {{.*}}%[[ROW]])
// CHECK: kernel.launch {{.*}}%[[STATE]])
// CHECK: scf.yield
// CHECK: kernel.define %{{.*}} "value.count[0]"
func.func @main(%x: tensor<4xf32> {lathe.name = "x", lathe.dims = ["4"]}, %t: tensor<i64> {lathe.name = "t", lathe.dims = []})
    -> (tensor<4xf32> {lathe.name = "last"}, tensor<?x4xf32> {lathe.name = "all"}) {
  %n = lathe.to_index %t {position = 0 : i64} : tensor<i64>
  %one = arith.constant 1 : index
  %r:3 = lathe.loop %n, %one (%x) : (tensor<4xf32>) -> (index, tensor<4xf32>, tensor<?x4xf32>) {
  ^bb0(%i: index, %s: tensor<4xf32>):
    %k = lathe.from_index %i : tensor<i64>
    %f = lathe.cast %k : (tensor<i64>) -> tensor<f32>
    %a = lathe.add %s, %f : (tensor<4xf32>, tensor<f32>) -> tensor<4xf32>
    lathe.yield %one, %a, %a : index, tensor<4xf32>, tensor<4xf32>
  }
  return %r#1, %r#2 : tensor<4xf32>, tensor<?x4xf32>
}

//--- options.mlir

// Each operation by itself, but still the library's product.
// NOFUSE-LABEL: func.func @run
// NOFUSE: kernel.matmul
// NOFUSE-NOT: bias
// NOFUSE-SAME: activation = 0
// NOFUSE-COUNT-2: kernel.launch
// NOFUSE-NOT: kernel.launch

// The product is generated; what follows it joins other kernels.
// NOLIBRARY-LABEL: func.func @run
// NOLIBRARY-NOT: kernel.matmul
// NOLIBRARY: kernel.launch

// REFERENCE-LABEL: func.func @run
// REFERENCE-NOT: kernel.matmul
// REFERENCE-COUNT-3: kernel.launch
// REFERENCE-NOT: kernel.launch
func.func @main(%x: tensor<?x8xf32> {lathe.dims = ["batch", "8"]}) -> tensor<?x4xf32> {
  %w = lathe.weight "w" in "model.safetensors" at 128 : tensor<4x8xf32>
  %b = lathe.weight "b" in "model.safetensors" at 0 : tensor<4xf32>
  %0 = lathe.matmul %x, %w {transpose_rhs} : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %1 = lathe.add %0, %b : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %2 = lathe.relu %1 : (tensor<?x4xf32>) -> tensor<?x4xf32>
  return %2 : tensor<?x4xf32>
}
