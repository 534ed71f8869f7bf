// RUN: lathe-opt %s -verify-diagnostics -split-input-file

// What verifiers refuse, an operation and a constraint (Cn) each.

func.func @buffer_strides(%frame: !llvm.ptr) {
  // expected-error @below {{result #0 must be dense row-major buffer of numbers of 8, 16, 32 or 64 bits}}
  %0 = kernel.input %frame 0 [] : memref<4xf32, strided<[2]>>
  return
}

// -----

func.func @buffer_bits() {
  // expected-error @below {{result #0 must be dense row-major buffer of numbers of 8, 16, 32 or 64 bits}}
  %0 = kernel.alloc [] : memref<4xi1>
  return
}

// -----

func.func @input_c1(%frame: !llvm.ptr) {
  // expected-error @below {{expects 'index' from 0 to 16777215, got -1}}
  %0 = kernel.input %frame -1 [] : memref<4xf32>
  return
}

// -----

func.func @input_c2(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects a size for each of the 1 dynamic dimensions of 'memref<?x4xf32>', got 2}}
  %0 = kernel.input %frame 0 [%n, %n] : memref<?x4xf32>
  return
}

// -----

func.func @output_c1(%frame: !llvm.ptr) {
  // expected-error @below {{expects 'index' from 0 to 16777215, got 16777216}}
  %0 = kernel.output %frame 16777216 [] : memref<4xf32>
  return
}

// -----

func.func @output_c2(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects a size for each of the 0 dynamic dimensions of 'memref<4xf32>', got 1}}
  %0 = kernel.output %frame 0 [%n] : memref<4xf32>
  return
}

// -----

func.func @constant_c1(%frame: !llvm.ptr) {
  // expected-error @below {{expects 'index' from 0 to 16777215, got -3}}
  %0 = kernel.constant %frame -3 : memref<4xf32>
  return
}

// -----

func.func @constant_c2(%frame: !llvm.ptr) {
  // expected-error @below {{expects a buffer of static shape, got 'memref<?xf32>'}}
  %0 = kernel.constant %frame 0 : memref<?xf32>
  return
}

// -----

func.func @alloc_c1() {
  // expected-error @below {{expects a size for each of the 2 dynamic dimensions of 'memref<?x?xf32>', got 0}}
  %0 = kernel.alloc [] : memref<?x?xf32>
  return
}

// -----

func.func @arena_c1(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects a size for each of the 1 dynamic dimensions of 'memref<?xf32>', got 0}}
  %0 = kernel.arena %frame at %n [] : memref<?xf32>
  return
}

// -----

func.func @view_c1(%x: memref<?x4xf32>) {
  // expected-error @below {{expects a size for each of the 1 dynamic dimensions of 'memref<?xf32>', got 0}}
  %0 = kernel.view %x [] : memref<?x4xf32> -> memref<?xf32>
  return
}

// -----

func.func @view_c2_type(%x: memref<4xf32>) {
  // expected-error @below {{expects as many elements of the same type, got 'memref<4xf32>' and 'memref<4xi32>'}}
  %0 = kernel.view %x [] : memref<4xf32> -> memref<4xi32>
  return
}

// -----

func.func @view_c2_count(%x: memref<4xf32>) {
  // expected-error @below {{expects as many elements of the same type, got 'memref<4xf32>' and 'memref<5xf32>'}}
  %0 = kernel.view %x [] : memref<4xf32> -> memref<5xf32>
  return
}

// -----

