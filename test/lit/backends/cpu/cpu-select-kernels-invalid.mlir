// RUN: lathe-opt %s -split-input-file -verify-diagnostics --cpu-select-kernels

// What can't be selected, with the reason. The first is a limit that a model may meet; the others are no output of the
// frontend.

// expected-error @below {{the symbolic dimension 'n' has no value: expected an input with a dimension of that name alone}}
func.func @main(%x: tensor<?xf32> {lathe.dims = ["2*n"]}) -> tensor<?xf32> {
  %0 = lathe.neg %x : (tensor<?xf32>) -> tensor<?xf32>
  return %0 : tensor<?xf32>
}

// -----

// expected-error @below {{expects names of dimensions ('lathe.dims'), got none for dimension 0 of argument 0}}
func.func @main(%x: tensor<?xf32>) -> tensor<?xf32> {
  return %x : tensor<?xf32>
}

// -----

// expected-error @below {{expects a program of one block}}
func.func private @main(tensor<4xf32>) -> tensor<4xf32>

// -----

// expected-error @below {{expects a program of one block}}
func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
  cf.br ^next
^next:
  return %x : tensor<4xf32>
}

// -----

// expected-error @below {{expects inputs that are tensors of numbers, got 'index'}}
func.func @main(%x: index) {
  return
}

// -----

// expected-error @below {{expects inputs that are tensors of numbers, got 'tensor<4xcomplex<f32>>'}}
func.func @main(%x: tensor<4xcomplex<f32>>) {
  return
}

// -----

func.func @main() -> index {
  %0 = arith.constant 0 : index
  // expected-error @below {{an operand of type 'index' is not supported: func.return}}
  return %0 : index
}

// -----

func.func @main(%x: tensor<4xf32>) {
  // expected-error @below {{expects a program that ends in func.return, got llvm.unreachable}}
  llvm.unreachable
}

// -----

func.func @main() -> tensor<4xf32> {
  // expected-error @below {{a result of type 'tensor<4xf32>' is not supported: tensor.empty}}
  %0 = tensor.empty() : tensor<4xf32>
  return %0 : tensor<4xf32>
}

// -----

func.func @main(%x: tensor<4xf32>, %y: tensor<4xf32>) -> tensor<4xf32> {
  %yes = arith.constant true
  // expected-error @below {{expects no operations with regions but branches and loops, got scf.if}}
  %0 = scf.if %yes -> tensor<4xf32> {
    scf.yield %x : tensor<4xf32>
  } else {
    scf.yield %y : tensor<4xf32>
  }
  return %0 : tensor<4xf32>
}

// -----

func.func @main(%x: tensor<4xi64> {lathe.name = "x", lathe.dims = ["4"]}) -> tensor<?xi64> {
  %c = lathe.to_index %x {position = 0 : i64} : tensor<4xi64>
  %y = lathe.reduce sum %x {axes = array<i64: 0>} : (tensor<4xi64>) -> tensor<i64>
  // expected-error @below {{expects results whose dimensions are known before the branch or loop}}
  %r = lathe.if %c -> (tensor<?xi64>) {
    %m = lathe.mul %y, %y : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %s = lathe.mod %m, %m : (tensor<i64>, tensor<i64>) -> tensor<i64>
    %e = lathe.cumsum %x {axis = 0 : i64} : (tensor<4xi64>) -> tensor<4xi64>
    %n = lathe.to_index %e {position = 3 : i64} : tensor<4xi64>
    %b = lathe.broadcast %y [%n] : tensor<i64> -> tensor<?xi64>
    lathe.yield %b : tensor<?xi64>
  } else {
    lathe.yield %x : tensor<4xi64>
  }
  return %r : tensor<?xi64>
}