func.func @matmul_kernel(%frame: !llvm.ptr, %x: memref<2x8xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects 'kernel' from 0 to 16777215, got -1}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = -1 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_weight(%frame: !llvm.ptr, %x: memref<2x8xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects 'weight' from 0 to 16777215, got -2}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -2 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c1(%frame: !llvm.ptr, %x: memref<2x8xf64>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects elements of f32, i8, f16 or bf16, got 'memref<2x8xf64>'}}
  kernel.matmul %frame lhs(%x : memref<2x8xf64>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c18(%frame: !llvm.ptr, %x: memref<2x8xf16>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects a left side of 'f16' without lhs_quantization, got 1}}
  kernel.matmul %frame lhs(%x : memref<2x8xf16>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, lhs_quantization = 1 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c2(%frame: !llvm.ptr, %x: memref<8xf32>, %y: memref<4xf32>) {
  // expected-error @below {{expects ranks from 2 to 5, the result's the largest, got 1 and 2 for 1}}
  kernel.matmul %frame lhs(%x : memref<8xf32>) out(%y : memref<4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c2_large(%frame: !llvm.ptr, %x: memref<1x1x1x1x2x8xf32>, %y: memref<1x1x1x1x2x4xf32>) {
  // expected-error @below {{expects ranks from 2 to 5, the result's the largest, got 6 and 2 for 6}}
  kernel.matmul %frame lhs(%x : memref<1x1x1x1x2x8xf32>) out(%y : memref<1x1x1x1x2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c3(%frame: !llvm.ptr, %x: memref<2x8xf32>, %b: memref<2x4xf32>) {
  // expected-error @below {{expects a bias of rank 1 that fits the result's columns, got 'memref<2x4xf32>'}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) bias(%b : memref<2x4xf32>) out(%b : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c4_neither(%frame: !llvm.ptr, %x: memref<2x8xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects either rhs or a weight, got neither}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>}
  return
}

// -----

func.func @matmul_c4_both(%frame: !llvm.ptr, %x: memref<2x8xf32>, %w: memref<8x4xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects either rhs or a weight, got both}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) rhs(%w : memref<8x4xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c5(%frame: !llvm.ptr, %x: memref<2x8xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects a weight_shape of 2 dimensions, got [8]}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8>}
  return
}

// -----

func.func @matmul_c6(%frame: !llvm.ptr, %x: memref<2x8xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects inner dimensions to match, got 8 and 9}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 9, 4>}
  return
}

// -----

func.func @matmul_c6_result(%frame: !llvm.ptr, %x: memref<8x2xf32>, %w: memref<4x8xf32>, %y: memref<3x4xf32>) {
  // expected-error @below {{expects a result that fits the operands, got 'memref<3x4xf32>'}}
  kernel.matmul %frame lhs(%x : memref<8x2xf32>) rhs(%w : memref<4x8xf32>) out(%y : memref<3x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, transpose_lhs, transpose_rhs, weight = -1 : i64, weight_shape = array<i64>}
  return
}

// -----

func.func @matmul_c7(%frame: !llvm.ptr, %x: memref<2x8xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects an activation from 0 to 6, got 7}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) out(%y : memref<2x4xf32>)
    {activation = 7 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c8(%frame: !llvm.ptr, %x: memref<8x2xf32>, %w: memref<8x4xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects axes that are a permutation of those of the buffer, got [1, 1] for 'memref<8x2xf32>'}}
  kernel.matmul %frame lhs(%x : memref<8x2xf32>) rhs(%w : memref<8x4xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>, lhs_axes = array<i64: 1, 1>}
  return
}

// -----

func.func @matmul_c6_axes(%frame: !llvm.ptr, %x: memref<2x8xf32>, %w: memref<8x4xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects inner dimensions to match, got 2 and 8}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) rhs(%w : memref<8x4xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>, lhs_axes = array<i64: 1, 0>}
  return
}

// -----

func.func @matmul_c9(%frame: !llvm.ptr, %x: memref<2x8xf32>, %w: memref<8x4xf32>, %y: memref<4x2xf32>) {
  // expected-error @below {{expects axes of the result that keep the last one, got [1, 0]}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) rhs(%w : memref<8x4xf32>) out(%y : memref<4x2xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>, out_axes = array<i64: 1, 0>}
  return
}

// -----

func.func @matmul_c10(%frame: !llvm.ptr, %x: memref<8x2xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects no order of axes with a weight}}
  kernel.matmul %frame lhs(%x : memref<8x2xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>, lhs_axes = array<i64: 1, 0>}
  return
}

// -----

func.func @matmul_c11(%frame: !llvm.ptr, %x: memref<2x8xf32>, %r: memref<4xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects a residual of the result's shape, that of 'memref<2x4xf32>', got 'memref<4xf32>'}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) residual(%r : memref<4xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c12(%frame: !llvm.ptr, %x: memref<3x2x8xf32>, %w: memref<8x4xf32>, %r: memref<2x3x4xf32>, %y: memref<2x3x4xf32>) {
  // expected-error @below {{expects no order of the result's axes with a residual}}
  kernel.matmul %frame lhs(%x : memref<3x2x8xf32>) rhs(%w : memref<8x4xf32>) residual(%r : memref<2x3x4xf32>) out(%y : memref<2x3x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>, out_axes = array<i64: 1, 0, 2>}
  return
}

// -----

func.func @matmul_c13(%frame: !llvm.ptr, %x: memref<2x8xf32>, %g: memref<1x4xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects a multiplier of the result's shape, that of 'memref<2x4xf32>', got 'memref<1x4xf32>'}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) multiplier(%g : memref<1x4xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @matmul_c14(%frame: !llvm.ptr, %x: memref<2x8xf32>, %w: memref<8x4xf32>, %g: memref<2x4xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{expects a multiplier with a weight alone, got one with rhs}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) rhs(%w : memref<8x4xf32>) multiplier(%g : memref<2x4xf32>) out(%y : memref<2x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>}
  return
}

// -----

func.func @matmul_attributes(%frame: !llvm.ptr, %x: memref<2x8xf32>, %y: memref<2x4xf32>) {
  // expected-error @below {{requires attribute 'activation'}}
  kernel.matmul %frame lhs(%x : memref<2x8xf32>) out(%y : memref<2x4xf32>)
    {kernel = 0 : i64, weight = 0 : i64, weight_shape = array<i64: 8, 4>}
  return
}

// -----

func.func @launch_c1_unknown(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects a kernel of the module, got @nothing}}
  kernel.launch %frame @nothing(%n) count %n grain %n {kernel = 0 : i64} : index
  return
}

// -----

func.func private @add(!llvm.ptr, index, index)
func.func @launch_c1_type(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects a kernel of type '(!llvm.ptr, !llvm.ptr, index, index) -> ()', got @add of type '(!llvm.ptr, index, index) -> ()'}}
  kernel.launch %frame @add(%n) count %n grain %n {kernel = 0 : i64} : index
  return
}

// -----

func.func private @add(!llvm.ptr, !llvm.ptr, index, index)
func.func @launch_arguments(%frame: !llvm.ptr, %n: index, %x: f32) {
  // expected-error @below {{operand #1 must be variadic of}}
  kernel.launch %frame @add(%x) count %n grain %n {kernel = 0 : i64} : f32
  return
}

// -----

func.func @arg_c1(%args: !llvm.ptr) {
  // expected-error @below {{expects an offset that is a multiple of 8, got 4}}
  %0 = kernel.arg %args at 4 : index
  return
}

// -----

func.func @arg_c1_negative(%args: !llvm.ptr) {
  // expected-error @below {{expects 'offset' from 0 to 16777215, got -8}}
  %0 = kernel.arg %args at -8 : index
  return
}

// -----

func.func @check_index(%frame: !llvm.ptr, %ok: i1) {
  // expected-error @below {{expects 'check' from 0 to 16777215, got -1}}
  kernel.check %frame, %ok {check = -1 : i64}
  return
}

// -----

// The module's tables.

// expected-error @below {{expects 'kernel.symbols' to be a list, got 3 : i64}}
module attributes {kernel.symbols = 3 : i64} {}

// -----

// expected-error @below {{expects 'kernel.symbols' to hold dictionaries, got "batch"}}
module attributes {kernel.symbols = ["batch"]} {}

// -----

// expected-error @below {{expects 'max' of entry 1 of 'kernel.symbols' to be a 64-bit integer, got nothing}}
module attributes {kernel.symbols = [{name = "a", min = 0 : i64, max = 1 : i64}, {name = "b", min = 0 : i64}]} {}

// -----

// expected-error @below {{expects 'type' of entry 0 of 'kernel.constants' to be a static tensor type of numbers, got tensor<?xf32>}}
module attributes {kernel.constants = [{name = "w", type = tensor<?xf32>, packed = false, transposed = false}]} {}

// -----

// expected-error @below {{expects 'file' of entry 0 of 'kernel.constants' to be a string, got nothing}}
module attributes {kernel.constants = [{name = "w", type = tensor<2xf32>, packed = false, transposed = false}]} {}

// -----

// expected-error @below {{expects 'type' of entry 0 of 'kernel.constants' to be a matrix of f32, bf16 or f16 where it is packed, got tensor<2xf32>}}
module attributes {kernel.constants = [{name = "w", type = tensor<2xf32>, packed = true, transposed = false}]} {}

// -----

// expected-error @below {{expects 'source' of entry 0 of 'kernel.constants' to be the type of a weight of f32 that is rounded to bf16 or f16, got tensor<3xf32>}}
module attributes {kernel.constants = [{name = "w", type = tensor<2xf16>, source = tensor<3xf32>, file = "f", offset = 0 : i64, packed = false, transposed = false}]} {}

// -----

// expected-error @below {{expects 'nodes' of entry 0 of 'kernel.kernels' to be a list of strings, got [1]}}
module attributes {kernel.kernels = [{name = "k", kind = "generated", nodes = [1]}]} {}

// -----

// expected-error @below {{expects 'message' of entry 0 of 'kernel.checks' to be a string, got nothing}}
module attributes {kernel.checks = [{node = "a"}]} {}

// -----

// expected-error @below {{expects 'shape' of entry 0 of 'kernel.inputs' to be a list of integers and strings, got nothing}}
module attributes {kernel.inputs = [{name = "a", type = f32}]} {}

// -----

// expected-error @below {{unexpected attribute 'kernel.nonsense'}}
module attributes {kernel.nonsense = [{}]} {}

// -----

// expected-error @below {{expects 'kernel.checks' on a module}}
func.func private @not_a_module() attributes {kernel.checks = []}

// -----

// expected-error @below {{expects 'kernel.scalar' to be a text, on a loop}}
func.func private @not_a_loop() attributes {kernel.scalar = "calls a function"}

// -----

func.func @dynamic_alloc(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects a size for each of the 1 dynamic dimensions}}
  %0 = kernel.dynamic_alloc %frame 0 [] : memref<?xf32>
  return
}

// -----

func.func @dynamic_output(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects 'index' from 0 to 16777215, got -1}}
  %0 = kernel.dynamic_output %frame -1 [%n] : memref<?xf32>
  return
}

// -----

func.func @require(%frame: !llvm.ptr, %ok: i1) {
  // expected-error @below {{expects 'check' from 0 to 16777215, got -1}}
  kernel.require %frame, %ok {check = -1 : i64}
  return
}

// -----

func.func @row_c1(%x: memref<?x4xf32>, %i: index) {
  // expected-error @below {{expects a buffer that has entries of type 'memref<5xf32>', got 'memref<?x4xf32>'}}
  %0 = kernel.row %x at %i [] : memref<?x4xf32> -> memref<5xf32>
  return
}

// -----

func.func @row_c1_rank(%x: memref<f32>, %i: index) {
  // expected-error @below {{expects a buffer that has entries of type 'memref<f32>', got 'memref<f32>'}}
  %0 = kernel.row %x at %i [] : memref<f32> -> memref<f32>
  return
}

// -----

func.func @row_c2(%x: memref<?x?xf32>, %i: index) {
  // expected-error @below {{expects a size for each of the 1 dynamic dimensions of 'memref<?xf32>', got 0}}
  %0 = kernel.row %x at %i [] : memref<?x?xf32> -> memref<?xf32>
  return
}

// -----

// expected-error @below {{expects 'below' of entry 0 of 'kernel.inputs' to be a 64-bit integer, got "x"}}
module attributes {kernel.inputs = [{name = "a", type = i64, shape = [1 : i64], below = "x"}]} {}

// -----

// expected-error @below {{expects 'constant' of entry 0 of 'kernel.reads' to be a 64-bit integer, got "w"}}
module attributes {kernel.reads = [{constant = "w"}]} {}

// -----

// expected-error @below {{expects 'constant' of entry 1 of 'kernel.reads' to be below 1, got 1 : i64}}
module attributes {
  kernel.constants = [{name = "a", type = tensor<1xf32>, packed = false, transposed = false, file = "f", offset = 0}],
  kernel.reads = [{constant = 0, rows = "n"}, {constant = 1}]} {}

// -----

// expected-error @below {{expects 'rows' of entry 0 of 'kernel.reads' to be a string, got 3 : i64}}
module attributes {
  kernel.constants = [{name = "a", type = tensor<1xf32>, packed = false, transposed = false, file = "f", offset = 0}],
  kernel.reads = [{constant = 0, rows = 3}]} {}

// -----

// expected-error @below {{expects 'rows' of entry 0 of 'kernel.constants' to be a string, got 3 : i64}}
module attributes {kernel.constants = [{name = "a", type = tensor<1x1xf32>, packed = false, transposed = false, rows = 3 : i64}]} {}

// -----

func.func private @k(!llvm.ptr, !llvm.ptr, index, index)
func.func @in_place(%frame: !llvm.ptr, %x: memref<4xf32>, %n: index) {
  // The result itself is no operand.
  // expected-error @below {{expects 'kernel.in_place' on a launch, with positions of buffers before its last argument, got array<i64: 1>}}
  kernel.launch %frame @k(%x, %x) count %n grain %n {kernel = 0 : i64, kernel.in_place = array<i64: 1>} : memref<4xf32>, memref<4xf32>
  return
}

// -----

func.func private @k(!llvm.ptr, !llvm.ptr, index, index)
func.func @in_place(%frame: !llvm.ptr, %x: memref<4xf32>, %n: index) {
  // An index is no buffer.
  // expected-error @below {{expects 'kernel.in_place' on a launch}}
  kernel.launch %frame @k(%n, %x) count %n grain %n {kernel = 0 : i64, kernel.in_place = array<i64: 0>} : index, memref<4xf32>
  return
}

// -----

// expected-error @below {{expects 'kernel.in_place' on a launch}}
module attributes {kernel.in_place = array<i64: 0>} {}

// -----

func.func @attention_c1(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>, %h: memref<2x8xf16>) {
  // expected-error @below {{expects 8 sizes, got 7}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64}
  return
}

// -----

func.func @attention_c2(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>, %h: memref<2x8xf16>) {
  // expected-error @below {{expects an offset and 5 strides for each view of 'key', got 5 numbers for 1}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64}
  return
}

// -----

func.func @attention_c3(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>, %h: memref<2x8xf16>) {
  // expected-error @below {{expects at most 2 biases, got 3}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] biases(%x, %x, %x : memref<2x8xf32>, memref<2x8xf32>, memref<2x8xf32>)[%i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64}
  return
}

// -----

func.func @attention_c3_views(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>, %h: memref<2x8xf16>) {
  // expected-error @below {{expects an offset and 5 strides for each view of 'biases', got 6 numbers for 2}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] biases(%x, %x : memref<2x8xf32>, memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64}
  return
}

// -----

func.func @attention_c4(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>, %h: memref<2x8xf16>) {
  // expected-error @below {{expects elements of f32, got}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%h : memref<2x8xf16>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64}
  return
}

// -----

func.func @attention_c5(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>, %h: memref<2x8xf16>) {
  // expected-error @below {{expects a softcap of at least 0, got -1.000000e+00}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64, softcap = -1.0 : f64}
  return
}

// -----

func.func @attention_c6(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>) {
  // expected-error @below {{expects a buffer or a cache as 'key', got none}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64, value_cache = 0 : i64}
  return
}

// -----

func.func @attention_c6_both(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>) {
  // expected-error @below {{expects a buffer or a cache as 'key', got both}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64, key_cache = 0 : i64}
  return
}

// -----

func.func @attention_c7(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>) {
  // expected-error @below {{expects positions of i64, got 'memref<2x8xf32>'}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] positions(%x : memref<2x8xf32>)[%i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64}
  return
}

// -----

func.func @attention_c7_view(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>, %p: memref<2x8xi64>) {
  // expected-error @below {{expects an offset and 2 strides for a view of positions, got 2 numbers}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] positions(%p : memref<2x8xi64>)[%i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64}
  return
}

// -----

func.func @attention_window(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>) {
  // expected-error @below {{expects a window of at least 0 that goes with positions, got 4}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64, window = 4 : i64}
  return
}

// -----

func.func @attention_c8(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>) {
  // expected-error @below {{expects an arithmetic of bf16, f16 or i8, got 'f64'}}
  kernel.attention %frame sizes[%i, %i, %i, %i, %i, %i, %i, %i] query(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] key(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i]
      value(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] out(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i, %i] {kernel = 0 : i64, scale = 1.0 : f64, arithmetic = f64}
  return
}

// -----

func.func @cache_append_sizes(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf32>) {
  // expected-error @below {{expects 4 sizes, an offset and as many strides, got 3 and 5 numbers}}
  kernel.cache_append %frame 0 sizes[%i, %i, %i] rows(%x : memref<2x8xf32>)[%i, %i, %i, %i, %i] {kernel = 0 : i64}
  return
}

// -----

func.func @cache_append_type(%frame: !llvm.ptr, %i: index, %x: memref<2x8xf16>) {
  // expected-error @below {{expects elements of f32, got}}
  kernel.cache_append %frame 0 sizes[%i, %i, %i, %i] rows(%x : memref<2x8xf16>)[%i, %i, %i, %i, %i] {kernel = 0 : i64}
  return
}

// -----

func.func @cache_read_rank(%frame: !llvm.ptr, %x: memref<2x8xf32>) {
  // expected-error @below {{expects a buffer of f32 of rank 4, got}}
  kernel.cache_read %frame 0 out(%x : memref<2x8xf32>) {kernel = 0 : i64}
  return
}

// -----

func.func @lookup_type(%frame: !llvm.ptr, %i: memref<?xf32>, %x: memref<?x8xf32>) {
  // expected-error @below {{expects indices of i64 or i32, got}}
  kernel.lookup %frame 0 indices(%i : memref<?xf32>) out(%x : memref<?x8xf32>) {check = 0 : i64, kernel = 0 : i64}
  return
}

// -----

func.func @lookup_rank(%frame: !llvm.ptr, %i: memref<?x?xi64>, %x: memref<?x8xf32>) {
  // expected-error @below {{expects a result of f32 with one axis more than the indices, got}}
  kernel.lookup %frame 0 indices(%i : memref<?x?xi64>) out(%x : memref<?x8xf32>) {check = 0 : i64, kernel = 0 : i64}
  return
}

// -----

func.func @matmul_quantization(%frame: !llvm.ptr, %a: memref<?x8xf32>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects a quantization of the left side from 0 to 3, with a weight, a scale above 0 and a zero from -128 to 127, got 2, 0.000000e+00 and 0}}
  kernel.matmul %frame lhs(%a : memref<?x8xf32>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, lhs_quantization = 2 : i64, lhs_scale = 0.0 : f64}
  return
}

// -----

func.func @matmul_bytes(%frame: !llvm.ptr, %a: memref<?x8xi8>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects a left side of i8 with lhs_quantization 2, or 1 and scales, got 1}}
  kernel.matmul %frame lhs(%a : memref<?x8xi8>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, lhs_quantization = 1 : i64}
  return
}

// -----

func.func @matmul_scales(%frame: !llvm.ptr, %a: memref<?x8xi8>, %s: memref<?x1xf32>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects a left side of i8 with lhs_quantization 2, or 1 and scales, got 2 and scales}}
  kernel.matmul %frame lhs(%a : memref<?x8xi8>) scales(%s : memref<?x1xf32>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, lhs_quantization = 2 : i64}
  return
}

// -----

func.func @matmul_scales_shape(%frame: !llvm.ptr, %a: memref<?x8xi8>, %s: memref<?x8xf32>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects scales of f32 for the rows of a left side of i8 with a sign, got 'memref<?x8xf32>' for 'memref<?x8xi8>'}}
  kernel.matmul %frame lhs(%a : memref<?x8xi8>) scales(%s : memref<?x8xf32>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, lhs_quantization = 1 : i64}
  return
}

// -----

func.func @matmul_sums(%frame: !llvm.ptr, %a: memref<?x8xi8>, %s: memref<?x1xf32>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects sums of i32 for the rows of a left side of i8 with a sign, got 'memref<?x1xf32>' for 'memref<?x8xi8>'}}
  kernel.matmul %frame lhs(%a : memref<?x8xi8>) scales(%s : memref<?x1xf32>) sums(%s : memref<?x1xf32>) out(%y : memref<?x4xf32>)
    {activation = 0 : i64, kernel = 0 : i64, weight = 2 : i64, weight_shape = array<i64: 8, 4>, lhs_quantization = 1 : i64}
  return
}

// -----

func.func @matmul_scales_of_numbers(%frame: !llvm.ptr, %a: memref<?x8xf32>, %s: memref<?x1xf32>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects scales of f32 for the rows of a left side of i8 with a sign, got 'memref<?x1xf32>' for 'memref<?x8xf32>'}}
  kernel.matmul %frame lhs(%a : memref<?x8xf32>) scales(%s : memref<?x1xf32>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, lhs_quantization = 1 : i64}
  return
}

// -----

func.func @matmul_bytes_without_weight(%frame: !llvm.ptr, %a: memref<?x8xf32>, %w: memref<8x4xf32>, %y: memref<?x4xi8>) {
  // expected-error @below {{expects elements of f32, got 'memref<?x4xi8>'}}
  kernel.matmul %frame lhs(%a : memref<?x8xf32>) rhs(%w : memref<8x4xf32>) out(%y : memref<?x4xi8>)
    {activation = 0 : i64, kernel = 0 : i64, weight = -1 : i64, weight_shape = array<i64>}
  return
}

// -----

func.func @matmul_to_bytes(%frame: !llvm.ptr, %a: memref<?x8xf32>, %y: memref<?x4xi8>) {
  // expected-error @below {{expects an out_scale above 0 and an out_zero from -128 to 127, got 1.000000e+00 and 128}}
  kernel.matmul %frame lhs(%a : memref<?x8xf32>) out(%y : memref<?x4xi8>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, out_zero = 128 : i64}
  return
}

// -----

func.func @matmul_arithmetic(%frame: !llvm.ptr, %a: memref<?x8xf32>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects an arithmetic of f16 or bf16, with a weight and without lhs_quantization, got 'f32'}}
  kernel.matmul %frame lhs(%a : memref<?x8xf32>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, arithmetic = f32}
  return
}

// -----

func.func @matmul_arithmetic_rounded(%frame: !llvm.ptr, %a: memref<?x8xf32>, %y: memref<?x4xf32>) {
  // expected-error @below {{expects an arithmetic of f16 or bf16, with a weight and without lhs_quantization, got 'f16'}}
  kernel.matmul %frame lhs(%a : memref<?x8xf32>) out(%y : memref<?x4xf32>) {activation = 0 : i64, kernel = 0 : i64,
    weight = 2 : i64, weight_shape = array<i64: 8, 4>, lhs_quantization = 1 : i64, arithmetic = f16}
  return
}

// -----

func.func @arithmetic_attribute(%x: tensor<2x8xf32>, %w: tensor<8x4xf32>) -> tensor<2x4xf32> {
  // expected-error @below {{expects 'kernel.arithmetic' to be f16 or bf16, got f32}}
  %y = lathe.matmul %x, %w {kernel.arithmetic = f32} : (tensor<2x8xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}

// -----

func.func @device_launch_arguments(%frame: !llvm.ptr, %x: memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>, %n: index) {
  // expected-error @below {{expects arguments of at most 4064 bytes, got 4288}}
  kernel.device_launch %frame "k"(%x, %x, %x, %x, %x, %x, %x, %x) count %n grid %n block %n {kernel = 0 : i64, shared = 0 : i64}
    : memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>, memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>,
      memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>, memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>,
      memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>, memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>,
      memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>, memref<1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1x1xf32>
  return
}

// -----

func.func @device_launch_shared(%frame: !llvm.ptr, %n: index) {
  // expected-error @below {{expects 'shared' from 0 to 16777215, got -1}}
  kernel.device_launch %frame "k"(%n) count %n grid %n block %n {kernel = 0 : i64, shared = -1 : i64} : index
  return
}

// -----

func.func @read_rank(%frame: !llvm.ptr, %x: memref<2x2xi32>, %i: index) {
  // expected-error @below {{expects an index for each of 2 axes, got 1}}
  %0 = kernel.read %frame %x[%i] : memref<2x2xi32>
  return
}

// -----

// expected-error @below {{expects 'computes' of entry 0 of 'kernel.kernels' to be a dictionary of 'operation', four 'arguments', 'columns', and 'epsilon' or 'order', got {operation = "rms_norm"}}}
module attributes {kernel.kernels = [{name = "k", kind = "generated", nodes = [], computes = {operation = "rms_norm"}}]} {}
